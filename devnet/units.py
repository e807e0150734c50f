"""Quantities as people type them, and as they are shown: durations, shares, speeds of lines."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from devnet.errors import Misused

_MILLISECONDS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_BITS: Final = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_NUMBER: Final = r"([0-9]{1,9}(?:\.[0-9]{1,6})?)"


def is_node_number(text: str) -> bool:
    """Tell whether a word means a node: whether there is one is another question."""
    return text.isascii() and text.isdigit() and len(text) < 9


def parse_duration(text: str) -> int:
    """Read a duration such as 200ms, 1.5s, 2m, 1h or 1d; return milliseconds.

    Raises:
        Misused: it is none, it has no unit, or it is no whole number of milliseconds.
    """
    match = re.fullmatch(rf"{_NUMBER} ?(ms|s|min|m|h|d)", text.strip())
    if match is None:
        raise Misused(f"{text[:40]!r} is no duration: write for example 200ms, 1.5s, 2m or 1h.")
    milliseconds = Decimal(match[1]) * _MILLISECONDS[match[2]]
    if milliseconds != int(milliseconds):
        raise Misused(f"{text[:40]!r} is no whole number of milliseconds.")
    return int(milliseconds)


def parse_skew(text: str) -> int:
    """Read by how much a clock is wrong, such as +90s, -2m or 1h; return seconds.

    Raises:
        Misused: it is no duration, or no whole number of seconds.
    """
    bare = text.strip()
    sign = -1 if bare.startswith("-") else 1
    try:
        milliseconds = parse_duration(bare[1:] if bare[:1] in {"+", "-"} else bare)
    except Misused:
        raise Misused(f"{text[:40]!r} is no skew of a clock: write for example +90s, -2m or +1h.") from None
    if milliseconds % 1_000:
        raise Misused(f"{text[:40]!r} is no whole number of seconds, and clocks of nodes count seconds.")
    return sign * (milliseconds // 1_000)


def parse_share(text: str) -> int:
    """Read a share such as 10% or 0.5%; return millionths.

    Raises:
        Misused: it is none, or finer than a millionth.
    """
    match = re.fullmatch(rf"{_NUMBER} ?%", text.strip())
    if match is None:
        raise Misused(f"{text[:40]!r} is no share: write for example 10% or 0.5%.")
    millionths = Decimal(match[1]) * 10_000
    if millionths != int(millionths):
        raise Misused(f"{text[:40]!r} is too fine: a share has at most four decimals.")
    return int(millionths)


def parse_speed(text: str) -> int:
    """Read the speed of a line such as 1mbit or 256kbit (a second); return bits per second.

    Raises:
        Misused: it is none.
    """
    match = re.fullmatch(rf"{_NUMBER} ?(bit|kbit|mbit|gbit)(?:/s)?", text.strip().lower())
    if match is None:
        raise Misused(f"{text[:40]!r} is no speed of a line: write for example 256kbit, 1mbit or 2.5mbit.")
    bits = Decimal(match[1]) * _BITS[match[2]]
    if bits != int(bits):
        raise Misused(f"{text[:40]!r} is no whole number of bits a second.")
    return int(bits)


def format_duration(milliseconds: int) -> str:
    """Return "200 ms", "1.5 s" or "90 s", exactly."""
    if milliseconds < 1_000:
        return f"{milliseconds} ms"
    return f"{_plain(Decimal(milliseconds) / 1_000)} s"


def format_seconds(seconds: int) -> str:
    """Return "90 s", "2 min" or "1 h", exactly: in the largest unit in which it is whole."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size and not seconds % size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def format_share(millionths: int) -> str:
    """Return "10 %", exactly."""
    return f"{_plain(Decimal(millionths) / 10_000)} %"


def format_speed(bits: int) -> str:
    """Return "1 mbit/s", exactly."""
    for unit, size in (("gbit", 10**9), ("mbit", 10**6), ("kbit", 10**3)):
        if bits >= size:
            return f"{_plain(Decimal(bits) / size)} {unit}/s"
    return f"{bits} bit/s"


def _plain(number: Decimal) -> str:
    """Return a number without zeros at its end."""
    return f"{number.normalize():f}"
