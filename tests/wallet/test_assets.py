"""Assets in the wallet: apart from DURE, conserved to the unit, and out of sight if nobody asked for them."""

from __future__ import annotations

import pytest

from consensus.asset_text import Metadata, encode_metadata
from consensus.assets import authority_id
from consensus.types import (
    Amount,
    AssetId,
    Attestation,
    Burn,
    NewAsset,
    Reissue,
    SupplyKind,
)
from tests.support.asset_town import HIM, Town, pay, reopened_like, sums
from tests.support.assets import define
from tests.support.wallets import (
    TERMS,
    Chain,
    lock_of,
    outside,
    payment,
    reopened,
)
from wallet.assets import desk
from wallet.assets.making import AssetPayment, AssetWish
from wallet.errors import FeeError, InsufficientFundsError, PaymentError, WalletLockedError
from wallet.keystore_file import KdfCost
from wallet.results import AssetBalance, AssetMovement, Sent

TEXT = encode_metadata(Metadata("Hours of the town", "HOUR"))


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


def test_an_issued_asset_is_held_apart_from_dure(chain: Chain) -> None:
    town = Town(chain)
    before = town.wallet.balances().total
    sent = town.make(AssetWish(issuances=(NewAsset(define(SupplyKind.REISSUABLE, 1_000, metadata=TEXT)),)))
    (waiting,) = town.wallet.assets.balances()
    assert (waiting.sums, waiting.authority, waiting.shown) == (sums(change=1_000), True, True)
    described = town.wallet.assets.definition(waiting.asset)
    assert described is not None
    assert described.metadata == TEXT
    assert town.wallet.balances().total == before - sent.fee
    town.mine(sent.transaction)
    assert town.wallet.assets.balances() == [AssetBalance(waiting.asset, sums(1_000), True, True)]
    assert town.wallet.balances().confirmed == before - sent.fee
    assert reopened_like(town).assets.balances() == town.wallet.assets.balances()


def test_change_comes_back_for_each_asset_and_the_fee_is_paid_in_dure(chain: Chain) -> None:
    """A154: several assets in one payment; of each exactly what is paid leaves."""
    town = Town(chain)
    one, other = (town.issue(define(first=amount, metadata=bytes([amount]))) for amount in (100, 7))
    dure = town.wallet.balances().total
    wish = AssetWish(payments=(AssetPayment(HIM, one, Amount(30)), AssetPayment(HIM, other, Amount(7))))
    sent = town.make(wish)
    coins = town.chain.builder.coins(town.tip)
    spent = [coins[outpoint].output for outpoint in sent.transaction.core.inputs]
    assert sum(output.value for output in spent if output.asset is None) == sent.fee + sent.change
    town.mine(sent.transaction)
    assert town.held(one).sums == sums(70)
    assert not [each for each in town.wallet.assets.balances() if each.asset == other]
    assert town.wallet.balances().total == dure - sent.fee


def test_a_coin_with_an_asset_on_it_never_pays_a_fee(chain: Chain) -> None:
    """A154: a wallet whose only large coins carry an asset has no DURE, and says so."""
    town = Town(chain, 100_000)
    asset = town.issue(define(first=10**15))
    left = town.wallet.balances().trusted
    assert left < 100_000
    with pytest.raises(InsufficientFundsError):
        town.wallet.send([payment(town.wallet.new_address(), 100_000)], TERMS)
    swept = town.wallet.send_all(HIM, TERMS)
    assert all(output.asset is None for output in swept.transaction.core.outputs)
    town.mine(swept.transaction)
    assert town.wallet.balances().total == 0
    with pytest.raises(InsufficientFundsError):
        town.make(pay(asset, 1))
    assert town.held(asset).sums == sums(10**15)


def test_the_history_is_looked_through_in_slices_and_is_the_same(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "LOOKED_AT_ONCE", 2)
    town = Town(chain)
    asset = town.issue(define(SupplyKind.REISSUABLE, 1))
    for amount in (2, 3, 4):
        town.mine(town.make(AssetWish(issuances=(Reissue(asset, Amount(amount)),))).transaction)
    assets = town.wallet.assets
    # Five transactions, with the one that paid it DURE: a pause before the second and the fourth.
    assert sum(1 for _ in assets.history_in_slices()) == 2
    for count, skip, amounts in [(10, 0, [4, 3, 2, 1]), (4, 0, [4, 3, 2, 1]), (2, 1, [3, 2]), (0, 1, []), (3, 4, [])]:
        assert [line.amount for line in assets.history(count, skip)] == amounts
    assert sum(1 for _ in assets.history_in_slices(count=1)) == 0  # nothing beyond it is looked at


@pytest.mark.parametrize("amount", [0, 101])
def test_more_than_is_held_and_nothing_at_all_are_refused(chain: Chain, amount: int) -> None:
    town = Town(chain)
    asset = town.issue(define(first=100, decimals=1))
    message = "10.1 of asset .* 10.0 can be" if amount else "value-range"
    with pytest.raises(PaymentError, match=message):
        town.make(pay(asset, amount))
    assert town.make(pay(asset, 100)).fee


def test_more_can_be_issued_until_the_supply_is_closed(chain: Chain) -> None:
    town = Town(chain)
    asset = town.issue(define(SupplyKind.REISSUABLE, 0))
    assert town.held(asset) == AssetBalance(asset, sums(), True, True)
    for held in (5, 10):
        town.mine(town.make(AssetWish(issuances=(Reissue(asset, Amount(5)),))).transaction)
        assert town.held(asset) == AssetBalance(asset, sums(held), True, True)
    town.mine(town.make(AssetWish(burns=(Burn(authority_id(asset), Amount(1)),))).transaction)
    assert not town.held(asset).authority
    with pytest.raises(InsufficientFundsError, match="authority"):
        town.make(AssetWish(issuances=(Reissue(asset, Amount(1)),)))
    town.mine(town.make(AssetWish(burns=(Burn(asset, Amount(3)),))).transaction)
    assert town.held(asset).sums == sums(7)
    assert town.chain.builder.assets(town.tip)[asset].supply == 7
    assert [(line.movement, line.amount) for line in town.wallet.assets.history()] == [
        (AssetMovement.BURNED, -3),
        (AssetMovement.CLOSED, 0),
        (AssetMovement.ISSUED, 5),
        (AssetMovement.ISSUED, 5),
        (AssetMovement.ISSUED, 0),
    ]


def test_whoever_controls_an_asset_pays_it_out_himself(chain: Chain) -> None:
    """A208: his key is in his wallet, and approves what that makes."""
    town = Town(chain)
    other = town.join()
    share = town.issue(define(first=10, controller=lock_of(town.wallet.new_address())))
    town.mine(town.make(pay(share, 4, lock_of(other.new_address()))).transaction)
    assert town.held(share, other).sums == sums(4)
    town.mine(town.make(AssetWish(burns=(Burn(share, Amount(1)),))).transaction)
    assert town.held(share).sums == sums(5)


def test_no_unit_is_issued_beyond_what_the_auditor_attests(chain: Chain) -> None:
    town = Town(chain)
    auditor = town.join()
    won = town.issue(define(SupplyKind.RESERVED, decimals=1, auditor=lock_of(auditor.new_address())))
    attest = AssetWish(issuances=(Attestation(won, 1, Amount(500)),))
    with pytest.raises(PaymentError, match="above-reserve"):
        town.make(AssetWish(issuances=(Reissue(won, Amount(1)),)))
    town.mine(town.make(attest, auditor).transaction)
    with pytest.raises(
        PaymentError, match=r"above-reserve: 50\.1 more .* 50\.0 can be: .* attests 50\.0, and 0\.0 exist"
    ):
        town.make(AssetWish(issuances=(Reissue(won, Amount(501)),)))
    town.mine(town.make(AssetWish(issuances=(Reissue(won, Amount(500)),))).transaction)
    assert town.held(won).sums == sums(500)
    (attested,) = auditor.assets.history()
    assert (attested.movement, attested.asset, attested.amount) == (AssetMovement.ATTESTED, won, 500)
    assert AssetMovement.ATTESTED not in {line.movement for line in town.wallet.assets.history()}
    fixed = town.issue(define(first=1))
    with pytest.raises(PaymentError, match="reserved"):
        town.make(AssetWish(issuances=(Attestation(fixed, 1, Amount(1)),)))


def test_a_work_belongs_to_a_collection_only_by_its_authority(chain: Chain) -> None:
    town = Town(chain)
    forger = town.join()
    series = town.issue(define(SupplyKind.REISSUABLE, 0))
    work = define(content=bytes(32), collection=series)
    with pytest.raises(InsufficientFundsError, match="authority"):
        town.make(AssetWish(issuances=(NewAsset(work),)), forger)
    first, second = town.issue(work), town.issue(work)
    assert first != second
    assert town.held(series).authority
    assert town.held(first).sums == sums(1)


def test_what_strangers_pay_is_hidden_until_it_is_wanted(chain: Chain) -> None:
    """A162: neither balances nor history show it unasked; what the wallet sends of it, it shows."""
    town = Town(chain)
    other = town.join()
    spam, gift = (town.issue(define(first=10, metadata=bytes([n]))) for n in (1, 2))
    to = lock_of(other.new_address())
    sent = town.make(AssetWish(payments=(AssetPayment(to, spam, Amount(2)), AssetPayment(to, gift, Amount(3)))))
    other.add_pending(sent.transaction)
    assert town.held(spam, other) == AssetBalance(spam, sums(pending=2), False, False)
    town.mine(sent.transaction)
    assert not any(each.shown for each in other.assets.balances())
    assert other.assets.history() == []
    (line,) = other.assets.history(asset=spam)
    assert (line.movement, line.amount, line.others) == (AssetMovement.RECEIVED, 2, ())
    other.assets.show(spam)
    assert [each.asset for each in other.assets.history()] == [spam]
    other.assets.show(spam, shown=False)
    assert other.assets.history() == []
    town.mine(town.make(pay(gift, 1), other).transaction)
    assert town.held(gift, other) == AssetBalance(gift, sums(2), False, True)
    assert [(each.movement, each.amount, each.others) for each in other.assets.history()] == [
        (AssetMovement.SENT, -1, (HIM,)),
        (AssetMovement.RECEIVED, 3, ()),
    ]


def test_what_is_decided_outlives_the_process(chain: Chain) -> None:
    world = outside()
    town = Town(chain, world=world)
    one, other = (town.issue(define(first=n)) for n in (1, 2))
    town.wallet.assets.show(one, shown=False)
    again = reopened(world)
    assert again.assets.balances() == town.wallet.assets.balances()
    assert {each.asset for each in again.assets.balances() if each.shown} == {other}


def test_a_reorg_takes_an_asset_back(chain: Chain) -> None:
    """A071: the coins of the branch that lost are gone, those that were spent there are there again."""
    town = Town(chain)
    asset = town.issue(define(first=10))
    before = town.tip
    sent = town.make(pay(asset, 4))
    town.mine(sent.transaction)
    assert town.held(asset).sums == sums(6)
    town.chain.follow(town.wallet, town.chain.mine_many(before, 2))
    assert town.held(asset).sums == sums(change=6)
    town.wallet.abandon(sent.transaction.txid)
    assert town.held(asset).sums == sums(10)


def test_a_payment_in_assets_is_never_bumped(chain: Chain) -> None:
    """A072: what it carries is no DURE, and a new asset's id would change."""
    town = Town(chain)
    asset = town.issue(define(first=10))
    sent = town.make(pay(asset, 4))
    with pytest.raises(PaymentError, match="carries assets"):
        town.wallet.bump(sent.transaction.txid, TERMS)


def test_a_repeated_request_pays_once_and_another_wish_is_refused(chain: Chain) -> None:
    """A155"""
    town = Town(chain)
    asset = town.issue(define(first=10))
    sent = town.make(pay(asset, 4), request_id="order 7")
    again = town.make(pay(asset, 4), request_id="order 7")
    assert again.again
    assert (again.transaction.txid, again.fee, again.change) == (sent.transaction.txid, sent.fee, sent.change)
    with pytest.raises(PaymentError, match="another payment"):
        town.make(pay(asset, 5), request_id="order 7")
    assert town.held(asset).sums == sums(change=6)


def test_change_that_waits_can_be_spent_on_until_the_chain_is_too_long(chain: Chain) -> None:
    town = Town(chain)
    asset = town.issue(define(first=100))
    sent = [town.make(pay(asset, 1)) for _ in range(3)]
    assert town.held(asset).sums == sums(change=97)
    town.mine(*(each.transaction for each in sent))
    assert town.held(asset).sums == sums(97)
    short = TERMS._replace(max_chain=2)
    records = chain.builder.assets(town.tip)
    town.wallet.assets.make(pay(asset, 1), records, short)
    with pytest.raises(PaymentError):
        town.wallet.assets.make(pay(asset, 1), records, short)
        town.wallet.assets.make(pay(asset, 1), records, short)


def test_an_absurd_fee_must_be_forced_and_a_locked_wallet_signs_nothing(chain: Chain) -> None:
    town = Town(chain)
    asset = town.issue(define(first=10))
    records = chain.builder.assets(town.tip)
    absurd = TERMS._replace(fee_rate=50_000_000)
    with pytest.raises(FeeError):
        town.wallet.assets.make(pay(asset, 1), records, absurd)
    forced = town.wallet.assets.make(pay(asset, 1), records, absurd, force=True)
    assert isinstance(forced, Sent)
    assert forced.fee > 10_000_000
    town.wallet.encrypt("secret", KdfCost(14, 1))
    with pytest.raises(WalletLockedError):
        town.make(pay(asset, 1))


def test_an_asset_that_no_block_has_is_named(chain: Chain) -> None:
    """A170"""
    town = Town(chain)
    with pytest.raises(PaymentError, match="no block of the best chain has an asset 0000"):
        town.make(pay(AssetId(bytes(32)), 1))
