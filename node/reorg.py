"""One step along the tree of blocks: coins back to the fork, coins forward again, all in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import chain, islice
from typing import NamedTuple, Self

from consensus.apply import AppliedBlock, apply_block_in_slices, assets_of_block, revert_block
from consensus.assets import assets_of_coins
from consensus.errors import ConsensusError, Rule
from consensus.params import Params
from consensus.signatures import SignatureCheck
from consensus.slices import SLICE
from consensus.state import BlockUndo, ChainState
from consensus.types import Block, BlockHash
from node.block_index import BlockEntry, find_fork
from node.chain_limits import BATCH_BLOCKS, BATCH_BYTES, BATCH_CHECKS, BATCH_COINS
from node.header_chain import HeaderChain
from node.state_view import StateView
from node.storage.asset_index import AssetIndexStep
from node.storage.chain_store import ChainStore, Step
from node.storage.store import Change
from node.turns import give_way, in_turns
from node.workers import Workers

YIELD_AFTER = 200
"""Transactions after which other tasks of the loop get a turn: a few milliseconds."""
COINS_AT_ONCE = 1_000
"""Coins that are put in form between two turns of the loop: a few milliseconds."""
CHECKS_AT_ONCE = 512
"""Signatures that are handed to the workers together: enough that the asking costs nothing, few enough that all cores
are busy from the first blocks of a step on."""


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
    new: BlockEntry
    fork_height: int
    changes: list[Change]
    """All that is to be written for it, but for headers, bodies and marks."""


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
            await give_way()


class _Signatures:
    """The signatures of a step: verified on other cores while the rest of the step is worked out on this one.

    At most `BATCH_CHECKS` and one block of them are on their way, for a step ends there.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._gathered: list[SignatureCheck] = []
        self._count = 0
        self._owners: list[tuple[int, BlockEntry]] = []
        """How many signatures a block and those before it have."""
        self._begun: list[tuple[int, asyncio.Task[int | None]]] = []
        """Where each part begins, and what looks into it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Nobody waits for an answer any more."""
        for _, task in self._begun:
            task.cancel()
        await asyncio.gather(*(task for _, task in self._begun), return_exceptions=True)

    def __len__(self) -> int:
        return self._count

    def add(self, entry: BlockEntry, checks: list[SignatureCheck]) -> None:
        """Take those of the next block."""
        self._gathered += checks
        self._count += len(checks)
        self._owners.append((self._count, entry))
        if len(self._gathered) >= CHECKS_AT_ONCE:
            self._begin()

    def _begin(self) -> None:
        checks, self._gathered = self._gathered, []
        task = asyncio.create_task(self._workers.verify(checks), name="signatures")
        self._begun.append((self._count - len(checks), task))

    async def settle(self) -> None:
        """Wait for all of them.

        Raises:
            BadBlockError: one fails; of several, it is the first block's.
        """
        if self._gathered:
            self._begin()
        for begin, task in self._begun:
            bad = await task
            if bad is not None:
                entry = next(entry for end, entry in self._owners if begin + bad < end)
                raise BadBlockError(entry, ConsensusError(Rule.BAD_SIGNATURE, height=entry.height))


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
            block = await self._block(tip, fresh)
            undo_record = self._store.read_undo(tip.height, tip.hash)
            await _give_way_if_large(block)
            delta = revert_block(block, tip.height, undo_record)
            await _give_way_if_large(block)
            view.apply(delta)
            await _give_way_if_large(block)
            index.revert(block, delta)
            disconnected.append(block)
            bounds.take(block)
            await bounds.give_way()
            tip = tip.parent
        connected: list[Block] = []
        undo: list[BlockUndo] = []
        state = self._headers.state_of(tip)
        # What the step disconnects is bounded; what it connects then gets bounds of its own, so that a
        # reorg of ordinary depth is one write.
        bounds = _Bounds() if tip is fork else bounds
        async with _Signatures(self._workers) as signatures:
            while tip is fork and state.height < target.height and not bounds.full(view):
                entry = target.ancestor(state.height + 1)
                block = await self._block(entry, fresh)
                applied, state = await self._apply(entry, block, state, view)
                await _give_way_if_large(block)
                index.apply(entry.height, block, applied.delta)
                await _give_way_if_large(block)
                connected.append(block)
                undo.append(applied.undo)
                signatures.add(entry, applied.checks)
                bounds.take(block)
                bounds.checks = len(signatures)
                await bounds.give_way()
            new = target.ancestor(state.height) if tip is fork else tip
            # What is to be written is put in form while the signatures are looked into.
            changes = await _changes(new, connected, undo, view, index)
            await signatures.settle()
        return Advance(disconnected, connected, new, min(fork.height, new.height), changes)

    async def _block(self, entry: BlockEntry, fresh: Mapping[BlockHash, Block]) -> Block:
        held = fresh.get(entry.hash)
        if held is not None:
            return held
        return await in_turns(self._store.read_block_in_slices(entry.height, entry.hash))

    async def _apply(
        self, entry: BlockEntry, block: Block, parent: ChainState, view: StateView
    ) -> tuple[AppliedBlock, ChainState]:
        named = (outpoint for tx in block.transactions[1:] for outpoint in tx.core.inputs)
        try:
            coins = await in_turns(view.fetch_in_slices(named))
            assets = view.fetch_assets(chain(assets_of_block(block), assets_of_coins(coins.values())))
            applied = await in_turns(apply_block_in_slices(self._params, parent, block, coins, assets))
        except ConsensusError as error:
            raise BadBlockError(entry, error) from error
        view.apply(applied.delta)
        return applied, self._headers.state_of(entry)


async def _give_way_if_large(block: Block) -> None:
    """Let everybody else run between two steps that take ten milliseconds each for a full block."""
    if len(block.transactions) > SLICE:
        await give_way()


async def _changes(
    new: BlockEntry, connected: list[Block], undo: list[BlockUndo], view: StateView, index: AssetIndexStep
) -> list[Change]:
    """Return what a step to `new` changes, in the form in which it is stored."""
    step = Step()
    coins = view.changes()
    while piece := dict(islice(coins, COINS_AT_ONCE)):
        step.put_coins(piece)
        await (give_way() if len(piece) == COINS_AT_ONCE else asyncio.sleep(0))
    step.put_assets(view.asset_changes())
    step.changes += index.changes()
    height = new.height - len(connected)
    for block, its_undo in zip(connected, undo, strict=True):
        height += 1
        step.put_undo(height, block.hash, its_undo)
    step.put_tip(new.height, new.hash)
    return step.changes
