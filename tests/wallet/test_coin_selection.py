"""Coin selection alone: value is conserved, least is wasted, and many coins are chosen from in bounded work."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consensus.types import MAX_INPUTS, Amount, LockId, OutPoint, TxId
from node.relay_policy import DUST_LIMIT
from tests.support.wallets import DURE, TERMS
from wallet import coin_selection
from wallet.coin_selection import (
    EXACT_MATCH_TRIES,
    Need,
    Selection,
    fee_for,
    fee_of,
    select_all,
    select_coins,
    waste,
)
from wallet.coin_table import SpendableCoin
from wallet.errors import InsufficientFundsError, PaymentError
from wallet.results import RelayTerms


def coins(values: list[int], locks: int = 0) -> list[SpendableCoin]:
    return [
        SpendableCoin(
            OutPoint(TxId(n.to_bytes(32, "big")), 0),
            Amount(value),
            LockId((n % locks if locks else n).to_bytes(32, "big")),
            5,
            False,
            0,
        )
        for n, value in enumerate(values, 1)
    ]


def select(pool: list[SpendableCoin], amount: int, rate: int = 1_000, seed: int = 1) -> Selection:
    return select_coins(pool, Need(amount, 60), TERMS._replace(fee_rate=rate), random.Random(seed))


def test_the_same_coins_and_seed_select_the_same_whatever_their_order() -> None:
    rng = random.Random(3)
    pool = coins([rng.randrange(1, 10**9) for _ in range(500)])
    shuffled = random.Random(8).sample(pool, len(pool))
    assert select(pool, 10**10) == select(shuffled, 10**10)
    assert select(pool, 10**10).coins != select(pool, 10**10, seed=2).coins


@pytest.mark.parametrize("seed", range(20))
def test_random_order_is_every_coin_once_and_another_with_another_seed(seed: int) -> None:
    pool = coins(list(range(1, 51)))
    drawn = list(coin_selection._shuffled(pool, random.Random(seed)))
    assert drawn != pool
    assert sorted(coin.value for coin in drawn) == list(range(1, 51))
    assert drawn != list(coin_selection._shuffled(pool, random.Random(seed + 1)))


def test_every_order_of_three_coins_is_drawn_as_often_as_another() -> None:
    rng = random.Random(5)
    drawn = Counter(tuple(c.value for c in coin_selection._shuffled(coins([1, 2, 3]), rng)) for _ in range(6_000))
    assert len(drawn) == 6
    assert all(850 < count < 1_150 for count in drawn.values())


@pytest.mark.parametrize("seed", range(60))
def test_every_selection_covers_its_need_and_conserves_value(seed: int) -> None:
    """A153"""
    rng = random.Random(seed)
    pool = coins(
        [rng.randrange(100, 10 ** rng.randrange(3, 10)) for _ in range(rng.randrange(1, 80))], rng.randrange(5)
    )
    amount, rate = rng.randrange(1_000, 10 ** rng.randrange(4, 11)), rng.choice([0, 1_000, 30_000])
    try:
        selection = select(pool, amount, rate)
    except InsufficientFundsError:
        assert sum(coin.value for coin in pool) < amount + 200_000 * max(1, rate // 1_000)
        return
    assert sum(coin.value for coin in selection.coins) == amount + selection.fee + selection.change
    assert len(set(selection.coins)) == len(selection.coins)
    assert selection.change == 0 or selection.change >= DUST_LIMIT
    witnesses = len({coin.lock for coin in selection.coins})
    size = 60 + 36 * len(selection.coins) + 105 * witnesses + (45 if selection.change else 0)
    assert selection.fee >= fee_for(TERMS._replace(fee_rate=rate), size, witnesses)


def test_ten_thousand_coins_fit_one_transaction_or_are_refused_with_what_to_do() -> None:
    """A153: never a transaction above the relay's size."""
    pool = coins([DURE] * 10_000)
    with pytest.raises(PaymentError, match="pay in parts"):
        select(pool, 2_000 * DURE)
    selection = select(pool, 500 * DURE)
    assert len(selection.coins) == 501
    # At one lock, a coin is 36 bytes.
    assert len(select(coins([DURE] * 10_000, 1), 2_000 * DURE).coins) == 2_001
    swept, left = select_all(coins([DURE] * 10_000, 1), Need(0, 60), TERMS)
    assert len(swept.coins) == 10_000 - left < MAX_INPUTS


def test_the_largest_coins_pay_where_random_ones_would_be_too_many() -> None:
    pool = coins([1_000] * 9_000 + [DURE] * 600)
    selection = select(pool, 550 * DURE)
    assert sum(coin.value == DURE for coin in selection.coins) >= 550


def test_our_unconfirmed_change_is_spent_last() -> None:
    confirmed = coins([DURE])
    change = [coin._replace(height=None, chain=1, outpoint=OutPoint(TxId(bytes(32)), 7)) for coin in coins([5 * DURE])]
    assert select(confirmed + change, DURE // 2).coins == tuple(confirmed)
    assert select(confirmed + change, 2 * DURE).coins == tuple(change)


# Waste

QUIET, BUSY = 1_000, 20_000
pools = st.lists(st.integers(1, 3_000_000), min_size=1, max_size=40)


def by_hand(pool: Sequence[SpendableCoin], need: Need, terms: RelayTerms) -> Selection | None:
    """The plainest selection there is: these very coins, with change if there is enough for it."""
    left = sum(coin.value for coin in pool) - need.amount
    with_change = fee_of(pool, need, terms, change=True)
    if left - with_change >= DUST_LIMIT:
        return Selection(tuple(pool), Amount(with_change), Amount(left - with_change))
    if left >= fee_of(pool, need, terms, change=False):
        return Selection(tuple(pool), Amount(left), Amount(0))
    return None


def largest_first(pool: Sequence[SpendableCoin], need: Need, terms: RelayTerms) -> Selection | None:
    """The fallback, written a second time."""
    ordered = sorted(pool, key=lambda coin: -coin.value)
    tries = (by_hand(ordered[:count], need, terms) for count in range(1, len(ordered) + 1))
    return next((found for found in tries if found is not None), None)


@given(
    pools, st.integers(DUST_LIMIT, 5_000_000), st.sampled_from([0, QUIET, BUSY]), st.integers(0, 5), st.integers(0, 9)
)
def test_value_is_conserved_and_no_more_is_wasted_than_by_the_largest_coins(
    values: list[int], amount: int, rate: int, locks: int, seed: int
) -> None:
    """A153: whatever the coins, the amount and the rate."""
    pool, need, terms = coins(values, locks), Need(amount, 60), TERMS._replace(fee_rate=rate)
    plain = largest_first(pool, need, terms)
    try:
        selection = select_coins(pool, need, terms, random.Random(seed))
    except InsufficientFundsError:
        # Coins that are not worth their own fee do not help; the largest first would take them as a last resort.
        assert plain is None or min(coin.value for coin in plain.coins) <= 220 * rate // 1_000
        return
    assert sum(coin.value for coin in selection.coins) == amount + selection.fee + selection.change
    assert len(set(selection.coins)) == len(selection.coins)
    assert set(selection.coins) <= set(pool)
    assert selection.change == 0 or selection.change >= DUST_LIMIT
    assert selection.fee >= fee_of(selection.coins, need, terms, change=selection.change > 0)
    if plain is not None and min(coin.value for coin in plain.coins) > 220 * rate // 1_000:
        assert waste(selection, need, terms) <= waste(plain, need, terms)


@given(st.data())
@settings(max_examples=150)
def test_a_match_without_change_is_found_wherever_there_is_one(data: st.DataObject) -> None:
    """Held against all subsets: the search is cut off only among many more coins."""
    pool = coins(data.draw(st.lists(st.integers(6_000, 100_000), min_size=1, max_size=9)), data.draw(st.integers(0, 3)))
    terms = TERMS._replace(fee_rate=data.draw(st.sampled_from([QUIET, BUSY])))
    meant = data.draw(st.lists(st.sampled_from(pool), unique=True, min_size=1))
    left_over = data.draw(st.integers(0, 150))
    need = Need(0, 60)
    need = Need(sum(coin.value for coin in meant) - fee_of(meant, need, terms, change=False) - left_over, 60)
    assume(need.amount >= DUST_LIMIT)
    subsets = [subset for size in range(1, len(pool) + 1) for subset in combinations(pool, size)]
    found = [each for subset in subsets if (each := by_hand(subset, need, terms)) is not None and not each.change]
    # Beyond what change would cost, change is the better choice.
    exact = [each for each in found if each.fee - fee_of(each.coins, need, terms, change=False) <= 200]
    least = min(waste(each, need, terms) for each in exact)
    assert waste(select_coins(pool, need, terms, random.Random(1)), need, terms) <= least


def test_waste_is_what_change_and_dear_inputs_cost() -> None:
    one, two = coins([10_000, 20_000])
    need = Need(5_000, 60)
    quiet, busy = TERMS._replace(fee_rate=QUIET), TERMS._replace(fee_rate=BUSY)
    exact = Selection((one,), Amount(10_000 - 5_000), Amount(0))
    bare, whole = fee_for(quiet, 66, 0), fee_of((one,), need, quiet, change=False)
    assert waste(exact, need, quiet) == 5_000 - whole, "on a quiet day an input costs what it has to: the rest is waste"
    changed = by_hand((one,), need, quiet)
    assert changed is not None
    spend_one_day = fee_for(quiet, 35 + 104, 1)
    assert waste(changed, need, quiet) == pytest.approx(changed.fee - whole + spend_one_day, abs=5)
    both, single = by_hand((one, two), need, busy), by_hand((two,), need, busy)
    assert both is not None
    assert single is not None
    assert waste(both, need, busy) > waste(single, need, busy), "on a busy day each input more is dear"
    assert bare < whole


def test_the_search_ends_after_so_many_steps_whatever_the_coins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A153: ten thousand coins, none of which match. Steps are counted, not seconds."""
    steps = 0
    look = coin_selection._Search.left.fget  # type: ignore[attr-defined]

    def counted(search: object) -> int:
        nonlocal steps
        steps += 1
        return int(look(search))

    monkeypatch.setattr(coin_selection._Search, "left", property(counted))
    rng = random.Random(7)
    pool = coins([2 * rng.randrange(10**6, 10**9) for _ in range(10_000)])
    selection = select(pool, 3 * 10**10 + 1, 5_000)
    assert sum(coin.value for coin in selection.coins) == 3 * 10**10 + 1 + selection.fee + selection.change
    # Each step looks once, and once more to see whether what remains could do.
    assert steps <= 2 * EXACT_MATCH_TRIES
