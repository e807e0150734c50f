"""The tree of headers: ancestors, forks, locators, completeness, marks."""

from __future__ import annotations

from random import Random

import pytest

from consensus.params import REGTEST
from consensus.types import BlockHash, Header
from node.block_index import BlockEntry, BlockIndex, find_fork, locator, path

GENESIS = REGTEST.genesis.header


def child(index: BlockIndex, parent: BlockEntry, nonce: int = 0) -> BlockEntry:
    header = Header(1, parent.hash, bytes(32), parent.time + 1, REGTEST.start_bits, nonce)
    return index.add(header, parent, None)


def grow(index: BlockIndex, parent: BlockEntry, count: int, nonce: int = 0) -> list[BlockEntry]:
    grown: list[BlockEntry] = []
    for _ in range(count):
        grown.append(child(index, grown[-1] if grown else parent, nonce))
    return grown


def test_ancestors_are_those_that_walking_back_finds() -> None:
    index = BlockIndex(GENESIS)
    chain = [index.genesis, *grow(index, index.genesis, 300)]
    for entry in chain:
        for height in range(entry.height + 1):
            assert entry.ancestor(height) is chain[height]


def test_an_ancestor_is_found_in_few_steps_however_far_back() -> None:
    index = BlockIndex(GENESIS)
    tip = grow(index, index.genesis, 20_000)[-1]
    for height in range(0, 20_000, 997):
        steps, entry = 0, tip
        while entry.height > height:
            following = entry.skip if entry.skip is not None and entry.skip.height >= height else entry.parent
            assert following is not None
            entry, steps = following, steps + 1
        assert steps <= 120
        assert entry is tip.ancestor(height)


@pytest.mark.parametrize("height", [-1, 4])
def test_there_is_no_ancestor_below_genesis_or_above_the_block(height: int) -> None:
    index = BlockIndex(GENESIS)
    entry = grow(index, index.genesis, 3)[-1]
    with pytest.raises(ValueError, match="no ancestor"):
        entry.ancestor(height)


def test_the_fork_of_any_two_blocks_is_the_last_that_their_chains_share() -> None:
    random, index = Random(7), BlockIndex(GENESIS)
    entries = [index.genesis]
    for nonce in range(400):
        entries.append(child(index, random.choice(entries[-30:]), nonce))
    for _ in range(500):
        one, other = random.choice(entries), random.choice(entries)
        before = {entry.hash for entry in path(index.genesis, one)} | {index.genesis.hash}
        expected = other
        while expected.hash not in before:
            assert expected.parent is not None
            expected = expected.parent
        assert find_fork(one, other) is expected
        assert find_fork(other, one) is expected


def test_a_locator_is_dense_at_its_head_and_ends_with_genesis() -> None:
    index = BlockIndex(GENESIS)
    chain = [index.genesis, *grow(index, index.genesis, 1000)]
    heights = [entry.height for entry in chain if entry.hash in set(locator(chain[-1]))]
    assert heights[::-1][:11] == [1000, 999, 998, 997, 996, 995, 994, 993, 992, 991, 989]
    assert heights[0] == 0
    assert len(heights) < 25
    assert locator(index.genesis) == [index.genesis.hash]


def test_a_locator_leads_to_the_newest_block_that_is_on_the_best_chain() -> None:
    index = BlockIndex(GENESIS)
    ours = grow(index, index.genesis, 20)
    theirs = grow(index, ours[9], 5, nonce=1)
    index.tip = ours[-1]
    assert index.locate(locator(theirs[-1])) is ours[9]
    assert index.locate([BlockHash(bytes(32))]) is index.genesis


def test_a_block_is_complete_once_all_bodies_before_it_are_here() -> None:
    index = BlockIndex(GENESIS)
    a, b, c, d = grow(index, index.genesis, 4)
    assert index.add_body(c) == []
    assert index.add_body(b) == []
    assert index.add_body(a) == [a, b, c]
    assert index.add_body(a) == []
    assert index.add_body(d) == [d]
    assert [entry.arrival for entry in (a, b, c, d)] == [4, 3, 2, 5]
    assert [entry.complete for entry in (a, b, c, d)] == [4, 4, 4, 5]
    assert index.unbacked == 0


def test_of_two_equal_branches_the_one_that_was_complete_first_is_preferred() -> None:
    #   genesis ── a1 ── a2      a2 came first, but its parent last
    #         └─── b1 ── b2
    index = BlockIndex(GENESIS)
    a1, a2 = grow(index, index.genesis, 2)
    b1, b2 = grow(index, index.genesis, 2, nonce=1)
    for entry in (a2, b1, b2, a1):
        index.add_body(entry)
    assert index.best_complete() is b2


def test_a_mark_takes_all_descendants_and_nothing_else() -> None:
    #   genesis ── a1 ── a2 ── a3 ── a4
    #                    └──── b3 ── b4 ── b5
    index = BlockIndex(GENESIS)
    a1, a2, a3, a4 = grow(index, index.genesis, 4)
    b3, b4, b5 = grow(index, a2, 3, nonce=1)
    for entry in (a1, a2, a3, a4, b3, b4, b5):
        index.add_body(entry)
    assert index.best_header is index.best_complete() is b5
    index.mark_invalid(b4)
    assert [entry.invalid for entry in (a1, a2, a3, a4, b3, b4, b5)] == [False] * 5 + [True, True]
    assert index.best_complete() is index.best_header is a4
    index.mark_invalid(b3)  # below a mark that is already there
    assert [entry.invalid for entry in (a1, a2, a3, a4, b3, b4, b5)] == [False] * 4 + [True] * 3
    index.mark_invalid(a2)
    assert index.best_complete() is index.best_header is a1
    assert child(index, a4, nonce=2).invalid


def test_missing_bodies_are_named_oldest_first_within_the_window() -> None:
    index = BlockIndex(GENESIS)
    chain = grow(index, index.genesis, 50)
    for entry in (*chain[:10], chain[12]):
        index.add_body(entry)
    assert index.missing_bodies(chain[-1], 5) == [chain[10], chain[11], chain[13], chain[14]]
    assert index.missing_bodies(chain[-1], 1000) == [chain[10], chain[11], *chain[13:]]
    assert index.missing_bodies(chain[9], 1000) == []


def test_forgetting_drops_what_has_no_body_from_the_leaves_down() -> None:
    #   genesis ── a1 ── a2 ── a3      body of a1, and of b3
    #              └──── b2 ── b3
    index = BlockIndex(GENESIS)
    a1, a2, a3 = grow(index, index.genesis, 3)
    b2, b3 = grow(index, a1, 2, nonce=1)
    index.add_body(a1)
    index.add_body(b3)
    assert set(index.forget_unbacked(keep=lambda _: False)) == {a2, a3}
    assert [index.get(entry.hash) for entry in (a1, a2, a3, b2, b3)] == [a1, None, None, b2, b3]
    assert index.leaves() == [b3]
    assert index.best_header is b3
    assert index.unbacked == 1
