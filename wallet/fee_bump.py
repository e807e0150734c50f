"""A payment that waits for too long, made anew with a higher fee: the same receivers, the same coins, less change.

The rules by which a mempool takes the one in place of the other are the relay's (node/replacement.py): a higher fee
rate, and a fee that pays for the relay of both. What is missing comes out of the change, then out of further coins
that are in a block: a replacement may not wait for others than those that it replaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from consensus.amounts import format_amount
from consensus.types import Amount, LockId, Transaction
from wallet.coin_selection import Need, Selection, fee_for, fee_of, fits_relay
from wallet.coin_table import SpendableCoin
from wallet.errors import FeeError, InsufficientFundsError
from wallet.results import Payment, RelayTerms
from wallet.tx_builder import need_of


class Original(NamedTuple):
    """A payment of ours that is in no block."""

    transaction: Transaction
    coins: tuple[SpendableCoin, ...]
    """Of its inputs."""
    fee: Amount
    payments: tuple[Payment, ...]
    """What others get, in its order."""
    change: LockId | None
    """Where what is left goes; None if it had no change."""

    def size(self, terms: RelayTerms) -> int:
        """Return the virtual bytes that its fee rate is reckoned by."""
        signatures = sum(len(witness.satisfactions) for witness in self.transaction.witnesses)
        return max(len(self.transaction.encoded), signatures * terms.signature_bytes)

    def fee_rate(self, terms: RelayTerms) -> int:
        """Return its fee rate in grain per 1,000 virtual bytes, rounded up."""
        return -(-self.fee * 1_000 // self.size(terms))


def bumped_rate(original: Original, terms: RelayTerms, wanted: int | None) -> int:
    """Return the fee rate of a replacement: what is asked for, or else what is usual now; a step more in any case.

    Raises:
        FeeError: what is asked for is too low to replace it.
    """
    paid = original.fee_rate(terms)
    if wanted is not None and wanted <= paid:
        raise FeeError(f"a replacement pays more than the {paid} grain per 1,000 bytes that it replaces")
    return max(terms.fee_rate, paid + terms.min_fee_rate) if wanted is None else wanted


def select_bumped(
    original: Original, further: Iterable[SpendableCoin], memo: bytes, terms: RelayTerms, *, keep_change: bool
) -> Selection:
    """Choose the coins of a replacement: those of the original, then as few more as it takes.

    Args:
        further: coins that may be added.
        terms: with the fee rate of the replacement.
        keep_change: whether an output for what is left has to remain.

    Raises:
        InsufficientFundsError: all of them together do not cover it.
    """
    need = need_of(original.payments, memo)
    coins = list(original.coins)
    selection = _settle(original, coins, need, terms, keep_change=keep_change)
    if selection is None:
        ordered = sorted(further, key=lambda coin: (-coin.value, coin.outpoint.txid, coin.outpoint.index))
        missing = need.amount + original.fee - sum(coin.value for coin in coins)
        enough = [coin for coin in reversed(ordered) if coin.value > missing]
        alone = (_settle(original, [*coins, coin], need, terms, keep_change=keep_change) for coin in enough)
        selection = next((found for found in alone if found is not None), None)
        while selection is None and ordered and fits_relay([*coins, ordered[0]], need, terms):
            coins.append(ordered.pop(0))
            selection = _settle(original, coins, need, terms, keep_change=keep_change)
    if selection is None:
        raise InsufficientFundsError(
            f"a fee of {format_amount(fee_of(coins, need, terms, change=keep_change))} DURE is more than the change of "
            "the payment and the coins that are left can bear"
        )
    return selection


def _settle(
    original: Original, coins: Sequence[SpendableCoin], need: Need, terms: RelayTerms, *, keep_change: bool
) -> Selection | None:
    """Return the coins as a selection that may replace the original, or None while they are too few."""
    left = sum(coin.value for coin in coins) - need.amount
    fee = max(fee_of(coins, need, terms, change=True), _least_fee(original, coins, need, terms, change=True))
    if original.change is not None or len(coins) > len(original.coins):
        change = left - fee
        if change >= max(terms.dust_limit, 1):
            return Selection(tuple(coins), Amount(fee), Amount(change))
    least = max(fee_of(coins, need, terms, change=False), _least_fee(original, coins, need, terms, change=False))
    return Selection(tuple(coins), Amount(left), Amount(0)) if left >= least and not keep_change else None


def _least_fee(
    original: Original, coins: Sequence[SpendableCoin], need: Need, terms: RelayTerms, *, change: bool
) -> int:
    """Return the least absolute fee of a replacement: what is replaced, and the relay of its own bytes."""
    relay = terms._replace(fee_rate=terms.min_fee_rate)
    return original.fee + max(fee_of(coins, need, relay, change=change), fee_for(relay, original.size(terms), 0))
