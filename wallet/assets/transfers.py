"""The transfers that wait for somebody's approval, as their owner sees them, and how he takes one back."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from consensus.codec import display_hash, encode
from consensus.types import Amount, Output, TxId
from wallet.addresses import AddressBook, Branch
from wallet.coin_selection import CHANGE_SIZE, WITNESS_SIZE, fee_for
from wallet.coin_table import SpendableCoin
from wallet.errors import InsufficientFundsError, UnknownTransactionError
from wallet.ledger import Ledger
from wallet.maker import Maker
from wallet.payments import check_fee
from wallet.results import Note, RelayTerms, Sent
from wallet.tx_builder import WITNESS_FRAME, Built, plain_core
from wallet.waiting import WaitingTransfer


class WaitingState(StrEnum):
    """Where a transfer stands that this wallet keeps coins for."""

    WAITING = "waiting"
    CANCELLING = "cancelling"
    """A transaction that spends one of its coins is in no block yet."""
    LOST = "lost"
    """A coin that it spends is not there any more: after a reorg. It can only be forgotten."""


class Waiting(NamedTuple):
    """One of them."""

    transfer: WaitingTransfer
    state: WaitingState
    note: Note


class TransferDesk:
    """Lists and cancels. What it changes is durable when it returns."""

    def __init__(self, ledger: Ledger, addresses: AddressBook, maker: Maker) -> None:
        self._ledger = ledger
        self._addresses = addresses
        self._maker = maker

    def __iter__(self) -> Iterator[Waiting]:
        """Yield all, in the order in which they were made."""
        return (self._seen(transfer) for transfer in self._ledger.waiting)

    def find(self, txid: TxId) -> Waiting:
        """Return one of them.

        Raises:
            UnknownTransactionError: none that waits has this id.
        """
        transfer = self._ledger.waiting.get(txid)
        if transfer is None:
            raise UnknownTransactionError("no transaction of this wallet that waits for an approval has this id")
        return self._seen(transfer)

    def _seen(self, transfer: WaitingTransfer) -> Waiting:
        inputs = transfer.psdt.core.inputs
        state = WaitingState.WAITING
        if any(self._ledger.pending.spends(outpoint) for outpoint in inputs):
            state = WaitingState.CANCELLING
        elif any(outpoint not in self._ledger.coins for outpoint in inputs):
            state = WaitingState.LOST
        return Waiting(transfer, state, self._ledger.store.note(transfer.txid))

    def forget(self, txid: TxId) -> None:
        """Let its coins go at once. Whoever has the file can still finish it, for as long as they are there.

        Raises:
            UnknownTransactionError: none that waits has this id.
        """
        self.find(txid)
        self._maker.forget_request(txid)
        self._ledger.waiting.remove(txid)
        self._ledger.flush()

    def cancel(self, txid: TxId, terms: RelayTerms, *, force: bool = False) -> Sent:
        """Make a payment to ourselves of the coins in DURE that it spends: once that is in a block, it is worthless.

        Until then its other coins stay kept.

        Raises:
            UnknownTransactionError: none that waits has this id, or it is being cancelled already.
            InsufficientFundsError: they do not bear the fee.
            FeeError, PaymentError, WalletLockedError: see `Wallet.send`.
        """
        waiting = self.find(txid)
        if waiting.state is not WaitingState.WAITING:
            raise UnknownTransactionError(f"it is {waiting.state.value} already, and can be forgotten")
        self._maker.check_ready(terms, b"", force=force)
        coins = tuple([coin for coin in self._coins(waiting.transfer) if coin.asset is None])
        change = self._addresses.peek(Branch.CHANGE)
        core = plain_core((coin.outpoint for coin in coins), ())
        locks = len({coin.lock for coin in coins})
        fee = fee_for(terms, len(encode(core)) + WITNESS_FRAME + CHANGE_SIZE + locks * WITNESS_SIZE, locks)
        left = sum(coin.value for coin in coins) - fee
        if left < terms.dust_limit or not coins:
            raise InsufficientFundsError(
                "the coins in DURE that it spends do not bear a fee of their own: if nobody has the file, forget it"
            )
        if not force:
            check_fee(fee, None)
        core = plain_core(core.inputs, [Output(Amount(left), change.lock, None)])
        self._maker.forget_request(txid)
        built = Built(core, coins, Amount(fee), Amount(left))
        note = Note(f"cancels {display_hash(txid)}")
        return self._maker.finish(built, change, request=(None, b""), note=note)

    def _coins(self, transfer: WaitingTransfer) -> list[SpendableCoin]:
        """Return its coins; all are ours, or it would not have been made."""
        return self._ledger.coins.behind(transfer.psdt.core) or []
