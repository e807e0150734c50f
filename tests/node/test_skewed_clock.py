"""A clock that is wrong on purpose."""

from __future__ import annotations

import pytest

from node.skewed_clock import FILE, MAX_SKEW, SkewedClock, SkewError
from node.storage.errors import DamagedError
from node.storage.files import MemoryFiles


class Clock:
    def time(self) -> int:
        return 1_000_000_000

    def monotonic(self) -> float:
        return 12.5


def test_the_time_of_day_is_wrong_and_durations_are_right() -> None:
    clock = SkewedClock(Clock(), MemoryFiles())
    assert (clock.time(), clock.monotonic()) == (1_000_000_000, 12.5)
    clock.set_skew(-90)
    assert (clock.time(), clock.monotonic(), clock.skew) == (999_999_910, 12.5, -90)


def test_a_skew_outlives_a_restart() -> None:
    files = MemoryFiles()
    SkewedClock(Clock(), files).set_skew(90)
    assert SkewedClock(Clock(), files).skew == 90


@pytest.mark.parametrize("sign", [1, -1])
def test_a_skew_is_a_year_at_most(sign: int) -> None:
    clock = SkewedClock(Clock(), MemoryFiles())
    clock.set_skew(sign * MAX_SKEW)
    with pytest.raises(SkewError):
        clock.set_skew(sign * (MAX_SKEW + 1))
    assert clock.skew == sign * MAX_SKEW


@pytest.mark.parametrize("raw", [b"", b"ninety", b"1.5", b"31622401", b"[90]"])
def test_a_damaged_file_is_an_error_and_not_a_right_clock(raw: bytes) -> None:
    files = MemoryFiles()
    files.write(FILE, raw)
    with pytest.raises(DamagedError, match="damaged"):
        SkewedClock(Clock(), files)
