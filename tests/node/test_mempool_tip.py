"""The mempool follows the tip: blocks confirm, conflict and, when a reorg takes them back, return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from consensus.errors import ConsensusError, NotYet, Rule
from consensus.spend_policy import policy_id
from consensus.state import MEDIAN_SPAN
from consensus.types import (
    AfterHeight,
    AfterTime,
    Amount,
    Coin,
    Older,
    Opaque,
    OutPoint,
    Output,
    Policy,
    Preimage,
    Threshold,
    Transaction,
)
from node import mempool_graph, pool_change
from node.mempool_entries import EXPIRY_SECONDS
from node.pool_change import Dropped, DropReason, PoolChange
from node.relay_policy import MAX_CHAIN, MAX_RETURNED_CHAIN
from tests.support.pool import FEE, MATURITY, Pool, forward, outputs_of
from tests.support.rules import core, key, lock, outpoint, pay, spend, witnesses_for


@pytest.fixture
def pool() -> Pool:
    return Pool()


async def take(pool: Pool, *transactions: Transaction) -> None:
    for tx in transactions:
        await pool.mempool.accept_transaction(tx)
        pool.mempool.check_invariants()


def reorg(pool: Pool, depth: int, *bodies: Sequence[Transaction], **how: Any) -> PoolChange:
    change = pool.mempool.on_tip_changed(pool.ledger.reorg(depth, *bodies, **how))
    pool.mempool.check_invariants()
    check_template(pool)
    return change


def check_template(pool: Pool) -> None:
    """Whatever waits is valid in the next block: connect it all, and take it back."""
    pool.ledger.mine([entry.tx for entry in pool.mempool])
    pool.ledger.disconnect()


def waiting(pool: Pool) -> list[Transaction]:
    return [entry.tx for entry in pool.mempool]


# The chain grows


async def test_a_block_takes_out_what_it_confirms_and_leaves_the_children(pool: Pool) -> None:
    parent = forward(pool.reward(1))
    child = forward(outputs_of(parent))
    other = forward(pool.reward(2))
    await take(pool, parent, child, other)
    change = pool.mempool.on_tip_changed(pool.ledger.mine([parent]))
    assert change == PoolChange(1, (), ())
    assert waiting(pool) == [child, other]
    assert pool.mempool.ancestors(child.txid) == []
    check_template(pool)


async def test_a_block_drops_what_spends_the_same_coin_and_its_descendants(pool: Pool) -> None:
    loser = forward(pool.reward(1))
    child = forward(outputs_of(loser))
    await take(pool, loser, child, forward(pool.reward(2)))
    change = pool.mempool.on_tip_changed(pool.ledger.mine([forward(pool.reward(1), fee=2 * FEE)]))
    assert change.dropped == (Dropped(loser.txid, DropReason.CONFLICT), Dropped(child.txid, DropReason.LOST_PARENT))
    assert len(pool.mempool) == 1
    check_template(pool)


async def test_a_twin_with_other_witnesses_confirms_the_entry_by_its_txid(pool: Pool) -> None:
    policy = Threshold(1, (key(1), key(2)))
    place = outpoint(1)
    coin = Coin(Output(Amount(1_000_000), policy_id(policy), None), 1, False)
    pool.ledger.coins[place] = coin
    unsigned = core([place], [pay(1, 900_000)])
    ways = (
        Threshold(1, (key(1), Opaque(lock(2)))),
        Threshold(1, (Opaque(lock(1)), key(2))),
    )
    ours, theirs = (
        Transaction(unsigned, witnesses_for([coin.output], unsigned, {policy_id(policy): way})) for way in ways
    )
    child = forward(outputs_of(ours))
    await take(pool, ours, child)
    assert pool.mempool.on_tip_changed(pool.ledger.mine([theirs])) == PoolChange(1, (), ())
    assert waiting(pool) == [child]
    pool.mempool.check_invariants()


async def test_what_no_block_took_in_two_weeks_is_forgotten_with_its_children(pool: Pool) -> None:
    """A199: expiry leaves no child without its parent."""
    old = forward(pool.reward(1))
    await take(pool, old)
    pool.clock.now += EXPIRY_SECONDS
    young, child = forward(pool.reward(2)), forward(outputs_of(old))
    await take(pool, young, child)
    pool.mine()
    assert waiting(pool) == [old, young, child]
    pool.clock.now += 1
    change = pool.mempool.on_tip_changed(pool.ledger.mine())
    assert [lost.reason for lost in change.dropped] == [DropReason.EXPIRED] * 2
    assert waiting(pool) == [young]
    pool.mempool.check_invariants()


# A reorg


async def test_a_reverted_payment_returns(pool: Pool) -> None:
    #   ── a1 (tx)
    #   └─ b1 ── b2
    tx = forward(pool.reward(1))
    pool.mine([tx])
    change = reorg(pool, 1, [], [])
    assert change == PoolChange(0, (tx.txid,), ())
    assert waiting(pool) == [tx]


async def test_reverted_payments_return_oldest_first(pool: Pool) -> None:
    #   ── a1 (parent) ── a2 (child) ── a3 (grandchild)
    #   └─ b1 ── b2 ── b3 ── b4
    parent = forward(pool.reward(1))
    child = forward(outputs_of(parent))
    grandchild = forward(outputs_of(child))
    for tx in (parent, child, grandchild):
        pool.mine([tx])
    change = reorg(pool, 3, [], [], [], [])
    assert change.returned == (parent.txid, child.txid, grandchild.txid)
    assert waiting(pool) == [parent, child, grandchild]


async def test_a_payment_that_both_branches_hold_does_not_return(pool: Pool) -> None:
    both, one = forward(pool.reward(1)), forward(pool.reward(2))
    pool.mine([both, one])
    change = reorg(pool, 1, [both], [])
    assert change == PoolChange(0, (one.txid,), ())
    assert waiting(pool) == [one]


async def test_a_payment_that_the_new_branch_contradicts_is_dropped_with_its_descendants(pool: Pool) -> None:
    paid = forward(pool.reward(1))
    child = forward(outputs_of(paid))
    unconfirmed = forward(outputs_of(child))
    pool.mine([paid, child])
    await take(pool, unconfirmed)
    change = reorg(pool, 1, [forward(spent_reward(pool, 1), fee=2 * FEE)], [])
    assert change.returned == ()
    assert change.dropped == (
        Dropped(paid.txid, DropReason.CONFLICT),
        Dropped(child.txid, DropReason.LOST_PARENT),
        Dropped(unconfirmed.txid, DropReason.LOST_PARENT),
    )
    assert waiting(pool) == []


def spent_reward(pool: Pool, height: int) -> dict[OutPoint, Coin]:
    """The reward of a block, though it is spent."""
    tx = pool.ledger.blocks[height].transactions[0]
    return {OutPoint(tx.txid, 0): Coin(tx.core.outputs[0], height, True)}


async def test_a_child_in_the_mempool_meets_its_returned_parent_again(pool: Pool) -> None:
    """The parent was confirmed when the child came; afterwards it must stand before it."""
    parent = forward(pool.reward(1))
    pool.mine([parent])
    child = forward(outputs_of(parent))
    grandchild = forward(outputs_of(child))
    bystander = forward(pool.reward(2), to=2)
    await take(pool, child, grandchild, bystander)
    change = reorg(pool, 1, [], [])
    assert change.returned == (parent.txid,)
    assert change.dropped == ()
    assert [entry.tx for entry in pool.mempool.ancestors(grandchild.txid)] == [parent, child]
    assert set(waiting(pool)) == {parent, child, grandchild, bystander}


async def test_a_payment_of_a_lost_reward_is_dropped_with_what_descends_from_it(pool: Pool) -> None:
    """The rewards of the losing branch vanish, and every payment that descends from them."""
    depth = MATURITY
    for _ in range(depth):
        pool.mine()
    height = pool.ledger.tip.height - depth + 1
    spender = forward(pool.reward(height))
    child = forward(outputs_of(spender))
    await take(pool, spender, child)
    change = reorg(pool, depth, *[[]] * (depth + 1))
    assert change.dropped == (
        Dropped(spender.txid, DropReason.LOST_REWARD),
        Dropped(child.txid, DropReason.LOST_PARENT),
    )
    assert waiting(pool) == []


async def test_a_reorg_that_makes_a_reward_young_again_drops_its_spender(pool: Pool) -> None:
    """A014: the branch with more work may be the shorter one; here the chain just goes back."""
    next_height = pool.ledger.tip.height + 1
    youngest = forward(pool.reward(next_height - MATURITY))
    older = forward(pool.reward(next_height - MATURITY - 1))
    await take(pool, youngest, older)
    change = reorg(pool, 1)
    assert change.dropped == (Dropped(youngest.txid, Rule.IMMATURE_SPEND),)
    assert waiting(pool) == [older]


async def test_a_deep_reorg_in_steps_ends_as_one_in_a_single_step(pool: Pool) -> None:
    """The chain manager may go back in one change and forward in the next ones."""
    kept, contradicted = forward(pool.reward(1)), forward(pool.reward(2))
    rival = forward(spent_reward(pool, 2), fee=2 * FEE)
    pool.mine([kept])
    pool.mine([contradicted])
    assert reorg(pool, 2).returned == (kept.txid, contradicted.txid)
    assert reorg(pool, 0, [rival], []).dropped == (Dropped(contradicted.txid, DropReason.CONFLICT),)
    assert waiting(pool) == [kept]


async def test_what_had_been_mined_returns_whatever_it_pays_and_leaves(pool: Pool) -> None:
    """A miner took it without a fee, and with dust: that is no reason to lose it in a reorg."""
    coins = pool.reward(1)
    value = sum(coin.output.value for coin in coins.values())
    odd = spend(coins, [pay(1, value - 1), pay(1, 1)])
    pool.mine([odd])
    assert reorg(pool, 1, [], []).returned == (odd.txid,)


async def test_a_long_chain_of_mined_payments_returns(pool: Pool) -> None:
    """Each had been mined in a block of its own, so the bound on arriving chains was never in force."""
    tx = forward(pool.reward(1), fee=1_000)
    chain = []
    for _ in range(MAX_CHAIN + 5):
        chain.append(tx)
        tx = forward(outputs_of(tx), fee=1_000)
    pool.mine(chain)
    assert reorg(pool, 1, [], []).returned == tuple(tx.txid for tx in chain)


async def test_a_returning_chain_is_bounded_all_the_same(pool: Pool) -> None:
    tx = forward(pool.reward(1), fee=1_000)
    chain = []
    for _ in range(MAX_RETURNED_CHAIN + 2):
        chain.append(tx)
        tx = forward(outputs_of(tx), fee=1_000)
    pool.mine(chain)
    change = reorg(pool, 1, [], [])
    assert len(change.returned) == MAX_RETURNED_CHAIN
    assert [lost.reason for lost in change.dropped] == ["chain-too-long", DropReason.LOST_PARENT]


async def test_what_returns_is_bounded_in_bytes_and_the_newest_is_lost(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (forward(pool.reward(height)) for height in (1, 2, 3))
    pool.mine([first])
    pool.mine([second, third])
    monkeypatch.setattr(pool_change, "MAX_RETURNED_BYTES", len(first.encoded) + len(second.encoded))
    change = reorg(pool, 2, [], [], [])
    assert change.returned == (first.txid, second.txid)
    assert change.dropped == (Dropped(third.txid, DropReason.TOO_MANY),)


def test_the_log_line_of_a_reorg_names_ten_and_counts_all() -> None:
    ids = [bytes([n]) * 32 for n in range(12)]
    facts = PoolChange(0, tuple(ids), (Dropped(ids[0], DropReason.CONFLICT),)).facts()  # type: ignore[arg-type]
    assert (facts["txs_back_in_mempool"], facts["txs_dropped"]) == (12, 1)
    assert facts["back_in_mempool"] == [bytes([n]).hex() * 32 for n in range(10)]
    assert facts["dropped"] == ["00" * 32 + " (conflict)"]
    assert PoolChange(3, (), ()).facts() == {"txs_back_in_mempool": 0, "txs_dropped": 0}


# Time locks


def locked(pool: Pool, policy: Policy, height: int = 1) -> tuple[dict[OutPoint, Coin], dict[bytes, Policy]]:
    """A coin born at `height`, under a key and `policy`."""
    both = Threshold(2, (key(1), policy))
    place = outpoint(1)
    pool.ledger.coins[place] = Coin(Output(Amount(1_000_000), policy_id(both), None), height, False)
    return {place: pool.ledger.coins[place]}, {policy_id(both): both}


@pytest.mark.parametrize("offset", [-1, 0, 1])
@pytest.mark.parametrize("kind", [AfterHeight, AfterTime, Older])
async def test_a_time_lock_opens_at_its_bound_and_closes_again_in_a_reorg(pool: Pool, kind: Any, offset: int) -> None:
    """A023, A066: exactly one side of the bound passes, and a tip that goes back drops the spend."""
    for _ in range(MEDIAN_SPAN):
        pool.mine()
    next_height, median = pool.ledger.tip.height + 1, pool.ledger.tip.median_time
    bound = {AfterHeight: next_height, AfterTime: median, Older: next_height - 1}[kind]
    coins, policies = locked(pool, kind(bound + offset))
    tx = forward(coins, policies=policies)
    rule = {AfterHeight: Rule.AFTER_HEIGHT, AfterTime: Rule.AFTER_TIME, Older: Rule.OLDER}[kind]
    if offset > 0:
        with pytest.raises(NotYet) as early:
            await take(pool, tx)
        assert early.value.reason == rule
        assert pool.mempool.wants(tx.wtxid)
        return
    await take(pool, tx)
    # The tip goes back by one, and the median time by the second between two blocks.
    change = reorg(pool, 1)
    assert pool.ledger.tip.median_time == median - 1
    if offset == 0:
        assert change.dropped == (Dropped(tx.txid, rule),)
    else:
        assert waiting(pool) == [tx]


async def test_a_lock_of_age_counts_an_unconfirmed_parent_as_born_in_the_next_block(pool: Pool) -> None:
    """A023: so no transaction with `older` waits in the mempool together with its parent."""
    both = Threshold(2, (key(1), Older(1)))
    coins = pool.reward(1)
    value = sum(coin.output.value for coin in coins.values())
    parent = spend(coins, [Output(Amount(value - FEE), policy_id(both), None)])
    child = forward(outputs_of(parent), policies={policy_id(both): both})
    await take(pool, parent)
    with pytest.raises(NotYet) as early:
        await take(pool, child)
    assert early.value.reason == Rule.OLDER
    pool.mine([parent])
    await take(pool, child)
    # When the parent is unconfirmed again, the child has to go.
    change = reorg(pool, 1, [], [])
    assert change.returned == (parent.txid,)
    assert change.dropped == (Dropped(child.txid, Rule.OLDER),)


async def test_a_hash_lock_is_not_touched_by_a_reorg(pool: Pool) -> None:
    """A066: only what asks for a height, a time or an age is doubted."""
    from hashlib import sha256

    preimage = bytes(range(32))
    coins, policies = locked(pool, Preimage(sha256(preimage).digest()))
    tx = forward(coins, policies=policies, preimages={sha256(preimage).digest(): preimage})
    await take(pool, tx)
    assert reorg(pool, 1).dropped == ()
    assert waiting(pool) == [tx]


async def test_an_early_transaction_is_nobodys_fault(pool: Pool) -> None:
    coins, policies = locked(pool, AfterHeight(1_000))
    with pytest.raises(NotYet):
        await take(pool, forward(coins, policies=policies))
    with pytest.raises(ConsensusError):
        await take(pool, Transaction(forward(coins, policies=policies).core, ()))


async def test_a_block_that_takes_very_many_at_once_leaves_the_rest_in_order(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as one pass through the orders is worth, with children that stay and are scored anew."""
    monkeypatch.setattr(mempool_graph, "MANY", 4)
    parents = [forward(pool.reward(n), parts=2, fee=n * FEE) for n in (1, 2, 3, 4)]
    children = [forward(outputs_of(parent, 0)) for parent in parents]
    await take(pool, *parents, *children)
    change = pool.mempool.on_tip_changed(pool.ledger.mine(parents))
    pool.mempool.check_invariants()
    assert change.confirmed == 4
    assert waiting(pool) == children
    assert [entry.tx for entry in pool.mempool.select(10**6, 10**3)] == children
