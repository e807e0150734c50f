"""A second spend of what was paid: of the payment's own coins, or of those that it descends from."""

from __future__ import annotations

import pytest

from consensus.address import decode_address, encode_address
from consensus.codec import decode_transaction, display_hash
from consensus.params import LOCAL
from consensus.state import SpendContext
from consensus.types import NULL_TXID, Amount, Coin, Core, Height, OutPoint, Output, Transaction
from consensus.validation import check_spends, check_transaction, transaction_fee
from devnet.double_spend import KnownTransaction, depth_of, spend_again
from devnet.errors import Refused
from tests.support.rules import lock, secret
from wallet.pem import export_key

COIN = 10**8


class Wallet:
    """A wallet of one key that knows what a test tells it."""

    def __init__(self) -> None:
        self.known: dict[str, KnownTransaction] = {}

    def look_up(self, txid: str) -> KnownTransaction | None:
        return self.known.get(txid)

    def new_address(self) -> str:
        return encode_address(LOCAL, lock(1))

    def export_key(self, address: str) -> str:
        assert decode_address(LOCAL, address) == lock(1)
        return export_key(secret(1))

    def add(self, tx: Transaction, height: int | None, fee: int | None = 100, state: str = "confirmed") -> Transaction:
        confirmations = 0 if height is None else 101 - height
        self.known[display_hash(tx.txid)] = KnownTransaction(tx, fee, state, height, confirmations)
        return tx

    def reward(self, height: int) -> Transaction:
        core = Core(1, (OutPoint(NULL_TXID, height),), (Output(Amount(50 * COIN), lock(1), None),), (), (), bytes(32))
        return self.add(Transaction(core, ()), height, None)

    def pay(self, *sources: Transaction, height: int | None) -> Transaction:
        """Pay one coin to another, and the rest back."""
        held = sum(source.core.outputs[0].value for source in sources)
        outputs = (Output(Amount(held - COIN - 100), lock(1), None), Output(Amount(COIN), lock(2), None))
        core = Core(1, tuple(OutPoint(source.txid, 0) for source in sources), outputs, (), (), b"")
        return self.add(Transaction(core, ()), height)


def dropped(wallet: Wallet, tx: Transaction, fork: int) -> tuple[str, Transaction]:
    double = spend_again(LOCAL, {3: wallet}, display_hash(tx.txid), fork)
    assert (double.payer, double.dropped) == (3, display_hash(tx.txid))
    made = decode_transaction(bytes.fromhex(double.raw))
    assert double.txid == display_hash(made.txid)
    check_transaction(LOCAL, made)
    coins = {
        outpoint: Coin(wallet.known[display_hash(outpoint.txid)].transaction.core.outputs[0], Height(1), False)
        for outpoint in made.core.inputs
    }
    assert transaction_fee(LOCAL, fork + 1, made, coins) == 100
    assert check_spends(LOCAL, SpendContext(fork + 1, 0), made, coins)
    return double.rival, made


def test_the_payments_own_coins_are_spent_where_they_are_there() -> None:
    wallet = Wallet()
    tx = wallet.pay(wallet.reward(80), wallet.reward(81), height=100)
    rival, double = dropped(wallet, tx, 99)
    assert rival == display_hash(tx.txid)
    assert double.core.inputs == tx.core.inputs


def test_one_coin_that_is_there_is_enough() -> None:
    wallet = Wallet()
    old, young = wallet.reward(80), wallet.pay(wallet.reward(81), height=100)
    tx = wallet.pay(old, young, height=100)
    rival, double = dropped(wallet, tx, 99)
    assert rival == display_hash(tx.txid)
    assert double.core.inputs == (OutPoint(old.txid, 0),)


def test_where_all_coins_are_undone_too_those_of_an_ancestor_are_spent() -> None:
    wallet = Wallet()
    reward = wallet.reward(80)
    first = wallet.pay(reward, height=99)
    tx = wallet.pay(wallet.pay(first, height=100), height=None)
    rival, double = dropped(wallet, tx, 98)
    assert rival == display_hash(first.txid)
    assert double.core.inputs == (OutPoint(reward.txid, 0),)


def test_a_reward_that_is_too_young_at_the_fork_is_not_spent() -> None:
    wallet = Wallet()
    tx = wallet.pay(wallet.reward(90), height=100)
    dropped(wallet, tx, 99)  # 90 + 10 is 100, the branch's first block
    with pytest.raises(Refused, match="younger than block 98"):
        spend_again(LOCAL, {0: wallet}, display_hash(tx.txid), 98)


def test_what_cannot_be_dropped_is_refused_with_the_reason() -> None:
    wallet, receiver = Wallet(), Wallet()
    tx = wallet.pay(wallet.reward(50), height=95)
    txid = display_hash(tx.txid)
    with pytest.raises(Refused, match="6 blocks deep: a branch without it takes --depth 6"):
        spend_again(LOCAL, {0: wallet}, txid, 97)
    receiver.add(tx, 95, fee=None)
    with pytest.raises(Refused, match="No wallet"):
        spend_again(LOCAL, {0: Wallet(), 1: receiver}, txid, 90)
    wallet.add(tx, None, state="conflicted")
    with pytest.raises(Refused, match="conflicted already"):
        spend_again(LOCAL, {0: wallet}, txid, 90)


def test_the_depth_of_a_payment_is_what_any_wallet_knows_of_it() -> None:
    wallet = Wallet()
    tx = wallet.pay(wallet.reward(50), height=95)
    assert depth_of({0: Wallet(), 1: wallet}, display_hash(tx.txid)) == 6
    assert depth_of({0: Wallet()}, display_hash(tx.txid)) == 0
