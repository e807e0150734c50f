"""Telling a node what trouble it is in: whom to refuse, which of its lines are bad, how wrong its clock is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from devnet.calls import Calls
from devnet.faults import blocked_peers
from devnet.folder import NetworkRecord, NodeRecord
from devnet.lines import conditions_of
from p2p.link_conditions import LinkConditions


def tell_changes(calls: Calls, before: NetworkRecord, after: NetworkRecord, number: int) -> None:
    """Tell one node what of its faults is different.

    Raises:
        Unavailable, CallRefused: it did not take all of it.
    """
    node = after.node(number)
    if blocked_peers(before, number) != (blocked := blocked_peers(after, number)):
        calls.call(node, "setpartition", blocked)
    if conditions_of(before, number) != (conditions := conditions_of(after, number)):
        calls.call(node, "setlinkconditions", conditions)
    if before.node(number).skew != node.skew:
        calls.call(node, "setclockskew", node.skew)


class Heard(NamedTuple):
    """What nodes say of their faults, whoever told them: a command of ours, or a person by `dure rpc`."""

    refused: dict[int, list[str]]
    """For each node the addresses that it refuses."""
    lines: int
    """How many lines are bad, each direction counted."""
    clocks: tuple[int, ...]
    """The nodes whose clocks are wrong."""

    @property
    def is_any(self) -> bool:
        """Whether there is a fault at all."""
        return bool(self.lines or self.clocks or any(self.refused.values()))


def hear(calls: Calls, nodes: Sequence[NodeRecord]) -> Heard:
    """Ask running nodes, all at once, for their faults.

    Raises:
        Unavailable, CallRefused: one did not answer.
    """
    refused = calls.of_each(nodes, lambda node: calls.ask(node, list[str], "getpartition"))
    lines = calls.of_each(nodes, lambda node: calls.ask(node, dict[str, LinkConditions], "getlinkconditions"))
    skews = calls.of_each(nodes, lambda node: calls.ask(node, int, "getclockskew"))
    return Heard(
        {node.id: addresses for node, addresses in zip(nodes, refused, strict=True)},
        sum(map(len, lines)),
        tuple(node.id for node, skew in zip(nodes, skews, strict=True) if skew),
    )


def tell_all(calls: Calls, record: NetworkRecord, number: int) -> None:
    """Tell one node all its faults, whatever it believes: they may have changed while it was down.

    Raises:
        Unavailable, CallRefused: it did not take all of it.
    """
    node = record.node(number)
    calls.call(node, "setpartition", blocked_peers(record, number))
    calls.call(node, "setlinkconditions", conditions_of(record, number))
    calls.call(node, "setclockskew", node.skew)
