"""The time, as a thing that is handed in: a simulated network holds another one."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the daemon learns what time it is. No rule of consensus ever sees one."""

    def time(self) -> int:
        """Return whole seconds since 1970-01-01 00:00:00 UTC; may jump either way (A192)."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment; never goes back. For durations and deadlines."""
        ...


class SystemClock:
    """The clock of this machine."""

    def time(self) -> int:
        """Return whole seconds since 1970-01-01 00:00:00 UTC."""
        return int(time.time())

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment; never goes back."""
        return time.monotonic()
