"""Long work in slices: a generator that yields now and then, so that whoever drives it can do something else between.

It is arithmetic as before: what it returns depends on its arguments alone, however long the pauses are.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

_T = TypeVar("_T")

Slices = Generator[None, None, _T]
"""Work that yields between two slices, and returns its result."""
SLICE = 250
"""Transactions, or as much work on something else, in a slice: a few milliseconds. A loop that serves others between
two of them answers within 50 ms, with a wide margin; and what a turn costs is lost beside the work."""


def whole(work: Slices[_T]) -> _T:
    """Do all of some work in one go."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: _T = end.value
            return result
