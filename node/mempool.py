"""Valid transactions that wait for a block: what is taken, what a reorg gives back, what must leave."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from structlog.typing import FilteringBoundLogger

from consensus.errors import EARLY_RULES, ConsensusError, NotYet, Rule
from consensus.params import Params
from consensus.signatures import SignatureCheck
from consensus.spend_policy import walk
from consensus.state import ChainState, SpendContext
from consensus.types import AfterHeight, AfterTime, Amount, Coin, Older, OutPoint, Transaction, TxId, WTxId
from consensus.validation import check_spends, check_transaction, count_signatures, transaction_fee
from node.chain_events import TipChanged
from node.clock import Clock
from node.mempool_graph import Entry, MempoolGraph
from node.package_selection import select_packages, worst_packages
from node.pool_change import Branches, Dropped, DropReason, PoolChange
from node.relay_policy import (
    MAX_CHAIN,
    MAX_RETURNED_CHAIN,
    MIN_FEE_RATE,
    PolicyError,
    Refusal,
    check_relay_policy,
    required_fee,
    virtual_size,
)

DEFAULT_MAX_BYTES = 64 * 1024 * 1024
"""Memory that all entries may take together: some 30,000 payments, nearly two full blocks of them."""
EXPIRY_SECONDS = 14 * 86_400
"""A transaction that no block took for so long is forgotten (Bitcoin Core: mempoolexpiry)."""
FLOOR_HALF_LIFE = 20 * 60
"""Seconds after which the fee rate that a full mempool asks for has halved."""
MAX_REMEMBERED = 10_000
"""Wtxids of invalid transactions that are remembered, and as many of refused ones: a few MiB at most."""


class ChainView(Protocol):
    """What the mempool asks of the chain manager."""

    @property
    def tip(self) -> ChainState:
        """The block that the next one builds on."""
        ...

    def get_coins(self, outpoints: Iterable[OutPoint]) -> Mapping[OutPoint, Coin]:
        """Return those of the outpoints that are unspent at the tip."""
        ...


class Verifier(Protocol):
    """What the mempool asks of the workers."""

    async def verify(self, checks: Sequence[SignatureCheck]) -> int | None:
        """Return the place of the first check that fails, or None if all hold."""
        ...


class Candidate(NamedTuple):
    """A transaction that may be added if its signatures hold."""

    tx: Transaction
    fee: Amount
    """In grain."""
    virtual_size: int
    signatures: int
    """How many count against a block's bound."""
    checks: list[SignatureCheck]
    """Still to be verified."""
    watched: bool
    """Whether a reorg could make it early again."""
    generation: int
    """Of the mempool when it was checked."""


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Mempool:
    """All transactions that the next block could hold, in at most `max_bytes` of memory.

    Each is valid on the tip together with its unconfirmed ancestors. Of two that conflict the first
    seen stays. Only `accept_transaction` awaits, and it holds nothing meanwhile.
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
        self._workers = workers
        self._log = log
        self._graph = MempoolGraph()
        self._invalid: dict[WTxId, ConsensusError] = {}
        self._refused: dict[WTxId, None] = {}
        self._floor = 0
        self._floor_set_at = 0.0
        self.max_bytes = max_bytes
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
        halvings = int(self._clock.monotonic() - self._floor_set_at) // FLOOR_HALF_LIFE
        return max(MIN_FEE_RATE, self._floor >> halvings)

    def select(self, max_bytes: int, max_signatures: int) -> list[Entry]:
        """Return what pays best within a block's bounds, each transaction after its parents."""
        return select_packages(self._graph, max_bytes, max_signatures)

    # Taking

    async def accept_transaction(self, tx: Transaction) -> Entry:
        """Take a transaction: check it, verify its signatures, add it.

        Raises:
            ConsensusError: invalid for ever; its sender is to blame, and its wtxid is remembered.
            NotYet: a coin is missing (`facts["missing"]` holds the outpoints), immature or time-locked.
            PolicyError: not taken by this node.
        """
        candidate = self.check(tx)
        failed = await self._workers.verify(candidate.checks)
        if failed is not None:
            error = ConsensusError(Rule.BAD_SIGNATURE, txid=tx.txid[::-1], place=failed)
            _remember(self._invalid, tx.wtxid, error)
            raise error
        return self.add(candidate)

    def check(self, tx: Transaction) -> Candidate:
        """Check all of a transaction but its signatures, on the tip and the mempool as they are.

        Raises:
            ConsensusError, NotYet, PolicyError: as in `accept_transaction`.
        """
        known = self._invalid.get(tx.wtxid)
        if known is not None:
            raise ConsensusError(known.rule, **known.facts)
        try:
            return self._check_arrival(tx)
        except ConsensusError as error:
            _remember(self._invalid, tx.wtxid, ConsensusError(error.rule, **error.facts))
            raise
        except PolicyError:
            _remember(self._refused, tx.wtxid, None)
            raise

    def add(self, candidate: Candidate) -> Entry:
        """Add a transaction whose signatures were verified.

        Raises:
            ConsensusError, NotYet, PolicyError: what came in the meantime keeps it out.
        """
        if candidate.generation != self.generation:
            candidate = self.check(candidate.tx)
        entry = self._insert(candidate)
        self._trim()
        if candidate.tx.txid not in self:
            _remember(self._refused, candidate.tx.wtxid, None)
            raise PolicyError(Refusal.POOL_FULL, required_rate=self.min_fee_rate)
        return entry

    def _check_arrival(self, tx: Transaction) -> Candidate:
        """Check a transaction from a peer or a user."""
        held = self._graph.get(tx.txid)
        if held is not None:
            raise PolicyError(Refusal.ALREADY_KNOWN if held.tx.wtxid == tx.wtxid else Refusal.SAME_TXID)
        if tx.is_coinbase:
            raise ConsensusError(Rule.COINBASE_FIRST)
        check_transaction(self._params, tx)
        check_relay_policy(tx)
        candidate = self._check_on_tip(tx, MAX_CHAIN, self.min_fee_rate)
        for ancestor in self._ancestors_of(tx):
            if self._graph.has_family_of(ancestor, MAX_CHAIN):
                raise PolicyError(Refusal.CHAIN_TOO_LONG, ancestor=ancestor.tx.txid[::-1], limit=MAX_CHAIN)
        return candidate

    def _check_on_tip(self, tx: Transaction, max_chain: int, min_fee_rate: int) -> Candidate:
        """Check what depends on the tip and on the mempool, the cheapest first.

        Args:
            tx: has passed `check_transaction`.
            max_chain: how many a transaction and its unconfirmed ancestors may be, see `MAX_CHAIN`.
            min_fee_rate: grain per 1,000 virtual bytes.
        """
        for outpoint in tx.core.inputs:
            rival = self._graph.spender(outpoint)
            if rival is not None:
                raise PolicyError(Refusal.CONFLICT, txid=rival.tx.txid[::-1])
        tip = self._chain.tip
        context = SpendContext(tip.height + 1, tip.median_time)
        signatures = count_signatures(tx)
        size = virtual_size(len(tx.encoded), signatures)
        coins = self._find_coins(tx, context.height)
        try:
            fee = transaction_fee(self._params, context.height, tx, coins)
            if fee < required_fee(min_fee_rate, size):
                raise PolicyError(Refusal.LOW_FEE, fee=fee, required=required_fee(min_fee_rate, size))
            if len(self._ancestors_of(tx)) >= max_chain:
                raise PolicyError(Refusal.CHAIN_TOO_LONG, limit=max_chain)
            checks = check_spends(self._params, context, tx, coins)
        except ConsensusError as error:
            if error.rule in EARLY_RULES:
                raise NotYet(error.rule, **error.facts) from None
            raise
        return Candidate(tx, fee, size, signatures, checks, _may_be_early_again(tx, coins), self.generation)

    def _find_coins(self, tx: Transaction, height: int) -> dict[OutPoint, Coin]:
        """Return the coins that `tx` spends: of the chain, or of the mempool as if born in a block of `height`."""
        coins: dict[OutPoint, Coin] = {}
        confirmed: list[OutPoint] = []
        for outpoint in tx.core.inputs:
            parent = self._graph.get(outpoint.txid)
            if parent is None:
                confirmed.append(outpoint)
            elif outpoint.index < len(parent.tx.core.outputs):
                coins[outpoint] = Coin(parent.tx.core.outputs[outpoint.index], height, False)
            else:
                # The parent is here: this output will never be.
                raise ConsensusError(Rule.MISSING_COIN, txid=outpoint.txid[::-1], index=outpoint.index)
        coins.update(self._chain.get_coins(confirmed))
        missing = tuple(outpoint for outpoint in confirmed if outpoint not in coins)
        if missing:
            own = [OutPoint(tx.txid, index) for index in range(len(tx.core.outputs))]
            if self._chain.get_coins(own):
                raise PolicyError(Refusal.ALREADY_CONFIRMED)
            raise NotYet(Rule.MISSING_COIN, missing=missing)
        return coins

    def _ancestors_of(self, tx: Transaction) -> Collection[Entry]:
        parents = (self._graph.get(outpoint.txid) for outpoint in tx.core.inputs)
        return self._graph.ancestors(parent for parent in parents if parent).values()

    def _insert(self, candidate: Candidate) -> Entry:
        tx, fee, size, signatures, _, watched, _ = candidate
        entry = Entry(tx, fee, size, signatures, self._clock.time(), watched)
        self._graph.add(entry)
        self.generation += 1
        return entry

    # Leaving

    def on_tip_changed(self, change: TipChanged) -> PoolChange:
        """Follow the chain manager to its new tip; it stands there already.

        What the new branch confirms or conflicts with leaves. Payments that only the old branch held
        come back, oldest first, without regard to fee and dust: they had been mined. Whatever hung
        on the old branch, or may have become early, is checked anew after them.
        """
        self.generation += 1
        self._refused.clear()
        confirmed, dropped = self._confirm(change)
        reverted: list[Transaction] = []
        if change.disconnected:
            branches = Branches(change)
            reverted = branches.reverted
            dropped += self._readmit(branches)
        dropped += (Dropped(txid, DropReason.EXPIRED) for txid in self._expire())
        dropped += (Dropped(txid, DropReason.TOO_MANY) for txid in self._trim())
        returned = tuple(tx.txid for tx in reverted if tx.txid in self)
        return PoolChange(confirmed, returned, tuple(dropped))

    def _confirm(self, change: TipChanged) -> tuple[int, list[Dropped]]:
        """Remove what the new blocks hold, and what spends the same coins (with all that descends from it)."""
        confirmed = 0
        dropped: list[Dropped] = []
        for block in change.connected if self._graph else ():
            for tx in block.transactions[1:]:
                entry = self._graph.get(tx.txid)
                if entry is not None:
                    self._graph.remove(entry)
                    confirmed += 1
                for outpoint in tx.core.inputs:
                    rival = self._graph.spender(outpoint)
                    if rival is not None:
                        first, *others = self._graph.remove_with_descendants(rival)
                        dropped.append(Dropped(first.tx.txid, DropReason.CONFLICT))
                        dropped += (Dropped(other.tx.txid, DropReason.LOST_PARENT) for other in others)
        return confirmed, dropped

    def _readmit(self, branches: Branches) -> list[Dropped]:
        """Bring back what the old branch held, then what depended on it; return what is lost."""
        roots = [entry for entry in self._graph if entry.watched]
        roots += (spender for spender in map(self._graph.spender, branches.gone) if spender)
        doubtful = self._graph.family(roots)
        for entry in reversed(doubtful):
            self._graph.remove(entry)
        dropped = [Dropped(tx.txid, DropReason.TOO_MANY) for tx in branches.too_many]
        for tx in (*branches.reverted, *(entry.tx for entry in doubtful)):
            try:
                # Its signatures were verified when it first came, and hold on every branch.
                self._insert(self._check_on_tip(tx, MAX_RETURNED_CHAIN, 0))
            except (ConsensusError, NotYet, PolicyError) as error:
                dropped.append(branches.dropped(tx, error))
        return dropped

    def _expire(self) -> list[TxId]:
        """Remove what came too long ago; return the txids."""
        oldest = self._clock.time() - EXPIRY_SECONDS
        expired: list[TxId] = []
        while (entry := next(iter(self._graph), None)) is not None and entry.time < oldest:
            expired += (member.tx.txid for member in self._graph.remove_with_descendants(entry))
        return expired

    def _trim(self) -> list[TxId]:
        """Evict what pays worst while the mempool takes too much memory; return the txids.

        A sixteenth more than necessary goes, so that a flood does not sort the mempool for every
        transaction. From then on only better pay is taken, until the floor has sunk again.
        """
        if self._graph.memory <= self.max_bytes:
            return []
        evicted: list[TxId] = []
        floor = 0
        for package, worth in worst_packages(self._graph):
            for entry in reversed(package):
                self._graph.remove(entry)
                evicted.append(entry.tx.txid)
            floor = max(floor, worth * 1_000 >> 32)
            if self._graph.memory <= self.max_bytes - self.max_bytes // 16:
                break
        self.generation += 1
        self._floor = max(self.min_fee_rate, floor + MIN_FEE_RATE)
        self._floor_set_at = self._clock.monotonic()
        self._log.info("mempool_trimmed", evicted=len(evicted), left=len(self), min_fee_rate=self._floor)
        return evicted

    def check_invariants(self) -> None:
        """Check that all indexes agree and that the size cap holds. For tests: it reads everything.

        Raises:
            ValueError: naming what does not agree.
        """
        self._graph.check()
        if self._graph.memory > self.max_bytes:
            raise ValueError("the mempool takes more memory than it may")


def _may_be_early_again(tx: Transaction, coins: Mapping[OutPoint, Coin]) -> bool:
    """Tell whether `tx` asks for a height, a time or an age, which a reorg may take back."""
    if any(coin.coinbase for coin in coins.values()):
        return True
    return any(
        isinstance(node, AfterHeight | AfterTime | Older) for witness in tx.witnesses for node in walk(witness.policy)
    )


def _remember(memory: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Keep at most `MAX_REMEMBERED`; the oldest goes."""
    if len(memory) >= MAX_REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value
