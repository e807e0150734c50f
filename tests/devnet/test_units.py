"""Quantities as people type them: read exactly, or refused with an example."""

from __future__ import annotations

import pytest

from devnet.errors import Misused
from devnet.units import (
    format_duration,
    format_seconds,
    format_share,
    format_speed,
    parse_duration,
    parse_share,
    parse_skew,
    parse_speed,
)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("200ms", 200), ("0ms", 0), ("1.5s", 1_500), ("2 s", 2_000), ("2m", 120_000), ("2min", 120_000), ("1h", 3_600_000),
     ("1d", 86_400_000), ("0.001s", 1)],
)  # fmt: skip
def test_a_duration_is_read_exactly(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize("text", ["", "200", "ms", "-1s", "1e3s", "0.5ms", "1.0001s", "²s", "1 week", "9" * 500 + "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Misused):
        parse_duration(text)


@pytest.mark.parametrize(("text", "seconds"), [("+90s", 90), ("-2m", -120), ("1h", 3_600), ("-0s", 0)])
def test_a_skew_may_have_a_sign(text: str, seconds: int) -> None:
    assert parse_skew(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "+", "+-1s", "++1s", "500ms", "+1.5s", "later"])
def test_what_is_no_skew_is_refused(text: str) -> None:
    with pytest.raises(Misused):
        parse_skew(text)


@pytest.mark.parametrize(("text", "millionths"), [("10%", 100_000), ("0.5 %", 5_000), ("0.0001%", 1), ("100%", 10**6)])
def test_a_share_is_read_exactly(text: str, millionths: int) -> None:
    assert parse_share(text) == millionths


@pytest.mark.parametrize("text", ["", "10", "%", "-1%", "0.00001%", "half"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(Misused):
        parse_share(text)


@pytest.mark.parametrize(
    ("text", "bits"), [("1mbit", 10**6), ("2.5 Mbit/s", 2_500_000), ("256kbit", 256_000), ("1gbit", 10**9)]
)
def test_a_speed_is_read_exactly(text: str, bits: int) -> None:
    assert parse_speed(text) == bits


@pytest.mark.parametrize("text", ["", "1", "1mb", "1MB/s", "-1mbit", "0.5bit"])
def test_what_is_no_speed_is_refused(text: str) -> None:
    with pytest.raises(Misused):
        parse_speed(text)


def test_what_is_shown_says_exactly_what_is_meant() -> None:
    assert [format_duration(ms) for ms in (0, 999, 1_000, 1_500, 90_000)] == ["0 ms", "999 ms", "1 s", "1.5 s", "90 s"]
    assert [format_seconds(s) for s in (1, 90, 120, 3_600, 90_000)] == ["1 s", "90 s", "2 min", "1 h", "25 h"]
    assert [format_share(m) for m in (1, 5_000, 100_000)] == ["0.0001 %", "0.5 %", "10 %"]
    assert [format_speed(b) for b in (999, 256_000, 2_500_000, 10**9)] == [
        "999 bit/s", "256 kbit/s", "2.5 mbit/s", "1 gbit/s",
    ]  # fmt: skip
