"""Which branches a spender reveals, where the first choice would let one key sign twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from consensus.spend_policy import Leaf, policy_id, reveal, walk
from consensus.types import Key, Opaque, Policy, Threshold

MAX_STEPS = 10_000
"""Of the search: some 10 ms. Only policies that name one key in several places of a branch come this far."""

_Found = tuple[Policy, frozenset[bytes]]


def reveal_distinct(policy: Policy, holds: Callable[[Leaf], bool]) -> Policy | None:
    """Return the policy with just enough revealed to be spent, no key twice; None if that cannot be (found).

    Args:
        holds: tells of a leaf whether the spender can satisfy it.
    """
    shown = reveal(policy, holds)
    if shown is None or _is_distinct(shown):
        return shown
    search = _Search(holds)
    found = next(search.options(policy, frozenset()), None)
    return None if found is None else found[0]


def _is_distinct(shown: Policy) -> bool:
    keys = [node.key for node in walk(shown) if isinstance(node, Key)]
    return len(set(keys)) == len(keys)


class _Search:
    """Depth first: each leaf takes its key from those that come after it."""

    def __init__(self, holds: Callable[[Leaf], bool]) -> None:
        self._holds = holds
        self._steps = 0

    def options(self, policy: Policy, used: frozenset[bytes]) -> Iterator[_Found]:
        self._steps += 1
        if self._steps > MAX_STEPS or isinstance(policy, Opaque):
            return
        if isinstance(policy, Threshold):
            for children, taken in self._children(policy.children, policy.k, used):
                yield Threshold(policy.k, tuple(children)), taken
        elif self._holds(policy) and not (isinstance(policy, Key) and policy.key in used):
            yield policy, used | {policy.key} if isinstance(policy, Key) else used

    def _children(
        self, children: Sequence[Policy], wanted: int, used: frozenset[bytes]
    ) -> Iterator[tuple[list[Policy], frozenset[bytes]]]:
        """Yield the ways to reveal exactly `wanted` of the children."""
        if len(children) < wanted or self._steps > MAX_STEPS:
            return
        if not children:
            yield [], used
            return
        first, rest = children[0], children[1:]
        if wanted:
            for shown, taken in self.options(first, used):
                for others, in_all in self._children(rest, wanted - 1, taken):
                    yield [shown, *others], in_all
        for others, in_all in self._children(rest, wanted, used):
            yield [Opaque(policy_id(first)), *others], in_all
