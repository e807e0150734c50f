"""What happened, as its owner reads it: the lines of listtransactions, and one transaction whole."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from msgspec.structs import replace

from consensus.params import Params
from consensus.types import Amount, OutPoint, Transaction, TxId
from wallet.addresses import AddressBook
from wallet.errors import UnknownTransactionError
from wallet.ledger import Ledger
from wallet.records import TxRecord
from wallet.results import Category, HistoryEntry, State, TransactionDetail


class _Standing(NamedTuple):
    """Where a transaction stands, and how deep."""

    state: State
    confirmations: int
    time: int


class _Flow(NamedTuple):
    """What a transaction moved, in grain."""

    debit: Amount
    """Of our coins, spent by it."""
    fee: int | None
    """Negative, if all inputs are ours."""


class History:
    """Reads the ledger; changes nothing."""

    def __init__(self, params: Params, ledger: Ledger, addresses: AddressBook) -> None:
        self._maturity = params.coinbase_maturity
        self._ledger = ledger
        self._addresses = addresses

    def entries(self, count: int, skip: int, label: str | None) -> list[HistoryEntry]:
        """See `Wallet.history`."""
        return list(islice(self.lines(label), max(0, skip), max(0, skip) + max(0, count)))

    def lines(self, label: str | None) -> Iterator[HistoryEntry]:
        """See `Wallet.whole_history`."""
        return (line for line in self._all() if label is None or line.label == label)

    def detail(self, txid: TxId) -> TransactionDetail:
        """See `Wallet.transaction`."""
        record = self._ledger.store.transaction(txid)
        if record is None:
            raise UnknownTransactionError("the wallet has nothing to do with this transaction")
        tx = record.transaction
        standing, flow = self._standing(txid, record), self._flow(tx)
        credit = sum(
            output.value for output in tx.core.outputs if output.lock in self._addresses and output.asset is None
        )
        return TransactionDetail(
            transaction=tx,
            entries=tuple(self._lines(txid, record, tx)),
            amount=credit - flow.debit - (flow.fee or 0),
            fee=flow.fee,
            state=standing.state,
            confirmations=standing.confirmations,
            block_hash=record.block_hash,
            block_height=record.height,
            block_time=record.block_time,
            time=standing.time,
            conflicts=self._conflicts(txid, tx),
            replaced_by=self._ledger.replacement_of(txid),
            replaces=self._ledger.store.replaced_by(txid),
            note=self._ledger.store.note(txid),
        )

    def _all(self) -> Iterator[HistoryEntry]:
        for txid, record in self._ledger.store.newest_transactions():
            yield from reversed(list(self._lines(txid, record, record.transaction)))

    def _lines(self, txid: TxId, record: TxRecord, tx: Transaction) -> Iterator[HistoryEntry]:
        """Yield a line for each output that left us, then one for each that came (Bitcoin Core: ListTransactions)."""
        standing, flow = self._standing(txid, record), self._flow(tx)
        conflicts, replaced_by = self._conflicts(txid, tx), self._ledger.replacement_of(txid)
        note = self._ledger.store.note(txid)
        given: list[HistoryEntry] = []
        received: list[HistoryEntry] = []
        for index, output in enumerate(tx.core.outputs):
            known = self._addresses.find(output.lock)
            if output.asset is not None or (flow.debit and self._addresses.is_change(output.lock)):
                continue
            if not flow.debit and known is None:
                continue
            if flow.debit and flow.fee is None and self._ledger.coins.is_apart(output.lock):
                # Moved from one policy to another, with our coin for the fee: not given away by us.
                continue
            line = HistoryEntry(
                category=Category.RECEIVE,
                lock=output.lock,
                label=self._addresses.label_of(output.lock),
                amount=output.value,
                fee=None,
                index=index,
                txid=txid,
                state=standing.state,
                confirmations=standing.confirmations,
                block_hash=record.block_hash,
                block_height=record.height,
                block_time=record.block_time,
                time=standing.time,
                conflicts=conflicts,
                replaced_by=replaced_by,
                note=note,
            )
            if flow.debit:
                given.append(replace(line, category=Category.SEND, amount=-output.value, fee=flow.fee))
            if known is not None:
                received.append(replace(line, category=self._category(tx, standing)))
        yield from given
        yield from received

    def _category(self, tx: Transaction, standing: _Standing) -> Category:
        if not tx.is_coinbase:
            return Category.RECEIVE
        if standing.state is not State.CONFIRMED:
            return Category.ORPHAN
        # It may be spent in the next block, whose height is one above the tip's.
        return Category.GENERATE if standing.confirmations >= self._maturity else Category.IMMATURE

    def _standing(self, txid: TxId, record: TxRecord) -> _Standing:
        if record.height is not None:
            first = record.time if record.block_time is None else min(record.time, record.block_time)
            return _Standing(State.CONFIRMED, self._ledger.confirmations(record.height), first)
        conflict = self._ledger.pending.conflict_height(txid)
        depth = 0 if conflict is None else -self._ledger.confirmations(conflict)
        return _Standing(self._ledger.pending.state(txid), depth, record.time)

    def _flow(self, tx: Transaction) -> _Flow:
        coins = [self._ledger.coins.find_own(outpoint) for outpoint in tx.core.inputs]
        debit = sum(coin.value for coin in coins if coin is not None and coin.asset is None)
        if tx.is_coinbase or any(coin is None for coin in coins):
            return _Flow(Amount(debit), None)
        return _Flow(Amount(debit), sum(output.value for output in tx.core.outputs if output.asset is None) - debit)

    def _conflicts(self, txid: TxId, tx: Transaction) -> tuple[TxId, ...]:
        """Return who else spends a coin of a transaction, in an order that a restart does not change."""
        return tuple(sorted({other for outpoint in tx.core.inputs for other in self._rivals(outpoint)} - {txid}))

    def _rivals(self, outpoint: OutPoint) -> Iterator[TxId]:
        conflict = self._ledger.pending.conflict(outpoint)
        if conflict is not None:
            yield conflict.spender
        coin = self._ledger.coins.find(outpoint)
        if coin is not None and coin.spender is not None:
            yield coin.spender
        yield from self._ledger.pending.spenders(outpoint)
