"""Addresses ahead, backups, restored words, rescans, and crashes at every write."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest

from consensus.params import REGTEST
from consensus.types import Block
from node.storage.memory_store import MemoryDatabase
from tests.support.rules import lock
from tests.support.wallets import (
    DURE,
    OTHER_WORDS,
    PARAMS,
    TERMS,
    WORDS,
    Chain,
    DyingDatabase,
    Killed,
    lock_of,
    new_wallet,
    outside,
    payment,
    reopened,
)
from wallet import ledger as ledger_module
from wallet.addresses import GAP_LIMIT, Branch
from wallet.errors import PaymentError, WalletDataError, WalletError
from wallet.keystore_file import KdfCost
from wallet.pem import export_key
from wallet.ports import Outside
from wallet.results import Cursor
from wallet.store import TABLES
from wallet.wallet import Wallet


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


def address_at(index: int) -> str:
    """The receive address of an index, as another copy of the wallet hands it out."""
    wallet = new_wallet()
    for _ in range(index):
        wallet.new_address()
    return wallet.new_address()


def paid_at(chain: Chain, *indices: int) -> Block:
    """A chain in which these addresses are paid 1 DURE each, in blocks one after the other."""
    tip = chain.base
    for index in indices:
        tip = chain.mine(tip, [chain.gift(tip, [(lock_of(address_at(index)), DURE)])])
    return tip


# Addresses


def test_addresses_never_repeat_and_continue_after_a_crash() -> None:
    """A143: an index is durable before its address is shown."""
    world = outside()
    seen = []
    wallet = new_wallet(world)
    for _ in range(5):
        seen += [wallet.new_address(), wallet.new_address()]
        wallet = reopened(world)  # the process is killed: nothing was closed
    assert len(set(seen)) == 10
    assert all(wallet.is_mine(lock_of(address)) for address in seen)


def test_a_payment_to_an_address_that_was_shown_before_a_crash_is_found(chain: Chain) -> None:
    """A143"""
    world = outside()
    address = new_wallet(world).new_address("rent")
    tip = chain.mine(chain.base, [chain.gift(chain.base, [(lock_of(address), DURE)])])
    wallet = reopened(world)
    chain.follow(wallet, tip)
    assert (wallet.balances().confirmed, wallet.history()[0].label) == (DURE, "rent")


@pytest.mark.parametrize(
    ("index", "found"), [(0, True), (1, True), (GAP_LIMIT - 1, True), (GAP_LIMIT, False), (99, False)]
)
def test_the_gap_limit_is_where_a_restored_wallet_stops_looking(chain: Chain, index: int, *, found: bool) -> None:
    """A146: nothing handed out: addresses 0 .. 19 are watched; further ones are found by a rescan with a larger gap."""
    tip = paid_at(chain, index)
    wallet = new_wallet()
    chain.follow(wallet, tip)
    assert (wallet.balances().confirmed == DURE) == found
    wallet.rescan(1, PARAMS.genesis_hash, target=wallet.cursor.height, gap=100)
    chain.follow(wallet, tip)
    assert wallet.balances().confirmed == DURE


def test_each_payment_moves_the_window_even_within_one_block(chain: Chain) -> None:
    """A146: 19, then 39, then 59, paid by one block whose transactions stand in the wrong order."""
    gifts = [
        chain.gift(chain.base, [(lock_of(address_at(index)), DURE)], which=place)
        for place, index in enumerate((59, 39, 19))
    ]
    wallet = new_wallet()
    chain.follow(wallet, chain.mine(chain.base, gifts))
    assert wallet.balances().confirmed == 3 * DURE
    assert lock_of(wallet.new_address()) == lock_of(address_at(60))


def test_more_addresses_than_the_gap_may_be_handed_out_and_all_are_watched() -> None:
    """A146: this wallet sees them all, whatever a restored one would find."""
    wallet = new_wallet()
    shown = [wallet.new_address() for _ in range(GAP_LIMIT + 30)]
    assert all(wallet.is_mine(lock_of(address)) for address in shown)
    assert wallet.is_mine(lock_of(address_at(GAP_LIMIT + 30 + GAP_LIMIT - 1)))


@pytest.mark.parametrize("label", ["x" * 256, "a\nb", "\x1b[31m", "\u202e", "\0"])
def test_a_label_that_would_spoil_a_screen_is_refused(label: str) -> None:
    """A034"""
    wallet = new_wallet()
    before = wallet.info()
    with pytest.raises(WalletError, match="label"):
        wallet.new_address(label)
    assert wallet.info() == before


# Backups


def story(chain: Chain, wallet: Wallet) -> Block:
    """Some history: gifts, a payment that is confirmed, one that is pending, labels."""
    gift = chain.gift(chain.base, [(lock_of(wallet.new_address(f"gift {n}")), 5 * DURE) for n in range(3)])
    tip = chain.mine(chain.base, [gift], to=lock_of(wallet.new_address("mining")))
    chain.follow(wallet, tip)
    stranger = new_wallet(mnemonic=OTHER_WORDS).new_address()
    sent = wallet.send([payment(stranger, DURE)], TERMS).transaction
    tip = chain.mine(tip, [sent])
    chain.follow(wallet, tip)
    wallet.send([payment(stranger, 6 * DURE)], TERMS)
    return tip


def told(wallet: Wallet, *, labels: bool = True) -> list[tuple[Any, ...]]:
    return sorted(
        (line.txid, line.category, line.index, line.amount, line.fee, line.confirmations, line.label if labels else "")
        for line in wallet.history(999)
    )


def test_a_backup_brings_everything_back(chain: Chain) -> None:
    wallet = new_wallet()
    key = bytes(31) + b"\x55"
    imported = wallet.import_key(export_key(key), "imported")
    tip = story(chain, wallet)
    world = outside(2)
    again = Wallet.restore(PARAMS, world, wallet.backup(), allow_plain=True)
    assert again.cursor == Cursor(0, PARAMS.genesis_hash)
    chain.follow(again, tip)
    assert again.balances() == wallet.balances()
    assert told(again) == told(wallet)
    assert again.mnemonic() == WORDS
    assert again.export_key(imported) == export_key(key)
    assert again.rebroadcast() == wallet.rebroadcast()
    assert again.new_address() == wallet.new_address()
    assert told(reopened(world)) == told(wallet)


def test_the_words_bring_the_coins_and_the_history_back(chain: Chain) -> None:
    wallet = new_wallet()
    tip = story(chain, wallet)
    pending = wallet.rebroadcast()
    again = new_wallet(outside(2))
    chain.follow(again, tip)
    for tx in pending:
        again.add_pending(tx)
    assert again.balances() == wallet.balances()
    assert told(again, labels=False) == told(wallet, labels=False)


def test_an_encrypted_wallet_is_restored_locked() -> None:
    wallet = Wallet.create(PARAMS, outside(), mnemonic=WORDS, passphrase="secret", cost=KdfCost(14, 1))
    raw = wallet.backup()
    assert b"abandon" not in raw
    again = Wallet.restore(PARAMS, outside(2), raw)
    assert again.locked
    again.unlock("secret")
    assert again.mnemonic() == WORDS


@pytest.mark.parametrize("writes", range(4))
def test_a_restore_that_is_cut_off_can_be_done_again(chain: Chain, writes: int) -> None:
    """A142: until it is whole there is no wallet."""
    wallet = new_wallet()
    tip = story(chain, wallet)
    disk = MemoryDatabase(TABLES)
    world = outside(2)
    with suppress(Killed):
        dying = world._replace(database=DyingDatabase(disk, writes))
        Wallet.restore(PARAMS, dying, wallet.backup(), allow_plain=True)
    world = world._replace(database=disk)
    if Wallet.exists(world.files):
        again = reopened(world)
    else:
        again = Wallet.restore(PARAMS, world, wallet.backup(), allow_plain=True)
    chain.follow(again, tip)
    assert (again.balances(), told(again)) == (wallet.balances(), told(wallet))


def test_a_damaged_backup_makes_no_wallet() -> None:
    """A139: each byte flipped, each length cut."""
    raw = new_wallet().backup()
    rng = random.Random(1)
    damaged = [raw[:place] + bytes([raw[place] ^ 1 << place % 8]) + raw[place + 1 :] for place in range(len(raw))]
    damaged += [raw[:length] for length in rng.sample(range(len(raw)), 40)] + [b"", raw + b"\0"]
    for each in damaged:
        world = outside()
        with pytest.raises(WalletDataError):
            Wallet.restore(PARAMS, world, each, allow_plain=True)
        assert not Wallet.exists(world.files)


def test_a_backup_of_another_network_or_over_a_wallet_is_refused() -> None:
    raw = new_wallet().backup()
    with pytest.raises(WalletDataError, match="another network"):
        Wallet.restore(REGTEST, outside(), raw, allow_plain=True)
    world = outside()
    new_wallet(world, mnemonic=OTHER_WORDS)
    with pytest.raises(WalletError, match="already"):
        Wallet.restore(PARAMS, world, raw, allow_plain=True)
    assert reopened(world).mnemonic() == OTHER_WORDS


def test_a_database_of_another_network_or_wallet_is_refused() -> None:
    """A132"""
    world = outside()
    new_wallet(world)
    with pytest.raises(WalletDataError, match="another network"):
        Wallet.open(REGTEST, world, allow_plain=True)
    with pytest.raises(WalletDataError, match="another keystore"):
        new_wallet(outside()._replace(database=world.database), mnemonic=OTHER_WORDS)


# Rescans


def test_an_imported_key_finds_its_past_by_a_rescan(chain: Chain) -> None:
    key = bytes(31) + b"\x09"
    gift = chain.gift(chain.base, [(lock(9), 3 * DURE)])
    tip = chain.mine_many(chain.mine(chain.base, [gift]), 3)
    wallet = new_wallet()
    chain.follow(wallet, tip)
    wallet.import_key(export_key(key))
    assert wallet.balances().total == 0
    start = chain.builder.state(chain.base).height + 1
    wallet.rescan(start, chain.base.hash, target=wallet.cursor.height)
    assert (wallet.cursor.height, wallet.info().rescan_target) == (start - 1, start + 3)
    chain.follow(wallet, tip)
    assert (wallet.balances().confirmed, wallet.info().rescan_target) == (3 * DURE, None)
    wallet.send_all(lock_of(wallet.new_address()), TERMS)


def test_a_rescan_changes_nothing_that_was_right(chain: Chain) -> None:
    """A160"""
    wallet = new_wallet()
    tip = story(chain, wallet)
    before = wallet.balances(), wallet.history(999), wallet.rebroadcast()
    wallet.rescan(1, PARAMS.genesis_hash, target=wallet.cursor.height)
    assert wallet.rebroadcast() == []
    with pytest.raises(PaymentError, match="rescanning"):
        wallet.send_all(lock_of(wallet.new_address()), TERMS)
    chain.follow(wallet, tip)
    assert (wallet.balances(), wallet.history(999), wallet.rebroadcast()) == before


def test_a_rescan_during_a_reorg_ends_like_a_fresh_one(chain: Chain) -> None:
    """A160"""
    world = outside()
    wallet = new_wallet(world)
    tip = story(chain, wallet)
    wallet.rescan(1, PARAMS.genesis_hash, target=wallet.cursor.height)
    blocks = chain.builder.chain(tip)
    wallet.handle_updates([], blocks[: len(blocks) - 1])
    wallet = reopened(world)  # killed in the middle
    assert wallet.info().rescan_target == len(blocks)
    other = chain.mine_many(chain.base, 5)
    chain.follow(wallet, other)
    assert wallet.info().rescan_target is None
    fresh = new_wallet(outside(4))
    chain.follow(fresh, other)
    assert wallet.balances().confirmed == fresh.balances().confirmed == 0
    chain.follow(wallet, tip)
    chain.follow(fresh, tip)
    assert wallet.balances().immature == fresh.balances().immature == 50 * DURE + 1_000


@pytest.mark.parametrize("height", [0, -1, 10_000])
def test_a_rescan_from_nowhere_is_refused(chain: Chain, height: int) -> None:
    wallet = new_wallet()
    with pytest.raises(WalletError, match="starts at"):
        wallet.rescan(height, PARAMS.genesis_hash, target=5)
    with pytest.raises(WalletError, match="gap"):
        wallet.rescan(1, PARAMS.genesis_hash, target=5, gap=0)


# Crashes


def _live(chain: Chain, world: Outside, shown: list[str]) -> None:
    """Whatever writes: addresses, blocks, payments, a reorg, a rescan."""
    wallet = Wallet.open(PARAMS, world, allow_plain=True) if Wallet.exists(world.files) else new_wallet(world)
    shown += [wallet.new_address()]
    shown += [wallet.new_address()]
    gift = chain.gift(chain.base, [(lock_of(address), 5 * DURE) for address in shown[:2]])
    tip = chain.mine(chain.base, [gift])
    chain.follow(wallet, tip)
    first = wallet.send([payment(new_wallet(mnemonic=OTHER_WORDS).new_address(), DURE)], TERMS, request_id="once")
    sent = wallet.bump(first.transaction.txid, TERMS).transaction
    tip = chain.mine(tip, [sent])
    chain.follow(wallet, tip)
    chain.follow(wallet, chain.mine_many(chain.base, 3))
    wallet.rescan(1, PARAMS.genesis_hash, target=wallet.cursor.height)
    chain.follow(wallet, tip)
    shown.append(wallet.new_address())


@pytest.mark.parametrize("writes", range(18))
def test_dying_at_any_write_costs_nothing_that_was_shown(
    chain: Chain, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A142, A143, A160: the next process is where an earlier call had returned, and ends where a fresh one would."""
    monkeypatch.setattr(ledger_module, "RESCAN_STEP", 1)
    disk = MemoryDatabase(TABLES)
    world = outside()
    shown: list[str] = []
    with suppress(Killed):
        _live(chain, world._replace(database=DyingDatabase(disk, writes)), shown)
    wallet = Wallet.open(PARAMS, world._replace(database=disk), allow_plain=True)
    assert all(wallet.is_mine(lock_of(address)) for address in shown)
    assert lock_of(wallet.new_address()) not in {lock_of(address) for address in shown}
    tip = chain.mine(chain.base, [chain.gift(chain.base, [(lock_of(address_at(0)), 5 * DURE)])])
    chain.follow(wallet, tip)
    fresh = new_wallet(outside(3))
    chain.follow(fresh, tip)
    ours = {o for o, _ in chain.owned(tip, wallet).items()}
    spent = {
        o for p in wallet._ledger.pending if wallet._ledger.pending.counts(p.txid) for o in p.transaction.core.inputs
    }
    assert wallet.balances().confirmed == fresh.balances().confirmed - 5 * DURE * len(ours & spent)


def test_a_rescan_killed_while_it_goes_back_goes_on(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A160"""
    monkeypatch.setattr(ledger_module, "RESCAN_STEP", 1)
    disk = MemoryDatabase(TABLES)
    world = outside()._replace(database=disk)
    wallet = new_wallet(world)
    tip = chain.base
    for _ in range(6):
        tip = chain.mine(tip, to=lock_of(wallet.new_address()))
    chain.follow(wallet, tip)
    before = wallet.balances(), wallet.history(99)
    for writes in range(1, 5):
        dying = DyingDatabase(disk, 99)
        wallet = Wallet.open(PARAMS, world._replace(database=dying), allow_plain=True)
        chain.follow(wallet, tip)
        dying.left = writes
        with pytest.raises(Killed):
            wallet.rescan(1, PARAMS.genesis_hash, target=wallet.cursor.height)
        wallet = Wallet.open(PARAMS, world, allow_plain=True)
        assert wallet.cursor == Cursor(0, PARAMS.genesis_hash)
        chain.follow(wallet, tip)
        assert (wallet.balances(), wallet.history(99)) == before


def test_a_birthday_saves_the_blocks_before_it(chain: Chain) -> None:
    height = chain.builder.state(chain.base).height
    wallet = new_wallet(birthday=Cursor(height, chain.base.hash))
    tip = chain.mine(chain.base, [chain.gift(chain.base, [(lock_of(wallet.new_address()), DURE)])])
    wallet.handle_updates([], [tip])
    assert wallet.balances().confirmed == DURE
    assert wallet.info().addresses == 1
    assert wallet._addresses.next_index(Branch.RECEIVE) == 1
