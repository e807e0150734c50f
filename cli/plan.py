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
    from devnet.plan_file import Plan
    from devnet.plan_run import Done
    from devnet.plan_steps import Schedule, Step


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--seed", type=click.IntRange(min=0), help="Draw what is left to chance from this. [default: the file's]")
@click.option("--check", is_flag=True, help="Show the steps, and do none of them.")
@common
def plan(context: Context, *, file: Path, seed: int | None, check: bool) -> None:
    """Carry out a plan: a timed list of faults and actions, checked whole before its first step.

    A step is a time and a command, such as `5s kill 3` or `2s x5 every 1s send any any 0.1..2`. docs/faults.md has all
    of it.
    """
    from devnet.plan_file import read_plan
    from devnet.plan_run import carry_out

    with _naming(file):
        read = read_plan(_text(file))
        scheduled = _schedule(context, read, _choose_seed(read, seed))
    if check:
        context.emit(_value(scheduled), "\n".join([_title(scheduled), *map(_line, scheduled.steps)]))
        return
    context.note(_title(scheduled))
    done: list[Done] = []

    def report(step: Done) -> None:
        done.append(step)
        context.note(_line(step.step) + (f"  ({step.told})" if step.told else "") + _lateness(step))

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
    from devnet.plan_file import PlanError

    try:
        yield
    except PlanError as error:
        raise PlanError(0, f"{file}: {error}") from None


def _choose_seed(read: Plan, seed: int | None) -> int:
    """Return the seed of the command, else of the file, else a new one."""
    if seed is not None:
        return seed
    return read.seed if read.seed is not None else random.SystemRandom().getrandbits(32)


def _schedule(context: Context, read: Plan, seed: int) -> Schedule:
    """Return what is to be done on the network in the folder."""
    from devnet.plan_file import schedule
    from devnet.plan_model import Expected
    from devnet.status import require_network_up

    record = context.folder.load()
    require_network_up(context.folder, record)
    return schedule(read, Expected.now(record), seed)


def _title(scheduled: Schedule) -> str:
    return f"{plural(len(scheduled.steps), 'step')} in {scheduled.seconds:g} s, from seed {scheduled.seed}:"


def _line(step: Step) -> str:
    return f"{step.at_ms / 1_000:8.1f} s  {step.text}"


def _value(scheduled: Schedule) -> dict[str, object]:
    return {"seed": scheduled.seed, "steps": scheduled.steps}


COMMANDS = (plan,)
