"""What is added to partially signed transactions on their way, and how several of one are put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from consensus.spend_policy import policy_id
from consensus.types import Opaque, Policy, Threshold
from wallet.psdt import Part, PartName, Psdt, PsdtError, PsdtRule, check_part_policy


def with_policy(psdt: Psdt, policy: Policy) -> Psdt:
    """Add what is known of a policy to the parts of its lock; what is hidden on one side is taken from the other.

    Raises:
        PsdtError: `POLICY`: no coin lies at it, and it has nothing to approve.
    """
    lock = policy_id(policy)
    check_part_policy(lock, policy)
    if all(part.lock != lock for part in psdt.parts):
        raise PsdtError(PsdtRule.POLICY, "the transaction neither spends from the policy nor needs its approval")
    parts = [_revealing(part, policy) if part.lock == lock else part for part in psdt.parts]
    return msgspec.structs.replace(psdt, parts=tuple(parts))


def with_satisfactions(
    psdt: Psdt, name: PartName, signatures: Mapping[bytes, bytes], preimages: Mapping[bytes, bytes]
) -> Psdt:
    """Add signatures by key, and preimages by hash, to the parts of a name; earlier ones stay."""
    parts = [
        msgspec.structs.replace(
            part,
            signatures=tuple(sorted({**signatures, **dict(part.signatures)}.items())),
            preimages=tuple(sorted({**preimages, **dict(part.preimages)}.items())),
        )
        if part.name == name
        else part
        for part in psdt.parts
    ]
    return msgspec.structs.replace(psdt, parts=tuple(parts))


def combine(psdts: Sequence[Psdt]) -> Psdt:
    """Return one file with all that is in several of the same transaction.

    Raises:
        PsdtError: `DIFFERENT`: they are not of the same transaction, or differ in what they say it spends.
    """
    first, *others = psdts
    for other in others:
        if (other.genesis, other.core, other.spent) != (first.genesis, first.core, first.spent):
            raise PsdtError(PsdtRule.DIFFERENT, "the files are not of the same transaction")
        if [part.name for part in other.parts] != [part.name for part in first.parts]:
            raise PsdtError(PsdtRule.DIFFERENT, "the files ask for different approvals")
        for part in other.parts:
            if part.policy is not None:
                first = with_policy(first, part.policy)
            first = with_satisfactions(first, part.name, dict(part.signatures), dict(part.preimages))
    return first


def _revealing(part: Part, policy: Policy) -> Part:
    shown = policy if part.policy is None else _merged(part.policy, policy)
    return msgspec.structs.replace(part, policy=shown)


def _merged(one: Policy, other: Policy) -> Policy:
    """Return a policy that shows what either shows. Both have the same id, so where both show, they agree."""
    if isinstance(one, Opaque):
        return other
    if not isinstance(one, Threshold) or not isinstance(other, Threshold):
        return one
    children = [_merged(mine, theirs) for mine, theirs in zip(one.children, other.children, strict=True)]
    return Threshold(one.k, tuple(children))
