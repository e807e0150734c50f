"""What waits for a block, in at most so much memory: who enters, who leaves, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from structlog.typing import FilteringBoundLogger

from consensus.slices import SLICE, Slices, whole
from consensus.types import TxId
from node.admission import Proposal
from node.clock import Clock
from node.mempool_graph import Entry, MempoolGraph, score
from node.pool_change import Dropped, DropReason
from node.relay_policy import MIN_FEE_RATE

EXPIRY_SECONDS = 14 * 86_400
"""A transaction that no block took for so long is forgotten (Bitcoin Core: mempoolexpiry)."""
FLOOR_HALF_LIFE = 20 * 60
"""Seconds after which the fee rate that a full mempool asks for has halved."""


class Taken(NamedTuple):
    """Transactions that entered together."""

    entries: tuple[Entry, ...]
    """Parents before children."""
    replaced: tuple[Entry, ...]
    """What left for them."""


class PoolListener(Protocol):
    """Who wants to know what comes and goes. Called at once; it neither blocks, raises nor changes the mempool."""

    def entered(self, entry: Entry) -> None:
        """A transaction waits for a block now."""

    def confirmed(self, entry: Entry, height: int) -> None:
        """A transaction that waited is in the block of `height`."""

    def dropped(self, entry: Entry, reason: DropReason) -> None:
        """A transaction waits no more, and is in no block."""


class MempoolEntries:
    """The entries of a mempool, in at most `max_bytes` of memory, and the fee rate that this bound makes it ask for.

    Attributes:
        graph: all entries, with their neighbours and their orders.
        listeners: told of what comes and goes; append to it.
    """

    def __init__(self, clock: Clock, log: FilteringBoundLogger, max_bytes: int) -> None:
        self._clock = clock
        self._epoch = clock.time() - clock.monotonic()
        self._log = log
        self._bereft: dict[TxId, object] = {}
        """Parents of what has left since `drop_unpaid` last looked at them."""
        self._floor = 0
        self._floor_set_at = 0.0
        self.max_bytes = max_bytes
        self.graph = MempoolGraph()
        self.listeners: list[PoolListener] = []
        self.generation = 0
        """Rises with every change, and with every new tip: what was made before is stale."""

    @property
    def min_fee_rate(self) -> int:
        """Grain per 1,000 virtual bytes that a transaction must pay now to be taken."""
        if not self._floor:
            return MIN_FEE_RATE
        halvings = int(self._clock.monotonic() - self._floor_set_at) // FLOOR_HALF_LIFE
        return max(MIN_FEE_RATE, self._floor >> halvings)

    def _now(self) -> int:
        """Return UNIX seconds by a clock that runs on evenly from the start, even if the machine's is set (A192)."""
        return int(self._epoch + self._clock.monotonic())

    def insert(self, proposal: Proposal, height: int, time: int | None = None) -> tuple[Entry, ...]:
        """Add transactions that were examined; return them as entries.

        Args:
            height: of the tip.
            time: when they first came, UNIX seconds, if that is not now.
        """
        entries: list[Entry] = []
        for candidate in proposal.candidates:
            tx, fee, size, signatures, _, watched, assets = candidate
            came = self._now() if time is None else time
            entry = Entry(tx, fee, size, signatures, came, watched, candidate.sponsored, height, assets)
            self.graph.add(entry)
            self.generation += 1
            entries.append(entry)
            for listener in self.listeners:
                listener.entered(entry)
        return tuple(entries)

    def leave(self, entries: Sequence[Entry], reason: DropReason) -> list[Dropped]:
        """Remove entries, which stand parents before children and with all that descends from them."""
        for entry in reversed(entries):
            self._bereft.update(entry.parents)
            self.graph.remove(entry)
            self.generation += 1
            for listener in self.listeners:
                listener.dropped(entry, reason)
        return [Dropped(entry.tx.txid, reason) for entry in entries]

    def drop_unpaid(self) -> list[Dropped]:
        """Remove what is here only because a descendant paid for it, where that has left."""
        dropped: list[Dropped] = []
        while self._bereft:
            txid, _ = self._bereft.popitem()
            entry = self.graph.get(txid)
            if entry is not None and entry.sponsored and entry.worth < score(MIN_FEE_RATE, 1_000):
                dropped += self.leave(self.graph.family((entry,)), DropReason.UNPAID)
        return dropped

    def expire(self) -> list[Dropped]:
        """Remove what came too long ago."""
        oldest = self._now() - EXPIRY_SECONDS
        dropped: list[Dropped] = []
        for entry in [entry for entry in self.graph if entry.time < oldest]:
            if self.graph.get(entry.tx.txid) is entry:
                dropped += self.leave(self.graph.family((entry,)), DropReason.EXPIRED)
        return dropped

    def trim(self) -> list[Dropped]:
        """Evict what pays worst while the mempool takes too much memory.

        From then on only better pay is taken, until the floor has sunk again.
        """
        return whole(self.trim_in_slices())

    def trim_in_slices(self) -> Slices[list[Dropped]]:
        """Do `trim`, in slices."""
        evicted = 0
        dropped: list[Dropped] = []
        floor = 0
        was_full = self.min_fee_rate > MIN_FEE_RATE
        while self.graph.memory > self.max_bytes and (worst := self.graph.leaving_order.first()) is not None:
            worth, _, entry = worst
            evicted += 1
            if evicted % SLICE == 0:
                yield
            dropped += self.leave(self.graph.family((entry,)), DropReason.TOO_MANY)
            dropped += self.drop_unpaid()
            floor = max(floor, worth * 1_000 >> 32)
        if dropped:
            self._floor = max(self.min_fee_rate, floor + MIN_FEE_RATE)
            self._floor_set_at = self._clock.monotonic()
            tell = self._log.debug if was_full else self._log.info
            tell("mempool_full", evicted=len(dropped), left=len(self.graph), min_fee_rate=self._floor)
        return dropped

    def check(self) -> None:
        """Check that all indexes agree and that the bound holds. For tests: it reads everything.

        Raises:
            ValueError: naming what does not agree.
        """
        self.graph.check()
        if self.graph.memory > self.max_bytes:
            raise ValueError("the mempool takes more memory than it may")
