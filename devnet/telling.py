"""Telling a node what trouble it is in: whom to refuse, which of its lines are bad, how wrong its clock is."""

from __future__ import annotations

from devnet.calls import Calls
from devnet.faults import blocked_peers
from devnet.folder import NetworkRecord
from devnet.lines import conditions_of


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


def tell_all(calls: Calls, record: NetworkRecord, number: int) -> None:
    """Tell one node all its faults, whatever it believes: they may have changed while it was down.

    Raises:
        Unavailable, CallRefused: it did not take all of it.
    """
    node = record.node(number)
    calls.call(node, "setpartition", blocked_peers(record, number))
    calls.call(node, "setlinkconditions", conditions_of(record, number))
    calls.call(node, "setclockskew", node.skew)
