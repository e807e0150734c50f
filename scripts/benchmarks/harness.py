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


class Sample(NamedTuple):
    """One value of one figure."""

    figure: str
    value: float


class Measure(NamedTuple):
    """How figures are taken."""

    take: Callable[[type[Program]], Iterator[Sample]]
    """One run with one program."""
    figures: dict[str, Figure]
    runs: int
    compared: bool = True
    """Whether a peer can be asked for the same."""


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


class Report(msgspec.Struct):
    """What one run of the bench writes."""

    machine: str
    load: float
    """Of the last minute, when it began: above 1 others were at work."""
    figures: list[Taken]


def run(name: str, measure: Measure, kinds: Sequence[type[Program]], runs: int | None) -> Iterator[Taken]:
    """Take a measure with each program in turn, showing progress; yield its figures."""
    ours, *peers = kinds
    kinds = [ours, *(peer for peer in peers if measure.compared and (peer.measures is None or name in peer.measures))]
    values: dict[tuple[str, str], list[float]] = {}
    for number in range(runs or measure.runs):
        for kind in kinds:
            print(f"\r\x1b[K{name}: run {number + 1}, {kind.name} …", end="", file=sys.stderr, flush=True)
            for sample in measure.take(kind):
                values.setdefault((sample.figure, kind.name), []).append(sample.value)
    print("\r\x1b[K", end="", file=sys.stderr)
    medians = {key: statistics.median(found) for key, found in values.items()}
    for (figure, program), found in values.items():
        theirs = {kind.name: medians.get((figure, kind.name)) for kind in kinds[1:]} if program == ours.name else {}
        yield Taken(
            figure=figure,
            program=program,
            unit=measure.figures[figure].unit,
            runs=len(found),
            median=medians[figure, program],
            least=min(found),
            most=max(found),
            values=found,
            ratios={peer: medians[figure, program] / median for peer, median in theirs.items() if median},
        )


def judge(taken: Taken, figure: Figure, bound: Bound | None) -> bool | None:
    """Tell whether a figure reaches a bound; None if that cannot be told."""
    value = taken.median if bound is None or not bound.of_peer else taken.ratios.get(YARDSTICK)
    if bound is None or value is None:
        return None
    return value >= bound.value if figure.more_is_better else value <= bound.value


def show(taken: Taken, figure: Figure, ours: str, before: Taken | None = None) -> str:
    """Return a line for a person."""
    line = f"  {taken.figure:<24} {taken.program:<10} {_number(taken.median):>10} {taken.unit:<9}"
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


def read(path: Path) -> dict[tuple[str, str], Taken]:
    """Return the figures of an earlier run, by figure and program."""
    report = msgspec.json.decode(path.read_bytes(), type=Report)
    return {(taken.figure, taken.program): taken for taken in report.figures}
