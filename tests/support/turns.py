"""How much work a node does between two turns of its event loop: counted in calls, so it is the same on any machine."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import FrameType


class Turns:
    """What was counted."""

    def __init__(self) -> None:
        self.most = 0
        """The most calls, of functions of Python and of C, that were made between two turns of the loop."""
        self.calls = 0
        """All of them."""
        self._now = 0

    def came_in_slices(self, few: Turns) -> bool:
        """Tell whether this, with several times as much to do as `few`, took more in all, but not between two turns."""
        return self.calls > 2 * few.calls and self.most < 1.5 * few.most

    def count(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_name == "_run_once":
            self.turned()  # asyncio's own name for a turn of any of its loops
        if event in {"call", "c_call"}:
            self._now += 1

    def turned(self) -> None:
        self.calls += self._now
        self.most = max(self.most, self._now)
        self._now = 0


def counted(slices: Iterable[object]) -> Turns:
    """Do work that comes in slices, or in pieces; count each as what is done between two turns."""
    turns = Turns()
    sys.setprofile(turns.count)
    try:
        for _ in slices:
            turns.turned()
    finally:
        sys.setprofile(None)
        turns.turned()
    return turns


@asynccontextmanager
async def counting_turns() -> AsyncIterator[Turns]:
    """Count until the end. A profiler is set meanwhile: there must be no other."""
    turns = Turns()
    sys.setprofile(turns.count)
    try:
        yield turns
    finally:
        sys.setprofile(None)
        turns.turned()
