"""An event loop whose time jumps to the next timer as soon as nothing else is to be done: minutes pass in no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any


class _JumpingSelector(selectors.SelectSelector):
    """Never waits: where the loop would, its time moves on instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("every task waits, and no timer is set")
        if not ready and timeout:
            self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 1,000 seconds, so that a forgotten 0 stands out."""

    def __init__(self) -> None:
        selector = _JumpingSelector()
        super().__init__(selector)
        selector.loop = self
        self.now = 1_000.0

    def time(self) -> float:
        return self.now


class LoopClock:
    """The loop's time, for those who ask for UNIX seconds too."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: int = 1_800_000_000) -> None:
        self._loop = loop
        self._start = start

    def time(self) -> int:
        return self._start + int(self._loop.time() - 1_000.0)

    def monotonic(self) -> float:
        return self._loop.time()


def simulate(story: Callable[[], Awaitable[Any]]) -> None:
    """Run a story in virtual time, and to its end: no task may be left."""

    async def whole() -> None:
        await story()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(whole())
