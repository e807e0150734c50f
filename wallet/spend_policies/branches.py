"""The branches of a spend policy: each way in which its coins can be spent, as one list of demands.

A tree of thresholds says it all, and nobody reads it. Here it is taken apart: an "or" gives several
branches, an "and" joins the demands of its children, and keys that stand side by side in a threshold
stay together, so that two of three keys are one branch and not three.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations, islice
from typing import NamedTuple

from consensus.spend_policy import Leaf, walk
from consensus.types import AfterHeight, AfterTime, Key, LockId, Older, Opaque, Pays, Policy, Preimage, Threshold

MAX_BRANCHES = 64
"""Of one policy, that are looked at. The largest policy has millions; a person reads a dozen."""


class KeyGroup(NamedTuple):
    """So many signatures of these keys."""

    needed: int
    keys: tuple[bytes, ...]


class Branch(NamedTuple):
    """One way to spend: all of this must hold."""

    groups: tuple[KeyGroup, ...] = ()
    hashes: tuple[bytes, ...] = ()
    """SHA-256 of each preimage that must be shown."""
    after_height: int = 0
    """The spend can be in a block of this height, or later; 0 asks for nothing."""
    after_time: int = 0
    """The median time before the block must be this, in UNIX seconds, or later; 0 asks for nothing."""
    older: int = 0
    """Blocks that the coin must be old; 0 asks for nothing."""
    pays: tuple[LockId, ...] = ()
    """Each coin must go whole to this lock."""
    hidden: tuple[LockId, ...] = ()
    """Branches that the policy names by their ids only: what they demand is not known here."""

    @property
    def signatures(self) -> int:
        """How many it takes."""
        return sum(group.needed for group in self.groups)

    @property
    def keys(self) -> tuple[bytes, ...]:
        """All keys that may sign, in order, each once."""
        return tuple(dict.fromkeys(key for group in self.groups for key in group.keys))

    def joined(self, other: Branch) -> Branch:
        """Return what demands both."""
        return Branch(
            self.groups + other.groups,
            _once(self.hashes + other.hashes),
            max(self.after_height, other.after_height),
            max(self.after_time, other.after_time),
            max(self.older, other.older),
            _once(self.pays + other.pays),
            _once(self.hidden + other.hidden),
        )

    def asks_for(self, leaf: Leaf) -> bool:
        """Tell whether a leaf is part of this branch, or asks for no more than it."""
        match leaf:
            case Key(key):
                return key in self.keys
            case Preimage(digest):
                return digest in self.hashes
            case AfterHeight(height):
                return height <= self.after_height
            case AfterTime(time):
                return time <= self.after_time
            case Older(blocks):
                return blocks <= self.older
            case Pays(lock):
                return lock in self.pays

    def signers(self, having: Collection[bytes] | None = None) -> tuple[bytes, ...]:
        """Return as many of the keys in `having` as the groups can take, each once: no key may sign twice in one spend.

        Args:
            having: who signs, or has signed; None for all keys.

        Returns:
            As many keys as `signatures`, if they are enough.
        """
        seat_of: dict[bytes, int] = {}
        seats = [group.keys for group in self.groups for _ in range(group.needed)]

        def place(seat: int, tried: set[bytes]) -> bool:
            # Kuhn's matching: at most 64 seats and 64 keys.
            for key in seats[seat]:
                if key not in tried and (having is None or key in having):
                    tried.add(key)
                    if key not in seat_of or place(seat_of[key], tried):
                        seat_of[key] = seat
                        return True
            return False

        for seat in range(len(seats)):
            place(seat, set())
        return tuple(seat_of)

    def demands_no_less_than(self, other: Branch) -> bool:
        """Tell whether whoever can spend by this branch can spend by the other, which asks for no more."""
        return (
            self.signatures >= other.signatures
            and all(self._surely_of(group.keys) >= group.needed for group in other.groups)
            and set(other.hashes) <= set(self.hashes)
            and other.after_height <= self.after_height
            and other.after_time <= self.after_time
            and other.older <= self.older
            and set(other.pays) <= set(self.pays)
            and set(other.hidden) <= set(self.hidden)
        )

    def _surely_of(self, keys: tuple[bytes, ...]) -> int:
        """Return how many of these keys sign, whichever keys each group takes."""
        return sum(max(0, group.needed - len(set(group.keys) - set(keys))) for group in self.groups)


def _once(items: tuple[bytes, ...]) -> tuple[LockId, ...]:
    return tuple(dict.fromkeys(LockId(item) for item in items))


class Branches(NamedTuple):
    """What `branches_of` found."""

    all: tuple[Branch, ...]
    complete: bool
    """False: there are more than `MAX_BRANCHES`."""


def branches_of(policy: Policy) -> Branches:
    """Take a policy apart, in the order in which it is written. `check_policy` must have passed."""
    found = list(islice(_ways(policy), MAX_BRANCHES + 1))
    return Branches(tuple(dict.fromkeys(found[:MAX_BRANCHES])), len(found) <= MAX_BRANCHES)


def _ways(policy: Policy) -> Iterator[Branch]:
    match policy:
        case Key(key):
            yield Branch(groups=(KeyGroup(1, (key,)),))
        case Preimage(digest):
            yield Branch(hashes=(digest,))
        case AfterHeight(height):
            yield Branch(after_height=height)
        case AfterTime(time):
            yield Branch(after_time=time)
        case Older(blocks):
            yield Branch(older=blocks)
        case Pays(lock):
            yield Branch(pays=(lock,))
        case Opaque(lock):
            yield Branch(hidden=(lock,))
        case Threshold(k, children):
            yield from _threshold_ways(k, children)


def _threshold_ways(k: int, children: Sequence[Policy]) -> Iterator[Branch]:
    keys = tuple([child.key for child in children if isinstance(child, Key)])
    if k == 1 and len(keys) < len(children):
        for child in children:
            yield from _ways(child)
        return
    others = [child for child in children if not isinstance(child, Key)]
    for signing in range(min(k, len(keys)), -1, -1):
        group = Branch(groups=(KeyGroup(signing, keys),)) if signing else Branch()
        # A group of which all must sign reads better one by one.
        if signing == len(keys):
            group = Branch(groups=tuple([KeyGroup(1, (key,)) for key in keys]))
        for chosen in combinations(others, k - signing):
            for rest in _together(chosen):
                yield group.joined(rest)


def _together(children: Sequence[Policy]) -> Iterator[Branch]:
    if not children:
        yield Branch()
        return
    for first in _ways(children[0]):
        for rest in _together(children[1:]):
            yield first.joined(rest)


def keys_of(policy: Policy) -> tuple[bytes, ...]:
    """Return all keys that stand in a policy, each once, in order."""
    return tuple(dict.fromkeys(node.key for node in walk(policy) if isinstance(node, Key)))


def pays_of(policy: Policy) -> tuple[LockId, ...]:
    """Return all locks that a policy lets its coins go to, each once, in order."""
    return tuple(dict.fromkeys(node.lock for node in walk(policy) if isinstance(node, Pays)))
