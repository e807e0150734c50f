"""Swaps in one transaction: what both signed is what was offered, to the unit, and nobody is bound before he signs."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest
from msgspec.structs import replace

from consensus.asset_text import Metadata, encode_metadata
from consensus.codec import encode
from consensus.params import Params
from consensus.types import Amount, AssetId, Core, Output, Transaction
from node.relay_policy import required_fee, virtual_size
from tests.support.assets import with_output
from tests.support.chain import ManualClock
from tests.support.rules import lock
from tests.support.swaps import ANN, BOB, NORTH, SOUTH, START, Shore
from tests.support.wallets import DURE, TERMS, lock_of
from wallet.assets.approvers import UNKNOWN_POLICY
from wallet.cosigning import IncompleteError, finalise
from wallet.errors import InsufficientFundsError, PaymentError
from wallet.psdt import Psdt, PsdtError, PsdtRule, SpentCoin, new_psdt
from wallet.results import Sent
from wallet.swaps.errors import SwapError, SwapRule
from wallet.swaps.exchange import Coins
from wallet.swaps.offers import (
    Acceptance,
    Offer,
    Worth,
    read_acceptance,
    read_offer,
    write_acceptance,
    write_offer,
)

TICKER = encode_metadata(Metadata("Hours of the town", "HOUR"))
HOURS, SHARES = 100, 7


class Market(Shore):
    """Ann has 500 hours, Bob 70 shares, and everybody 20 DURE."""

    def __init__(self, *more: str, params: Params = NORTH) -> None:
        super().__init__(params, ManualClock(START), ANN, BOB, *more)
        self.hours = self.shares = AssetId(bytes(32))

    async def open(self) -> Market:
        self.hours = await self.issue(ANN, 500, metadata=TICKER)
        self.shares = await self.issue(BOB, 70)
        return self

    async def share_of(self, person: str) -> AssetId:
        """An asset that the registrar controls, of which the person has all 50."""
        share = await self.issue("registrar", 50, controller=lock_of(self["registrar"].new_address()))
        await self.give("registrar", person, share, 50)
        return share

    def offer(self, gives: Worth | None = None, wants: Worth | None = None) -> Offer:
        gives = gives or Worth(self.hours, Amount(HOURS))
        wants = wants or Worth(self.shares, Amount(SHARES))
        return passed(self[ANN].offers.offer(gives, wants, self.records, TERMS))

    def accept(self, offer: Offer, person: str = BOB) -> Acceptance:
        return passed_on(self[person].offers.accept(offer, self.coins(), self.records, TERMS))

    def signed_by(self, acceptance: Acceptance, person: str) -> Acceptance:
        return passed_on(self[person].offers.sign(acceptance, self.coins(), self.records, self.context).acceptance)

    def coins(self) -> Coins:
        return self.chain.builder.coins(self.block)

    def finished(self, acceptance: Acceptance) -> Transaction:
        return finalise(self.params, acceptance.psdt, self.context, self.records)

    def withdraw(self, person: str, offer: Offer, psdt: Psdt | None = None) -> Sent | None:
        return self[person].offers.withdraw(offer, psdt, self.records, TERMS)

    def all_of(self, asset: AssetId | None) -> tuple[int, int]:
        return self.holds(ANN, asset), self.holds(BOB, asset)


def passed(offer: Offer) -> Offer:
    return read_offer(NORTH, write_offer(offer))


def passed_on(acceptance: Acceptance) -> Acceptance:
    return read_acceptance(NORTH, write_acceptance(acceptance))


def refused(step: Callable[..., object], *given: object) -> SwapRule:
    with pytest.raises(SwapError) as error:
        step(*given)
    return error.value.rule


async def test_an_asset_is_swapped_for_an_asset_in_one_transaction_and_the_acceptor_pays_the_fee() -> None:
    market = await Market().open()
    before = market.all_of(None)
    offer = market.offer()
    acceptance = market.accept(offer)
    stakes = market[BOB].offers.stakes(acceptance)
    fee = acceptance.psdt.fee
    assert {asset: stake.gets - stake.gives for asset, stake in stakes.items()} == {
        None: -fee, market.hours: HOURS, market.shares: -SHARES,
    }  # fmt: skip
    signed = market.signed_by(market.signed_by(acceptance, BOB), ANN)
    tx = market.finished(signed)
    assert market[ANN].policies.record(tx)
    await market.send(tx)
    market.mine()
    assert market.all_of(market.hours) == (400, 100)
    assert market.all_of(market.shares) == (7, 63)
    assert market.all_of(None) == (before[0], before[1] - fee)
    assert market[ANN].coins.aside() == market[BOB].coins.aside() == []
    shown = [[each.asset for each in market[person].assets.balances() if each.shown] for person in (ANN, BOB)]
    assert shown == [sorted([market.hours, market.shares])] * 2, "what one has asked for came from no stranger"


@pytest.mark.parametrize("sells", [True, False])
async def test_assets_are_sold_and_bought_for_dure(sells: bool) -> None:
    """Whoever gets DURE for accepting pays the fee out of it, and needs none of his own."""
    market = await Market().open()
    anns = market.holds(ANN, None)
    price = Worth(None, Amount(2 * DURE))
    offer = market.offer(wants=price) if sells else market.offer(price, Worth(market.shares, Amount(SHARES)))
    if not sells:
        swept = market[BOB].send_all(lock(9), TERMS)
        await market.hand_over(swept)
        market.mine()
    before = market.holds(BOB, None)
    acceptance = market.signed_by(market.signed_by(market.accept(offer), BOB), ANN)
    fee = acceptance.psdt.fee
    await market.send(market.finished(acceptance))
    market.mine()
    if sells:
        assert market.all_of(market.hours) == (400, 100)
        assert market.all_of(None) == (anns + 2 * DURE, before - 2 * DURE - fee)
    else:
        assert market.all_of(market.shares) == (7, 63)
        assert market.holds(BOB, None) == before + 2 * DURE - fee
        assert market.holds(ANN, None) == anns - 2 * DURE
    assert 0 < fee < 20_000


async def test_what_is_offered_is_kept_until_it_is_withdrawn_and_over_a_restart() -> None:
    market = await Market().open()
    offer = market.offer()
    market.restart(ANN)
    assert market.holds(ANN, market.hours) == 0, "the whole coin of 500 is kept"
    with pytest.raises(InsufficientFundsError):
        await market.pay_asset(ANN, market.hours, 1, lock(9))
    acceptance = market.signed_by(market.accept(offer), BOB)
    assert market.withdraw(ANN, offer) is None
    assert market.holds(ANN, market.hours) == 500
    assert refused(lambda: market.signed_by(acceptance, ANN)) is SwapRule.WITHDRAWN
    assert refused(lambda: market.withdraw(ANN, offer)) is SwapRule.WITHDRAWN
    # Nothing of hers was signed: whatever Bob has, nobody can finish it.
    with pytest.raises(IncompleteError):
        market.finished(acceptance)


async def test_an_offer_whose_coin_was_spent_is_refused_by_whoever_would_accept_it() -> None:
    market = await Market().open()
    offer = market.offer()
    signed = market.signed_by(market.accept(offer), BOB)
    market.withdraw(ANN, offer)
    await market.pay_asset(ANN, market.hours, 1, lock(9))
    market.mine()
    assert refused(lambda: market.accept(offer)) is SwapRule.WITHDRAWN
    assert refused(lambda: market.signed_by(signed, BOB)) is SwapRule.WITHDRAWN


async def test_an_acceptor_who_has_signed_withdraws_by_spending_and_the_offerer_cannot_finish() -> None:
    """Releasing his coin would not do: she holds his signature. She could have finished until then."""
    market = await Market().open()
    before = market.all_of(None)
    offer = market.offer()
    signed = market.signed_by(market.accept(offer), BOB)
    assert market.holds(BOB, None) == 0, "the coins that his signature spends are kept"
    market.restart(BOB)
    sent = market.withdraw(BOB, offer, signed.psdt)
    assert sent is not None
    assert market.withdraw(BOB, offer, signed.psdt) == replace(sent, again=True)
    await market.hand_over(sent)
    market.mine()
    assert market[BOB].coins.aside() == []
    assert market.holds(BOB, None) == before[1] - sent.fee
    assert refused(lambda: market.signed_by(signed, ANN)) is SwapRule.WITHDRAWN
    market.withdraw(ANN, offer)
    assert market.all_of(market.hours) == (500, 0)
    assert market.all_of(market.shares) == (0, 70)


async def test_the_offerer_walks_away_and_the_acceptor_has_everything_again() -> None:
    """Accepted but not signed yet, nothing is kept; signed, he frees it as he likes. Nobody needs the other for it."""
    market = await Market().open()
    offer = market.offer()
    acceptance = market.accept(offer)
    assert market.holds(BOB, market.shares) == 70
    assert refused(lambda: market.withdraw(BOB, offer, acceptance.psdt)) is SwapRule.WITHDRAWN
    signed = market.signed_by(acceptance, BOB)
    assert market.holds(BOB, market.shares) == 0
    sent = market.withdraw(BOB, offer, signed.psdt)
    assert sent is not None
    await market.hand_over(sent)
    market.mine()
    assert market.holds(BOB, market.shares) == 70


async def test_a_swap_that_was_sent_can_be_withdrawn_by_nobody() -> None:
    market = await Market().open()
    offer = market.offer()
    signed = market.signed_by(market.signed_by(market.accept(offer), BOB), ANN)
    tx = market.finished(signed)
    market[ANN].policies.record(tx)
    await market.send(tx)
    for person in (ANN, BOB):
        assert refused(market.withdraw, person, offer, signed.psdt) is SwapRule.DONE
    assert market.holds(ANN, market.shares) == 0, "not hers before it is in a block"


async def test_the_offerer_signs_last() -> None:
    market = await Market().open()
    acceptance = market.accept(market.offer())
    assert refused(lambda: market.signed_by(acceptance, ANN)) is SwapRule.NOT_ACCEPTED


async def test_nobody_accepts_his_own_offer_or_signs_one_that_is_not_his() -> None:
    market = await Market("cem").open()
    offer = market.offer()
    assert refused(lambda: market.accept(offer, ANN)) is SwapRule.NOT_YOURS
    signed = market.signed_by(market.accept(offer), BOB)
    assert refused(lambda: market.signed_by(signed, "cem")) is SwapRule.NOT_YOURS
    assert refused(lambda: market.withdraw("cem", offer, signed.psdt)) is SwapRule.NOT_YOURS


CHANGES: list[Callable[[Offer], Offer]] = [
    lambda offer: replace(offer, gives=replace(offer.gives, amount=Amount(HOURS - 1))),
    lambda offer: replace(offer, wants=replace(offer.wants, amount=Amount(SHARES - 1))),
    lambda offer: replace(offer, wants=replace(offer.wants, asset=None)),
    lambda offer: replace(offer, outputs=(replace(offer.outputs[0], lock=lock(9)), *offer.outputs[1:])),
    lambda offer: replace(offer, outputs=(offer.outputs[0], replace(offer.outputs[1], lock=lock(9)))),
    lambda offer: replace(offer, coins=(*offer.coins, offer.coins[0])),
    lambda offer: replace(offer, signatures=()),
    lambda offer: replace(offer, genesis=SOUTH.genesis_hash),
]


@pytest.mark.parametrize("change", CHANGES)
async def test_an_offer_that_was_changed_is_refused(change: Callable[[Offer], Offer]) -> None:
    """Amount, asset, a redirected output, an extra coin, no signature, another network."""
    market = await Market().open()
    bad = change(market.offer())
    assert refused(lambda: passed(bad)) in {SwapRule.TERMS, SwapRule.SIGNATURE, SwapRule.NETWORK}
    consistent = [CHANGES[3], CHANGES[4], CHANGES[6]]
    if change in consistent:
        assert refused(lambda: passed(bad)) is SwapRule.SIGNATURE


async def test_an_offerer_who_lies_about_his_coin_is_found_out_by_the_chain() -> None:
    """A070, A161: an asset of the same ticker has another id, and a coin is worth what the chain says."""
    market = await Market().open()
    alike = await market.issue(ANN, 500, metadata=TICKER)
    real, fake = market.offer(), market.offer(Worth(alike, Amount(HOURS)))
    assert real.gives.asset != fake.gives.asset
    key = market[ANN].offers._signer.sign_digest
    (coin,) = fake.coins
    posing = replace(coin, coin=replace(coin.coin, output=replace(coin.coin.output, asset=market.hours)))
    outputs = (real.outputs[0], replace(fake.outputs[1], asset=market.hours))
    lie = replace(fake, gives=real.gives, coins=(posing,), outputs=outputs)
    lie = passed(replace(lie, signatures=tuple([key(each, lie.digest) for each in lie.locks])))
    assert refused(lambda: market.accept(lie)) is SwapRule.DIFFERENT


def altered(market: Market, acceptance: Acceptance, change: Callable[[Core], Core], *coins: SpentCoin) -> Acceptance:
    """The acceptance of a dishonest acceptor, whose own program signs whatever he likes."""
    core = change(acceptance.psdt.core)
    psdt = new_psdt(NORTH, core, (*acceptance.psdt.coins, *coins))
    psdt = market[BOB].cosigner.update(psdt)
    known = {outpoint: coin.output for outpoint, coin in market.coins().items()}
    mine = [part.name for part in psdt.parts if market[BOB].is_mine(part.lock)]
    psdt = market[BOB].cosigner.sign(psdt, known, market.records, only=mine, force=True).psdt
    return Acceptance(acceptance.offer, psdt)


async def test_a_transaction_that_pays_the_offerer_less_or_elsewhere_is_refused() -> None:
    market = await Market().open()
    acceptance = market.accept(market.offer())
    first, second, *_ = acceptance.psdt.core.outputs
    rest = next(n for n, each in enumerate(acceptance.psdt.core.outputs) if n > 1 and each.asset == market.shares)
    left = acceptance.psdt.core.outputs[rest]

    def one_less(core: Core) -> Core:
        core = with_output(core, 0, replace(first, value=Amount(SHARES - 1)))
        return with_output(core, rest, replace(left, value=Amount(left.value + 1)))

    for change in (
        one_less,
        lambda core: with_output(core, 0, replace(first, lock=lock(9))),
        lambda core: with_output(core, 1, replace(second, lock=lock_of(market[BOB].new_address()))),
        lambda core: replace(core, memo=b"more"),
        lambda core: replace(core, inputs=(*core.inputs[1:], core.inputs[0])),
    ):
        try:
            bad = altered(market, acceptance, change)
        except PsdtError as error:
            assert error.rule is PsdtRule.LIE
            continue
        assert refused(passed_on, bad) is SwapRule.DIFFERENT


async def test_another_coin_of_the_offerers_is_not_slipped_in() -> None:
    """A signature is for a lock, and hers may lie at several: an extra input, even paid back to herself, is refused."""
    market = await Market().open()
    more = await market.pay(BOB, lock_of(market[ANN].new_address()), DURE)
    market.mine()
    acceptance = market.accept(market.offer())
    outpoint = next(
        each for each, coin in market.coins().items() if each.txid == more.txid and coin.output.value == DURE
    )
    coin = market.coins()[outpoint]
    thief = Output(coin.output.value, lock_of(market[BOB].new_address()), None)

    def steal(core: Core) -> Core:
        return replace(core, inputs=(*core.inputs, outpoint), outputs=(*core.outputs, thief))

    bad = passed_on(altered(market, acceptance, steal, SpentCoin(coin.output, coin.height, coin.coinbase)))
    assert refused(lambda: market.signed_by(bad, ANN)) is SwapRule.DIFFERENT


async def test_a_file_whose_fee_or_outputs_change_after_the_signing_holds_bad_signatures() -> None:
    market = await Market().open()
    signed = market.signed_by(market.accept(market.offer()), BOB)
    core = signed.psdt.core
    place = next(n for n, each in enumerate(core.outputs) if n > 1 and each.asset is None)
    dearer = with_output(core, place, replace(core.outputs[place], value=Amount(core.outputs[place].value - 1)))
    with pytest.raises(PsdtError) as error:
        passed_on(Acceptance(signed.offer, replace(signed.psdt, core=dearer)))
    assert error.value.rule is PsdtRule.BAD_SIGNATURE


async def test_an_acceptor_is_held_to_what_he_was_shown() -> None:
    """His own unsigned file was changed on his disk: it takes a unit more of him, or its change goes elsewhere."""
    market = await Market().open()
    acceptance = market.accept(market.offer())
    core = acceptance.psdt.core
    place = next(n for n, each in enumerate(core.outputs) if n > 1 and each.asset == market.shares)
    for change in (
        replace(core.outputs[place], lock=lock(9)),
        replace(core.outputs[place], lock=acceptance.offer.outputs[0].lock),
    ):
        psdt = new_psdt(NORTH, with_output(core, place, change), acceptance.psdt.coins)
        bad = passed_on(Acceptance(acceptance.offer, market[BOB].cosigner.update(psdt)))
        assert refused(market.signed_by, bad, BOB) is SwapRule.NOT_YOURS


async def test_a_file_of_another_kind_or_damaged_is_none() -> None:
    market = await Market().open()
    offer = market.offer()
    acceptance = market.accept(offer)
    assert refused(lambda: read_acceptance(NORTH, write_offer(offer))) is SwapRule.MALFORMED
    assert refused(lambda: read_offer(NORTH, write_acceptance(acceptance))) is SwapRule.MALFORMED
    raw = write_offer(offer)
    assert refused(lambda: read_offer(NORTH, raw[:-1] + bytes([raw[-1] ^ 1]))) is SwapRule.CHECKSUM
    for place in range(10, len(raw) - 32, 11):
        flipped = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 : -32]
        rule = refused(read_offer, NORTH, flipped + sha256(flipped).digest())
        assert rule in {SwapRule.MALFORMED, SwapRule.TERMS, SwapRule.SIGNATURE, SwapRule.NETWORK}


async def test_a_controlled_asset_is_swapped_once_its_controller_approves() -> None:
    """A069: the offerer's signature is worth nothing before, and so is not given."""
    market = await Market("registrar").open()
    share = await market.share_of(ANN)
    offer = market.offer(Worth(share, Amount(5)), Worth(None, Amount(DURE)))
    signed = market.signed_by(market.accept(offer), BOB)
    assert refused(market.signed_by, signed, ANN) is SwapRule.NOT_APPROVED
    with pytest.raises(IncompleteError):
        market.finished(signed)
    approved = market.signed_by(signed, "registrar")
    await market.send(market.finished(market.signed_by(approved, ANN)))
    market.mine()
    assert market.all_of(share) == (45, 5)


@pytest.mark.parametrize("for_dure", [True, False])
async def test_the_fee_of_a_swap_is_enough_for_whatever_its_controller_may_turn_out_to_be(for_dure: bool) -> None:
    """Its policy may be a threshold that nobody here knows; and what was signed cannot be given a higher fee."""
    market = await Market("registrar").open()
    share = await market.share_of(ANN)
    wants = Worth(None, Amount(DURE)) if for_dure else Worth(market.shares, Amount(1))
    psdt = market.accept(market.offer(Worth(share, Amount(5)), wants)).psdt
    size, signatures = len(encode(psdt.core)) + UNKNOWN_POLICY.size, len(psdt.spent) + UNKNOWN_POLICY.signatures
    assert psdt.fee >= required_fee(1_000, virtual_size(size, signatures))


async def test_who_gives_a_controlled_asset_withdraws_without_his_controllers_approval() -> None:
    """What he signed spends a coin in DURE too, even where DURE is what he gets: that one he can move alone."""
    market = await Market("registrar").open()
    share = await market.share_of(BOB)
    before = market.holds(BOB, None)
    offer = market.offer(Worth(None, Amount(DURE)), Worth(share, Amount(5)))
    signed = market.signed_by(market.signed_by(market.accept(offer), BOB), "registrar")
    sent = market.withdraw(BOB, offer, signed.psdt)
    assert sent is not None
    await market.hand_over(sent)
    market.mine()
    assert (market.holds(BOB, None), market.holds(BOB, share)) == (before - sent.fee, 50)
    assert refused(market.signed_by, signed, ANN) is SwapRule.WITHDRAWN


async def test_what_a_controller_froze_he_does_not_approve_in_a_swap() -> None:
    market = await Market("registrar").open()
    share = await market.share_of(ANN)
    offer = market.offer(Worth(share, Amount(5)), Worth(None, Amount(DURE)))
    signed = market.signed_by(market.accept(offer), BOB)
    controller = market.records[share].definition.controller
    market["registrar"].assets.freeze(share, controller, offer.locks[0], "a court said so")
    assert refused(market.signed_by, signed, "registrar") is SwapRule.NOT_APPROVED


async def test_what_makes_no_sense_is_not_offered() -> None:
    market = await Market().open()
    hour = Worth(market.hours, Amount(1))
    assert refused(lambda: market.offer(hour, hour)) is SwapRule.TERMS
    assert refused(lambda: market.offer(hour, Worth(AssetId(bytes(32)), Amount(1)))) is SwapRule.ASSET
    with pytest.raises(PaymentError):
        market.offer(hour, Worth(None, Amount(545)))
    with pytest.raises(InsufficientFundsError):
        market.offer(Worth(market.hours, Amount(501)))
    assert market[ANN].coins.aside() == []
    with pytest.raises(InsufficientFundsError):
        market.accept(market.offer(wants=Worth(market.shares, Amount(71))))
    with pytest.raises(InsufficientFundsError):
        market.accept(market.offer(hour, Worth(None, Amount(21 * DURE))))
