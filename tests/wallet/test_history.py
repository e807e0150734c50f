"""The history as its owner reads it: Bitcoin Core's categories, signs, fees and depths."""

from __future__ import annotations

import pytest

from consensus.codec import lock_digest, spend_message
from consensus.signatures import sign
from consensus.types import Block, Core, LockId, OutPoint, Output, Transaction, TxId, Witness
from tests.support.rules import key, lock, secret
from tests.support.wallets import DURE, OTHER_WORDS, PARAMS, TERMS, Chain, lock_of, new_wallet, outside, payment
from wallet.errors import UnknownTransactionError
from wallet.results import Category, State
from wallet.wallet import Wallet


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


def funded(chain: Chain, value: int) -> tuple[Wallet, Block, TxId]:
    wallet = new_wallet()
    gift = chain.gift(chain.base, [(lock_of(wallet.new_address("rent")), value)])
    tip = chain.mine(chain.base, [gift])
    chain.follow(wallet, tip)
    return wallet, tip, gift.txid


def test_a_gift_is_one_line_with_its_block_and_depth(chain: Chain) -> None:
    wallet, tip, txid = funded(chain, 5 * DURE)
    (line,) = wallet.history()
    assert (line.category, line.amount, line.fee, line.label, line.txid) == (
        Category.RECEIVE,
        5 * DURE,
        None,
        "rent",
        txid,
    )
    assert (line.block_hash, line.block_height, line.block_time) == (
        tip.hash,
        wallet.cursor.height,
        tip.header.time,
    )
    assert (line.state, line.confirmations) == (State.CONFIRMED, 1)
    chain.follow(wallet, chain.mine_many(tip, 4))
    assert wallet.history()[0].confirmations == 5
    detail = wallet.transaction(txid)
    assert (detail.amount, detail.fee, detail.conflicts) == (5 * DURE, None, ())


def test_a_payment_shows_what_others_got_and_its_fee_and_not_its_change(chain: Chain) -> None:
    wallet, _, _ = funded(chain, 5 * DURE)
    stranger = new_wallet(mnemonic=OTHER_WORDS)
    payments = [payment(stranger.new_address(), DURE), payment(stranger.new_address(), 2 * DURE)]
    sent = wallet.send(payments, TERMS)
    assert sent.change
    lines = wallet.history(2)
    assert [(line.category, line.amount, line.fee) for line in lines] == [
        (Category.SEND, -2 * DURE, -sent.fee),
        (Category.SEND, -DURE, -sent.fee),
    ]
    detail = wallet.transaction(sent.transaction.txid)
    assert (detail.amount, detail.fee, detail.state) == (-3 * DURE, -sent.fee, State.PENDING)
    # The one who is paid sees it from the other side.
    chain.follow(stranger, chain.base)
    stranger.add_pending(sent.transaction)
    assert sorted(line.amount for line in stranger.history()) == [DURE, 2 * DURE]
    assert stranger.transaction(sent.transaction.txid).amount == 3 * DURE


def test_a_payment_to_oneself_is_given_and_received(chain: Chain) -> None:
    wallet, _, _ = funded(chain, 5 * DURE)
    sent = wallet.send([payment(wallet.new_address("mine"), DURE)], TERMS)
    assert [(line.category, line.amount) for line in wallet.history(2)] == [
        (Category.RECEIVE, DURE),
        (Category.SEND, -DURE),
    ]
    assert wallet.transaction(sent.transaction.txid).amount == 0


def test_lines_come_newest_first_and_in_pages(chain: Chain) -> None:
    wallet, tip, _ = funded(chain, 5 * DURE)
    for n in range(4):
        tip = chain.mine(tip, [chain.gift(tip, [(lock_of(wallet.new_address(f"n{n}")), DURE + n)])])
        chain.follow(wallet, tip)
    everything = wallet.history(99)
    assert [line.amount for line in everything] == [DURE + 3, DURE + 2, DURE + 1, DURE, 5 * DURE]
    assert wallet.history(2, 1) == everything[1:3]
    assert wallet.history(0) == wallet.history(9, 99) == wallet.history(-1) == []
    assert wallet.history(9, label="n2") == [everything[1]]


def test_the_earlier_of_first_sight_and_block_time_is_shown(chain: Chain) -> None:
    world = outside()
    wallet = new_wallet(world)
    chain.follow(wallet, chain.base)
    gift = chain.gift(chain.base, [(lock_of(wallet.new_address()), DURE)])
    wallet.add_pending(gift)
    assert wallet.history()[0].time == world.clock.time()
    tip = chain.mine(chain.base, [gift])
    chain.follow(wallet, tip)
    assert wallet.history()[0].time == tip.header.time < world.clock.time()


def test_rewards_are_immature_then_generated(chain: Chain) -> None:
    wallet = new_wallet()
    tip = chain.mine(chain.base, to=lock_of(wallet.new_address()))
    seen = []
    for _ in range(PARAMS.coinbase_maturity):
        chain.follow(wallet, tip)
        seen.append(wallet.history()[0].category)
        tip = chain.mine(tip)
    assert seen == [Category.IMMATURE] * (PARAMS.coinbase_maturity - 1) + [Category.GENERATE]


def test_coins_of_two_owners_in_one_transaction_show_no_fee(chain: Chain) -> None:
    """Whose fee it is cannot be told."""
    wallet, tip, gift = funded(chain, 5 * DURE)
    theirs = chain.builder.mature(tip)[0]
    coins = chain.builder.coins(tip)
    core = Core(1, (OutPoint(gift, 0), theirs), (Output(coins[theirs].output.value, lock(9), None),), (), (), b"")
    spent = [coins[outpoint].output for outpoint in core.inputs]
    message = spend_message(PARAMS.genesis_hash, core, spent)
    known = wallet._addresses.find(spent[0].lock)
    assert known is not None
    ours = wallet._signer._witness(spent[0].lock, lock_digest(message, spent[0].lock))
    other = Witness(key(1), (sign(secret(1), lock_digest(message, lock(1))),))
    tx = Transaction(core, (ours, other))
    chain.follow(wallet, chain.mine(tip, [tx]))
    (line, _) = wallet.history(2)
    assert (line.category, line.fee) == (Category.SEND, None)
    assert wallet.transaction(tx.txid).amount == -5 * DURE


def test_what_is_unknown_is_refused() -> None:
    with pytest.raises(UnknownTransactionError):
        new_wallet().transaction(TxId(bytes(32)))
    assert not new_wallet().is_mine(LockId(bytes(32)))
