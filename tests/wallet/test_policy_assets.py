"""Assets and authorities at the policies of several, and authorities that pass from wallet to wallet."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from consensus.assets import authority_id
from consensus.types import Amount, AssetId, Key, LockId, Output, Policy, Reissue, SupplyKind, Threshold
from tests.support.asset_town import Town, pay, sums
from tests.support.assets import define
from tests.support.wallets import DURE, OTHER_WORDS, TERMS, Chain, lock_of, new_wallet, outside, reopened
from wallet.assets.making import AssetWish
from wallet.cosigning import IncompleteError
from wallet.errors import InsufficientFundsError, PaymentError
from wallet.ports import Outside
from wallet.psdt import Psdt
from wallet.results import AssetMovement, Payment
from wallet.spend_policies.book import KnownPolicy
from wallet.spend_policies.desk import PolicyAsset
from wallet.spend_policies.spends import Everything
from wallet.spend_policies.templates import vault
from wallet.wallet import Wallet


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


class Board:
    """Ann and Bob can spend from a policy together; Ann issues to it."""

    def __init__(self, chain: Chain, world: Outside | None = None) -> None:
        self.town = Town(chain, world=world)
        self.ann, self.bob = self.town.wallet, self.town.join()
        self.policy: Policy = Threshold(2, (Key(self.ann.policies.new_key()), Key(self.bob.policies.new_key())))
        self.known: KnownPolicy = self.ann.policies.remember("board", self.policy)
        self.bob.policies.remember("board", self.policy)

    def move(self, asset: AssetId, amount: int) -> None:
        """Ann pays to the board."""
        self.town.mine(self.town.make(pay(asset, amount, self.known.lock)).transaction)

    def plan(
        self,
        asset: AssetId,
        wish: Sequence[Payment] | Everything,
        by: Wallet | None = None,
        known: KnownPolicy | None = None,
        number: int | None = None,
    ) -> Psdt:
        records = self.town.chain.builder.assets(self.town.tip)
        spends = (by or self.bob).asset_spends
        return spends.plan(known or self.known, asset, wish, TERMS, self.town.context, records, number=number).psdt

    def finish(self, *psdts: Psdt) -> None:
        """Put files together, and have the transaction mined."""
        self.town.mine(self.town.finished(*psdts))

    def held(self, wallet: Wallet | None = None) -> tuple[PolicyAsset, ...]:
        return (wallet or self.ann).policies.holdings(self.known.lock).assets


def to(lock: LockId, amount: int) -> list[Payment]:
    return [Payment(lock, Amount(amount))]


def test_assets_at_a_policy_are_shown_apart_and_moved_by_all_who_must(chain: Chain) -> None:
    """A158: they are nobody's own; what is left goes back, and the wallet that begins pays the fee."""
    world = outside()
    at = Board(chain, world)
    bread = at.town.issue(define(first=100))
    at.move(bread, 30)
    assert at.held() == at.held(at.bob) == (PolicyAsset(bread, Amount(30), Amount(0)),)
    assert at.town.held(bread).sums == sums(70)
    assert reopened(world).policies.holdings().assets == at.held()
    before = at.bob.balances().total
    psdt = at.plan(bread, to(lock_of(at.bob.new_address()), 12))
    by_bob = at.town.sign(at.bob, psdt)
    with pytest.raises(IncompleteError):
        at.finish(by_bob)
    at.finish(by_bob, at.town.sign(at.ann, psdt))
    assert at.town.held(bread, at.bob).sums == sums(12)
    assert at.held() == (PolicyAsset(bread, Amount(18), Amount(0)),)
    assert at.bob.balances().total == before - psdt.fee
    psdt = at.plan(bread, Everything(lock_of(at.ann.new_address())))
    at.finish(at.town.sign(at.ann, at.town.sign(at.bob, psdt)))
    assert (at.held(), at.town.held(bread).sums) == ((), sums(88))


def test_a_wallet_from_its_words_finds_what_lies_at_a_policy_once_that_is_imported(chain: Chain) -> None:
    at = Board(chain)
    bread = at.town.issue(define(first=100))
    at.move(bread, 30)
    again = new_wallet(outside(7))
    again.policies.remember("board", at.policy)
    chain.follow(again, at.town.tip)
    assert again.policies.holdings(at.known.lock).assets == at.held()


def test_a_share_at_a_policy_moves_with_its_controllers_approval_too(chain: Chain) -> None:
    """A069"""
    at = Board(chain)
    share = at.town.issue(define(first=10, controller=lock_of(at.ann.new_address())))
    at.move(share, 6)
    psdt = at.plan(share, to(lock_of(at.bob.new_address()), 1))
    assert [part.asset for part in psdt.parts] == [None, None, share]
    at.finish(at.town.sign(at.bob, psdt), at.town.sign(at.ann, psdt))
    assert at.town.held(share, at.bob).sums == sums(1)


def test_what_a_vault_lets_go_to_one_place_goes_there_whole(chain: Chain) -> None:
    at = Board(chain)
    made = vault(at.ann.policies.new_key(), at.bob.policies.new_key(), 5)
    known = {part.name: at.ann.policies.remember(f"v/{part.name}", part.policy) for part in reversed(made.parts)}
    safe, way_out = known[made.parts[0].name], known[made.parts[1].name]
    bread = at.town.issue(define(first=100))
    for amount in (30, 20):
        at.town.mine(at.town.make(pay(bread, amount, safe.lock)).transaction)
    psdt = at.plan(bread, to(way_out.lock, 25), at.ann, safe, 1)
    assert psdt.core.outputs[0] == Output(Amount(30), way_out.lock, bread)
    at.finish(at.town.sign(at.ann, psdt))
    assert at.ann.policies.holdings(way_out.lock).assets == (PolicyAsset(bread, Amount(30), Amount(0)),)
    with pytest.raises(PaymentError, match="nowhere else"):
        at.plan(bread, to(lock_of(at.bob.new_address()), 20), at.ann, safe, 1)


@pytest.mark.parametrize("amount", [30, 31])
def test_more_of_an_asset_than_lies_there_is_refused(chain: Chain, amount: int) -> None:
    at = Board(chain)
    bread = at.town.issue(define(first=100, decimals=1))
    at.move(bread, 30)
    wish = to(lock_of(at.bob.new_address()), amount)
    if amount == 30:
        assert at.plan(bread, wish).fee
        return
    with pytest.raises(InsufficientFundsError, match=r"3\.1 of asset .* at board lie 3\.0"):
        at.plan(bread, wish)


def test_the_authority_over_an_asset_passes_to_another_wallet(chain: Chain) -> None:
    """A068: from then on he alone issues more; words alone bring it back to him."""
    town = Town(chain)
    other = town.join()
    bread = town.issue(define(SupplyKind.REISSUABLE, 10))
    right = authority_id(bread)
    town.mine(town.make(pay(right, 1, lock_of(other.new_address()), bytes(bread))).transaction)
    assert not town.held(bread).authority
    more = AssetWish(issuances=(Reissue(bread, Amount(5)),))
    with pytest.raises(InsufficientFundsError, match="authority"):
        town.make(more)
    his = town.held(bread, other)
    assert (his.authority, his.shown, his.sums) == (True, False, sums())
    assert [line.movement for line in other.assets.history(asset=bread)] == [AssetMovement.ENTRUSTED]
    assert [line.movement for line in town.wallet.assets.history()] == [AssetMovement.PASSED_ON, AssetMovement.ISSUED]
    again = new_wallet(outside(7), OTHER_WORDS)
    chain.follow(again, town.tip)
    assert town.held(bread, again) == his
    town.mine(town.make(more, other).transaction)
    held = town.held(bread, other)
    assert (held.authority, held.shown, held.sums) == (True, True, sums(5))


def test_what_is_known_of_an_authority_outlives_the_process(chain: Chain) -> None:
    town = Town(chain)
    world = outside(2)
    other = new_wallet(world, OTHER_WORDS)
    town.wallets.append(other)
    bread = town.issue(define(SupplyKind.REISSUABLE, 10))
    wish = pay(authority_id(bread), 1, lock_of(other.new_address()), bytes(bread))
    town.mine(town.make(wish).transaction)
    assert reopened(world).assets.balances() == other.assets.balances()
    assert [each.asset for each in other.assets.balances()] == [bread]


def test_a_memo_that_names_another_asset_tells_nothing(chain: Chain) -> None:
    """A162: nor does it show anything unasked."""
    town = Town(chain)
    other = town.join()
    bread, cake = (town.issue(define(SupplyKind.REISSUABLE, amount)) for amount in (10, 20))
    wish = pay(authority_id(bread), 1, lock_of(other.new_address()), bytes(cake))
    town.mine(town.make(wish).transaction)
    assert [(each.asset, each.authority, each.shown) for each in other.assets.balances()] == [
        (authority_id(bread), False, False)
    ]
    other.assets.show(bread)
    assert town.held(bread, other).authority


def test_a_board_that_has_the_authority_hands_it_to_whoever_is_to_issue(chain: Chain) -> None:
    at = Board(chain)
    bread = at.town.issue(define(SupplyKind.REISSUABLE, 10))
    right = authority_id(bread)
    at.town.mine(at.town.make(pay(right, 1, at.known.lock, bytes(bread))).transaction)
    assert at.held() == (PolicyAsset(right, Amount(1), Amount(0)),)
    psdt = at.plan(right, Everything(lock_of(at.ann.new_address())))
    at.finish(at.town.sign(at.bob, psdt), at.town.sign(at.ann, psdt))
    assert at.town.held(bread).authority
    at.town.mine(at.town.make(AssetWish(issuances=(Reissue(bread, Amount(5)),))).transaction)
    assert at.town.held(bread).sums == sums(15)
    assert at.ann.balances().total < DURE * 2
