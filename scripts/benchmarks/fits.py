"""What a series of points says about growth: a fitted exponent, and what each unit costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Point = tuple[float, float]
DECADE = 10.0
"""The exponent is that of the last decade: at its beginning a series shows what does not grow at all."""


class Fit(NamedTuple):
    """Least squares through a series."""

    exponent: float
    """Of the power law through the points of the last decade, or all if that has only one: 1 is linear, less better."""
    unit: float
    """What one unit more costs, by the straight line through all points."""
    base: float
    """Where that line begins."""


def fit(points: Sequence[Point]) -> Fit:
    """Fit a series, in the order of its x, with at least two points above zero.

    Raises:
        ValueError: there are too few points.
    """
    logarithms = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    last = [point for point in logarithms if point[0] + math.log(DECADE) >= logarithms[-1][0] - 1e-9]
    unit, base = _line(points)
    return Fit(_line(last if len(last) > 1 else logarithms)[0], unit, base)


def _line(points: Sequence[Point]) -> Point:
    """Return slope and beginning of the straight line through points."""
    if len({x for x, _ in points}) < 2:
        raise ValueError("a line needs two points")
    middle_x, middle_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    slope = sum((x - middle_x) * (y - middle_y) for x, y in points) / sum((x - middle_x) ** 2 for x, _ in points)
    return slope, middle_y - slope * middle_x
