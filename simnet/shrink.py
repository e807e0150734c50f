"""From a plan that fails to a smaller one that fails in the same way (delta debugging, Zeller and Hildebrandt 2002)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from simnet.swarm_plan import Plan, Step

MAX_TRIES = 400
"""Runs that a search may take: some minutes."""


def shrink(plan: Plan, fails: Callable[[Plan], bool], max_tries: int = MAX_TRIES) -> Plan:
    """Return a plan of fewer steps, and perhaps fewer nodes, for which `fails` is true; `plan` itself if there is none.

    Args:
        fails: whether a plan fails in the way that is looked for. It does for `plan`.
    """
    tries = 0

    def still_fails(candidate: Plan) -> bool:
        nonlocal tries
        tries += 1
        return tries <= max_tries and fails(candidate)

    plan = _fewer_steps(plan, still_fails)
    smallest = plan
    for nodes in range(2, plan.nodes):
        candidate = msgspec.structs.replace(plan, nodes=nodes, miners=plan.miners[:nodes])
        if any(candidate.miners) and still_fails(candidate):
            smallest = _fewer_steps(candidate, still_fails)
            break
    return smallest


def _fewer_steps(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """Leave out ever smaller pieces, as long as what is left fails."""
    steps: list[Step] = list(plan.steps)
    size = max(1, len(steps) // 2)
    while steps:
        start, left_out = 0, False
        while start < len(steps):
            fewer = steps[:start] + steps[start + size :]
            if fails(msgspec.structs.replace(plan, steps=tuple(fewer))):
                steps, left_out = fewer, True
            else:
                start += size
        if size == 1 and not left_out:
            break
        size = max(1, size // 2)
    return msgspec.structs.replace(plan, steps=tuple(steps))
