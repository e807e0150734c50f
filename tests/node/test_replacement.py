"""A payment that pays more may take the place of others, by rules that make every replacement pay its way."""

from __future__ import annotations

import pytest

from consensus.types import Coin, OutPoint, Transaction
from node.mempool_graph import Entry
from node.pool_change import DropReason
from node.relay_policy import MAX_CHAIN, MIN_FEE_RATE, PolicyError, Refusal, required_fee, virtual_size
from node.replacement import MAX_REPLACED
from tests.support.pool import FEE, Pool, forward, outputs_of
from tests.support.rules import outpoint, pay


@pytest.fixture
def pool() -> Pool:
    return Pool()


def give(pool: Pool, n: int, value: int = 100_000_000) -> dict[OutPoint, Coin]:
    place = outpoint(n)
    pool.ledger.coins[place] = Coin(pay(1, value), 1, False)
    return {place: pool.ledger.coins[place]}


def size_of(tx: Transaction) -> int:
    return virtual_size(len(tx.encoded), 1)


async def take(pool: Pool, *txs: Transaction) -> None:
    for tx in txs:
        await pool.mempool.accept_transaction(tx)
        pool.mempool.check_invariants()


async def refused(pool: Pool, tx: Transaction) -> Refusal:
    before = [entry.tx for entry in pool.mempool]
    with pytest.raises(PolicyError) as refusal:
        await pool.mempool.accept_transaction(tx)
    assert [entry.tx for entry in pool.mempool] == before
    pool.mempool.check_invariants()
    return refusal.value.reason


class Ear:
    """Hears what comes and goes."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []

    def entered(self, entry: Entry) -> None:
        self.heard.append(("entered", entry.tx.txid))

    def confirmed(self, entry: Entry, height: int) -> None:
        self.heard.append((f"confirmed in {height}", entry.tx.txid))

    def dropped(self, entry: Entry, reason: DropReason) -> None:
        self.heard.append((reason, entry.tx.txid))


async def test_a_payment_that_pays_more_takes_the_place_of_another_and_its_descendants(pool: Pool) -> None:
    first = forward(give(pool, 1))
    child = forward(outputs_of(first))
    other = forward(give(pool, 2))
    await take(pool, first, child, other)
    ear = Ear()
    pool.mempool.listeners.append(ear)
    second = forward(give(pool, 1), fee=10 * FEE)
    await take(pool, second)
    assert [entry.tx for entry in pool.mempool] == [other, second]
    assert ear.heard == [
        (DropReason.REPLACED, child.txid),
        (DropReason.REPLACED, first.txid),
        ("entered", second.txid),
    ]
    pool.mine([second])
    assert ear.heard[3:] == [(f"confirmed in {pool.ledger.tip.height}", second.txid)]


async def test_a_replacement_pays_a_higher_rate_than_each_that_it_conflicts_with(pool: Pool) -> None:
    """A198 (pinning): to the grain; that it pays more in all does not help."""
    first = forward(give(pool, 1), fee=7 * size_of(forward(give(pool, 1))))
    await take(pool, first)
    larger = forward(give(pool, 1), parts=10)
    same_rate = 7 * size_of(larger)
    assert same_rate > 7 * size_of(first) + size_of(larger)
    assert await refused(pool, forward(give(pool, 1), fee=same_rate, parts=10)) is Refusal.REPLACEMENT_RATE
    await take(pool, forward(give(pool, 1), fee=same_rate + 1, parts=10))


async def test_a_replacement_pays_for_all_that_leaves_and_for_its_own_relay(pool: Pool) -> None:
    """A198 (storm): to the grain. So traffic that came to nothing is paid for, again and again."""
    first = forward(give(pool, 1))
    await take(pool, first, forward(outputs_of(first), fee=5 * FEE))
    least = 6 * FEE + required_fee(MIN_FEE_RATE, size_of(first))
    assert await refused(pool, forward(give(pool, 1), fee=least - 1)) is Refusal.REPLACEMENT_FEE
    await take(pool, forward(give(pool, 1), fee=least))


async def test_one_may_replace_several(pool: Pool) -> None:
    coins = [give(pool, n) for n in range(1, 4)]
    await take(pool, *(forward(each) for each in coins))
    joined = forward(coins[0] | coins[1] | coins[2], fee=20 * FEE)
    await take(pool, joined)
    assert [entry.tx for entry in pool.mempool] == [joined]


@pytest.mark.parametrize("count", [MAX_REPLACED, MAX_REPLACED + 1])
async def test_a_replacement_puts_out_at_most_a_hundred(pool: Pool, count: int) -> None:
    """A198: on both sides of the bound, descendants counted."""
    coins: dict[OutPoint, Coin] = {}
    for n in range(1, 6):
        parent = forward(give(pool, n), parts=20)
        coins |= give(pool, n)
        await take(pool, parent, *(forward(outputs_of(parent, i)) for i in range(19)))
    for n in range(6, 6 + count - 100):
        coins |= give(pool, n)
        await take(pool, forward(give(pool, n)))
    replacement = forward(coins, fee=200 * FEE)
    if count > MAX_REPLACED:
        assert await refused(pool, replacement) is Refusal.REPLACES_TOO_MANY
    else:
        await take(pool, replacement)
        assert len(pool.mempool) == 1


async def test_more_than_a_hundred_direct_conflicts_are_refused_before_anything_is_walked(pool: Pool) -> None:
    coins: dict[OutPoint, Coin] = {}
    for n in range(1, MAX_REPLACED + 2):
        coins |= give(pool, n)
        await take(pool, forward(give(pool, n)))
    assert await refused(pool, forward(coins, fee=1_000 * FEE)) is Refusal.REPLACES_TOO_MANY


async def test_a_replacement_spends_no_unconfirmed_output_that_the_replaced_did_not(pool: Pool) -> None:
    """A198: it would seem to pay better than it does, since it may have to wait for a parent that pays worse."""
    parent = forward(give(pool, 1), parts=2)
    known, stranger = forward(outputs_of(parent, 0)), forward(give(pool, 2))
    await take(pool, parent, known, stranger)
    both = outputs_of(parent, 0) | outputs_of(stranger)
    assert await refused(pool, forward(both, fee=50 * FEE)) is Refusal.NEW_UNCONFIRMED
    # Another output of the same parent is no news; a confirmed coin may always be added.
    await take(pool, forward(outputs_of(parent, 0) | outputs_of(parent, 1) | give(pool, 3), fee=50 * FEE))
    assert known.txid not in pool.mempool


async def test_a_replacement_cannot_descend_from_what_it_replaces(pool: Pool) -> None:
    first = forward(give(pool, 1), parts=2)
    await take(pool, first, child := forward(outputs_of(first, 0)))
    for inside in (outputs_of(first, 1), outputs_of(child)):
        assert await refused(pool, forward(give(pool, 1) | inside, fee=99 * FEE)) is Refusal.SPENDS_REPLACED


async def test_what_leaves_makes_room_in_its_family_for_what_replaces_it(pool: Pool) -> None:
    """Neither its ancestors' descendants nor theirs are counted twice."""
    parent = forward(give(pool, 1), parts=MAX_CHAIN - 1)
    children = [forward(outputs_of(parent, index)) for index in range(MAX_CHAIN - 1)]
    await take(pool, parent, *children)
    assert pool.mempool.entry(parent.txid).descendant_count == MAX_CHAIN  # type: ignore[union-attr]
    await take(pool, forward(outputs_of(parent, 3), fee=3 * FEE))
    assert len(pool.mempool) == MAX_CHAIN


async def test_a_storm_of_replacements_costs_more_each_time(pool: Pool) -> None:
    """A198: whoever raises by the least each time pays for every one of his transactions, and holds one place."""
    fee, step = FEE, required_fee(MIN_FEE_RATE, size_of(forward(give(pool, 1))))
    await take(pool, forward(give(pool, 1), fee=fee))
    for _ in range(50):
        fee += step
        assert await refused(pool, forward(give(pool, 1), fee=fee - 1)) in {
            Refusal.REPLACEMENT_FEE,
            Refusal.REPLACEMENT_RATE,
        }
        await take(pool, forward(give(pool, 1), fee=fee))
    assert len(pool.mempool) == 1
    assert pool.mempool.fees == FEE + 50 * step


async def test_a_replacement_that_is_invalid_leaves_the_first_in_place(pool: Pool) -> None:
    """A103: nothing leaves before the signatures are verified."""
    first = forward(give(pool, 1))
    await take(pool, first)
    honest = forward(give(pool, 1), fee=9 * FEE)
    witness = honest.witnesses[0]
    forged = Transaction(honest.core, (type(witness)(witness.policy, (bytes([1]) * 64,)),))
    from consensus.errors import ConsensusError

    with pytest.raises(ConsensusError):
        await pool.mempool.accept_transaction(forged)
    assert [entry.tx for entry in pool.mempool] == [first]
    await take(pool, honest)


async def test_a_payment_replaced_and_mined_all_the_same_puts_its_replacement_out(pool: Pool) -> None:
    """A miner may have kept the first: then the second conflicts with the chain."""
    first, second = forward(give(pool, 1)), forward(give(pool, 1), fee=9 * FEE)
    await take(pool, first, second)
    change = pool.mempool.on_tip_changed(pool.ledger.mine([first]))
    assert [(lost.txid, lost.reason) for lost in change.dropped] == [(second.txid, DropReason.CONFLICT)]
    assert len(pool.mempool) == 0
