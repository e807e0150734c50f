"""What a plan does, step by step, with nothing left to chance: what `devnet.plan_file` makes, and others carry out."""

from __future__ import annotations

from typing import Literal

import msgspec

from devnet.lines import Pair
from p2p.link_conditions import LinkConditions

ProcessVerb = Literal["kill", "stop", "start", "pause", "resume"]


class Partition(msgspec.Struct, frozen=True, tag=True):
    """Cut the network."""

    groups: tuple[tuple[int, ...], ...]


class Heal(msgspec.Struct, frozen=True, tag=True):
    """Join it, mend its lines, set its clocks right."""


class ChangeLines(msgspec.Struct, frozen=True, tag=True):
    """Make lines bad, or good again; what is not named about them stays."""

    lines: tuple[Pair, ...]
    fields: dict[str, int | None]
    """Fields of `LinkConditions`, and what they become."""

    def apply(self, conditions: LinkConditions) -> LinkConditions:
        """Return what a line becomes."""
        return msgspec.structs.replace(conditions, **self.fields)


class Skew(msgspec.Struct, frozen=True, tag=True):
    """Set clocks wrong, or right again."""

    nodes: tuple[int, ...]
    seconds: int


class Process(msgspec.Struct, frozen=True, tag=True):
    """Do something to the processes of nodes."""

    verb: ProcessVerb
    nodes: tuple[int, ...]


class Mine(msgspec.Struct, frozen=True, tag=True):
    """Find blocks."""

    node: int
    blocks: int


class Send(msgspec.Struct, frozen=True, tag=True):
    """Pay."""

    sender: int
    receiver: int
    grain: int


class Reorg(msgspec.Struct, frozen=True, tag=True):
    """Undo the newest blocks."""

    depth: int
    """At least; as deep as the payment is that is dropped."""
    drop_last: bool
    """Keep the newest payment of this plan out for good."""
    node: int | None
    """Who builds the branch."""


class Agree(msgspec.Struct, frozen=True, tag=True):
    """Wait until all running nodes are on one tip; the plan fails if they are not in time."""

    within_ms: int


Action = Partition | Heal | ChangeLines | Skew | Process | Mine | Send | Reorg | Agree


class Step(msgspec.Struct, frozen=True):
    """One step of a plan."""

    at_ms: int
    """When it is due, counted from the start of the plan."""
    line: int
    """Of the file, from 1."""
    text: str
    """In words, with nothing left to chance."""
    action: Action


class Schedule(msgspec.Struct, frozen=True):
    """A whole plan."""

    seed: int
    """What was left to chance was drawn from it: the same file and seed give the same steps."""
    steps: tuple[Step, ...]
    """In the order in which they are due; at one moment in the order of the file."""

    @property
    def seconds(self) -> float:
        """When the last step is due."""
        return self.steps[-1].at_ms / 1_000 if self.steps else 0.0
