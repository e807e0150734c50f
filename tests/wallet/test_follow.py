"""The wallet as a follower: what the chain gives and takes, through forks, conflicts and crashes."""

from __future__ import annotations

import random

import pytest

from consensus.errors import ConsensusError
from consensus.types import Block, LockId, OutPoint, Transaction
from tests.support.wallets import (
    DURE,
    OTHER_WORDS,
    PARAMS,
    TERMS,
    Chain,
    lock_of,
    new_wallet,
    outside,
    payment,
    reopened,
)
from wallet.errors import OutOfStepError, UnknownTransactionError
from wallet.results import Balances, Category, State
from wallet.wallet import Wallet


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


def amounts(wallet: Wallet) -> tuple[int, int, int, int]:
    """Confirmed, change, pending, immature."""
    balances = wallet.balances()
    return balances.confirmed, balances.change, balances.pending, balances.immature


def funded(chain: Chain, *values: int) -> tuple[Wallet, Block]:
    """A wallet with confirmed coins of these values, each at an address of its own."""
    wallet = new_wallet()
    gift = chain.gift(chain.base, [(lock_of(wallet.new_address()), value) for value in values])
    tip = chain.mine(chain.base, [gift])
    chain.follow(wallet, tip)
    return wallet, tip


def test_a_payment_is_pending_until_it_is_in_a_block(chain: Chain) -> None:
    wallet = new_wallet()
    chain.follow(wallet, chain.base)
    gift = chain.gift(chain.base, [(lock_of(wallet.new_address()), 5 * DURE)])
    assert wallet.add_pending(gift)
    assert amounts(wallet) == (0, 0, 5 * DURE, 0)
    chain.follow(wallet, chain.mine(chain.base, [gift]))
    assert amounts(wallet) == (5 * DURE, 0, 0, 0)


def test_what_concerns_others_leaves_no_trace(chain: Chain) -> None:
    wallet = new_wallet()
    chain.follow(wallet, chain.base)
    stranger = chain.gift(chain.base, [(LockId(bytes(32)), DURE)])
    assert not wallet.add_pending(stranger)
    chain.follow(wallet, chain.mine(chain.base, [stranger]))
    assert wallet.history() == []
    assert wallet.info().transactions == 0


def test_a_block_that_does_not_follow_the_cursor_changes_nothing(chain: Chain) -> None:
    wallet, tip = funded(chain, DURE)
    before = wallet.balances(), wallet.cursor
    stranger = chain.mine(chain.base)
    for reverted, applied in (([stranger], []), ([], [stranger]), ([tip], [tip, stranger])):
        with pytest.raises(OutOfStepError):
            wallet.handle_updates(reverted, applied)
    assert (wallet.balances(), wallet.cursor) == before


def test_our_change_can_be_spent_before_it_is_confirmed_and_a_gift_cannot(chain: Chain) -> None:
    wallet, tip = funded(chain, 10 * DURE)
    sent = wallet.send([payment(new_wallet(mnemonic=OTHER_WORDS).new_address(), 3 * DURE)], TERMS)
    assert amounts(wallet) == (0, sent.change, 0, 0)
    wallet.add_pending(chain.gift(tip, [(lock_of(wallet.new_address()), 50_000)], which=5))
    assert amounts(wallet) == (0, sent.change, 50_000, 0)
    again = wallet.send_all(lock_of(wallet.new_address()), TERMS)
    assert [outpoint.txid for outpoint in again.transaction.core.inputs] == [sent.transaction.txid]
    chain.follow(wallet, chain.mine(tip, [sent.transaction, again.transaction]))
    assert wallet.balances().confirmed == sent.change - again.fee


def test_a_reward_matures_exactly_when_the_rules_let_it_be_spent(chain: Chain) -> None:
    """A158: an immature reward is shown apart and cannot be spent; at the rule's height it can."""
    wallet = new_wallet()
    tip = chain.mine(chain.base, to=lock_of(wallet.new_address()))
    tip = chain.mine_many(tip, PARAMS.coinbase_maturity - 2)
    chain.follow(wallet, tip)
    assert amounts(wallet) == (0, 0, 0, 50 * DURE)
    assert wallet.history()[0].category is Category.IMMATURE
    tip = chain.mine(tip)
    chain.follow(wallet, tip)
    assert amounts(wallet) == (50 * DURE, 0, 0, 0)
    assert wallet.history()[0].category is Category.GENERATE
    sent = wallet.send_all(LockId(bytes(32)), TERMS)
    chain.mine(tip, [sent.transaction])  # the rules agree


def test_a_payment_that_is_reorged_out_and_confirmed_again_counts_once(chain: Chain) -> None:
    """A157"""
    #   base ── a1 (gift) ── a2
    #      └─── b1 ── b2 ── b3 (gift again)
    wallet = new_wallet()
    gift = chain.gift(chain.base, [(lock_of(wallet.new_address()), 7 * DURE)])
    a2 = chain.mine(chain.mine(chain.base, [gift]))
    chain.follow(wallet, a2)
    assert amounts(wallet) == (7 * DURE, 0, 0, 0)
    b2 = chain.mine_many(chain.base, 2)
    chain.follow(wallet, b2)
    assert amounts(wallet) == (0, 0, 7 * DURE, 0)
    assert wallet.history()[0].confirmations == 0
    b3 = chain.mine(b2, [gift])
    wallet.add_pending(gift)
    chain.follow(wallet, b3)
    assert amounts(wallet) == (7 * DURE, 0, 0, 0)
    assert len(wallet.history()) == 1
    chain.follow(wallet, a2)
    assert amounts(wallet) == (7 * DURE, 0, 0, 0)
    assert wallet.history()[0].confirmations == 2


def test_our_payment_that_is_reorged_out_is_offered_again(chain: Chain) -> None:
    """A157"""
    wallet, tip = funded(chain, 10 * DURE)
    sent = wallet.send([payment(new_wallet(mnemonic=OTHER_WORDS).new_address(), DURE)], TERMS)
    assert wallet.rebroadcast() == [sent.transaction]
    chain.follow(wallet, chain.mine(tip, [sent.transaction]))
    assert wallet.rebroadcast() == []
    chain.follow(wallet, chain.mine_many(tip, 2))
    assert wallet.rebroadcast() == [sent.transaction]
    assert amounts(wallet) == (0, sent.change, 0, 0)


def test_parents_are_offered_before_their_children(chain: Chain) -> None:
    wallet, tip = funded(chain, 10 * DURE)
    sent = [wallet.send_all(lock_of(wallet.new_address()), TERMS).transaction for _ in range(4)]
    assert wallet.rebroadcast() == sent
    # After a reorg the sequence in which they came says nothing any more.
    chain.follow(wallet, chain.mine(tip, sent))
    chain.follow(wallet, chain.mine_many(tip, 2))
    assert wallet.rebroadcast() == sent


def test_a_reward_of_a_lost_branch_is_an_orphan_with_all_that_descends_from_it(chain: Chain) -> None:
    wallet = new_wallet()
    first = chain.mine(chain.base, to=lock_of(wallet.new_address()))
    tip = chain.mine_many(first, 10)
    chain.follow(wallet, tip)
    sent = wallet.send([payment(new_wallet(mnemonic=OTHER_WORDS).new_address(), DURE)], TERMS)
    chain.follow(wallet, chain.mine_many(chain.base, 12))
    assert wallet.balances() == Balances(*[0] * 5)  # type: ignore[arg-type]
    orphan = wallet.transaction(first.transactions[0].txid)
    assert (orphan.state, orphan.entries[0].category) == (State.ORPHANED, Category.ORPHAN)
    assert wallet.transaction(sent.transaction.txid).state is State.CONFLICTED
    assert wallet.rebroadcast() == []
    chain.follow(wallet, tip)
    assert amounts(wallet) == (0, sent.change, 0, 0)


class TestConflicts:
    """A156"""

    def double(self, chain: Chain) -> tuple[Wallet, Block, Transaction, Transaction, Transaction]:
        """A wallet with two coins, a payment of both with a child, and another copy's payment of the first coin."""
        wallet, tip = funded(chain, 10 * DURE, 20 * DURE)
        copy = new_wallet(outside(2))
        chain.follow(copy, tip)
        mine = wallet.send([payment(new_wallet(mnemonic=OTHER_WORDS).new_address(), 25 * DURE)], TERMS).transaction
        child = wallet.send([payment(new_wallet(mnemonic=OTHER_WORDS).new_address(), DURE)], TERMS).transaction
        other = copy.send([payment(new_wallet(mnemonic=OTHER_WORDS).new_address(), 6 * DURE)], TERMS).transaction
        assert set(other.core.inputs) < set(mine.core.inputs)
        assert child.core.inputs[0].txid == mine.txid
        return wallet, tip, mine, child, other

    def test_a_mined_conflict_frees_the_other_coins_and_ends_the_children(self, chain: Chain) -> None:
        """A156: the balance is exact while one version waits, is beaten by another, and wins after a reorg."""
        wallet, tip, mine, child, other = self.double(chain)
        b1 = chain.mine(tip, [other])
        chain.follow(wallet, b1)
        assert wallet.balances().total == sum(chain.owned(b1, wallet).values())
        detail = wallet.transaction(mine.txid)
        assert (detail.state, detail.confirmations, detail.conflicts) == (State.CONFLICTED, -1, (other.txid,))
        assert wallet.transaction(child.txid).state is State.CONFLICTED
        assert wallet.rebroadcast() == []
        chain.follow(wallet, chain.mine(b1))
        assert wallet.transaction(mine.txid).confirmations == -2
        # The branch of the first version wins: it counts again, and the other is the conflict.
        a3 = chain.mine_many(chain.mine(tip, [mine, child]), 2)
        chain.follow(wallet, a3)
        assert wallet.balances().total == sum(chain.owned(a3, wallet).values())
        assert wallet.transaction(other.txid).state is State.CONFLICTED
        assert wallet.transaction(child.txid).state is State.CONFIRMED

    def test_a_reverted_conflict_gives_the_payment_its_life_back(self, chain: Chain) -> None:
        wallet, tip, mine, child, other = self.double(chain)
        before = wallet.balances()
        chain.follow(wallet, chain.mine(tip, [other]))
        chain.follow(wallet, chain.mine_many(tip, 2))
        # Both are possible again, and the other came last.
        assert wallet.transaction(other.txid).state is State.PENDING
        wallet.add_pending(mine)
        assert wallet.transaction(mine.txid).state is State.PENDING
        assert wallet.transaction(other.txid).state is State.CONFLICTED
        wallet.add_pending(child)
        assert wallet.balances() == before

    def test_two_versions_in_no_block_never_count_twice(self, chain: Chain) -> None:
        """A159: a second copy of the wallet pays with the same coin; the mempool's choice counts."""
        wallet, _, mine, child, other = self.double(chain)
        one = wallet.balances()
        wallet.add_pending(other)
        two = wallet.balances()
        assert wallet.transaction(mine.txid).state is State.CONFLICTED
        wallet.add_pending(mine)
        wallet.add_pending(child)
        assert wallet.balances() == one != two

    def test_a_gift_that_its_giver_spends_otherwise_is_gone(self, chain: Chain) -> None:
        wallet = new_wallet()
        chain.follow(wallet, chain.base)
        gift = chain.gift(chain.base, [(lock_of(wallet.new_address()), DURE)])
        wallet.add_pending(gift)
        elsewhere = chain.gift(chain.base, [(LockId(bytes(32)), DURE)])
        chain.follow(wallet, chain.mine(chain.base, [elsewhere]))
        assert wallet.balances().total == 0
        assert wallet.transaction(gift.txid).state is State.CONFLICTED
        assert wallet.info().transactions == 1
        chain.follow(wallet, chain.mine_many(chain.base, 2))
        assert wallet.balances().pending == DURE

    def test_states_survive_a_restart(self, chain: Chain) -> None:
        world = outside()
        wallet = new_wallet(world)
        chain.follow(wallet, chain.base)
        gift = chain.gift(chain.base, [(lock_of(wallet.new_address()), DURE)])
        wallet.add_pending(gift)
        chain.follow(wallet, chain.mine(chain.base, [chain.gift(chain.base, [(LockId(bytes(32)), DURE)])]))
        again = reopened(world)
        assert again.balances() == wallet.balances()
        assert again.transaction(gift.txid) == wallet.transaction(gift.txid)


def test_an_abandoned_payment_frees_its_coins_and_counts_again_if_it_is_mined(chain: Chain) -> None:
    wallet, tip = funded(chain, 10 * DURE)
    sent = wallet.send([payment(new_wallet(mnemonic=OTHER_WORDS).new_address(), DURE)], TERMS).transaction
    child = wallet.send([payment(new_wallet(mnemonic=OTHER_WORDS).new_address(), 2 * DURE)], TERMS).transaction
    wallet.abandon(sent.txid)
    assert amounts(wallet) == (10 * DURE, 0, 0, 0)
    assert wallet.rebroadcast() == []
    assert wallet.transaction(child.txid).state is State.ABANDONED
    mined = chain.mine(tip, [sent])
    chain.follow(wallet, mined)
    # The child stays given up: nobody pays again by surprise.
    assert wallet.transaction(child.txid).state is State.ABANDONED
    assert wallet.balances().confirmed == sum(chain.owned(mined, wallet).values())
    with pytest.raises(UnknownTransactionError):
        wallet.abandon(sent.txid)


def test_a_gift_that_the_mempool_dropped_is_not_pending_until_it_is_back(chain: Chain) -> None:
    wallet = new_wallet()
    chain.follow(wallet, chain.base)
    gift = chain.gift(chain.base, [(lock_of(wallet.new_address()), DURE)])
    wallet.add_pending(gift)
    wallet.drop_pending(gift.txid)
    assert (wallet.balances().total, wallet.history()[0].state) == (0, State.DROPPED)
    wallet.add_pending(gift)
    assert wallet.balances().pending == DURE


def test_the_mempool_dropping_our_payment_gives_no_coin_back(chain: Chain) -> None:
    wallet, _ = funded(chain, 10 * DURE)
    sent = wallet.send([payment(new_wallet(mnemonic=OTHER_WORDS).new_address(), DURE)], TERMS)
    wallet.drop_pending(sent.transaction.txid)
    assert amounts(wallet) == (0, sent.change, 0, 0)
    assert wallet.rebroadcast() == [sent.transaction]


def test_coins_set_aside_are_shown_apart_and_not_spent(chain: Chain) -> None:
    """A158"""
    wallet, _ = funded(chain, 10 * DURE, 20 * DURE)
    gift = wallet.history()[0].txid
    wallet.coins.set_aside([OutPoint(gift, 0)])
    balances = wallet.balances()
    assert (balances.confirmed, balances.locked, balances.total) == (20 * DURE, 10 * DURE, 30 * DURE)
    assert wallet.send_all(LockId(bytes(32)), TERMS).transaction.core.inputs == (OutPoint(gift, 1),)
    wallet.coins.take_back()
    assert wallet.balances().confirmed == 10 * DURE


def test_two_copies_of_a_wallet_agree_from_the_chain_alone(chain: Chain) -> None:
    """A159: each hands out addresses and pays; what the chain says makes both say the same."""
    one, tip = funded(chain, 10 * DURE, 20 * DURE)
    two = new_wallet(outside(9))
    chain.follow(two, tip)
    first = one.send([payment(two.new_address(), 3 * DURE)], TERMS).transaction
    tip = chain.mine(tip, [first])
    chain.follow(two, tip)
    second = two.send([payment(two.new_address(), 4 * DURE)], TERMS).transaction
    tip = chain.mine(tip, [second])
    chain.follow(one, tip)
    chain.follow(two, tip)
    assert one.balances() == two.balances()
    lines = [
        [(line.txid, line.category, line.amount, line.confirmations) for line in w.history(99)] for w in (one, two)
    ]
    assert lines[0] == lines[1]
    # Nor do they hand out what the other has used.
    assert one.new_address() == two.new_address()


def _random_story(chain: Chain, rng: random.Random, wallet: Wallet) -> Block:
    """Mine, pay, fork and reorg at random; check the balance against the rules' coins at every step."""
    tips = [chain.base]
    addresses = [wallet.new_address() for _ in range(3)]
    for _ in range(30):
        parent = rng.choice(tips[-6:])
        transactions = []
        if rng.random() < 0.4:
            receivers = [
                (lock_of(rng.choice(addresses)), rng.randrange(1, 5) * DURE) for _ in range(rng.randrange(1, 3))
            ]
            transactions.append(chain.gift(parent, receivers, which=rng.randrange(3)))
        known = dict(chain.builder.coins(parent))
        for tx in wallet.rebroadcast():
            if all(outpoint in known for outpoint in tx.core.inputs) and rng.random() < 0.7:
                transactions.append(tx)
                known = {o: c for o, c in known.items() if o not in tx.core.inputs}
                known |= {OutPoint(tx.txid, i): None for i in range(len(tx.core.outputs))}  # type: ignore[misc]
        try:
            block = chain.mine(parent, transactions, to=lock_of(rng.choice(addresses)) if rng.random() < 0.3 else None)
            chain.builder.coins(block)
        except ConsensusError:  # a payment may be immature, or lack a coin, on this branch: mine without
            block = chain.mine(parent)
        tips.append(block)
        chain.follow(wallet, block)
        owned = chain.owned(block, wallet)
        for pending in wallet._ledger.pending:
            if wallet._ledger.pending.counts(pending.txid):
                owned = {o: v for o, v in owned.items() if o not in pending.transaction.core.inputs}
        balances = wallet.balances()
        assert balances.confirmed + balances.immature == sum(owned.values())
        if balances.confirmed > 2 * DURE and rng.random() < 0.5:
            address = rng.choice([new_wallet(mnemonic=OTHER_WORDS).new_address(), wallet.new_address()])
            wallet.send([payment(address, rng.randrange(DURE // 2, DURE))], TERMS)
    return tips[-1]


@pytest.mark.parametrize("seed", range(8))
def test_any_story_ends_like_that_of_a_wallet_which_saw_only_the_winner(chain: Chain, seed: int) -> None:
    """A157, A159"""
    world = outside(seed)
    wallet = new_wallet(world)
    tip = _random_story(chain, random.Random(seed), wallet)
    fresh = new_wallet(outside())
    chain.follow(fresh, tip)
    for _ in range(3):  # as many addresses as the first wallet handed out
        fresh.new_address()
    assert set(_chain_facts(wallet)) == set(_chain_facts(fresh))
    again = reopened(world)
    chain.follow(again, tip)
    assert again.balances() == wallet.balances()
    assert again.history(999) == wallet.history(999)


def _chain_facts(wallet: Wallet) -> list[tuple[object, ...]]:
    return [
        (outpoint, coin.value, coin.height, coin.coinbase)
        for outpoint, coin in wallet._ledger.coins._unspent.items()
        if coin.height is not None
    ]


def test_an_idle_chain_costs_no_write_a_block(chain: Chain) -> None:
    world = outside()
    wallet = new_wallet(world)
    before = world.database.writes  # type: ignore[attr-defined]
    chain.follow(wallet, chain.base)
    chain.follow(wallet, chain.mine(chain.base))
    assert world.database.writes == before  # type: ignore[attr-defined]
    assert reopened(world).cursor.height == 0
    wallet.close()
    assert reopened(world).cursor == wallet.cursor


def test_applying_and_reverting_leaves_the_stored_coins_as_they_were(chain: Chain) -> None:
    wallet, tip = funded(chain, 10 * DURE, 20 * DURE)
    sent = wallet.send([payment(wallet.new_address(), 12 * DURE)], TERMS).transaction
    before = dict(wallet._ledger.coins._unspent)
    chain.follow(wallet, chain.mine(tip, [sent], to=lock_of(wallet.new_address())))
    assert dict(wallet._ledger.coins._unspent) != before
    chain.follow(wallet, tip)
    kept = {outpoint: coin for outpoint, coin in wallet._ledger.coins._unspent.items() if not coin.coinbase}
    assert kept == before
