"""A template is a valid block but for its work, and the one that pays most."""

from __future__ import annotations

import asyncio
import random

import pytest
from msgspec.structs import replace

from consensus.apply import apply_block
from consensus.codec import MAX_BLOCK_SIZE, decode_block
from consensus.errors import ConsensusError, Rule
from consensus.params import LOCAL, MAIN, REGTEST
from consensus.spend_policy import policy_id
from consensus.state import ChainState, genesis_state
from consensus.subsidy import block_subsidy
from consensus.types import Amount, Block, Coin, Header, OutPoint, Output, Threshold, Transaction
from consensus.validation import MAX_BLOCK_SIGNATURES, check_block, check_body
from node import package_selection
from node.block_template import (
    LONGEST_REFRESH,
    RESERVED_SIZE,
    BlockTemplate,
    BlockTemplates,
    make_coinbase,
    refresh_seconds,
)
from node.mempool_graph import Entry
from node.relay_policy import PolicyError
from simnet.loop import run_virtual
from tests.support.chain import ManualClock
from tests.support.pool import FEE, PARAMS, Ledger, Pool, forward, outputs_of
from tests.support.rules import find_nonce, key, lock, outpoint, pay, spend


@pytest.fixture
def pool() -> Pool:
    return Pool()


def templates_of(pool: Pool) -> BlockTemplates:
    return BlockTemplates(PARAMS, pool.ledger, pool.mempool, pool.clock)


def solved(template: BlockTemplate, extranonce: int = 0) -> Block:
    block = template.block(extranonce)
    return Block(find_nonce(block.header), block.transactions)


def give(pool: Pool, n: int, value: int = 1_000_000) -> dict[OutPoint, Coin]:
    place = outpoint(n)
    pool.ledger.coins[place] = Coin(pay(1, value), 1, False)
    return {place: pool.ledger.coins[place]}


def take(pool: Pool, *transactions: Transaction) -> None:
    for tx in transactions:
        pool.mempool.add(pool.mempool.check(tx))


# What it is


def test_an_empty_mempool_gives_a_block_with_the_subsidy(pool: Pool) -> None:
    template = templates_of(pool).create(lock(3))
    tip = pool.ledger.tip
    assert (template.height, template.previous) == (tip.height + 1, tip.hash)
    assert template.coinbase_value == block_subsidy(PARAMS, template.height)
    assert template.coinbase.core.outputs[0].lock == lock(3)
    pool.ledger.connect(solved(template))


def test_a_template_with_payments_is_a_valid_block_and_collects_every_fee(pool: Pool) -> None:
    """A007: to the grain; one grain more would be refused."""
    parent = forward(pool.reward(1), parts=3)
    take(pool, parent, forward(outputs_of(parent, 1), fee=7 * FEE), forward(pool.reward(2), fee=2 * FEE))
    template = templates_of(pool).create(lock(3))
    assert template.fees == 10 * FEE
    assert template.coinbase_value == block_subsidy(PARAMS, template.height) + 10 * FEE
    greedy = make_coinbase(template.height, template.coinbase_value + 1, lock(3))
    block = Block(template.block().header, (greedy, *template.block().transactions[1:]))
    with pytest.raises(ConsensusError) as refusal:
        apply_block(PARAMS, pool.ledger.tip, block, pool.ledger.coins, {})
    assert refusal.value.rule is Rule.COINBASE_VALUE
    pool.connect(solved(template))
    assert len(pool.mempool) == 0


def test_extranonces_change_the_root_and_nothing_else_of_the_header(pool: Pool) -> None:
    template = templates_of(pool).create(lock(3))
    first, second = template.block(0), template.block(2**64 - 1)
    assert first.transactions[0] == template.coinbase
    assert first.header.merkle_root != second.header.merkle_root
    assert replace(first.header, merkle_root=b"") == replace(second.header, merkle_root=b"")
    assert len(first.encoded) == len(second.encoded)
    check_body(second)


def test_the_time_is_the_clocks_unless_the_median_is_later(pool: Pool) -> None:
    templates = templates_of(pool)
    assert templates.create(lock(1)).time == pool.clock.now
    pool.clock.now = 0
    template = templates.create(lock(1))
    assert template.time == template.min_time == pool.ledger.tip.median_time + 1
    pool.ledger.connect(solved(template))


@pytest.mark.parametrize("height", [1, 127, 128, 255, 256, 65_535, 65_536, 2**31])
@pytest.mark.parametrize("value", [0, 1, 50 * 10**8])
def test_no_coinbase_has_64_bytes(height: int, value: int) -> None:
    """A020: nor can one without outputs, when there is neither subsidy nor fee."""
    coinbase = make_coinbase(height, value, lock(1))
    assert len(coinbase.encoded) > 64
    assert coinbase.is_coinbase
    assert coinbase.core.inputs[0].index == height
    assert sum(output.value for output in coinbase.core.outputs) == value


def test_a_block_without_any_reward_is_valid() -> None:
    """A024: after the last halving, without a payment."""
    barren = replace(PARAMS, initial_subsidy=Amount(0))
    pool = Pool()
    ledger = Ledger(barren)
    template = BlockTemplates(barren, ledger, pool.mempool, ManualClock()).create(lock(1))
    assert template.coinbase.core.outputs == ()
    ledger.connect(solved(template))


def test_bits_follow_the_difficulty_rule() -> None:
    for params in (MAIN, LOCAL, REGTEST):
        template = BlockTemplates(params, _Tip(genesis_state(params)), Pool(0).mempool, Pool(0).clock).create(lock(1))
        assert template.bits == params.start_bits
        assert template.target > 0


class _Tip:
    def __init__(self, tip: ChainState) -> None:
        self.tip = tip


# What goes in


def order(pool: Pool, max_bytes: int = 10**9, max_signatures: int = 10**9) -> list[Transaction]:
    return [entry.tx for entry in pool.mempool.select(max_bytes, max_signatures)]


def test_what_pays_best_goes_first_and_equals_in_the_order_of_coming(pool: Pool) -> None:
    low, high, alike = (forward(give(pool, n), fee=fee) for n, fee in [(1, 1_000), (2, 3_000), (3, 1_000)])
    take(pool, low, high, alike)
    assert order(pool) == [high, low, alike]


def test_a_child_pays_for_its_parent(pool: Pool) -> None:
    parent = forward(give(pool, 1), fee=500)
    child = forward(outputs_of(parent), fee=9_000)
    middle = forward(give(pool, 2), fee=2_000)
    take(pool, parent, middle, child)
    assert order(pool) == [parent, child, middle]


def test_a_parent_that_pays_well_does_not_wait_for_its_poor_child(pool: Pool) -> None:
    parent = forward(give(pool, 1), fee=9_000)
    child = forward(outputs_of(parent), fee=500)
    middle = forward(give(pool, 2), fee=2_000)
    take(pool, parent, child, middle)
    assert order(pool) == [parent, middle, child]


def test_a_second_child_is_judged_alone_once_its_parent_is_chosen(pool: Pool) -> None:
    """Its score with the parent is low, without it high: it must be scored anew, not left where it was."""
    parent = forward(give(pool, 1), fee=300, parts=2)
    rich = forward(outputs_of(parent, 0), fee=20_000)
    other = forward(outputs_of(parent, 1), fee=3_000)
    middle = forward(give(pool, 2), fee=2_500)
    take(pool, parent, rich, other, middle)
    assert order(pool) == [parent, rich, other, middle]


def test_both_bounds_of_a_block_hold_and_smaller_ones_fill_the_rest(pool: Pool) -> None:
    """A017, A018: to the byte and to the signature."""
    large = forward(give(pool, 1), fee=50_000, parts=10)
    small = forward(give(pool, 2), fee=1_000)
    two = Threshold(2, (key(1), key(2)))
    place = outpoint(3)
    pool.ledger.coins[place] = Coin(Output(Amount(1_000_000), policy_id(two), None), 1, False)
    double = spend({place: pool.ledger.coins[place]}, [pay(1, 900_000)], {policy_id(two): two})
    take(pool, large, small, double)
    both = len(large.encoded) + len(double.encoded)
    assert order(pool) == [double, large, small]
    assert order(pool, max_bytes=both + len(small.encoded)) == [double, large, small]
    assert order(pool, max_bytes=both + len(small.encoded) - 1) == [double, large]
    assert order(pool, max_bytes=both - 1) == [double, small]
    assert order(pool, max_signatures=4) == [double, large, small]
    assert order(pool, max_signatures=3) == [double, large]
    assert order(pool, max_signatures=1) == [large]
    assert order(pool, max_bytes=0) == []


def test_no_child_goes_in_without_a_parent_that_does_not_fit(pool: Pool) -> None:
    parent = forward(give(pool, 1), fee=50_000, parts=10)
    child = forward(outputs_of(parent, 0), fee=3_000)
    small = forward(give(pool, 2), fee=1_000)
    take(pool, parent, child, small)
    assert order(pool, max_bytes=len(parent.encoded) - 1) == [small]


def test_the_search_for_what_fits_ends(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A198: a mempool full of what does not fit costs a bounded number of tries."""
    for n in range(1, 12):
        take(pool, forward(give(pool, n), fee=50_000, parts=10))
    small = forward(give(pool, 20), fee=1_000)
    take(pool, small)
    assert order(pool, max_bytes=400) == [small]
    monkeypatch.setattr(package_selection, "MAX_MISSES", 11)
    assert order(pool, max_bytes=400) == []


def test_a_full_block_is_within_the_size_that_consensus_allows() -> None:
    """A017: the coinbase and the header fit beside as many transactions as are selected."""
    pool = Pool(rewards=0, max_bytes=10**9)
    memo = bytes(96)
    for n in range(1, 60):
        take(pool, forward(give(pool, n, 10**10), fee=10**9, parts=1_700, memo=memo))
    template = templates_of(pool).create(lock(1))
    block = solved(template)
    assert MAX_BLOCK_SIZE - RESERVED_SIZE - 100_000 < len(block.encoded) <= MAX_BLOCK_SIZE
    assert decode_block(block.encoded).hash == block.hash
    check_block(PARAMS, block)


@pytest.mark.parametrize("seed", range(12))
def test_any_selection_is_the_one_that_a_plain_greedy_choice_by_ancestors_makes(seed: int) -> None:
    """Never worse than the model below, which works everything out anew at each step; indeed the same, in any state."""
    chance = random.Random(seed)
    pool = Pool(0)
    free = [give(pool, n, 10**7) for n in range(1, 13)]
    for step in range(60):
        coins = free.pop(chance.randrange(len(free)))
        if len(free) > 3 and chance.random() < 0.3:
            coins |= free.pop(chance.randrange(len(free)))
        tx = forward(coins, fee=chance.choice([500, 1_000, 4_000, 4_000, 20_000]), parts=chance.randint(1, 3))
        try:
            take(pool, tx)
        except PolicyError:
            continue
        free += ({place: coin} for place, coin in outputs_of(tx).items())
        if step % 20 == 19:
            # Some are mined: what descends from them is scored anew.
            pool.mine([entry.tx for entry in pool.mempool.select(1_500, MAX_BLOCK_SIGNATURES)])
    for share in (1, 2, 3, 8):
        room, signatures = pool.mempool.size // share, chance.choice([10**6, 12])
        chosen = pool.mempool.select(room, signatures)
        assert chosen == _greedy_by_ancestors(pool, room, signatures)
        assert sum(entry.size for entry in chosen) <= room
        seen: set[bytes] = set()
        for entry in chosen:
            assert set(entry.parents) <= seen
            seen.add(entry.tx.txid)


def _greedy_by_ancestors(pool: Pool, room: int, signatures: int) -> list[Entry]:
    """Again and again the transaction that pays best together with its ancestors that are not in yet, if all fit."""
    chosen: dict[bytes, Entry] = {}
    while True:
        packages = []
        for entry in pool.mempool:
            members = [each for each in (*pool.mempool.ancestors(entry.tx.txid), entry) if each.tx.txid not in chosen]
            size = sum(each.size for each in members)
            fits = size <= room and sum(each.signatures for each in members) <= signatures
            if entry.tx.txid not in chosen and fits:
                rate = (sum(each.fee for each in members) << 32) // sum(each.virtual_size for each in members)
                packages.append((-rate, entry.sequence, members))
        if not packages:
            return list(chosen.values())
        for member in min(packages)[2]:
            chosen[member.tx.txid] = member
            room -= member.size
            signatures -= member.signatures


# When it is stale


def test_the_selection_is_made_once_for_one_state_of_the_mempool(pool: Pool) -> None:
    templates = templates_of(pool)
    take(pool, forward(pool.reward(1)))
    first = templates.create(lock(1))
    assert templates.create(lock(2)).entries is first.entries
    take(pool, forward(pool.reward(2)))
    assert len(templates.create(lock(1)).entries) == 2


def test_refreshing_follows_the_pace_of_the_network() -> None:
    assert (refresh_seconds(LOCAL), refresh_seconds(MAIN)) == (1, LONGEST_REFRESH)


def test_a_new_tip_ends_a_long_poll_at_once() -> None:
    async def story() -> None:
        pool = Pool()
        templates = templates_of(pool)
        loop = asyncio.get_running_loop()
        started = loop.time()
        poll = asyncio.create_task(templates.wait_for_news(templates.create(lock(1)).longpoll_id, 60.0))
        await asyncio.sleep(0.25)
        pool.mine()
        templates.on_tip_changed()
        await poll
        assert loop.time() - started == 0.25
        # An id of the old tip, or nobody's, is answered without waiting.
        await templates.wait_for_news("00" * 32 + "7", 60.0)
        await templates.wait_for_news("", 60.0)
        assert loop.time() - started == 0.25

    run_virtual(story)


def test_new_transactions_end_a_long_poll_only_after_a_while() -> None:
    async def story() -> None:
        pool = Pool()
        templates = templates_of(pool)
        loop = asyncio.get_running_loop()
        started = loop.time()
        poll = asyncio.create_task(templates.wait_for_news(templates.longpoll_id, 60.0))
        await asyncio.sleep(0.25)
        take(pool, forward(pool.reward(1)))
        await poll
        assert loop.time() - started == pytest.approx(refresh_seconds(PARAMS))

    run_virtual(story)


def test_a_long_poll_without_news_ends_when_its_time_is_up() -> None:
    async def story() -> None:
        templates = templates_of(Pool())
        loop = asyncio.get_running_loop()
        started = loop.time()
        await templates.wait_for_news(templates.longpoll_id, 33.0)
        assert loop.time() - started == pytest.approx(33.0)

    run_virtual(story)


def test_headers_of_templates_lack_only_their_nonce(pool: Pool) -> None:
    header = templates_of(pool).create(lock(1)).block().header
    assert header == Header.from_bytes(header.encoded)
    assert header.nonce == 0
