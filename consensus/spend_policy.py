"""Spend policies: who may spend an output, and when, as a tree.

An output holds only the id of its policy. The spender reveals the policy, down to the branch that
is used: exactly k children of each threshold, the others opaque. Every revealed leaf must hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import NamedTuple

from consensus.codec import encode
from consensus.errors import ConsensusError, Rule
from consensus.hashing import tagged_hash
from consensus.sizes import SIGNATURE_SIZE
from consensus.types import (
    MAX_THRESHOLD_CHILDREN,
    PREIMAGE_SIZE,
    AfterHeight,
    AfterTime,
    Key,
    LockId,
    Older,
    Opaque,
    Pays,
    Policy,
    Preimage,
    Threshold,
    Witness,
)

MAX_POLICY_DEPTH = 4
"""Levels of a policy; a lone leaf is 1."""
MAX_POLICY_NODES = 64
"""Nodes of a policy, opaque ones counted."""
_FIELD_PRIME = (2**256 - 2**32 - 977).to_bytes(32, "big")

Leaf = Key | Preimage | AfterHeight | AfterTime | Older | Pays


def policy_id(policy: Policy) -> LockId:
    """Return the lock, 32 bytes, of a policy: the same whichever branches are revealed."""
    if type(policy) is Opaque:
        return policy.id
    if type(policy) is Threshold:
        policy = Threshold(policy.k, tuple([Opaque(policy_id(child)) for child in policy.children]))
    return LockId(tagged_hash("dure/policy", encode(policy)))


def walk(policy: Policy) -> Iterator[Policy]:
    """Yield the nodes in pre-order: a node, then its children from first to last."""
    yield policy
    if isinstance(policy, Threshold):
        for child in policy.children:
            yield from walk(child)


def check_policy(policy: Policy) -> list[Policy]:
    """Check the shape of a policy, whether or not its branches are revealed; return its nodes in pre-order.

    Raises:
        ConsensusError: `POLICY_DEPTH` or `POLICY_NODES`, whichever the walk meets first, which ends
            there: a huge policy costs no more than a large one; then `POLICY_THRESHOLD` or `POLICY_KEY`.
    """
    nodes: list[Policy] = []
    waiting = [(1, policy)]
    while waiting:
        level, node = waiting.pop()
        if level > MAX_POLICY_DEPTH:
            raise ConsensusError(Rule.POLICY_DEPTH, limit=MAX_POLICY_DEPTH)
        nodes.append(node)
        if len(nodes) > MAX_POLICY_NODES:
            raise ConsensusError(Rule.POLICY_NODES, limit=MAX_POLICY_NODES)
        if type(node) is Threshold:
            waiting += [(level + 1, child) for child in reversed(node.children)]
    for node in nodes:
        if type(node) is Threshold and not 1 <= node.k <= len(node.children) <= MAX_THRESHOLD_CHILDREN:
            raise ConsensusError(Rule.POLICY_THRESHOLD, k=node.k, n=len(node.children))
    for node in nodes:
        if type(node) is Key and not _is_compressed(node.key):
            raise ConsensusError(Rule.POLICY_KEY, key=node.key)
    return nodes


def _is_compressed(key: bytes) -> bool:
    # Whether x lies on the curve is left to the signature: a key that is no point verifies nothing.
    return 2 <= key[0] <= 3 and key[1:] < _FIELD_PRIME


def check_revealed(policy: Policy) -> list[Leaf]:
    """Check a policy as a spender reveals it; return its revealed leaves in pre-order.

    Raises:
        ConsensusError: what `check_policy` raises; then `POLICY_OPAQUE_ROOT`, `POLICY_REVEALED`
            or `POLICY_DUPLICATE_KEY`.
    """
    if isinstance(policy, Key):
        # Nearly every policy is one key: the general way below says the same, in ten times the time.
        if not _is_compressed(policy.key):
            raise ConsensusError(Rule.POLICY_KEY, key=policy.key)
        return [policy]
    nodes = check_policy(policy)
    if type(policy) is Opaque:
        raise ConsensusError(Rule.POLICY_OPAQUE_ROOT)
    for node in nodes:
        if type(node) is Threshold:
            revealed = sum([type(child) is not Opaque for child in node.children])
            if revealed != node.k:
                raise ConsensusError(Rule.POLICY_REVEALED, revealed=revealed, k=node.k)
    leaves = [node for node in nodes if not isinstance(node, (Threshold, Opaque))]
    keys = [leaf.key for leaf in leaves if type(leaf) is Key]
    if len(set(keys)) < len(keys):
        raise ConsensusError(Rule.POLICY_DUPLICATE_KEY)
    return leaves


def check_witness(witness: Witness) -> list[tuple[Leaf, bytes | None]]:
    """Check a witness by itself; return its revealed leaves, each with its satisfaction if it takes one.

    What passes is far smaller than 10,000 bytes: 63 keys and signatures are less than 7,000.

    Raises:
        ConsensusError: what `check_revealed` raises; then `SATISFACTION_COUNT`; then, leaf by leaf,
            `SATISFACTION_SIZE` or `BAD_PREIMAGE`.
    """
    policy, satisfactions = witness.policy, witness.satisfactions
    if type(policy) is Key and len(satisfactions) == 1:
        # Nearly every witness is one key's: the general way below says the same, in three times the time.
        if not _is_compressed(policy.key):
            raise ConsensusError(Rule.POLICY_KEY, key=policy.key)
        return [(policy, _sized(satisfactions[0], SIGNATURE_SIZE))]
    leaves = check_revealed(policy)
    wanted = sum([type(leaf) is Key or type(leaf) is Preimage for leaf in leaves])
    if wanted != len(satisfactions):
        raise ConsensusError(Rule.SATISFACTION_COUNT, wanted=wanted, given=len(satisfactions))
    given = iter(satisfactions)
    matched: list[tuple[Leaf, bytes | None]] = []
    for leaf in leaves:
        if type(leaf) is Key:
            matched.append((leaf, _sized(next(given), SIGNATURE_SIZE)))
        elif type(leaf) is Preimage:
            preimage = _sized(next(given), PREIMAGE_SIZE)
            if sha256(preimage).digest() != leaf.hash:
                raise ConsensusError(Rule.BAD_PREIMAGE, hash=leaf.hash)
            matched.append((leaf, preimage))
        else:
            matched.append((leaf, None))
    return matched


def _sized(satisfaction: bytes, size: int) -> bytes:
    if len(satisfaction) != size:
        raise ConsensusError(Rule.SATISFACTION_SIZE, size=len(satisfaction), wanted=size)
    return satisfaction


# For those who spend


def reveal(policy: Policy, holds: Callable[[Leaf], bool]) -> Policy | None:
    """Return the policy with just enough revealed to be spent, or None if it cannot be.

    Args:
        holds: tells of a leaf whether the spender can satisfy it.

    Of a threshold's children those that can be spent are taken from the first on; a child that
    needs fewer signatures goes before one that needs more.
    """
    if isinstance(policy, Opaque):
        return None
    if not isinstance(policy, Threshold):
        return policy if holds(policy) else None
    candidates = [(place, reveal(child, holds)) for place, child in enumerate(policy.children)]
    usable = [(witness_cost(child).signatures, place, child) for place, child in candidates if child is not None]
    chosen = {place: child for _, place, child in sorted(usable, key=lambda entry: entry[:2])[: policy.k]}
    if len(chosen) < policy.k:
        return None
    hidden = (chosen.get(place) or Opaque(policy_id(child)) for place, child in enumerate(policy.children))
    return Threshold(policy.k, tuple(hidden))


def satisfy(policy: Policy, sign: Callable[[bytes], bytes], preimages: Mapping[bytes, bytes]) -> Witness:
    """Return the witness of a revealed policy.

    Args:
        sign: gives the signature of a public key, over the lock's digest.
        preimages: by their SHA-256.

    Raises:
        KeyError: if a preimage is missing.
    """
    satisfactions: list[bytes] = []
    for leaf in check_revealed(policy):
        if isinstance(leaf, Key):
            satisfactions.append(sign(leaf.key))
        elif isinstance(leaf, Preimage):
            satisfactions.append(preimages[leaf.hash])
    return Witness(policy, tuple(satisfactions))


class WitnessCost(NamedTuple):
    """What spending by a revealed policy costs."""

    signatures: int
    """To verify; a block holds 20,000."""
    size: int
    """Of the encoded witness, in bytes."""


def witness_cost(policy: Policy) -> WitnessCost:
    """Return the exact cost of a witness for a revealed policy."""
    keys = sum(isinstance(node, Key) for node in walk(policy))
    preimages = sum(isinstance(node, Preimage) for node in walk(policy))
    filler = (bytes(SIGNATURE_SIZE),) * keys + (bytes(PREIMAGE_SIZE),) * preimages
    return WitnessCost(keys, len(encode(Witness(policy, filler))))
