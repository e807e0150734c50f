"""What almost never happens: coins with assets, keys that do not exist, locking in the middle, storms of dust."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from consensus.types import Amount, AssetId, Block, BlockHash, Core, Header, LockId, OutPoint, Output, Transaction, TxId
from tests.support.wallets import DURE, PARAMS, TERMS, WORDS, Chain, lock_of, new_wallet, outside, reopened
from wallet import coin_selection
from wallet.coin_selection import Need, Selection
from wallet.coin_table import SpendableCoin
from wallet.errors import InsufficientFundsError, WalletLockedError
from wallet.keys import InvalidChildError, PublicNode
from wallet.keystore_file import KdfCost
from wallet.results import Payment, RelayTerms
from wallet.wallet import Wallet

HIM = LockId(bytes(range(32)))


def block_of(wallet: Wallet, *transactions: Transaction) -> Block:
    """A block on the wallet's cursor, which judges none: no work, and a coinbase that pays nobody."""
    header = Header(1, wallet.cursor.hash, bytes(32), 1_767_225_601 + wallet.cursor.height, 0x207FFFFF, 0)
    return Block(header, (gift(seed=12345), *transactions))


def gift(*outputs: Output, seed: int = 7_000) -> Transaction:
    source = OutPoint(TxId(seed.to_bytes(32, "big")), 0)
    return Transaction(Core(1, (source,), outputs, (), (), b""), ())


def test_a_coin_that_carries_an_asset_pays_for_nothing_and_is_not_counted() -> None:
    """A154: never chosen as a fee coin, nor swept."""
    wallet = new_wallet()
    mine = lock_of(wallet.new_address())
    carrying = gift(Output(Amount(50 * DURE), mine, AssetId(bytes(32))), Output(Amount(DURE), mine, None))
    wallet.handle_updates([], [block_of(wallet, carrying)])
    assert wallet.balances().total == DURE
    with pytest.raises(InsufficientFundsError):
        wallet.send([Payment(HIM, Amount(2 * DURE))], TERMS)
    assert wallet.send_all(HIM, TERMS).transaction.core.inputs == (OutPoint(carrying.txid, 1),)
    assert [line.amount for line in wallet.history() if line.category == "receive"] == [DURE]


def test_an_index_without_a_key_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A145: BIP 32 says to go on with the next one."""
    child = PublicNode.child

    def with_a_hole(node: PublicNode, index: int) -> PublicNode:
        if node.depth == 4 and index == 1:
            raise InvalidChildError
        return child(node, index)

    usual = [new_wallet().new_address()]
    all_three = new_wallet()
    third = [all_three.new_address() for _ in range(3)][2]
    monkeypatch.setattr(PublicNode, "child", with_a_hole)
    world = outside()
    wallet = new_wallet(world)
    assert [wallet.new_address(), wallet.new_address()] == [*usual, third]
    assert reopened(world).is_mine(lock_of(third))


def test_locking_while_a_key_is_derived_leaves_no_half_state() -> None:
    """A151: whatever the order, the wallet is wholly open or wholly locked."""
    wallet = Wallet.create(PARAMS, outside(), mnemonic=WORDS, passphrase="secret", cost=KdfCost(14, 1))
    wallet.lock()
    opening = threading.Thread(target=wallet.unlock, args=("secret",))
    opening.start()
    while opening.is_alive():
        wallet.lock()
        with contextlib.suppress(WalletLockedError):
            assert wallet.mnemonic() == WORDS
    opening.join()
    wallet.lock()
    assert wallet.locked
    wallet.unlock("secret")
    assert wallet.mnemonic() == WORDS


def test_a_storm_of_dust_leaves_the_wallet_usable() -> None:
    """A162: none of it is ever picked, because no coin of it is worth its own fee."""
    wallet = new_wallet()
    mine = lock_of(wallet.new_address())
    storm = [gift(*[Output(Amount(30), mine, None)] * 1_000, seed=n) for n in range(1, 6)]
    treasure = gift(Output(Amount(DURE), mine, None), seed=99)
    wallet.handle_updates([], [block_of(wallet, *storm, treasure)])
    assert wallet.balances().confirmed == DURE + 5 * 1_000 * 30
    sent = wallet.send([Payment(HIM, Amount(DURE // 2))], TERMS)
    assert sent.transaction.core.inputs == (OutPoint(treasure.txid, 0),)
    assert wallet.info().transactions == 7


def test_of_a_storm_of_coins_only_the_largest_are_chosen_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """A162: deposits that are just worth their fee; a payment looks at a bounded number, and history stays in pages."""
    monkeypatch.setattr("wallet.coin_selection.MAX_CANDIDATES", 50)
    wallet = new_wallet()
    mine = lock_of(wallet.new_address())
    storm = [gift(*[Output(Amount(600), mine, None)] * 500, seed=n) for n in range(1, 9)]
    treasures = [gift(Output(Amount(DURE), mine, None), seed=90 + n) for n in range(3)]
    wallet.handle_updates([], [block_of(wallet, *storm, *treasures)])
    looked_at: list[int] = []
    search = coin_selection._exact

    def counted(ordered: Sequence[SpendableCoin], need: Need, terms: RelayTerms) -> Selection | None:
        looked_at.append(len(ordered))
        return search(ordered, need, terms)

    monkeypatch.setattr(coin_selection, "_exact", counted)
    sent = wallet.send([Payment(HIM, Amount(2 * DURE))], TERMS)
    assert looked_at == [50]
    assert {outpoint.txid for outpoint in sent.transaction.core.inputs} & {tx.txid for tx in treasures}
    assert len(wallet.history(20, 4_000 - 20)) == 20
    assert wallet.balances().confirmed == 4_000 * 600 + 3 * DURE - sum(
        DURE if outpoint.txid in {tx.txid for tx in treasures} else 600 for outpoint in sent.transaction.core.inputs
    )


def test_a_wallet_can_be_followed_back_to_genesis() -> None:
    chain = Chain(rewards=12)
    wallet = new_wallet()
    tip = chain.mine(chain.base, to=lock_of(wallet.new_address()))
    chain.follow(wallet, tip)
    wallet.handle_updates(chain.builder.chain(tip)[::-1], [])
    assert (wallet.cursor.height, wallet.cursor.hash) == (0, PARAMS.genesis_hash)
    assert wallet.balances().total == 0


def test_records_are_values() -> None:
    """A stored record is replaced, never changed."""
    wallet = new_wallet()
    wallet.handle_updates([], [block_of(wallet, gift(Output(Amount(DURE), lock_of(wallet.new_address()), None)))])
    (coin,) = wallet._ledger.coins._unspent.values()
    with pytest.raises(AttributeError):
        coin.height = 5  # type: ignore[misc]
    assert replace(coin, height=5) != coin
    assert wallet.cursor.hash != BlockHash(bytes(32))
