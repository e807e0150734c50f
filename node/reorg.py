"""One step along the tree of blocks: coins back to the fork, coins forward again, all in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import chain
from typing import NamedTuple

from consensus.apply import AppliedBlock, apply_block, assets_of_block, revert_block
from consensus.assets import assets_of_coins
from consensus.errors import ConsensusError, Rule
from consensus.params import Params
from consensus.signatures import SignatureCheck
from consensus.state import BlockUndo, ChainState
from consensus.types import Block, BlockHash
from node.block_index import BlockEntry, find_fork
from node.chain_limits import BATCH_BLOCKS, BATCH_BYTES, BATCH_CHECKS, BATCH_COINS
from node.header_chain import HeaderChain
from node.state_view import StateView
from node.storage.asset_index import AssetIndexStep
from node.storage.chain_store import ChainStore, Step
from node.workers import Workers

YIELD_AFTER = 200
"""Transactions after which other tasks of the loop get a turn: a few milliseconds."""


class BadBlockError(Exception):
    """A block on the way breaks a rule. Nothing was changed: the coins in memory are dropped."""

    def __init__(self, entry: BlockEntry, error: ConsensusError) -> None:
        super().__init__(entry, error)
        self.entry = entry
        self.error = error


class Advance(NamedTuple):
    """A step that is ready to be written."""

    disconnected: list[Block]
    """Newest first."""
    connected: list[Block]
    """Oldest first."""
    undo: list[BlockUndo]
    """Of the connected blocks."""
    new: BlockEntry
    fork_height: int
    state: StateView
    assets: AssetIndexStep

    def add_to(self, step: Step) -> None:
        """Put all that changes into one write."""
        step.put_coins(self.state.changes())
        step.put_assets(self.state.asset_changes())
        step.changes += self.assets.changes()
        height = self.new.height - len(self.connected)
        for block, undo in zip(self.connected, self.undo, strict=True):
            height += 1
            step.put_undo(height, block.hash, undo)
        step.put_tip(self.new.height, self.new.hash)


class _Bounds:
    """What a step has gathered; it ends where one of the limits is reached."""

    def __init__(self) -> None:
        self.blocks = 0
        self.size = 0
        self.checks = 0
        self.transactions = 0

    def take(self, block: Block) -> None:
        self.blocks += 1
        self.size += len(block.encoded)
        self.transactions += len(block.transactions)

    def full(self, view: StateView) -> bool:
        return (
            self.blocks >= BATCH_BLOCKS
            or self.size >= BATCH_BYTES
            or self.checks >= BATCH_CHECKS
            or len(view) >= BATCH_COINS
        )

    async def give_way(self) -> None:
        """Let the rest of the node run now and then: it sees the old tip until the step is written."""
        if self.transactions >= YIELD_AFTER:
            self.transactions = 0
            await asyncio.sleep(0)


class Mover:
    """Works out steps from the tip towards another block. It changes nothing but its own overlay."""

    def __init__(self, params: Params, store: ChainStore, headers: HeaderChain, workers: Workers) -> None:
        self._params = params
        self._store = store
        self._headers = headers
        self._workers = workers

    async def advance(self, target: BlockEntry, fresh: Mapping[BlockHash, Block]) -> Advance:
        """Return the next step from the tip towards `target`, as far as one step may go.

        Args:
            target: a complete block.
            fresh: blocks that are not in the store yet.

        Raises:
            BadBlockError: the branch of `target` holds an invalid block.
            DamagedError: a body or an undo record is missing.
        """
        tip = self._headers.index.tip
        fork = find_fork(tip, target)
        view, index, bounds = StateView(self._store), AssetIndexStep(), _Bounds()
        disconnected: list[Block] = []
        while tip is not fork and tip.parent is not None and not bounds.full(view):
            block = self._block(tip, fresh)
            delta = revert_block(block, tip.height, self._store.read_undo(tip.height, tip.hash))
            view.apply(delta)
            index.revert(block, delta)
            disconnected.append(block)
            bounds.take(block)
            await bounds.give_way()
            tip = tip.parent
        connected: list[Block] = []
        undo: list[BlockUndo] = []
        checks: list[SignatureCheck] = []
        owners: list[tuple[int, BlockEntry]] = []
        state = self._headers.state_of(tip)
        # What the step disconnects is bounded; what it connects then gets bounds of its own, so that a
        # reorg of ordinary depth is one write.
        bounds = _Bounds() if tip is fork else bounds
        while tip is fork and state.height < target.height and not bounds.full(view):
            entry = target.ancestor(state.height + 1)
            block = self._block(entry, fresh)
            applied, state = self._apply(entry, block, state, view)
            index.apply(entry.height, block, applied.delta)
            connected.append(block)
            undo.append(applied.undo)
            checks += applied.checks
            owners.append((len(checks), entry))
            bounds.take(block)
            bounds.checks = len(checks)
            await bounds.give_way()
        await self._verify(checks, owners)
        new = target.ancestor(state.height) if tip is fork else tip
        return Advance(disconnected, connected, undo, new, min(fork.height, new.height), view, index)

    def _block(self, entry: BlockEntry, fresh: Mapping[BlockHash, Block]) -> Block:
        return fresh.get(entry.hash) or self._store.read_block(entry.height, entry.hash)

    def _apply(
        self, entry: BlockEntry, block: Block, parent: ChainState, view: StateView
    ) -> tuple[AppliedBlock, ChainState]:
        named = (outpoint for tx in block.transactions[1:] for outpoint in tx.core.inputs)
        try:
            coins = view.fetch(named)
            assets = view.fetch_assets(chain(assets_of_block(block), assets_of_coins(coins.values())))
            applied = apply_block(self._params, parent, block, coins, assets)
        except ConsensusError as error:
            raise BadBlockError(entry, error) from error
        view.apply(applied.delta)
        return applied, self._headers.state_of(entry)

    async def _verify(self, checks: list[SignatureCheck], owners: list[tuple[int, BlockEntry]]) -> None:
        """Verify the signatures of all blocks of a step together: large chunks keep every core busy."""
        bad = await self._workers.verify(checks) if checks else None
        if bad is not None:
            entry = next(entry for end, entry in owners if bad < end)
            raise BadBlockError(entry, ConsensusError(Rule.BAD_SIGNATURE, height=entry.height))
