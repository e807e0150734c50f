"""Which coins pay: enough for the payment and its fee, as few bytes and as little change as may be.

Four ways are tried, in this order: coins that match the amount without change; the smallest coin
that covers it alone; coins in random order, so that what a wallet spends says little about what it
has; and if these are too many for one transaction, the largest coins. The randomness is handed in,
and the coins are put in order first: the same coins and seed select the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, NoReturn

from consensus.amounts import format_amount
from consensus.codec import encode
from consensus.spend_policy import witness_cost
from consensus.types import MAX_INPUTS, Amount, Key, LockId, OutPoint, Output, TxId
from wallet.coin_table import SpendableCoin
from wallet.errors import InsufficientFundsError, PaymentError
from wallet.ports import Entropy
from wallet.results import RelayTerms

EXACT_MATCH_TRIES = 5_000
"""Steps of the search for coins that need no change: about 3 ms."""
WITNESS_SIZE = witness_cost(Key(bytes(33))).size
"""Bytes of the witness of a key, its signature included."""
CHANGE_SIZE = len(encode(Output(Amount(2**62), LockId(bytes(32)), None)))
"""Bytes of a change output, at most."""
_OUTPOINT_BASE = len(encode(OutPoint(TxId(bytes(32)), 0))) - 1
_COUNTS = 6
"""Bytes that the lengths of inputs, outputs and witnesses take beyond one each, at most."""


class Need(NamedTuple):
    """What a payment takes, its inputs left aside."""

    amount: int
    """Grain to be paid."""
    size: int
    """Bytes of the transaction without inputs, witnesses and change."""


class Selection(NamedTuple):
    """Coins for a payment."""

    coins: tuple[SpendableCoin, ...]
    fee: Amount
    change: Amount
    """0 for none: then what is too little for an output of its own is in the fee."""


class _Tally:
    """Coins as they are chosen, and what they cost."""

    def __init__(self, need: Need, terms: RelayTerms) -> None:
        self._need = need
        self._terms = terms
        self._size = need.size + _COUNTS
        self._locks: set[LockId] = set()
        self._chain = 0
        self.coins: list[SpendableCoin] = []
        self.value = 0

    def fits(self, coin: SpendableCoin) -> bool:
        """Tell whether the node would still pass on a transaction that spends one coin more, with change."""
        return (
            len(self.coins) < MAX_INPUTS
            and self._size + self._added(coin) + CHANGE_SIZE <= self._terms.max_size
            and self._chain + coin.chain < self._terms.max_chain
        )

    def add(self, coin: SpendableCoin) -> None:
        self.coins.append(coin)
        self.value += coin.value
        self._size += self._added(coin)
        self._chain += coin.chain
        self._locks.add(coin.lock)

    def fee(self, *, change: bool) -> int:
        return fee_for(self._terms, self._size + (CHANGE_SIZE if change else 0), len(self._locks))

    def cost_of(self, coin: SpendableCoin) -> int:
        """Return by how much a coin would raise the fee."""
        locks = len(self._locks) + (coin.lock not in self._locks)
        return fee_for(self._terms, self._size + self._added(coin), locks) - self.fee(change=False)

    def settle(self) -> Selection | None:
        """Return the coins as a selection, or None while they are too few."""
        left = self.value - self._need.amount
        change = left - self.fee(change=True)
        if change >= max(self._terms.dust_limit, 1):
            return Selection(tuple(self.coins), Amount(left - change), Amount(change))
        if left >= self.fee(change=False):
            return Selection(tuple(self.coins), Amount(left), Amount(0))
        return None

    def _added(self, coin: SpendableCoin) -> int:
        return input_size(coin) + (0 if coin.lock in self._locks else WITNESS_SIZE)


def input_size(coin: SpendableCoin) -> int:
    """Return the bytes that a coin takes among the inputs, its witness left aside."""
    index = coin.outpoint.index
    return _OUTPOINT_BASE + (1 if index < 128 else 2 if index < 256 else 3 if index < 65_536 else 5)


def fee_for(terms: RelayTerms, size: int, signatures: int) -> int:
    """Return the fee of a transaction, in grain, rounded up."""
    return -(-terms.fee_rate * max(size, signatures * terms.signature_bytes) // 1_000)


def fee_of(coins: Iterable[SpendableCoin], need: Need, terms: RelayTerms, *, change: bool) -> int:
    """Return the fee of a transaction that spends these coins, in grain."""
    tally = _Tally(need, terms)
    for coin in coins:
        tally.add(coin)
    return tally.fee(change=change)


def select_coins(coins: Iterable[SpendableCoin], need: Need, terms: RelayTerms, entropy: Entropy) -> Selection:
    """Choose coins for a payment; our own unconfirmed change only if those in a block do not do.

    Raises:
        InsufficientFundsError: all of them together do not cover it.
        PaymentError: they would, but not in one transaction.
    """
    ordered = _in_order(coins)
    confirmed = [coin for coin in ordered if coin.chain == 0]
    selection = _select(confirmed, need, terms, entropy)
    if selection is None and len(confirmed) < len(ordered):
        selection = _select(ordered, need, terms, entropy)
    if selection is None:
        _refuse(ordered, need, terms)
    return selection


def select_all(coins: Iterable[SpendableCoin], need: Need, terms: RelayTerms) -> tuple[Selection, int]:
    """Choose all coins that are worth their fee and fit, the largest first; no change.

    Returns:
        The selection, whose fee is to be taken out of its sum; and how many coins are left over.

    Raises:
        InsufficientFundsError: none is worth its fee.
    """
    ordered = _in_order(coins)
    tally = _Tally(need, terms)
    for coin in ordered:
        if tally.fits(coin) and tally.cost_of(coin) < coin.value:
            tally.add(coin)
    if not tally.coins:
        raise InsufficientFundsError("no coin can be spent now that is worth its fee")
    fee = tally.fee(change=False)
    return Selection(tuple(tally.coins), Amount(fee), Amount(0)), len(ordered) - len(tally.coins)


def _in_order(coins: Iterable[SpendableCoin]) -> list[SpendableCoin]:
    """Return the coins, the largest first; among equals by their outpoints."""
    return sorted(coins, key=lambda coin: (-coin.value, coin.outpoint.txid, coin.outpoint.index))


def _select(ordered: Sequence[SpendableCoin], need: Need, terms: RelayTerms, entropy: Entropy) -> Selection | None:
    return (
        _exact(ordered, need, terms)
        or _alone(ordered, need, terms)
        or _gather(_shuffled(ordered, entropy), need, terms)
        or _gather(ordered, need, terms)
    )


def _exact(ordered: Sequence[SpendableCoin], need: Need, terms: RelayTerms) -> Selection | None:
    """Search for coins whose sum exceeds what is needed by less than a change output would cost.

    Branch and bound, as in Bitcoin Core's SelectCoinsBnB: depth first, the larger coins first, a branch
    left when it is above the range, or could not reach it with all that remains. Of equal coins
    one stands for all, so a thousand equal rewards are one branch.
    """
    values = [coin.value - fee_for(terms, input_size(coin) + WITNESS_SIZE, 1) for coin in ordered]
    count = next((place for place, value in enumerate(values) if value <= 0), len(values))
    remaining = [0] * (count + 1)
    next_smaller = [count] * (count + 1)
    for place in range(count - 1, -1, -1):
        remaining[place] = remaining[place + 1] + values[place]
        if place + 1 < count and values[place + 1] == values[place]:
            next_smaller[place] = next_smaller[place + 1]
        else:
            next_smaller[place] = place + 1
    lowest = need.amount + fee_for(terms, need.size + _COUNTS, 0)
    # The output, and one day an input for it.
    highest = lowest + fee_for(terms, CHANGE_SIZE, 0) + fee_for(terms, terms.signature_bytes, 1)
    chosen: list[int] = []
    total, place = 0, 0
    for _ in range(EXACT_MATCH_TRIES):
        if lowest <= total <= highest:
            return _gather([ordered[index] for index in chosen], need, terms, all_of_them=True)
        if total > highest or total + remaining[place] < lowest:
            if not chosen:
                return None
            left_out = chosen.pop()
            total -= values[left_out]
            place = next_smaller[left_out]
        else:
            chosen.append(place)
            total += values[place]
            place += 1
    return None


def _alone(ordered: Sequence[SpendableCoin], need: Need, terms: RelayTerms) -> Selection | None:
    """Return the smallest coin that covers the payment."""
    for coin in reversed(ordered):
        if coin.value >= need.amount:
            selection = _gather([coin], need, terms)
            if selection is not None:
                return selection
    return None


def _gather(
    coins: Iterable[SpendableCoin], need: Need, terms: RelayTerms, *, all_of_them: bool = False
) -> Selection | None:
    """Take coins one after the other until they cover the payment; leave out those that do not fit."""
    tally = _Tally(need, terms)
    for coin in coins:
        if tally.fits(coin) and tally.cost_of(coin) < coin.value:
            tally.add(coin)
            if not all_of_them and tally.value >= need.amount:
                selection = tally.settle()
                if selection is not None:
                    return selection
    return tally.settle() if all_of_them else None


def _shuffled(ordered: Sequence[SpendableCoin], entropy: Entropy) -> list[SpendableCoin]:
    places = list(range(len(ordered)))
    entropy.shuffle(places)
    return [ordered[place] for place in places]


def _refuse(ordered: Sequence[SpendableCoin], need: Need, terms: RelayTerms) -> NoReturn:
    unbounded = terms._replace(max_size=2**62, max_chain=2**62)
    tally = _Tally(need, unbounded)
    for coin in ordered:
        if tally.cost_of(coin) < coin.value:
            tally.add(coin)
    if tally.settle() is not None:
        raise PaymentError(
            "the coins would do, but not in one transaction: pay in parts, or wait until the last payments are mined"
        )
    raise InsufficientFundsError(
        f"{format_amount(need.amount)} DURE and a fee of about {format_amount(tally.fee(change=False))} are needed; "
        f"{format_amount(sum(coin.value for coin in ordered))} can be spent now"
    )
