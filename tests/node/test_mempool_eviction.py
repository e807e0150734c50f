"""A mempool that is full keeps what pays best, and asks for more from then on."""

from __future__ import annotations

import random

import pytest

from consensus.errors import NotYet
from consensus.types import Coin, OutPoint, Transaction
from node.mempool_entries import FLOOR_HALF_LIFE
from node.mempool_graph import score
from node.pool_change import DropReason
from node.relay_policy import MIN_FEE_RATE, PolicyError, Refusal, required_fee, virtual_size
from tests.support.pool import Pool, forward, outputs_of
from tests.support.rules import outpoint, pay

VALUE = 10_000_000
SIZE = virtual_size(len(forward({outpoint(1): Coin(pay(1, VALUE), 1, False)}).encoded), 1)
"""Of a payment from one coin to one output."""


def payment(pool: Pool, n: int, rate: int) -> Transaction:
    """A payment from a coin of its own, at `rate` grain per 1,000 bytes."""
    place = outpoint(n)
    pool.ledger.coins[place] = Coin(pay(1, VALUE), 1, False)
    return forward({place: pool.ledger.coins[place]}, fee=required_fee(rate, SIZE))


async def room_for(count: int) -> int:
    """A bound that so many payments reach, and one more exceeds."""
    pool = Pool()
    for n in range(count):
        await pool.mempool.accept_transaction(payment(pool, n + 1, MIN_FEE_RATE))
    return pool.mempool.memory


async def test_a_flood_at_the_lowest_fee_leaves_the_well_paying_and_raises_the_floor() -> None:
    """A198: the size cap holds throughout, and what pays best stays."""
    pool = Pool(max_bytes=await room_for(14))
    wealthy = [payment(pool, n, 50_000) for n in range(1, 6)]
    for tx in wealthy:
        await pool.mempool.accept_transaction(tx)
    turned_away = 0
    for n in range(100, 200):
        try:
            await pool.mempool.accept_transaction(payment(pool, n, MIN_FEE_RATE))
        except PolicyError as refusal:
            assert refusal.reason in {Refusal.LOW_FEE, Refusal.POOL_FULL}
            turned_away += 1
        pool.mempool.check_invariants()
    assert turned_away == 100 - 9
    assert pool.mempool.min_fee_rate == 2 * MIN_FEE_RATE
    assert all(tx.txid in pool.mempool for tx in wealthy)
    # Whoever pays more than the floor still enters.
    await pool.mempool.accept_transaction(payment(pool, 300, 3 * MIN_FEE_RATE))


async def test_the_floor_sinks_again_to_the_lowest_rate() -> None:
    pool = Pool(max_bytes=await room_for(5))
    for n in range(1, 8):
        try:
            await pool.mempool.accept_transaction(payment(pool, n, 16 * MIN_FEE_RATE))
        except PolicyError:
            break
    risen = pool.mempool.min_fee_rate
    assert risen > 16 * MIN_FEE_RATE
    pool.clock.now += FLOOR_HALF_LIFE - 1
    assert pool.mempool.min_fee_rate == risen
    pool.clock.now += 1
    assert pool.mempool.min_fee_rate == risen // 2
    pool.clock.now += 10 * FLOOR_HALF_LIFE
    assert pool.mempool.min_fee_rate == MIN_FEE_RATE


async def test_a_transaction_that_pays_less_than_all_others_is_refused_though_it_came_last() -> None:
    """A198: it is named as refused, not silently dropped after it was accepted."""
    pool = Pool(max_bytes=await room_for(5))
    for n in range(1, 6):
        await pool.mempool.accept_transaction(payment(pool, n, 9_000))
    cheap = payment(pool, 6, 8_000)
    with pytest.raises(PolicyError) as refusal:
        await pool.mempool.accept_transaction(cheap)
    assert refusal.value.reason is Refusal.POOL_FULL
    assert not pool.mempool.wants(cheap.wtxid)
    assert len(pool.mempool) == 5


async def test_among_equals_the_last_seen_leaves_first() -> None:
    pool = Pool(max_bytes=await room_for(5))
    first = [payment(pool, n, 9_000) for n in range(1, 6)]
    for tx in first:
        await pool.mempool.accept_transaction(tx)
    with pytest.raises(PolicyError):
        await pool.mempool.accept_transaction(payment(pool, 6, 9_000))
    assert [entry.tx for entry in pool.mempool] == first


async def test_a_parent_is_evicted_with_its_children_never_without() -> None:
    """A199."""
    pool = Pool(max_bytes=await room_for(6))
    parent = payment(pool, 1, 2_000)
    children = [forward(outputs_of(parent), fee=required_fee(2_000, SIZE))]
    await pool.mempool.accept_transaction(parent)
    await pool.mempool.accept_transaction(children[0])
    for n in range(2, 7):
        await pool.mempool.accept_transaction(payment(pool, n, 9_000))
    pool.mempool.check_invariants()
    # The child alone made room enough; the next one takes the parent.
    assert children[0].txid not in pool.mempool
    await pool.mempool.accept_transaction(payment(pool, 7, 9_000))
    assert parent.txid not in pool.mempool
    assert len(pool.mempool) == 6


async def test_a_child_that_pays_for_its_parent_keeps_both() -> None:
    """A198, A199: a parent counts by what it pays together with its descendants, if that is more."""
    pool = Pool(max_bytes=await room_for(6))
    parent = payment(pool, 1, 1_000)
    child = forward(outputs_of(parent), fee=required_fee(40_000, SIZE))
    await pool.mempool.accept_transaction(parent)
    await pool.mempool.accept_transaction(child)
    middle = [payment(pool, n, 9_000) for n in range(2, 6)]
    for tx in middle:
        await pool.mempool.accept_transaction(tx)
    await pool.mempool.accept_transaction(payment(pool, 9, 10_000))
    assert {parent.txid, child.txid} <= {entry.tx.txid for entry in pool.mempool}
    assert middle[-1].txid not in pool.mempool


async def test_a_badly_paying_child_leaves_and_its_parent_stays() -> None:
    """A198 (pinning): a child that drags the package down does not take its parent with it."""
    pool = Pool(max_bytes=await room_for(6))
    parent = payment(pool, 1, 30_000)
    drag = forward(outputs_of(parent), fee=required_fee(1_000, SIZE))
    await pool.mempool.accept_transaction(parent)
    await pool.mempool.accept_transaction(drag)
    for n in range(2, 7):
        await pool.mempool.accept_transaction(payment(pool, n, 9_000))
    assert parent.txid in pool.mempool
    assert drag.txid not in pool.mempool


@pytest.mark.parametrize("seed", range(5))
async def test_any_flood_leaves_the_mempool_within_its_bounds_and_whole(seed: int) -> None:
    """A198, A199: random chains and fees; after each step all indexes agree and every parent is there."""
    chance = random.Random(seed)
    pool = Pool(max_bytes=await room_for(14))
    spendable: list[dict[OutPoint, Coin]] = []
    for n in range(1, 150):
        if not spendable or chance.random() < 0.4:
            place = outpoint(n)
            pool.ledger.coins[place] = Coin(pay(1, 100 * VALUE), 1, False)
            spendable.append({place: pool.ledger.coins[place]})
        coins = spendable.pop(chance.randrange(len(spendable)))
        rate = chance.choice([1_000, 2_000, 5_000, 20_000, 100_000])
        parts = chance.choice([1, 1, 2, 3])
        tx = forward(coins, fee=required_fee(rate, SIZE + 50 * parts), parts=parts)
        try:
            await pool.mempool.accept_transaction(tx)
        except (PolicyError, NotYet):
            # Too cheap by now, or its parent was evicted.
            continue
        finally:
            pool.mempool.check_invariants()
        spendable += ({place: coin} for place, coin in outputs_of(tx).items())


@pytest.mark.parametrize("seed", range(3))
async def test_a_reorg_that_gives_back_more_than_fits_leaves_what_pays_best(seed: int) -> None:
    """A198, A199: full after a reorg, within the bound, every parent there; and what is lost is named."""
    chance = random.Random(seed)
    pool = Pool(max_bytes=await room_for(10))
    mined: list[Transaction] = []
    for n in range(1, 13):
        parent = payment(pool, n, chance.choice([1_000, 5_000, 20_000]))
        mined += [parent, forward(outputs_of(parent), fee=required_fee(chance.choice([1_000, 30_000]), SIZE))]
    pool.ledger.mine(mined)
    waiting = [payment(pool, n, 9_000) for n in range(20, 28)]
    for tx in waiting:
        await pool.mempool.accept_transaction(tx)
    change = pool.mempool.on_tip_changed(pool.ledger.reorg(1, [], []))
    pool.mempool.check_invariants()
    assert len(pool.mempool) == 10
    left = {lost.txid for lost in change.dropped}
    assert left | {entry.tx.txid for entry in pool.mempool} == {tx.txid for tx in (*mined, *waiting)}
    assert {lost.reason for lost in change.dropped} == {DropReason.TOO_MANY}
    assert pool.mempool.min_fee_rate > MIN_FEE_RATE
    kept = min(entry.worth for entry in pool.mempool)
    assert kept >= score(5_000, 1_000)
    pool.ledger.mine([entry.tx for entry in pool.mempool])
