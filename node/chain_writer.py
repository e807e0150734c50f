"""Blocks in, one write out: the part of the chain manager that changes things, one call at a time.

A call gathers everything in a `Step` (headers, bodies, undo records, coins, the tip, invalid marks) and writes
it as one. Where the way to the best chain is longer than a step may be, the first steps are written one by one,
and each leaves the state of some block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from consensus.errors import BODY_RULES, ConsensusError
from consensus.params import Params
from consensus.slices import SLICE
from consensus.state import ChainState
from consensus.types import Block, BlockHash
from consensus.validation import check_block, check_block_in_slices
from node.block_index import BlockEntry
from node.chain_events import BlockResult, BlockStatus, Facts, HeaderStatus, TipChanged, TipListener
from node.chain_limits import BATCH_BLOCKS, BATCH_BYTES
from node.chain_log import MORE_WORK, ChainLog, Reorg
from node.clock import Clock
from node.early_blocks import EarlyBlock
from node.garbage import frameless
from node.header_chain import HeaderChain
from node.reorg import Advance, BadBlockError, Mover
from node.storage.chain_store import ChainStore, Step
from node.storage.schema import SET_ASIDE
from node.turns import give_way, in_turns
from node.workers import Workers

_NOT_TAKEN = {
    HeaderStatus.ORPHAN: BlockStatus.ORPHAN,
    HeaderStatus.EARLY: BlockStatus.EARLY,
    HeaderStatus.LOW_WORK: BlockStatus.LOW_WORK,
    HeaderStatus.SET_ASIDE: BlockStatus.SET_ASIDE,
}


class Offer(NamedTuple):
    """A block that somebody hands in."""

    block: Block
    wanted: bool
    """Whether to take it however little work its chain has."""


class ChainWriter:
    """Moves the tip. Its methods are never run two at a time: `ChainManager` sees to that."""

    def __init__(
        self,
        params: Params,
        store: ChainStore,
        headers: HeaderChain,
        workers: Workers,
        *,
        clock: Clock,
        log: FilteringBoundLogger,
        tip_listeners: Sequence[TipListener],
    ) -> None:
        self._params = params
        self._store = store
        self._headers = headers
        self._index = headers.index
        self._mover = Mover(params, store, headers, workers)
        self._clock = clock
        self._log = ChainLog(params, log)
        self.tip: ChainState = headers.state_of(self._index.tip)
        self._tip_listeners = tip_listeners
        self._best = self._index.best_complete()
        """Where the tip should be."""
        self._reorg: Reorg | None = None
        self.fresh: dict[BlockHash, Block] = {}
        """Blocks of the current step, which are not in the store yet."""

    # Blocks

    async def take(self, offers: Sequence[Offer]) -> list[BlockResult]:
        """Check and store blocks, then move to the best chain; all of it is on disk when this returns.

        Raises:
            StorageError: the disk failed; this object is of no more use.
        """
        step = Step()
        answers: list[BlockResult | BlockEntry] = []
        transactions = 0
        for offer in offers:
            answers.append(await self._take_one(offer, step))
            transactions += len(offer.block.transactions)
            if transactions >= SLICE:
                transactions = 0
                await give_way()
        await self.settle(step)
        results = [answer if isinstance(answer, BlockResult) else self._result(answer) for answer in answers]
        self._tell_forks(results)
        return results

    async def _take_one(self, offer: Offer, step: Step) -> BlockResult | BlockEntry:
        """Take a block as far as it goes without coins; return its entry if it is to be stored."""
        block = offer.block
        entry = self._place(offer)
        if isinstance(entry, BlockResult):
            return entry
        refused: ConsensusError | None = None
        try:
            await in_turns(check_block_in_slices(self._params, block))
        except ConsensusError as error:
            refused = frameless(error)
        if len(block.transactions) > SLICE:
            # Others ran meanwhile, and headers came and went: its place is looked for anew.
            entry = self._place(offer)
            if isinstance(entry, BlockResult):
                return entry
        if refused is None:
            self._store_body(entry, block, step)
            return entry
        if refused.rule in BODY_RULES:
            return BlockResult(BlockStatus.MUTATED, entry, refused)
        self._refuse(entry, refused, step)
        return BlockResult(BlockStatus.INVALID, entry, refused)

    def _place(self, offer: Offer) -> BlockEntry | BlockResult:
        """Return where a block belongs that we lack; else why it is not taken."""
        block = offer.block
        try:
            entry = self._enter(offer)
        except ConsensusError as error:
            return BlockResult(BlockStatus.INVALID, self._index.get(block.hash), frameless(error))
        if isinstance(entry, BlockResult):
            return entry
        if entry.has_body:
            return BlockResult(BlockStatus.KNOWN, entry, None)
        if not offer.wanted and entry.work < self._headers.least_work():
            return BlockResult(BlockStatus.LOW_WORK, entry, None)
        return entry

    def _enter(self, offer: Offer) -> BlockEntry | BlockResult:
        """Return the block's place in the tree of headers, or why it has none.

        Raises:
            ConsensusError: its header breaks a rule, or it builds on a block that does.
        """
        header = offer.block.header
        result = self._headers.accept((header,), wanted=offer.wanted, backed=True)
        status = _NOT_TAKEN.get(result.status)
        if status is BlockStatus.EARLY:
            self._headers.early.keep(EarlyBlock(header, offer.block, offer.wanted))
        if status is not None or result.entry is None:
            return BlockResult(status or BlockStatus.LOW_WORK, None, None)
        return result.entry

    def _store_body(self, entry: BlockEntry, block: Block, step: Step, arrival: int | None = None) -> None:
        completed = self._index.add_body(entry, arrival)
        self._headers.note_body(entry, block.header)
        if arrival is None:
            step.put_body(entry.height, block, entry.arrival)
            self.fresh[block.hash] = block
        for done in completed:
            if not done.invalid:
                self._best = max(self._best, done, key=self._index.preference)

    def _refuse(self, entry: BlockEntry, error: ConsensusError, step: Step) -> None:
        """Mark a block, and all that descends from it, for ever."""
        self._headers.errors[entry.hash] = frameless(error)
        self._index.mark_invalid(entry)
        step.put_invalid(entry.height, entry.hash, str(error.rule))
        self._log.block_refused(entry, error)
        if self._best.invalid:
            self._best = self._index.best_complete()

    def _result(self, entry: BlockEntry) -> BlockResult:
        """Return the answer to a block that was stored."""
        if entry.invalid and self._headers.is_set_aside(entry):
            return BlockResult(BlockStatus.SET_ASIDE, entry, None)
        if entry.invalid:
            return BlockResult(BlockStatus.INVALID, entry, self._headers.refusal(entry))
        if self._index.on_best_chain(entry):
            return BlockResult(BlockStatus.CONNECTED, entry, None)
        return BlockResult(BlockStatus.SIDE_BRANCH if entry.complete else BlockStatus.WAITING, entry, None)

    def _tell_forks(self, results: Sequence[BlockResult]) -> None:
        """Log each branch that competes with ours, once, by the last of its blocks that came now."""
        beside = [r.entry for r in results if r.status is BlockStatus.SIDE_BRANCH and r.entry is not None]
        for entry in beside:
            if not any(other is not entry and other.descends_from(entry) for other in beside):
                self._log.fork_seen(self._index.tip, entry)

    # By the operator's choice

    async def set_aside(self, entry: BlockEntry) -> None:
        """Leave a block and all that descends from it, as if it broke a rule, until `take_back`; durable.

        Args:
            entry: not genesis.
        """
        if entry.invalid:
            return
        step = Step()
        self._headers.set_aside[entry.hash] = entry
        self._index.mark_invalid(entry)
        step.put_invalid(entry.height, entry.hash, SET_ASIDE)
        self._log.set_aside(entry, on_best_chain=self._index.on_best_chain(entry))
        if self._best.invalid:
            self._best = self._index.best_complete()
        await self.settle(step, cause="the operator has set our branch aside")

    async def take_back(self, entry: BlockEntry) -> None:
        """Forget all marks on a block, on those before it and on those that descend from it; durable.

        One that breaks a rule is found out anew when it is connected.
        """
        step = Step()
        marks = {**self._headers.set_aside, **{h: self._index.get(h) for h in self._headers.errors}}
        for block_hash, marked in marks.items():
            if marked is not None and (marked.descends_from(entry) or entry.descends_from(marked)):
                step.clear_invalid(marked.height, block_hash)
                self._headers.set_aside.pop(block_hash, None)
                self._headers.errors.pop(block_hash, None)
        if not step.changes:
            return
        self._index.mark_anew({*self._headers.set_aside, *self._headers.errors})
        self._log.taken_back(entry)
        self._best = self._index.best_complete()
        await self.settle(step, cause="the operator has taken a branch back, and it has more work")

    # Moving

    async def settle(self, step: Step, cause: str = MORE_WORK) -> None:
        """Write `step`, with as much of the way to the best chain as fits; then the rest, step by step.

        Args:
            cause: why another branch is better than ours, for the log.
        """
        while self._best is not self._index.tip:
            started = self._clock.monotonic()
            target = self._best
            self._begin_reorg(target, started, cause)
            try:
                advance = await self._mover.advance(target, self.fresh)
            except BadBlockError as bad:
                if self._reorg is not None:
                    self._log.reorg_failed(self._reorg, bad.entry, bad.error)
                self._refuse(bad.entry, bad.error, step)
                if self._best is self._index.tip:
                    self._reorg = None
                continue
            step.changes += advance.changes
            await self._write(step)
            step = Step()
            await self._commit(advance, started)
        await self._write(step)

    def _begin_reorg(self, target: BlockEntry, started: float, cause: str) -> None:
        tip = self._index.tip
        if not target.descends_from(tip) and (self._reorg is None or self._reorg.target is not target):
            # Where a first attempt failed half way, this is the next one: its losses are counted on.
            earlier, self._reorg = self._reorg, Reorg(tip, target, started, cause)
            if earlier is not None and earlier.disconnected:
                self._reorg.take_over(earlier)
            self._log.reorg_started(self._reorg)

    async def _write(self, step: Step) -> None:
        """Make a step durable, with all headers that came so far.

        Meanwhile the rest of the node runs, and sees the old tip with its coins; the bodies of the step in `fresh`.
        """
        self._headers.add_to(step)
        if step.changes:
            await self._store.commit(step)
        self._headers.written()
        self.fresh.clear()

    async def _commit(self, advance: Advance, started: float) -> None:
        """Show the new tip, which is on disk, to everybody. Nobody ran since the write ended."""
        old = self.tip
        self._index.tip = advance.new
        self.tip = self._headers.state_of(advance.new)
        change = TipChanged(tuple(advance.disconnected), tuple(advance.connected), old, self.tip, advance.fork_height)
        told: list[Facts | None] = []
        for listener in self._tip_listeners:
            said = listener(change)
            told.append(await in_turns(said) if isinstance(said, Generator) else said)
        took_ms = self._milliseconds_since(started)
        if advance.connected:
            self._log.connected(advance.new, advance.connected, took_ms)
        reorg = self._reorg
        if reorg is None:
            return
        reorg.count(self._params, old.height, advance.disconnected, len(advance.connected))
        for facts in told:
            reorg.add_facts(facts or {})
        if self._index.tip is self._best:
            self._log.reorg_done(reorg, self._index.tip, self._milliseconds_since(reorg.started))
            self._reorg = None

    def _milliseconds_since(self, started: float) -> int:
        return round((self._clock.monotonic() - started) * 1000)

    # Rebuilding

    async def reindex(self) -> None:
        """Take every stored body as if it came now, in the order of heights; then the coins are the tip's again.

        Begun again from its start if it is interrupted. A body that is damaged is passed over: it will be
        fetched from a peer. Which of equal tips came first is kept.
        """
        started = self._clock.monotonic()
        step, blocks, size = Step(), 0, 0
        for height, arrival, block in self._store.bodies():
            if height == 0:
                continue
            blocks += 1
            size += len(block.encoded)
            self._retake(block, arrival, step)
            if blocks % BATCH_BLOCKS == 0 or size >= BATCH_BYTES:
                await self.settle(step)
                await asyncio.sleep(0)
                step, size = Step(), 0
        step.end_reindex()
        await self.settle(step)
        self._log.reindexed(blocks, self._index.tip, self._milliseconds_since(started))

    def _retake(self, block: Block, arrival: int, step: Step) -> None:
        try:
            result = self._headers.accept((block.header,), wanted=True, backed=True)
            if result.entry is None or result.status is HeaderStatus.EARLY or result.entry.has_body:
                return
        except ConsensusError:
            return  # it builds on an invalid block
        try:
            check_block(self._params, block)
        except ConsensusError as error:
            self._refuse(result.entry, error, step)
            return
        self._store_body(result.entry, block, step, arrival)
