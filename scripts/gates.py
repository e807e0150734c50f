"""Run every gate and say for each whether it held and how long it took. `scripts/test` calls this inside .venv."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


class Gate(NamedTuple):
    """One check over the whole project."""

    name: str
    command: tuple[str, ...]
    chatty: bool = False
    """Show its output as it comes; otherwise only when it fails."""


class Outcome(NamedTuple):
    """How one gate went."""

    gate: Gate
    held: bool
    seconds: float


def gates(arguments: list[str]) -> list[Gate]:
    """Return all gates in order, cheapest first; `arguments` other than --fast go to pytest.

    Without any, the two campaigns have a turn as well: a minute of stories from a new seed, and the mutants of every
    function of the rules that is not as in the record (none, in a clean clone: that takes a second).
    """
    fast = "--fast" in arguments
    passed_on = tuple(argument for argument in arguments if argument != "--fast")
    # The quick tests share nothing, so they run side by side. The others start processes and look at real time.
    chosen = ("-m", "not slow and not e2e", "-n", "auto", "--maxprocesses", "4") if fast else ()
    campaigns = [
        Gate("fuzzing", (sys.executable, "-m", "scripts.fuzz_campaign", "differential", "--minutes", "1"), chatty=True),
        Gate("mutants", (sys.executable, "-m", "scripts.mutants_campaign", "--changed", "--minutes", "5"), chatty=True),
    ]
    return [
        Gate("format", (f"{BIN}/ruff", "format", "--check", ".")),
        Gate("lint", (f"{BIN}/ruff", "check", ".")),
        Gate("types", (f"{BIN}/mypy", "--no-error-summary")),
        Gate("imports", (f"{BIN}/lint-imports",)),
        Gate("tests", (f"{BIN}/pytest", "-q", *chosen, *passed_on), chatty=True),
        *([] if arguments else campaigns),
    ]


def run(gate: Gate) -> Outcome:
    """Run one gate to its end; show what it said if it failed."""
    started = time.monotonic()
    output = None if gate.chatty else subprocess.PIPE
    # The tools import this project as it is here, whatever PYTHONPATH says, and never ask anything.
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(
        gate.command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        check=False,
    )
    if done.returncode and done.stdout:
        sys.stdout.buffer.write(done.stdout)
        sys.stdout.flush()
    return Outcome(gate, done.returncode == 0, time.monotonic() - started)


def main() -> int:
    """Run all gates, even after one failed, and end with a line for each; return the exit status."""
    outcomes = []
    for gate in gates(sys.argv[1:]):
        print(f"── {gate.name}", flush=True)
        outcomes.append(run(gate))
    print()
    for outcome in outcomes:
        print(f"{'ok    ' if outcome.held else 'FAILED'} {outcome.gate.name:<8} {outcome.seconds:6.1f} s")
    failed = [outcome.gate.name for outcome in outcomes if not outcome.held]
    total = sum(outcome.seconds for outcome in outcomes)
    print(f"{'failed: ' + ', '.join(failed) if failed else 'all gates held'} ({total:.1f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
