"""Following a chain: keep a cursor, pull what happened since, go back and forward. It cannot miss a reorg.

The node pushes nothing that matters: a follower that was slow, asleep or killed asks from its cursor and is told what
to revert and what to apply (`node.chain.ChainManager.updates_since`). Wallet, explorer and exchange follow alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

BlockT = TypeVar("BlockT")
BlockT_co = TypeVar("BlockT_co", covariant=True)
BlockT_contra = TypeVar("BlockT_contra", contravariant=True)
HashT = TypeVar("HashT", bound=bytes)
HashT_co = TypeVar("HashT_co", bound=bytes, covariant=True)
HashT_contra = TypeVar("HashT_contra", bound=bytes, contravariant=True)

BATCH = 100
"""Blocks of one pull: what a follower has to hold in memory, and does in one durable step."""


class Updates(Protocol[BlockT_co]):
    """How to get from a cursor towards the tip: revert, then apply."""

    @property
    def reverted(self) -> Sequence[BlockT_co]:
        """Newest first, from the cursor down."""
        ...

    @property
    def applied(self) -> Sequence[BlockT_co]:
        """Oldest first."""
        ...

    @property
    def more(self) -> bool:
        """Whether that does not reach the tip yet."""
        ...


class Source(Protocol[HashT_contra, BlockT_co]):
    """A chain that can be followed."""

    def updates_since(self, cursor: HashT_contra, limit: int) -> Updates[BlockT_co]:
        """Return at most `limit` blocks to revert and apply, from a follower's newest block on."""
        ...


class Follower(Protocol[HashT_co, BlockT_contra]):
    """Who follows. Its cursor and what it learned from the blocks are stored in one step, so they never part."""

    @property
    def position(self) -> HashT_co:
        """The id of the newest block that it has applied."""
        ...

    def handle_updates(self, reverted: Sequence[BlockT_contra], applied: Sequence[BlockT_contra]) -> None:
        """Take a step, whole or not at all: revert from the cursor down, then apply on what is left."""
        ...


def follow_step(source: Source[HashT, BlockT], follower: Follower[HashT, BlockT], limit: int = BATCH) -> bool:
    """Pull once; tell whether there is more to pull.

    Whatever either side raises goes up, and the follower stands where it stood: the next pull begins there.
    """
    updates = source.updates_since(follower.position, limit)
    if updates.reverted or updates.applied:
        follower.handle_updates(updates.reverted, updates.applied)
    return updates.more


def follow(source: Source[HashT, BlockT], follower: Follower[HashT, BlockT], limit: int = BATCH) -> int:
    """Pull until the follower stands on the tip; return how many steps that took."""
    steps = 1
    while follow_step(source, follower, limit):
        steps += 1
    return steps
