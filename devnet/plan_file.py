"""A plan as people write it: a timed list of faults and actions, read whole and checked whole before its first step.

    seed 7                                  # what is left to chance is drawn from it
    nodes 5                                 # the network it is for

    0s          partition "0 1 | 2 3 4"
    1s          mine 1 2
    1s x5 every 2s    send any any 0.1..2
    4s..8s      kill any
    10s         start any
    12s         heal
    13s         agree 60s

See docs/faults.md for the grammar.
"""

from __future__ import annotations

import random
import re
import shlex
from collections.abc import Sequence
from typing import Final, NamedTuple

from devnet.errors import Misused
from devnet.plan_model import Expected
from devnet.plan_steps import Schedule, Step
from devnet.plan_words import VERBS, Arguments, PlanError, describe, is_number, read_action
from devnet.units import parse_duration

MAX_BYTES: Final = 1024 * 1024
"""Of a file: thirty thousand lines."""
MAX_STEPS: Final = 10_000
"""Of a plan, repetitions counted: a day of one every nine seconds."""
MAX_TIME_MS: Final = 30 * 24 * 3_600_000
"""When the last step may be due: in simulated time a month is an afternoon."""
MAX_SEED: Final = 2**63 - 1


class _Entry(NamedTuple):
    """A line that asks for steps."""

    line: int
    earliest: int
    latest: int
    """Both in milliseconds; it is drawn between them when the step is due."""
    times: int
    every: int
    """Milliseconds from one repetition to the next."""
    words: tuple[str, ...]


class Plan(NamedTuple):
    """A file that was read; nothing is drawn yet."""

    seed: int | None
    nodes: int | None
    entries: tuple[_Entry, ...]


def read_plan(text: str) -> Plan:
    """Read a file's lines.

    Raises:
        PlanError: a line that is none; or too many steps.
    """
    if len(text.encode("utf-8", "surrogateescape")) > MAX_BYTES:
        raise PlanError(0, f"a plan has at most {MAX_BYTES} bytes")
    seed = nodes = None
    entries = []
    for line, written in enumerate(text.splitlines(), 1):
        words = _split(line, written)
        if not words:
            continue
        if words[0] == "seed":
            seed = _setting(line, words, 0, MAX_SEED, seed)
        elif words[0] == "nodes":
            nodes = _setting(line, words, 1, 1_000, nodes)
        else:
            entries.append(_read_entry(line, words))
    if not entries:
        raise PlanError(0, "there is no step in this plan")
    if sum(entry.times for entry in entries) > MAX_STEPS:
        raise PlanError(0, f"a plan has at most {MAX_STEPS} steps, repetitions counted")
    return Plan(seed, nodes, tuple(entries))


def _split(line: int, written: str) -> list[str]:
    try:
        return shlex.split(written, comments=True)
    except ValueError as error:
        raise PlanError(line, f"it cannot be read: {str(error).lower()}") from None


def _setting(line: int, words: Sequence[str], least: int, most: int, before: int | None) -> int:
    if before is not None:
        raise PlanError(line, f"{words[0]} is set twice")
    if len(words) != 2 or not is_number(words[1]) or not least <= int(words[1]) <= most:
        raise PlanError(line, f"write {words[0]} and a number from {least} to {most}")
    return int(words[1])


def _read_entry(line: int, words: list[str]) -> _Entry:
    def duration(text: str) -> int:
        return 0 if text == "0" else parse_duration(text)

    try:
        first, _, last = words[0].partition("..")
        earliest, latest = duration(first), duration(last or first)
    except Misused as error:
        raise PlanError(
            line, f"it begins with a time, such as 10s or 5s..8s, or it is `seed` or `nodes`: {error}"
        ) from None
    rest = words[1:]
    count, every = 1, 0
    if rest and re.fullmatch(r"x[0-9]{1,6}", rest[0]):
        count, rest = int(rest[0][1:]), rest[1:]
        if rest[:1] == ["every"]:
            if len(rest) < 2:
                raise PlanError(line, "after `every` comes a duration, such as 2s")
            try:
                every, rest = duration(rest[1]), rest[2:]
            except Misused as error:
                raise PlanError(line, str(error)) from None
    if latest < earliest:
        raise PlanError(line, f"{words[0]} ends before it begins")
    if latest + every * max(0, count - 1) > MAX_TIME_MS:
        raise PlanError(line, f"it is due later than {MAX_TIME_MS // 86_400_000} days after the start")
    if not count:
        raise PlanError(line, "x0 is no step")
    if not rest:
        raise PlanError(line, f"after the time comes what is done: one of {', '.join(VERBS)}")
    return _Entry(line, earliest, latest, count, every, tuple(rest))


def schedule(plan: Plan, network: Expected, seed: int) -> Schedule:
    """Draw what is left to chance, and check every step against what the network will be like by then.

    Args:
        network: as it is at the start; it is moved to what it will be at the end.
        seed: the same again gives the same steps.

    Raises:
        PlanError: a step that makes no sense.
    """
    if plan.nodes is not None and plan.nodes != network.size:
        raise PlanError(0, f"the plan is for {plan.nodes} nodes, and this network has {network.size}")
    rng = random.Random(f"plan {seed}")
    due = []
    for entry in plan.entries:
        for again in range(entry.times):
            at = rng.randint(entry.earliest, entry.latest) + again * entry.every
            due.append((at, entry.line, again, entry))
    steps = []
    for at, line, _, entry in sorted(due, key=lambda item: item[:3]):
        arguments = Arguments(line, entry.words, rng, network)
        try:
            action = read_action(arguments)
            network.check_and_apply(action)
        except PlanError:
            raise
        except Misused as error:
            raise PlanError(line, str(error)) from None
        steps.append(Step(at, line, describe(action), action))
    return Schedule(seed, tuple(steps))
