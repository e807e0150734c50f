"""Measures, what they must reach, and how their figures are shown, kept and compared."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog

from scripts.benchmarks.programs import Program


def silent_log() -> Any:
    """A log that nobody reads."""
    return structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger("CRITICAL"))


YARDSTICK = "litecoind"
"""The peer whose figures bounds are multiples of: the C++ code base that most others descend from."""


class Bound(NamedTuple):
    """What a figure must be: an absolute number, or a multiple of the yardstick's in the same run."""

    value: float
    of_peer: bool = False


class Figure(NamedTuple):
    """One number that a measure takes."""

    unit: str
    more_is_better: bool = False
    must: Bound | None = None
    aim: Bound | None = None
    across: str = ""
    """What a series is over, such as `blocks`: each of its values is taken at a number of these."""


class Sample(NamedTuple):
    """One value of one figure."""

    figure: str
    value: float
    at: float | None = None
    """Where in a series."""


class Measure(NamedTuple):
    """How figures are taken."""

    take: Callable[[type[Program]], Iterator[Sample]]
    """One run with one program."""
    figures: dict[str, Figure]
    runs: int
    compared: bool = True
    """Whether a peer can be asked for the same."""
    minutes: float = 0
    """What a run takes on two cores, where it is long enough to be told."""


class Taken(msgspec.Struct):
    """A figure as it was measured."""

    figure: str
    program: str
    unit: str
    runs: int
    median: float
    least: float
    most: float
    values: list[float]
    ratios: dict[str, float] = {}
    """Of our median to each peer's."""
    at: float | None = None
    """Where in a series."""


class Report(msgspec.Struct):
    """What one run of the bench writes."""

    machine: str
    load: float
    """Of the last minute, when it began: above 1 others were at work."""
    figures: list[Taken]


class Left:
    """How long is left of several measures: what they were guessed to take, put right by what the first ones took."""

    def __init__(self, minutes: Sequence[float]) -> None:
        self._left = list(minutes)
        self._guessed = self._took = 0.0

    def passed(self, minutes: float) -> None:
        """Note that the next measure is done, and what it took."""
        self._guessed += self._left.pop(0)
        self._took += minutes

    @property
    def minutes(self) -> float:
        """What the others will take, if they are as slow."""
        return sum(self._left) * (self._took / self._guessed if self._guessed else 1.0)


def tell(what: str) -> None:
    """Show what is going on, in place of what was shown before."""
    print(f"\r\x1b[K{what}", end="", file=sys.stderr, flush=True)


def run(name: str, measure: Measure, kinds: Sequence[type[Program]], runs: int | None) -> Iterator[Taken]:
    """Take a measure with each program in turn, showing progress; yield its figures."""
    ours, *peers = kinds
    kinds = [ours, *(peer for peer in peers if measure.compared and (peer.measures is None or name in peer.measures))]
    values: dict[tuple[str, str, float | None], list[float]] = {}
    for number in range(runs or measure.runs):
        for kind in kinds:
            tell(f"{name}: run {number + 1}, {kind.name} …")
            for sample in measure.take(kind):
                values.setdefault((sample.figure, kind.name, sample.at), []).append(sample.value)
    tell("")
    medians = {key: statistics.median(found) for key, found in values.items()}
    for (figure, program, at), found in values.items():
        theirs = {kind.name: medians.get((figure, kind.name, at)) for kind in kinds[1:]} if program == ours.name else {}
        yield Taken(
            figure=figure,
            program=program,
            unit=measure.figures[figure].unit,
            runs=len(found),
            median=medians[figure, program, at],
            least=min(found),
            most=max(found),
            values=found,
            ratios={peer: medians[figure, program, at] / median for peer, median in theirs.items() if median},
            at=at,
        )


def judge(taken: Taken, figure: Figure, bound: Bound | None) -> bool | None:
    """Tell whether a figure reaches a bound; None if that cannot be told."""
    value = taken.median if bound is None or not bound.of_peer else taken.ratios.get(YARDSTICK)
    if bound is None or value is None:
        return None
    return value >= bound.value if figure.more_is_better else value <= bound.value


def show(taken: Taken, figure: Figure, ours: str, before: Taken | None = None) -> str:
    """Return a line for a person."""
    name = taken.figure if taken.at is None else f"{taken.figure}, {taken.at:,.0f} {figure.across}"
    line = f"  {name:<24} {taken.program:<10} {_number(taken.median):>10} {taken.unit:<9}"
    line += f" {_number(taken.least)} to {_number(taken.most)}, {taken.runs} runs"
    if taken.program != ours:
        return line
    for peer, ratio in taken.ratios.items():
        line += f"; {ratio:.2f} x {peer}"
    if before is not None:
        line += f"; {taken.median / before.median:.2f} x before"
    for word, bound in (("must", figure.must), ("aim", figure.aim)):
        reached = judge(taken, figure, bound)
        if bound is not None:
            what = f"{bound.value:g} x" if bound.of_peer else f"{bound.value:g} {figure.unit}"
            line += f"; {word} {what}: {'not known' if reached is None else 'yes' if reached else 'NO'}"
    return line


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def read(path: Path) -> dict[tuple[str, str, float | None], Taken]:
    """Return the figures of an earlier run, by figure, program, and place in a series."""
    report = msgspec.json.decode(path.read_bytes(), type=Report)
    return {(taken.figure, taken.program, taken.at): taken for taken in report.figures}


def write(path: Path, report: Report) -> None:
    """Keep the figures of a run."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
