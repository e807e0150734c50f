"""How long payments at which fee rate waited for a block, and what that says of the next ones.

Each payment that this node sees coming, and then in a block or given up, counts in the bucket of its fee rate. Old
ones count less and less. Where nothing has been seen yet, an estimate rests on what waits now: so it works from the
first block on, and says what it rests on.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

import msgspec
from structlog.typing import FilteringBoundLogger

from consensus.codec import MAX_BLOCK_SIZE
from consensus.types import TxId
from node.mempool import Mempool
from node.mempool_graph import Entry
from node.pool_change import DropReason
from node.relay_policy import MIN_FEE_RATE
from node.storage.errors import DamagedError, StorageError
from node.storage.files import Files, read_small
from node.storage.sealed_file import seal_file, unseal_file

FILE = "fees.dat"
KIND = b"durefee\n"
VERSION = 1
MAX_FILE_SIZE = 1024 * 1024
"""Bytes that are read at most: all counts that there can be take a fraction of it."""
MAX_TARGET = 144
"""Blocks: whoever can wait for longer pays the lowest rate that is relayed."""
STEP = 1.15
"""Ratio of neighbouring buckets: fine enough, and the highest is a million times the lowest."""
BUCKETS = tuple(int(MIN_FEE_RATE * STEP**place) for place in range(100))
"""The lowest fee rate of each bucket, grain per 1,000 virtual bytes."""
DECAY = 0.99
"""What a count is worth a block later: half of it after 69 blocks."""
ENOUGH = 5.0
"""Payments, weighed by age, that it takes to say something of a fee rate."""
SURE = 0.85
"""The share of them that must have been in a block in time (Bitcoin Core: SUCCESS_PCT)."""
_LARGEST_WEIGHT = 1e9

_JUDGED = frozenset({DropReason.TOO_MANY, DropReason.EXPIRED, DropReason.UNPAID})
"""Reasons for leaving that say something of the fee: for these it was too low."""


class Counts(msgspec.Struct):
    """One bucket."""

    waits: dict[int, float] = {}
    """By the number of blocks that payments waited, 1 for the next: how many, weighed by age."""
    failed: float = 0.0
    """Those that were given up, or waited for longer than `MAX_TARGET`."""


class Said(NamedTuple):
    """What history says of a target."""

    rate: int | None
    """The lowest fee rate that was enough nearly always; None where too little is known."""
    payments: float
    """How many it knows of, weighed by age."""


class Estimate(NamedTuple):
    """What to pay."""

    rate: int
    """Grain per 1,000 virtual bytes."""
    blocks: int
    """To be in one of so many next blocks."""
    basis: str
    """What it rests on, in a sentence."""


class FeeHistory:
    """Satisfies `PoolListener`: counts, and keeps the counts over restarts."""

    def __init__(self, files: Files, log: FilteringBoundLogger) -> None:
        """Take up what was kept; a damaged file is passed over with a warning (A134)."""
        self._files = files
        self._log = log
        self._height = 0
        self._weight = 1.0
        """Of a payment that is counted now: it grows where all others would have to shrink."""
        self._tracked: dict[TxId, tuple[int, int]] = {}
        """Of payments that wait: the height at which they came, and their bucket."""
        self._waiting: dict[int, dict[int, int]] = {}
        """The same by height, then bucket: how many."""
        self._buckets = self._read()
        self._said: dict[int, Said] = {}
        """What was said of each target, at most `MAX_TARGET`, since something was counted: each payment asks."""

    # What comes and goes

    def entered(self, entry: Entry) -> None:
        """Follow a payment whose fee rate is its own: not one that waits for a parent, or for a child to pay."""
        if entry.ancestor_count == 1 and not entry.sponsored:
            bucket = max(0, bisect_right(BUCKETS, entry.fee * 1_000 // entry.virtual_size) - 1)
            self._tracked[entry.tx.txid] = entry.height, bucket
            self._wait(entry.height, bucket, 1)

    def confirmed(self, entry: Entry, height: int) -> None:
        """Count how long it took."""
        self._move_to(height)
        found = self._forget(entry.tx.txid)
        if found is not None:
            came, bucket = found
            self._count(bucket, max(1, height - came))

    def dropped(self, entry: Entry, reason: DropReason) -> None:
        """Count it as failed, if it was for its fee that it left."""
        found = self._forget(entry.tx.txid)
        if found is not None and reason in _JUDGED:
            self._count(found[1], MAX_TARGET + 1)

    def _forget(self, txid: TxId) -> tuple[int, int] | None:
        found = self._tracked.pop(txid, None)
        if found is not None:
            self._wait(*found, -1)
        return found

    def _wait(self, height: int, bucket: int, more: int) -> None:
        """Count one payment more, or one less, of those that wait since a height."""
        if height < self._height:
            self._said.clear()  # It may be overdue: when it left, or where a tip was taken back when it came.
        here = self._waiting.setdefault(height, {})
        here[bucket] = here.get(bucket, 0) + more
        if not here[bucket]:
            del here[bucket]
        if not here:
            del self._waiting[height]

    def _move_to(self, height: int) -> None:
        if height > self._height:
            # A first block says nothing of how many came before it.
            self._weight /= DECAY ** min(height - self._height, 1_000) if self._height else 1.0
            self._height = height
            self._said.clear()
        if self._weight > _LARGEST_WEIGHT:
            self._buckets = self._normal()
            self._weight = 1.0

    def _count(self, bucket: int, waited: int) -> None:
        self._said.clear()
        counts = self._buckets[bucket]
        if waited > MAX_TARGET:
            counts.failed += self._weight
        else:
            counts.waits[waited] = counts.waits.get(waited, 0.0) + self._weight

    # What it says

    def say(self, target: int) -> Said:
        """Return the lowest fee rate at which payments were nearly always in one of the next `target` blocks."""
        if target not in self._said:
            self._said[target] = self._work_out(target)
        return self._said[target]

    def _work_out(self, target: int) -> Said:
        known = sum(sum(counts.waits.values()) + counts.failed for counts in self._buckets) / self._weight
        rate: int | None = None
        total = in_time = 0.0
        overdue = self._overdue(target)
        for place in reversed(range(len(BUCKETS))):
            counts = self._buckets[place]
            total += (sum(counts.waits.values()) + counts.failed) / self._weight + overdue.get(place, 0)
            in_time += sum(count for waited, count in counts.waits.items() if waited <= target) / self._weight
            if total < ENOUGH:
                continue  # Together with the next lower ones they may be enough.
            if in_time < SURE * total:
                break
            rate = BUCKETS[place]
            total = in_time = 0.0
        return Said(rate, known)

    def _overdue(self, target: int) -> dict[int, int]:
        """Return how many wait for `target` blocks already and are in none, by bucket."""
        found: dict[int, int] = {}
        for came, here in self._waiting.items():
            for bucket, count in here.items() if self._height - came >= target else ():
                found[bucket] = found.get(bucket, 0) + count
        return found

    # Keeping

    async def save(self) -> None:
        """Write the counts. A node can do without them."""
        content = msgspec.msgpack.encode([[counts.waits, counts.failed] for counts in self._normal()])
        try:
            await self._files.save(FILE, seal_file(KIND, VERSION, content))
        except StorageError as error:
            self._log.warning("fees_not_saved", why=str(error))

    def _normal(self) -> list[Counts]:
        """Return the counts with a payment of now as 1; what has shrunk to nothing is left out."""
        least = 0.001
        return [
            Counts(
                {
                    waited: count / self._weight
                    for waited, count in counts.waits.items()
                    if count / self._weight > least
                },
                counts.failed / self._weight if counts.failed / self._weight > least else 0.0,
            )
            for counts in self._buckets
        ]

    def _read(self) -> list[Counts]:
        try:
            raw = read_small(self._files, FILE, MAX_FILE_SIZE)
            if raw is not None:
                return _decoded(unseal_file(KIND, VERSION, raw))
        except StorageError as error:
            self._log.warning("fees_unreadable", file=FILE, why=str(error))
        return [Counts() for _ in BUCKETS]


def _decoded(content: memoryview) -> list[Counts]:
    try:
        rows = msgspec.msgpack.decode(content, type=list[tuple[dict[int, float], float]])
    except msgspec.MsgspecError as error:
        raise DamagedError(f"it cannot be read ({error})") from None
    if len(rows) != len(BUCKETS):
        raise DamagedError("it has other fee rates")
    if any(not 0 <= count < _LARGEST_WEIGHT for waits, failed in rows for count in (*waits.values(), failed)):
        raise DamagedError("it holds a count that is none")
    return [Counts({w: count for w, count in waits.items() if 1 <= w <= MAX_TARGET}, failed) for waits, failed in rows]


def estimate_fee(history: FeeHistory, mempool: Mempool, target: int, *, conservative: bool) -> Estimate:
    """Return what to pay to be in one of the next `target` blocks.

    Args:
        target: 1 or more; beyond `MAX_TARGET` the answer is that of `MAX_TARGET`.
        conservative: pay as much as either asks, what waits now or what was seen before; else as little.
    """
    target = min(target, MAX_TARGET)
    floor = mempool.min_fee_rate
    last = mempool.next_blocks_rate(target, MAX_BLOCK_SIZE)
    now = last + MIN_FEE_RATE if last else floor
    said = history.say(target)
    rate = now
    if said.rate is not None:
        rate = max(now, said.rate) if conservative else min(now, said.rate)
    count = len(mempool)
    wait = f"{count} transactions wait" if count != 1 else "1 transaction waits"
    hold = f"the next {target} blocks hold" if target != 1 else "the next block holds"
    waits = f"{wait} now, {'more' if last else 'less'} than {hold}"
    if said.rate is None:
        seen = f"too few payments were seen in blocks to count on them ({said.payments:.0f})"
    else:
        paid = f"{said.rate / 1_000:g} grain per byte"
        seen = f"of some {said.payments:.0f} payments seen before, those from {paid} on came in time"
    return Estimate(max(floor, rate), target, f"{waits}; {seen}")
