"""What a wallet sees of a leg on its own chain: whether it is locked, how deep, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

from consensus.types import LockId, OutPoint, Transaction, TxId
from wallet.ledger import Ledger
from wallet.records import CoinRecord
from wallet.swaps.terms import Leg, Terms, leg_lock


class Stage(StrEnum):
    """Where a leg stands."""

    NOTHING = "nothing"
    """Nothing lies at the lock."""
    DIFFERENT = "different"
    """Something does, but not what was agreed."""
    PENDING = "pending"
    """It was paid, in no block yet."""
    LOCKED = "locked"
    CLAIMING = "claiming"
    """The receiver's claim, which shows the secret, is in no block yet."""
    CLAIMED = "claimed"
    REFUNDING = "refunding"
    """The payer takes it back, in no block yet."""
    REFUNDED = "refunded"


class LegState(NamedTuple):
    """A leg, as its chain and the mempool have it."""

    stage: Stage
    outpoint: OutPoint | None
    """Of the coin that the stage is about."""
    depth: int
    """Of that coin, or of what spent it: 1 in the newest block, 0 in none."""
    spender: TxId | None
    secret: bytes | None
    """If anybody has shown it here, even in a transaction that came to nothing."""


_BEST_FIRST = (
    Stage.LOCKED,
    Stage.CLAIMING,
    Stage.REFUNDING,
    Stage.PENDING,
    Stage.CLAIMED,
    Stage.REFUNDED,
    Stage.DIFFERENT,
)
"""If several coins lie at a lock: the one that something can be done about."""


def leg_state(ledger: Ledger, terms: Terms, leg: Leg) -> LegState:
    """Return what became of a leg whose policy the wallet watches.

    Raises:
        SwapError: `NOT_ACCEPTED`.
    """
    lock = leg_lock(terms, leg).lock
    found = [_coin_state(ledger, terms, leg, *coin) for coin in _coins_at(ledger, lock)]
    secret = next((each.secret for each in found if each.secret is not None), None)
    if not found:
        return LegState(Stage.NOTHING, None, 0, None, None)
    best = min(found, key=lambda each: (_BEST_FIRST.index(each.stage), -each.depth))
    return best._replace(secret=secret)


def agreed_coins(ledger: Ledger, leg: Leg, lock: LockId) -> list[tuple[OutPoint, CoinRecord]]:
    """Return the coins in blocks, spent by nobody, that are what was agreed, the oldest first."""
    found = [
        (outpoint, record)
        for outpoint, record in ledger.coins.watched_apart()
        if record.lock == lock and record.height is not None and _is_agreed(leg, record)
    ]
    return sorted(found, key=lambda each: (each[1].height or 0, each[0].txid, each[0].index))


def _is_agreed(leg: Leg, record: CoinRecord) -> bool:
    return record.asset == leg.asset and record.value == leg.amount


def _coins_at(ledger: Ledger, lock: LockId) -> Iterator[tuple[OutPoint, CoinRecord]]:
    for outpoint in ledger.coins.ever_at(lock):
        record = ledger.coins.find(outpoint)
        if record is not None and (record.height is not None or ledger.pending.counts(outpoint.txid)):
            yield outpoint, record


def _coin_state(ledger: Ledger, terms: Terms, leg: Leg, outpoint: OutPoint, record: CoinRecord) -> LegState:
    named = dict.fromkeys([*ledger.pending.spenders(outpoint), *([] if record.spender is None else [record.spender])])
    secrets = {txid: _shown(ledger, txid, terms.digest) for txid in named}
    secret = next((shown for shown in secrets.values() if shown is not None), None)
    depth = 0 if record.height is None else ledger.confirmations(record.height)
    if not _is_agreed(leg, record):
        return LegState(Stage.DIFFERENT, outpoint, depth, None, secret)
    if record.spender is not None:
        stage = Stage.REFUNDED if secrets[record.spender] is None else Stage.CLAIMED
        spent_depth = 0 if record.spent_height is None else ledger.confirmations(record.spent_height)
        return LegState(stage, outpoint, spent_depth, record.spender, secret)
    taking = next((txid for txid in named if ledger.pending.counts(txid)), None)
    if taking is not None:
        return LegState(Stage.REFUNDING if secrets[taking] is None else Stage.CLAIMING, outpoint, 0, taking, secret)
    return LegState(Stage.PENDING if record.height is None else Stage.LOCKED, outpoint, depth, None, secret)


def _shown(ledger: Ledger, txid: TxId, digest: bytes) -> bytes | None:
    """Return the preimage that a transaction shows, if it shows it."""
    record = ledger.store.transaction(txid)
    return None if record is None else preimage_in(record.transaction, digest)


def preimage_in(tx: Transaction, digest: bytes) -> bytes | None:
    """Return the preimage of a hash that a transaction's witnesses hold, or None."""
    given = (satisfaction for witness in tx.witnesses for satisfaction in witness.satisfactions)
    return next((each for each in given if len(each) == 32 and sha256(each).digest() == digest), None)
