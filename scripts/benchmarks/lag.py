"""How long a node's event loop, and who calls it, are held up: a daemon that is watched from inside and outside."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from scripts.benchmarks.programs import Dured

TICK = 0.005
"""Seconds between two calls of the prober."""


class Hold(NamedTuple):
    """A time in which the loop did not turn."""

    began: float
    seconds: float
    stacks: dict[str, int]
    """What the loop's thread was at, and how often it was seen there."""


class Seen(NamedTuple):
    """What a watch of the loop has seen."""

    ticks: list[tuple[float, float]]
    """When a timer was due, and how late it ran."""
    holds: list[Hold]

    def lags(self, began: float, ended: float) -> list[float]:
        """Return how late the timers of a while ran, in seconds."""
        return [late for due, late in self.ticks if began <= due <= ended]


class WatchedDured(Dured):
    """Our daemon with a watch on its loop; `seen` tells of it once it has stopped."""

    def command(self) -> list[str]:
        """See `Program`."""
        return [sys.executable, "-m", "scripts.benchmarks.watched", str(self._file), *super().command()[1:]]

    @property
    def _file(self) -> Path:
        return self.folder / "watch.json"

    def seen(self) -> Seen:
        """Stop the daemon; return what its watch has seen."""
        self.stop()
        raw = json.loads(self._file.read_text())
        return Seen([(due, late) for due, late in raw["ticks"]], [Hold(*each) for each in raw["holds"]])


class Prober:
    """Calls a node every `TICK` seconds, in a thread, and keeps how long each answer took since its call was due.

    One that is due while another has no answer yet waits: its waiting counts, so a hold shows in full.
    """

    def __init__(self, node: Dured) -> None:
        self.calls: list[tuple[float, float]] = []
        self._connection = node.connection()
        self._raw = self._connection.request("getblockcount")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ended.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            self._connection.exchange(self._raw)
            self.calls.append((due, time.monotonic() - due))
            due += TICK
        self._connection.close()

    def latencies(self, began: float, ended: float) -> list[float]:
        """Return how long the calls of a while took, in seconds."""
        return [took for due, took in self.calls if began <= due <= ended]

    def start(self) -> None:
        """Begin to call."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._ended.set()
        self._thread.join()


@contextmanager
def probing(node: Dured) -> Iterator[Prober]:
    """Call a node all the time."""
    prober = Prober(node)
    prober.start()
    try:
        yield prober
    finally:
        prober.stop()


def percentile(values: Sequence[float], of_hundred: int) -> float:
    """Return the value that so many of a hundred do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * of_hundred // 100)]
