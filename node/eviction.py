"""Whom to drop when a new peer knocks and every inbound slot is taken.

An attacker fills slots cheaply, so what it cannot cheaply have protects: low latency, a new block or transaction
lately, long standing. Of the rest somebody from the most crowded group goes, the newest first (Bitcoin Core:
SelectNodeToEvict).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

PROTECTED_BY_LATENCY: Final = 8
PROTECTED_BY_TRANSACTIONS: Final = 4
PROTECTED_BY_BLOCKS: Final = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """An inbound peer, as far as eviction looks at it. Times in seconds of one clock."""

    number: int
    group: bytes
    """Of its address: who has one address of it is likely to have many."""
    since: float
    latency: float | None = None
    last_block: float | None = None
    last_transaction: float | None = None
    discouraged: bool = False


def choose_eviction(candidates: Sequence[Candidate]) -> int | None:
    """Return the number of the peer to drop, or None if all are protected."""
    discouraged = [one for one in candidates if one.discouraged]
    if discouraged:
        return max(discouraged, key=_age).number
    left = list(candidates)
    left = _without_best(left, PROTECTED_BY_LATENCY, lambda one: _negative(one.latency))
    left = _without_best(left, PROTECTED_BY_TRANSACTIONS, lambda one: one.last_transaction)
    left = _without_best(left, PROTECTED_BY_BLOCKS, lambda one: one.last_block)
    # Of those without merits the older half stays: a flood is young.
    left.sort(key=_age)
    left = left[len(left) // 2 :]
    if not left:
        return None
    crowd = Counter(one.group for one in left)
    return max(left, key=lambda one: (crowd[one.group], *_age(one))).number


def _without_best(
    candidates: list[Candidate], count: int, merit: Callable[[Candidate], float | None]
) -> list[Candidate]:
    """Return those that are not among the `count` with the greatest merit; who has none is not protected."""
    ranked = sorted(
        ((value, one.number) for one in candidates if (value := merit(one)) is not None), key=lambda pair: pair[0]
    )
    protected = {number for _, number in ranked[-count:]}
    return [one for one in candidates if one.number not in protected]


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _age(one: Candidate) -> tuple[float, int]:
    return one.since, one.number
