"""From payments and coins to a transaction's core: who is paid, what comes back, in which order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from consensus.amounts import format_amount
from consensus.codec import encode
from consensus.types import Amount, Core, LockId, OutPoint, Output
from wallet.coin_selection import Need, Selection
from wallet.coin_table import SpendableCoin
from wallet.errors import InsufficientFundsError, PaymentError
from wallet.ports import Entropy
from wallet.results import Payment, RelayTerms

WITNESS_FRAME = 2
"""Bytes around a transaction's core and its witnesses: the outer array, and the array of witnesses."""


class Built(NamedTuple):
    """A core, and the coins of its inputs in their order."""

    core: Core
    coins: tuple[SpendableCoin, ...]
    fee: Amount
    change: Amount


def plain_core(inputs: Iterable[OutPoint], outputs: Iterable[Output], memo: bytes = b"") -> Core:
    """Return a transaction's core that moves coins, and neither issues nor burns."""
    return Core(1, tuple(inputs), tuple(outputs), (), (), memo)


def need_of(payments: Sequence[Payment], memo: bytes) -> Need:
    """Return what payments take, inputs left aside."""
    outputs = _outputs(payments)
    return Need(sum(payment.amount for payment in payments), len(encode(plain_core((), outputs, memo))) + WITNESS_FRAME)


def build(
    payments: Sequence[Payment], selection: Selection, change_lock: LockId | None, memo: bytes, entropy: Entropy
) -> Built:
    """Put a transaction together. Inputs stand in random order and the change at a random place, as it
    is nobody's business which output is the change; the payments keep their order.

    Args:
        change_lock: needed if the selection has change.
    """
    places = list(range(len(selection.coins)))
    entropy.shuffle(places)
    coins = tuple(selection.coins[place] for place in places)
    outputs = list(_outputs(payments))
    if selection.change and change_lock is not None:
        outputs.insert(entropy.randrange(len(outputs) + 1), Output(selection.change, change_lock, None))
    core = plain_core((coin.outpoint for coin in coins), outputs, memo)
    return Built(core, coins, selection.fee, selection.change)


def share_fee(payments: Sequence[Payment], bearers: Sequence[int], fee: int, terms: RelayTerms) -> list[Payment]:
    """Take a fee out of payments, in equal parts; the first that bears it bears what does not divide too.

    Args:
        bearers: the places of the payments that bear it, at least one, ascending.

    Raises:
        PaymentError: a payment would be less than dust.
        InsufficientFundsError: for a single payment, the same: it does not cover its own fee.
    """
    part, rest = divmod(fee, len(bearers))
    shared = list(payments)
    for place in bearers:
        taken = part + (rest if place == bearers[0] else 0)
        shared[place] = payments[place]._replace(amount=Amount(payments[place].amount - taken))
    if any(shared[place].amount < terms.dust_limit for place in bearers):
        sentence = f"less than dust would be left after a fee of {format_amount(fee)} DURE"
        raise InsufficientFundsError(sentence) if len(payments) == 1 else PaymentError(sentence)
    return shared


def _outputs(payments: Sequence[Payment]) -> tuple[Output, ...]:
    return tuple(Output(payment.amount, payment.lock, None) for payment in payments)
