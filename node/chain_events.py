"""What the chain manager answers and announces: the vocabulary between it and the rest of the node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from consensus.errors import ConsensusError
    from consensus.slices import Slices
    from consensus.state import ChainState
    from consensus.types import Block, BlockHash
    from node.block_index import BlockEntry


class HeaderStatus(StrEnum):
    """What became of a header that breaks no rule. None of these is anybody's fault."""

    ADDED = "added"
    """It is new, and in the index."""
    KNOWN = "known"
    """It was in the index already."""
    ORPHAN = "orphan"
    """Its parent is unknown: ask the sender for the headers before it."""
    EARLY = "early"
    """Its time is too far ahead of our clock. It is kept, within bounds, and tried again when due."""
    LOW_WORK = "low-work"
    """Its chain has too little work to matter yet (see `chain_limits`). Nothing was stored."""
    SET_ASIDE = "set-aside"
    """It is on a branch that the operator does not want (invalidateblock). Nothing was stored."""
    FULL = "full"
    """Too many headers wait for their bodies. Fetch those first, then ask for these headers again."""


class HeaderResult(NamedTuple):
    """The answer to a header, or to a run of them: then `entry` is of the last one that was taken."""

    status: HeaderStatus
    entry: BlockEntry | None
    """With ADDED and KNOWN; with EARLY of the last header before the early one, if it is known."""
    added: int
    """How many headers were new."""


class BlockStatus(StrEnum):
    """What became of a block."""

    CONNECTED = "connected"
    """It is on the best chain now, and that is on disk."""
    SIDE_BRANCH = "side-branch"
    """Stored, with all blocks before it, on a branch with no more work than the best chain."""
    WAITING = "waiting"
    """Stored; the body of a block before it is missing."""
    KNOWN = "known"
    """Its body was stored already."""
    ORPHAN = "orphan"
    """Its parent's header is unknown. Not stored."""
    EARLY = "early"
    """Its time is too far ahead of our clock. Kept in memory, within bounds, and tried again when due."""
    LOW_WORK = "low-work"
    """Nobody asked for it, and its chain has too little work to matter. Not stored (A099)."""
    SET_ASIDE = "set-aside"
    """It is on a branch that the operator does not want (invalidateblock)."""
    MUTATED = "mutated"
    """Not the body that the header commits to (`errors.BODY_RULES`): blame the sender, never the header (A097)."""
    INVALID = "invalid"
    """It breaks a rule, or builds on a block that does; `error` says which. Marked, with its descendants."""


class BlockResult(NamedTuple):
    """The answer to a block."""

    status: BlockStatus
    entry: BlockEntry | None
    """None where the header was not taken into the index."""
    error: ConsensusError | None
    """With MUTATED and INVALID: the rule and its facts."""


class TipChanged(NamedTuple):
    """The best chain has another tip, and that is on disk.

    One of these for each write: a long sync or a very deep reorg makes several, and each leaves the
    state of some block. `disconnected` is empty where the chain only grew.
    """

    disconnected: tuple[Block, ...]
    """Blocks that were left, newest first."""
    connected: tuple[Block, ...]
    """Blocks that were joined, oldest first; empty in a step of a deep reorg that only goes back."""
    old: ChainState
    new: ChainState
    fork_height: int
    """Of the last block that both tips have in common."""


Facts = Mapping[str, object]
TipListener = Callable[[TipChanged], "Facts | Slices[Facts] | None"]
"""Told of each change of the tip, in the order of registration, before anybody's `accept_block` returns.

One that has much to do returns that in slices: the next is told when they are done, and everybody else runs between.

What a listener returns is added to the log line `reorg_done`, if the change is the end of a reorg: so
the mempool says there how many transactions came back. A listener neither blocks nor raises.
"""


class Updates(NamedTuple):
    """What a follower does to get from its cursor to the tip: revert, then apply."""

    reverted: tuple[Block, ...]
    """Newest first."""
    applied: tuple[Block, ...]
    """Oldest first."""
    fork_height: int
    """Of the block that the follower stands on between the two: the first applied one is one above it."""
    more: bool
    """Whether the follower is not yet at the tip: ask again from the new cursor."""

    def cursor(self, before: BlockHash) -> BlockHash:
        """Return the follower's new cursor, given its old one."""
        if self.applied:
            return self.applied[-1].hash
        if self.reverted:
            return self.reverted[-1].header.previous
        return before


class UnknownCursorError(Exception):
    """A follower stands on a block that this node has never stored: it must start from genesis."""
