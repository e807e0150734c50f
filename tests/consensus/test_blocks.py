"""Blocks alone and applied: the rules of the whole, and apply against revert."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.apply import AppliedBlock, apply_block, revert_block
from consensus.codec import MAX_BLOCK_SIZE, coin_entry, decode_block, encode
from consensus.errors import BODY_RULES, ConsensusError, Rule
from consensus.hashing import hash256
from consensus.params import LOCAL, MAIN, REGTEST
from consensus.signatures import SignatureCheck, verify_all
from consensus.slices import SLICE
from consensus.state import ChainState, StateDelta, genesis_state
from consensus.subsidy import block_subsidy, supply_at
from consensus.types import (
    MAX_MEMO,
    NULL_TXID,
    Amount,
    Block,
    Burn,
    Coin,
    Core,
    Header,
    OutPoint,
    Transaction,
    Witness,
)
from consensus.validation import MAX_BLOCK_SIGNATURES, check_block, check_header
from tests.support.rules import build, coin, coinbase, core, key, mine, outpoint, pay, spend

START = genesis_state(REGTEST)
SUBSIDY = REGTEST.initial_subsidy
Coins = dict[OutPoint, Coin]


def alone(block: Block) -> Rule | None:
    try:
        check_block(REGTEST, block)
    except ConsensusError as error:
        return error.rule
    return None


def applied(parent: ChainState, block: Block, coins: Coins) -> AppliedBlock:
    check_header(REGTEST, block.header, parent)
    check_block(REGTEST, block)
    result = apply_block(REGTEST, parent, block, coins, {})
    assert verify_all(result.checks) is None
    return result


def refusal(block: Block, coins: Coins, parent: ChainState = START) -> Rule | None:
    try:
        applied(parent, block, coins)
    except ConsensusError as error:
        return error.rule
    return None


def change(coins: Coins, delta: StateDelta) -> Coins:
    assert not delta.spent.keys() - coins.keys()
    assert not delta.created.keys() & coins.keys()
    return {name: each for name, each in coins.items() if name not in delta.spent} | delta.created


def block_of(transactions: Sequence[Transaction]) -> Block:
    return build(REGTEST, START, transactions)


def test_the_coinbase_takes_at_most_subsidy_and_fees() -> None:
    """A007: one grain more is refused; less is accepted and the rest is gone."""
    coins = {outpoint(7): coin(1, 100, height=0)}
    tx = spend(coins, [pay(2, 90)])
    assert refusal(mine(REGTEST, START, [tx], fees=10), coins) is None
    assert refusal(mine(REGTEST, START, [tx], fees=11), coins) is Rule.COINBASE_VALUE
    assert refusal(mine(REGTEST, START, [tx], fees=-1000), coins) is None
    assert refusal(block_of([coinbase(1), tx]), coins) is None
    assert applied(START, mine(REGTEST, START, [tx], fees=10), coins).fees == 10


def test_a_block_with_a_duplicate_input_is_refused_by_its_transaction() -> None:
    """A008: the transaction's own check, in a block."""
    double = Transaction(core([outpoint(7), outpoint(7)], [pay(2, 1)]), ())
    assert alone(block_of([coinbase(1), double])) is Rule.DUPLICATE_INPUT


def test_two_transactions_of_a_block_cannot_spend_one_output() -> None:
    """A008 A009: the block's separate check; and were it not there, the coin would be missing."""
    coins = {outpoint(7): coin(1, 100, height=0)}
    block = mine(REGTEST, START, [spend(coins, [pay(2, 90)]), spend(coins, [pay(3, 90)])])
    assert alone(block) is Rule.BLOCK_DOUBLE_SPEND
    with pytest.raises(ConsensusError) as error:
        apply_block(REGTEST, START, block, coins, {})
    assert error.value.rule is Rule.MISSING_COIN


def test_an_output_is_spent_after_it_is_created() -> None:
    """A010: within a block, earlier is accepted and later refused."""
    coins = {outpoint(7): coin(1, 100, height=0)}
    parent = spend(coins, [pay(2, 90)])
    child = spend({OutPoint(parent.txid, 0): coin(2, 90)}, [pay(3, 80)])
    assert refusal(mine(REGTEST, START, [parent, child]), coins) is None
    assert refusal(mine(REGTEST, START, [child, parent]), coins) is Rule.MISSING_COIN


def test_what_is_created_and_spent_within_a_block_leaves_no_trace() -> None:
    coins = {outpoint(7): coin(1, 100, height=0)}
    parent = spend(coins, [pay(2, 90)])
    child = spend({OutPoint(parent.txid, 0): coin(2, 90)}, [pay(3, 80)])
    result = applied(START, mine(REGTEST, START, [parent, child]), coins)
    assert list(result.delta.spent) == [outpoint(7)]
    assert OutPoint(parent.txid, 0) not in result.delta.created
    assert OutPoint(child.txid, 0) in result.delta.created


def test_the_coinbase_is_first_and_alone() -> None:
    """A013: not first, two, none, an empty block, a second input."""
    tx = Transaction(core([outpoint(7)], [pay(2, 1)]), ())
    two_inputs = Transaction(core([OutPoint(NULL_TXID, 1), outpoint(7)], [pay(1, 1)]), ())
    for transactions in ([tx, coinbase(1)], [coinbase(1), coinbase(1, memo=b"another coinbase, not first")], [tx]):
        assert alone(block_of(transactions)) is Rule.COINBASE_FIRST
    assert alone(block_of([two_inputs])) is Rule.COINBASE_FIRST
    empty = Block(Header(1, START.hash, bytes(32), START.median_time + 1, REGTEST.start_bits, 0), ())
    assert alone(empty) is Rule.NO_TRANSACTIONS
    assert Rule.NO_TRANSACTIONS in BODY_RULES


@pytest.mark.parametrize("height", [0, 2, 2**32 - 1])
def test_the_coinbase_names_its_height(height: int) -> None:
    """A015: BIP 34 by construction, so that no two coinbases share a txid; longer forms do not decode."""
    assert refusal(block_of([coinbase(height)]), {}) is Rule.COINBASE_HEIGHT
    assert refusal(block_of([coinbase(1)]), {}) is None


def test_a_coinbase_memo_is_bounded_like_any_other() -> None:
    """A016: 0 and 96 bytes are taken; 97 do not decode (see the codec); a 64-byte coinbase is refused."""
    for size in (0, MAX_MEMO):
        assert alone(block_of([coinbase(1, [pay(1, 1)], bytes(size))])) is None
    sizes = {len(coinbase(1, memo=bytes(size)).encoded): size for size in range(40)}
    short = block_of([coinbase(1, memo=bytes(sizes[64]))])
    assert alone(short) is Rule.TX_SIZE_64
    assert Rule.TX_SIZE_64 in BODY_RULES


def test_a_coinbase_has_no_witnesses_issuances_or_burns() -> None:
    plain = coinbase(1).core
    burning = Core(1, plain.inputs, (), (), (Burn(bytes(32), Amount(1)),), plain.memo)  # type: ignore[arg-type]
    for bad in (Transaction(plain, (Witness(key(1), ()),)), Transaction(burning, ())):
        assert alone(block_of([bad])) is Rule.COINBASE_SHAPE


def test_a_block_has_at_most_4_mib() -> None:
    """A017: the size comes before the root, for a block that no decoder saw (see `test_rules` for the exact byte)."""
    filler = Witness(key(1), (bytes(64),) * 64)
    big = Transaction(core([outpoint(7)], [pay(1, 1)]), (filler,) * 90)
    many = [coinbase(1), *[big] * (MAX_BLOCK_SIZE // len(big.encoded))]
    below = Block(mine(REGTEST, START).header, tuple(many))
    assert len(below.encoded) <= MAX_BLOCK_SIZE
    assert alone(below) is Rule.MERKLE_ROOT
    above = Block(below.header, (*below.transactions, big))
    with pytest.raises(ConsensusError) as refused:
        check_block(REGTEST, above)
    assert str(refused.value) == f"block-size: size={len(above.encoded)}, limit=4194304"


def test_signatures_of_a_block_are_counted_before_any_is_verified() -> None:
    """A018: 20,000 satisfactions of 64 bytes pass the count, one more does not, wherever they stand."""
    full = Transaction(core([outpoint(7)], [pay(1, 1)]), (Witness(key(1), (bytes(64),) * 50),))
    at_limit = [coinbase(1), *[full] * (MAX_BLOCK_SIGNATURES // 50)]
    assert alone(block_of(at_limit)) is Rule.BLOCK_DOUBLE_SPEND
    over = Transaction(core([outpoint(8)], [pay(1, 1)]), (Witness(key(1), (bytes(64),)),))
    assert alone(block_of([*at_limit, over])) is Rule.BLOCK_SIGNATURES


def test_the_same_transactions_under_another_header_have_the_same_root() -> None:
    """A021: so a body that does not decode, or does not match, condemns its sender and no header."""
    honest = mine(REGTEST, START)
    raw = honest.encoded
    assert raw[83:85] == b"\x91\x92"
    other_header = raw[:83] + b"\xdc\x00\x01" + raw[84:]
    with pytest.raises(ConsensusError) as error:
        decode_block(other_header)
    assert error.value.rule is Rule.MALFORMED
    swapped = Block(honest.header, (coinbase(1, memo=b"another, with no work behind it"),))
    assert alone(swapped) is Rule.MERKLE_ROOT
    assert {Rule.MALFORMED, Rule.MERKLE_ROOT} <= BODY_RULES
    assert alone(honest) is None


@pytest.mark.parametrize("params", [MAIN, LOCAL, REGTEST], ids=lambda params: params.name)
def test_the_subsidy_halves_and_ends(params: type) -> None:
    """A024: both sides of the first halving; 0 from the 64th on; the sum is the promised supply."""
    interval, initial = params.subsidy_interval, params.initial_subsidy  # type: ignore[attr-defined]
    assert [block_subsidy(params, interval + step) for step in (-1, 0, 1)] == [initial, initial // 2, initial // 2]  # type: ignore[arg-type]
    for halvings in (63, 64, 65, 128, 1000):
        assert block_subsidy(params, halvings * interval) == initial >> min(halvings, 64)  # type: ignore[arg-type]
    total = sum((initial >> n) * (interval - (n == 0)) for n in range(64))
    assert params.total_supply == total == supply_at(initial, interval, 10**9)  # type: ignore[attr-defined]


@given(st.integers(0, 2_000))
def test_the_supply_is_the_sum_of_the_subsidies(height: int) -> None:
    """A024: the closed form against the sum, across several halvings."""
    total = sum(block_subsidy(REGTEST, h) for h in range(1, height + 1))
    assert supply_at(REGTEST.initial_subsidy, REGTEST.subsidy_interval, height) == total


def state_hash(coins: Coins) -> bytes:
    return hash256(b"".join(sorted(coin_entry(name, each) for name, each in coins.items())))


def play(seed: int, blocks: int) -> tuple[list[tuple[Block, AppliedBlock, ChainState]], Coins]:
    """A chain of random payments, with fees that miners take or leave; conservation holds at every height."""
    rng = random.Random(seed)
    state, coins, chain = START, dict[OutPoint, Coin](), []
    lost = 0
    for _ in range(blocks):
        height = state.height + 1
        ripe = [o for o, c in coins.items() if not c.coinbase or height >= c.height + REGTEST.coinbase_maturity]
        rng.shuffle(ripe)
        txs: list[Transaction] = []
        fees = 0
        while ripe and len(txs) < 4:
            spent = {o: coins[o] for o in (ripe.pop() for _ in range(min(len(ripe), rng.randint(1, 3))))}
            total, fee = sum(c.output.value for c in spent.values()), rng.randint(0, 50)
            part = rng.randint(1, total - fee - 1)
            txs.append(spend(spent, [pay(rng.randint(1, 9), part), pay(rng.randint(1, 9), total - fee - part)]))
            fees += fee
        taken = rng.choice([fees, fees, 0])
        lost += fees - taken
        block = mine(REGTEST, state, txs, to=rng.randint(1, 9), fees=taken)
        result = applied(state, block, coins)
        coins = change(coins, result.delta)
        chain.append((block, result, state))
        state = check_header(REGTEST, block.header, state)
        supply = supply_at(SUBSIDY, REGTEST.subsidy_interval, height)
        assert sum(c.output.value for c in coins.values()) == supply - lost
    return chain, coins


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32))
def test_apply_then_revert_is_the_identity(seed: int) -> None:
    """A075 A059: and coins are conserved at every height on the way (checked inside `play`)."""
    chain, coins = play(seed, 110)
    for block, result, parent in reversed(chain):
        coins = change(coins, revert_block(block, parent.height + 1, result.undo))
    assert coins == {}


def test_every_signature_of_a_block_is_to_be_verified_in_its_order() -> None:
    """One bad signature counts wherever it stands, and its place names it."""
    coins = {outpoint(n): coin(n, 100) for n in range(1, 5)}
    good = [spend({name: held}, [pay(9, 100)]) for name, held in coins.items()]

    def spoilt(tx: Transaction) -> Transaction:
        (witness,) = tx.witnesses
        (signature,) = witness.satisfactions
        return Transaction(tx.core, (Witness(witness.policy, (signature[:63] + bytes([signature[63] ^ 1]),)),))

    def checks_of(txs: list[Transaction]) -> list[SignatureCheck]:
        return apply_block(REGTEST, START, mine(REGTEST, START, txs), coins, {}).checks

    checks = checks_of(good)
    assert [check.key for check in checks] == [key(n).key for n in range(1, 5)]
    assert [check.signature for check in checks] == [tx.witnesses[0].satisfactions[0] for tx in good]
    assert verify_all(checks) is None
    for place in range(4):
        assert verify_all(checks_of([*good[:place], spoilt(good[place]), *good[place + 1 :]])) == place


def test_every_transaction_of_a_long_block_is_looked_at() -> None:
    """However many turns that takes: the last one counts like the first."""
    others = [Transaction(core([outpoint(n)], [pay(1, 1)]), ()) for n in range(1, 3 * SLICE + 2)]
    assert alone(mine(REGTEST, START, others)) is None
    for place in (0, SLICE - 1, SLICE, 2 * SLICE, len(others) - 1):
        wrong = Transaction(core([outpoint(place + 1)], [pay(1, 1)], version=2), ())
        assert alone(mine(REGTEST, START, [*others[:place], wrong, *others[place + 1 :]])) is Rule.TX_VERSION


def test_taking_a_block_back_is_its_delta_turned_round() -> None:
    """A075: coin by coin as they were made, not only by name; nothing of what came and went within the block."""
    chain, _ = play(3, 108)
    inner = 0
    for block, result, parent in chain:
        back = revert_block(block, parent.height + 1, result.undo)
        assert back == StateDelta(spent=result.delta.created, created=result.delta.spent, assets={})
        inner += len(result.delta.spent) > 0
    assert inner > 3
    coins = {outpoint(9): coin(2, 100)}
    first = spend(coins, [pay(2, 60), pay(3, 40)])
    second = spend({OutPoint(first.txid, 0): Coin(first.core.outputs[0], 1, False)}, [pay(4, 60)])
    block = mine(REGTEST, START, [first, second])
    delta, undo = applied(START, block, coins)[:2]
    reward = block.transactions[0]
    assert revert_block(block, 1, undo) == StateDelta(
        spent={
            OutPoint(reward.txid, 0): Coin(reward.core.outputs[0], 1, True),
            OutPoint(first.txid, 1): Coin(pay(3, 40), 1, False),
            OutPoint(second.txid, 0): Coin(pay(4, 60), 1, False),
        },
        created=coins,
        assets={},
    )
    assert delta == StateDelta(revert_block(block, 1, undo).created, revert_block(block, 1, undo).spent, {})


def test_the_state_hash_does_not_depend_on_the_interpreter() -> None:
    """A042, A195: PYTHONHASHSEED, locale and time zone make no difference."""
    program = "from tests.consensus.test_blocks import play, state_hash; print(state_hash(play(11, 104)[1]).hex())"
    answers = set()
    for seed, zone, locale in (("0", "UTC", "C"), ("1", "Asia/Seoul", "C.UTF-8"), ("99", "America/New_York", "C")):
        environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale}
        done = subprocess.run(
            [sys.executable, "-c", program], check=False, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        answers.add(done.stdout.strip())
    assert answers == {state_hash(play(11, 104)[1]).hex()}


def test_entries_of_the_state_hash_sort_by_outpoint() -> None:
    """Stores that keep coins in the order of txid and index can hash them as they come."""
    names = [outpoint(n, i) for n in (1, 2, 300) for i in (0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1)]
    entries = [coin_entry(name, coin(1, 5)) for name in names]
    assert entries == sorted(entries)
    assert entries[0] == encode((0, names[0], coin(1, 5).output, 1, 0))
