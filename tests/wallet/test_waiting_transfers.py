"""Transfers that wait for somebody's approval: their coins are kept, and come free exactly when they should."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.msgpack import decode, encode

from consensus.assets import asset_id
from consensus.spend_policy import policy_id
from consensus.types import (
    Amount,
    Attestation,
    Burn,
    Key,
    NewAsset,
    Reissue,
    SupplyKind,
    Threshold,
    Transaction,
)
from node.relay_policy import check_relay_policy, required_fee, virtual_size
from tests.support.asset_town import Town, pay, signatures_of, sums
from tests.support.assets import define
from tests.support.rules import key
from tests.support.wallets import DURE, PARAMS, TERMS, Chain, lock_of, outside, reopened
from wallet.assets.making import AssetWish
from wallet.assets.transfers import WaitingState
from wallet.cosigning import IncompleteError
from wallet.errors import (
    FeeError,
    InsufficientFundsError,
    PaymentError,
    UnknownTransactionError,
    WalletDataError,
    WalletLockedError,
)
from wallet.keystore_file import KdfCost
from wallet.ports import Change, Outside
from wallet.psdt import PartName, Psdt
from wallet.results import Sent
from wallet.spend_policies.templates import multisig
from wallet.waiting import MAX_WAITING, WaitingTransfer
from wallet.wallet import Wallet


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


class Registry:
    """Bob has shares that Ann, the registrar, controls."""

    def __init__(self, chain: Chain, world: Outside | None = None) -> None:
        self.town = Town(chain, world=world)
        self.ann, self.bob = self.town.wallet, self.town.join()
        self.policy = lock_of(self.ann.new_address())
        self.share = self.town.issue(define(first=10, controller=self.policy))
        self.give(self.bob, 6)

    def give(self, to: Wallet, amount: int) -> None:
        self.town.mine(self.town.make(pay(self.share, amount, lock_of(to.new_address()))).transaction)

    def begin(self, amount: int = 4, **more: Any) -> WaitingTransfer:
        """Bob pays some to Ann."""
        return self.town.begin(pay(self.share, amount, lock_of(self.ann.new_address())), self.bob, **more)

    def approved(self, psdt: Psdt, by: Wallet | None = None) -> Transaction:
        return approved(self.town, psdt, by or self.ann)


def approved(town: Town, psdt: Psdt, by: Wallet) -> Transaction:
    """The transaction, as whoever approves finishes it from a file; with a fee as the relay asks."""
    names = [part.name for part in psdt.parts if part.asset is not None]
    tx = town.finished(town.sign(by, psdt, only=names))
    check_relay_policy(tx)
    assert psdt.fee >= required_fee(1_000, virtual_size(len(tx.encoded), signatures_of(tx)))
    return tx


def states(wallet: Wallet) -> list[WaitingState]:
    return [each.state for each in wallet.assets.transfers]


def test_a_transfer_waits_until_the_controller_has_approved_it(chain: Chain) -> None:
    """A208: what is not approved cannot be sent; its coins are kept, and are ours again as change once it is seen."""
    at = Registry(chain)
    before = at.bob.balances()
    waiting = at.begin()
    assert at.town.held(at.share, at.bob).sums == sums(waiting=6)
    after = at.bob.balances()
    assert (after.total, after.locked) == (before.total, DURE)
    assert [coin.aside for coin in at.bob.coins.unspent()] == [True]
    with pytest.raises(InsufficientFundsError, match="0 can be"):
        at.town.make(pay(at.share, 1), at.bob)
    tx = at.approved(waiting.psdt)
    assert tx.txid == waiting.txid
    at.bob.add_pending(tx)
    assert at.town.held(at.share, at.bob).sums == sums(change=2)
    assert states(at.bob) == []
    assert at.bob.balances().locked == 0
    at.town.mine(tx)
    assert at.town.held(at.share, at.bob).sums == sums(2)
    assert at.town.held(at.share).sums == sums(8)
    (line, *_) = at.bob.assets.history()
    assert (line.movement, line.amount, line.txid) == ("sent", -4, tx.txid)


def test_a_block_with_the_transfer_ends_the_waiting_too(chain: Chain) -> None:
    """The wallet may never have seen it in the mempool."""
    at = Registry(chain)
    at.town.mine(at.approved(at.begin().psdt))
    assert states(at.bob) == []
    assert at.town.held(at.share, at.bob).sums == sums(2)


def test_a_controllers_key_is_not_the_holders(chain: Chain) -> None:
    """A208: the file without approval, or approved by its holder, is not complete."""
    at = Registry(chain)
    waiting = at.begin()
    with pytest.raises(IncompleteError, match="approves for asset"):
        at.approved(waiting.psdt, by=at.bob)


def test_what_waits_outlives_the_process_and_its_coins_stay_kept(chain: Chain) -> None:
    world = outside()
    at = Registry(chain, world)
    # Here Ann waits for Bob, who controls another share.
    bond = at.town.issue(define(first=5, controller=lock_of(at.ann.new_address())))
    town = at.town
    his = lock_of(at.bob.new_address())
    made = town.begin(AssetWish(issuances=(NewAsset(define(first=3, controller=his)),)))
    again = reopened(world)
    (waiting,) = again.assets.transfers
    assert (waiting.transfer.psdt, waiting.state) == (made.psdt, WaitingState.WAITING)
    assert again.balances() == at.ann.balances()
    assert again.assets.balances() == at.ann.assets.balances()
    assert bond in {each.asset for each in again.assets.balances()}


def test_an_issue_waits_for_the_controller_that_it_names(chain: Chain) -> None:
    """Nobody's asset is put under a controller who does not want it."""
    town = Town(chain)
    other = town.join()
    definition = define(first=7, controller=lock_of(other.new_address()))
    made = town.begin(AssetWish(issuances=(NewAsset(definition),)))
    tx = approved(town, made.psdt, other)
    town.mine(tx)
    assert town.held(asset_id(tx.core.inputs[0], 0, definition)).sums == sums(7)


def test_an_attestation_of_the_issuer_waits_for_the_auditor(chain: Chain) -> None:
    town = Town(chain)
    auditor = town.join()
    won = town.issue(define(SupplyKind.RESERVED, auditor=lock_of(auditor.new_address())))
    made = town.begin(AssetWish(issuances=(Attestation(won, 1, Amount(500)),)))
    town.mine(approved(town, made.psdt, auditor))
    assert town.chain.builder.assets(town.tip)[won].total == 500
    town.mine(town.make(AssetWish(issuances=(Reissue(won, Amount(500)),))).transaction)
    assert town.held(won).sums == sums(500)


def test_a_burn_of_a_controlled_asset_waits(chain: Chain) -> None:
    at = Registry(chain)
    made = at.town.begin(AssetWish(burns=(Burn(at.share, Amount(6)),)), at.bob)
    at.town.mine(at.approved(made.psdt))
    assert at.town.chain.builder.assets(at.town.tip)[at.share].supply == 4


def test_two_of_three_controllers_approve(chain: Chain) -> None:
    """The policy is a threshold; the wallet that has two of its keys approves alone, one with one key does not."""
    at = Registry(chain)
    made = multisig(2, [at.ann.policies.new_key(), at.ann.policies.new_key(), key(5).key])
    (part,) = made.parts
    board = at.ann.policies.remember("board", part.policy, made.roles)
    share = at.town.issue(define(first=10, controller=board.lock))
    at.town.mine(at.town.make(pay(share, 6, lock_of(at.bob.new_address()))).transaction)
    waiting = at.town.begin(pay(share, 1, lock_of(at.ann.new_address())), at.bob)
    (approval,) = [part for part in waiting.psdt.parts if part.asset is not None]
    assert (approval.name, approval.policy) == (PartName(board.lock, share), None)
    at.town.mine(at.approved(waiting.psdt))
    assert at.town.held(share, at.bob).sums == sums(5)


def test_a_fee_is_enough_for_approvers_that_the_holder_does_not_know(chain: Chain) -> None:
    """It cannot be raised any more once he has signed; `approved` holds it against the relay's rule."""
    at = Registry(chain)
    (part,) = multisig(10, [at.ann.policies.new_key() for _ in range(10)]).parts
    board = at.ann.policies.remember("board", part.policy)
    share = at.town.issue(define(first=10, controller=board.lock))
    at.town.mine(at.town.make(pay(share, 6, lock_of(at.bob.new_address()))).transaction)
    waiting = at.town.begin(pay(share, 1, lock_of(at.ann.new_address())), at.bob)
    tx = at.approved(waiting.psdt)
    assert signatures_of(tx) == 12


def test_a_wallet_with_one_of_two_keys_gives_its_own_and_waits(chain: Chain) -> None:
    town = Town(chain)
    other = town.join()
    policy = Threshold(2, (key_of(town.wallet), key_of(other)))
    for wallet in town.wallets:
        wallet.policies.remember("board", policy)
    definition = define(first=10, controller=policy_id(policy))
    waiting = town.begin(AssetWish(issuances=(NewAsset(definition),)))
    assert [len(part.signatures) for part in waiting.psdt.parts] == [1, 1]
    town.mine(approved(town, waiting.psdt, other))
    assert town.held(asset_id(waiting.psdt.core.inputs[0], 0, definition)).sums == sums(10)


def key_of(wallet: Wallet) -> Key:
    return Key(wallet.policies.new_key())


def test_a_transfer_that_is_cancelled_can_never_be_sent(chain: Chain) -> None:
    """Until the payment that cancels it is in a block, all its coins stay kept; then the file is worth nothing."""
    at = Registry(chain)
    waiting = at.begin()
    tx = at.approved(waiting.psdt)
    cancelled = at.bob.assets.transfers.cancel(waiting.txid, TERMS)
    assert states(at.bob) == [WaitingState.CANCELLING]
    assert at.town.held(at.share, at.bob).sums == sums(waiting=6)
    with pytest.raises(UnknownTransactionError, match="cancelling already"):
        at.bob.assets.transfers.cancel(waiting.txid, TERMS)
    at.town.mine(cancelled.transaction)
    assert states(at.bob) == []
    assert at.town.held(at.share, at.bob).sums == sums(6)
    assert at.bob.balances().total == DURE - cancelled.fee
    with pytest.raises(Exception, match="missing-coin"):
        at.town.chain.mine(at.town.tip, [tx])
    at.town.mine(at.approved(at.begin().psdt))


def test_a_controller_who_is_faster_than_the_cancelling_wins(chain: Chain) -> None:
    at = Registry(chain)
    waiting = at.begin()
    cancelled = at.bob.assets.transfers.cancel(waiting.txid, TERMS)
    at.town.mine(at.approved(waiting.psdt))
    assert states(at.bob) == []
    assert at.town.held(at.share, at.bob).sums == sums(2)
    assert at.bob.balances().total == DURE - waiting.psdt.fee
    assert at.bob.transaction(cancelled.transaction.txid).state == "conflicted"


def test_a_forgotten_transfer_frees_its_coins_and_still_counts_if_it_is_sent(chain: Chain) -> None:
    at = Registry(chain)
    waiting = at.begin(request_id="order 7")
    tx = at.approved(waiting.psdt)
    at.bob.assets.transfers.forget(waiting.txid)
    assert at.town.held(at.share, at.bob).sums == sums(6)
    assert at.bob.balances().locked == 0
    another = at.begin(5, request_id="order 7")
    assert another.txid != waiting.txid
    at.town.mine(tx)
    assert states(at.bob) == [], "another transaction has its coins"
    assert at.town.held(at.share, at.bob).sums == sums(2)


def test_a_reorg_gives_back_the_coins_of_a_transfer_that_was_sent(chain: Chain) -> None:
    at = Registry(chain)
    before = at.town.tip
    tx = at.approved(at.begin().psdt)
    at.town.mine(tx)
    at.town.chain.follow(at.bob, at.town.chain.mine_many(before, 2))
    assert at.town.held(at.share, at.bob).sums == sums(change=2), "it is offered again"
    assert [each.txid for each in at.bob.rebroadcast()] == [tx.txid]


def test_the_same_request_waits_once(chain: Chain) -> None:
    """A155: and another wish under its name is refused."""
    at = Registry(chain)
    to = lock_of(at.ann.new_address())
    first = at.town.begin(pay(at.share, 4, to), at.bob, request_id="order 7")
    again = at.town.begin(pay(at.share, 4, to), at.bob, request_id="order 7")
    assert again.psdt == first.psdt
    with pytest.raises(PaymentError, match="another payment"):
        at.town.begin(pay(at.share, 5, to), at.bob, request_id="order 7")
    tx = at.approved(first.psdt)
    at.bob.add_pending(tx)
    records = chain.builder.assets(at.town.tip)
    done = at.bob.assets.make(pay(at.share, 4, to), records, TERMS, request_id="order 7")
    assert isinstance(done, Sent)
    assert (done.again, done.transaction.txid) == (True, tx.txid)


def test_what_cannot_be_cancelled_is_refused_by_name(chain: Chain) -> None:
    at = Registry(chain)
    waiting = at.begin()
    with pytest.raises(UnknownTransactionError):
        at.bob.assets.transfers.cancel(at.town.tip.transactions[0].txid, TERMS)
    with pytest.raises(InsufficientFundsError, match="forget it"):
        at.bob.assets.transfers.cancel(waiting.txid, TERMS._replace(fee_rate=10**9), force=True)
    with pytest.raises(FeeError):
        at.bob.assets.transfers.cancel(waiting.txid, TERMS._replace(fee_rate=50_000_000))
    at.bob.encrypt("secret", KdfCost(14, 1))
    with pytest.raises(WalletLockedError):
        at.bob.assets.transfers.cancel(waiting.txid, TERMS)
    assert states(at.bob) == [WaitingState.WAITING]


def test_a_backup_keeps_the_coins_of_what_waits(chain: Chain) -> None:
    at = Registry(chain)
    waiting = at.begin()
    again = Wallet.restore(PARAMS, outside(9), at.bob.backup(), allow_plain=True)
    chain.follow(again, at.town.tip)
    assert [each.transfer.psdt for each in again.assets.transfers] == [waiting.psdt]
    assert at.town.held(at.share, again).sums == sums(waiting=6)


def test_the_number_of_those_that_wait_is_bounded(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wallet.waiting.MAX_WAITING", 1)
    assert MAX_WAITING == 1_000
    at = Registry(chain)
    at.begin()
    at.town.mine(chain.gift(at.town.tip, [(lock_of(at.bob.new_address()), DURE)], which=2))
    at.give(at.bob, 1)
    with pytest.raises(PaymentError, match="can wait"):
        at.begin(1)


def test_a_damaged_record_is_refused_by_name(chain: Chain) -> None:
    world = outside(2)
    town = Town(chain, world=world)
    other = town.join()
    town.begin(AssetWish(issuances=(NewAsset(define(first=3, controller=lock_of(other.new_address()))),)))
    ((key_, raw),) = world.database.scan("waiting", b"")
    number, time, file = decode(raw)
    world.database.write([Change("waiting", key_, encode((number, time, file[:-1] + b"x")))])
    with pytest.raises(WalletDataError, match="waits for approval is damaged"):
        reopened(world)


def test_what_must_not_wait_is_refused_before_anything_is_made(chain: Chain) -> None:
    """A208: as a swap asks for it, which ends at a time."""
    at = Registry(chain)
    records = chain.builder.assets(at.town.tip)
    wish = pay(at.share, 4, lock_of(at.ann.new_address()))
    before = at.bob.balances()
    with pytest.raises(PaymentError, match="has to approve this"):
        at.bob.assets.make_now(wish, records, TERMS)
    assert (at.bob.balances(), states(at.bob)) == (before, [])
    at.town.begin(wish, at.bob, request_id="order 7")
    with pytest.raises(PaymentError, match="waits for an approval"):
        at.bob.assets.make_now(wish, records, TERMS, request_id="order 7")
    assert isinstance(at.ann.assets.make_now(pay(at.share, 1), records, TERMS), Sent)
