"""Following: whatever happens to the chain in between, a follower ends on its tip, without a gap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from rpc.follower import follow, follow_step


class Step(NamedTuple):
    reverted: tuple[bytes, ...]
    applied: tuple[bytes, ...]
    more: bool


class Tree:
    """Blocks that are their own ids; a chain is a list of them."""

    def __init__(self) -> None:
        self.chain: list[bytes] = [b"genesis"]
        self.branches: dict[bytes, list[bytes]] = {b"genesis": [b"genesis"]}

    def move(self, *chain: bytes) -> None:
        self.chain = [b"genesis", *chain]
        for place, block in enumerate(self.chain):
            self.branches[block] = self.chain[: place + 1]

    def updates_since(self, cursor: bytes, limit: int) -> Step:
        here = self.branches[cursor]
        fork = sum(1 for one, other in zip(here, self.chain, strict=False) if one == other)
        back = here[fork:][::-1][:limit]
        room = limit - len(back)
        forth = self.chain[fork : fork + room] if room else []
        done = len(back) == len(here) - fork and fork + len(forth) == len(self.chain)
        return Step(tuple(back), tuple(forth), not done)


class Diary:
    """A follower that writes down what it was told."""

    def __init__(self) -> None:
        self.blocks = [b"genesis"]
        self.broken = False

    @property
    def position(self) -> bytes:
        return self.blocks[-1]

    def handle_updates(self, reverted: Sequence[bytes], applied: Sequence[bytes]) -> None:
        if self.broken:
            raise OSError("no disk")
        for block in reverted:
            assert self.blocks.pop() == block
        self.blocks += applied


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_a_follower_ends_on_the_tip_after_any_reorg(limit: int) -> None:
    #   genesis ── a ── b ── c
    #                └── d ── e ── f ── g
    tree, diary = Tree(), Diary()
    tree.move(b"a", b"b", b"c")
    follow(tree, diary, limit)
    assert diary.blocks == tree.chain
    tree.move(b"a", b"d", b"e", b"f", b"g")
    follow(tree, diary, limit)
    assert diary.blocks == tree.chain
    tree.move(b"a", b"b", b"c")
    follow(tree, diary, limit)
    assert diary.blocks == tree.chain


def test_a_reorg_in_the_middle_of_following_is_followed_too() -> None:
    tree, diary = Tree(), Diary()
    tree.move(b"a", b"b", b"c")
    assert follow_step(tree, diary, 2)
    tree.move(b"x", b"y", b"z")
    assert follow(tree, diary, 2) == 3
    assert diary.blocks == tree.chain


def test_a_follower_that_fails_begins_again_where_it_stood() -> None:
    tree, diary = Tree(), Diary()
    tree.move(b"a", b"b")
    diary.broken = True
    with pytest.raises(OSError, match="no disk"):
        follow(tree, diary)
    assert diary.position == b"genesis"
    diary.broken = False
    follow(tree, diary)
    assert diary.blocks == tree.chain


def test_nothing_is_done_where_nothing_happened() -> None:
    diary = Diary()
    diary.broken = True
    assert follow(Tree(), diary) == 1
