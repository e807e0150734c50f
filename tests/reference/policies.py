"""Sections "Spend policies" and "Witnesses" of docs/protocol.md. A policy is its decoded array."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from ecdsa import BadSignatureError, SECP256k1, VerifyingKey
from ecdsa.errors import MalformedPointError

from tests.reference.encoding import array, binary, encode, hash32, integer, need, refuse, struct, tag_of, tagged
from tests.reference.records import Array, Coin, Transaction, Witness

KEY, PREIMAGE, AFTER_HEIGHT, AFTER_TIME, OLDER, THRESHOLD, OPAQUE, PAYS = range(8)

FIELD = 2**256 - 2**32 - 977
ORDER = SECP256k1.order


def check_shape(policy: object) -> None:
    """Refuse as malformed what is no policy: types and bounds of the first table."""
    tag = tag_of(policy)
    fields = struct(policy, 3 if tag == THRESHOLD else 2)
    if tag == KEY:
        binary(fields[1], 33, 33)
    elif tag in {PREIMAGE, OPAQUE, PAYS}:
        hash32(fields[1])
    elif tag in {AFTER_HEIGHT, AFTER_TIME}:
        integer(fields[1], 0, 2**32 - 1)
    elif tag == OLDER:
        integer(fields[1], 1, 2**32 - 1)
    elif tag == THRESHOLD:
        integer(fields[1])
        for child in array(fields[2], 16):
            check_shape(child)
    else:
        refuse("malformed", f"no policy has tag {tag}")


def policy_id(policy: Array) -> bytes:
    """Return the id, which is the lock of an output."""
    if policy[0] == OPAQUE:
        return bytes(policy[1])
    if policy[0] == THRESHOLD:
        hidden = [[OPAQUE, policy_id(child)] for child in policy[2]]
        return tagged("dure/policy", encode([THRESHOLD, policy[1], hidden]))
    return tagged("dure/policy", encode(policy))


def nodes(policy: Array) -> Iterator[Array]:
    """Yield every node, in pre-order."""
    yield policy
    if policy[0] == THRESHOLD:
        for child in policy[2]:
            yield from nodes(child)


def depth(policy: Array) -> int:
    """Return how many levels a policy has."""
    if policy[0] != THRESHOLD:
        return 1
    return 1 + max((depth(child) for child in policy[2]), default=0)


class Spend(NamedTuple):
    """What a witness is held against."""

    transaction: Transaction
    coins: list[Coin]
    """One for each input, in order."""
    height: int
    parent_median_time: int
    lock: bytes
    """What the id of the policy has to be."""
    digest: bytes
    """What its keys sign."""
    approval: bool


def check_witness(witness: Witness, spend: Spend) -> None:
    """Hold one witness against the second table, in its order."""
    policy = witness.policy
    need(depth(policy) <= 4, "policy-depth")
    every = list(nodes(policy))
    need(len(every) <= 64, "policy-nodes")
    thresholds = [node for node in every if node[0] == THRESHOLD]
    leaves = [node for node in every if node[0] not in {THRESHOLD, OPAQUE}]
    keys = [leaf[1] for leaf in leaves if leaf[0] == KEY]
    need(all(1 <= node[1] <= len(node[2]) for node in thresholds), "policy-threshold")
    need(all(key[0] in {2, 3} and int.from_bytes(key[1:], "big") < FIELD for key in keys), "policy-key")
    need(policy[0] != OPAQUE, "policy-opaque-root")
    for node in thresholds:
        need(sum(child[0] != OPAQUE for child in node[2]) == node[1], "policy-revealed")
    need(len(set(keys)) == len(keys), "policy-duplicate-key")
    if spend.approval:
        need(all(leaf[0] not in {OLDER, PAYS} for leaf in leaves), "approval-leaf")
    proven = [leaf for leaf in leaves if leaf[0] in {KEY, PREIMAGE}]
    need(len(witness.satisfactions) == len(proven), "satisfaction-count")
    pairs = list(zip(proven, witness.satisfactions, strict=True))
    for leaf, given in pairs:
        need(len(given) == (64 if leaf[0] == KEY else 32), "satisfaction-size")
    for leaf, given in pairs:
        need(leaf[0] == KEY or sha256(given).digest() == leaf[1], "bad-preimage")
    need(policy_id(policy) == spend.lock, "policy-mismatch")
    for leaf in leaves:
        check_leaf(leaf, spend)
    for leaf, given in pairs:
        need(leaf[0] == PREIMAGE or is_signature(leaf[1], spend.digest, given), "bad-signature")


def check_leaf(leaf: Array, spend: Spend) -> None:
    """Hold a leaf that needs no satisfaction against the block and the coins at the lock."""
    mine = [(index, coin) for index, coin in enumerate(spend.coins) if coin.lock == spend.lock]
    outputs = spend.transaction.outputs
    if leaf[0] == AFTER_HEIGHT:
        need(spend.height >= leaf[1], "after-height")
    elif leaf[0] == AFTER_TIME:
        need(spend.parent_median_time >= leaf[1], "after-time")
    elif leaf[0] == OLDER:
        need(all(spend.height >= coin.height + leaf[1] for _, coin in mine), "older")
    elif leaf[0] == PAYS:
        for index, coin in mine:
            need(index < len(outputs), "pays")
            output = outputs[index]
            need(output.lock == leaf[1] and output.asset == coin.asset and output.value >= coin.value, "pays")


def is_signature(key: bytes, digest: bytes, signature: bytes) -> bool:
    """Say whether `signature`, r and s of 32 bytes each, is the key's over the digest."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not (0 < r < ORDER and 0 < s <= ORDER // 2):
        return False
    try:
        return bool(VerifyingKey.from_string(key, curve=SECP256k1).verify_digest(signature, digest))
    except (BadSignatureError, MalformedPointError):
        return False
