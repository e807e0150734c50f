"""Valid transactions that wait for a block: what is taken, what a reorg gives back, what must leave."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from structlog.typing import FilteringBoundLogger

from consensus.codec import display_hash
from consensus.errors import ConsensusError, NotYet, Rule
from consensus.params import Params
from consensus.signatures import SignatureCheck
from consensus.slices import SLICE, Slices, whole
from consensus.types import Amount, OutPoint, Transaction, TxId, WTxId
from node.admission import ChainView, CoinsAtHand, Examination, Proposal
from node.arrivals import accept_each
from node.chain_events import TipChanged
from node.clock import Clock
from node.mempool_graph import Entry, MempoolGraph, score
from node.package_selection import select_packages
from node.packages import Refused, check_sorted
from node.pool_change import Branches, Dropped, DropReason, PoolChange
from node.relay_policy import MIN_FEE_RATE, TOO_LITTLE, PolicyError, Refusal, required_fee
from node.waiting_assets import issued_by

DEFAULT_MAX_BYTES = 64 * 1024 * 1024
"""Memory that all entries may take together: some 25,000 payments, nearly one and a half full blocks of them."""
READMITTED_AT_ONCE = 50
"""Transactions that come back in a slice: all but their signatures is checked anew."""
GONE_AT_ONCE = 1_000
"""Of what a reorg took or gave back, looked up in a slice."""
EXPIRY_SECONDS = 14 * 86_400
"""A transaction that no block took for so long is forgotten (Bitcoin Core: mempoolexpiry)."""
FLOOR_HALF_LIFE = 20 * 60
"""Seconds after which the fee rate that a full mempool asks for has halved."""
MAX_REMEMBERED = 10_000
"""Wtxids of invalid transactions that are remembered, and as many of refused ones: a few MiB at most."""


class Verifier(Protocol):
    """What the mempool asks of the workers."""

    async def verify(self, checks: Sequence[SignatureCheck]) -> int | None:
        """Return the place of the first check that fails, or None if all hold."""
        ...


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


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Mempool:
    """All transactions that the next block could hold, in at most `max_bytes` of memory.

    Each is valid on the tip together with its unconfirmed ancestors. Of two that conflict the first
    seen stays, unless the other pays more by the rules of `replacement`. Only the methods `accept_...`,
    `preview` and `at_rest` await, and they hold nothing meanwhile.

    Attributes:
        listeners: told of what comes and goes; append to it.
    """

    def __init__(
        self,
        params: Params,
        chain: ChainView,
        clock: Clock,
        workers: Verifier,
        log: FilteringBoundLogger,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self._params = params
        self._chain = chain
        self._clock = clock
        self._epoch = clock.time() - clock.monotonic()
        self._workers = workers
        self._log = log
        self._graph = MempoolGraph()
        self._invalid: dict[WTxId, ConsensusError] = {}
        self._refused: dict[WTxId, Refusal] = {}
        self._bereft: dict[TxId, object] = {}
        """Parents of what has left since `_drop_unpaid` last looked at them."""
        self._floor = 0
        self._floor_set_at = 0.0
        self._rested = asyncio.Event()
        self._rested.set()
        self.max_bytes = max_bytes
        self.listeners: list[PoolListener] = []
        self.generation = 0
        """Rises with every change of the mempool or of the tip: what was made before is stale."""

    # Reading

    def __len__(self) -> int:
        return len(self._graph)

    def __iter__(self) -> Iterator[Entry]:
        """In the order of coming: parents before children."""
        return iter(self._graph)

    def __contains__(self, txid: TxId) -> bool:
        return self._graph.get(txid) is not None

    def get(self, txid: TxId) -> Transaction | None:
        """Return the transaction of a txid."""
        entry = self._graph.get(txid)
        return entry.tx if entry else None

    def by_wtxid(self, wtxid: WTxId) -> Transaction | None:
        """Return the transaction of a wtxid."""
        entry = self._graph.by_wtxid(wtxid)
        return entry.tx if entry else None

    def entry(self, txid: TxId) -> Entry | None:
        """Return a transaction with its fee, its time and its neighbours."""
        return self._graph.get(txid)

    def ancestors(self, txid: TxId) -> list[Entry]:
        """Return the unconfirmed ancestors, without the transaction itself, oldest first."""
        entry = self._graph.get(txid)
        found = self._graph.ancestors(entry.parents.values()) if entry else {}
        return sorted(found.values(), key=lambda ancestor: ancestor.sequence)

    def descendants(self, txid: TxId) -> list[Entry]:
        """Return what descends from a transaction, without itself, oldest first."""
        entry = self._graph.get(txid)
        return self._graph.family(entry.children.values()) if entry else []

    def spender(self, outpoint: OutPoint) -> TxId | None:
        """Return the txid of the transaction that spends an outpoint."""
        entry = self._graph.spender(outpoint)
        return entry.tx.txid if entry else None

    def wants(self, wtxid: WTxId) -> bool:
        """Tell whether to ask a peer for a transaction: it is not here, not invalid, not refused on this tip."""
        return self._graph.by_wtxid(wtxid) is None and wtxid not in self._invalid and wtxid not in self._refused

    def lacks_a_sponsor(self, wtxid: WTxId) -> bool:
        """Tell whether a transaction was refused on this tip for its fee alone: a child may pay for it."""
        return self._refused.get(wtxid) in TOO_LITTLE

    @property
    def memory(self) -> int:
        """About how many bytes of memory the entries take; `max_bytes` bounds it."""
        return self._graph.memory

    @property
    def size(self) -> int:
        """Encoded bytes of all transactions."""
        return self._graph.size

    @property
    def fees(self) -> Amount:
        """Of all transactions, in grain."""
        return Amount(self._graph.fees)

    @property
    def min_fee_rate(self) -> int:
        """Grain per 1,000 virtual bytes that a transaction must pay now to be taken."""
        if not self._floor:
            return MIN_FEE_RATE
        halvings = int(self._clock.monotonic() - self._floor_set_at) // FLOOR_HALF_LIFE
        return max(MIN_FEE_RATE, self._floor >> halvings)

    def select(self, max_bytes: int, max_signatures: int) -> list[Entry]:
        """Return what pays best within a block's bounds, each transaction after its parents. To be asked `at_rest`."""
        self._check_at_rest()
        return select_packages(self._graph, max_bytes, max_signatures)

    def next_blocks_rate(self, blocks: int, block_size: int) -> int:
        """Return the fee rate, in grain per 1,000 virtual bytes, of the last that the next blocks have room for.

        0 if they have room for all that waits. Close enough to what a block takes: a child is counted where it
        stands with its ancestors, and they where they stand alone.
        """
        room = blocks * block_size
        for rank, _, entry in self._graph.block_order:
            room -= entry.virtual_size
            if room < 0:
                return -rank * 1_000 >> 32
        return 0

    # Taking

    async def accept_transaction(self, tx: Transaction, *, time: int | None = None) -> Entry:
        """Take a transaction: check it, verify its signatures, add it.

        Args:
            time: when it first came, UNIX seconds, if that is not now.

        Raises:
            ConsensusError: invalid for ever; its sender is to blame, and its wtxid is remembered.
            NotYet: a coin is missing (`facts["missing"]` holds the outpoints), immature or time-locked.
            PolicyError: not taken by this node.
        """
        return (await self.accept_together((tx,), time=time)).entries[0]

    async def accept_together(
        self, txs: Sequence[Transaction], *, time: int | None = None, max_fee_rate: int = 0
    ) -> Taken:
        """Take several transactions or none: what they pay together counts, see `packages.accept_package`.

        Args:
            txs: each after its parents.
            time: as in `accept_transaction`.
            max_fee_rate: grain per 1,000 virtual bytes; who pays more is refused for a mistake. 0 is no bound.

        Raises:
            ConsensusError, NotYet, PolicyError: as in `accept_transaction`.
        """
        await self.at_rest()
        proposal = self._propose(self._chain, txs)
        _check_max_fee(proposal, max_fee_rate)
        await self._verify(proposal)
        await self.at_rest()
        return self._add(proposal, time)

    async def accept_each(self, txs: Sequence[Transaction], max_fee_rates: Sequence[int]) -> list[Entry | Refused]:
        """Take many transactions in turn: see `arrivals.accept_each`."""
        return await accept_each(self, txs, max_fee_rates)

    def examine(self, txs: Sequence[Transaction], max_fee_rates: Sequence[int]) -> list[Proposal | Refused]:
        """Check all of each transaction but its signatures, as if it came alone; or tell why it is refused."""
        chain = CoinsAtHand(self._chain, (outpoint for tx in txs for outpoint in tx.core.inputs))
        found: list[Proposal | Refused] = []
        for tx, max_fee_rate in zip(txs, max_fee_rates, strict=True):
            try:
                proposal = self._propose(chain, (tx,))
                _check_max_fee(proposal, max_fee_rate)
                found.append(proposal)
            except (ConsensusError, NotYet, PolicyError) as error:
                found.append(error)
        return found

    async def verify_each(self, proposals: Sequence[Proposal]) -> list[ConsensusError | None]:
        """Verify the signatures of all; tell of each of them that breaks `BAD_SIGNATURE`, and remember it."""
        found: list[ConsensusError | None] = []
        while len(found) < len(proposals):
            left = proposals[len(found) :]
            failed = await self._workers.verify([check for proposal in left for check in proposal.checks])
            for proposal in left:
                count = len(proposal.checks)
                if failed is not None and failed < count:
                    found.append(self._bad_signature(proposal, failed))
                    break
                found.append(None)
                failed = None if failed is None else failed - count
        return found

    def check(self, tx: Transaction) -> Proposal:
        """Check all of a transaction but its signatures, on the tip and the mempool as they are.

        Raises:
            ConsensusError, NotYet, PolicyError: as in `accept_transaction`.
        """
        return self._propose(self._chain, (tx,))

    async def preview(self, txs: Sequence[Transaction]) -> tuple[list[Proposal], Refused | None]:
        """Tell what would become of transactions that were handed in now, one after the other; change nothing.

        Returns:
            For each that would be taken what it is worth; then why the next would not be, if there is one.

        Raises:
            PolicyError: `BAD_PACKAGE`: they cannot follow each other.
        """
        check_sorted(txs)
        found: list[Proposal] = []
        for count in range(1, len(txs) + 1):
            try:
                await self.at_rest()
                examination = Examination(self._params, self._chain, self._graph, txs[:count], self.generation)
                proposal = examination.of_arrivals(self.min_fee_rate)
                await self._verify(proposal)
            except (ConsensusError, NotYet, PolicyError) as error:
                return found, error
            found.append(proposal._replace(candidates=proposal.candidates[-1:]))
        return found, None

    def _propose(self, chain: ChainView, txs: Sequence[Transaction]) -> Proposal:
        """Examine transactions that were handed in, and remember what is refused."""
        self._check_at_rest()
        for tx in txs:
            known = self._invalid.get(tx.wtxid)
            if known is not None:
                raise ConsensusError(known.rule, **known.facts)
        examination = Examination(self._params, chain, self._graph, txs, self.generation)
        try:
            return examination.of_arrivals(self.min_fee_rate)
        except ConsensusError as error:
            _remember(self._invalid, examination.tx.wtxid, ConsensusError(error.rule, **error.facts))
            raise
        except PolicyError as error:
            _remember(self._refused, txs[-1].wtxid, error.reason)
            raise

    async def _verify(self, proposal: Proposal) -> None:
        failed = await self._workers.verify(proposal.checks)
        if failed is not None:
            raise self._bad_signature(proposal, failed)

    def _bad_signature(self, proposal: Proposal, place: int) -> ConsensusError:
        """Return why transactions are invalid of whose signatures one does not hold, and remember it."""
        for candidate in proposal.candidates:
            if place < len(candidate.checks):
                break
            place -= len(candidate.checks)
        error = ConsensusError(Rule.BAD_SIGNATURE, txid=candidate.tx.txid[::-1], place=place)
        _remember(self._invalid, candidate.tx.wtxid, ConsensusError(error.rule, **error.facts))
        return error

    def add(self, proposal: Proposal) -> Entry:
        """Add a transaction whose signatures were verified.

        Raises:
            ConsensusError, NotYet, PolicyError: what came in the meantime keeps it out.
        """
        return self._add(proposal, None).entries[0]

    def _add(self, proposal: Proposal, time: int | None) -> Taken:
        self._check_at_rest()
        if proposal.generation != self.generation and not self._still_holds(proposal):
            proposal = self._propose(self._chain, [candidate.tx for candidate in proposal.candidates])
        self._leave(proposal.replaces, DropReason.REPLACED)
        entries = self._insert(proposal, time)
        if proposal.replaces:
            self._log.debug(
                "transactions_replaced",
                by=display_hash(entries[-1].tx.txid),
                replaced=[display_hash(entry.tx.txid) for entry in proposal.replaces],
            )
        self._drop_unpaid()
        self._trim()
        for entry in entries:
            if entry.tx.txid not in self:
                _remember(self._refused, entry.tx.wtxid, Refusal.POOL_FULL)
                raise PolicyError(Refusal.POOL_FULL, required_rate=self.min_fee_rate)
        return Taken(entries, proposal.replaces)

    def _still_holds(self, proposal: Proposal) -> bool:
        """Tell whether examining a transaction anew would say the same, without doing so."""
        if proposal.rests_on is not self._chain.tip:
            return False
        (candidate,) = proposal.candidates
        tx = candidate.tx
        return (
            self._graph.get(tx.txid) is None
            and not [None for outpoint in tx.core.inputs if self._graph.spender(outpoint) is not None]
            and candidate.fee >= required_fee(self.min_fee_rate, candidate.virtual_size)
        )

    def _insert(self, proposal: Proposal, time: int | None = None) -> tuple[Entry, ...]:
        height = self._chain.tip.height
        entries: list[Entry] = []
        for candidate in proposal.candidates:
            tx, fee, size, signatures, _, watched, assets = candidate
            came = self._now() if time is None else time
            entry = Entry(tx, fee, size, signatures, came, watched, candidate.sponsored, height, assets)
            self._graph.add(entry)
            self.generation += 1
            entries.append(entry)
            for listener in self.listeners:
                listener.entered(entry)
        return tuple(entries)

    # Leaving

    def on_tip_changed(self, change: TipChanged) -> PoolChange:
        """Follow the chain manager to its new tip; it stands there already.

        What the new branch confirms or conflicts with leaves. Payments that only the old branch held
        come back, oldest first, without regard to fee and dust: they had been mined. Whatever hung
        on the old branch, or may have become early, is checked anew after them.
        """
        return whole(self.follow_in_slices(change))

    def follow_in_slices(self, change: TipChanged) -> Slices[PoolChange]:
        """Do `on_tip_changed`, in slices. Between two of them the mempool is not `at_rest`: it takes nothing, and what
        it holds is partly of the old tip, partly of the new one. So whoever wants the whole of it waits.
        """
        self.generation += 1
        self._refused.clear()
        self._rested.clear()
        try:
            return (yield from self._follow(change))
        finally:
            self._rested.set()

    @property
    def is_at_rest(self) -> bool:
        """Whether all that is here belongs to the chain's tip: it is not half way through a block."""
        return self._rested.is_set()

    async def at_rest(self) -> None:
        """Wait until the mempool has followed to the chain's tip; what is read before the next `await` is whole."""
        while not self._rested.is_set():
            await self._rested.wait()

    def _check_at_rest(self) -> None:
        if not self._rested.is_set():
            raise RuntimeError("the mempool is half way through a block: wait until it is at rest")

    def _follow(self, change: TipChanged) -> Slices[PoolChange]:
        confirmed, dropped = yield from self._confirm(change)
        reverted: list[Transaction] = []
        issuers = self._disturbed_issuers(change)
        if change.disconnected or issuers:
            branches = yield from Branches.of(change)
            reverted = branches.reverted
            watched = [entry for entry in self._graph if entry.watched] if change.disconnected else []
            dropped += yield from self._readmit(branches, [*issuers, *watched])
        dropped += self._expire()
        dropped += self._drop_unpaid()
        dropped += yield from self._trim_in_slices()
        returned: list[TxId] = []
        for place, tx in enumerate(reverted, 1):
            if place % GONE_AT_ONCE == 0:
                yield
            if self._graph.get(tx.txid) is not None:
                returned.append(tx.txid)
        return PoolChange(confirmed, tuple(returned), tuple(dropped))

    def _confirm(self, change: TipChanged) -> Slices[tuple[int, list[Dropped]]]:
        """Remove what the new blocks hold, and what spends the same coins (with all that descends from it)."""
        confirmed = 0
        dropped: list[Dropped] = []
        height = change.fork_height
        for block in change.connected if self._graph else ():
            height += 1
            held: list[Entry] = []
            for place, tx in enumerate(block.transactions[1:], 1):
                if place % SLICE == 0:
                    yield
                found = self._graph.get(tx.txid)
                if found is not None:
                    held.append(found)
            yield from self._graph.remove_all_in_slices(held)
            confirmed += len(held)
            for place, entry in enumerate(held, 1):
                for listener in self.listeners:
                    listener.confirmed(entry, height)
                if place % SLICE == 0:
                    yield
            for place, tx in enumerate(block.transactions[1:] if self._graph else (), 1):
                if place % SLICE == 0:
                    yield
                for outpoint in tx.core.inputs:
                    rival = self._graph.spender(outpoint)
                    if rival is not None:
                        first, *others = self._graph.family((rival,))
                        lost = self._leave(others, DropReason.LOST_PARENT)
                        dropped += [*self._leave((first,), DropReason.CONFLICT), *lost]
        return confirmed, dropped

    def _disturbed_issuers(self, change: TipChanged) -> list[Entry]:
        """Return what issues or attests an asset whose record the blocks have changed."""
        if not self._graph.has_issuers:
            return []
        blocks = (*change.disconnected, *change.connected)
        assets = (asset for block in blocks for tx in block.transactions for asset in issued_by(tx))
        return [entry for asset in dict.fromkeys(assets) for entry in self._graph.issuers(asset)]

    def _readmit(self, branches: Branches, roots: Sequence[Entry]) -> Slices[list[Dropped]]:
        """Bring back what the old branch held, then what depended on it; return what is lost.

        Args:
            roots: what may have become invalid though all its coins are there.
        """
        spenders: list[Entry] = []
        for place, outpoint in enumerate(branches.gone, 1):
            if place % GONE_AT_ONCE == 0:
                yield
            spender = self._graph.spender(outpoint)
            if spender is not None:
                spenders.append(spender)
        doubtful = self._graph.family((*roots, *spenders))
        before = {entry.tx.wtxid: entry for entry in doubtful}
        for end in range(len(doubtful), 0, -READMITTED_AT_ONCE):
            # From the end: each slice is all that descends from what is in it.
            self._leave(doubtful[max(0, end - READMITTED_AT_ONCE) : end], DropReason.REORG)
            if end > READMITTED_AT_ONCE:
                yield
        dropped = [Dropped(tx.txid, DropReason.TOO_MANY) for tx in branches.too_many]
        for place, tx in enumerate((*branches.reverted, *(entry.tx for entry in doubtful)), 1):
            if place % READMITTED_AT_ONCE == 0:
                yield
            examination = Examination(self._params, self._chain, self._graph, (tx,), self.generation)
            try:
                # Its signatures were verified when it first came, and hold on every branch.
                was = before.get(tx.wtxid)
                (entry,) = self._insert(examination.of_returned(), was.time if was is not None else None)
                # What was mined needs nobody to pay for it.
                entry.sponsored = was is not None and was.sponsored
            except (ConsensusError, NotYet, PolicyError) as error:
                dropped.append(branches.dropped(tx, error))
        return dropped

    def _leave(self, entries: Sequence[Entry], reason: DropReason) -> list[Dropped]:
        """Remove entries, which stand parents before children and with all that descends from them."""
        for entry in reversed(entries):
            self._bereft.update(entry.parents)
            self._graph.remove(entry)
            self.generation += 1
            for listener in self.listeners:
                listener.dropped(entry, reason)
        return [Dropped(entry.tx.txid, reason) for entry in entries]

    def _drop_unpaid(self) -> list[Dropped]:
        """Remove what is here only because a descendant paid for it, where that has left."""
        dropped: list[Dropped] = []
        while self._bereft:
            txid, _ = self._bereft.popitem()
            entry = self._graph.get(txid)
            if entry is not None and entry.sponsored and entry.worth < score(MIN_FEE_RATE, 1_000):
                dropped += self._leave(self._graph.family((entry,)), DropReason.UNPAID)
        return dropped

    def _now(self) -> int:
        """Return UNIX seconds by a clock that runs on evenly from the start, even if the machine's is set (A192)."""
        return int(self._epoch + self._clock.monotonic())

    def _expire(self) -> list[Dropped]:
        """Remove what came too long ago."""
        oldest = self._now() - EXPIRY_SECONDS
        dropped: list[Dropped] = []
        for entry in [entry for entry in self._graph if entry.time < oldest]:
            if self._graph.get(entry.tx.txid) is entry:
                dropped += self._leave(self._graph.family((entry,)), DropReason.EXPIRED)
        return dropped

    def _trim(self) -> list[Dropped]:
        """Evict what pays worst while the mempool takes too much memory.

        From then on only better pay is taken, until the floor has sunk again.
        """
        return whole(self._trim_in_slices())

    def _trim_in_slices(self) -> Slices[list[Dropped]]:
        evicted = 0
        dropped: list[Dropped] = []
        floor = 0
        was_full = self.min_fee_rate > MIN_FEE_RATE
        while self._graph.memory > self.max_bytes and (worst := self._graph.leaving_order.first()) is not None:
            worth, _, entry = worst
            evicted += 1
            if evicted % SLICE == 0:
                yield
            dropped += self._leave(self._graph.family((entry,)), DropReason.TOO_MANY)
            dropped += self._drop_unpaid()
            floor = max(floor, worth * 1_000 >> 32)
        if dropped:
            self._floor = max(self.min_fee_rate, floor + MIN_FEE_RATE)
            self._floor_set_at = self._clock.monotonic()
            tell = self._log.debug if was_full else self._log.info
            tell("mempool_full", evicted=len(dropped), left=len(self), min_fee_rate=self._floor)
        return dropped

    def check_invariants(self) -> None:
        """Check that all indexes agree and that the size cap holds. For tests: it reads everything.

        Raises:
            ValueError: naming what does not agree.
        """
        self._graph.check()
        if self._graph.memory > self.max_bytes:
            raise ValueError("the mempool takes more memory than it may")


def _remember(memory: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Keep at most `MAX_REMEMBERED`; the oldest goes."""
    if len(memory) >= MAX_REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value


def _check_max_fee(proposal: Proposal, rate: int) -> None:
    """Check that nobody pays more than he said he would.

    Args:
        rate: as in `Mempool.accept_together`.

    Raises:
        PolicyError: `MAX_FEE`.
    """
    limit = required_fee(rate, proposal.virtual_size)
    if rate and proposal.fee > limit:
        raise PolicyError(Refusal.MAX_FEE, fee=proposal.fee, limit=limit)
