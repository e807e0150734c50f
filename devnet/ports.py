"""Free ports for the nodes of a network."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from devnet.errors import Unavailable
from devnet.folder import HOST

FIRST, LAST, STEP = 20_000, 32_000, 200
"""Where networks have their ports: below those that Linux (from 32768) and macOS (from 49152) hand to outgoing
connections. A node that dials a peer which is down could otherwise take that peer's port, or even reach itself."""

RESERVED = frozenset({27340, 27341})
"""The standard ports of network `local`, left to a `dured` that is started by hand."""


def choose_ports(size: int, rng: random.Random) -> tuple[tuple[int, int], ...]:
    """Return a pair of free ports for each of `size` nodes, the peers' and the RPC's, one after the other.

    Raises:
        Unavailable: no stretch of so many free ports was found.
    """
    bases = list(range(FIRST, LAST, STEP))
    rng.shuffle(bases)
    for base in bases:
        ports = range(base, base + 2 * size)
        if RESERVED.isdisjoint(ports) and not any(taken(ports)):
            return tuple((base + 2 * node, base + 2 * node + 1) for node in range(size))
    raise Unavailable(f"No {2 * size} free ports in a row between {FIRST} and {LAST + STEP} on {HOST}.")


def taken(ports: Iterable[int]) -> Iterator[int]:
    """Yield those of `ports` on which some program already listens, for TCP or (discovery) for UDP."""
    for port in ports:
        with ExitStack() as opened:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                probe = opened.enter_context(socket.socket(socket.AF_INET, kind))
                if kind == socket.SOCK_STREAM:  # as servers do: connections of the past do not hold a port
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                except OSError:
                    yield port
                    break
