"""A short campaign of random transactions, and whether it would notice."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consensus import assets
from consensus.state import StateDelta
from consensus.types import Core
from node.state_view import StateView
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import TABLES
from scripts.fuzz_campaign import main
from scripts.fuzz_conservation import Campaign, campaign, tell_one
from simnet.errors import InvariantBroken
from tests.conservation.story import tell
from tests.support.watch import raise_broken

RULES = {
    "asset-conservation",
    "no-authority",
    "missing-coin",
    "bad-signature",
    "policy-mismatch",
    "witness-count",
    "in-below-out",
    "above-reserve",
    "attestation-sequence",
    "collection-authority",
}
"""That a spoiled transaction breaks now and then."""


MOST_STORIES = 10
"""Of a day: two are enough nearly always, but not on a day on which chance leaves one of the rules alone."""


def rules_broken(counts: Counter[str]) -> set[str]:
    return {name.partition(": ")[2] for name in counts}


@pytest.mark.slow
def test_todays_stories_conserve_everything_and_break_many_rules() -> None:
    """A067, A068, A071, A073, A075: other seeds each day, on a real database."""
    first = datetime.now(UTC).date().toordinal() * 10
    counts: Counter[str] = Counter()
    for seed in range(first, first + MOST_STORIES):
        counts.update(tell_one(seed, blocks=12).counts)
        if seed > first and counts["reorgs"] and rules_broken(counts) >= RULES:
            break
    assert counts["transactions"] > 2_000
    assert counts["reorgs"]
    assert rules_broken(counts) >= RULES


async def test_a_story_is_one_history() -> None:
    assert await tell(7, MemoryDatabase(TABLES), 3) == await tell(7, MemoryDatabase(TABLES), 3)


async def test_a_rule_that_is_missing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A067, A068, A075"""
    await tell(3, MemoryDatabase(TABLES), 6)
    check = getattr(assets, "_check_conservation")  # noqa: B009 - what is left out, but for burns and issuances

    def lenient(core: Core, *rest: object) -> None:
        if core.burns or core.issuances:
            check(core, *rest)

    for rule, broken in (("_check_conservation", lenient), ("_approvals", lambda *_: ())):
        with monkeypatch.context() as patch:
            patch.setattr(assets, rule, broken)
            with pytest.raises(InvariantBroken):
                await tell(3, MemoryDatabase(TABLES), 6)


async def test_a_node_that_keeps_assets_of_a_branch_that_lost_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A059, A075"""
    apply = StateView.apply

    def forgetful(view: StateView, delta: StateDelta) -> None:
        apply(view, delta._replace(assets={name: each for name, each in delta.assets.items() if each is not None}))

    monkeypatch.setattr(StateView, "apply", forgetful)
    with pytest.raises(InvariantBroken, match="other records"):
        await tell(1, MemoryDatabase(TABLES), 20)
    # It is noticed by what watches every test's chains, too.
    with pytest.raises(InvariantBroken, match="other records"):
        raise_broken()


def test_campaigns_add_up_and_survive_a_line_that_was_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert campaign(1e-6, tmp_path, 7, blocks=2) == 0
    with (tmp_path / "told.jsonl").open("a") as file:
        file.write('{"seed":9,"sec')
    assert campaign(1e-6, tmp_path, None, blocks=2) == 0
    assert [one.seed for one in Campaign(tmp_path).told] == [7, 8]
    assert "everything is conserved" in capsys.readouterr().out


def test_what_is_not_conserved_ends_with_the_command_that_repeats_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consensus.assets._check_conservation", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["fuzz", "conservation", "--seed", "3", "--resume", str(tmp_path)])
    assert main() == 1
    assert "scripts/fuzz conservation --minutes 0.001 --seed 3" in capsys.readouterr().out
