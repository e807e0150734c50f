"""Coins and addresses as their owner lists, names and sets them aside."""

from __future__ import annotations

import pytest

from consensus.types import Block, OutPoint, TxId
from tests.support.rules import lock
from tests.support.wallets import (
    DURE,
    OTHER_WORDS,
    PARAMS,
    TERMS,
    WORDS,
    Chain,
    lock_of,
    new_wallet,
    outside,
    payment,
    reopened,
)
from wallet.addresses import MAX_CONTACTS
from wallet.coin_list import MAX_ASIDE
from wallet.errors import InsufficientFundsError, PaymentError, WalletError
from wallet.ports import Outside
from wallet.results import Note
from wallet.wallet import Wallet

HER = new_wallet(mnemonic=OTHER_WORDS).new_address()


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


def funded(chain: Chain, *values: int, world: Outside | None = None) -> tuple[Wallet, Block, list[OutPoint]]:
    wallet = new_wallet(world)
    gift = chain.gift(chain.base, [(lock_of(wallet.new_address()), value) for value in values])
    tip = chain.mine(chain.base, [gift])
    chain.follow(wallet, tip)
    return wallet, tip, [OutPoint(gift.txid, index) for index in range(len(values))]


# Coins


def test_every_unspent_coin_is_listed_with_what_keeps_it_from_being_spent(chain: Chain) -> None:
    """A158: immature rewards, payments of others that wait, and what is set aside are told apart."""
    wallet, tip, (first, second) = funded(chain, 10 * DURE, 20 * DURE)
    tip = chain.mine(tip, to=lock_of(wallet.new_address()))
    chain.follow(wallet, tip)
    waiting = chain.gift(tip, [(lock_of(wallet.new_address()), DURE)], which=3)
    wallet.add_pending(waiting)
    wallet.coins.set_aside([second])
    listed = {coin.outpoint: coin for coin in wallet.coins.unspent()}
    assert (listed[first].spendable, listed[second].spendable, listed[second].aside) == (True, False, True)
    assert wallet.coins.confirmations(listed[first]) == 2
    (reward,) = [coin for coin in listed.values() if coin.coinbase]
    assert (reward.mature, reward.safe, reward.spendable) == (False, True, False)
    (unsafe,) = [coin for coin in listed.values() if coin.height is None]
    assert (unsafe.safe, unsafe.spendable, wallet.coins.confirmations(unsafe)) == (False, False, 0)
    assert sum(coin.value for coin in listed.values()) == wallet.balances().total
    assert sum(coin.value for coin in listed.values() if coin.spendable) == wallet.balances().trusted


def test_coins_are_set_aside_all_or_none_and_no_payment_uses_them(chain: Chain) -> None:
    wallet, _, (first, second) = funded(chain, 10 * DURE, 20 * DURE)
    for wrong in ([first, OutPoint(TxId(bytes(32)), 7)], [first, first]):
        with pytest.raises(WalletError, match=r"not an unspent coin|aside already"):
            wallet.coins.set_aside(wrong)
        assert wallet.coins.aside() == []
    wallet.coins.set_aside([second])
    with pytest.raises(WalletError, match="aside already"):
        wallet.coins.set_aside([second])
    with pytest.raises(InsufficientFundsError):
        wallet.send([payment(HER, 15 * DURE)], TERMS)
    with pytest.raises(WalletError, match="not set aside"):
        wallet.coins.take_back([second, first])
    assert wallet.coins.aside() == [second]
    wallet.coins.take_back([second])
    wallet.send([payment(HER, 15 * DURE)], TERMS)


def test_a_coin_is_set_aside_until_the_process_ends_or_for_good(chain: Chain) -> None:
    world = outside()
    wallet, tip, (first, second) = funded(chain, 10 * DURE, 20 * DURE, world=world)
    wallet.coins.set_aside([first])
    wallet.coins.set_aside([second], for_good=True)
    assert wallet.coins.aside() == [first, second]
    wallet = reopened(world)
    assert wallet.coins.aside() == [second]
    wallet.coins.take_back()
    assert reopened(world).coins.aside() == []
    # What is spent all the same, by a copy of the wallet, is set aside no longer.
    wallet.coins.set_aside([second], for_good=True)
    copy = new_wallet(outside(5))
    chain.follow(copy, tip)
    chain.follow(wallet, chain.mine(tip, [copy.send([payment(HER, 15 * DURE)], TERMS).transaction]))
    assert reopened(world).coins.aside() == []


def test_how_many_coins_are_set_aside_is_bounded(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wallet.coin_list.MAX_ASIDE", 1)
    assert MAX_ASIDE == 10_000
    wallet, _, (first, second) = funded(chain, DURE, DURE)
    with pytest.raises(WalletError, match="at most 1 coins"):
        wallet.coins.set_aside([first, second])
    wallet.coins.set_aside([first])


# Addresses


def test_addresses_are_listed_with_their_labels_and_what_they_were_paid(chain: Chain) -> None:
    wallet, tip, _ = funded(chain, 3 * DURE, 4 * DURE)
    wallet.addresses.set_label(lock_of(HER), "Heidi")
    named = wallet.new_address("savings")
    chain.follow(wallet, chain.mine(tip, [wallet.send([payment(HER, DURE)], TERMS).transaction]))
    first, second, third, change = wallet.addresses.handed_out()
    assert (first.received, first.payments, second.received) == (3 * DURE, 1, 4 * DURE)
    assert (third.lock, third.label, third.received) == (lock_of(named), "savings", 0)
    assert (third.path, change.path) == ("m/44h/7340h/0h/0/2", "m/44h/7340h/0h/1/0")
    assert [each.change for each in (first, second, third, change)] == [False, False, False, True]
    assert list(wallet.addresses.labels()) == ["", "Heidi", "savings"]
    assert [entry.label for entry in wallet.history(1)] == ["Heidi"]


def test_a_label_is_replaced_and_taken_away_over_a_restart_too() -> None:
    world = outside()
    wallet = new_wallet(world)
    mine = lock_of(wallet.new_address("old"))
    for name in ("new", ""):
        for whose in (mine, lock_of(HER)):
            wallet.addresses.set_label(whose, name)
        wallet = reopened(world)
        assert {wallet.addresses.facts(whose).label for whose in (mine, lock_of(HER))} == {name}
    assert wallet.addresses.labels() == {"": [wallet.addresses.facts(mine)._replace(public_key=None, path="")]}
    with pytest.raises(WalletError, match="printable"):
        wallet.addresses.set_label(mine, "a\nb")


def test_what_is_known_of_an_address_is_told(chain: Chain) -> None:
    wallet = new_wallet()
    facts = wallet.addresses.facts(lock_of(wallet.new_address("x")))
    assert (facts.mine, facts.label, facts.change, facts.path) == (True, "x", False, "m/44h/7340h/0h/0/0")
    assert facts.public_key == wallet._keystore.account.child(0).child(0).public_key
    imported = new_wallet(mnemonic=OTHER_WORDS)
    address = imported.import_key(wallet.export_key(wallet.new_address()))
    facts = imported.addresses.facts(lock_of(address))
    assert (facts.mine, facts.path, facts.public_key) == (True, "", imported._keystore.imported_public[0])
    stranger = wallet.addresses.facts(lock(77))
    assert (stranger.mine, stranger.public_key, stranger.path) == (False, None, "")


def test_how_many_names_of_others_are_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wallet.addresses.MAX_CONTACTS", 1)
    assert MAX_CONTACTS == 10_000
    wallet = new_wallet()
    wallet.addresses.set_label(lock(1), "one")
    wallet.addresses.set_label(lock(1), "uno")
    with pytest.raises(WalletError, match="at most 1 addresses"):
        wallet.addresses.set_label(lock(2), "two")
    wallet.addresses.set_label(lock(1), "")
    wallet.addresses.set_label(lock(2), "two")


# Backups


def test_a_backup_keeps_names_and_requests_so_that_a_retry_pays_once(chain: Chain) -> None:
    """A155: the wallet was restored between a request and its repetition, before and after it was mined."""
    wallet, tip, _ = funded(chain, 10 * DURE)
    wallet.addresses.set_label(lock_of(HER), "Heidi")
    order = [payment(HER, DURE)]
    sent = wallet.send(order, TERMS, request_id="order 7")
    restored = Wallet.restore(PARAMS, outside(2), wallet.backup(), allow_plain=True)
    assert restored.addresses.facts(lock_of(HER)).label == "Heidi"
    chain.follow(restored, tip)
    assert restored.send(order, TERMS, request_id="order 7").transaction == sent.transaction
    mined = chain.mine(tip, [sent.transaction])
    chain.follow(wallet, mined)
    late = Wallet.restore(PARAMS, outside(3), wallet.backup(), allow_plain=True)
    with pytest.raises(PaymentError, match="has yet to find"):
        late.send(order, TERMS, request_id="order 7")
    chain.follow(late, mined)
    assert late.send(order, TERMS, request_id="order 7").transaction == sent.transaction
    assert late.balances().total == 9 * DURE - sent.fee
    assert late.mnemonic() == WORDS


def test_what_is_written_down_about_a_payment_stays_with_it(chain: Chain) -> None:
    """Through a bump, a restart and a backup; and it is no part of what others see."""
    world = outside()
    wallet, tip, _ = funded(chain, 10 * DURE, world=world)
    note = Note("for the rent", "Heidi")
    sent = wallet.send([payment(HER, DURE)], TERMS, note=note)
    assert b"rent" not in sent.transaction.encoded
    bumped = wallet.bump(sent.transaction.txid, TERMS).transaction
    for kept in (reopened(world), Wallet.restore(PARAMS, outside(2), wallet.backup(), allow_plain=True)):
        chain.follow(kept, tip)
        chain.follow(kept, chain.mine(tip, [bumped]))
        assert {entry.note for entry in kept.history(9) if entry.txid == bumped.txid} == {note}
        assert kept.transaction(bumped.txid).note == note
    with pytest.raises(PaymentError, match="at most 1000 characters"):
        wallet.send([payment(HER, DURE)], TERMS, note=Note("x" * 1_001))
