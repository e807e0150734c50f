"""Merkle trees over wtxids, in which an odd node moves up unpaired (docs/protocol.md, "Blocks")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from consensus.codec import decode_transaction
from consensus.errors import ConsensusError
from consensus.hashing import hash256
from consensus.slices import Slices
from consensus.types import Transaction

HASHED_AT_ONCE = 2_000
"""Nodes of a level that are paired in a slice; even, so that no pair is parted."""
MAX_PROOF_HASHES = 32
"""A tree of 2^32 leaves is no deeper; a block holds far fewer."""


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root, 32 bytes, of at least one leaf; of a single leaf, that leaf.

    Unlike Bitcoin's, no node is paired with itself: repeating transactions changes the root.

    Raises:
        ValueError: without a leaf.
    """
    if not leaves:
        raise ValueError("a Merkle tree has at least one leaf")
    level = list(leaves)
    while len(level) > 1:
        paired = [hash256(level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            paired.append(level[-1])
        level = paired
    return level[0]


def merkle_root_in_slices(leaves: Sequence[bytes]) -> Slices[bytes]:
    """Do `merkle_root`, in slices: level by level, as long as they are long."""
    level = list(leaves)
    while len(level) > HASHED_AT_ONCE:
        paired: list[bytes] = []
        for start in range(0, len(level), HASHED_AT_ONCE):
            part = level[start : start + HASHED_AT_ONCE]
            paired += [hash256(part[i] + part[i + 1]) for i in range(0, len(part) - 1, 2)]
            yield
        if len(level) % 2:
            paired.append(level[-1])
        level = paired
    return merkle_root(level)


class MerkleProof(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Shows that a block holds a transaction: [whole transaction, index, count, hashes]."""

    transaction: Transaction
    index: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    count: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    hashes: Annotated[
        tuple[Annotated[bytes, Meta(min_length=32, max_length=32)], ...], Meta(max_length=MAX_PROOF_HASHES)
    ]


def merkle_proof(transactions: Sequence[Transaction], index: int) -> MerkleProof:
    """Return the proof for the transaction at `index` of a block's transactions."""
    hashes: list[bytes] = []
    level: list[bytes] = [tx.wtxid for tx in transactions]
    position = index
    while len(level) > 1:
        if position ^ 1 < len(level):
            hashes.append(level[position ^ 1])
        paired = [hash256(level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            paired.append(level[-1])
        level, position = paired, position // 2
    return MerkleProof(transactions[index], index, len(transactions), tuple(hashes))


def proves(proof: MerkleProof, root: bytes) -> bool:
    """Tell whether `proof` leads from its transaction to `root`, with nothing left over.

    A transaction of 64 bytes proves nothing: it could be an inner node (BIP 54).
    """
    try:
        tx = decode_transaction(proof.transaction.encoded)
    except ConsensusError:
        return False
    index, count = proof.index, proof.count
    if index >= count or len(tx.encoded) == 64:
        return False
    node: bytes = tx.wtxid
    hashes = iter(proof.hashes)
    while count > 1:
        if index ^ 1 < count:
            sibling = next(hashes, None)
            if sibling is None:
                return False
            node = hash256(sibling + node if index & 1 else node + sibling)
        index //= 2
        count = (count + 1) // 2
    return next(hashes, None) is None and node == root
