"""Merkle roots and proofs, and the tricks that work against Bitcoin's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.hashing import hash256
from consensus.merkle import HASHED_AT_ONCE, MerkleProof, merkle_proof, merkle_root, merkle_root_in_slices, proves
from consensus.slices import whole
from consensus.types import Amount, Core, Output, Transaction
from tests.support.rules import core, lock, outpoint, pay

TXS = [Transaction(core([outpoint(n)], [pay(1, n)]), ()) for n in range(1, 34)]


def test_the_root_of_one_is_itself_and_an_odd_node_moves_up() -> None:
    a, b, c = (bytes([n]) * 32 for n in (1, 2, 3))
    assert merkle_root([a]) == a
    assert merkle_root([a, b]) == hash256(a + b)
    assert merkle_root([a, b, c]) == hash256(hash256(a + b) + c)
    with pytest.raises(ValueError, match=r"^a Merkle tree has at least one leaf$"):
        merkle_root([])


@given(st.integers(1, 33))
def test_repeating_the_last_leaves_gives_another_root(count: int) -> None:
    """A021: CVE-2012-2459 does not exist here: no tail can be repeated without changing the root."""
    leaves = [tx.wtxid for tx in TXS[:count]]
    root = merkle_root(leaves)
    for tail in range(1, count + 1):
        assert merkle_root(leaves + leaves[-tail:]) != root


@given(st.integers(1, 33), st.data())
def test_a_proof_leads_to_the_root_and_nowhere_else(count: int, data: st.DataObject) -> None:
    """A022: wrong index, count, order, a hash too many or too few, another transaction."""
    index = data.draw(st.integers(0, count - 1))
    root = merkle_root([tx.wtxid for tx in TXS[:count]])
    proof = merkle_proof(TXS[:count], index)
    assert proves(proof, root)
    hashes = proof.hashes
    wrong = [
        MerkleProof(TXS[index], count, count, hashes),
        MerkleProof(TXS[index], index, count, (*hashes, bytes(32))),
        MerkleProof(TXS[(index + 1) % 33], index, count, hashes),
    ]
    if hashes:
        wrong.append(MerkleProof(TXS[index], index, count, hashes[:-1]))
        wrong.append(MerkleProof(TXS[index], index, count, (bytes(32), *hashes[1:])))
        wrong.append(MerkleProof(TXS[index], index ^ 1, count, hashes))
    assert not any(proves(each, root) for each in wrong)


def test_an_inner_node_is_no_transaction() -> None:
    """A020 A022: a transaction of 64 bytes proves nothing, though it hashes to the root."""
    short = [Transaction(Core(1, (outpoint(1),), (), (), (), bytes(n)), ()) for n in range(60)]
    node = next(tx for tx in short if len(tx.encoded) == 64)
    assert not proves(MerkleProof(node, 0, 1, ()), node.wtxid)
    other = next(tx for tx in short if len(tx.encoded) == 63)
    assert proves(MerkleProof(other, 0, 1, ()), other.wtxid)


def test_what_is_no_transaction_proves_nothing() -> None:
    """A022: a value that the encoding has no room for, in a proof that is put together in memory."""
    bad = Transaction(core([outpoint(1)], [Output(Amount(0), lock(1), None)]), ())
    assert not proves(MerkleProof(bad, 0, 1, ()), bad.wtxid)
    good = Transaction(core([outpoint(1)], [pay(1, 1)]), ())
    assert proves(MerkleProof(good, 0, 1, ()), good.wtxid)
    assert not proves(MerkleProof(good, 0, 1, ()), good.txid)


@pytest.mark.parametrize("count", range(1, 18))
def test_a_proof_holds_exactly_the_nodes_beside_the_way_up(count: int) -> None:
    """As docs/protocol.md says it: a level where index^1 is not below count gives no hash."""
    leaves: list[bytes] = [tx.wtxid for tx in TXS[:count]]
    for index in range(count):
        proof, place, size, expected, level = merkle_proof(TXS[:count], index), index, count, [], leaves
        while size > 1:
            if place ^ 1 < size:
                expected.append(level[place ^ 1])
            level = [merkle_root(level[n : n + 2]) for n in range(0, size, 2)]
            place, size = place // 2, (size + 1) // 2
        assert (proof.transaction, proof.index, proof.count) == (TXS[index], index, count)
        assert list(proof.hashes) == expected
        assert proves(proof, level[0])


@pytest.mark.parametrize("more", range(-3, 4))
@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_a_long_list_of_leaves_has_one_root_in_slices_too(times: int, more: int) -> None:
    leaves = [n.to_bytes(32, "big") for n in range(1, times * HASHED_AT_ONCE + more + 1)]
    assert whole(merkle_root_in_slices(leaves)) == merkle_root(leaves)
