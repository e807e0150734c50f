"""The chain manager: the only one that moves the tip.

Headers are taken at once (`accept_header`). Blocks queue up and are taken in turn by one task: as many as
wait are checked, stored and connected in one write, and those who handed them in hear of it once that
write is on disk. What a step changes is gathered in memory first, while the store shows the old tip; so it
does until the write has ended, during which everybody else runs on. A rule that breaks on the way drops
the step: that is the rollback, and there is no other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from structlog.typing import FilteringBoundLogger

from consensus.errors import ConsensusError
from consensus.params import Params
from consensus.slices import Slices, whole
from consensus.state import ChainState
from consensus.types import Asset, AssetId, Block, BlockHash, Coin, Header, OutPoint
from node.block_index import BlockEntry, BlockIndex, find_fork, path
from node.chain_events import BlockResult, HeaderResult, TipListener, UnknownCursorError, Updates
from node.chain_limits import BATCH_BLOCKS, BATCH_BYTES, MAX_QUEUE_BYTES, UPDATE_BYTES, WARN_OF_CLOCK_SECONDS
from node.chain_log import ChainLog
from node.chain_writer import ChainWriter, Offer
from node.clock import Clock
from node.header_chain import HeaderChain
from node.storage.chain_store import ChainStore, Step
from node.workers import Workers

EARLY_LOOK_SECONDS = 10
"""At most so long after being due by a clock that was put right, an early header is tried again."""


class ChainClosedError(Exception):
    """The chain manager is not running (any more)."""


class _Request:
    """A block that waits for its turn, and whoever waits for the answer."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.size = len(offer.block.encoded)
        self.answer: asyncio.Future[BlockResult] = asyncio.get_running_loop().create_future()


class _Order:
    """What the operator wants of a block, and whoever waits until it is done."""

    def __init__(self, entry: BlockEntry, *, take_back: bool) -> None:
        self.entry = entry
        self.take_back = take_back
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class _Pause:
    """Somebody who wants the chain to stand still for a while."""

    def __init__(self) -> None:
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()


class ChainManager:
    """The best chain, its coins, and all branches beside it.

    Attributes:
        index: the tree of headers, to be read by anybody.
        tip_listeners: see `TipListener`; append to it.
        header_listeners: told of a header that was early and is now in the index.
    """

    def __init__(
        self, params: Params, store: ChainStore, workers: Workers, clock: Clock, log: FilteringBoundLogger
    ) -> None:
        """Load the chain. Nothing runs before `start`.

        Raises:
            DamagedError: the store must be rebuilt.
        """
        self._store = store
        self._workers = workers
        self.tip_listeners: list[TipListener] = []
        self._headers = HeaderChain(params, store, clock)
        self.index: BlockIndex = self._headers.index
        self._writer = ChainWriter(
            params, store, self._headers, workers, clock=clock, log=log, tip_listeners=self.tip_listeners
        )
        self.header_listeners: list[Callable[[BlockEntry], None]] = []
        self._queue: deque[_Request] = deque()
        self._queued_bytes = 0
        self._pauses: deque[_Pause] = deque()
        self._orders: deque[_Order] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._early_timer: asyncio.TimerHandle | None = None
        self._clock = clock
        self._log = ChainLog(params, log)
        self._warned_of_clock: float | None = None

    # Reading

    @property
    def tip(self) -> ChainState:
        """The block that the next one builds on."""
        return self._writer.tip

    def get_coins(self, outpoints: Iterable[OutPoint]) -> dict[OutPoint, Coin]:
        """Return those of the outpoints that are unspent at the tip."""
        return self._store.read_coins(outpoints)

    def get_assets(self, names: Iterable[AssetId]) -> dict[AssetId, Asset]:
        """Return the records of those of the ids that are assets at the tip."""
        return self._store.read_assets(names)

    def state_of(self, entry: BlockEntry) -> ChainState:
        """Return what the validity of a child of `entry` depends on: its times, its work."""
        return self._headers.state_of(entry)

    def read_header(self, entry: BlockEntry) -> Header:
        """Return the header of an entry."""
        return self._headers.read(entry)

    def read_block(self, block_hash: BlockHash) -> Block | None:
        """Return a stored block of any branch, or None."""
        return whole(self.read_block_in_slices(block_hash))

    def read_block_in_slices(self, block_hash: BlockHash) -> Slices[Block | None]:
        """Do `read_block`, in slices."""
        entry = self.index.get(block_hash)
        if entry is None or not entry.has_body:
            return None
        return (yield from self._stored(entry))

    def read_raw_block(self, block_hash: BlockHash) -> bytes | None:
        """Return the encoding of a stored block of any branch, or None: what a peer is sent."""
        entry = self.index.get(block_hash)
        if entry is None or not entry.has_body:
            return None
        fresh = self._writer.fresh.get(block_hash)
        return fresh.encoded if fresh is not None else self._store.read_raw_block(entry.height, block_hash)

    def block_at(self, height: int) -> Block | None:
        """Return the block of `height` on the best chain, or None."""
        entry = self.index.at(height)
        return None if entry is None else self.read_block(entry.hash)

    def why_invalid(self, entry: BlockEntry) -> ConsensusError | None:
        """Return the rule that an entry breaks (`INVALID_PARENT` if one before it does), or None."""
        return self._headers.refusal(entry) if entry.invalid else None

    def updates_since(self, cursor: BlockHash, limit: int = 100) -> Updates:
        """Return how a follower gets from the block that it stands on towards the tip.

        Args:
            cursor: the last block that the follower applied; genesis for a new one.
            limit: blocks to return at most, reverted ones included. Fewer are returned if they are large.

        Raises:
            UnknownCursorError: this node never had that block.
        """
        return whole(self.updates_in_slices(cursor, limit))

    def updates_in_slices(self, cursor: BlockHash, limit: int = 100) -> Slices[Updates]:
        """Do `updates_since`, in slices. If the tip moves meanwhile, the way leads towards where it was.

        That does no harm: each block on the way is one to stand on, and the next pull begins there.
        """
        entry = self.index.get(cursor)
        if entry is None or not entry.complete:
            raise UnknownCursorError(f"no block {cursor[::-1].hex()} here")
        tip = self.index.tip
        fork = find_fork(entry, tip)
        reverted: list[Block] = []
        size = 0
        while entry is not fork and entry.parent is not None and len(reverted) < limit and size < UPDATE_BYTES:
            reverted.append((yield from self._stored(entry)))
            size += len(reverted[-1].encoded)
            entry = entry.parent
        applied: list[Block] = []
        at = entry.height
        if entry is fork:
            for following in path(fork, tip.ancestor(min(tip.height, fork.height + limit - len(reverted)))):
                if size >= UPDATE_BYTES:
                    break
                applied.append((yield from self._stored(following)))
                size += len(applied[-1].encoded)
        more = entry is not fork or fork.height + len(applied) < tip.height
        return Updates(tuple(reverted), tuple(applied), at, more)

    def _stored(self, entry: BlockEntry) -> Slices[Block]:
        fresh = self._writer.fresh.get(entry.hash)
        if fresh is not None:
            return fresh
        return (yield from self._store.read_block_in_slices(entry.height, entry.hash))

    # Headers

    def accept_header(self, header: Header, *, wanted: bool = False) -> HeaderResult:
        """Take one header into the tree: `accept_headers` with a single one."""
        return self.accept_headers((header,), wanted=wanted)

    def accept_headers(self, headers: Sequence[Header], *, wanted: bool = False) -> HeaderResult:
        """Take a run of headers, each the parent of the next, into the tree. At once; nothing waits.

        Args:
            headers: at least one. The run is judged by the work of its last one.
            wanted: store them however little work they have.

        Raises:
            ConsensusError: one of them breaks a rule, or descends from a block that does: blame the sender.
        """
        result = self._headers.accept(headers, wanted=wanted)
        if self._headers.overdue:
            self._wake.set()
        self._schedule_early()
        return result

    def least_work(self) -> int:
        """Return the work below which a chain is too light for its headers to be stored unless they are wanted."""
        return self._headers.least_work()

    @property
    def warnings(self) -> list[str]:
        """Sentences for the operator: one while a header with real work waits because it is dated too far ahead."""
        first, latest = self._headers.early.first_time, self._headers.latest_time()
        if first is None or latest is None or first <= latest:
            return []
        waits = f"A block is dated {first - latest} s further ahead than this node may take, so it waits."
        return [f"{waits} Is this machine's clock behind? If not, a miner's is ahead."]

    def latest_time(self) -> int | None:
        """Return the highest time, in UNIX seconds, that a header may have by our clock now; None where any may."""
        return self._headers.latest_time()

    @property
    def early_headers(self) -> int:
        """How many headers and blocks wait to be due by our clock; at most `MAX_EARLY`."""
        return len(self._headers.early)

    def forget_headers(self) -> int:
        """Drop all headers without a body, because nobody delivers those; return how many.

        Sync calls this where the bodies of the best header cannot be had: a peer may have made up
        branches to fill the index. Honest headers come again.
        """
        return self._headers.forget_unbacked()

    # Blocks

    async def accept_block(self, block: Block, *, wanted: bool = False) -> BlockResult:
        """Check a block, store it, and move to the best chain; what the answer says is on disk.

        Args:
            wanted: take it however little work its chain has: we asked for it, or the operator gave it.

        Raises:
            ChainClosedError: the manager is closed, or failed (see `wait_stopped`).
        """
        while self._queued_bytes > MAX_QUEUE_BYTES and not self._closing:
            self._room.clear()
            await self._room.wait()
        self._workers.expect(len(block.transactions) - 1)
        # Shielded: who stops waiting does not stop the block.
        return await asyncio.shield(self._enqueue(Offer(block, wanted)).answer)

    def _enqueue(self, offer: Offer) -> _Request:
        self._check_running()
        request = _Request(offer)
        self._queue.append(request)
        self._queued_bytes += request.size
        self._wake.set()
        return request

    def _check_running(self) -> None:
        if self._closing or self._task is None:
            raise ChainClosedError("the chain manager is not running")

    @asynccontextmanager
    async def standing_still(self) -> AsyncIterator[None]:
        """Hold the chain between two steps: inside, the store and the tip stay as they are. Blocks wait.

        Others may be inside at the same time: nobody here writes.

        Raises:
            ChainClosedError: the manager is closed.
        """
        self._check_running()
        pause = _Pause()
        self._pauses.append(pause)
        self._wake.set()
        try:
            await pause.begun
            yield
        finally:
            pause.ended.set()

    # The operator's choice

    def is_set_aside(self, entry: BlockEntry) -> bool:
        """Whether it is by the operator's choice, and not for a rule, that a block counts as invalid."""
        return self._headers.is_set_aside(entry)

    async def set_aside(self, entry: BlockEntry) -> None:
        """Leave a block and all that descends from it, as if it broke a rule (invalidateblock); kept over restarts.

        Args:
            entry: not genesis.

        Raises:
            ChainClosedError: the manager is closed, or failed.
        """
        await self._order(_Order(entry, take_back=False))

    async def take_back(self, entry: BlockEntry) -> None:
        """Forget what marks a block, those before it and those that descend from it as invalid (reconsiderblock).

        Raises:
            ChainClosedError: the manager is closed, or failed.
        """
        await self._order(_Order(entry, take_back=True))

    async def _order(self, order: _Order) -> None:
        self._check_running()
        self._orders.append(order)
        self._wake.set()
        # Shielded: who stops waiting does not stop the reorg.
        await asyncio.shield(order.done)

    async def _obey(self) -> None:
        """Do what the operator wants. An order stays in line until it is done."""
        while self._orders:
            order = self._orders[0]
            await (self._writer.take_back if order.take_back else self._writer.set_aside)(order.entry)
            self._orders.popleft()
            if not order.done.done():
                order.done.set_result(None)

    # Living

    async def start(self) -> None:
        """Finish what an earlier run began (a reindex takes as long as a sync), then take blocks."""
        if self._store.reindexing:
            await self._writer.reindex()
        await self._writer.settle(Step())
        self._task = asyncio.create_task(self._run(), name="chain")

    async def wait_stopped(self) -> None:
        """Wait until the manager has stopped; raise what stopped it, if it was not `close`."""
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task.result()

    async def close(self) -> None:
        """Finish the step in hand, write what is left, and stop. Who still queues gets `ChainClosedError`.

        Raises:
            StorageError: the disk failed, now or before.
        """
        self._closing = True
        if self._early_timer is not None:
            self._early_timer.cancel()
        self._wake.set()
        self._room.set()
        if self._task is not None:
            await self._task
        await self._headers.flush()

    async def _run(self) -> None:
        batch: list[_Request] = []
        try:
            while not self._closing:
                await self._wake.wait()
                self._wake.clear()
                while self._has_work and not self._closing:
                    await self._stand_still()
                    await self._obey()
                    batch = self._next_batch()
                    results = await self._writer.take([request.offer for request in batch])
                    for request, result in zip(batch, results, strict=True):
                        if not request.answer.done():
                            request.answer.set_result(result)
                    self._schedule_early()
        finally:
            self._closing = True
            self._room.set()
            waiting: list[asyncio.Future[BlockResult] | asyncio.Future[None]] = []
            waiting += [request.answer for request in (*batch, *self._queue)]
            waiting += [pause.begun for pause in self._pauses]
            waiting += [order.done for order in self._orders]
            for future in waiting:
                if not future.done():
                    future.set_exception(ChainClosedError("the chain manager has stopped"))
                    future.exception()  # whoever waits hears of it; nobody has to

    @property
    def _has_work(self) -> bool:
        return bool(self._queue or self._pauses or self._orders or self._headers.overdue)

    async def _stand_still(self) -> None:
        """Let all who wait read, side by side. Who comes meanwhile waits for a step: blocks come in between."""
        pauses = [pause for pause in self._pauses if not pause.begun.done()]
        self._pauses.clear()
        for pause in pauses:
            pause.begun.set_result(None)
        for pause in pauses:
            await pause.ended.wait()

    def _next_batch(self) -> list[_Request]:
        batch: list[_Request] = []
        size = 0
        while self._queue and len(batch) < BATCH_BLOCKS and size < BATCH_BYTES:
            request = self._queue.popleft()
            size += request.size
            batch.append(request)
        self._queued_bytes -= size
        self._room.set()
        return batch

    # What comes too early

    def _schedule_early(self) -> None:
        """Set a timer for the header that is due first. By our clock, which may jump: it looks again then."""
        first, latest = self._headers.early.first_time, self._headers.latest_time()
        if first is None or latest is None or self._early_timer is not None or self._closing:
            return
        self._warn_of_clock()
        delay = min(max(first - latest, 1), EARLY_LOOK_SECONDS)
        self._early_timer = asyncio.get_running_loop().call_later(delay, self._retry_early)

    def _warn_of_clock(self) -> None:
        now = self._clock.monotonic()
        if self._warned_of_clock is None or now >= self._warned_of_clock + WARN_OF_CLOCK_SECONDS:
            for warning in self.warnings:
                self._warned_of_clock = now
                self._log.clock_in_doubt(warning)

    def look_again(self) -> None:
        """The clock was set: what came too early may be due now."""
        if self._early_timer is not None:
            self._early_timer.cancel()
        self._retry_early()

    def _retry_early(self) -> None:
        self._early_timer = None
        latest = self._headers.latest_time()
        due = [] if latest is None or self._closing else self._headers.early.take_due(latest)
        for early in due:
            if early.block is not None and self._task is not None:
                self._enqueue(Offer(early.block, early.wanted))
                continue
            try:
                result = self._headers.accept((early.header,), wanted=early.wanted)
            except ConsensusError:
                continue  # its parent has turned out invalid meanwhile
            if result.entry is not None:
                for listener in self.header_listeners:
                    listener(result.entry)
        self._schedule_early()
