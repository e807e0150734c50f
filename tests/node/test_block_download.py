"""Which bodies are asked of whom: windows, bounds, and every block in the end, whatever single peers do."""

from __future__ import annotations

import random

import pytest

from consensus.params import REGTEST
from consensus.types import Header
from node import gossip_limits as limits
from node.block_download import BlockDownload
from node.block_index import BlockEntry, BlockIndex


def headers(index: BlockIndex, parent: BlockEntry, count: int, salt: int = 0) -> list[BlockEntry]:
    made: list[BlockEntry] = []
    for number in range(count):
        root = (salt << 32 | number).to_bytes(32, "big")
        header = Header(1, parent.hash, root, parent.time + 1, REGTEST.start_bits, 0)
        parent = index.add(header, parent, None)
        made.append(parent)
    return made


def world(length: int, peers: int) -> tuple[BlockIndex, BlockDownload, list[BlockEntry]]:
    index = BlockIndex(REGTEST.genesis.header)
    chain = headers(index, index.genesis, length)
    download = BlockDownload(index)
    for peer in range(peers):
        download.add_peer(peer)
        download.peer_has(peer, chain[-1])
    return index, download, chain


def deliver(index: BlockIndex, download: BlockDownload, peer: int, entry: BlockEntry, now: float) -> None:
    download.received(peer, entry.hash, 100, now)
    index.add_body(entry)
    download.judged(entry.hash, 100, stored=True)


def test_each_peer_is_asked_for_sixteen_and_no_block_of_two_peers() -> None:
    _, download, chain = world(100, 3)
    asked = [download.next_for(peer, 0.0) for peer in range(3)]
    assert [len(part) for part in asked] == [limits.BLOCKS_PER_PEER] * 3
    assert [entry for part in asked for entry in part] == chain[:48]
    assert download.next_for(0, 0.0) == []


def test_nothing_is_asked_for_beyond_the_window() -> None:
    index, download, chain = world(limits.BLOCK_WINDOW + 200, 80)
    asked = [entry for peer in range(80) for entry in download.next_for(peer, 0.0)]
    assert asked == chain[: limits.BLOCK_WINDOW]
    for entry in chain[1:17]:
        index.add_body(entry)
    assert download.next_for(79, 0.0) == []


def test_while_many_bodies_wait_for_the_chain_manager_no_more_are_asked_for() -> None:
    _, download, chain = world(1000, 1)
    for entry in chain[: limits.BLOCKS_IN_WORK]:
        download.received(0, entry.hash, 100, 0.0)
    assert download.next_for(0, 0.0) == []
    download.judged(chain[0].hash, 100, stored=True)
    assert download.next_for(0, 0.0) != []
    _, download, chain = world(1000, 1)
    download.received(0, chain[0].hash, limits.BLOCK_BYTES_IN_WORK, 0.0)
    assert download.next_for(0, 0.0) == []


def test_a_branch_with_less_work_than_the_tip_is_not_fetched_and_one_with_as_much_is() -> None:
    index = BlockIndex(REGTEST.genesis.header)
    best, shorter, equal = (headers(index, index.genesis, n, salt) for n, salt in ((5, 1), (4, 2), (5, 3)))
    for entry in best:
        index.add_body(entry)
    index.tip = best[-1]
    download = BlockDownload(index)
    for peer, branch in enumerate((shorter, equal, best)):
        download.add_peer(peer)
        download.peer_has(peer, branch[-1])
    assert download.next_for(0, 0.0) == []
    assert download.next_for(1, 0.0) == equal
    assert download.next_for(2, 0.0) == []


def test_a_peer_is_asked_only_for_what_it_is_known_to_have() -> None:
    index = BlockIndex(REGTEST.genesis.header)
    chain = headers(index, index.genesis, 30)
    fork = headers(index, chain[9], 25, salt=9)
    download = BlockDownload(index)
    for peer, best in enumerate((chain[4], chain[-1], fork[-1])):
        download.add_peer(peer)
        download.peer_has(peer, best)
    assert download.next_for(0, 0.0) == chain[:5]
    assert download.next_for(1, 0.0) == chain[5:21]
    assert download.next_for(2, 0.0) == fork[:16]


def test_headers_that_the_index_has_forgotten_are_asked_of_nobody() -> None:
    index, download, _ = world(10, 1)
    index.forget_unbacked(keep=lambda _: False)
    assert download.next_for(0, 0.0) == []
    assert download.late(100.0) == []


def test_a_block_found_invalid_ends_its_branch() -> None:
    index, download, chain = world(50, 1)
    assert len(download.next_for(0, 0.0)) == 16
    index.mark_invalid(chain[3])
    download.remove_peer(0)
    download.add_peer(1)
    download.peer_has(1, chain[-1])
    assert download.next_for(1, 0.0) == []


def test_only_what_holds_up_the_branch_or_a_silent_peer_owes_is_asked_of_another() -> None:
    """A056"""
    index, download, chain = world(32, 2)
    first, second = download.next_for(0, 0.0), download.next_for(1, 0.0)
    now = limits.SECOND_SOURCE_SECONDS
    deliver(index, download, 1, second[0], now - 1)  # this one is slow, but at work
    again = download.late(now)
    # All of the silent peer's, and of the other's nothing: what it owes does not hold up anything yet.
    assert again == [(1, entry) for entry in first]
    assert download.late(now) == []
    for entry in chain[:16]:
        deliver(index, download, 1, entry, now)
    assert download.owes(0) == 0


@pytest.mark.parametrize("seed", range(25))
def test_every_block_comes_in_the_end_if_one_peer_is_honest(seed: int) -> None:
    """A056, A094: of ten peers nine deliver nothing, late, say that they have nothing, or leave."""
    rng = random.Random(seed)
    index, download, chain = world(150, 10)
    honest, present = 4, dict.fromkeys(range(10))
    owed: dict[int, list[BlockEntry]] = {peer: [] for peer in present}
    now = 0.0
    while not chain[-1].complete:
        now += 0.5
        assert now < 120
        for peer, entry in download.late(now):
            owed[peer].append(entry)
        for peer in download.stalled(now):
            assert peer != honest
            del present[peer]
            download.remove_peer(peer)
        for peer in list(present):
            owed[peer] += download.next_for(peer, now)
            assert download.owes(peer) <= 2 * limits.BLOCKS_PER_PEER
            chance = rng.random()
            if peer == honest or chance < 0.02:
                for entry in owed[peer]:
                    deliver(index, download, peer, entry, now)
                owed[peer] = []
            elif chance < 0.04:
                for entry in owed[peer]:
                    download.not_found(peer, entry.hash)
                owed[peer] = []
            elif chance < 0.05:
                del present[peer]
                download.remove_peer(peer)
    assert len(download) == 0
    assert download.bytes_in_work == 0
    assert not download._in_work
