"""Shapes of networks, and who mines in them."""

from __future__ import annotations

import pytest

from devnet.topology import MAX_NODES, Topology, default_topology, edges, spread

TAG = bytes(range(16))


def reachable(size: int, links: tuple[tuple[int, int], ...]) -> set[int]:
    found = {0}
    while more := {b for a, b in links if a in found} | {a for a, b in links if b in found} - found:
        if more <= found:
            break
        found |= more
    return found


@pytest.mark.parametrize("topology", list(Topology))
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 32, MAX_NODES])
def test_every_shape_connects_all_nodes_and_none_to_itself(topology: Topology, size: int) -> None:
    links = edges(topology, size, TAG)
    assert reachable(size, links) == set(range(size))
    assert all(0 <= low < high < size for low, high in links)
    assert len(set(links)) == len(links)


def test_shapes_are_what_their_names_say() -> None:
    assert edges(Topology.LINE, 4, TAG) == ((0, 1), (1, 2), (2, 3))
    assert edges(Topology.RING, 4, TAG) == ((0, 1), (0, 3), (1, 2), (2, 3))
    assert edges(Topology.RING, 2, TAG) == ((0, 1),)
    assert edges(Topology.STAR, 4, TAG) == ((0, 1), (0, 2), (0, 3))
    assert len(edges(Topology.FULL, 5, TAG)) == 10


def test_a_random_shape_depends_on_the_tag_alone_and_stays_sparse() -> None:
    one, same, other = (edges(Topology.RANDOM, 32, tag) for tag in (TAG, TAG, bytes(16)))
    assert one == same != other
    assert 31 <= len(one) <= 31 + 2 * 32


def test_miners_are_spread_evenly() -> None:
    assert spread(2, 5) == (0, 4)
    assert spread(3, 5) == (0, 2, 4)
    assert spread(1, 5) == (0,)
    assert spread(0, 5) == ()
    for size in range(1, MAX_NODES + 1):
        for count in range(size + 1):
            assert len(set(spread(count, size))) == count
            assert all(0 <= node < size for node in spread(count, size))


def test_up_to_eight_nodes_everyone_knows_everyone() -> None:
    assert default_topology(8) is Topology.FULL
    assert default_topology(9) is Topology.RANDOM
