"""Section "Transactions" of docs/protocol.md."""

from __future__ import annotations

from tests.reference.assets import apply_assets, check_assets_alone
from tests.reference.encoding import (
    array,
    binary,
    decode,
    encode,
    hash32,
    hash256,
    hash_or_nil,
    integer,
    need,
    refuse,
    struct,
    tag_of,
    tagged,
)
from tests.reference.policies import Spend, check_shape, check_witness
from tests.reference.records import ZERO, Coin, Network, Output, State, Transaction, Witness


def decode_transaction(raw: bytes) -> Transaction:
    """Return the transaction that `raw` encodes, or refuse it as malformed."""
    return read_transaction(decode(raw))


def read_transaction(value: object) -> Transaction:
    """Return a transaction from its decoded array, or refuse it as malformed."""
    core, witnesses = struct(value, 2)
    version, inputs, outputs, issuances, burns, memo = struct(core, 6)
    raw = encode(value)
    binary(memo, 96)
    entries = array(issuances, 64)
    for entry in entries:
        check_issuance(entry)
    fires = array(burns, 64)
    for burn in fires:
        asset, amount = struct(burn, 2)
        hash32(asset)
        integer(amount, 1)
    return Transaction(
        raw=raw,
        core=struct(core, 6),
        inputs=[read_input(one) for one in array(inputs, 4096)],
        outputs=[read_output(one) for one in array(outputs, 4096)],
        issuances=[array(entry) for entry in entries],
        burns=[array(burn) for burn in fires],
        witnesses=[read_witness(one) for one in array(witnesses, 12_288)],
        version=integer(version),
        txid=hash256(encode(core)),
        wtxid=hash256(raw),
    )


def read_input(value: object) -> tuple[bytes, int]:
    """Return an outpoint."""
    txid, index = struct(value, 2)
    return hash32(txid), integer(index, 0, 2**32 - 1)


def read_output(value: object) -> Output:
    """Return an output."""
    amount, lock, asset = struct(value, 3)
    return Output(integer(amount, 1), hash32(lock), hash_or_nil(asset))


def read_witness(value: object) -> Witness:
    """Return a witness."""
    policy, satisfactions = struct(value, 2)
    check_shape(policy)
    return Witness(array(policy), [binary(one, 10_000) for one in array(satisfactions, 64)])


def check_issuance(value: object) -> None:
    """Refuse as malformed what is no issuance."""
    tag = tag_of(value)
    if tag == 0:
        _, definition = struct(value, 2)
        kind, first, decimals, *hashes, metadata = struct(definition, 8)
        integer(kind, 0, 2)
        integer(first)
        integer(decimals, 0, 18)
        for one in hashes:
            hash_or_nil(one)
        binary(metadata, 1024)
    elif tag == 1:
        _, asset, amount = struct(value, 3)
        hash32(asset)
        integer(amount, 1)
    elif tag == 2:
        _, asset, sequence, total = struct(value, 4)
        hash32(asset)
        integer(sequence)
        integer(total)
    else:
        refuse("malformed", f"no issuance has tag {tag}")


def check_values(network: Network, transaction: Transaction) -> int:
    """Hold outputs of DURE against `value-range`; return their sum."""
    total = 0
    for output in transaction.outputs:
        if output.asset is None:
            need(output.value <= network.total_supply, "value-range")
            total += output.value
            need(total <= network.total_supply, "value-range")
    return total


def check_alone(network: Network, transaction: Transaction) -> None:
    """Hold a transaction that is not a coinbase against the first table of rules."""
    need(len(transaction.raw) <= 400_000, "tx-size")
    need(len(transaction.raw) != 64, "tx-size-64")
    need(transaction.version == 1, "tx-version")
    check_assets_alone(transaction)
    check_values(network, transaction)
    need(len(transaction.inputs) >= 1, "no-inputs")
    need(len(transaction.outputs) >= 1, "no-outputs")
    need(len(set(transaction.inputs)) == len(transaction.inputs), "duplicate-input")
    need(all(txid != ZERO for txid, _ in transaction.inputs), "null-input")


def message(network_id: bytes, transaction: Transaction, coins: list[Coin]) -> bytes:
    """Return the message of a transaction."""
    spent = [[coin.value, coin.lock, coin.asset] for coin in coins]
    return tagged("dure/tx", encode([network_id, transaction.core, spent]))


def apply_transaction(
    network: Network, network_id: bytes, transaction: Transaction, state: State, height: int, parent_median_time: int
) -> int:
    """Hold a transaction, good alone, against `state`, and change that; return the fee."""
    need(all(outpoint in state.coins for outpoint in transaction.inputs), "missing-coin")
    coins = [state.coins[outpoint] for outpoint in transaction.inputs]
    spent = 0
    for coin in coins:
        need(not coin.coinbase or height >= coin.height + network.maturity, "immature-spend")
    for coin in coins:
        if coin.asset is None:
            spent += coin.value
            need(spent <= network.total_supply, "value-range")
    paid = check_values(network, transaction)
    need(paid <= spent, "in-below-out")
    records, approvals = apply_assets(transaction, coins, state.assets)

    locks = list(dict.fromkeys(coin.lock for coin in coins))
    need(len(transaction.witnesses) == len(locks) + len(approvals), "witness-count")
    m = message(network_id, transaction, coins)
    for lock, witness in zip(locks, transaction.witnesses, strict=False):
        digest = tagged("dure/sign", m + lock)
        check_witness(witness, Spend(transaction, coins, height, parent_median_time, lock, digest, False))
    for approval, witness in zip(approvals, transaction.witnesses[len(locks) :], strict=True):
        digest = tagged("dure/approve", m + approval.asset + approval.policy)
        check_witness(witness, Spend(transaction, coins, height, parent_median_time, approval.policy, digest, True))

    for outpoint in transaction.inputs:
        del state.coins[outpoint]
    add_outputs(transaction, state, height, coinbase=False)
    state.assets.update(records)
    return spent - paid


def add_outputs(transaction: Transaction, state: State, height: int, *, coinbase: bool) -> None:
    """Make the outputs of a transaction coins of `state`."""
    for index, output in enumerate(transaction.outputs):
        state.coins[transaction.txid, index] = Coin(*output, height, coinbase)
