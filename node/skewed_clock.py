"""A clock that is wrong on purpose, to see a network bear it: for networks of one's own only."""

from __future__ import annotations

from typing import Final

import msgspec

from node.clock import Clock
from node.storage.errors import DamagedError
from node.storage.files import Files

FILE = "clock_skew.json"
MAX_SKEW: Final = 366 * 24 * 3600
"""Seconds either way: a year. A header's time ends in 2106, and no test needs to come near it."""


class SkewError(ValueError):
    """The skew cannot be taken as it is. The message is a sentence for the person who sent it."""


class SkewedClock:
    """Satisfies `Clock` with another one, whose time of day it shows wrong by a fixed number of seconds.

    The skew is kept over restarts. Durations stay right: `monotonic` is never skewed, nor is any timer.
    """

    def __init__(self, clock: Clock, files: Files) -> None:
        """Take up the skew that was kept.

        Raises:
            DamagedError: the file is damaged. A clock must not be mended by accident.
        """
        self._clock = clock
        self._files = files
        self._skew = _read(files)

    @property
    def skew(self) -> int:
        """Seconds by which this clock is ahead of the right one."""
        return self._skew

    def set_skew(self, seconds: int) -> None:
        """Be wrong by `seconds` from now on, durable when it returns.

        Raises:
            SkewError: more than `MAX_SKEW`; nothing was changed.
            StorageError: it could not be written; nothing was changed.
        """
        if abs(seconds) > MAX_SKEW:
            raise SkewError(f"a clock may be wrong by at most {MAX_SKEW} seconds, not {seconds}")
        write_skew(self._files, seconds)
        self._skew = seconds

    def time(self) -> int:
        """Return whole seconds since 1970-01-01 00:00:00 UTC, and the skew."""
        return self._clock.time() + self._skew

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment; never goes back."""
        return self._clock.monotonic()


def write_skew(files: Files, seconds: int) -> None:
    """Keep a skew for the next start of the node whose files these are.

    Raises:
        StorageError: it could not be written.
    """
    files.write(FILE, msgspec.json.encode(seconds))


def _read(files: Files) -> int:
    raw = files.read(FILE)
    if raw is None:
        return 0
    try:
        seconds = msgspec.json.decode(raw, type=int)
    except msgspec.MsgspecError as error:
        raise DamagedError(f"{FILE} is damaged ({error}): remove it to set the clock right") from None
    if abs(seconds) > MAX_SKEW:
        raise DamagedError(f"{FILE} is damaged ({seconds} is more than {MAX_SKEW} seconds): remove it")
    return seconds
