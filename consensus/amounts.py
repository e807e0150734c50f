"""Amounts as people write them: DURE with up to eight decimals, exact, without floats."""

from __future__ import annotations

import re

from consensus.types import GRAIN_PER_DURE, Amount

_AMOUNT = re.compile(r"([0-9]{1,11})(?:\.([0-9]{1,8}))?")


def parse_amount(text: str) -> Amount:
    """Read an amount in DURE; return grain.

    Raises:
        ValueError: unless it is digits, at most with a point and one to eight decimals.
    """
    match = _AMOUNT.fullmatch(text)
    if not match or not text.isascii():
        raise ValueError(f"not an amount in DURE, such as 12.5: {text[:40]!r}")
    whole, decimals = match[1], match[2] or ""
    return Amount(int(whole) * GRAIN_PER_DURE + int(decimals.ljust(8, "0")))


def format_amount(amount: int) -> str:
    """Return an amount of grain in DURE, always with eight decimals."""
    sign, grain = ("-", -amount) if amount < 0 else ("", amount)
    return f"{sign}{grain // GRAIN_PER_DURE}.{grain % GRAIN_PER_DURE:08d}"
