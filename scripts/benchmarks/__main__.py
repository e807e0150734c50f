"""`scripts/bench [MEASURE ...]`: take measures, with a peer's program in turn where one is installed."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from scripts.benchmarks.harness import Report, judge, read, run, show
from scripts.benchmarks.measures import MEASURES
from scripts.benchmarks.peers import PEERS
from scripts.benchmarks.programs import Dured, Program


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "measures", nargs="*", metavar="MEASURE", help=f"of {', '.join(MEASURES)}; all if none is named"
    )
    parser.add_argument("--runs", type=int, help="how often each is taken")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    parser.add_argument("--against", type=Path, metavar="FILE", help="show ratios to the figures of an earlier run")
    parser.add_argument("--alone", action="store_true", help="ask no peer's program")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.measures) - set(MEASURES))
    if unknown:
        parser.error(f"there is no measure {', '.join(unknown)}")
    return arguments


def main() -> int:
    """Take the measures that were named, or all; return 1 if a figure is not what it must be."""
    arguments = _arguments()
    peers: Sequence[type[Program]] = () if arguments.alone else [peer for peer in PEERS if peer.installed()]
    kinds: Sequence[type[Program]] = (Dured, *peers)
    before = read(arguments.against) if arguments.against else {}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    report = Report(machine, os.getloadavg()[0], [])
    print(f"{machine}; load {report.load:.2f}; {', '.join(kind.name for kind in kinds)}")
    missed = False
    for name in arguments.measures or MEASURES:
        measure = MEASURES[name]
        print(name, flush=True)
        for taken in run(name, measure, kinds, arguments.runs):
            report.figures.append(taken)
            figure = measure.figures[taken.figure]
            print(show(taken, figure, Dured.name, before.get((taken.figure, taken.program))), flush=True)
            missed |= taken.program == Dured.name and judge(taken, figure, figure.must) is False
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
