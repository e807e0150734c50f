"""Storm simulated networks by seed: faults, payments and reorgs drawn at random, then calm, then a close look.

Each seed is a network of its own, and a seed that fails prints the one command that repeats it. With `--resume` a
folder remembers which seeds have passed, so that a campaign goes on where it stopped and adds up over days.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from scripts.kept import Lines
from simnet.shrink import shrink
from simnet.swarm import RARE, RAREST, Outcome, run_plan
from simnet.swarm_plan import Plan, draw_plan

ROOT = Path(__file__).resolve().parent.parent
RESULTS = "passed.jsonl"
A_DAY = 60
"""Seeds of one day, for --today."""


class Passed(msgspec.Struct):
    """One line of a campaign's file."""

    seed: int
    digest: str
    height: int
    sometimes: dict[str, int]
    commit: str


class Campaign:
    """A folder with what has passed so far."""

    def __init__(self, folder: Path | None) -> None:
        self._lines = None if folder is None else Lines(folder / RESULTS, Passed)
        self.passed = {one.seed: one for one in self._lines.read()} if self._lines is not None else {}

    def note(self, one: Passed) -> None:
        """Remember a seed that passed."""
        self.passed[one.seed] = one
        if self._lines is not None:
            self._lines.add(one)

    def seeds(self, count: int, start: int | None) -> Iterator[int]:
        """Yield so many seeds that have not passed yet, from `start` on; by default after the last one that has."""
        seed = start if start is not None else max(self.passed, default=-1) + 1
        while count:
            if seed not in self.passed:
                count -= 1
                yield seed
            seed += 1

    @property
    def sometimes(self) -> Counter[str]:
        """All counters of all seeds."""
        total: Counter[str] = Counter()
        for one in self.passed.values():
            total.update(one.sometimes)
        return total


def today() -> int:
    """Return the first seed of this day, UTC."""
    return (datetime.now(UTC).date().toordinal() - 738_000) * A_DAY


def commit() -> str:
    """Return the commit that stands here, and whether it was changed."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return said.stdout.strip() or "unknown"


def attempt(plan: Plan) -> Outcome | Exception:
    """Play a plan; return how it ended, or what went wrong."""
    try:
        return run_plan(plan)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for, and is told
        return error


def way(error: Exception) -> str:
    """Return what tells one way to fail from another: the numbers in it may differ."""
    return f"{type(error).__name__} {''.join(c for c in str(error)[:60] if not c.isdigit())}"


def shrink_and_tell(plan: Plan, error: Exception, folder: Path) -> None:
    """Look for a smaller plan that fails so, and write it down."""

    def fails(candidate: Plan) -> bool:
        print(f"\r{len(candidate.steps)} steps, {candidate.nodes} nodes … ", end="", file=sys.stderr, flush=True)
        result = attempt(candidate)
        return isinstance(result, Exception) and way(result) == way(error)

    smaller = shrink(plan, fails)
    path = folder / f"seed-{plan.seed}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(smaller)) + b"\n")
    print(f"\n{len(smaller.steps)} of {len(plan.steps)} steps suffice: scripts/swarm --plan {path}")


def tell(campaign: Campaign, failed: list[int]) -> None:
    """Print what was reached."""
    print(f"\n{len(campaign.passed)} seeds have passed, {len(failed)} failed{': ' if failed else ''}", end="")
    print(", ".join(map(str, failed)))
    total = campaign.sometimes
    for name, count in total.most_common():
        if count:
            print(f"{count:8} {name}")
    for name in (*RARE, *RAREST):
        if not total[name]:
            print(f"   never {name}")


def main() -> int:
    """Run what was asked for; return 1 if a seed failed."""
    parser = argparse.ArgumentParser(prog="scripts/swarm", description=__doc__)
    parser.add_argument("--seeds", type=int, default=A_DAY, metavar="N", help=f"how many; {A_DAY} if not given")
    parser.add_argument("--start", type=int, metavar="S", help="the first; else the one after the last that has passed")
    parser.add_argument("--today", action="store_true", help="start with the first seed of today, as CI does")
    parser.add_argument(
        "--hostile", action="store_true", help="with a third of the peers, and 40 %% of the work, hostile"
    )
    parser.add_argument("--resume", type=Path, metavar="DIR", help="remember there what has passed, and go on from it")
    parser.add_argument("--shrink", action="store_true", help="look for a smaller plan that fails as a seed does")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="play one plan that --shrink wrote")
    parser.add_argument("--show", action="store_true", help="print the plan of each seed before it is played")
    arguments = parser.parse_args()
    campaign, failed = Campaign(arguments.resume), list[int]()
    if arguments.plan is not None:
        plans = iter([msgspec.json.decode(arguments.plan.read_bytes(), type=Plan)])
    else:
        seeds = campaign.seeds(arguments.seeds, today() if arguments.today else arguments.start)
        plans = (draw_plan(seed, hostile=arguments.hostile) for seed in seeds)
    stands_at = commit()
    for plan in plans:
        if arguments.show:
            print(json.dumps(msgspec.to_builtins(plan)))
        began = time.monotonic()
        result = attempt(plan)
        took = time.monotonic() - began
        if isinstance(result, Exception):
            failed.append(plan.seed)
            print(f"seed {plan.seed} FAILED after {took:.1f} s", flush=True)
            traceback.print_exception(result)
            if arguments.shrink:
                shrink_and_tell(plan, result, arguments.resume or Path())
        else:
            print(f"seed {plan.seed}: {plan.nodes} nodes, height {result.height}, {took:.1f} s", flush=True)
            campaign.note(Passed(plan.seed, result.digest, result.height, dict(result.sometimes), stands_at))
    tell(campaign, failed)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
