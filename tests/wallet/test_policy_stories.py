"""Policies in use, told as stories: people, their wallets, a real chain and mempool, and files between them."""

from __future__ import annotations

from hashlib import sha256

import pytest

from consensus.errors import ConsensusError, NotYet
from consensus.spend_policy import policy_id
from consensus.types import AfterHeight, Key, Transaction, Witness
from node.relay_policy import virtual_size
from tests.support.village import Village, payment
from tests.support.wallets import DURE, TERMS, lock_of
from wallet.cosigning import IncompleteError
from wallet.errors import InsufficientFundsError, PaymentError, WalletError
from wallet.psdt import PartName
from wallet.spend_policies.spends import Everything
from wallet.spend_policies.templates import escrow, hashlock, inheritance, multisig, vault, vesting


async def test_two_of_three_spend_together_and_one_alone_cannot() -> None:
    town = Village("ann", "bob", "cem", "shop")
    keys = [town[person].policies.new_key() for person in ("ann", "bob", "cem")]
    (board,) = town.remember("board", multisig(2, keys), "ann", "bob", "cem")
    await town.pay("ann", board.lock, 10 * DURE)
    town.mine()
    for person in ("ann", "bob", "cem"):
        assert town[person].policies.holdings(board.lock).confirmed == 10 * DURE
    assert town["bob"].balances().total == 20 * DURE, "what two of three can spend is nobody's own"
    shop = lock_of(town["shop"].new_address())
    plan = town.plan("ann", board, [payment(shop, 3 * DURE)])
    by_ann = town.sign("ann", plan.psdt)
    with pytest.raises(IncompleteError):
        town.finish(by_ann)
    # Each signs what he was sent, in any order, and anybody puts the files together.
    by_cem = town.sign("cem", plan.psdt)
    tx = town.finish(by_cem, by_ann)
    assert plan.fee == virtual_size(len(tx.encoded), 2), "the rate is 1 grain per byte, reckoned before anybody signed"
    await town.send(tx)
    town.mine()
    assert town.owned("shop") == 23 * DURE
    assert town.at(board.lock) == 7 * DURE - plan.fee
    assert town["bob"].policies.holdings(board.lock).confirmed == 7 * DURE - plan.fee


async def test_an_arbiters_signature_opens_the_escrow_and_no_other_coin_of_his() -> None:
    town = Village("buyer", "seller", "arbiter")
    buyer, seller, arbiter = [town[person].policies.new_key() for person in ("buyer", "seller", "arbiter")]
    (deal,) = town.remember("deal", escrow(buyer, seller, arbiter, refund_after=100))
    # The very same key of the arbiter guards another escrow, and a coin of his own.
    buyer, seller = [town[person].policies.new_key() for person in ("buyer", "seller")]
    (other,) = town.remember("other deal", escrow(buyer, seller, arbiter))
    own = policy_id(Key(arbiter))
    await town.pay("buyer", deal.lock, 5 * DURE)
    await town.pay("seller", other.lock, 6 * DURE)
    await town.pay("arbiter", own, 7 * DURE)
    town.mine()
    # The seller did not deliver: buyer and arbiter send the money back.
    home = lock_of(town["buyer"].new_address())
    plan = town.plan("buyer", deal, Everything(home), number=1)
    signed = town.sign("arbiter", town.sign("buyer", plan.psdt))
    tx = town.finish(signed)
    stolen = dict(signed.parts[0].signatures)[arbiter]
    await town.send(tx)
    town.mine()
    assert town.at(deal.lock) == 0
    assert town.at(home) == 5 * DURE - plan.fee
    # His signature in place of the one that his own coin, or the other escrow, asks for.
    theft = town.plan("seller", other, Everything(home))
    half = town.sign("seller", theft.psdt)
    forged = {arbiter: stolen, **dict(half.parts[0].signatures)}
    witness = Witness(other.policy, tuple(forged.values()))
    for bad in (
        Transaction(theft.psdt.core, (Witness(Key(arbiter), (stolen,)),)),
        Transaction(theft.psdt.core, (witness,)),
    ):
        with pytest.raises((ConsensusError, NotYet)):
            await town.send(bad)
    assert town.at(own) == 7 * DURE
    assert town.at(other.lock) == 6 * DURE


async def test_one_file_asks_the_arbiter_for_the_escrow_only_and_his_own_coin_stays() -> None:
    """The file also spends a coin of his own; he signs for the escrow, as he was asked to."""
    town = Village("buyer", "seller", "arbiter")
    buyer, seller, arbiter = [town[person].policies.new_key() for person in ("buyer", "seller", "arbiter")]
    (deal,) = town.remember("deal", escrow(buyer, seller, arbiter))
    await town.pay("buyer", deal.lock, 5 * DURE)
    town.mine()
    home = lock_of(town["buyer"].new_address())
    plan = town.plan("buyer", deal, Everything(home))
    greedy = town.with_coin_of(plan.psdt, "arbiter")
    signed = town.sign("arbiter", town.sign("buyer", greedy), only={PartName(deal.lock)})
    assert [len(part.signatures) for part in signed.parts] == [2, 0]
    with pytest.raises(IncompleteError):
        town.finish(signed)


async def test_a_vault_shows_the_thief_and_the_cold_key_takes_everything_back() -> None:
    town = Village("owner", "cold", "thief")
    hot, cold = town["owner"].policies.new_key(), town["cold"].policies.new_key()
    inside, way_out = town.remember("savings", vault(hot, cold, delay=12), "owner", "cold")
    await town.pay("owner", inside.lock, 10 * DURE)
    town.mine()
    assert town["cold"].policies.withdrawals() == []
    # Whoever has the hot key cannot pay himself: the coins may only go to the way out.
    loot = lock_of(town["thief"].new_address())
    with pytest.raises(PaymentError, match="go whole to savings/withdrawal"):
        town.plan("owner", inside, Everything(loot), number=1)
    plan = town.plan("owner", inside, Everything(way_out.lock), number=1)
    theft = town.finish(town.sign("owner", plan.psdt))
    await town.send(theft)
    # The alarm sounds as soon as the withdrawal is seen, before any block holds it.
    (alarm,) = town["cold"].policies.withdrawals()
    assert (alarm.vault.name, alarm.coin.value, alarm.coin.height, alarm.free_at) == ("savings", 10 * DURE, None, None)
    assert [event for event, _ in town.logs["cold"].lines].count("vault_withdrawal_seen") == 1
    town.mine()
    (alarm,) = town["cold"].policies.withdrawals()
    assert alarm.free_at == town.tip.height + 12
    # The hot key has to wait, to the block.
    with pytest.raises(InsufficientFundsError):
        town.plan("owner", way_out, Everything(loot), number=1)
    # The cold key does not.
    home = lock_of(town["cold"].new_address())
    rescue = town.plan("cold", way_out, Everything(home))
    assert rescue.branch.keys == (cold,)
    await town.send(town.finish(town.sign("cold", rescue.psdt)))
    town.mine(12)
    assert town.at(home) == 10 * DURE - rescue.fee
    assert town["cold"].policies.withdrawals() == []
    assert [event for event, _ in town.logs["cold"].lines].count("vault_withdrawal_seen") == 1
    with pytest.raises(InsufficientFundsError):
        town.plan("owner", way_out, Everything(loot), number=1)


async def test_an_owner_gets_his_own_withdrawal_once_it_is_old_enough() -> None:
    town = Village("owner", "cold")
    hot, cold = town["owner"].policies.new_key(), town["cold"].policies.new_key()
    inside, way_out = town.remember("savings", vault(hot, cold, delay=12))
    await town.pay("owner", inside.lock, 10 * DURE)
    town.mine()
    before = town.owned("owner")
    plan = town.plan("owner", inside, [payment(way_out.lock, 4 * DURE)])
    await town.send(town.finish(town.sign("owner", plan.psdt)))
    town.mine()
    assert before - town.owned("owner") == plan.fee, "a coin of the wallet pays the fee, and gets its change"
    assert town.at(way_out.lock) == 10 * DURE
    home = lock_of(town["owner"].new_address())
    town.mine(10)
    with pytest.raises(InsufficientFundsError):
        town.plan("owner", way_out, Everything(home), number=1)
    assert town.plan("owner", way_out, Everything(home)).branch.keys == (cold,), "until then only the cold key can"
    town.mine()
    plan = town.plan("owner", way_out, Everything(home))
    assert plan.branch.keys == (hot,)
    await town.send(town.finish(town.sign("owner", plan.psdt)))
    town.mine()
    assert town.at(home) == 10 * DURE - plan.fee


async def test_an_heir_inherits_when_the_owner_has_been_silent() -> None:
    town = Village("owner", "heir")
    owner, heir = town["owner"].policies.new_key(), town["heir"].policies.new_key()
    (estate,) = town.remember("estate", inheritance(owner, heir, idle=20))
    await town.pay("owner", estate.lock, 8 * DURE)
    town.mine(15)
    # The owner lives, and moves the coin to the same place: its age starts anew.
    renewal = town.plan("owner", estate, Everything(estate.lock), number=1)
    await town.send(town.finish(town.sign("owner", renewal.psdt)))
    town.mine(19)
    home = lock_of(town["heir"].new_address())
    with pytest.raises(InsufficientFundsError, match="20 blocks old"):
        town.plan("heir", estate, Everything(home), number=2)
    town.mine()
    plan = town.plan("heir", estate, Everything(home))
    assert (plan.number, plan.branch.keys) == (2, (heir,))
    await town.send(town.finish(town.sign("heir", plan.psdt)))
    town.mine()
    assert town.at(home) == 8 * DURE - renewal.fee - plan.fee


async def test_a_secret_opens_a_hash_lock_and_without_it_the_payer_is_refunded_in_time() -> None:
    town = Village("payer", "receiver")
    secret = bytes(range(32))
    receiver, payer = town["receiver"].policies.new_key(), town["payer"].policies.new_key()
    deadline = town.tip.height + 15
    (lock,) = town.remember("swap", hashlock(receiver, payer, sha256(secret).digest(), AfterHeight(deadline)))
    await town.pay("payer", lock.lock, 3 * DURE)
    town.mine()
    await town.pay("payer", lock.lock, 4 * DURE)
    town.mine()
    home = lock_of(town["receiver"].new_address())
    # With the secret the receiver takes one of the two coins; it is now there for everybody to see.
    plan = town.plan("receiver", lock, [payment(home, 3 * DURE)], number=1)
    with pytest.raises(IncompleteError):
        town.finish(town.sign("receiver", plan.psdt))
    with pytest.raises(WalletError, match="no policy of this transaction asks for that secret"):
        town.sign("receiver", plan.psdt, secrets=[bytes(32)])
    claim = town.finish(town.sign("receiver", plan.psdt, secrets=[secret]))
    assert secret in claim.witnesses[0].satisfactions
    await town.send(claim)
    town.mine()
    # What was not claimed goes back, from the deadline on and not a block earlier.
    back = lock_of(town["payer"].new_address())
    with pytest.raises(PaymentError, match="opens at block"):
        town.plan("payer", lock, Everything(back), number=2)
    town.mine(deadline - town.tip.height - 2)
    with pytest.raises(PaymentError, match="opens at block"):
        town.plan("payer", lock, Everything(back), number=2)
    town.mine()
    assert town.context.height == deadline
    refund = town.plan("payer", lock, Everything(back))
    assert refund.number == 2
    tx = town.finish(town.sign("payer", refund.psdt))
    await town.send(tx)
    # Another branch of the same length: the height is reached on it too, and the refund stays.
    town.reorg(1, 1)
    assert tx.txid in town.mempool
    town.mine()
    assert town.at(lock.lock) == 0


async def test_shares_vest_one_after_the_other_and_a_clawback_hangs_over_them() -> None:
    """A158: an output with a clawback branch is no income before it has been moved."""
    town = Village("worker", "firm")
    worker, firm = town["worker"].policies.new_key(), town["firm"].policies.new_key()
    start = town.tip.height
    shares = town.remember("shares", vesting(worker, [AfterHeight(start + 10), AfterHeight(start + 20)], clawback=firm))
    for share in shares:
        await town.pay("firm", share.lock, 2 * DURE)
        town.mine()
    worth = town["worker"].balances()
    assert (worth.total, worth.trusted) == (20 * DURE, 20 * DURE)
    assert town["worker"].policies.holdings().confirmed == 4 * DURE
    assert all(entry.amount == 20 * DURE for entry in town["worker"].history())
    with pytest.raises(InsufficientFundsError):
        town["worker"].send([payment(lock_of(town["firm"].new_address()), 21 * DURE)], TERMS)
    home = lock_of(town["worker"].new_address())
    with pytest.raises(PaymentError, match="opens at block"):
        town.plan("worker", shares[0], Everything(home), number=1)
    town.mine(start + 9 - town.tip.height)
    plan = town.plan("worker", shares[0], Everything(home))
    await town.send(town.finish(town.sign("worker", plan.psdt)))
    town.mine()
    assert town.owned("worker") == 22 * DURE - plan.fee
    # The worker leaves: what has not vested goes back.
    safe = lock_of(town["firm"].new_address())
    back = town.plan("firm", shares[1], Everything(safe))
    await town.send(town.finish(town.sign("firm", back.psdt)))
    town.mine()
    assert town.at(shares[1].lock) == 0
