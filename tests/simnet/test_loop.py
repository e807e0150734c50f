"""Virtual time: it jumps, it ends what would never end, and nothing waits for the wall's."""

from __future__ import annotations

import asyncio
import time

import pytest

from simnet.errors import Deadlock, Runaway
from simnet.loop import START, LoopClock, run_virtual


def test_a_year_passes_in_no_time() -> None:
    async def story() -> float:
        await asyncio.sleep(365 * 86_400)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert run_virtual(story) == START + 365 * 86_400
    assert time.monotonic() - began < 60


def test_timers_run_in_the_order_of_their_moments() -> None:
    async def story() -> list[int]:
        loop, seen = asyncio.get_running_loop(), list[int]()
        for moment in (3, 1, 2):
            loop.call_later(moment, seen.append, moment)
        await asyncio.sleep(3)
        await asyncio.sleep(0)
        return seen

    assert run_virtual(story) == [1, 2, 3]


def test_tasks_that_wait_for_each_other_are_a_deadlock() -> None:
    async def story() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run_virtual(story)


def test_a_task_that_spins_is_ended() -> None:
    async def story() -> None:
        for _ in iter(int, 1):
            await asyncio.sleep(0)

    with pytest.raises(Runaway, match="turns"):
        run_virtual(story, max_turns=1_000)


def test_a_story_that_waits_for_ever_is_ended() -> None:
    async def story() -> None:
        for _ in iter(int, 1):
            await asyncio.sleep(1)

    with pytest.raises(Runaway, match="virtual time"):
        run_virtual(story, max_seconds=1_000)


def test_there_are_no_threads() -> None:
    async def story() -> None:
        await asyncio.to_thread(time.time)

    with pytest.raises(RuntimeError, match="no threads"):
        run_virtual(story)


def test_a_clock_may_be_wrong_and_jump_but_its_durations_are_right() -> None:
    """A192"""

    async def story() -> None:
        right, wrong = (LoopClock(asyncio.get_running_loop(), skew=skew) for skew in (0, -7_200))
        assert right.time() - wrong.time() == 7_200
        began, began_at = wrong.monotonic(), wrong.time()
        wrong.jump(86_400)
        await asyncio.sleep(10)
        assert (wrong.monotonic() - began, wrong.time() - began_at) == (10, 86_410)

    run_virtual(story)
