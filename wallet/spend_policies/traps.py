"""What is wrong with a policy before it is paid: what would lock coins up, give them away, or is no use.

The rules let anybody pay to any lock. These checks are the wallet's: an error is refused, a warning is told.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import coincurve

from consensus.spend_policy import walk
from consensus.types import AfterHeight, AfterTime, Key, Policy, Threshold
from wallet.spend_policies.branches import MAX_BRANCHES, Branch, branches_of, keys_of
from wallet.spend_policies.words import Now, clock_text, key_text

LOOKS_LIKE_A_TIME = 500_000_000
"""A height at or above it is surely a time, and a time below it a height (Bitcoin's lock times split there)."""
FAR_AWAY_BLOCKS = 20 * 525_960
"""Twenty years at one block a minute: a delay that is likely a slip."""


class Trap(StrEnum):
    """Every kind."""

    NOT_A_POINT = "not-a-point"
    """A key that no private key belongs to: a typing error."""
    KEY_TWICE = "key-twice"
    """A branch that takes more different keys than it names: no key may sign twice in one spend."""
    NO_SIGNATURE = "no-signature"
    """A branch that anybody can spend by; no node would relay it, and a miner could take the coin."""
    TWO_DESTINATIONS = "two-destinations"
    """A branch that wants each coin to go to two places."""
    HEIGHT_OR_TIME = "height-or-time"
    FAR_AWAY = "far-away"
    POINTLESS = "pointless"
    """A branch that asks for all that another asks for, and more."""
    HIDDEN = "hidden"
    MANY_BRANCHES = "many-branches"


class Finding(NamedTuple):
    """One trap in one policy."""

    trap: Trap
    fatal: bool
    """Whether the policy must not be paid; else it is only odd."""
    sentence: str


def find_traps(policy: Policy, now: Now | None = None) -> list[Finding]:
    """Return what is wrong with a policy that `check_policy` passed, fatal findings first.

    A branch that nobody can use is fatal even beside a good one: whoever wrote it counts on it.
    """
    branches = branches_of(policy)
    found = [
        Finding(Trap.NOT_A_POINT, True, f"{key_text(key)} is no point of the curve: nobody can have its private key.")
        for key in keys_of(policy)
        if not _is_point(key)
    ]
    for number, branch in enumerate(branches.all, 1):
        found += _branch_findings(number, branch, now)
    found += _threshold_findings(policy)
    found += _pointless(branches.all)
    if not branches.complete:
        sentence = f"There are more than {MAX_BRANCHES} ways to spend it; only so many were looked at."
        found.append(Finding(Trap.MANY_BRANCHES, False, sentence))
    return sorted(dict.fromkeys(found), key=lambda finding: not finding.fatal)


def _is_point(key: bytes) -> bool:
    try:
        coincurve.PublicKey(key)
    except ValueError:
        return False
    return True


def _threshold_findings(policy: Policy) -> list[Finding]:
    """Return the keys that stand twice side by side: one owner would count as two, and no spend takes both."""
    found = []
    for node in walk(policy):
        keys = [child.key for child in node.children if isinstance(child, Key)] if isinstance(node, Threshold) else []
        for key in dict.fromkeys(key for key in keys if keys.count(key) > 1):
            sentence = f"{key_text(key)} stands twice in one threshold, but no key may sign twice in one spend."
            found.append(Finding(Trap.KEY_TWICE, True, sentence))
    return found


def _branch_findings(number: int, branch: Branch, now: Now | None) -> list[Finding]:
    found = []
    name = f"Branch {number}"
    if branch.hidden:
        return [Finding(Trap.HIDDEN, False, f"{name} is hidden: who can spend by it, this policy does not say.")]
    if not branch.signatures:
        found.append(Finding(Trap.NO_SIGNATURE, True, f"{name} needs no signature: anybody could take the coins."))
    if len(branch.signers()) < branch.signatures:
        sentence = f"{name} cannot be used: it takes {branch.signatures} different keys, and no key may sign twice."
        found.append(Finding(Trap.KEY_TWICE, True, sentence))
    if len(branch.pays) > 1:
        sentence = f"{name} cannot be used: each coin would have to go whole to {len(branch.pays)} places."
        found.append(Finding(Trap.TWO_DESTINATIONS, True, sentence))
    return found + _moment_findings(name, branch, now)


def _moment_findings(name: str, branch: Branch, now: Now | None) -> list[Finding]:
    found = []
    height, time = AfterHeight(branch.after_height), AfterTime(branch.after_time)
    if height.height >= LOOKS_LIKE_A_TIME:
        sentence = f"{name} opens at block {height.height:,}, which looks like a time ({clock_text(height.height)})."
        found.append(Finding(Trap.HEIGHT_OR_TIME, False, sentence))
    elif now is not None and height.height > now.height + FAR_AWAY_BLOCKS:
        found.append(Finding(Trap.FAR_AWAY, False, f"{name} opens only at block {height.height:,}."))
    if 0 < time.time < LOOKS_LIKE_A_TIME:
        sentence = f"{name} opens at {clock_text(time.time)}: {time.time:,} looks like a height, not like a time."
        found.append(Finding(Trap.HEIGHT_OR_TIME, False, sentence))
    if branch.older > FAR_AWAY_BLOCKS:
        found.append(Finding(Trap.FAR_AWAY, False, f"{name} takes coins that are {branch.older:,} blocks old."))
    return found


def _pointless(branches: tuple[Branch, ...]) -> list[Finding]:
    found = []
    for number, branch in enumerate(branches, 1):
        for other, easier in enumerate(branches, 1):
            twins = easier.demands_no_less_than(branch)
            if other != number and branch.demands_no_less_than(easier) and not (twins and number < other):
                sentence = f"Branch {number} is of no use: branch {other} asks for no more, and opens the same coins."
                found.append(Finding(Trap.POINTLESS, False, sentence))
                break
    return found
