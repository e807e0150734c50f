"""A timed list of faults and actions, from a file."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.context import Context, common, plural

if TYPE_CHECKING:
    from cli.simulated_plan import Result
    from devnet.plan_file import Plan
    from devnet.plan_model import Expected
    from devnet.plan_run import Done
    from devnet.plan_steps import Schedule, Step


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--seed", type=click.IntRange(min=0), help="Draw what is left to chance from this. [default: the file's]")
@click.option("--check", is_flag=True, help="Show the steps, and do none of them.")
@click.option("--simulate", is_flag=True, help="Do them under simnet instead, in virtual time; no network is needed.")
@common
def plan(context: Context, *, file: Path, seed: int | None, check: bool, simulate: bool) -> None:
    """Carry out a timed list of faults and actions from a file.

    It is checked whole before its first step. A step is a time and a command, such as `5s kill 3` or `2s x5 every
    1s send any any 0.1..2`. docs/faults.md has all of it.
    """
    from devnet.plan_file import read_plan, schedule

    with _naming(file):
        read = read_plan(_text(file))
        network = _simulated(context, read) if simulate else _standing(context)
        scheduled = schedule(read, network, _choose_seed(read, seed))
    if check:
        context.emit(_value(scheduled), "\n".join([_title(scheduled), *map(_line, scheduled.steps)]))
        return
    context.note(_title(scheduled))
    done: list[Done] = []

    def report(step: Done) -> None:
        done.append(step)
        context.note(_line(step.step) + (f"  ({step.told})" if step.told else "") + _lateness(step))

    if simulate:
        from cli.simulated_plan import carry_out as simulated

        _tell_simulated(context, file, scheduled, simulated(scheduled, network.size, report))
        return
    from devnet.plan_run import carry_out

    carry_out(context.folder, scheduled, report)
    seconds = sum(step.seconds for step in done)
    again = context.folder.hint(f"plan {file} --seed {scheduled.seed}")
    context.emit(
        {"seed": scheduled.seed, "steps": done},
        f"All {plural(len(done), 'step')} are done; they took {seconds:.1f} s.\nThe same again: {again}",
    )


LATE = 0.5
"""Seconds that a step may begin late before that is mentioned."""


def _lateness(step: Done) -> str:
    return f"  {step.late:.1f} s late" if step.late > LATE else ""


def _text(file: Path) -> str:
    """Return what a file holds."""
    from devnet.errors import Misused

    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise Misused(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Misused(f"{file} is no UTF-8 text.") from None


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Say in which file a line is that makes no sense."""
    from devnet.plan_words import PlanError

    try:
        yield
    except PlanError as error:
        raise PlanError(0, f"{file}: {error}") from None


def _choose_seed(read: Plan, seed: int | None) -> int:
    """Return the seed of the command, else of the file, else a new one."""
    if seed is not None:
        return seed
    return read.seed if read.seed is not None else random.SystemRandom().getrandbits(32)


SIMULATED_NODES = 5
"""Of a simulated network, where neither the file nor a network in the folder says how many."""


def _standing(context: Context) -> Expected:
    """Return the network in the folder as it is now."""
    from devnet.plan_model import Expected
    from devnet.status import require_network_up

    record = context.folder.load()
    require_network_up(context.folder, record)
    return Expected.now(record)


def _simulated(context: Context, read: Plan) -> Expected:
    """Return a new network of as many nodes as the file says, or else the network in the folder has."""
    from devnet.plan_model import Expected, network_of

    here = len(context.folder.load().nodes) if context.folder.exists() else SIMULATED_NODES
    size = read.nodes or here
    return Expected(network_of(size), range(size))


def _tell_simulated(context: Context, file: Path, scheduled: Schedule, result: Result) -> None:
    """Say how a simulated network stands in the end."""
    heights = sorted(set(result.heights.values()))
    if result.tips == 1:
        end = f"All nodes that run are on one tip, at height {heights[0]}."
    else:
        end = f"The nodes that run are on {result.tips} different tips, at heights {heights[0]} to {heights[-1]}."
    again = context.folder.hint(f"plan {file} --seed {scheduled.seed} --simulate")
    context.emit(
        {
            "seed": scheduled.seed,
            "steps": result.done,
            "seconds": round(result.seconds, 3),
            "heights": result.heights,
            "tips": result.tips,
            "digest": result.digest,
        },
        f"All {plural(len(result.done), 'step')} are done, in {result.seconds:.1f} simulated seconds. {end}\n"
        f"Its history is {result.digest[:16]}…; the same again, to the byte: {again}",
    )


def _title(scheduled: Schedule) -> str:
    return f"{plural(len(scheduled.steps), 'step')} in {scheduled.seconds:g} s, from seed {scheduled.seed}:"


def _line(step: Step) -> str:
    return f"{step.at_ms / 1_000:8.1f} s  {step.text}"


def _value(scheduled: Schedule) -> dict[str, object]:
    return {"seed": scheduled.seed, "steps": scheduled.steps}


COMMANDS = (plan,)
