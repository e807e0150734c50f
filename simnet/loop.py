"""An event loop whose time jumps to the next timer as soon as nothing else is to be done: hours pass in no time.

asyncio takes its clock from the loop and waits only in the loop's selector. Ours never waits: where the loop would, its
time moves on instead. There are no sockets and no threads, so the order of everything that happens is a function of the
program alone. Nothing can go on for ever: the loop raises when all tasks wait for each other, and when a story takes
more turns or more virtual time than it may.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, NoReturn, TypeVar

from simnet.errors import Deadlock, Runaway

_T = TypeVar("_T")
START = 1_000.0
"""The loop's time at the beginning, so that a forgotten 0 stands out."""
MAX_SECONDS = 400 * 86_400.0
"""Of virtual time: a year and a bit, which no story needs."""
MAX_TURNS = 200_000_000
"""Of the loop: an hour of computing. A task that spins without waiting ends here."""
_RESOLUTION = 1e-6
_GRACE_TURNS = 1_000_000
"""More turns after the bound, for tasks to be cancelled in order."""


class _JumpingSelector(selectors.BaseSelector):
    """Watches nothing and never waits."""

    loop: VirtualLoop

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop = self.loop
        loop.turns += 1
        if timeout is None:
            loop.end_by(Deadlock("every task waits, and no timer is set"))
        if timeout > 0:
            loop.now += timeout
            if loop.now > loop.max_time:
                loop.max_time += MAX_SECONDS
                loop.end_by(Runaway(f"more than {loop.now - START:.0f} s of virtual time: something goes on for ever"))
        if loop.turns > loop.max_turns:
            loop.max_turns += _GRACE_TURNS
            loop.end_by(Runaway(f"{loop.turns} turns of the loop: something goes on for ever"))
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

    def __init__(self, *, max_seconds: float = MAX_SECONDS, max_turns: int = MAX_TURNS) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self.now = START
        self.turns = 0
        """How many there were."""
        self.max_time = START + max_seconds
        self.max_turns = max_turns
        self.failure: Exception | None = None
        """What ended the story from outside: see `end_by`."""
        super().__init__(selector)
        # Timers run up to so much early. The machine's own nanosecond is lost to rounding after some months.
        self._clock_resolution = _RESOLUTION

    def time(self) -> float:
        """Return virtual seconds."""
        return self.now

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the beginning."""
        return self.now - START

    def end_by(self, error: Exception) -> NoReturn:
        """End the run with an error that no task of the story may catch."""
        self.failure = self.failure or error
        raise error

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
