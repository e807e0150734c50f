"""How many files may be open, and what that leaves for peers and callers."""

from __future__ import annotations

import resource

import pytest

from node.config import ConfigError
from node.descriptors import FEWEST_PEERS, MAX_CALLERS, OWN, needed, raise_limit, share
from node.gossip_limits import MAX_CLOSING
from p2p.limits import LISTEN_BACKLOG


def test_where_there_is_enough_everybody_gets_what_was_asked_for() -> None:
    """A196: the usual 1,024 are enough for the usual 125 peers."""
    assert needed(125) <= 1_024
    assert share(needed(125), 125) == (125, MAX_CALLERS, LISTEN_BACKLOG)


@pytest.mark.parametrize("peers", [1, 4, 125, 1_000])
@pytest.mark.parametrize("limit", [64, 65, 128, 256, 512, 815, 816, 1_024])
def test_connections_never_take_what_the_node_itself_needs(limit: int, peers: int) -> None:
    """A196."""
    room = share(limit, peers)
    assert OWN + room.peers + MAX_CLOSING + room.callers + room.backlog <= limit
    assert min(peers, FEWEST_PEERS) <= room.peers <= peers
    assert room.callers >= 4
    assert room.backlog >= 4


def test_a_limit_that_no_node_can_live_with_is_refused_with_the_one_that_it_needs() -> None:
    """A196: 64 will do, 63 will not."""
    assert share(64, 125).peers == FEWEST_PEERS
    with pytest.raises(ConfigError, match=rf"raise the limit to {needed(125)}"):
        share(63, 125)


def test_the_limit_is_raised_as_far_as_the_system_allows() -> None:
    """A196: the soft limit is only a habit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
        assert raise_limit(soft) == (soft if hard == resource.RLIM_INFINITY or hard >= soft else soft - 1)
        assert raise_limit(8) == soft  # never lowered
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
