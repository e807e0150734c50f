"""What goes wrong in a simulation: each says what to look at."""

from __future__ import annotations


class SimulationError(Exception):
    """The story cannot go on."""


class Deadlock(SimulationError):
    """Every task waits and no timer is set: nothing would ever happen again."""


class Runaway(SimulationError):
    """More turns or more virtual time than the story may take: something goes on for ever."""


class NodeDown(SimulationError):
    """What a node that runs was asked for, and it does not."""


class NotReached(SimulationError):
    """What was waited for did not become true in time."""


class InvariantBroken(SimulationError):
    """Something that must hold at every moment does not: a bug in the node, or in the model of it."""
