"""A payment made anew with a higher fee: the same receivers, paid once, whichever of the two is mined."""

from __future__ import annotations

import pytest

from consensus.types import Amount, Block, TxId
from node.relay_policy import DUST_LIMIT, MIN_FEE_RATE, check_relay_policy, required_fee, virtual_size
from tests.support.rules import lock
from tests.support.wallets import DURE, PARAMS, TERMS, Chain, lock_of, new_wallet, outside, payment, reopened
from wallet.errors import FeeError, InsufficientFundsError, PaymentError, UnknownTransactionError, WalletLockedError
from wallet.keystore_file import KdfCost
from wallet.ports import Outside
from wallet.results import Payment, Sent, State
from wallet.wallet import Wallet

HIM = Payment(lock(9), Amount(2 * DURE))
HER = Payment(lock(8), Amount(DURE))


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


def funded(chain: Chain, *values: int, world: Outside | None = None) -> tuple[Wallet, Block]:
    wallet = new_wallet(world)
    gift = chain.gift(chain.base, [(lock_of(wallet.new_address()), value) for value in values])
    tip = chain.mine(chain.base, [gift])
    chain.follow(wallet, tip)
    return wallet, tip


def replaced(chain: Chain, tip: Block, old: Sent, new: Sent) -> None:
    """Hold a replacement against the rules, and against all that a mempool asks of one."""
    chain.builder.coins(chain.mine(tip, [new.transaction]))
    check_relay_policy(new.transaction)
    sizes = [virtual_size(len(sent.transaction.encoded), len(sent.transaction.witnesses)) for sent in (old, new)]
    assert new.fee * sizes[0] > old.fee * sizes[1], "a higher fee rate than what it replaces"
    assert new.fee >= old.fee + required_fee(MIN_FEE_RATE, sizes[1]), "pays for its own relay"
    assert set(old.transaction.core.inputs) <= set(new.transaction.core.inputs), "only one of the two can be mined"
    paid = [
        {o.lock: o.value for o in sent.transaction.core.outputs if o.lock in (HIM.lock, HER.lock)}
        for sent in (old, new)
    ]
    assert paid[0] == paid[1]


@pytest.mark.parametrize("rate", [None, 2_000, 5_555])
def test_the_change_bears_the_higher_fee(chain: Chain, rate: int | None) -> None:
    wallet, tip = funded(chain, 10 * DURE)
    old = wallet.send([HIM, HER], TERMS, memo=b"for rent")
    new = wallet.bump(old.transaction.txid, TERMS, fee_rate=rate)
    replaced(chain, tip, old, new)
    assert new.transaction.core.memo == b"for rent"
    assert new.change == old.change - (new.fee - old.fee)
    locks = [{o.lock for o in sent.transaction.core.outputs} for sent in (old, new)]
    assert locks[0] == locks[1], "its change goes where it went"
    assert wallet.balances().total == 7 * DURE - new.fee
    assert wallet.info().addresses == 2


def test_the_first_is_shown_as_lost_to_the_second_which_is_mined(chain: Chain) -> None:
    """A156"""
    wallet, tip = funded(chain, 10 * DURE)
    old = wallet.send([HIM], TERMS)
    new = wallet.bump(old.transaction.txid, TERMS)
    first, second = (wallet.transaction(sent.transaction.txid) for sent in (old, new))
    assert (first.state, second.state) == (State.CONFLICTED, State.PENDING)
    assert (first.replaced_by, second.replaces) == (new.transaction.txid, old.transaction.txid)
    assert (first.conflicts, second.conflicts) == ((new.transaction.txid,), (old.transaction.txid,))
    assert wallet.rebroadcast() == [new.transaction]
    chain.follow(wallet, chain.mine(tip, [new.transaction]))
    assert wallet.transaction(old.transaction.txid).confirmations == -1
    assert wallet.balances().total == 8 * DURE - new.fee


def test_the_first_may_be_mined_all_the_same(chain: Chain) -> None:
    """A156, A185: then it was paid, and nothing is taken for it twice."""
    wallet, tip = funded(chain, 10 * DURE)
    old = wallet.send([HIM], TERMS)
    new = wallet.bump(old.transaction.txid, TERMS)
    chain.follow(wallet, chain.mine(tip, [old.transaction]))
    assert wallet.transaction(old.transaction.txid).replaced_by is None
    assert wallet.transaction(new.transaction.txid).state is State.CONFLICTED
    assert wallet.balances().total == 8 * DURE - old.fee
    # And after a reorg the replacement again.
    chain.follow(wallet, chain.mine_many(tip, 2))
    chain.follow(wallet, chain.mine(tip, [new.transaction]))
    assert wallet.balances().total == 8 * DURE - new.fee


def test_further_coins_help_out_where_the_change_is_too_little(chain: Chain) -> None:
    wallet, tip = funded(chain, 2 * DURE + 400, 3 * DURE, 4 * DURE)
    old = wallet.send([HIM], TERMS)
    assert (old.change, len(old.transaction.core.inputs)) == (0, 1)
    new = wallet.bump(old.transaction.txid, TERMS, fee_rate=9_000)
    replaced(chain, tip, old, new)
    assert len(new.transaction.core.inputs) == 2
    assert new.change == 3 * DURE + 400 - new.fee
    assert wallet.balances().total == 7 * DURE + 400 - new.fee


def test_change_that_would_be_dust_goes_to_the_fee(chain: Chain) -> None:
    wallet, tip = funded(chain, 2 * DURE + 1_500)
    old = wallet.send([HIM], TERMS)
    assert old.change >= DUST_LIMIT
    new = wallet.bump(old.transaction.txid, TERMS, fee_rate=4_000)
    replaced(chain, tip, old, new)
    assert (new.change, new.fee) == (0, 1_500)


def test_unconfirmed_coins_are_not_added(chain: Chain) -> None:
    """A replacement that waits for more than the first did is not taken."""
    wallet, _ = funded(chain, 2 * DURE + 400, 9 * DURE)
    old = wallet.send([HIM], TERMS)
    wallet.send([HER], TERMS)
    with pytest.raises(InsufficientFundsError, match="more than the change"):
        wallet.bump(old.transaction.txid, TERMS, fee_rate=9_000)
    assert wallet.transaction(old.transaction.txid).state is State.PENDING


def test_a_receiver_may_bear_the_fee_and_keeps_an_output(chain: Chain) -> None:
    wallet, tip = funded(chain, 2 * DURE)
    old = wallet.send_all(HIM.lock, TERMS)
    with pytest.raises(InsufficientFundsError):
        wallet.bump(old.transaction.txid, TERMS)
    new = wallet.bump(old.transaction.txid, TERMS, change_index=0)
    chain.builder.coins(chain.mine(tip, [new.transaction]))
    (output,) = new.transaction.core.outputs
    assert (output.lock, output.value) == (HIM.lock, 2 * DURE - new.fee)
    with pytest.raises(PaymentError, match="outputs 0 to 0"):
        wallet.bump(new.transaction.txid, TERMS, change_index=1)
    with pytest.raises(InsufficientFundsError):
        wallet.bump(new.transaction.txid, TERMS, change_index=0, fee_rate=999_999_999, force=True)


def test_a_payment_is_bumped_as_often_as_it_takes_the_newest_only(chain: Chain) -> None:
    wallet, tip = funded(chain, 10 * DURE)
    sent = [wallet.send([HIM], TERMS)]
    for _ in range(4):
        sent.append(wallet.bump(sent[-1].transaction.txid, TERMS))
        replaced(chain, tip, sent[-2], sent[-1])
    with pytest.raises(PaymentError, match="replaced already"):
        wallet.bump(sent[0].transaction.txid, TERMS)
    assert wallet.rebroadcast() == [sent[-1].transaction]
    assert wallet.balances().total == 8 * DURE - sent[-1].fee


def test_a_replacement_that_nobody_takes_leaves_the_first_as_it_was(chain: Chain) -> None:
    wallet, _ = funded(chain, 10 * DURE)
    old = wallet.send([HIM], TERMS)
    new = wallet.bump(old.transaction.txid, TERMS)
    wallet.abandon(new.transaction.txid)
    assert wallet.rebroadcast() == [old.transaction]
    assert wallet.transaction(old.transaction.txid).replaced_by is None
    assert wallet.balances().total == 8 * DURE - old.fee
    wallet.bump(old.transaction.txid, TERMS)


def test_what_cannot_be_replaced_is_refused_and_stays(chain: Chain) -> None:
    wallet, tip = funded(chain, 10 * DURE)
    old = wallet.send([HIM], TERMS).transaction.txid
    with pytest.raises(UnknownTransactionError):
        wallet.bump(TxId(bytes(32)), TERMS)
    with pytest.raises(FeeError, match="pays more than"):
        wallet.bump(old, TERMS, fee_rate=1_000)
    with pytest.raises(FeeError, match="10 %"):
        wallet.bump(old, TERMS, fee_rate=90_000_000)
    gift = chain.gift(tip, [(lock_of(wallet.new_address()), DURE)], which=2)
    wallet.add_pending(gift)
    with pytest.raises(UnknownTransactionError):
        wallet.bump(gift.txid, TERMS)
    child = wallet.send([HER], TERMS).transaction.txid
    with pytest.raises(PaymentError, match="spends its change"):
        wallet.bump(old, TERMS)
    wallet.abandon(child)
    new = wallet.bump(old, TERMS).transaction
    chain.follow(wallet, chain.mine(tip, [new]))
    with pytest.raises(PaymentError, match="replaced already"):
        wallet.bump(old, TERMS)
    with pytest.raises(UnknownTransactionError):
        wallet.bump(new.txid, TERMS)


def test_a_locked_wallet_bumps_nothing(chain: Chain) -> None:
    wallet = Wallet.create(PARAMS, outside(), passphrase="secret", cost=KdfCost(14, 1))
    chain.follow(wallet, chain.mine(chain.base, [chain.gift(chain.base, [(lock_of(wallet.new_address()), 9 * DURE)])]))
    old = wallet.send([HIM], TERMS)
    wallet.lock()
    with pytest.raises(WalletLockedError):
        wallet.bump(old.transaction.txid, TERMS)
    assert wallet.rebroadcast() == [old.transaction]


def test_a_request_that_is_repeated_after_a_bump_returns_what_stands(chain: Chain) -> None:
    """A155, A185: over a restart too; whichever is mined, it was paid once."""
    world = outside()
    wallet, tip = funded(chain, 10 * DURE, world=world)
    old = wallet.send([HIM], TERMS, request_id="order 7")
    new = wallet.bump(old.transaction.txid, TERMS)
    wallet = reopened(world)
    assert wallet.send([HIM], TERMS, request_id="order 7").transaction == new.transaction
    chain.follow(wallet, chain.mine(tip, [old.transaction]))
    assert wallet.send([HIM], TERMS, request_id="order 7").transaction == old.transaction
    assert wallet.balances().total == 8 * DURE - old.fee


def test_a_payment_to_oneself_is_bumped_like_any(chain: Chain) -> None:
    wallet, tip = funded(chain, 10 * DURE)
    old = wallet.send([payment(wallet.new_address(), DURE)], TERMS)
    new = wallet.bump(old.transaction.txid, TERMS)
    replaced(chain, tip, old, new)
    assert wallet.balances().total == 10 * DURE - new.fee
