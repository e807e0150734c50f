"""Which coins pay: those that waste least, of what four ways find.

1. Branch and bound: coins whose sum needs no change (Bitcoin Core's SelectCoinsBnB; Murch 2016).
2. The smallest coin that covers the payment alone.
3. Coins in random order, so that what a wallet spends says little about what it has.
4. The largest coins: fewest bytes, and the way that fits into one transaction if any does.

What is wasted is what a selection costs beyond the payment itself (see `waste`). Each way looks at a coin
once, and the search is cut off, so that ten thousand coins are a matter of milliseconds. The randomness is
handed in and the coins are put in order first: the same coins and seed select the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, NoReturn

from consensus.amounts import format_amount
from consensus.codec import encode
from consensus.spend_policy import witness_cost
from consensus.types import MAX_INPUTS, Amount, Key, LockId, OutPoint, Output, TxId
from wallet.coin_table import SpendableCoin, in_order
from wallet.errors import InsufficientFundsError, PaymentError
from wallet.ports import Entropy
from wallet.results import RelayTerms

EXACT_MATCH_TRIES = 10_000
"""Steps of the search for coins that need no change: about 12 ms."""
MAX_CANDIDATES = 10_000
"""Coins that are chosen from: of more only the largest. A transaction that is relayed holds fewer than 3,000, so a
storm of dust costs no payment anything (A162)."""
KEY_COST = witness_cost(Key(bytes(33)))
"""Of the witness of a key."""
WITNESS_SIZE = KEY_COST.size
"""Its bytes, its signature included."""
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
    """Bytes of the transaction without the inputs that are to be chosen, their witnesses, and change."""
    signatures: int = 0
    """Those that `size` holds already."""


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
        return fee_for(self._terms, self._size + (CHANGE_SIZE if change else 0), self._signatures)

    def cost_of(self, coin: SpendableCoin) -> int:
        """Return by how much a coin would raise the fee."""
        locks = self._signatures + (coin.lock not in self._locks)
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

    @property
    def _signatures(self) -> int:
        return self._need.signatures + len(self._locks)

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


def fits_relay(coins: Iterable[SpendableCoin], need: Need, terms: RelayTerms) -> bool:
    """Tell whether the node would pass on a transaction that spends these coins, with change."""
    tally = _Tally(need, terms)
    for coin in coins:
        if not tally.fits(coin):
            return False
        tally.add(coin)
    return True


def waste(selection: Selection, need: Need, terms: RelayTerms) -> int:
    """Return what a selection costs beyond the payment itself, in grain; less is better, and it may be negative.

    That is what its inputs cost now above what they would cost on a quiet day, at the lowest rate: they have to be
    spent some time. And without change what the fee was rounded up by; with change, its output now and its input on
    a quiet day (Bitcoin Core: GetSelectionWaste).
    """
    quiet = terms._replace(fee_rate=min(terms.fee_rate, terms.min_fee_rate))
    inputs = fee_of(selection.coins, need, quiet, change=False) - _bare_fee(need, quiet)
    return selection.fee - _bare_fee(need, terms) - inputs + (_spend_cost(quiet) if selection.change else 0)


def _bare_fee(need: Need, terms: RelayTerms) -> int:
    return fee_for(terms, need.size + _COUNTS, need.signatures)


def _spend_cost(terms: RelayTerms) -> int:
    """What it costs to spend one coin at a lock of its own."""
    return fee_for(terms, _OUTPOINT_BASE + 1 + WITNESS_SIZE, 1)


def _change_cost(terms: RelayTerms) -> int:
    """What change costs: its output, and one day an input for it."""
    return fee_for(terms, CHANGE_SIZE, 0) + _spend_cost(terms)


def _largest_fee(need: Need, terms: RelayTerms) -> int:
    """Return what a transaction of the largest size pays: one coin that is worth more than all it could be needed for
    is in no exact match.
    """
    return fee_for(terms, terms.max_size, need.signatures + terms.max_size // WITNESS_SIZE)


def select_coins(coins: Iterable[SpendableCoin], need: Need, terms: RelayTerms, entropy: Entropy) -> Selection:
    """Choose coins for a payment; our own unconfirmed change only if those in a block do not do.

    Raises:
        InsufficientFundsError: all of them together do not cover it.
        PaymentError: they would, but not in one transaction.
    """
    ordered = in_order(coins)
    confirmed = [coin for coin in ordered if coin.chain == 0]
    selection = select_of(confirmed, need, terms, entropy)
    if selection is None and len(confirmed) < len(ordered):
        selection = select_of(ordered, need, terms, entropy)
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
    ordered = in_order(coins)
    tally = _Tally(need, terms)
    for coin in ordered:
        if tally.fits(coin) and tally.cost_of(coin) < coin.value:
            tally.add(coin)
    if not tally.coins:
        raise InsufficientFundsError("no coin can be spent now that is worth its fee")
    fee = tally.fee(change=False)
    return Selection(tuple(tally.coins), Amount(fee), Amount(0)), len(ordered) - len(tally.coins)


def select_of(ordered: Sequence[SpendableCoin], need: Need, terms: RelayTerms, entropy: Entropy) -> Selection | None:
    """Choose coins for a payment, or return None where these do not do.

    Args:
        ordered: see `in_order`.
    """
    ordered = ordered[:MAX_CANDIDATES]
    found = (
        _exact(ordered, need, terms),
        _alone(ordered, need, terms),
        _gather(_shuffled(ordered, entropy), need, terms),
        _gather(ordered, need, terms),
    )
    # Of several that waste the same, the one that was found first.
    return min((each for each in found if each is not None), key=lambda each: waste(each, need, terms), default=None)


def _exact(ordered: Sequence[SpendableCoin], need: Need, terms: RelayTerms) -> Selection | None:
    """Search for the coins that waste least of those whose sum exceeds the need by less than change would cost.

    Depth first, the larger coins first, a branch left when it is above the range, or could not reach it with all that
    remains. Of equal coins one stands for all, so a thousand equal rewards are one branch.
    """
    least_value, most = _spend_cost(terms), need.amount + _largest_fee(need, terms) + _change_cost(terms)
    search = _Search([coin for coin in ordered if least_value < coin.value <= most], need, terms)
    best: Selection | None = None
    least = 0
    for _ in range(EXACT_MATCH_TRIES):
        left = search.left
        if 0 <= left <= search.tolerance:
            found = _gather(search.chosen(), need, terms, all_of_them=True)
            if found is not None and (best is None or waste(found, need, terms) < least):
                best, least = found, waste(found, need, terms)
            if left == 0:
                break
        if left >= 0 or not search.can_reach:
            if not search.leave_out():
                break
        else:
            search.take()
    return best


class _Search:
    """Where a search for an exact match stands: which of the coins up to a place are taken."""

    def __init__(self, coins: Sequence[SpendableCoin], need: Need, terms: RelayTerms) -> None:
        shared = Counter(coin.lock for coin in coins)
        # Equal are coins of one value at one lock, and those of one value that each lie alone at theirs.
        kinds = [(coin.value, coin.lock if shared[coin.lock] > 1 else b"") for coin in coins]
        order = sorted(range(len(coins)), key=lambda place: (-kinds[place][0], kinds[place][1], place))
        self._coins = [coins[place] for place in order]
        self._terms = terms
        self._amount = need.amount
        self._size = need.size + _COUNTS
        self._locks: dict[LockId, int] = {}
        """How many of the coins that are taken lie at each lock: they share a signature."""
        self._value = 0
        self._place = 0
        self._taken: list[int] = []
        self._remaining = [0] * (len(coins) + 1)
        """What the coins from each place on are worth together."""
        self._next_kind = [len(coins)] * (len(coins) + 1)
        for place in range(len(coins) - 1, -1, -1):
            self._remaining[place] = self._remaining[place + 1] + self._coins[place].value
            same = place + 1 < len(coins) and kinds[order[place]] == kinds[order[place + 1]]
            self._next_kind[place] = self._next_kind[place + 1] if same else place + 1
        self.tolerance = _change_cost(terms)

    @property
    def left(self) -> int:
        """What is there beyond the payment and its fee; negative while it is too little."""
        return self._value - self._amount - fee_for(self._terms, self._size, len(self._locks))

    @property
    def can_reach(self) -> bool:
        """Whether the coins that are left could be enough, if they cost nothing to spend."""
        return self.left + self._remaining[self._place] >= 0

    def chosen(self) -> list[SpendableCoin]:
        return [self._coins[place] for place in self._taken]

    def take(self) -> None:
        """Take the next coin; only after `can_reach` said that there is one."""
        coin = self._coins[self._place]
        self._taken.append(self._place)
        self._add(coin, 1)
        self._place += 1

    def leave_out(self) -> bool:
        """Give back the coin that was taken last, and those equal to it; tell whether there was one."""
        if not self._taken:
            return False
        place = self._taken.pop()
        self._add(self._coins[place], -1)
        self._place = self._next_kind[place]
        return True

    def _add(self, coin: SpendableCoin, sign: int) -> None:
        count = self._locks.get(coin.lock, 0)
        first = count == (0 if sign > 0 else 1)
        self._size += sign * (input_size(coin) + (WITNESS_SIZE if first else 0))
        self._value += sign * coin.value
        if sign < 0 and first:
            del self._locks[coin.lock]
        else:
            self._locks[coin.lock] = count + sign


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


def _shuffled(ordered: Sequence[SpendableCoin], entropy: Entropy) -> Iterator[SpendableCoin]:
    """Yield the coins in random order, drawn as they are asked for: mostly the first few do (Fisher and Yates)."""
    moved: dict[int, int] = {}
    """Where a place that was drawn now holds another coin than its own."""
    for last in range(len(ordered) - 1, -1, -1):
        drawn = entropy.randrange(last + 1)
        yield ordered[moved.get(drawn, drawn)]
        moved[drawn] = moved.pop(last, last)


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
