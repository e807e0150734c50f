"""Swaps across two chains: each gets what was agreed or his own back, wherever the other walks away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from consensus.types import Amount, AssetId
from tests.support.rules import lock
from tests.support.swaps import ANN, BOB, DEPTH, MARGIN, SIDES, Crossing, Deal
from tests.support.wallets import DURE, TERMS, Killed, lock_of
from wallet.errors import InsufficientFundsError
from wallet.results import Payment, Sent
from wallet.swaps.errors import SwapError, SwapRule
from wallet.swaps.steps import Move, advise
from wallet.swaps.watching import Stage

FEES = 20_000
"""Grain that nobody's fees come to in one of these stories."""


async def hours_for_shares(crossing: Crossing) -> Deal:
    """Ann holds 500 hours on the north shore, Bob 70 shares on the south."""
    hours = await crossing.north.issue(ANN, 500)
    shares = await crossing.south.issue(BOB, 70)
    return Deal(hours, 100, shares, 7)


async def hours_for_dure(crossing: Crossing) -> Deal:
    return Deal(await crossing.north.issue(ANN, 500), 100, None, 2 * DURE)


async def dure_for_shares(crossing: Crossing) -> Deal:
    return Deal(None, 3 * DURE, await crossing.south.issue(BOB, 70), 7)


Make = Callable[[Crossing], Awaitable[Deal]]
DEALS = [hours_for_shares, hours_for_dure, dure_for_shares]


def holdings(crossing: Crossing, deal: Deal) -> tuple[int, int, int, int]:
    """What Ann and Bob hold on the north shore, then on the south, of what they swap."""
    north, south = crossing.north, crossing.south
    return (
        north.holds(ANN, deal.gives),
        north.holds(BOB, deal.gives),
        south.holds(ANN, deal.wants),
        south.holds(BOB, deal.wants),
    )


def check_moved(deal: Deal, before: tuple[int, ...], after: tuple[int, ...], moved: tuple[int, ...]) -> None:
    """What each has more or less: of assets to the unit, of DURE less what fees took."""
    for had, has, wanted, what in zip(before, after, moved, (deal.gives,) * 2 + (deal.wants,) * 2, strict=True):
        if what is None:
            assert 0 <= had + wanted - has < FEES
        else:
            assert has - had == wanted


@contextmanager
def refused(rule: SwapRule) -> Iterator[None]:
    """What is done in it is refused by this rule."""
    with pytest.raises(SwapError) as error:
        yield
    assert error.value.rule is rule


@pytest.mark.parametrize("make", DEALS)
async def test_each_gets_what_was_agreed_and_pays_his_own_fees(make: Make) -> None:
    crossing = Crossing()
    deal = await make(crossing)
    before = holdings(crossing, deal)
    terms = crossing.accept(crossing.propose(deal))
    await crossing.lock_both(terms)
    claim = await crossing.claim_second(terms)
    # Bob need not wait for a block: the claim shows the secret to whoever sees the mempool.
    await crossing.claim_first(terms)
    crossing.mine()
    assert crossing.south[ANN].swaps.state(terms).spender == claim.transaction.txid
    after = holdings(crossing, deal)
    check_moved(deal, before, after, (-deal.amount, deal.amount, deal.price, -deal.price))
    for person in (ANN, BOB):
        seen = crossing.both_seen(person, terms)
        assert [each.stage for each in seen] == [Stage.CLAIMED, Stage.CLAIMED]
        assert advise(terms, SIDES[person], *seen, DEPTH).move is Move.NOTHING


@pytest.mark.parametrize("make", DEALS)
async def test_who_is_left_alone_after_the_first_lock_gets_it_back(make: Make) -> None:
    """Bob walks away: nothing but fees is lost, and not a second before the time."""
    crossing = Crossing()
    deal = await make(crossing)
    before = holdings(crossing, deal)
    terms = crossing.accept(crossing.propose(deal))
    await crossing.lock_first(terms)
    crossing.mine(DEPTH)
    crossing.wait_until(terms.first.refund_at - 1)
    assert advise(terms, SIDES[ANN], *crossing.both_seen(ANN, terms), DEPTH).move is Move.WAIT
    with refused(SwapRule.EARLY):
        await crossing.refund(crossing.north, ANN, terms)
    crossing.wait_until(terms.first.refund_at)
    assert advise(terms, SIDES[ANN], *crossing.both_seen(ANN, terms), DEPTH).move is Move.REFUND
    await crossing.refund(crossing.north, ANN, terms)
    crossing.mine()
    check_moved(deal, before, holdings(crossing, deal), (0, 0, 0, 0))
    assert crossing.north[ANN].swaps.state(terms).stage is Stage.REFUNDED
    # Bob comes back too late, and is told so before he locks anything.
    with refused(SwapRule.DONE):
        await crossing.lock_second(terms)


@pytest.mark.parametrize("make", DEALS)
async def test_who_locked_second_and_sees_no_claim_gets_it_back_and_so_does_the_first(make: Make) -> None:
    """Ann walks away after both have locked, and comes back when all is over."""
    crossing = Crossing()
    deal = await make(crossing)
    before = holdings(crossing, deal)
    terms = crossing.accept(crossing.propose(deal))
    await crossing.lock_both(terms)
    crossing.wait_until(terms.second.refund_at - 1)
    with refused(SwapRule.EARLY):
        await crossing.refund(crossing.south, BOB, terms)
    crossing.wait_until(terms.second.refund_at)
    assert advise(terms, SIDES[BOB], *crossing.both_seen(BOB, terms), DEPTH).move is Move.REFUND
    await crossing.refund(crossing.south, BOB, terms)
    crossing.mine()
    with refused(SwapRule.DONE):
        await crossing.claim_second(terms)
    with refused(SwapRule.EARLY):
        await crossing.refund(crossing.north, ANN, terms)
    crossing.wait_until(terms.first.refund_at)
    await crossing.refund(crossing.north, ANN, terms)
    crossing.mine()
    check_moved(deal, before, holdings(crossing, deal), (0, 0, 0, 0))
    for person in (ANN, BOB):
        assert advise(terms, SIDES[person], *crossing.both_seen(person, terms), DEPTH).move is Move.NOTHING


async def test_nothing_is_locked_before_a_proposal_is_accepted() -> None:
    """Whoever walks away here has lost nothing, and nothing waits."""
    crossing = Crossing()
    deal = await hours_for_dure(crossing)
    proposal = crossing.propose(deal)
    with refused(SwapRule.NOT_ACCEPTED):
        await crossing.lock_first(proposal)
    terms = crossing.accept(proposal)
    with refused(SwapRule.MISSING):
        await crossing.lock_second(terms)
    assert crossing.north.holds(ANN, deal.gives) == 500


async def test_who_was_away_after_the_claim_still_has_the_time_between_the_two_locks() -> None:
    """Ann claims at the last moment; Bob's node is off until just before the first lock's time: nothing is lost."""
    crossing = Crossing()
    deal = await hours_for_shares(crossing)
    before = holdings(crossing, deal)
    terms = crossing.accept(crossing.propose(deal, first_at=crossing.clock.now + 11 * MARGIN))
    await crossing.lock_both(terms)
    crossing.clock.now = terms.second.refund_at - MARGIN
    await crossing.claim_second(terms)
    crossing.mine()
    crossing.wait_until(terms.first.refund_at - 1)
    assert advise(terms, SIDES[BOB], *crossing.both_seen(BOB, terms), DEPTH).move is Move.CLAIM
    await crossing.claim_first(terms)
    crossing.mine()
    check_moved(deal, before, holdings(crossing, deal), (-100, 100, 7, -7))
    crossing.wait_until(terms.first.refund_at)
    with refused(SwapRule.DONE):
        await crossing.refund(crossing.north, ANN, terms)


async def test_the_secret_is_not_shown_when_too_little_time_is_left() -> None:
    """One second too late, and nobody has learnt it; a second earlier it would have been in time."""
    crossing = Crossing()
    deal = await hours_for_dure(crossing)
    terms = crossing.accept(crossing.propose(deal))
    await crossing.lock_both(terms)
    crossing.clock.now = terms.second.refund_at - MARGIN + 1
    assert advise(terms, SIDES[ANN], *crossing.both_seen(ANN, terms), DEPTH).move is not Move.CLAIM
    with refused(SwapRule.LATE):
        await crossing.claim_second(terms)
    assert crossing.south[BOB].swaps.state(terms).secret is None
    crossing.clock.now -= 1
    assert (await crossing.claim_second(terms)).transaction.txid in crossing.south.mempool


async def test_a_lock_that_is_not_deep_yet_moves_nobody() -> None:
    crossing = Crossing()
    deal = await hours_for_dure(crossing)
    terms = crossing.accept(crossing.propose(deal))
    await crossing.lock_first(terms)
    for blocks in (0, DEPTH - 1):
        crossing.mine(blocks)
        with refused(SwapRule.EARLY):
            await crossing.lock_second(terms)
    crossing.mine()
    await crossing.lock_second(terms)
    for blocks in (0, DEPTH - 1):
        crossing.mine(blocks)
        with refused(SwapRule.EARLY):
            await crossing.claim_second(terms)
    assert crossing.south[BOB].swaps.state(terms).secret is None
    crossing.mine()
    await crossing.claim_second(terms)


async def test_each_step_that_comes_too_late_is_refused_by_name_and_locks_nothing() -> None:
    crossing = Crossing()
    deal = await hours_for_dure(crossing)
    begun = crossing.clock.now

    def late(margins: int) -> int:
        return begun + margins * MARGIN - 1

    with refused(SwapRule.LATE):
        crossing.propose(deal, second_at=late(4))
    proposal = crossing.propose(deal, second_at=late(4) + 1)
    crossing.clock.now += 1
    with refused(SwapRule.LATE):
        crossing.accept(proposal)
    crossing.clock.now -= 1
    terms = crossing.accept(proposal)
    crossing.clock.now += MARGIN + 1
    with refused(SwapRule.LATE):
        await crossing.lock_first(terms)
    assert crossing.north[ANN].swaps.state(terms).stage is Stage.NOTHING
    crossing.clock.now -= 1
    await crossing.lock_first(terms)
    crossing.mine(DEPTH)
    crossing.clock.now += MARGIN + 1
    with refused(SwapRule.LATE):
        await crossing.lock_second(terms)
    assert crossing.south[BOB].swaps.state(terms).stage is Stage.NOTHING
    crossing.clock.now -= 1
    await crossing.lock_second(terms)


async def test_what_lies_there_is_held_to_the_unit_against_what_was_agreed() -> None:
    """A070: less of it, more of it, and as much of another asset of the same name are all not it."""
    crossing = Crossing()
    deal = await hours_for_dure(crossing)
    other = await crossing.north.issue(ANN, 500)
    terms = crossing.accept(crossing.propose(deal))
    lock_id = crossing.north[BOB].swaps.lock_of(terms)
    assert deal.gives is not None
    for asset, amount in ((deal.gives, 99), (deal.gives, 101), (other, 100)):
        await crossing.north.pay_asset(ANN, asset, amount, lock_id)
        crossing.mine(DEPTH)
        assert crossing.north[BOB].swaps.state(terms).stage is Stage.DIFFERENT
        with refused(SwapRule.DIFFERENT):
            await crossing.lock_second(terms)
    # What others drop there changes nothing: the right coin counts.
    await crossing.lock_first(terms)
    crossing.mine(DEPTH)
    await crossing.lock_second(terms)


async def test_a_secret_opens_one_swap_only_even_if_two_people_accept_one_proposal() -> None:
    """Whoever learnt it on one road could take what lies on the other, and give nothing for it."""
    crossing = Crossing("cem")
    deal = await hours_for_dure(crossing)
    proposal = crossing.propose(deal)
    with_bob, with_cem = crossing.accept(proposal), crossing.accept(proposal, "cem")
    await crossing.lock_first(with_bob)
    with refused(SwapRule.USED):
        await crossing.lock_first(with_cem)
    assert crossing.north[ANN].swaps.state(with_cem).stage is Stage.NOTHING
    first, second = crossing.propose(deal), crossing.propose(deal)
    assert first.digest != second.digest


async def test_an_asset_that_takes_its_controllers_approval_crosses_no_networks() -> None:
    crossing = Crossing()
    share = await crossing.north.issue(ANN, 500, controller=lock_of(crossing.north[ANN].new_address()))
    for asset in (share, AssetId(bytes(32))):
        with refused(SwapRule.ASSET):
            crossing.propose(Deal(asset, 5, None, DURE))
    other = await crossing.south.issue(BOB, 500, controller=lock_of(crossing.south[BOB].new_address()))
    proposal = crossing.propose(Deal(None, DURE, other, 5))
    with refused(SwapRule.ASSET):
        crossing.accept(proposal)


async def test_who_has_no_dure_for_the_fee_shows_no_secret() -> None:
    crossing = Crossing()
    deal = await hours_for_shares(crossing)
    terms = crossing.accept(crossing.propose(deal))
    await crossing.lock_both(terms)
    swept = crossing.south[ANN].send_all(lock(9), TERMS)
    await crossing.south.hand_over(swept)
    crossing.mine()
    with pytest.raises(InsufficientFundsError):
        await crossing.claim_second(terms)
    assert crossing.south[BOB].swaps.state(terms).secret is None


async def test_whoever_is_killed_between_two_steps_goes_on_with_his_wallet_and_the_file() -> None:
    """Every step is asked for twice, with a restart between: it is done once."""
    crossing = Crossing()
    deal = await dure_for_shares(crossing)
    before = holdings(crossing, deal)
    proposal = crossing.propose(deal)
    restart(crossing)
    terms = crossing.accept(proposal)
    restart(crossing)
    for step in (crossing.lock_first, crossing.lock_second, crossing.claim_second, crossing.claim_first):
        once = await step(terms)
        restart(crossing)
        again = await step(terms)
        assert again.again
        assert again.transaction == once.transaction
        crossing.mine(DEPTH)
        restart(crossing)
    check_moved(deal, before, holdings(crossing, deal), (-deal.amount, deal.amount, deal.price, -deal.price))


def restart(crossing: Crossing) -> None:
    for shore in (crossing.north, crossing.south):
        for person in (ANN, BOB):
            shore.restart(person)


@pytest.mark.parametrize("step", ["lock", "claim", "refund"])
async def test_a_step_that_is_killed_at_any_write_is_done_once(step: str) -> None:
    crossing = Crossing()
    deal = await hours_for_dure(crossing)
    terms = crossing.accept(crossing.propose(deal))
    shore, person = crossing.north, ANN
    if step != "lock":
        await crossing.lock_first(terms)
        crossing.mine(DEPTH)
    if step == "claim":
        shore = crossing.south
        await crossing.lock_second(terms)
        crossing.mine(DEPTH)
    if step == "refund":
        crossing.wait_until(terms.first.refund_at)

    async def act() -> Sent:
        if step == "refund":
            return await crossing.refund(shore, person, terms)
        return await (crossing.lock_first if step == "lock" else crossing.claim_second)(terms)

    writes = 0
    while True:
        shore.doom(person, writes)
        try:
            done = await act()
        except Killed:
            writes += 1
            continue
        break
    assert writes, "it was killed at least once"
    shore.restart(person)
    assert (await act()).transaction == done.transaction
    crossing.mine()
    stage = {"lock": Stage.LOCKED, "claim": Stage.CLAIMED, "refund": Stage.REFUNDED}[step]
    assert shore[person].swaps.state(terms).stage is stage


async def test_words_and_the_file_are_enough_to_claim_and_to_be_refunded() -> None:
    """Both lose their disks while everything is locked."""
    crossing = Crossing()
    deal = await hours_for_dure(crossing)
    terms = crossing.accept(crossing.propose(deal))
    await crossing.lock_both(terms)
    for shore in (crossing.north, crossing.south):
        for person in (ANN, BOB):
            shore.restore(person)
            with refused(SwapRule.MISSING):
                shore[person].swaps.refund(terms, shore.records, TERMS, shore.context)
            assert shore[person].swaps.watch(terms) is not None
            shore.rescan(shore[person])
    with refused(SwapRule.DONE):  # nobody locks twice
        await crossing.lock_first(terms)
    await crossing.claim_second(terms)
    crossing.mine()
    await crossing.claim_first(terms)
    crossing.mine()
    assert crossing.north[BOB].swaps.state(terms).stage is Stage.CLAIMED


async def test_a_reorg_takes_back_a_lock_and_a_claim_and_the_secret_stays_known() -> None:
    crossing = Crossing()
    deal = await hours_for_dure(crossing)
    terms = crossing.accept(crossing.propose(deal))
    await crossing.lock_both(terms)
    crossing.south.reorg(DEPTH, DEPTH + 1)
    assert crossing.south[ANN].swaps.state(terms).stage is Stage.PENDING
    with refused(SwapRule.EARLY):
        await crossing.claim_second(terms)
    crossing.mine(DEPTH)
    await crossing.claim_second(terms)
    crossing.mine()
    crossing.south.reorg(1, 2)
    assert crossing.south[BOB].swaps.state(terms).stage is Stage.CLAIMING
    await crossing.claim_first(terms)
    crossing.mine()
    assert [each.stage for each in crossing.both_seen(BOB, terms)] == [Stage.CLAIMED, Stage.CLAIMED]


async def test_a_secret_that_is_wrong_or_early_claims_nothing() -> None:
    crossing = Crossing()
    deal = await hours_for_dure(crossing)
    terms = crossing.accept(crossing.propose(deal))
    await crossing.lock_first(terms)
    crossing.mine(DEPTH)
    desk, north = crossing.north[BOB].swaps, crossing.north
    for secret in (None, bytes(32)):
        with refused(SwapRule.SECRET):
            desk.claim(terms, north.records, TERMS, north.context, secret=secret)
    with refused(SwapRule.NOT_YOURS):
        crossing.north[ANN].swaps.claim(terms, north.records, TERMS, north.context)
    with refused(SwapRule.NOT_YOURS):
        desk.refund(terms, north.records, TERMS, north.context)
    await crossing.lock_second(terms)
    crossing.mine(DEPTH)
    other = crossing.propose(deal)
    with refused(SwapRule.SECRET):
        await crossing.claim_second(terms, crossing.south[ANN].swaps.secret_of(other.second.receiver or b""))


async def test_the_locked_coin_is_in_nobodys_balance_and_pays_for_nothing() -> None:
    crossing = Crossing()
    deal = await hours_for_dure(crossing)
    terms = crossing.accept(crossing.propose(deal))
    await crossing.lock_both(terms)
    assert crossing.north.holds(ANN, deal.gives) == 400
    assert crossing.north.holds(BOB, deal.gives) == 0
    assert crossing.south.holds(ANN, None) == 20 * DURE
    with pytest.raises(InsufficientFundsError):
        crossing.south[BOB].send([Payment(lock(9), Amount(19 * DURE))], TERMS)


async def test_a_proposal_that_somebody_else_signed_in_ones_name_locks_nothing() -> None:
    """Eve signs the same terms with keys of her own: they are nobody's whom she sends them to."""
    crossing = Crossing("eve")
    deal = await hours_for_dure(crossing)
    terms = crossing.accept(crossing.propose(deal))
    eve = crossing.north["eve"].swaps.new_key()
    forged = crossing.accept(
        crossing.north["eve"].swaps.propose(
            replace(terms.first, payer=eve, receiver=None),
            replace(terms.second, payer=None),
            terms.digest,
            crossing.north.records,
            crossing.north.context,
        )
    )
    with refused(SwapRule.NOT_YOURS):
        await crossing.lock_first(forged)


async def test_a_file_that_lies_about_the_pace_of_a_network_is_refused_there() -> None:
    """The margins are reckoned by it: blocks that come more slowly than the file says would leave too little time."""
    crossing = Crossing()
    deal = await hours_for_dure(crossing)
    payer, receiver = crossing.north[ANN].swaps.new_key(), crossing.south[ANN].swaps.new_key()
    terms = crossing.propose(deal)
    digest = crossing.south[ANN].swaps.hash_of(receiver)
    hasty = replace(terms.second, spacing=1, receiver=receiver)
    lying = crossing.north[ANN].swaps.propose(
        replace(terms.first, payer=payer), hasty, digest, crossing.north.records, crossing.north.context
    )
    with refused(SwapRule.NETWORK):
        crossing.accept(lying)
    with refused(SwapRule.NETWORK):
        crossing.south[BOB].swaps.check(lying, crossing.south.records)
