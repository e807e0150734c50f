"""Assets in partially signed transactions: whatever a signer is shown is all that he signs for."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from consensus.assets import asset_effects, authority_id
from consensus.codec import encode
from consensus.types import (
    Amount,
    AssetId,
    Attestation,
    Core,
    OutPoint,
    Output,
    Reissue,
    SupplyKind,
    Transaction,
)
from tests.support.asset_town import Town, pay, sums
from tests.support.assets import asset_core, define
from tests.support.wallets import PARAMS, Chain, lock_of
from tests.wallet.test_psdt import sealed
from wallet.assets.flows import Stake, stakes
from wallet.cosigning import IncompleteError, lacks
from wallet.errors import FeeError
from wallet.psdt import PartName, Psdt, PsdtError, PsdtRule, SpentCoin, new_psdt, read_psdt, write_psdt
from wallet.psdt_joining import combine
from wallet.wallet import Wallet


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


class Table:
    """A town whose wallets make transactions together, by files that they hand to each other."""

    def __init__(self, chain: Chain) -> None:
        self.town = Town(chain)
        self.ann, self.bob = self.town.wallet, self.town.join()

    def coin_of(self, wallet: Wallet, asset: AssetId | None = None) -> OutPoint:
        """The first coin of a wallet that carries an asset, or DURE."""
        return next(at for at, coin in self.town.coins.items() if self._is_his(wallet, coin.output, asset))

    def _is_his(self, wallet: Wallet, output: Output, asset: AssetId | None) -> bool:
        return wallet.is_mine(output.lock) and output.asset == asset

    def file(self, core: Core) -> Psdt:
        """A file of a core, with the approvals that it takes."""
        spent = {outpoint: self.town.coins[outpoint] for outpoint in core.inputs}
        approvals = asset_effects(Transaction(core, ()), spent, self.town.records(core)).approvals
        coins = tuple([SpentCoin(coin.output, coin.height, coin.coinbase) for coin in spent.values()])
        return new_psdt(PARAMS, core, coins, approvals)

    def finish(self, *psdts: Psdt) -> None:
        """Put files together, and have the transaction mined."""
        self.town.mine(self.town.finished(*psdts))

    def swap(self, asset: AssetId, amount: int, price: int) -> Psdt:
        """Ann gives an amount of an asset, Bob a price in DURE, and he pays the fee of 1,000 grain."""
        goods, money = self.coin_of(self.ann, asset), self.coin_of(self.bob)
        left = self.town.coins[goods].output.value - amount
        outputs = [
            Output(Amount(amount), lock_of(self.bob.new_address()), asset),
            Output(Amount(price), lock_of(self.ann.new_address()), None),
            Output(Amount(self.town.coins[money].output.value - price - 1_000), lock_of(self.bob.new_address()), None),
        ]
        outputs += [Output(Amount(left), lock_of(self.ann.new_address()), asset)] if left else []
        return self.file(asset_core([goods, money], outputs))


def own_parts(wallet: Wallet, psdt: Psdt) -> list[PartName]:
    return [part.name for part in psdt.parts if part.asset is None and wallet.is_mine(part.lock)]


def test_two_wallets_exchange_an_asset_for_dure_in_one_transaction(chain: Chain) -> None:
    table = Table(chain)
    bread = table.town.issue(define(first=100))
    psdt = table.swap(bread, 30, 5_000)
    assert stakes(psdt.core, psdt.spent, table.ann.is_mine) == {None: Stake(0, 5_000), bread: Stake(100, 70)}
    his = stakes(psdt.core, psdt.spent, table.bob.is_mine)
    assert (his[None].gives - his[None].gets, his[bread]) == (6_000, Stake(0, 30))
    by_ann = table.town.sign(table.ann, psdt, only=own_parts(table.ann, psdt))
    by_bob = table.town.sign(table.bob, psdt, only=own_parts(table.bob, psdt))
    with pytest.raises(IncompleteError):
        table.finish(by_ann)
    table.finish(by_bob, by_ann)
    assert table.town.held(bread, table.bob).sums == sums(30)
    assert table.town.held(bread).sums == sums(70)


def test_a_signer_signs_for_no_other_coin_of_his_than_he_named(chain: Chain) -> None:
    """A161: another coin of his in the same file stays shut."""
    table = Table(chain)
    bread = table.town.issue(define(first=100))
    goods, purse = table.coin_of(table.ann, bread), table.coin_of(table.ann)
    outputs = [
        Output(Amount(100), lock_of(table.bob.new_address()), bread),
        Output(Amount(table.town.coins[purse].output.value - 1_000), lock_of(table.bob.new_address()), None),
    ]
    psdt = table.file(asset_core([goods, purse], outputs))
    signed = table.town.sign(table.ann, psdt, only=[PartName(table.town.coins[goods].output.lock)])
    assert [len(part.signatures) for part in signed.parts] == [1, 0]
    with pytest.raises(IncompleteError):
        table.finish(signed)


def test_a_share_moves_once_its_controller_has_approved(chain: Chain) -> None:
    """A208: the holder's signature is no approval, nor is the controller's a signature for the coin."""
    table = Table(chain)
    registrar = lock_of(table.ann.new_address())
    share = table.town.issue(define(first=10, controller=registrar))
    table.town.mine(table.town.make(pay(share, 4, lock_of(table.bob.new_address()))).transaction)
    goods, purse = table.coin_of(table.bob, share), table.coin_of(table.bob)
    outputs = [
        Output(Amount(4), lock_of(table.ann.new_address()), share),
        Output(Amount(table.town.coins[purse].output.value - 1_000), lock_of(table.bob.new_address()), None),
    ]
    psdt = table.file(asset_core([goods, purse], outputs))
    assert psdt.parts[-1].name == PartName(registrar, share)
    by_bob = table.town.sign(table.bob, psdt)
    assert [len(part.signatures) for part in by_bob.parts] == [1, 1, 0]
    with pytest.raises(IncompleteError, match="approves for asset"):
        table.finish(by_bob)
    updated = table.ann.cosigner.update(by_bob)
    with pytest.raises(IncompleteError, match="wants an approval"):
        table.finish(updated)
    (lack,) = lacks(updated, updated.parts[-1], table.town.context)
    assert lack.signatures == 1
    by_ann = table.town.sign(table.ann, by_bob, only=[PartName(registrar, share)])
    assert [len(part.signatures) for part in by_ann.parts] == [1, 1, 1]
    table.finish(by_ann)
    assert table.town.held(share).sums == sums(10)


def reserved(table: Table, wallet: Wallet, won: AssetId, amount: int, total: int) -> Core:
    """A core that attests a reserve, and issues some of it to the wallet that has the authority."""
    right, purse = table.coin_of(wallet, authority_id(won)), table.coin_of(wallet)
    home = lock_of(wallet.new_address())
    outputs = [
        Output(Amount(amount), home, won),
        Output(Amount(1), home, authority_id(won)),
        Output(Amount(table.town.coins[purse].output.value - 2_000), home, None),
    ]
    return asset_core([right, purse], outputs, [Attestation(won, 1, Amount(total)), Reissue(won, Amount(amount))])


def test_an_auditor_approves_what_another_carries(chain: Chain) -> None:
    table = Table(chain)
    office = lock_of(table.bob.new_address())
    won = table.town.issue(define(SupplyKind.RESERVED, auditor=office))
    psdt = table.file(reserved(table, table.ann, won, 500, 500))
    assert psdt.parts[-1].name == PartName(office, won)
    assert read_psdt(PARAMS, write_psdt(psdt)) == psdt
    table.finish(table.town.sign(table.ann, psdt), table.town.sign(table.bob, psdt))
    assert table.town.held(won).sums == sums(500)


def test_who_controls_and_audits_approves_twice(chain: Chain) -> None:
    """A075: one witness for each role, though both are one policy."""
    table = Table(chain)
    office = lock_of(table.ann.new_address())
    won = table.town.issue(define(SupplyKind.RESERVED, auditor=office, controller=office))
    psdt = table.file(reserved(table, table.ann, won, 500, 500))
    assert [part.name for part in psdt.parts[-2:]] == [PartName(office, won)] * 2
    table.finish(combine([psdt, table.town.sign(table.ann, psdt)]))
    assert table.town.held(won).sums == sums(500)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_whose_asset_is_not_in_balance_is_refused_by_name(chain: Chain, change: int) -> None:
    """A154: in making it, and in reading what somebody else made."""
    table = Table(chain)
    bread = table.town.issue(define(first=100))
    psdt = table.swap(bread, 30, 5_000)
    first, *others = psdt.core.outputs
    core = replace(psdt.core, outputs=(replace(first, value=Amount(first.value + change)), *others))
    with pytest.raises(PsdtError) as refused:
        new_psdt(PARAMS, core, psdt.coins)
    assert refused.value.rule is PsdtRule.BALANCE
    sentence = f"of asset {bread.hex()} 100 are spent and 0 created, but {100 + change} paid out"
    with pytest.raises(PsdtError, match=sentence) as refused:
        read_psdt(PARAMS, sealed(encode(replace(psdt, core=core))))
    assert refused.value.rule is PsdtRule.BALANCE


def test_what_is_burned_is_in_the_balance(chain: Chain) -> None:
    table = Table(chain)
    bread = table.town.issue(define(first=100))
    inputs = [table.coin_of(table.ann, bread), table.coin_of(table.ann)]
    change = Output(Amount(table.town.coins[inputs[1]].output.value - 1_000), lock_of(table.ann.new_address()), None)
    psdt = table.file(asset_core(inputs, [change], burns={bread: 100}))
    with pytest.raises(PsdtError):
        new_psdt(PARAMS, asset_core(inputs, [change], burns={bread: 99}), psdt.coins)
    table.finish(table.town.sign(table.ann, psdt))
    assert table.town.chain.builder.assets(table.town.tip)[bread].supply == 0


def test_a_file_that_hides_an_approval_or_invents_one_is_not_signed(chain: Chain) -> None:
    """A161: held against the asset as the chain has it."""
    table = Table(chain)
    registrar = lock_of(table.ann.new_address())
    share = table.town.issue(define(first=10, controller=registrar))
    bread = table.town.issue(define(first=100))
    for asset in (share, bread):
        goods, purse = table.coin_of(table.ann, asset), table.coin_of(table.ann)
        outputs = [
            Output(table.town.coins[goods].output.value, lock_of(table.bob.new_address()), asset),
            Output(Amount(table.town.coins[purse].output.value - 1_000), lock_of(table.bob.new_address()), None),
        ]
        true = table.file(asset_core([goods, purse], outputs))
        part = replace(true.parts[0], lock=registrar, asset=asset)
        parts = true.parts[:-1] if asset == share else (*true.parts, part)
        with pytest.raises(PsdtError) as refused:
            table.town.sign(table.ann, replace(true, parts=parts))
        assert refused.value.rule is PsdtRule.APPROVALS


def test_parts_of_approvals_stand_last_and_in_the_order_of_their_assets(chain: Chain) -> None:
    table = Table(chain)
    registrar = lock_of(table.ann.new_address())
    shares = sorted(table.town.issue(define(first=n, controller=registrar)) for n in (1, 2))
    inputs = [*(table.coin_of(table.ann, share) for share in shares), table.coin_of(table.ann)]
    to = lock_of(table.bob.new_address())
    outputs = [replace(table.town.coins[at].output, lock=to) for at in inputs]
    outputs[-1] = replace(outputs[-1], value=Amount(outputs[-1].value - 1_000))
    true = table.file(asset_core(inputs, outputs))
    *locks, one, two = true.parts

    def rule_of(*parts: Any) -> PsdtRule | None:
        try:
            read_psdt(PARAMS, sealed(encode(replace(true, parts=parts))))
        except PsdtError as error:
            return error.rule
        return None

    assert rule_of(*locks, one, two) is None
    assert rule_of(*locks, one, one, two, two) is None, "controller and auditor: whether it is so, the chain tells"
    for parts in (
        (*locks, two, one),
        (one, *locks, two),
        (*locks, one, one, one, two),
        (*locks, one, replace(two, asset=AssetId(bytes(32)))),
        (*locks, one, replace(two, asset=None)),
    ):
        assert rule_of(*parts) is PsdtRule.PARTS


def test_files_that_ask_for_different_approvals_are_not_put_together(chain: Chain) -> None:
    table = Table(chain)
    share = table.town.issue(define(first=10, controller=lock_of(table.ann.new_address())))
    psdt = table.swap(share, 4, 5_000)
    with pytest.raises(PsdtError) as refused:
        combine([psdt, replace(psdt, parts=psdt.parts[:-1])])
    assert refused.value.rule is PsdtRule.DIFFERENT


def test_what_breaks_a_rule_is_named_before_a_key_is_used(chain: Chain) -> None:
    table = Table(chain)
    won = table.town.issue(define(SupplyKind.RESERVED, auditor=lock_of(table.bob.new_address())))
    true = table.file(reserved(table, table.ann, won, 500, 500))
    assert table.town.sign(table.ann, true).parts != true.parts
    with pytest.raises(PsdtError, match="above-reserve") as refused:
        table.town.sign(table.ann, replace(true, core=reserved(table, table.ann, won, 501, 500)))
    assert refused.value.rule is PsdtRule.INVALID


def test_an_asset_is_no_reason_for_a_large_fee(chain: Chain) -> None:
    """A157: what is paid in an asset counts for nothing against the cap of the fee."""
    table = Table(chain)
    bread = table.town.issue(define(first=10**15))
    goods, purse = table.coin_of(table.ann, bread), table.coin_of(table.ann)
    psdt = table.file(asset_core([goods, purse], [Output(Amount(10**15), lock_of(table.bob.new_address()), bread)]))
    with pytest.raises(FeeError):
        table.town.sign(table.ann, psdt)
    table.finish(table.town.sign(table.ann, psdt, force=True))
