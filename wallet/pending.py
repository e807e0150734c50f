"""The transactions that are in no block, and what follows: which of them count, and what they spend.

What is stored of each is only what happened to it. Whether it counts is worked out here, from
scratch, whenever the chain or one of them changes: so no order of events can leave a coin counted twice.
"""

from __future__ import annotations

from collections.abc import Iterator, KeysView
from operator import attrgetter
from typing import NamedTuple

from consensus.slices import SLICE, Slices, whole
from consensus.types import OutPoint, Transaction, TxId
from wallet.records import ConflictRecord, TxRecord
from wallet.results import State
from wallet.store import WalletStore


class PendingTx(NamedTuple):
    """A transaction that is in no block."""

    txid: TxId
    transaction: Transaction
    record: TxRecord


class PendingSet:
    """All transactions of the wallet that are in no block, those that no longer count included."""

    def __init__(self, store: WalletStore) -> None:
        """Read what the store holds."""
        self._store = store
        self._all: dict[TxId, PendingTx] = {}
        self._spenders: dict[OutPoint, list[TxId]] = {}
        """For each input of any of them: who names it, in the order of their arrival."""
        self._conflicts: dict[OutPoint, ConflictRecord] = dict(store.conflicts())
        """Inputs that a transaction of the chain spent."""
        self._states: dict[TxId, tuple[State, int | None]] = {}
        """With the height of the block that speaks against it, if one does."""
        self._spent: dict[OutPoint, TxId] = {}
        """By those that count."""
        loaded = sorted(store.pending_transactions(), key=lambda item: item[1].sequence)
        for txid, record in loaded:
            self._insert(PendingTx(txid, record.transaction, record))
        self.refresh()

    # Look-ups

    def __contains__(self, txid: TxId) -> bool:
        return txid in self._all

    def __iter__(self) -> Iterator[PendingTx]:
        """Yield all, in the order in which they were first seen."""
        return iter(sorted(self._all.values(), key=attrgetter("record.sequence")))

    def get(self, txid: TxId) -> PendingTx | None:
        """Return one of them."""
        return self._all.get(txid)

    def state(self, txid: TxId) -> State:
        """Return where one of them stands."""
        return self._states[txid][0]

    def conflict_height(self, txid: TxId) -> int | None:
        """Return the height of the block that speaks against one of them."""
        return self._states[txid][1]

    def counts(self, txid: TxId) -> bool:
        """Tell whether a transaction is one of these, and nothing speaks against it."""
        state = self._states.get(txid)
        return state is not None and state[0] is State.PENDING

    def spends(self, outpoint: OutPoint) -> bool:
        """Tell whether one that counts spends a coin."""
        return outpoint in self._spent

    def spent(self) -> KeysView[OutPoint]:
        """Return the coins that those that count spend."""
        return self._spent.keys()

    def names(self, outpoint: OutPoint) -> bool:
        """Tell whether any of them, counting or not, names a coin."""
        return outpoint in self._spenders

    def spenders(self, outpoint: OutPoint) -> tuple[TxId, ...]:
        """Return all that name a coin."""
        return tuple(self._spenders.get(outpoint, ()))

    def conflict(self, outpoint: OutPoint) -> ConflictRecord | None:
        """Return who in the chain took a coin from one of them."""
        return self._conflicts.get(outpoint)

    def ancestors(self, txid: TxId) -> list[PendingTx]:
        """Return a transaction with those of this set that it descends from."""
        found: dict[TxId, PendingTx] = {}
        todo = [txid]
        while todo:
            pending = self._all.get(todo.pop())
            if pending is not None and pending.txid not in found:
                found[pending.txid] = pending
                todo += [outpoint.txid for outpoint in pending.transaction.core.inputs]
        return list(found.values())

    def add_line(self, pending: PendingTx, line: dict[TxId, Transaction]) -> None:
        """Put a transaction at the end of a line that has its ancestors of this set first, if it is not there."""
        todo = [pending.txid]
        while todo:
            if todo[-1] in line:
                todo.pop()
                continue
            tx = self._all[todo[-1]].transaction
            lacking = [
                outpoint.txid for outpoint in tx.core.inputs if outpoint.txid in self._all and outpoint.txid not in line
            ]
            if lacking:
                todo += lacking
            else:
                line[todo.pop()] = tx

    def descendants(self, txid: TxId) -> list[PendingTx]:
        """Return a transaction of this set with those that spend its outputs, or theirs."""
        found: dict[TxId, PendingTx] = {}
        todo = [txid]
        while todo:
            pending = self._all[todo.pop()]
            if pending.txid not in found:
                found[pending.txid] = pending
                todo += self._children(pending)
        return list(found.values())

    def _children(self, pending: PendingTx) -> list[TxId]:
        outputs = range(len(pending.transaction.core.outputs))
        return [child for index in outputs for child in self._spenders.get(OutPoint(pending.txid, index), ())]

    # Changes; `refresh` after them

    def add(self, pending: PendingTx) -> None:
        """Take in a transaction, or its changed record."""
        if pending.txid in self._all:
            self._all[pending.txid] = pending
        else:
            self._insert(pending)

    def remove(self, txid: TxId) -> None:
        """Let go of a transaction that is in a block now."""
        pending = self._all.pop(txid, None)
        if pending is None:
            return
        for outpoint in pending.transaction.core.inputs:
            names = self._spenders[outpoint]
            names.remove(txid)
            if not names:
                del self._spenders[outpoint]

    def put_conflict(self, outpoint: OutPoint, record: ConflictRecord) -> None:
        """Take note that the chain spent what others here name."""
        self._conflicts[outpoint] = record
        self._store.put_conflict(outpoint, record)

    def forget_conflicts(self, from_height: int) -> bool:
        """Drop the conflicts of blocks from a height on, which are reverted; tell whether there were any."""
        gone = [outpoint for outpoint, record in self._conflicts.items() if record.height >= from_height]
        for outpoint in gone:
            del self._conflicts[outpoint]
            self._store.put_conflict(outpoint, None)
        return bool(gone)

    def _insert(self, pending: PendingTx) -> None:
        self._all[pending.txid] = pending
        for outpoint in pending.transaction.core.inputs:
            self._spenders.setdefault(outpoint, []).append(pending.txid)

    def extend(self, pending: PendingTx) -> None:
        """Take in a new transaction that nothing speaks against and that contests nothing: no refresh needed."""
        self._insert(pending)
        self._states[pending.txid] = (State.PENDING, None)
        for outpoint in pending.transaction.core.inputs:
            self._spent[outpoint] = pending.txid

    # What follows

    def refresh(self) -> None:
        """Work out from scratch which count.

        One that lost an input to the chain does not, nor does one that descends from it. Of several
        that name the same coin, the one that the mempool accepted last does: it cannot hold two.
        """
        whole(self.refresh_in_slices())

    def refresh_in_slices(self) -> Slices[None]:
        """Do `refresh`, in slices."""
        self._states = {}
        # In the order of their sequence: what descends from two that were lost is shown the same after a restart.
        for place, pending in enumerate(self):
            if place % SLICE == SLICE - 1:
                yield
            verdict = self._own_verdict(pending)
            if verdict is not None:
                self._condemn(pending.txid, verdict)
        self._spent = {}
        contested: set[OutPoint] = set()
        for outpoint, names in self._spenders.items():
            if len(names) > 1 and sum(txid not in self._states for txid in names) > 1:
                contested.add(outpoint)
        # The newest first; whoever finds an input taken is out, with all that descend from it.
        if contested:
            self._settle(contested)
        for place, (txid, pending) in enumerate(self._all.items()):
            if place % SLICE == SLICE - 1:
                yield
            if txid not in self._states:
                self._states[txid] = (State.PENDING, None)
                for outpoint in pending.transaction.core.inputs:
                    self._spent[outpoint] = txid

    def _own_verdict(self, pending: PendingTx) -> tuple[State, int | None] | None:
        if pending.transaction.is_coinbase:
            return State.ORPHANED, None
        if pending.record.abandoned:
            return State.ABANDONED, None
        for outpoint in pending.transaction.core.inputs:
            conflict = self._conflicts.get(outpoint)
            if conflict is not None:
                return State.CONFLICTED, conflict.height
        return (State.DROPPED, None) if pending.record.dropped else None

    def _condemn(self, txid: TxId, verdict: tuple[State, int | None]) -> None:
        """Mark a transaction, and as conflicted all that descend from it."""
        self._states[txid] = verdict
        todo = [txid]
        while todo:
            for child in self._children(self._all[todo.pop()]):
                if child not in self._states:
                    self._states[child] = (_inherited(verdict[0]), verdict[1])
                    todo.append(child)

    def _settle(self, contested: set[OutPoint]) -> None:
        taken: set[OutPoint] = set()
        arrivals = [txid for names in self._spenders.values() for txid in names]
        newest_first = sorted(set(arrivals), key=lambda txid: self._all[txid].record.arrival, reverse=True)
        for txid in newest_first:
            if txid in self._states:
                continue
            mine = [outpoint for outpoint in self._all[txid].transaction.core.inputs if outpoint in contested]
            if any(outpoint in taken for outpoint in mine):
                self._condemn(txid, (State.CONFLICTED, None))
            else:
                taken.update(mine)


def _inherited(state: State) -> State:
    # The child of a payment that was given up, or lost from the mempool, goes with it; what descends
    # from a conflict or from a lost reward cannot be mined either.
    return state if state in {State.ABANDONED, State.DROPPED} else State.CONFLICTED
