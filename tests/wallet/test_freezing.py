"""A controller's list of frozen addresses: what it refuses, on whichever road an approval is asked for."""

from __future__ import annotations

import pytest

from consensus.types import Amount, Burn, LockId
from tests.support.asset_town import HIM, pay, sums
from tests.support.assets import define
from tests.support.rules import lock
from tests.support.wallets import PARAMS, Chain, lock_of, outside, reopened
from tests.wallet.test_waiting_transfers import Registry, states
from wallet.assets.freezing import MAX_WHY, Frozen, FrozenError
from wallet.assets.making import AssetWish
from wallet.errors import WalletError
from wallet.wallet import Wallet


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


def freeze(at: Registry, where: LockId, why: str = "") -> None:
    at.ann.assets.freeze(at.share, at.policy, where, why)


def test_nothing_is_approved_to_a_frozen_address_nor_from_one(chain: Chain) -> None:
    """A208: refused by name; the holder's transfer goes on waiting, and is approved once the address is free."""
    at = Registry(chain)
    waiting = at.begin()
    (source,) = [coin.output.lock for coin in waiting.psdt.coins if coin.output.asset == at.share]
    target = next(
        each.lock for each in waiting.psdt.core.outputs if each.asset == at.share and at.ann.is_mine(each.lock)
    )
    for frozen in (source, target):
        freeze(at, frozen, "a court order")
        with pytest.raises(
            FrozenError, match=r"has frozen .*\(a court order\) for asset .* approves nothing from or to"
        ):
            at.approved(waiting.psdt)
        assert "a court order" in at.ann.assets.frozen_in(waiting.psdt)[0]
        at.ann.assets.unfreeze(at.share, frozen)
    assert states(at.bob) == ["waiting"]
    at.town.mine(at.approved(waiting.psdt))


def test_a_controller_pays_no_frozen_address_himself(chain: Chain) -> None:
    at = Registry(chain)
    freeze(at, HIM)
    with pytest.raises(FrozenError):
        at.town.make(pay(at.share, 1))
    at.town.make(pay(at.share, 1, lock(8)))


def test_what_lies_at_a_frozen_address_is_not_burned(chain: Chain) -> None:
    at = Registry(chain)
    made = at.town.begin(AssetWish(burns=(Burn(at.share, Amount(6)),)), at.bob)
    freeze(at, next(coin.output.lock for coin in made.psdt.coins if coin.output.asset == at.share))
    with pytest.raises(FrozenError):
        at.approved(made.psdt)


def test_an_address_is_frozen_for_one_asset_only(chain: Chain) -> None:
    at = Registry(chain)
    bread = at.town.issue(define(first=5))
    bond = at.town.issue(define(first=6, controller=at.policy))
    freeze(at, HIM)
    at.town.make(pay(bread, 1))
    at.town.make(pay(bond, 1))
    assert at.ann.assets.frozen(bond) == []
    assert at.ann.assets.frozen() == at.ann.assets.frozen(at.share) == [Frozen(at.share, HIM, "")]


def test_only_its_controller_can_freeze(chain: Chain) -> None:
    at = Registry(chain)
    with pytest.raises(WalletError, match="another controls"):
        at.bob.assets.freeze(at.share, at.policy, HIM)
    with pytest.raises(WalletError, match="nobody controls"):
        at.ann.assets.freeze(at.share, None, HIM)
    with pytest.raises(WalletError, match="not frozen"):
        at.ann.assets.unfreeze(at.share, HIM)


def test_what_is_frozen_outlives_the_process_and_is_in_the_backup(chain: Chain) -> None:
    world = outside()
    at = Registry(chain, world)
    freeze(at, lock(8), "first")
    freeze(at, HIM, "a court order")
    freeze(at, lock(8), "changed")
    at.ann.assets.freeze(at.share, at.policy, lock(7))
    at.ann.assets.unfreeze(at.share, lock(7))
    listed = at.ann.assets.frozen()
    assert {(each.lock, each.why) for each in listed} == {(lock(8), "changed"), (HIM, "a court order")}
    assert reopened(world).assets.frozen() == listed
    again = Wallet.restore(PARAMS, outside(9), at.ann.backup(), allow_plain=True)
    chain.follow(again, at.town.tip)
    assert again.assets.frozen() == listed
    waiting = at.begin()
    at.ann.assets.freeze(at.share, at.policy, lock_of(at.ann.new_address()))
    at.approved(waiting.psdt)
    assert at.town.held(at.share, at.bob).sums == sums(waiting=6)


def test_the_list_and_its_words_are_bounded(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    at = Registry(chain)
    freeze(at, HIM, "x" * MAX_WHY)
    for why in ("x" * (MAX_WHY + 1), "two\nlines"):
        with pytest.raises(WalletError, match="printable"):
            freeze(at, HIM, why)
    monkeypatch.setattr("wallet.assets.freezing.MAX_FROZEN", 1)
    freeze(at, HIM, "again")
    with pytest.raises(WalletError, match="at most 1 "):
        freeze(at, lock(8))
