"""The chain as a value: what the next block's validity depends on, and what a block changes."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from consensus.params import Params
from consensus.pow import Anchor, work_of_bits
from consensus.types import Asset, AssetId, BlockHash, Coin, OutPoint

MEDIAN_SPAN = 11
"""Blocks whose times make a median time."""


class ChainState(msgspec.Struct, frozen=True):
    """A block, seen by the headers that may follow it."""

    height: int
    hash: BlockHash
    times: tuple[int, ...]
    """Of this block and up to ten before it, oldest first, UNIX seconds."""
    work: int
    """Expected hashes of all headers from genesis to this one."""
    anchor: Anchor | None
    """What the difficulty rule measures from; None before block 1, and where targets never change."""

    @property
    def median_time(self) -> int:
        """The time that the next header must be above, UNIX seconds."""
        return sorted(self.times)[len(self.times) // 2]


def genesis_state(params: Params) -> ChainState:
    """Return the state of a chain that is only its genesis block."""
    header = params.genesis.header
    return ChainState(0, header.hash, (header.time,), work_of_bits(header.bits), None)


class StateDelta(NamedTuple):
    """What a step along the chain changes in its coins and assets; a coin is in at most one of the first two."""

    spent: dict[OutPoint, Coin]
    """To be removed."""
    created: dict[OutPoint, Coin]
    """To be added."""
    assets: dict[AssetId, Asset | None]
    """The records that are new or changed, as they are then; None where there is none any more."""


class BlockUndo(msgspec.Struct, frozen=True, array_like=True):
    """What a block takes from the state before it (Bitcoin Core: CBlockUndo)."""

    spent: tuple[tuple[OutPoint, Coin], ...]
    """The coins that it spent, in the order of its inputs, but for those that it created."""
    assets: tuple[tuple[AssetId, Asset | None], ...] = ()
    """The records that it changed, as they were before; None for a new asset. A record from before there were assets
    lacks this field."""


class SpendContext(NamedTuple):
    """Where a transaction is to be included, as far as its time locks ask."""

    height: int
    """Of the block."""
    median_time: int
    """Of the block's parent, UNIX seconds (BIP 113)."""
