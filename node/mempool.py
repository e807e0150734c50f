"""Valid transactions that wait for a block: what is taken, what a reorg gives back, what must leave."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from structlog.typing import FilteringBoundLogger

from consensus.codec import display_hash
from consensus.errors import ConsensusError, NotYet, Rule
from consensus.params import Params
from consensus.signatures import SignatureCheck
from consensus.slices import Slices, whole
from consensus.types import Amount, OutPoint, Transaction, TxId, WTxId
from node.admission import ChainView, CoinsAtHand, Examination, Proposal
from node.arrivals import accept_each
from node.chain_events import TipChanged
from node.clock import Clock
from node.garbage import frameless
from node.mempool_entries import MempoolEntries, PoolListener, Taken
from node.mempool_following import TipFollower
from node.mempool_graph import Entry
from node.package_selection import select_packages
from node.packages import Refused, check_sorted
from node.pool_change import DropReason, PoolChange
from node.relay_policy import TOO_LITTLE, PolicyError, Refusal, required_fee

DEFAULT_MAX_BYTES = 64 * 1024 * 1024
"""Memory that all entries may take together: some 25,000 payments, nearly one and a half full blocks of them."""
MAX_REMEMBERED = 10_000
"""Wtxids of invalid transactions that are remembered, and as many of refused ones: a few MiB at most."""


class Verifier(Protocol):
    """What the mempool asks of the workers."""

    async def verify(self, checks: Sequence[SignatureCheck]) -> int | None:
        """Return the place of the first check that fails, or None if all hold."""
        ...


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Mempool:
    """All transactions that the next block could hold, in at most `max_bytes` of memory.

    Each is valid on the tip together with its unconfirmed ancestors. Of two that conflict the first
    seen stays, unless the other pays more by the rules of `replacement`. Only the methods `accept_...`,
    `preview` and `at_rest` await, and they hold nothing meanwhile.
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
        self._workers = workers
        self._log = log
        self._entries = MempoolEntries(clock, log, max_bytes)
        self._graph = self._entries.graph
        self._follower = TipFollower(params, chain, self._entries)
        self._invalid: dict[WTxId, ConsensusError] = {}
        self._refused: dict[WTxId, Refusal] = {}
        self._rested = asyncio.Event()
        self._rested.set()

    # Reading

    @property
    def listeners(self) -> list[PoolListener]:
        """Whoever is told of what comes and goes; append to it."""
        return self._entries.listeners

    @property
    def generation(self) -> int:
        """Rises with every change of the mempool or of the tip: what was made before is stale."""
        return self._entries.generation

    @property
    def max_bytes(self) -> int:
        """Memory that all entries may take together."""
        return self._entries.max_bytes

    @property
    def min_fee_rate(self) -> int:
        """Grain per 1,000 virtual bytes that a transaction must pay now to be taken."""
        return self._entries.min_fee_rate

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
        if self._graph.virtual_size <= room:
            return 0  # as nearly always, and asked with every payment
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
                found.append(frameless(error))
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
        self._entries.leave(proposal.replaces, DropReason.REPLACED)
        entries = self._entries.insert(proposal, self._chain.tip.height, time)
        if proposal.replaces:
            self._log.debug(
                "transactions_replaced",
                by=display_hash(entries[-1].tx.txid),
                replaced=[display_hash(entry.tx.txid) for entry in proposal.replaces],
            )
        self._entries.drop_unpaid()
        self._entries.trim()
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
        self._entries.generation += 1
        self._refused.clear()
        self._rested.clear()
        try:
            return (yield from self._follower.follow(change))
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

    def check_invariants(self) -> None:
        """Check that all indexes agree and that the size cap holds. For tests: it reads everything.

        Raises:
            ValueError: naming what does not agree.
        """
        self._entries.check()


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
