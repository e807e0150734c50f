"""Transactions of ours that wait for somebody else's approval: signed, in no mempool, their coins kept for them.

A signature cannot be taken back: whoever has the file can finish it for as long as its coins are there. So the coins
stay kept until the transaction is seen, or another one spends one of them, or its owner says that nobody has the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from consensus.params import Params
from consensus.types import OutPoint, Transaction, TxId
from wallet.errors import PaymentError, WalletDataError
from wallet.psdt import Psdt, PsdtError, read_psdt, write_psdt
from wallet.records import WaitingRecord
from wallet.store import WalletStore

MAX_WAITING = 1_000
"""At once: they are held in memory, and verified when a wallet is opened."""


class WaitingTransfer(msgspec.Struct, frozen=True):
    """One of them."""

    txid: TxId
    psdt: Psdt
    """With all signatures that this wallet gave."""
    time: int
    """When it was made, UNIX seconds."""
    number: int
    """In the order in which they were made."""


class WaitingSet:
    """All of one wallet. What changes it is part of the caller's step."""

    def __init__(self, params: Params, store: WalletStore) -> None:
        """Read what the store holds.

        Raises:
            WalletDataError: one of them is damaged.
        """
        self._params = params
        self._store = store
        self._all: dict[TxId, WaitingTransfer] = {}
        self._keeping: dict[OutPoint, TxId] = {}
        for record in sorted(store.waiting(), key=lambda record: record.number):
            psdt = _read(params, record.raw)
            self._learn(WaitingTransfer(psdt.txid, psdt, record.time, record.number))

    def __contains__(self, txid: object) -> bool:
        return txid in self._all

    def __iter__(self) -> Iterator[WaitingTransfer]:
        """Yield all, in the order in which they were made."""
        return iter(self._all.values())

    def get(self, txid: TxId) -> WaitingTransfer | None:
        """Return one of them."""
        return self._all.get(txid)

    @property
    def coins(self) -> Mapping[OutPoint, TxId]:
        """The coins that are kept, and for which transaction: a view that follows what happens."""
        return self._keeping

    def check_room(self) -> None:
        """Check that one more may wait.

        Raises:
            PaymentError: it may not.
        """
        if len(self._all) >= MAX_WAITING:
            raise PaymentError(f"at most {MAX_WAITING} transactions can wait for approval: cancel some")

    def add(self, psdt: Psdt, time: int) -> WaitingTransfer:
        """Keep the coins of a transaction."""
        waiting = WaitingTransfer(psdt.txid, psdt, time, self._store.next_number())
        self._learn(waiting)
        self._store.put_waiting(waiting.txid, WaitingRecord(waiting.number, time, write_psdt(psdt)))
        return waiting

    def restore(self, time: int, raw: bytes) -> None:
        """Keep the coins of a transaction of a backup.

        Raises:
            WalletDataError: it is damaged.
        """
        self.add(_read(self._params, raw), time)

    def remove(self, txid: TxId) -> None:
        """Let the coins of a transaction go."""
        for outpoint in self._all.pop(txid).psdt.core.inputs:
            self._keeping.pop(outpoint, None)
        self._store.put_waiting(txid, None)

    def end(self, tx: Transaction) -> None:
        """Take note of a transaction that is here for good: what waits for the same coins waits in vain, or is it."""
        for outpoint in tx.core.inputs:
            txid = self._keeping.get(outpoint)
            if txid is not None:
                self.remove(txid)

    def _learn(self, waiting: WaitingTransfer) -> None:
        self._all[waiting.txid] = waiting
        self._keeping |= dict.fromkeys(waiting.psdt.core.inputs, waiting.txid)


def _read(params: Params, raw: bytes) -> Psdt:
    try:
        return read_psdt(params, raw)
    except PsdtError as error:
        raise WalletDataError(f"a transaction that waits for approval is damaged: {error}") from None
