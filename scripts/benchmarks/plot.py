"""`--plot`: a series as a small SVG, both axes logarithmic, with the line that linear growth would be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from scripts.benchmarks.fits import DECADE, Point, fit
from scripts.benchmarks.harness import Taken

ROOT = Path(__file__).resolve().parent.parent.parent
PICTURES = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 56, 48
"""Margins around the area in which points are."""
STEPS = (1, 2, 3, 5, 7)
"""What of each power of ten an axis may begin and end at."""
INK, GREY, LINE, GUIDE = "#24292f", "#d0d7de", "#0969da", "#8c959f"


class _Axis:
    """Places values between two bounds, by their logarithms."""

    def __init__(self, values: Iterable[float], first: float, last: float) -> None:
        found = sorted(values)
        self._low, self._high = _round_down(found[0]), _round_up(found[-1])
        if self._low == self._high:
            self._high = _round_up(1.01 * self._high)
        self._first, self._last = first, last

    def place(self, value: float) -> float:
        share = math.log(value / self._low) / math.log(self._high / self._low)
        return self._first + share * (self._last - self._first)

    def ticks(self) -> list[float]:
        """Return round values between the bounds, not too many."""
        powers = range(math.floor(math.log10(self._low)), math.ceil(math.log10(self._high)) + 1)
        choices = ([step * 10.0**power for power in powers for step in steps] for steps in (STEPS, (1, 3), (1,)))
        fitting = ([value for value in found if self._low * 0.999 <= value <= self._high * 1.001] for found in choices)
        return min(fitting, key=lambda found: abs(len(found) - 6))


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in STEPS if step * power <= value * 1.0001)


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return min(step * power for step in (*STEPS, 10) if step * power >= value * 0.9999)


def number(value: float) -> str:
    """Return a number as it stands on an axis."""
    return f"{value:,.0f}" if value >= 1 else f"{value:.3g}"


def picture(title: str, across: str, unit: str, points: Sequence[Point]) -> str:
    """Return a series of at least two points above zero as SVG."""
    fitted = fit(points)
    x = _Axis((point[0] for point in points), LEFT, WIDTH - RIGHT)
    y = _Axis((point[1] for point in points), HEIGHT - BOTTOM, TOP)
    said = f"exponent of the last decade {fitted.exponent:.2f}; {fitted.unit:.3g} {unit} each"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        f'<g font-family="sans-serif" font-size="12" fill="{INK}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="bold">{escape(title)}</text>',
        f'<text x="{LEFT}" y="41">{escape(said)}</text>',
    ]
    for tick in x.ticks():
        at = f"{x.place(tick):.1f}"
        out.append(f'<path d="M{at} {TOP}V{HEIGHT - BOTTOM}" stroke="{GREY}"/>')
        out.append(f'<text x="{at}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{number(tick)}</text>')
    for tick in y.ticks():
        at = f"{y.place(tick):.1f}"
        out.append(f'<path d="M{LEFT} {at}H{WIDTH - RIGHT}" stroke="{GREY}"/>')
        out.append(f'<text x="{LEFT - 6}" y="{float(at) + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    out.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 10}" text-anchor="end">{escape(across)}</text>')
    out.append(f'<text x="{LEFT - 6}" y="{TOP - 8}" text-anchor="end">{escape(unit)}</text>')
    out.append(_linear(points, x, y))
    places = [f"{x.place(point[0]):.1f},{y.place(point[1]):.1f}" for point in points]
    out.append(f'<polyline points="{" ".join(places)}" fill="none" stroke="{LINE}" stroke-width="2"/>')
    for place, point in zip(places, points, strict=True):
        across_at, up_at = place.split(",")
        out.append(
            f'<circle cx="{across_at}" cy="{up_at}" r="4" fill="{LINE}">'
            f"<title>{number(point[0])} {escape(across)}: {point[1]:.4g} {escape(unit)}</title></circle>"
        )
    return "\n".join([*out, "</g>", "</svg>", ""])


def _linear(points: Sequence[Point], x: _Axis, y: _Axis) -> str:
    """Draw what growth in proportion would be from the last point back, as far as it is in the picture."""
    end_x, end_y = points[-1]
    lowest = min(point[1] for point in points)
    start_x = max(points[0][0], end_x * lowest / end_y, end_x / DECADE**9)
    path = f"M{x.place(start_x):.1f} {y.place(end_y * start_x / end_x):.1f}L{x.place(end_x):.1f} {y.place(end_y):.1f}"
    return f'<path d="{path}" stroke="{GUIDE}" stroke-dasharray="5 4"><title>linear</title></path>'


def draw(figures: Iterable[Taken], across: dict[str, str], folder: Path = PICTURES) -> list[Path]:
    """Write a picture for each series among figures; return where they are.

    Args:
        across: what each series is over, by the name of its figure.
    """
    series: dict[str, list[Taken]] = {}
    for taken in figures:
        if taken.at is not None:
            series.setdefault(taken.figure, []).append(taken)
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[Path] = []
    for name, found in series.items():
        points = sorted((taken.at, taken.median) for taken in found if taken.at is not None)
        title = name.replace("_", " ").capitalize()
        path = folder / f"{name.replace('_', '-')}.svg"
        path.write_text(picture(title, across.get(name, ""), found[0].unit, points))
        drawn.append(path)
    return drawn
