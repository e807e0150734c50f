"""The transaction that takes one coin home: from a swap's lock, by the secret or in time; or out of an offer."""

from __future__ import annotations

from typing import NamedTuple

from consensus.amounts import format_amount
from consensus.codec import encode
from consensus.spend_policy import WitnessCost, witness_cost
from consensus.types import Amount, LockId, OutPoint, Output
from wallet.addresses import AddressBook, Branch
from wallet.assets.approvers import Records
from wallet.assets.flows import records_of
from wallet.coin_selection import CHANGE_SIZE, KEY_COST, Need, fee_for, select_coins
from wallet.coin_table import SpendableCoin, as_spendable
from wallet.errors import PaymentError
from wallet.ledger import Ledger
from wallet.maker import Maker
from wallet.payments import check_fee
from wallet.ports import Entropy
from wallet.records import CoinRecord
from wallet.results import Note, RelayTerms, Sent
from wallet.signer import Opening
from wallet.tx_builder import WITNESS_FRAME, Built, plain_core


class Taken(NamedTuple):
    """A coin, and how it is opened."""

    outpoint: OutPoint
    record: CoinRecord
    opening: Opening | None
    """None for a coin of the wallet's own."""

    @property
    def cost(self) -> WitnessCost:
        """What opening it costs."""
        return KEY_COST if self.opening is None else witness_cost(self.opening.shown)


class Taker:
    """Makes such transactions. What is taken goes to a fresh address of the wallet."""

    def __init__(self, ledger: Ledger, addresses: AddressBook, maker: Maker, entropy: Entropy) -> None:
        self._ledger = ledger
        self._addresses = addresses
        self._maker = maker
        self._entropy = entropy

    def take(
        self,
        taken: Taken,
        records: Records,
        terms: RelayTerms,
        *,
        request: tuple[str, bytes],
        note: Note,
    ) -> Sent:
        """Take a coin. DURE bears its own fee; for an asset the wallet's own DURE does.

        Raises:
            InsufficientFundsError: there is no DURE for the fee of taking an asset.
            PaymentError: it is worth less than its fee, or a rule is broken.
            FeeError, WalletLockedError: as for any payment.
        """
        self._maker.check_ready(terms, b"", force=False)
        home = self._addresses.peek(Branch.CHANGE)
        coin = as_spendable(taken.outpoint, taken.record, 0)
        if coin.asset is None:
            built = self._of_dure(coin, taken.cost, terms, home.lock)
        else:
            built = self._of_asset(coin, taken.cost, terms, home.lock)
        known = records_of(built.core, [each.output for each in built.coins], records)
        return self._maker.finish(built, home, request=request, note=note, assets=known, opening=taken.opening)

    def _of_dure(self, coin: SpendableCoin, cost: WitnessCost, terms: RelayTerms, home: LockId) -> Built:
        size = len(encode(plain_core([coin.outpoint], [Output(coin.value, home, None)]))) + WITNESS_FRAME + cost.size
        fee = Amount(fee_for(terms, size, cost.signatures))
        left = Amount(coin.value - fee)
        if left < terms.dust_limit:
            raise PaymentError(f"the fee of {format_amount(fee)} DURE would eat up what is there: lower the fee rate")
        check_fee(fee, coin.value)
        return Built(plain_core([coin.outpoint], [Output(left, home, None)]), (coin,), fee, left)

    def _of_asset(self, coin: SpendableCoin, cost: WitnessCost, terms: RelayTerms, home: LockId) -> Built:
        moved = Output(coin.value, home, coin.asset)
        size = len(encode(plain_core([coin.outpoint], [moved]))) + WITNESS_FRAME + cost.size + CHANGE_SIZE
        spendable = self._ledger.coins.spendable(self._maker.next_height)
        selection = select_coins(spendable, Need(0, size, cost.signatures), terms, self._entropy)
        # What an asset is worth in DURE nobody knows here: a fee is held against the wallet's own coins.
        check_fee(selection.fee, sum(each.value for each in selection.coins))
        outputs = [moved] + ([Output(selection.change, home, None)] if selection.change else [])
        coins = (coin, *selection.coins)
        return Built(plain_core((each.outpoint for each in coins), outputs), coins, selection.fee, selection.change)
