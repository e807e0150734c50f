"""Long work on the event loop, in turns with everybody else's: the loop goes round between two slices of it."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from consensus.slices import Slices

_T = TypeVar("_T")
TURNS = 8
"""Turns of the loop that others have between two slices. A call of JSON-RPC takes six, from its bytes to its answer's:
with one for each slice it would take as long as six slices. A turn with nothing to do takes microseconds."""


async def give_way() -> None:
    """Let everybody else run, as between two slices."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def in_turns(work: Slices[_T]) -> _T:
    """Do some work in slices; return what it returns.

    Others run between two slices, and may change whatever they may change at an `await`: so the work reads only what
    nobody else writes meanwhile, and shows what it makes when it is done. If the caller is cancelled between two
    slices, the work is closed there.
    """
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: _T = end.value
            return result
        try:
            await give_way()
        except asyncio.CancelledError:
            work.close()
            raise


async def in_turns_to_the_end(work: Slices[_T]) -> _T:
    """As `in_turns`, for work that must not stop half way: a caller that is cancelled meanwhile is so at its end."""
    cancelled: tuple[object, ...] | None = None  # what it said; the error itself would be in a circle with this frame
    while True:
        try:
            next(work)
        except StopIteration as end:
            if cancelled is not None:
                raise asyncio.CancelledError(*cancelled) from None
            result: _T = end.value
            return result
        try:
            await give_way()
        except asyncio.CancelledError as error:
            cancelled = error.args
