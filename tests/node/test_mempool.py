"""What the mempool takes from peers and users, and what it refuses, with whose fault it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from consensus.codec import decode_transaction, encode
from consensus.errors import ConsensusError, NotYet, Rule
from consensus.signatures import SignatureCheck, verify_all
from consensus.spend_policy import policy_id
from consensus.types import (
    AfterHeight,
    Amount,
    Coin,
    OutPoint,
    Output,
    Pays,
    Policy,
    Preimage,
    Threshold,
    Transaction,
    Witness,
)
from node.mempool import MAX_REMEMBERED
from node.mempool_graph import Entry
from node.relay_policy import (
    DUST_LIMIT,
    MAX_CHAIN,
    MAX_CHAIN_SIZE,
    MAX_RELAY_SIZE,
    MIN_FEE_RATE,
    SIGNATURE_BYTES,
    PolicyError,
    Refusal,
    required_fee,
    virtual_size,
)
from tests.support.pool import FEE, MATURITY, PARAMS, Pool, forward, outputs_of
from tests.support.rules import core, key, lock, outpoint, pay, spend, witnesses_for

SUPPLY = PARAMS.total_supply


@pytest.fixture
def pool() -> Pool:
    return Pool()


def give(pool: Pool, value: int, policy: Policy | None = None, n: int = 1) -> dict[OutPoint, Coin]:
    """Put a ripe coin into the chain that no block made: so it can be worth anything, under any lock."""
    guard = policy_id(policy) if policy else lock(1)
    place = outpoint(n)
    pool.ledger.coins[place] = Coin(Output(Amount(value), guard, None), 1, False)
    return {place: pool.ledger.coins[place]}


async def refused(pool: Pool, tx: Transaction) -> Rule | Refusal | str:
    """Offer a transaction that must be refused: return why. Nothing has changed, but what is remembered."""
    before = (len(pool.mempool), pool.mempool.memory)
    reason: Rule | Refusal | str | None = None
    try:
        await pool.mempool.accept_transaction(tx)
    except ConsensusError as error:
        reason = error.rule
    except (NotYet, PolicyError) as error:
        reason = error.reason
    assert reason is not None
    assert (len(pool.mempool), pool.mempool.memory) == before
    pool.mempool.check_invariants()
    return reason


async def accepted(pool: Pool, tx: Transaction) -> Entry:
    entry = await pool.mempool.accept_transaction(tx)
    pool.mempool.check_invariants()
    return entry


# What is taken


async def test_a_payment_is_found_by_txid_wtxid_and_spent_outpoint(pool: Pool) -> None:
    coins = pool.reward(1)
    tx = forward(coins)
    entry = await accepted(pool, tx)
    assert pool.mempool.get(tx.txid) is tx
    assert pool.mempool.by_wtxid(tx.wtxid) is tx
    assert pool.mempool.spender(next(iter(coins))) == tx.txid
    assert (entry.fee, entry.size, entry.signatures, entry.time) == (FEE, len(tx.encoded), 1, pool.clock.now)
    assert (len(pool.mempool), pool.mempool.size, pool.mempool.fees) == (1, len(tx.encoded), FEE)
    assert not pool.mempool.wants(tx.wtxid)


async def test_what_it_never_saw_is_wanted_and_absent(pool: Pool) -> None:
    tx = forward(pool.reward(1))
    assert pool.mempool.wants(tx.wtxid)
    assert tx.txid not in pool.mempool
    assert pool.mempool.get(tx.txid) is None
    assert pool.mempool.by_wtxid(tx.wtxid) is None
    assert pool.mempool.entry(tx.txid) is None
    assert pool.mempool.spender(next(iter(pool.reward(1)))) is None
    assert pool.mempool.ancestors(tx.txid) == pool.mempool.descendants(tx.txid) == []


async def test_ancestors_and_descendants_stand_in_the_order_of_coming(pool: Pool) -> None:
    parent = forward(pool.reward(1), parts=2)
    left = forward(outputs_of(parent, 0))
    right = forward(outputs_of(parent, 1))
    child = forward(outputs_of(left) | outputs_of(right))
    for tx in (parent, left, right, child):
        await accepted(pool, tx)
    assert [entry.tx for entry in pool.mempool.ancestors(child.txid)] == [parent, left, right]
    assert [entry.tx for entry in pool.mempool.descendants(parent.txid)] == [left, right, child]


async def test_the_same_transaction_is_taken_once(pool: Pool) -> None:
    tx = forward(pool.reward(1))
    await accepted(pool, tx)
    assert await refused(pool, tx) is Refusal.ALREADY_KNOWN


async def test_a_confirmed_transaction_is_known_while_an_output_of_it_is_unspent(pool: Pool) -> None:
    tx = forward(pool.reward(1))
    pool.mine([tx])
    assert await refused(pool, tx) is Refusal.ALREADY_CONFIRMED


# Amounts


async def test_a_sum_of_outputs_above_the_supply_is_refused_though_each_is_below(pool: Pool) -> None:
    """A001: the running sum is checked after each addition, so that no 64-bit field ever wraps."""
    coins = give(pool, SUPPLY)
    for values in [(SUPPLY, SUPPLY), (2**63 - 1, 2**63 - 1), (SUPPLY - DUST_LIMIT, DUST_LIMIT + 1)]:
        assert await refused(pool, spend(coins, [pay(1, value) for value in values])) is Rule.VALUE_RANGE


@pytest.mark.parametrize("value", [-1, -(2**63), 2**63, 2**64 - 1, 1.0, float("nan"), True, "1", b"\x01", None])
def test_an_amount_that_is_no_integer_in_range_is_refused_before_the_mempool(pool: Pool, value: object) -> None:
    """A002, A005: the decoder stands before the mempool on every road."""
    raw = msgspec.msgpack.encode([[1, [[bytes(31) + b"\x01", 0]], [[value, lock(1), None]], [], [], b""], []])
    with pytest.raises(ConsensusError) as refusal:
        decode_transaction(raw)
    assert refusal.value.rule is Rule.MALFORMED


async def test_an_output_is_worth_at_least_the_dust_limit(pool: Pool) -> None:
    """A003: 0 is invalid; 1 is valid and not relayed; the dust limit holds exactly."""
    coins = give(pool, 1_000_000)
    for value, reason in [(0, Rule.VALUE_RANGE), (1, Refusal.DUST), (DUST_LIMIT - 1, Refusal.DUST)]:
        assert await refused(pool, spend(coins, [pay(1, 500_000), pay(1, value)])) is reason
    await accepted(pool, spend(coins, [pay(1, 500_000), pay(1, DUST_LIMIT)]))


async def test_an_output_may_be_worth_the_whole_supply_and_no_more(pool: Pool) -> None:
    """A004: on both sides of the bound, for one output and for the total of the inputs."""
    for value in (SUPPLY + 1, 2**63 - 1):
        assert await refused(pool, spend(give(pool, SUPPLY), [pay(1, value)])) is Rule.VALUE_RANGE
    # Nothing would be left for a fee from one coin; with a second coin the inputs exceed the supply.
    assert await refused(pool, spend(give(pool, SUPPLY), [pay(1, SUPPLY)])) is Refusal.LOW_FEE
    coins = give(pool, SUPPLY - FEE) | give(pool, FEE, n=2)
    await accepted(pool, spend(coins, [pay(1, SUPPLY - FEE)]))
    assert await refused(pool, spend(give(pool, SUPPLY, n=3) | give(pool, 1, n=4), [pay(1, 1_000)])) is Rule.VALUE_RANGE


async def test_outputs_worth_more_than_the_inputs_by_one_grain_are_refused(pool: Pool) -> None:
    """A006: and the sum of the inputs is bounded as well."""
    coins = give(pool, 1_000_000)
    assert await refused(pool, spend(coins, [pay(1, 1_000_001)])) is Rule.IN_BELOW_OUT
    assert await refused(pool, spend(give(pool, SUPPLY) | give(pool, SUPPLY, n=2), [pay(1, 1_000)])) is Rule.VALUE_RANGE


async def test_the_lowest_fee_is_taken_and_one_grain_less_is_not(pool: Pool) -> None:
    least = required_fee(MIN_FEE_RATE, virtual_size(len(forward(pool.reward(1)).encoded), 1))
    assert await refused(pool, forward(pool.reward(1), fee=least - 1)) is Refusal.LOW_FEE
    assert (await accepted(pool, forward(pool.reward(1), fee=least))).fee == least


def test_fees_round_up_and_signatures_count_as_bytes() -> None:
    assert [required_fee(1_000, 1), required_fee(1_001, 1_000), required_fee(1, 1), required_fee(0, 9)] == [
        1,
        1_001,
        1,
        0,
    ]
    assert virtual_size(250, 1) == 250
    assert virtual_size(250, 2) == 2 * SIGNATURE_BYTES == 420


# Inputs


async def test_an_input_named_twice_is_refused(pool: Pool) -> None:
    """A008: in the mempool by `check_transaction` (CVE-2018-17144)."""
    (place, coin), *_ = pool.reward(1).items()
    unsigned = core([place, place], [pay(1, 2 * coin.output.value - FEE)])
    twice = Transaction(unsigned, witnesses_for([coin.output, coin.output], unsigned))
    assert await refused(pool, twice) is Rule.DUPLICATE_INPUT


async def test_of_two_spends_of_one_coin_the_first_seen_stays_unless_the_other_pays_more(pool: Pool) -> None:
    """A009: by how much more, `test_replacement` says."""
    first = forward(pool.reward(1))
    await accepted(pool, first)
    assert await refused(pool, forward(pool.reward(1), memo=b"as much")) is Refusal.REPLACEMENT_RATE
    assert await refused(pool, forward(pool.reward(1) | pool.reward(2))) is Refusal.REPLACEMENT_RATE
    assert next(iter(pool.mempool)).tx is first
    second = forward(pool.reward(1), fee=2 * FEE)
    await accepted(pool, second)
    assert [entry.tx for entry in pool.mempool] == [second]


async def test_a_child_waits_for_its_parent(pool: Pool) -> None:
    """A010: an output may be spent once its transaction is here, and not before."""
    parent = forward(pool.reward(1))
    child = forward(outputs_of(parent))
    with pytest.raises(NotYet) as early:
        await pool.mempool.accept_transaction(child)
    assert early.value.reason == Rule.MISSING_COIN
    assert early.value.facts["missing"] == (OutPoint(parent.txid, 0),)
    await accepted(pool, parent)
    await accepted(pool, child)


async def test_an_output_that_its_parent_lacks_is_refused(pool: Pool) -> None:
    """A011: for ever where the parent is at hand; else it may only be early. There is no index below 0."""
    parent = forward(pool.reward(1))
    await accepted(pool, parent)
    value = parent.core.outputs[0].value
    for index in (1, 2**32 - 1):
        child = forward({OutPoint(parent.txid, index): Coin(pay(1, value), 0, False)})
        assert await refused(pool, child) is Rule.MISSING_COIN
        assert not pool.mempool.wants(child.wtxid)
    confirmed = pool.ledger.blocks[1].transactions[0]
    for missing in (OutPoint(confirmed.txid, 1), OutPoint(confirmed.txid, 2**32 - 1), outpoint(7)):
        child = forward({missing: Coin(pay(1, value), 0, False)})
        assert await refused(pool, child) == Rule.MISSING_COIN
        assert pool.mempool.wants(child.wtxid)


def test_an_index_below_zero_is_refused_before_the_mempool() -> None:
    """A011: Python's list[-1] is never reached."""
    raw = msgspec.msgpack.encode([[1, [[bytes(31) + b"\x01", -1]], [[1_000, lock(1), None]], [], [], b""], []])
    with pytest.raises(ConsensusError) as refusal:
        decode_transaction(raw)
    assert refusal.value.rule is Rule.MALFORMED


async def test_a_transaction_has_inputs_and_outputs_and_none_is_null(pool: Pool) -> None:
    """A012."""
    coins = pool.reward(1)
    assert await refused(pool, Transaction(core([], [pay(1, 1_000)]), ())) is Rule.NO_INPUTS
    assert await refused(pool, spend(coins, [])) is Rule.NO_OUTPUTS
    null = OutPoint(PARAMS.genesis.transactions[0].core.inputs[0].txid, 5)
    mixed = Transaction(core([*coins, null], [pay(1, 1_000)]), ())
    assert await refused(pool, mixed) is Rule.NULL_INPUT


async def test_a_coinbase_outside_a_block_is_refused(pool: Pool) -> None:
    """A013: one of a past block, and one of the block to come."""
    assert await refused(pool, pool.ledger.blocks[2].transactions[0]) is Rule.COINBASE_FIRST
    future = core([OutPoint(PARAMS.genesis.transactions[0].core.inputs[0].txid, 99)], [pay(1, 1_000)], bytes(32))
    assert await refused(pool, Transaction(future, ())) is Rule.COINBASE_FIRST


async def test_a_reward_may_be_spent_in_the_first_block_that_finds_it_ripe(pool: Pool) -> None:
    """A014: judged at the height of the next block, one above the tip."""
    next_height = pool.ledger.tip.height + 1
    ripe, unripe = next_height - MATURITY, next_height - MATURITY + 1
    assert await refused(pool, forward(pool.reward(unripe))) == Rule.IMMATURE_SPEND
    await accepted(pool, forward(pool.reward(ripe)))
    pool.mine()
    await accepted(pool, forward(pool.reward(unripe)))


# Witnesses


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda w: (*w, w[0]), Rule.WITNESS_COUNT),
        (lambda w: (), Rule.WITNESS_COUNT),
        (lambda w: (Witness(w[0].policy, (*w[0].satisfactions, bytes(64))),), Rule.SATISFACTION_COUNT),
        (lambda w: (Witness(w[0].policy, ()),), Rule.SATISFACTION_COUNT),
        (lambda w: (Witness(w[0].policy, (w[0].satisfactions[0] + b"\0",)),), Rule.SATISFACTION_SIZE),
        (lambda w: (Witness(w[0].policy, (w[0].satisfactions[0][:-1],)),), Rule.SATISFACTION_SIZE),
        (lambda w: (Witness(key(2), w[0].satisfactions),), Rule.POLICY_MISMATCH),
        (lambda w: (Witness(Threshold(1, (w[0].policy,)), w[0].satisfactions),), Rule.POLICY_MISMATCH),
        (lambda w: (Witness(w[0].policy, (bytes(64),)),), Rule.BAD_SIGNATURE),
    ],
)
async def test_a_damaged_twin_is_refused_and_does_not_keep_the_honest_one_out(
    pool: Pool, damage: object, rule: Rule
) -> None:
    """A038, A103: the twin has the same txid; what is remembered as bad is its wtxid."""
    honest = forward(pool.reward(1))
    twin = Transaction(honest.core, damage(honest.witnesses))  # type: ignore[operator]
    assert twin.txid == honest.txid
    assert await refused(pool, twin) is rule
    assert not pool.mempool.wants(twin.wtxid)
    assert pool.mempool.wants(honest.wtxid)
    await accepted(pool, honest)


async def test_of_two_valid_twins_the_first_is_kept(pool: Pool) -> None:
    """A038: a threshold may be satisfied in several ways; the txid is the same, so the coin is spent once."""
    policy = Threshold(1, (key(1), key(2)))
    coins = give(pool, 1_000_000, policy)
    unsigned = core(list(coins), [pay(1, 900_000)])
    spent = [coin.output for coin in coins.values()]
    ways = [Threshold(1, (key(1), _hidden(key(2)))), Threshold(1, (_hidden(key(1)), key(2)))]
    first, second = (Transaction(unsigned, witnesses_for(spent, unsigned, {policy_id(policy): way})) for way in ways)
    await accepted(pool, first)
    assert await refused(pool, second) is Refusal.SAME_TXID
    assert pool.mempool.by_wtxid(second.wtxid) is None
    assert pool.mempool.get(second.txid) is first


def _hidden(policy: Policy) -> Policy:
    from consensus.types import Opaque

    return Opaque(policy_id(policy))


@pytest.mark.parametrize("size", [0, 31, 33])
async def test_a_preimage_has_exactly_32_bytes(pool: Pool, size: int) -> None:
    """A066: one of another length is refused; the right one is accepted."""
    from hashlib import sha256

    preimage = bytes(range(32))
    policy = Threshold(2, (key(1), Preimage(sha256(preimage).digest())))
    coins = give(pool, 1_000_000, policy)
    right = forward(coins, policies={policy_id(policy): policy}, preimages={sha256(preimage).digest(): preimage})
    signature = right.witnesses[0].satisfactions[0]
    wrong = Transaction(right.core, (Witness(policy, (signature, bytes(size))),))
    assert await refused(pool, wrong) is Rule.SATISFACTION_SIZE
    other = Transaction(right.core, (Witness(policy, (signature, bytes(32))),))
    assert await refused(pool, other) is Rule.BAD_PREIMAGE
    await accepted(pool, right)


@pytest.mark.parametrize("policy", [Preimage(bytes(32)), AfterHeight(1), Pays(lock(1))])
async def test_a_spend_without_a_signature_is_not_relayed(pool: Pool, policy: Policy) -> None:
    coins = give(pool, 1_000_000, policy) | pool.reward(1)
    tx = spend(coins, [pay(1, 1_000_000), pay(1, 1_000)], {policy_id(policy): policy}, {bytes(32): bytes(32)})
    assert await refused(pool, tx) is Refusal.NO_SIGNATURE


async def test_a_large_transaction_is_not_relayed(pool: Pool) -> None:
    coins = give(pool, 10_000_000)

    def sized(parts: int, memo: int) -> Transaction:
        return forward(coins, fee=1_000_000, parts=parts, memo=bytes(memo))

    # Outputs for most of the bytes, and a memo to fill up to exactly the bound.
    output = (len(sized(1_100, 0).encoded) - len(sized(1_000, 0).encoded)) // 100
    parts = 1_000 + (MAX_RELAY_SIZE - len(sized(1_000, 0).encoded)) // output
    memo = MAX_RELAY_SIZE - len(sized(parts, 0).encoded)
    assert len(sized(parts, memo).encoded) == MAX_RELAY_SIZE
    assert await refused(pool, sized(parts, memo + 1)) is Refusal.TOO_LARGE
    await accepted(pool, sized(parts, memo))


# Bounds on what hangs together


async def test_a_chain_of_25_is_taken_and_its_26th_is_not(pool: Pool) -> None:
    tx = forward(pool.reward(1))
    for _ in range(MAX_CHAIN - 1):
        await accepted(pool, tx)
        tx = forward(outputs_of(tx))
    await accepted(pool, tx)
    assert await refused(pool, forward(outputs_of(tx))) is Refusal.CHAIN_TOO_LONG


async def test_a_transaction_has_at_most_24_descendants(pool: Pool) -> None:
    parent = forward(pool.reward(1), parts=MAX_CHAIN)
    await accepted(pool, parent)
    for index in range(MAX_CHAIN - 1):
        await accepted(pool, forward(outputs_of(parent, index)))
    assert await refused(pool, forward(outputs_of(parent, MAX_CHAIN - 1))) is Refusal.CHAIN_TOO_LONG


# What a flood costs


async def test_an_invalid_transaction_is_verified_once(pool: Pool) -> None:
    """A096: it fails only at its last signature; offered again it costs a look into a table."""
    coins = {}
    for n in range(1, 9):
        place = outpoint(n)
        pool.ledger.coins[place] = Coin(pay(n, 1_000_000), 1, False)
        coins[place] = pool.ledger.coins[place]
    honest = forward(coins)
    last = honest.witnesses[-1]
    bad = Transaction(honest.core, (*honest.witnesses[:-1], Witness(last.policy, honest.witnesses[0].satisfactions)))
    for _ in range(3):
        assert await refused(pool, bad) is Rule.BAD_SIGNATURE
    assert pool.verifier.asked == 1
    await accepted(pool, honest)


async def test_the_memory_of_invalid_transactions_is_bounded(pool: Pool) -> None:
    """A103, A197: beyond its bound the oldest are forgotten."""
    twins = [Transaction(core([], [], n.to_bytes(4, "big")), ()) for n in range(MAX_REMEMBERED + 2)]
    for twin in twins:
        with pytest.raises(ConsensusError):
            pool.mempool.check(twin)
    assert [pool.mempool.wants(twin.wtxid) for twin in (*twins[:3], twins[-1])] == [True, True, False, False]


async def test_what_was_refused_is_not_asked_for_again_before_the_next_block(pool: Pool) -> None:
    low = forward(pool.reward(1), fee=0)
    assert await refused(pool, low) is Refusal.LOW_FEE
    assert not pool.mempool.wants(low.wtxid)
    pool.mine()
    assert pool.mempool.wants(low.wtxid)


# While signatures are being verified


class _Gate:
    """A verifier that waits until it is told to go on."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def verify(self, checks: Sequence[SignatureCheck]) -> int | None:
        await self.open.wait()
        return verify_all(checks)


async def test_of_two_conflicting_transactions_verified_at_once_one_enters(pool: Pool) -> None:
    gate = _Gate()
    pool.mempool._workers = gate
    rivals = [forward(pool.reward(1), fee=FEE + n) for n in range(2)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_outcome(pool, tx)) for tx in rivals]
        await asyncio.sleep(0)
        gate.open.set()
    assert [task.result() for task in tasks] == [None, Refusal.REPLACEMENT_FEE]


async def test_a_block_that_comes_during_verification_keeps_its_rivals_out(pool: Pool) -> None:
    gate = _Gate()
    pool.mempool._workers = gate
    coins = pool.reward(1)
    tx = forward(coins)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_outcome(pool, tx))
        await asyncio.sleep(0)
        pool.mine([forward(coins, fee=2 * FEE)])
        gate.open.set()
    assert task.result() == Rule.MISSING_COIN
    assert len(pool.mempool) == 0


async def _outcome(pool: Pool, tx: Transaction) -> str | None:
    try:
        await pool.mempool.accept_transaction(tx)
    except (NotYet, PolicyError) as error:
        return error.reason
    return None


def test_refusals_read_as_a_name_and_facts() -> None:
    assert str(PolicyError(Refusal.DUST, value=1, txid=b"\xab")) == "dust: value=1, txid=ab"
    assert str(PolicyError(Refusal.CONFLICT)) == "conflict"


def test_encodings_used_here_are_those_of_the_wire(pool: Pool) -> None:
    tx = forward(pool.reward(1))
    assert decode_transaction(encode(tx)) == tx


def _sized(coins: dict[OutPoint, Coin], size: int) -> Transaction:
    """A payment of exactly `size` bytes (more than 10,000), with two outputs or more for others to spend."""
    fee = 2 * MAX_CHAIN_SIZE
    output = len(forward(coins, fee=fee, parts=1_001).encoded) - len(forward(coins, fee=fee, parts=1_000).encoded)
    parts = 1_000 + (size - len(forward(coins, fee=fee, parts=1_000).encoded)) // output
    tx = forward(coins, fee=fee, parts=parts, memo=bytes(size - len(forward(coins, fee=fee, parts=parts).encoded)))
    assert len(tx.encoded) == size
    return tx


@pytest.mark.parametrize("more", [0, 1])
async def test_a_transaction_and_its_ancestors_have_at_most_so_many_bytes(pool: Pool, more: int) -> None:
    first = _sized(give(pool, 10**11), 90_000)
    second = _sized(outputs_of(first, 0) | give(pool, 10**11, n=2), 90_000)
    third = _sized(outputs_of(second, 0) | give(pool, 10**11, n=3), MAX_CHAIN_SIZE - 180_000 + more)
    await accepted(pool, first)
    await accepted(pool, second)
    if more:
        assert await refused(pool, third) is Refusal.CHAIN_TOO_LONG
    else:
        await accepted(pool, third)


@pytest.mark.parametrize("more", [0, 1])
async def test_a_transaction_and_its_descendants_have_at_most_so_many_bytes(pool: Pool, more: int) -> None:
    parent = _sized(give(pool, 10**11), 90_000)
    first = _sized(outputs_of(parent, 0) | give(pool, 10**11, n=2), 90_000)
    second = _sized(outputs_of(parent, 1) | give(pool, 10**11, n=3), MAX_CHAIN_SIZE - 180_000 + more)
    await accepted(pool, parent)
    await accepted(pool, first)
    if more:
        assert await refused(pool, second) is Refusal.CHAIN_TOO_LONG
    else:
        await accepted(pool, second)
