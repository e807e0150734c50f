"""`scripts/bench [MEASURE ...]`: take measures, with a peer's program in turn where one is installed."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.benchmarks import plot
from scripts.benchmarks.chains import DEFAULT_FOLDER
from scripts.benchmarks.harness import Left, Measure, Report, judge, read, run, show, write
from scripts.benchmarks.measures import MEASURES, growth, throughput
from scripts.benchmarks.peers import PEERS
from scripts.benchmarks.programs import Dured, Program

LONG = 5.0
"""Minutes: a measure that takes longer is left out where none is named."""


def arguments_of(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "measures",
        nargs="*",
        metavar="MEASURE",
        help=f"of {', '.join((*MEASURES, 'growth'))}; if none is named, all but those that take more than "
        f"{LONG:.0f} minutes",
    )
    parser.add_argument("--runs", type=int, help="how often each is taken")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    parser.add_argument("--against", type=Path, metavar="FILE", help="show ratios to the figures of an earlier run")
    parser.add_argument("--alone", action="store_true", help="ask no peer's program")
    series = parser.add_argument_group("growth")
    series.add_argument("--only", metavar="SERIES", help=f"take these series only: {', '.join(growth.SERIES)}")
    series.add_argument("--plot", action="store_true", help="draw each series that is taken, in docs/pictures")
    series.add_argument(
        "--chains", type=Path, default=DEFAULT_FOLDER, metavar="DIR",
        help="where long chains are kept, some 2 GB (default: %(default)s)",
    )  # fmt: skip
    series.add_argument(
        "--prepare", action="store_true", help="only make these chains: once, and it may be interrupted"
    )
    pace = parser.add_argument_group("throughput")
    pace.add_argument("--hold", type=float, default=throughput.HOLD_SECONDS, metavar="SECONDS", help="how long")
    pace.add_argument("--pace", type=float, metavar="N", help="hold so many payments/s, instead of letting them rise")
    arguments = parser.parse_args(given)
    unknown = sorted(set(arguments.measures) - {*MEASURES, "growth"})
    if unknown:
        parser.error(f"there is no measure {', '.join(unknown)}")
    unknown = sorted(set(_series(arguments.only)) - set(growth.SERIES))
    if unknown:
        parser.error(f"growth has no series {', '.join(unknown)}")
    return arguments


def _series(only: str | None) -> list[str]:
    return list(growth.SERIES) if only is None else only.split(",")


def chosen(arguments: argparse.Namespace) -> dict[str, Measure]:
    """Return the measures that were asked for, by the names that are shown."""
    everything = MEASURES | {"throughput": throughput.measure(arguments.hold, arguments.pace)}
    series = growth.measures(arguments.chains)
    growing = {f"growth {name}": series[name] for name in _series(arguments.only)}
    if not arguments.measures:
        return {name: measure for name, measure in everything.items() if measure.minutes <= LONG}
    found: dict[str, Measure] = {}
    for name in arguments.measures:
        found |= growing if name == "growth" else {name: everything[name]}
    return found


def main(given: Sequence[str] | None = None) -> int:
    """Take the measures that were named, or the shorter ones; return 1 if a figure is not what it must be."""
    arguments = arguments_of(given)
    # Whoever ends the bench does not leave its nodes behind: measures end what they have started on their way out.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    if arguments.prepare:
        growth.prepare(arguments.chains)
        return 0
    peers: Sequence[type[Program]] = () if arguments.alone else [peer for peer in PEERS if peer.installed()]
    kinds: Sequence[type[Program]] = (Dured, *peers)
    before = read(arguments.against) if arguments.against else {}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    report = Report(machine, os.getloadavg()[0], [])
    print(f"{machine}; load {report.load:.2f}; {', '.join(kind.name for kind in kinds)}")
    measures = chosen(arguments)
    if not arguments.measures:
        longer = [f"{name} ({each.minutes:.0f} min)" for name, each in MEASURES.items() if each.minutes > LONG]
        print(f"left out, as they take long: {', '.join([*longer, f'growth ({_growth_minutes():.0f} min)'])}")
    missed = False
    left = Left([measure.minutes for measure in measures.values()])
    for name, measure in measures.items():
        print(f"{name}: {left.minutes:.0f} min left" if measure.minutes else name, flush=True)
        began = time.monotonic()
        for taken in run(name, measure, kinds, arguments.runs):
            report.figures.append(taken)
            figure = measure.figures[taken.figure]
            earlier = before.get((taken.figure, taken.program, taken.at))
            print(show(taken, figure, Dured.name, earlier), flush=True)
            missed |= taken.program == Dured.name and judge(taken, figure, figure.must) is False
        left.passed((time.monotonic() - began) / 60)
        if arguments.json:
            write(arguments.json, report)
    if arguments.plot:
        across = {name: figure.across for measure in measures.values() for name, figure in measure.figures.items()}
        for path in plot.draw(report.figures, across):
            print(f"drawn: {path}")
    return int(missed)


def _growth_minutes() -> float:
    return sum(measure.minutes for measure in growth.measures().values())


if __name__ == "__main__":
    sys.exit(main())
