"""The log of a whole simulation: one line for each event of each node, the same bytes for the same seed and commit."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import structlog
from structlog.typing import FilteringBoundLogger

MAX_ENTRIES = 200_000
"""The newest that are kept; the digest covers all."""
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Entry(NamedTuple):
    """One event."""

    time: float
    """Virtual seconds since the beginning."""
    source: str
    """Who says so: `node3`, or `simulation`."""
    level: str
    event: str
    facts: Mapping[str, Any]

    def __str__(self) -> str:
        facts = " ".join(f"{name}={fact}" for name, fact in self.facts.items())
        return f"{self.time:.6f} {self.source} {self.level} {self.event} {facts}".rstrip()


class EventLog:
    """What happened, in order."""

    def __init__(self, now: Callable[[], float], level: str = "info") -> None:
        """
        Args:
            now: virtual seconds since the beginning.
            level: the least that is kept: `debug`, `info`, `warning` or `error`.
        """
        self._now = now
        self._wrapper = structlog.make_filtering_bound_logger(_LEVELS[level])
        self._digest = sha256()
        self.entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self.count = 0
        """Of all entries ever."""
        self.errors: list[Entry] = []
        """Every entry of level `error`: a node that is well writes none."""
        self.tracebacks: list[str] = []
        """Of exceptions that a node logged."""

    def say(self, source: str, event: str, level: str = "info", /, **facts: object) -> None:
        """Take down one event."""
        self._add(Entry(self._now(), source, level, event, facts))

    def _add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.count += 1
        self._digest.update(str(entry).encode("utf-8", "backslashreplace") + b"\n")
        if entry.level == "error":
            self.errors.append(entry)

    def logger(self, source: str, is_open: Callable[[], bool]) -> FilteringBoundLogger:
        """Return a logger for one run of a node; what a dead one still says is dropped."""

        def take(_logger: Any, level: str, facts: Any) -> Any:
            if is_open():
                event = str(facts.pop("event"))
                if facts.pop("exc_info", None):
                    # Kept apart: what it says of places in memory must not get into the lines.
                    self.tracebacks.append(traceback.format_exc())
                self._add(Entry(self._now(), source, level, event, facts))
            raise structlog.DropEvent

        logger: FilteringBoundLogger = structlog.wrap_logger(None, processors=[take], wrapper_class=self._wrapper)
        return logger

    def of(self, source: str, event: str | None = None) -> list[Entry]:
        """Return what one source said, or one event of it."""
        return [entry for entry in self.entries if entry.source == source and event in {None, entry.event}]

    def lines(self) -> Iterable[str]:
        """Yield the entries that are kept, as text."""
        return map(str, self.entries)

    @property
    def digest(self) -> str:
        """Of all lines ever: equal if and only if two runs were the same."""
        return self._digest.hexdigest()
