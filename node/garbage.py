"""When Python's collector looks for garbage: at what is young as ever, at everything once an hour.

What nobody refers to is freed at once. The collector is for circles; whatever makes them here breaks them itself (a
test holds that), so it is left those of libraries, most of which die young, and of errors. To look at everything takes
as long as there are things, and the event loop waits meanwhile (docs/decisions/0016-garbage-once-an-hour.md).
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

EVERYTHING_SECONDS = 3600.0
_E = TypeVar("_E", bound=Exception)
_NEVER = 1_000_000_000
"""Collections of the second generation after which Python would look at everything by itself."""


def frameless(error: _E) -> _E:
    """Return an error that is to be kept, as an answer or as a fact, without the frames that it came through.

    They hold all that was being worked on, such as a block. And where one of them keeps the error, that is a circle.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Let the collector look at everything there was before never again, at the rest once an hour, as the loop runs."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def look() -> None:
        nonlocal timer
        gc.collect()
        timer = loop.call_later(EVERYTHING_SECONDS, look)

    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*before[:2], _NEVER)
    gc.enable()
    timer = loop.call_later(EVERYTHING_SECONDS, look)
    try:
        yield
    finally:
        timer.cancel()
        gc.set_threshold(*before)
