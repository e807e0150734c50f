"""Campaigns of fuzzing that add up. `scripts/fuzz` calls this inside .venv.

scripts/fuzz differential --minutes 10 --resume DIR    go on where the last campaign in DIR ended
scripts/fuzz differential --repeat FILE                give both implementations what they disagreed about
scripts/fuzz conservation --minutes 10 --resume DIR    count what random transactions of coins and assets leave
scripts/fuzz codec|framing|policy --minutes 10 --resume DIR    lead bytes by coverage into what reads them first
scripts/fuzz codec|framing|policy --repeat FILE                give the target one input
scripts/fuzz codec|framing|policy --resume DIR --keep          keep the smallest inputs that reach all, in tests/corpora
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from scripts import fuzz_conservation, fuzz_guided
from scripts.kept import write_whole
from tests.fuzzing.targets import TARGETS
from tests.reference.campaign import repeat, tell
from tests.reference.differential import Disagreement, read_script

if TYPE_CHECKING:
    Kinds = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse has no other name for it


class Progress:
    """What the campaigns in one folder came to so far."""

    def __init__(self, folder: Path, first_seed: int | None) -> None:
        self.folder = folder
        self._file = folder / "progress.json"
        folder.mkdir(parents=True, exist_ok=True)
        stored = json.loads(self._file.read_text()) if self._file.exists() else {}
        drawn = secrets.randbelow(2**32) if first_seed is None else first_seed
        self.next_seed: int = stored.get("next_seed", drawn) if first_seed is None else first_seed
        self.stories: int = stored.get("stories", 0)
        self.seconds: float = stored.get("seconds", 0.0)
        self.verdicts: Counter[str] = Counter(stored.get("verdicts", {}))

    def add(self, verdicts: Counter[str], seconds: float) -> None:
        """Count a story and write everything down, all or nothing."""
        self.next_seed += 1
        self.stories += 1
        self.seconds += seconds
        self.verdicts += verdicts
        told = {
            "next_seed": self.next_seed,
            "stories": self.stories,
            "seconds": round(self.seconds, 1),
            "verdicts": dict(sorted(self.verdicts.items())),
        }
        write_whole(self._file, json.dumps(told, indent=1) + "\n")

    def summary(self) -> str:
        """Return the figures, in lines for people."""
        cases = dict.fromkeys(("header", "transaction", "block"), 0)
        accepted = dict(cases)
        for verdict, count in self.verdicts.items():
            kind, _, answer = verdict.partition(" ")
            if kind in cases:
                cases[kind] += count
                accepted[kind] += count if answer == "accept" else 0
        lines = [f"{self.stories} stories, {sum(cases.values())} cases, {self.seconds:.0f} s; figures in {self._file}"]
        lines += [f"  {cases[kind]:>9} {kind}s, of which both accept {accepted[kind]}" for kind in cases]
        rules = {name.partition(" ")[2] for name in self.verdicts if name.partition(" ")[0] in cases} - {"accept"}
        return "\n".join([*lines, f"  {len(rules)} rules were named: {', '.join(sorted(rules))}"])


def differential(minutes: float, progress: Progress) -> int:
    """Tell stories until the time is over or the two disagree; return the exit status."""
    print(f"from seed {progress.next_seed}, for {minutes:g} min", flush=True)
    end = time.monotonic() + 60 * minutes
    told = 0
    while not told or time.monotonic() < end:
        told += 1
        started = time.monotonic()
        try:
            verdicts = asyncio.run(tell(progress.next_seed))
        except Disagreement as found:
            path = progress.folder / f"disagreement-{progress.next_seed}.json"
            found.write(path)
            print(f"seed {progress.next_seed}: {found}")
            print(f"repeat it with: scripts/fuzz differential --repeat {path}")
            return 1
        progress.add(verdicts, time.monotonic() - started)
    print(progress.summary())
    print("no disagreement")
    return 0


def repeated(path: Path) -> int:
    """Give both what is in a file; return the exit status."""
    try:
        asyncio.run(repeat(read_script(path)))
    except Disagreement as found:
        print(f"{path}: {found}")
        return 1
    print(f"{path}: no disagreement")
    return 0


def add_differential(kinds: Kinds) -> None:
    """Add the arguments of `differential`."""
    two = kinds.add_parser("differential", help="consensus against the reference of tests/reference")
    common(two)
    two.add_argument("--seed", type=int, help="of the first story (default: where DIR ended, or any)")
    two.set_defaults(run=run_differential)


def add_guided(kinds: Kinds) -> None:
    """Add the arguments of the targets that coverage leads to."""
    for target in TARGETS:
        guided = kinds.add_parser(target, help=f"bytes led by coverage into the target {target!r} of tests/fuzzing")
        common(guided)
        guided.add_argument("--keep", action="store_true", help="write what DIR found into tests/corpora, and end")
        guided.set_defaults(run=run_guided)


def common(parser: argparse.ArgumentParser) -> None:
    """Add what every kind of campaign takes."""
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="where campaigns add up (default: a new folder)")
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="something found, as it was written down")


def run_differential(chosen: argparse.Namespace) -> int:
    """Run or repeat what was asked for."""
    if chosen.repeat is not None:
        return repeated(chosen.repeat)
    folder = chosen.resume or Path(tempfile.mkdtemp(prefix="dure-fuzz-"))
    progress = Progress(folder, chosen.seed)
    try:
        return differential(chosen.minutes, progress)
    except KeyboardInterrupt:
        print(f"\n{progress.summary()}\ninterrupted: --resume {folder} goes on from here")
        return 130


def run_guided(chosen: argparse.Namespace) -> int:
    """Fuzz, repeat or keep what was asked for."""
    if chosen.repeat is not None:
        return fuzz_guided.repeat(chosen.kind, chosen.repeat)
    folder = fuzz_guided.folder_for(chosen.kind, chosen.resume)
    if chosen.keep:
        return fuzz_guided.keep(chosen.kind, folder)
    try:
        return fuzz_guided.campaign(chosen.kind, chosen.minutes, folder)
    except KeyboardInterrupt:
        print(f"\ninterrupted: --resume {folder} goes on from here")
        return 130


def main() -> int:
    """Read the command line and run; return the exit status: 1 for something found."""
    parser = argparse.ArgumentParser(
        prog="scripts/fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    for add in (
        add_differential,
        fuzz_conservation.add,
        add_guided,
    ):  # another kind of campaign is one line here, and its own module
        add(kinds)
    chosen = parser.parse_args()
    if chosen.repeat is not None and not chosen.repeat.is_file():
        parser.error(f"there is no file {chosen.repeat}")
    if chosen.minutes <= 0:
        parser.error("--minutes is above 0")
    status: int = chosen.run(chosen)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
