"""`--plot`: series of one kind as a small SVG, both axes logarithmic, with lines for what linear growth would be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from scripts.benchmarks.fits import Point, fit
from scripts.benchmarks.harness import Taken

ROOT = Path(__file__).resolve().parent.parent.parent
PICTURES = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 760, 340
LEFT, RIGHT, TOP, BOTTOM = 70, 290, 56, 48
"""Margins around the area in which points are; in the one at the right it is said which line is what."""
STEPS = (1, 2, 3, 5, 7)
"""What of each power of ten an axis may begin and end at."""
INK, GREY, GUIDE = "#24292f", "#d0d7de", "#8c959f"
LINES = ("#0969da", "#cf222e", "#1a7f37", "#8250df", "#bf8700", "#0a7f86", "#57606a")
"""Colours, in this order and again from the first."""
ROW = 34
"""Pixels for what is said of one line."""


class _Axis:
    """Places values between two bounds, by their logarithms."""

    def __init__(self, values: Iterable[float], first: float, last: float) -> None:
        found = sorted(values)
        self.low, self._high = _round_down(found[0]), _round_up(found[-1])
        if self.low == self._high:
            self._high = _round_up(1.01 * self._high)
        self._first, self._last = first, last

    def place(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self._high / self.low)
        return self._first + share * (self._last - self._first)

    def ticks(self) -> list[float]:
        """Return round values between the bounds, not too many."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self._high)) + 1)
        choices = ([step * 10.0**power for power in powers for step in steps] for steps in (STEPS, (1, 3), (1,)))
        fitting = ([value for value in found if self.low * 0.999 <= value <= self._high * 1.001] for found in choices)
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


def picture(title: str, across: str, unit: str, series: Mapping[str, Sequence[Point]]) -> str:
    """Return series, each of at least two points above zero, as SVG."""
    x = _Axis((point[0] for points in series.values() for point in points), LEFT, WIDTH - RIGHT)
    y = _Axis((point[1] for points in series.values() for point in points), HEIGHT - BOTTOM, TOP)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        f'<g font-family="sans-serif" font-size="12" fill="{INK}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="bold">{escape(title)}</text>',
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 10}" text-anchor="end">{escape(across)}</text>',
        f'<text x="{LEFT - 6}" y="{TOP - 12}" text-anchor="end">{escape(unit)}</text>',
        *_grid(x, y),
    ]
    for place, (name, points) in enumerate(series.items()):
        colour, fitted, row = LINES[place % len(LINES)], fit(points), TOP + 8 + ROW * place
        said = f"exponent {fitted.exponent:.2f}; {fitted.unit:.3g} {unit} each"
        out += [
            *_line(name, points, colour, x, y),
            f'<text x="{WIDTH - RIGHT + 24}" y="{row}" fill="{colour}" font-weight="bold">{escape(name)}</text>',
            f'<text x="{WIDTH - RIGHT + 24}" y="{row + 15}">{escape(said)}</text>',
        ]
    return "\n".join([*out, "</g>", "</svg>", ""])


def _grid(x: _Axis, y: _Axis) -> Iterator[str]:
    for tick in x.ticks():
        at = f"{x.place(tick):.1f}"
        yield f'<path d="M{at} {TOP}V{HEIGHT - BOTTOM}" stroke="{GREY}"/>'
        yield f'<text x="{at}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{number(tick)}</text>'
    for tick in y.ticks():
        at = f"{y.place(tick):.1f}"
        yield f'<path d="M{LEFT} {at}H{WIDTH - RIGHT}" stroke="{GREY}"/>'
        yield f'<text x="{LEFT - 6}" y="{float(at) + 4:.1f}" text-anchor="end">{number(tick)}</text>'


def _line(name: str, points: Sequence[Point], colour: str, x: _Axis, y: _Axis) -> Iterator[str]:
    """Draw the points of a series, and what growth in proportion would be from the last one back."""
    end_x, end_y = points[-1]
    # As far as it is in the picture: no lower than the axis begins.
    start_x = max(points[0][0], end_x * y.low / end_y)
    path = f"M{x.place(start_x):.1f} {y.place(end_y * start_x / end_x):.1f}L{x.place(end_x):.1f} {y.place(end_y):.1f}"
    yield f'<path d="{path}" stroke="{GUIDE}" stroke-dasharray="4 5"><title>linear</title></path>'
    places = [f"{x.place(point[0]):.1f},{y.place(point[1]):.1f}" for point in points]
    yield f'<polyline points="{" ".join(places)}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for place, point in zip(places, points, strict=True):
        across_at, up_at = place.split(",")
        yield (
            f'<circle cx="{across_at}" cy="{up_at}" r="4" fill="{colour}">'
            f"<title>{escape(name)}, {number(point[0])}: {point[1]:.4g}</title></circle>"
        )


def draw(figures: Iterable[Taken], across: Mapping[str, str], folder: Path = PICTURES) -> list[Path]:
    """Write a picture for each kind of series among figures; return where they are.

    A figure `growth_lag_known` is the line `known` of the kind `lag`. Of one kind are those over the same, in one unit.

    Args:
        across: what each series is over, by the name of its figure.
    """
    kinds: dict[tuple[str, str, str], dict[str, list[Point]]] = {}
    for taken in figures:
        if taken.at is not None:
            _, kind, line = taken.figure.split("_", 2)
            lines = kinds.setdefault((kind, across.get(taken.figure, ""), taken.unit), {})
            lines.setdefault(line, []).append((taken.at, taken.median))
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[Path] = []
    for (kind, over, unit), lines in kinds.items():
        path = folder / f"growth-{kind}-{over}-{unit.lower()}.svg"
        path.write_text(picture(f"{kind.capitalize()} by {over}", over, unit, lines))
        drawn.append(path)
    return drawn
