"""Section "Blocks" of docs/protocol.md."""

from __future__ import annotations

from typing import NamedTuple

from tests.reference.encoding import array, binary, decode, hash32, hash256, integer, need, struct
from tests.reference.headers import Header, Place, read_header
from tests.reference.records import ZERO, Network, State, Transaction
from tests.reference.transactions import (
    add_outputs,
    apply_transaction,
    check_alone,
    check_values,
    decode_transaction,
    read_transaction,
)

BODY_RULES = {"block-size", "malformed", "no-transactions", "tx-size-64", "merkle-root"}
"""Whoever breaks one of these condemns its sender, never the header."""


class Block(NamedTuple):
    """A block whose body belongs to its header."""

    header: Header
    transactions: list[Transaction]


def read_block(raw: bytes) -> Block:
    """Return a block whose body is its header's, or refuse that body."""
    need(len(raw) <= 4_194_304, "block-size")
    header, transactions = struct(decode(raw), 2)
    block = Block(
        read_header(binary(header, 80, 80)), [read_transaction(transaction) for transaction in array(transactions)]
    )
    need(len(block.transactions) >= 1, "no-transactions")
    need(all(len(transaction.raw) != 64 for transaction in block.transactions), "tx-size-64")
    root = merkle_root([transaction.wtxid for transaction in block.transactions])
    need(root == block.header.root, "merkle-root")
    return block


def merkle_root(leaves: list[bytes]) -> bytes:
    """Return the root over leaves, at least one."""
    level = leaves
    while len(level) > 1:
        pairs = [hash256(level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]


def check_proof(raw: bytes, root: bytes) -> Transaction:
    """Return the transaction that a proof shows to be under `root`, or refuse the proof."""
    inner, position, number, branch = struct(decode(raw), 4)
    transaction = read_transaction(inner)
    index, count = integer(position, 0, 2**32 - 1), integer(number, 1, 2**32 - 1)
    hashes = [hash32(one) for one in array(branch, 32)]
    need(index < count and len(transaction.raw) != 64, "merkle-root")
    node = transaction.wtxid
    while count > 1:
        if index ^ 1 < count:
            need(len(hashes) > 0, "merkle-root")
            other = hashes.pop(0)
            node = hash256(other + node if index % 2 else node + other)
        index, count = index // 2, (count + 1) // 2
    need(not hashes and node == root, "merkle-root")
    return transaction


def subsidy(network: Network, height: int) -> int:
    """Return what a coinbase may create at a height, in grain."""
    halvings = height // network.interval
    return 0 if halvings >= 64 else network.first_subsidy >> halvings


def claims_to_be_a_coinbase(transaction: Transaction) -> bool:
    """Say whether a transaction has one input, which names the zero txid."""
    return len(transaction.inputs) == 1 and transaction.inputs[0][0] == ZERO


def check_block(network: Network, block: Block) -> None:
    """Hold a block against the rules of the second table that need no state."""
    coinbase, *others = block.transactions
    need(claims_to_be_a_coinbase(coinbase), "coinbase-first")
    need(not any(claims_to_be_a_coinbase(transaction) for transaction in others), "coinbase-first")
    need(len(coinbase.raw) <= 400_000, "tx-size")
    need(not coinbase.issuances and not coinbase.burns and not coinbase.witnesses, "coinbase-shape")
    need(all(output.asset is None for output in coinbase.outputs), "coinbase-shape")
    need(coinbase.version == 1, "tx-version")
    check_values(network, coinbase)
    satisfactions = [
        given
        for transaction in block.transactions
        for witness in transaction.witnesses
        for given in witness.satisfactions
    ]
    need(sum(len(given) == 64 for given in satisfactions) <= 20_000, "block-signatures")
    for transaction in others:
        check_alone(network, transaction)
    inputs = [outpoint for transaction in block.transactions for outpoint in transaction.inputs]
    need(len(set(inputs)) == len(inputs), "block-double-spend")


def apply_block(network: Network, network_id: bytes, block: Block, parent: Place, before: State) -> State:
    """Return the state after a block, which `check_block` found good, on top of `parent`."""
    height = parent.height + 1
    state = before.copy()
    coinbase, *others = block.transactions
    need(coinbase.inputs == [(ZERO, height)], "coinbase-height")
    fees = sum(
        apply_transaction(network, network_id, transaction, state, height, parent.median_time) for transaction in others
    )
    paid = sum(output.value for output in coinbase.outputs)
    need(paid <= subsidy(network, height) + fees, "coinbase-value")
    add_outputs(coinbase, state, height, coinbase=True)
    return state


__all__ = ["BODY_RULES", "Block", "apply_block", "check_block", "check_proof", "decode_transaction", "read_block"]
