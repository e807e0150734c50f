"""A child pays for its parents, and a parent that nobody pays for any more does not stay."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from consensus.errors import ConsensusError, NotYet, Rule
from consensus.types import Coin, OutPoint, Transaction, Witness
from node.mempool_entries import EXPIRY_SECONDS
from node.packages import PackageOutcome, accept_package
from node.pool_change import Dropped, DropReason
from node.relay_policy import (
    MAX_CHAIN_SIZE,
    MAX_PACKAGE,
    MIN_FEE_RATE,
    PolicyError,
    Refusal,
    required_fee,
    virtual_size,
)
from tests.support.pool import FEE, Pool, forward, outputs_of
from tests.support.rules import outpoint, pay


@pytest.fixture
def pool() -> Pool:
    return Pool()


def give(pool: Pool, n: int, value: int = 100_000_000) -> dict[OutPoint, Coin]:
    place = outpoint(n)
    pool.ledger.coins[place] = Coin(pay(1, value), 1, False)
    return {place: pool.ledger.coins[place]}


def owed(*txs: Transaction) -> int:
    """What they must pay together."""
    return required_fee(MIN_FEE_RATE, sum(virtual_size(len(tx.encoded), 1) for tx in txs))


async def submit(pool: Pool, *txs: Transaction) -> PackageOutcome:
    outcome = await accept_package(pool.mempool, txs)
    pool.mempool.check_invariants()
    return outcome


def waiting(pool: Pool) -> list[Transaction]:
    return [entry.tx for entry in pool.mempool]


async def test_a_child_brings_in_a_parent_that_pays_nothing(pool: Pool) -> None:
    parent = forward(give(pool, 1), fee=0)
    child = forward(outputs_of(parent), fee=FEE)
    outcome = await submit(pool, parent, child)
    assert waiting(pool) == [parent, child]
    assert [entry.tx for entry in outcome.new] == [parent, child]
    assert set(outcome.together) == {parent.wtxid, child.wtxid}
    assert pool.mempool.entry(parent.txid).sponsored  # type: ignore[union-attr]
    pool.mine([entry.tx for entry in pool.mempool.select(10**6, 10**3)])
    assert waiting(pool) == []


async def test_a_child_pays_for_both_to_the_grain(pool: Pool) -> None:
    parent = forward(give(pool, 1), fee=0)
    least = owed(parent, forward(outputs_of(parent), fee=FEE))
    outcome = await submit(pool, parent, short := forward(outputs_of(parent), fee=least - 1))
    assert {error.reason for error in outcome.refused.values()} == {Refusal.LOW_FEE}  # type: ignore[union-attr]
    assert set(outcome.refused) == {parent.wtxid, short.wtxid}
    assert waiting(pool) == []
    await submit(pool, parent, forward(outputs_of(parent), fee=least))
    assert len(waiting(pool)) == 2


async def test_several_parents_are_paid_for_at_once_and_one_that_pays_enters_by_itself(pool: Pool) -> None:
    poor = [forward(give(pool, n), fee=0) for n in (1, 2)]
    rich = forward(give(pool, 3))
    child = forward(outputs_of(poor[0]) | outputs_of(poor[1]) | outputs_of(rich), fee=FEE)
    outcome = await submit(pool, poor[0], rich, poor[1], child)
    assert waiting(pool) == [rich, *poor, child]
    assert outcome.together[rich.wtxid] == (pool.mempool.entry(rich.txid),)
    assert len(outcome.together[child.wtxid]) == 3


async def test_a_rich_parent_does_not_pay_for_its_child(pool: Pool) -> None:
    """The last must pay by itself: what a parent pays is the parent's."""
    parent = forward(give(pool, 1), fee=100 * FEE)
    outcome = await submit(pool, parent, child := forward(outputs_of(parent), fee=0))
    assert waiting(pool) == [parent]
    assert set(outcome.refused) == {child.wtxid}


async def test_a_parent_that_is_here_already_is_no_obstacle(pool: Pool) -> None:
    parent = forward(give(pool, 1))
    await pool.mempool.accept_transaction(parent)
    child = forward(outputs_of(parent))
    outcome = await submit(pool, parent, child)
    assert set(outcome.entered) == {parent.wtxid, child.wtxid}
    assert [entry.tx for entry in outcome.new] == [child]


async def test_a_parent_that_is_invalid_keeps_the_child_out_and_is_remembered(pool: Pool) -> None:
    good, honest = forward(give(pool, 1)), forward(give(pool, 2))
    bad = Transaction(honest.core, (Witness(honest.witnesses[0].policy, (bytes([1]) * 64,)),))
    child = forward(outputs_of(good) | outputs_of(bad), fee=FEE)
    outcome = await submit(pool, good, bad, child)
    assert waiting(pool) == [good]
    refusal = outcome.refused[bad.wtxid]
    assert isinstance(refusal, ConsensusError)
    assert refusal.rule is Rule.BAD_SIGNATURE
    assert isinstance(outcome.refused[child.wtxid], NotYet)
    assert not pool.mempool.wants(bad.wtxid)
    assert pool.mempool.wants(honest.wtxid)


async def test_a_bad_signature_under_a_low_fee_is_found_when_a_child_pays(pool: Pool) -> None:
    """A096: it is the parent that is remembered as bad, not the child."""
    honest = forward(give(pool, 1), fee=0)
    bad = Transaction(honest.core, (Witness(honest.witnesses[0].policy, (bytes([1]) * 64,)),))
    child = forward(outputs_of(honest), fee=FEE)
    outcome = await submit(pool, bad, child)
    assert isinstance(outcome.refused[bad.wtxid], ConsensusError)
    assert waiting(pool) == []
    await submit(pool, honest, child)
    assert waiting(pool) == [honest, child]


def chain_of(coins: dict[OutPoint, Coin], length: int, fee: int = FEE) -> list[Transaction]:
    made: list[Transaction] = []
    for _ in range(length):
        made.append(forward(coins, fee=fee))
        coins = outputs_of(made[-1])
    return made


@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("too many", lambda pool: [forward(give(pool, n)) for n in range(1, MAX_PACKAGE + 2)]),
        ("none", lambda pool: []),
        ("twice", lambda pool: [forward(give(pool, 1))] * 2),
        ("a child first", lambda pool: chain_of(give(pool, 1), 2)[::-1]),
        ("one coin twice", lambda pool: [forward(give(pool, 1)), forward(give(pool, 1), fee=2 * FEE)]),
        ("strangers", lambda pool: [forward(give(pool, 1)), forward(give(pool, 2))]),
        ("a grandparent", lambda pool: chain_of(give(pool, 1), 3)),
        ("too large", lambda pool: [forward(give(pool, n), parts=1_800, fee=10**6) for n in (1, 2, 3)]),
    ],
)
async def test_what_is_no_child_with_its_parents_is_refused_whole(pool: Pool, what: str, make: object) -> None:
    txs: Sequence[Transaction] = make(pool)  # type: ignore[operator]
    if what == "too large":
        assert sum(len(tx.encoded) for tx in txs) > MAX_CHAIN_SIZE
    with pytest.raises(PolicyError) as refusal:
        await accept_package(pool.mempool, txs)
    assert refusal.value.reason is Refusal.BAD_PACKAGE
    assert waiting(pool) == []


async def test_a_package_may_replace_and_pays_for_what_it_puts_out(pool: Pool) -> None:
    """A parent that pays nothing conflicts with a payment; its child pays for all three."""
    rival = forward(give(pool, 1))
    await pool.mempool.accept_transaction(rival)
    for own in (0, FEE):
        parent = forward(give(pool, 1), fee=own, memo=b"another")
        poor = await submit(pool, parent, forward(outputs_of(parent), fee=FEE // 2))
        assert waiting(pool) == [rival]
        assert all(isinstance(error, PolicyError) for error in poor.refused.values())
        child = forward(outputs_of(parent), fee=9 * FEE)
        outcome = await submit(pool, parent, child)
        assert waiting(pool) == [parent, child]
        assert outcome.replaced == [rival.txid]
        pool.mempool.on_tip_changed(pool.ledger.mine([forward(give(pool, 1))]))
        rival = forward(give(pool, 1))
        await pool.mempool.accept_transaction(rival)


# When the one who pays leaves


async def test_a_parent_goes_when_the_child_that_paid_for_it_is_replaced(pool: Pool) -> None:
    """A198, A199: nobody gets a place for nothing by taking the payer away again."""
    parent = forward(give(pool, 1), fee=0)
    child = forward(outputs_of(parent) | give(pool, 2), fee=FEE)
    await submit(pool, parent, child)
    other = forward(give(pool, 2), fee=3 * FEE)
    await pool.mempool.accept_transaction(other)
    pool.mempool.check_invariants()
    assert waiting(pool) == [other]


async def test_a_parent_stays_when_another_child_takes_over(pool: Pool) -> None:
    parent = forward(give(pool, 1), fee=0)
    await submit(pool, parent, forward(outputs_of(parent), fee=FEE))
    second = forward(outputs_of(parent), fee=3 * FEE)
    await pool.mempool.accept_transaction(second)
    assert waiting(pool) == [parent, second]


async def test_a_parent_goes_when_its_child_conflicts_with_the_chain(pool: Pool) -> None:
    parent = forward(give(pool, 1), fee=0)
    child = forward(outputs_of(parent) | give(pool, 2), fee=FEE)
    await submit(pool, parent, child)
    change = pool.mempool.on_tip_changed(pool.ledger.mine([forward(give(pool, 2))]))
    pool.mempool.check_invariants()
    assert change.dropped == (Dropped(child.txid, DropReason.CONFLICT), Dropped(parent.txid, DropReason.UNPAID))


async def test_a_payment_that_a_reorg_gives_back_needs_nobody_to_pay_for_it(pool: Pool) -> None:
    mined = forward(give(pool, 1), fee=0)
    pool.ledger.mine([mined])
    pool.mempool.on_tip_changed(pool.ledger.reorg(1, [], []))
    await pool.mempool.accept_transaction(child := forward(outputs_of(mined) | give(pool, 2)))
    await pool.mempool.accept_transaction(other := forward(give(pool, 2), fee=9 * FEE))
    pool.mempool.check_invariants()
    assert child.txid not in pool.mempool
    assert waiting(pool) == [mined, other]


async def test_a_parent_that_pays_for_itself_stays_without_its_child(pool: Pool) -> None:
    parent = forward(give(pool, 1))
    await submit(pool, parent, forward(outputs_of(parent) | give(pool, 2)))
    pool.mine([forward(give(pool, 2))])
    assert waiting(pool) == [parent]


async def test_what_waits_for_too_long_leaves_with_all_that_descends_from_it(pool: Pool) -> None:
    """A199."""
    parent = forward(give(pool, 1))
    await pool.mempool.accept_transaction(parent)
    pool.clock.now += EXPIRY_SECONDS
    child, other = forward(outputs_of(parent)), forward(give(pool, 2))
    await pool.mempool.accept_transaction(child)
    await pool.mempool.accept_transaction(other)
    pool.mine()
    assert waiting(pool) == [parent, child, other]
    pool.clock.now += 1
    pool.mine()
    assert waiting(pool) == [other]


# What would become of it


async def test_a_preview_says_what_would_happen_and_changes_nothing(pool: Pool) -> None:
    first = forward(give(pool, 1))
    await pool.mempool.accept_transaction(first)
    generation = pool.mempool.generation
    parent = forward(give(pool, 1), fee=5 * FEE)
    child = forward(outputs_of(parent), fee=0)
    found, error = await pool.mempool.preview([parent, child])
    assert [proposal.fee for proposal in found] == [5 * FEE]
    assert [entry.tx for entry in found[0].replaces] == [first]
    assert isinstance(error, PolicyError)
    assert error.reason is Refusal.LOW_FEE
    assert waiting(pool) == [first]
    assert pool.mempool.generation == generation
    assert pool.mempool.wants(child.wtxid)
    assert await pool.mempool.preview([parent]) == (found, None)
