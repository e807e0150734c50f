"""Who is connected to whom, and who mines: pure functions of the size of a network and its tag."""

from __future__ import annotations

import itertools
import random
from enum import StrEnum

MAX_NODES = 64
"""Nodes in a network on one machine: a bound that memory sets (about 70 MB a node), not the software."""

FULL_UP_TO = 8
"""The largest network in which everyone is connected to everyone unless asked otherwise: 28 connections."""

RANDOM_LINKS = 2
"""Links that each node of a random network adds, besides those that keep it connected."""


class Topology(StrEnum):
    """The shape of a network."""

    LINE = "line"
    RING = "ring"
    STAR = "star"
    FULL = "full"
    RANDOM = "random"


def default_topology(size: int) -> Topology:
    """Return the shape of a network of `size` nodes for which none was asked."""
    return Topology.FULL if size <= FULL_UP_TO else Topology.RANDOM


def edges(topology: Topology, size: int, tag: bytes) -> tuple[tuple[int, int], ...]:
    """Return the links of a network, each once as (lower, higher), in ascending order.

    Every shape is connected. Only `random` depends on `tag`, which makes it the same at each start of a network.
    """
    return tuple(sorted(_links(topology, size, tag)))


def _links(topology: Topology, size: int, tag: bytes) -> set[tuple[int, int]]:
    """Return the links in no order."""
    match topology:
        case Topology.LINE:
            return {(node, node + 1) for node in range(size - 1)}
        case Topology.RING:
            return {(min(node, (node + 1) % size), max(node, (node + 1) % size)) for node in range(size) if size > 1}
        case Topology.STAR:
            return {(0, node) for node in range(1, size)}
        case Topology.FULL:
            return set(itertools.combinations(range(size), 2))
        case Topology.RANDOM:
            return _random_links(size, random.Random(tag))


def _random_links(size: int, rng: random.Random) -> set[tuple[int, int]]:
    """Draw a tree, which connects everyone, and then `RANDOM_LINKS` links more for each node."""
    links = {(rng.randrange(node), node) for node in range(1, size)}
    for node in range(size):
        others = [other for other in range(size) if other != node]
        for other in rng.sample(others, min(RANDOM_LINKS, len(others))):
            links.add((min(node, other), max(node, other)))
    return links


def spread(count: int, size: int) -> tuple[int, ...]:
    """Return `count` of `size` nodes, evenly spread from the first to the last: two of five are 0 and 4.

    A single one is node 0. The caller has checked that 0 <= count <= size.
    """
    if count == 1:
        return (0,)
    return tuple(place * (size - 1) // (count - 1) for place in range(count))
