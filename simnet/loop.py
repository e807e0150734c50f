"""An event loop whose time jumps to the next timer as soon as nothing else is to be done: hours pass in no time.

asyncio takes its clock from the loop and waits only in the loop's selector. Ours never waits: where the loop would, its
time moves on instead. There are no sockets and no threads, so the order of everything that happens is a function of the
program alone. Nothing can go on for ever: the loop raises when all tasks wait for each other, and when a story takes
more turns or more virtual time than it may.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import Context
from heapq import heapify, heappop, heappush
from typing import Any, NoReturn, TypeVar, TypeVarTuple

from simnet.errors import Deadlock, Runaway

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")
START = 1_000.0
"""The loop's time at the beginning, so that a forgotten 0 stands out."""
MAX_SECONDS = 400 * 86_400.0
"""Of virtual time: a year and a bit, which no story needs."""
MAX_TURNS = 200_000_000
"""Of the loop: an hour of computing. A task that spins without waiting ends here."""
_MANY = 1_000
_GRACE_TURNS = 1_000_000
"""More turns after the bound, for tasks to be cancelled in order."""


class _JumpingSelector(selectors.BaseSelector):
    """Watches nothing and never waits."""

    loop: VirtualLoop

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.loop.move_on(idle=timeout is None)
        return []

    # The loop registers the pipe by which other threads would wake it. Nobody writes to it.

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._keys[fileobj] = key = selectors.SelectorKey(fileobj, number, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """Satisfies asyncio with a time of its own."""

    _ready: deque[asyncio.Handle]
    """What the loop runs in this turn; asyncio's."""

    def __init__(self, *, max_seconds: float = MAX_SECONDS, max_turns: int = MAX_TURNS) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self.now = START
        self.turns = 0
        """How many there were."""
        self.max_time = START + max_seconds
        self.max_turns = max_turns
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        """A heap. The number in the middle is that of its setting: of two for one moment the first set runs first."""
        self._set = self._dropped = 0
        super().__init__(selector)

    def time(self) -> float:
        """Return virtual seconds."""
        return self.now

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the beginning."""
        return self.now - START

    # asyncio's own heap compares handles in Python, and runs timers of one moment in any order.

    def call_later(
        self, delay: float, callback: Callable[[*_Args], object], *args: *_Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*_Args], object], *args: *_Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._set += 1
        heappush(self._timers, (when, self._set, timer))
        return timer

    def _timer_handle_cancelled(self, _timer: asyncio.TimerHandle) -> None:
        """Drop timers that were cancelled once they are the most: some are set for hours ahead."""
        self._dropped += 1
        if self._dropped > _MANY and self._dropped > len(self._timers) // 2:
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapify(self._timers)
            self._dropped = 0

    def move_on(self, *, idle: bool) -> None:
        """Make ready what is due; if nothing else is to be done, that is what is due next.

        Raises:
            Deadlock, Runaway: the story would never end.
        """
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heappop(timers)
            self._dropped -= 1
        if idle:
            if not timers:
                raise Deadlock("every task waits, and no timer is set")
            self.now = max(self.now, timers[0][0])
            if self.now > self.max_time:
                self.max_time += MAX_SECONDS
                raise Runaway(f"more than {self.elapsed:.0f} s of virtual time: something goes on for ever")
        self.turns += 1
        if self.turns > self.max_turns:
            self.max_turns += _GRACE_TURNS
            raise Runaway(f"{self.turns} turns of the loop: something goes on for ever")
        while timers and timers[0][0] <= self.now:
            timer = heappop(timers)[2]
            if timer.cancelled():
                self._dropped -= 1
            else:
                self._ready.append(timer)

    def run_in_executor(self, *_: Any) -> NoReturn:  # type: ignore[override]
        """Refuse: what threads do comes in no order."""
        raise RuntimeError("no threads in virtual time: hand in something that works on the loop")


class LoopClock:
    """A node's clock: the loop's time, set wrong by `skew` seconds, for those who ask for UNIX seconds too.

    Satisfies `node.clock.Clock`. As on a real machine, only the calendar can be wrong; durations cannot.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, start: int = 1_800_000_000, skew: float = 0.0) -> None:
        self._loop = loop
        self._start = start
        self.skew = skew

    def time(self) -> int:
        """Return UNIX seconds as this machine believes them."""
        return int(self._start + self.skew + self._loop.time() - START)

    def monotonic(self) -> float:
        """Return the loop's time."""
        return self._loop.time()

    def jump(self, seconds: float) -> None:
        """Set the calendar forward, or back."""
        self.skew += seconds


def run_virtual(
    story: Callable[[], Awaitable[_T]], *, max_seconds: float = MAX_SECONDS, max_turns: int = MAX_TURNS
) -> _T:
    """Run a story in virtual time, and to its end; return what it returns.

    Raises:
        Deadlock, Runaway: the story would never end.
    """

    async def whole() -> _T:
        return await story()

    def make_loop() -> VirtualLoop:
        return VirtualLoop(max_seconds=max_seconds, max_turns=max_turns)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        main: Coroutine[Any, Any, _T] = whole()
        return runner.run(main)
