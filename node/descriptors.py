"""How many files this process may have open, and how many peers and callers that leaves room for (A196).

A connection that the system has no descriptor for is lost, whoever it is from. So peers and callers get only so many
that the database, the log, the workers, and each other always find one free.
"""

from __future__ import annotations

import resource
from typing import Final, NamedTuple

from node.config import ConfigError
from node.gossip_limits import MAX_CLOSING
from p2p.limits import LISTEN_BACKLOG

OWN: Final = 44
"""Databases, log, lock, listening sockets and the loop (26 of an idle node), pipes to four workers and a miner, and
files while they are written."""
MAX_CALLERS: Final = 512
"""Connections to JSON-RPC at once. Most of them wait: for blocks, or for the next call of their program."""
FEWEST_CALLERS: Final = 4
FEWEST_PEERS: Final = 4
"""With fewer a node could not tell which chain has the most work."""


class Room(NamedTuple):
    """What connections may take."""

    peers: int
    """Connections to peers that are kept."""
    callers: int
    """Connections to JSON-RPC."""
    backlog: int
    """Connections that the system hands over in one go, before any can be refused."""


def needed(peers: int) -> int:
    """Return how many descriptors a node needs that has so many peers and all callers that there may be."""
    return OWN + peers + MAX_CLOSING + MAX_CALLERS + LISTEN_BACKLOG


def share(limit: int, peers: int) -> Room:
    """Return what a limit of open files leaves for connections; all that is wanted, if it suffices.

    Raises:
        ConfigError: it leaves less than a node can do with.
    """
    if limit >= needed(peers):
        return Room(peers, MAX_CALLERS, LISTEN_BACKLOG)
    left = limit - OWN
    callers, backlog = (min(most, max(FEWEST_CALLERS, left // 5)) for most in (MAX_CALLERS, LISTEN_BACKLOG))
    room = Room(min(peers, left - callers - backlog - MAX_CLOSING), callers, backlog)
    if room.peers < min(peers, FEWEST_PEERS):
        raise ConfigError(
            f"this process may open {limit} files at once, which is too few for a node; "
            f"raise the limit to {needed(peers)} (ulimit -n)"
        )
    return room


def raise_limit(wanted: int) -> int:
    """Let this process open `wanted` files at once, or as many as its hard limit allows; return the limit now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    aim = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= aim:
        return wanted if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (aim, hard))
    except (OSError, ValueError):  # macOS has a bound of its own below the one that it tells
        return soft
    return aim
