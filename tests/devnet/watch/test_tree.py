"""The blocks as branches: who stands where, and what is lost."""

from __future__ import annotations

from consensus.types import GRAIN_PER_DURE
from devnet.watch.state import KEPT, STALE_BRANCHES, prune
from devnet.watch.tree import branches, fork_height, hash_power
from tests.support.watching import Blocks, block_id, line


def names(blocks: Blocks, ids: list[str]) -> str:
    known = {block.id: name for name, block in blocks.by_name.items()}
    return " ".join(known[one] for one in ids)


def test_a_chain_is_one_branch_with_everybody_on_it() -> None:
    blocks = Blocks()
    blocks.add("g a b c")
    [only] = branches(blocks.view("c", "c", "b"))
    assert names(blocks, [block.id for block in only.blocks]) == "g a b c"
    assert (only.standing, only.behind, only.leaves_at) == ((0, 1), ((2, 1),), None)
    assert only.nodes == (0, 1, 2)
    assert only.lost == (0, 0, 0, 0, 0)


def test_the_branch_with_the_most_work_is_first_whatever_its_height() -> None:
    #   g ── a ── b ── c           more blocks
    #        └─── x ── y           more work
    blocks = Blocks()
    blocks.add("g a b c")
    blocks.add("a: x y", work=500)
    best, other = branches(blocks.view("c", "y"))
    assert (best.tip.id, best.standing) == (block_id("y"), (1,))
    assert (other.tip.id, other.standing, other.leaves_at) == (block_id("c"), (0,), block_id("a"))
    assert names(blocks, [block.id for block in other.blocks]) == "b c"


def test_of_equal_branches_the_one_with_more_nodes_is_first() -> None:
    blocks = Blocks()
    blocks.add("g a")
    blocks.add("g: b")
    assert branches(blocks.view("a", "b", "b"))[0].tip.id == block_id("b")
    assert branches(blocks.view("a", "a", "b"))[0].tip.id == block_id("a")


def test_what_a_branch_lacks_on_the_best_one_is_what_is_lost_with_it() -> None:
    blocks = Blocks()
    blocks.add("g a")
    blocks.add("a: x y", txids=("both", "again", "never"))
    blocks.add("a: b c d", txids=("both",))
    _, losing = branches(blocks.view("d", fates={"again": "waits", "never": "gone"}))
    lost = losing.lost
    assert (lost.rewards, lost.amount, lost.payments, lost.waiting, lost.gone) == (2, 100 * GRAIN_PER_DURE, 2, 1, 1)
    assert losing.nodes == ()


def test_a_node_on_an_old_block_of_a_branch_is_behind_on_it() -> None:
    blocks = Blocks()
    blocks.add("g a b c d", work=101)
    blocks.add("a: x y z")
    best, other = branches(blocks.view("d", "x", "z", "a", None))
    assert best.behind == ((3, 3),)
    assert (other.standing, other.behind) == ((2,), ((1, 2),))


def test_three_branches_each_leave_the_one_before() -> None:
    blocks = Blocks()
    blocks.add("g a b c d")
    blocks.add("a: x y z", work=90)
    blocks.add("x: v w", work=80)
    found = branches(blocks.view("d", "z", "w"))
    assert [branch.leaves_at and names(blocks, [branch.leaves_at]) for branch in found] == [None, "a", "x"]


def test_the_fork_is_the_last_block_that_two_branches_share() -> None:
    blocks = Blocks()
    blocks.add("g a b c")
    blocks.add("a: x")
    view = blocks.view("c", "x")
    assert fork_height(view, block_id("c"), block_id("x")) == 1
    assert fork_height(view, block_id("c"), block_id("b")) == 2
    assert fork_height(view, block_id("c"), "unknown") is None


def test_hash_power_is_work_over_time_without_genesis() -> None:
    blocks = Blocks()
    blocks.add("g a b", work=100_000)
    [branch] = branches(blocks.view("b"))
    assert hash_power(branch) == 100_000 / 5
    assert branches(Blocks().view()) == []
    lone = Blocks()
    lone.add("g a")
    assert hash_power(branches(lone.view("a"))[0]) == 0.0, "one block after genesis says nothing of a pace"


def test_only_the_newest_blocks_of_each_branch_are_kept() -> None:
    blocks = Blocks()
    blocks.add(line(2 * KEPT))
    blocks.add(f"b{KEPT // 2}: old1 old2")
    everything = {block.id: block for block in blocks.by_name.values()}
    kept = prune(everything, [block_id(f"b{2 * KEPT - 1}")])
    assert len(kept) == KEPT, "a branch that ended long ago is forgotten if nobody stands on it"
    assert block_id(f"b{KEPT}") in kept
    assert block_id(f"b{KEPT - 1}") not in kept
    held = prune(everything, [block_id(f"b{2 * KEPT - 1}"), block_id("old2")])
    assert block_id("old1") in held


def test_stale_branches_are_bounded() -> None:
    blocks = Blocks()
    blocks.add("g a")
    for number in range(STALE_BRANCHES + 10):
        blocks.add(f"a: s{number}")
    blocks.add("a: b")
    kept = prune({block.id: block for block in blocks.by_name.values()}, [block_id("b")])
    assert len(kept) <= STALE_BRANCHES + 3
