"""`scripts/eclipse`: what an attacker gets of a new node's connections."""

from __future__ import annotations

from scripts.eclipse_odds import ATTACKERS, is_eclipsed


def test_an_attacker_with_few_networks_never_gets_all_connections() -> None:
    """A113: not with nine addresses in ten; who has as many networks as all others together seldom does."""
    few, _, botnet = ATTACKERS
    assert not any(is_eclipsed(seed, 90, few) for seed in range(4))
    assert sum(is_eclipsed(seed, 50, botnet) for seed in range(10)) <= 2
