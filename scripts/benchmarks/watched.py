"""`python -m scripts.benchmarks.watched FILE [dured's arguments]`: the daemon, with a watch on its event loop.

A timer of the loop is due every `TICK` seconds. When the daemon stops, JSON is written to FILE: for each time that it
was due, that time and how late it ran, both in seconds of the monotonic clock, which all processes of a machine share;
and for each hold of more than `HOLD` seconds the stacks of the loop's thread meanwhile, as often as each was seen.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import TextIO

import node.main
from node.config import NodeConfig

TICK = 0.005
HOLD = 0.02
LOOK = 0.005
"""Seconds between two looks of the watcher at the loop's thread."""
MAX_TICKS = 1_000_000
"""More than an hour of them; the rest is not kept."""
DEPTH = 24
"""Frames of a stack that are told, the innermost last."""


class Watch:
    """How late the loop's timer runs, and what held the loop."""

    def __init__(self) -> None:
        self.ticks: list[tuple[float, float]] = []
        self.holds: list[tuple[float, float, dict[str, int]]] = []
        self._due = self._ran = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.get_ident()
        self._ended = threading.Event()

    def start(self) -> None:
        """Watch the running loop, from its own thread."""
        self._loop = asyncio.get_running_loop()
        self._ran = time.monotonic()
        self._plan(self._ran + TICK)
        threading.Thread(target=self._look, daemon=True).start()

    def _plan(self, due: float) -> None:
        self._due = due
        if self._loop is not None:
            # A timer that is too early by a fraction of its resolution would be late by nothing.
            self._loop.call_later(max(0.0, due - time.monotonic()), self._tick)

    def _tick(self) -> None:
        now = self._ran = time.monotonic()
        due = self._due
        while due <= now:  # Those that fell into a hold were due as well.
            if len(self.ticks) < MAX_TICKS:
                self.ticks.append((due, now - due))
            due += TICK
        self._plan(due)

    def _look(self) -> None:
        seen: Counter[str] = Counter()
        began = 0.0
        while not self._ended.wait(LOOK):
            late = time.monotonic() - self._due
            if late > HOLD:
                frame = sys._current_frames().get(self._thread)  # noqa: SLF001 - public, but for its name
                began = began or self._due
                seen[_stack(frame)] += 1
            elif seen:
                self.holds.append((began, self._ran - began, dict(seen)))
                seen, began = Counter(), 0.0

    def end(self, file: TextIO) -> None:
        """Watch no more; write what was seen."""
        self._ended.set()
        json.dump({"ticks": self.ticks, "holds": self.holds}, file)


def _stack(frame: FrameType | None) -> str:
    found: list[str] = []
    while frame is not None:
        found.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}:{frame.f_lineno}")
        frame = frame.f_back
    return " > ".join(found[:DEPTH][::-1])


def main() -> int:
    """Run the daemon; return its exit status."""
    watch, serve = Watch(), node.main.serve

    async def watched(config: NodeConfig) -> None:
        watch.start()
        await serve(config)

    node.main.serve = watched
    status = node.main.main(sys.argv[2:])
    with open(sys.argv[1], "w", encoding="ascii") as file:
        watch.end(file)
    return status


if __name__ == "__main__":
    sys.exit(main())
