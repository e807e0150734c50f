"""Whose turn it is in a swap across two networks, seen from both chains at once: arithmetic.

                 first network                      second network
    1            the proposer locks
    2                                               the taker locks, once that is deep, for a shorter time
    3                                               the proposer claims, and shows the secret by that
    4            the taker claims with the secret

Whoever goes away leaves the other with a refund: after the second time the taker's, after the first the proposer's.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from wallet.spend_policies.words import clock_text, duration_text, plural
from wallet.swaps.errors import SwapError, SwapRule
from wallet.swaps.terms import Leg, Terms
from wallet.swaps.watching import Stage


class Side(StrEnum):
    """One of the two."""

    PROPOSER = "proposer"
    TAKER = "taker"


class Move(StrEnum):
    """What one side can do now."""

    LOCK = "lock"
    CLAIM = "claim"
    REFUND = "refund"
    WAIT = "wait"
    """For the other, for a block, or for a time."""
    NOTHING = "nothing"
    """It is over for this side."""


class Seen(NamedTuple):
    """A leg as a node of its network has it."""

    stage: Stage
    depth: int
    secret: bytes | None
    median_time: int
    """By the chain's clock: what a refund is held against."""
    now: int
    """By the chain's or the node's clock, whichever is later: what a claim is held against."""


class Advice(NamedTuple):
    """What to do next, and why."""

    move: Move
    sentence: str


_OURS_GONE = {Stage.CLAIMING, Stage.CLAIMED}
_BACK = {Stage.REFUNDING, Stage.REFUNDED}


def advise(terms: Terms, side: Side, first: Seen, second: Seen, depth: int) -> Advice:
    """Return the next move of one side.

    Args:
        depth: how deep what the other locked must lie before anything is done because of it.
    """
    return _proposers(terms, first, second, depth) if side is Side.PROPOSER else _takers(terms, first, second, depth)


def check_first_lock(first: Seen, depth: int) -> None:
    """Check, for the taker before he locks, that the proposer has locked what was agreed, and deep.

    Raises:
        SwapError: `MISSING`, `DIFFERENT`, `EARLY` or `DONE`.
    """
    match first.stage:
        case Stage.LOCKED if first.depth >= depth:
            return
        case Stage.LOCKED:
            raise SwapError(
                SwapRule.EARLY,
                f"what the proposer locked is {first.depth} of {depth} blocks deep: a reorg could still undo it",
            )
        case Stage.PENDING:
            raise SwapError(SwapRule.EARLY, "what the proposer locked is in no block yet")
        case Stage.NOTHING:
            raise SwapError(SwapRule.MISSING, "the proposer has locked nothing yet, and he goes first")
        case Stage.DIFFERENT:
            raise SwapError(SwapRule.DIFFERENT, "what the proposer locked is not the amount that was agreed")
        case _:
            raise SwapError(SwapRule.DONE, "the proposer has taken back what he had locked, or it was claimed")


def _proposers(terms: Terms, first: Seen, second: Seen, depth: int) -> Advice:
    if second.stage in _OURS_GONE:
        return _watch_claim(second)
    if first.stage in _OURS_GONE and second.stage is Stage.LOCKED:
        return Advice(Move.CLAIM, "The taker has claimed what you gave: claim what you get.")
    if first.stage in _BACK:
        return _watch_refund(first)
    if first.stage in {Stage.NOTHING, Stage.DIFFERENT}:
        return _lock_if(terms, 3, max(first.now, second.now), "Lock first what you give.")
    claimable = terms.has_time(1, second.now)
    if second.stage is Stage.LOCKED and claimable:
        if second.depth >= depth:
            return Advice(Move.CLAIM, "What you get is locked for you: claim it. That shows the secret to the taker.")
        return Advice(Move.WAIT, f"What you get is {second.depth} of {depth} blocks deep.")
    if second.stage in {Stage.NOTHING, Stage.DIFFERENT, Stage.PENDING} and claimable:
        return Advice(Move.WAIT, "The taker's turn: he locks what you get.")
    why = "The taker has locked nothing in time." if second.stage is Stage.NOTHING else "It is too late to claim."
    return _refund(terms.first, first, why)


def _takers(terms: Terms, first: Seen, second: Seen, depth: int) -> Advice:
    if first.stage in _OURS_GONE:
        return _watch_claim(first)
    if second.secret is not None and first.stage is Stage.LOCKED:
        left = duration_text(max(0, terms.first.refund_at - first.now))
        return Advice(Move.CLAIM, f"The proposer has shown the secret: claim what you get, within {left}.")
    if second.secret is not None and first.stage is Stage.PENDING:
        return Advice(Move.WAIT, "The proposer has shown the secret, but what you get is in no block yet.")
    if second.stage in _BACK:
        return _watch_refund(second)
    if second.stage in {Stage.NOTHING, Stage.DIFFERENT}:
        try:
            check_first_lock(first, depth)
        except SwapError as error:
            over = error.rule is SwapRule.DONE
            return Advice(Move.NOTHING if over else Move.WAIT, _capital(str(error).partition(": ")[2]))
        return _lock_if(terms, 2, max(first.now, second.now), "What you get is locked for you: lock what you give.")
    if second.stage is Stage.PENDING:
        return Advice(Move.WAIT, "What you locked is in no block yet.")
    if second.stage in _OURS_GONE:
        return Advice(Move.NOTHING, "What you gave was claimed, and there is nothing left to claim for it.")
    if second.median_time < terms.second.refund_at and terms.has_time(1, second.now):
        return Advice(Move.WAIT, "The proposer's turn: he claims what you locked, and shows the secret.")
    return _refund(terms.second, second, "The proposer has not claimed in time.")


def _lock_if(terms: Terms, steps: int, now: int, sentence: str) -> Advice:
    if not terms.has_time(steps, now):
        return Advice(Move.NOTHING, "Too little time is left for this swap. You have locked nothing: propose it anew.")
    return Advice(Move.LOCK, sentence)


def _watch_claim(seen: Seen) -> Advice:
    if seen.stage is Stage.CLAIMING:
        return Advice(Move.WAIT, "Your claim is in no block yet. See that it gets into one.")
    return Advice(Move.NOTHING, f"Done: you have what you get, {plural(seen.depth, 'block')} deep.")


def _watch_refund(seen: Seen) -> Advice:
    if seen.stage is Stage.REFUNDING:
        return Advice(Move.WAIT, "Your refund is in no block yet.")
    return Advice(Move.NOTHING, f"Over: you took back what you had locked, {plural(seen.depth, 'block')} deep.")


def _refund(leg: Leg, seen: Seen, why: str) -> Advice:
    if seen.median_time >= leg.refund_at:
        return Advice(Move.REFUND, f"{why} Take back what you locked.")
    left = duration_text(leg.refund_at - seen.median_time)
    return Advice(
        Move.WAIT,
        f"{why} You can take back what you locked from {clock_text(leg.refund_at)} on, in {left} by the chain's clock.",
    )


def _capital(sentence: str) -> str:
    return f"{sentence[:1].upper()}{sentence[1:]}."
