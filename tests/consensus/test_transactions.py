"""Transactions alone and with their coins: every rule broken by itself, both sides of each bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import pytest

from consensus.codec import lock_digest, spend_message
from consensus.errors import ConsensusError, Rule
from consensus.hashing import tagged_hash
from consensus.params import LOCAL, REGTEST, local_params
from consensus.signatures import sign, verify_all
from consensus.spend_policy import policy_id
from consensus.state import SpendContext
from consensus.types import (
    MAX_MEMO,
    NULL_TXID,
    Amount,
    Coin,
    Core,
    LockId,
    Opaque,
    OutPoint,
    Output,
    Preimage,
    Threshold,
    Transaction,
    Witness,
)
from consensus.validation import check_inputs, check_spends, check_transaction, transaction_fee
from tests.support.rules import coin, coinbase, core, key, lock, outpoint, pay, secret, spend, witnesses_for

SUPPLY = REGTEST.total_supply
HERE = SpendContext(height=200, median_time=1_800_000_000)
OUT = outpoint(7)


def alone(tx: Transaction) -> Rule | None:
    try:
        check_transaction(REGTEST, tx)
    except ConsensusError as error:
        return error.rule
    return None


def with_coins(tx: Transaction, coins: Mapping[OutPoint, Coin], height: int = 200) -> Rule | None:
    try:
        transaction_fee(REGTEST, height, tx, coins)
        checks = check_spends(REGTEST, SpendContext(height, HERE.median_time), tx, coins)
    except ConsensusError as error:
        return error.rule
    return None if verify_all(checks) is None else Rule.BAD_SIGNATURE


def unsigned(inputs: Sequence[OutPoint], outputs: Sequence[Output], memo: bytes = b"") -> Transaction:
    return Transaction(core(inputs, outputs, memo), ())


def test_a_sum_that_wraps_64_bits_is_refused() -> None:
    """A001: CVE-2010-5139, two outputs whose sum is small modulo 2^64 or 2^63."""
    assert alone(unsigned([OUT], [pay(1, 2**63 - 1), pay(1, 2**63 - 1)])) is Rule.VALUE_RANGE
    assert alone(unsigned([OUT], [pay(1, SUPPLY), pay(1, 1)])) is Rule.VALUE_RANGE
    assert alone(unsigned([OUT], [pay(1, SUPPLY - 1), pay(1, 1)])) is None


def test_a_coin_is_worth_at_least_one_grain() -> None:
    """A003: 0 is refused even where no decoder saw it; 1 is valid (dust is relay policy)."""
    assert alone(unsigned([OUT], [pay(1, 0)])) is Rule.VALUE_RANGE
    assert alone(unsigned([OUT], [pay(1, 1)])) is None


@pytest.mark.parametrize("value", [SUPPLY + 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_no_value_is_above_the_supply(value: int) -> None:
    """A004: the supply itself is accepted; one more, and every large number, is refused."""
    assert alone(unsigned([OUT], [pay(1, SUPPLY)])) is None
    assert alone(unsigned([OUT], [pay(1, value)])) is Rule.VALUE_RANGE


def test_outputs_are_worth_no_more_than_inputs() -> None:
    """A006: equal is valid with a fee of 0, one more is refused; a sum of inputs cannot overflow."""
    coins = {OUT: coin(1, 100)}
    assert with_coins(spend(coins, [pay(2, 100)]), coins) is None
    assert with_coins(spend(coins, [pay(2, 101)]), coins) is Rule.IN_BELOW_OUT
    rich = {outpoint(n): coin(1, SUPPLY) for n in range(1, 4)}
    assert with_coins(spend(rich, [pay(2, 1)]), rich) is Rule.VALUE_RANGE


def test_an_input_is_named_once() -> None:
    """A008: CVE-2018-17144, refused by the transaction alone."""
    assert alone(unsigned([OUT, outpoint(8), OUT], [pay(1, 1)])) is Rule.DUPLICATE_INPUT
    assert alone(unsigned([OUT, outpoint(7, 1)], [pay(1, 1)])) is None


@pytest.mark.parametrize("index", [1, 2, 2**32 - 1])
def test_an_output_that_never_was_cannot_be_spent(index: int) -> None:
    """A011: a missing output, one past the end, the last index there is; -1 does not decode."""
    coins = {OUT: coin(1, 100)}
    tx = spend({outpoint(7, index): coin(1, 100)}, [pay(2, 50)])
    assert with_coins(tx, coins) is Rule.MISSING_COIN


def test_a_transaction_has_inputs_and_outputs() -> None:
    """A012: none of either, and the zero txid outside a coinbase."""
    assert alone(unsigned([], [pay(1, 1)])) is Rule.NO_INPUTS
    assert alone(unsigned([OUT], [])) is Rule.NO_OUTPUTS
    assert alone(unsigned([OUT, OutPoint(NULL_TXID, 3)], [pay(1, 1)])) is Rule.NULL_INPUT
    assert alone(coinbase(3, [pay(1, 1)])) is Rule.NULL_INPUT


def test_a_coinbase_matures_exactly_at_the_limit() -> None:
    """A014: born at 10 with a maturity of 100: refused in block 109, accepted in block 110."""
    coins = {OUT: coin(1, 50, height=10, coinbase=True)}
    with pytest.raises(ConsensusError) as refused:
        check_inputs(REGTEST, 109, (OUT,), coins)
    assert refused.value.rule is Rule.IMMATURE_SPEND
    assert check_inputs(REGTEST, 110, (OUT,), coins) == 50


def test_a_transaction_may_have_400_000_bytes_and_no_more() -> None:
    """A017: the bound is on the encoded bytes, to the byte."""
    filler = Witness(key(1), (bytes(64),))

    def sized(witnesses: int, memo: int) -> Transaction:
        return Transaction(core([OUT], [pay(1, 1)], bytes(memo)), (filler,) * witnesses)

    each = len(sized(17, 0).encoded) - len(sized(16, 0).encoded)
    more, memo = divmod(400_000 - len(sized(3_000, 0).encoded), each)
    assert memo < MAX_MEMO
    exact, above = sized(3_000 + more, memo), sized(3_000 + more, memo + 1)
    assert (len(exact.encoded), len(above.encoded)) == (400_000, 400_001)
    assert alone(exact) is None
    assert alone(above) is Rule.TX_SIZE


def test_a_transaction_of_64_bytes_is_refused() -> None:
    """A020: one byte less and one byte more are fine."""
    sizes = {}
    for inputs in (1,):
        for memo in range(MAX_MEMO + 1):
            tx = Transaction(Core(1, (OUT,) * inputs, (), (), (), bytes(memo)), ())
            sizes[len(tx.encoded)] = alone(tx)
    assert sizes[64] is Rule.TX_SIZE_64
    assert sizes[63] is sizes[65] is Rule.NO_OUTPUTS


@pytest.mark.parametrize("version", [0, 2, 2**31, 2**63 - 1])
def test_the_version_is_1(version: int) -> None:
    """A025: every other version is refused; a negative one does not decode."""
    assert alone(Transaction(core([OUT], [pay(1, 1)], version=version), ())) is Rule.TX_VERSION


def test_what_is_hashed_grows_with_the_transaction_also_where_every_lock_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A019: the message, which holds every input and every spent output, is hashed once and not for each lock."""
    hashed = 0

    def counting(data: bytes) -> Any:
        nonlocal hashed
        hashed += len(data)
        return sha256(data)

    monkeypatch.setattr("consensus.hashing.sha256", counting)

    def work(locks: int) -> int:
        nonlocal hashed
        policies = [Threshold(1, (key(1), Opaque(LockId(n.to_bytes(32, "big"))))) for n in range(locks)]
        coins = {
            outpoint(n): Coin(Output(Amount(10), policy_id(each), None), 1, False) for n, each in enumerate(policies)
        }
        tx = Transaction(core(list(coins), [pay(2, 1)]), tuple(Witness(each, (bytes(64),)) for each in policies))
        hashed = 0
        assert len(check_spends(REGTEST, HERE, tx, coins)) == locks
        return hashed

    assert work(400) <= 2.05 * work(200)


def test_the_signed_message_is_linear_in_the_transaction() -> None:
    """A019: CVE-2013-2292, each spent output is hashed once: 4,096 inputs at one lock sign one message."""
    coins = {outpoint(n): coin(1, 10) for n in range(1, 4_097)}
    tx = spend(coins, [pay(2, 4_000)])
    assert len(tx.witnesses) == 1
    checks = check_spends(REGTEST, HERE, tx, coins)
    assert len(checks) == 1
    assert verify_all(checks) is None


def test_many_coins_at_one_lock_cost_one_signature() -> None:
    coins = {outpoint(1): coin(1, 5), outpoint(2): coin(2, 5), outpoint(3): coin(1, 5)}
    tx = spend(coins, [pay(3, 15)])
    assert [witness.policy for witness in tx.witnesses] == [key(1), key(2)]
    assert with_coins(tx, coins) is None


def test_a_witness_too_many_too_few_or_out_of_order_is_refused() -> None:
    """A038: nothing can be added to a transaction, or be left out or moved, without a refusal."""
    coins = {outpoint(1): coin(1, 5), outpoint(2): coin(2, 5)}
    tx = spend(coins, [pay(3, 10)])
    first, second = tx.witnesses
    for witnesses in ((first,), (first, second, second), (), (first, second, first)):
        assert with_coins(Transaction(tx.core, witnesses), coins) is Rule.WITNESS_COUNT
    assert with_coins(Transaction(tx.core, (second, first)), coins) is Rule.POLICY_MISMATCH
    assert with_coins(Transaction(tx.core, (first, first)), coins) is Rule.POLICY_MISMATCH


def test_an_unused_satisfaction_is_refused() -> None:
    """A038: a signature more than the policy asks for."""
    coins = {OUT: coin(1, 5)}
    tx = spend(coins, [pay(3, 5)])
    signature = tx.witnesses[0].satisfactions[0]
    for given in ((), (signature, signature)):
        assert with_coins(Transaction(tx.core, (Witness(key(1), given),)), coins) is Rule.SATISFACTION_COUNT


def test_a_damaged_twin_has_the_same_txid_and_another_wtxid() -> None:
    """A038 A103: so that a cache of refusals by wtxid leaves the honest one its way in."""
    coins = {OUT: coin(1, 5)}
    tx = spend(coins, [pay(3, 5)])
    twin = Transaction(tx.core, (Witness(key(1), (bytes(64),)),))
    assert twin.txid == tx.txid
    assert twin.wtxid != tx.wtxid
    assert with_coins(twin, coins) is Rule.BAD_SIGNATURE
    assert with_coins(tx, coins) is None


def test_a_signature_opens_nothing_but_what_was_signed() -> None:
    """A039: another input, output, amount, asset, lock or network makes it worthless."""
    coins = {OUT: coin(1, 100)}
    tx = spend(coins, [pay(2, 90)])
    moved = [
        (Transaction(core([outpoint(8)], [pay(2, 90)]), tx.witnesses), {outpoint(8): coin(1, 100)}),
        (Transaction(core([OUT], [pay(3, 90)]), tx.witnesses), coins),
        (Transaction(core([OUT], [pay(2, 89)]), tx.witnesses), coins),
        (Transaction(core([OUT], [pay(2, 90)], b"x"), tx.witnesses), coins),
        (tx, {OUT: coin(1, 101)}),
    ]
    for other, at in moved:
        assert with_coins(other, at) is Rule.BAD_SIGNATURE
    elsewhere = check_spends(LOCAL, HERE, tx, coins)
    assert verify_all(elsewhere) == 0
    fork = check_spends(local_params(b"another network!"), HERE, tx, coins)
    assert verify_all(fork) == 0


def test_a_signature_for_one_lock_opens_no_other_of_the_same_key() -> None:
    """A039: an arbiter's signature on one policy is not one on his own coins."""
    escrow = Preimage(bytes(32))
    assert policy_id(escrow) != lock(1)
    coins = {outpoint(1): coin(1, 5), outpoint(2): coin(2, 5)}
    unsigned_core = core(list(coins), [pay(3, 10)])
    message = spend_message(REGTEST.genesis_hash, unsigned_core, [each.output for each in coins.values()])
    wrong = sign(secret(2), lock_digest(message, lock(1)))
    right = sign(secret(1), lock_digest(message, lock(1)))
    tx = Transaction(unsigned_core, (Witness(key(1), (right,)), Witness(key(2), (wrong,))))
    assert with_coins(tx, coins) is Rule.BAD_SIGNATURE


def test_no_other_signed_message_is_a_transaction() -> None:
    """A040: digests are made under a tag of their own."""
    coins = {OUT: coin(1, 5)}
    unsigned_core = core([OUT], [pay(3, 5)])
    message = spend_message(REGTEST.genesis_hash, unsigned_core, [coin(1, 5).output])
    for tag in ("dure/message", "dure/approve", "dure/tx"):
        signature = sign(secret(1), tagged_hash(tag, message + lock(1)))
        tx = Transaction(unsigned_core, (Witness(key(1), (signature,)),))
        assert with_coins(tx, coins) is Rule.BAD_SIGNATURE


def test_every_signature_check_carries_all_that_it_depends_on() -> None:
    """A041: another key, policy or amount is another cache entry."""
    seen = set()
    for n, value in ((1, 5), (1, 6), (2, 5)):
        coins = {OUT: coin(n, value)}
        seen |= set(check_spends(REGTEST, HERE, spend(coins, [pay(3, 5)]), coins))
    assert len({check.digest for check in seen}) == len(seen) == 3


def test_a_witness_that_signs_with_another_key_is_refused() -> None:
    coins = {OUT: coin(1, 5)}
    unsigned_core = core([OUT], [pay(3, 5)])
    witnesses = witnesses_for([coin(2, 5).output], unsigned_core)
    assert with_coins(Transaction(unsigned_core, witnesses), coins) is Rule.POLICY_MISMATCH
