"""A policy in words: one plain sentence for each branch, its heights and times seen from where the chain is now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from consensus.types import LockId
from wallet.spend_policies.branches import Branch, KeyGroup

KeyName = Callable[[bytes], str]
"""Returns what to call the owner of a key."""
LockName = Callable[[LockId], str]
"""Returns what to call a lock: the name under which it is remembered, or its address."""


class Now(NamedTuple):
    """Where the chain is."""

    height: int
    """Of the tip."""
    median_time: int
    """Of the tip, UNIX seconds: what the time locks of the next block are held against."""
    spacing: int
    """Ideal seconds between blocks."""


def key_text(key: bytes) -> str:
    """Return a key that nobody has a name for, short."""
    return f"key {key.hex()[:10]}…"


def branch_sentence(
    branch: Branch, key_name: KeyName, lock_name: LockName, now: Now | None = None, *, verb: str = "spend"
) -> str:
    """Return the sentence.

    Args:
        now: to say how far away a height or a time is; None leaves that out.
        verb: what it lets them do.
    """
    if branch.hidden:
        ids = join([f"{lock.hex()[:10]}…" for lock in branch.hidden])
        return (
            f"There is more behind {ids}: a branch that is hidden here, by its id only. Nobody can tell what it asks."
        )
    who = join([_group(group, key_name) for group in branch.groups]) or "Anybody"
    together = " together" if branch.signatures > 1 and len(branch.groups) > 1 else ""
    clauses = [*_when(branch, now), *_secrets(branch.hashes), *_destination(branch.pays, lock_name)]
    comma = "," if clauses and clauses[0].startswith("but") else ""
    sentence = f"{who} can {verb}{together}{comma} {', '.join(clauses) or 'at any time'}."
    return sentence[:1].upper() + sentence[1:]


def _group(group: KeyGroup, key_name: KeyName) -> str:
    names = [key_name(key) for key in group.keys]
    if group.needed == len(names):
        return join(names)
    if len(names) == 2:
        return f"either of {join(names)}"
    return f"any {group.needed} of {join(names)}"


def _secrets(hashes: Sequence[bytes]) -> list[str]:
    return [f"showing the secret whose SHA-256 is {digest.hex()[:10]}…" for digest in hashes]


def _destination(locks: Sequence[LockId], lock_name: LockName) -> list[str]:
    return [f"but only whole coins, to {lock_name(lock)}, their fee paid by another coin" for lock in locks]


def _when(branch: Branch, now: Now | None) -> list[str]:
    clauses = []
    if branch.after_height:
        clauses.append(f"from block {branch.after_height:,} on{_until_height(branch.after_height, now)}")
    if branch.after_time:
        clauses.append(f"from {clock_text(branch.after_time)} on{_until_time(branch.after_time, now)}")
    if branch.older:
        about = "" if now is None else f", about {duration_text(branch.older * now.spacing)}"
        clauses.append(f"once a coin is {plural(branch.older, 'block')} old{about}")
    return clauses


def _until_height(height: int, now: Now | None) -> str:
    if now is None:
        return ""
    if height <= now.height + 1:
        return " (now: the next block will do)"
    away = height - now.height - 1
    return f" (in {plural(away, 'block')}, about {duration_text(away * now.spacing)})"


def _until_time(time: int, now: Now | None) -> str:
    if now is None:
        return ""
    if time <= now.median_time:
        return " (now: the chain's clock is past it)"
    return f" (in about {duration_text(time - now.median_time)} by the chain's clock)"


def withdrawal_sentence(vault: str, amount: str, free_at: int | None, now: Now) -> str:
    """Return the alarm of a vault.

    Args:
        amount: in DURE, as people write it.
        free_at: the height of the first block in which whoever started it can take it; None while it is in no block.
    """
    begun = f"{amount} DURE are leaving {vault}"
    if free_at is None:
        return f"{begun}: the withdrawal is in no block yet. If it is not yours, take it back with the cold key."
    away = free_at - now.height - 1
    if away <= 0:
        return f"{begun}, and can be taken from the next block on. If it is not yours, be quick with the cold key."
    left = f"for {plural(away, 'block')} more, about {duration_text(away * now.spacing)}"
    return f"{begun}. If it is not yours, only the cold key can take it back {left}: until block {free_at:,}."


def clock_text(time: int) -> str:
    """Return UNIX seconds as a date and a time of day, UTC."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")


_UNITS = (("year", 31_557_600), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def duration_text(seconds: int) -> str:
    """Return a duration in its largest unit that is at least two of them, such as 36 hours."""
    for unit, size in _UNITS:
        if seconds >= 2 * size or unit == "second":
            return plural(round(seconds / size), unit)
    raise ValueError("a duration is not negative")


def plural(count: int, noun: str) -> str:
    """Return "1 block", "2 blocks", "1,000 blocks"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def join(items: Sequence[str], word: str = "and") -> str:
    """Return "a", "a and b", "a, b and c"."""
    return f" {word} ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))
