"""When Python's collector looks for garbage: at what is young as ever, at everything once an hour or when memory grows.

What nobody refers to is freed at once. The collector is for circles; whatever makes them here breaks them itself (a
test holds that), so it is left those of libraries, most of which die young, and of errors. To look at everything takes
as long as there are things, and the event loop waits meanwhile (docs/decisions/0016-garbage-once-an-hour.md).
"""

from __future__ import annotations

import asyncio
import gc
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

EVERYTHING_SECONDS = 3600.0
LEAST_GROWTH = 256 * 1024 * 1024
"""Bytes by which memory has to grow, and by a quarter, for a look before the hour is over: what circles that nobody
knows of may take, however fast they are made."""
ASK_SECONDS = 1.0
"""Between two questions how much memory there is, of some microseconds each."""
_E = TypeVar("_E", bound=Exception)
_NEVER = 1_000_000_000
"""Collections of the second generation after which Python would look at everything by itself."""


def frameless(error: _E) -> _E:
    """Return an error that is to be kept, as an answer or as a fact, without the frames that it came through.

    They hold all that was being worked on, such as a block. And where one of them keeps the error, that is a circle.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def own_memory() -> int:
    """Return how many bytes of memory only this process has; where the system does not tell, how many it ever had."""
    try:
        with open("/proc/self/statm", "rb") as file:
            _, resident, shared, *_ = map(int, file.read().split())
        return (resident - shared) * resource.getpagesize()  # a database that is mapped is the system's
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


@contextmanager
def collecting_seldom(memory: Callable[[], int] = own_memory) -> Iterator[None]:
    """As the loop runs, let the collector look at everything once an hour, and when memory has grown much; what there
    was before, never again.

    Args:
        memory: returns how many bytes this process has.
    """
    loop = asyncio.get_running_loop()
    looked, after = loop.time(), memory()
    timer: asyncio.TimerHandle

    def ask() -> None:
        nonlocal looked, after, timer
        due = loop.time() - looked >= EVERYTHING_SECONDS
        if due or memory() - after > max(LEAST_GROWTH, after // 4):
            gc.collect()
            looked, after = loop.time(), memory()
        timer = loop.call_later(ASK_SECONDS, ask)

    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*before[:2], _NEVER)
    gc.enable()
    timer = loop.call_later(ASK_SECONDS, ask)
    try:
        yield
    finally:
        timer.cancel()
        gc.set_threshold(*before)
