"""Remembered policies: watched, kept, shown apart; and signers that are not lied to."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from consensus.errors import ConsensusError, Rule
from consensus.policy_text import parse_policy
from consensus.spend_policy import policy_id
from consensus.types import Amount, Older, Output, Policy, Threshold
from node.storage.files import MemoryFiles
from node.storage.memory_store import MemoryDatabase
from tests.support.rules import key
from tests.support.village import Village, forged, payment
from tests.support.wallets import DURE, PARAMS, Chain, lock_of, new_wallet, outside, reopened
from wallet.cosigning import finalise
from wallet.errors import FeeError, PaymentError, WalletError, WalletLockedError
from wallet.psdt import PsdtError, PsdtRule, new_psdt
from wallet.psdt_joining import with_policy
from wallet.spend_policies.spends import Everything
from wallet.spend_policies.templates import multisig, vault
from wallet.store import TABLES
from wallet.wallet import Wallet

BOTH = Threshold(2, (key(1), key(2)))


def test_a_policy_outlives_the_process_and_the_machine() -> None:
    world = outside()
    wallet = new_wallet(world)
    mine = wallet.policies.new_key("board")
    policy = Threshold(2, (key(1), parse_policy(f"key({mine.hex()})")))
    known = wallet.policies.remember("board", policy, {mine: "me", key(1).key: "Ann"})
    other = wallet.policies.remember("aboard", BOTH)
    assert wallet.policies.own_keys(policy) == (mine,)
    saved = wallet.backup()
    wallet.close()
    again = reopened(world)
    assert list(again.policies) == [known, other]
    fresh = outside()._replace(files=MemoryFiles(), database=MemoryDatabase(TABLES))
    restored = Wallet.restore(PARAMS, fresh, saved, allow_plain=True)
    assert list(restored.policies) == [known, other]
    assert restored.policies.named("board") == known
    assert restored.policies.own_keys(policy) == (mine,)
    assert restored.policies.new_key() != mine


def test_a_key_for_a_policy_is_handed_out_once_and_follows_from_the_words() -> None:
    wallet, twin = new_wallet(), new_wallet(outside(2))
    keys = [wallet.policies.new_key() for _ in range(3)]
    assert len(set(keys)) == 3
    assert [twin.policies.new_key() for _ in range(3)] == keys
    # Whoever has only the words imports the policy's text, and the key is found to be his.
    policy = Threshold(2, (key(1), parse_policy(f"key({keys[2].hex()})")))
    restored = new_wallet(outside(3))
    restored.policies.remember("board", policy)
    assert restored.policies.own_keys(policy) == (keys[2],)
    assert restored.policies.new_key() not in keys


def test_keys_of_policies_leave_no_gap_among_the_addresses_that_are_paid() -> None:
    wallet = new_wallet()
    keys = [wallet.policies.new_key() for _ in range(60)]
    address = wallet.new_address()
    assert new_wallet(outside(2)).is_mine(lock_of(address)), "whoever has the words finds what it is paid"
    assert [own.lock for own in wallet.addresses.handed_out()] == [lock_of(address)]
    # A restored wallet looks for its keys further than it watches, and hands none out twice.
    restored = new_wallet(outside(3))
    policy = Threshold(2, (key(1), parse_policy(f"key({keys[59].hex()})")))
    restored.policies.remember("board", policy)
    assert restored.policies.own_keys(policy) == (keys[59],)
    assert restored.policies.new_key() not in keys


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("", BOTH),
        (" x", BOTH),
        ("x" * 65, BOTH),
        ("x\n", BOTH),
        ("x\u202e", BOTH),
        ("board", Threshold(1, (key(1), key(3)))),
        ("other", Threshold(2, (key(3), key(4)))),
        ("open", Older(1)),
        ("twice", Threshold(2, (key(1), key(1)))),
    ],
)
def test_what_would_mislead_is_not_remembered(name: str, policy: Policy) -> None:
    wallet = new_wallet()
    wallet.policies.remember("board", Threshold(2, (key(3), key(4))))
    with pytest.raises(WalletError):
        wallet.policies.remember(name, policy)
    assert [known.name for known in wallet.policies] == ["board"]
    own = parse_policy(f"key({wallet.policies.new_key().hex()})")
    with pytest.raises(WalletError, match="ordinary address"):
        wallet.policies.remember("mine", own)
    with pytest.raises(WalletError, match="role"):
        wallet.policies.remember("roles", BOTH, {key(5).key: "nobody"})


def test_what_was_paid_before_is_found_by_a_rescan_and_only_then() -> None:
    chain, wallet = Chain(), new_wallet()
    lock = policy_id(BOTH)
    tip = chain.mine(chain.base, [chain.gift(chain.base, [(lock, 5 * DURE)])])
    chain.follow(wallet, tip)
    wallet.policies.remember("board", BOTH)
    assert wallet.policies.holdings().confirmed == 0
    wallet.rescan(1, PARAMS.genesis_hash, target=wallet.cursor.height)
    chain.follow(wallet, tip)
    held = wallet.policies.holdings(lock)
    assert (held.confirmed, held.pending, len(held.coins)) == (5 * DURE, 0, 1)
    assert wallet.balances().total == 0
    assert list(wallet.coins.unspent()) == []
    assert not wallet.is_mine(lock)


async def test_coins_at_a_policy_come_and_go_with_the_chain() -> None:
    town = Village("ann", "bob")
    keys = [town[person].policies.new_key() for person in ("ann", "bob")]
    (board,) = town.remember("board", multisig(2, keys))
    tx = await town.pay("ann", board.lock, 4 * DURE)
    held = town["bob"].policies.holdings(board.lock)
    assert (held.confirmed, held.pending) == (0, 4 * DURE)
    town.mine()
    assert town["bob"].policies.holdings(board.lock).confirmed == 4 * DURE
    town.reorg(1, 2)
    held = town["bob"].policies.holdings(board.lock)
    assert (held.confirmed, held.pending) == (0, 4 * DURE)
    town.mine()
    assert town["bob"].policies.holdings(board.lock).confirmed == 4 * DURE
    # Nothing of it is in an ordinary history but what Ann gave away.
    assert [entry.amount for entry in town["bob"].history()] == [20 * DURE]
    (given, *_) = town["ann"].history()
    assert (given.txid, given.amount) == (tx.txid, -4 * DURE)


async def test_what_a_policy_pays_out_is_trusted_by_nobody_before_a_block_holds_it() -> None:
    """Two others could sign another spend of the same coin; and no node of ours offers what a thief made."""
    town = Village("ann", "bob")
    keys = [town[person].policies.new_key() for person in ("ann", "bob")]
    (board,) = town.remember("board", multisig(2, keys))
    await town.pay("ann", board.lock, 4 * DURE)
    town.mine()
    home = lock_of(town["bob"].new_address())
    plan = town.plan("bob", board, Everything(home))
    tx = town.finish(town.sign("bob", plan.psdt), town.sign("ann", plan.psdt))
    town["bob"].policies.record(tx)
    await town.send(tx)
    for person in ("bob", "ann"):
        balances = town[person].balances()
        assert balances.trusted == town.owned(person)
    assert town["bob"].balances().pending == 4 * DURE - plan.fee
    assert town["bob"].rebroadcast() == [tx]
    assert town["ann"].rebroadcast() == [], "she did not send it"
    town["bob"].policies.record(tx)
    town.mine()
    assert town["bob"].balances().trusted == 24 * DURE - plan.fee
    assert town["bob"].policies.holdings().coins == ()


async def test_moving_between_policies_with_a_fee_of_ones_own_is_no_gift() -> None:
    town = Village("owner", "cold")
    hot, cold = town["owner"].policies.new_key(), town["cold"].policies.new_key()
    inside, way_out = town.remember("savings", vault(hot, cold, delay=12))
    await town.pay("owner", inside.lock, 10 * DURE)
    town.mine()
    plan = town.plan("owner", inside, Everything(way_out.lock), number=1)
    tx = town.finish(town.sign("owner", plan.psdt))
    await town.send(tx)
    town.mine()
    detail = town["owner"].transaction(tx.txid)
    assert (detail.amount, detail.fee, detail.entries) == (-plan.fee, None, ())


# A161


async def test_a_signer_who_knows_the_coin_refuses_a_file_that_lies_about_it() -> None:
    """A161: by his wallet's own record, or by what his node knows of the chain."""
    town = Village("ann", "bob")
    keys = [town[person].policies.new_key() for person in ("ann", "bob")]
    (board,) = town.remember("board", multisig(2, keys), "ann")
    await town.pay("ann", board.lock, 4 * DURE)
    town.mine()
    true = town.plan("ann", board, [payment(lock_of(town["bob"].new_address()), 3 * DURE)]).psdt
    coin = replace(true.coins[0], output=Output(Amount(3 * DURE + 1_000), board.lock, None))
    lie = with_policy(new_psdt(PARAMS, true.core, (coin,)), board.policy)
    for person in ("ann", "bob"):
        with pytest.raises(PsdtError) as refused:
            town.sign(person, lie, force=True)
        assert refused.value.rule is PsdtRule.LIE
        assert "4.00000000" in str(refused.value)


async def test_a_signature_for_a_lie_is_worth_nothing() -> None:
    """A161: who signs far from any chain cannot see the lie, but what he signs opens nothing."""
    town = Village("ann", "bob")
    keys = [town[person].policies.new_key() for person in ("ann", "bob")]
    (board,) = town.remember("board", multisig(2, keys), "ann")
    await town.pay("ann", board.lock, 4 * DURE)
    town.mine()
    # The file hides a fee of 2 DURE: it says that the coin is worth 2.
    true = town.plan("ann", board, [payment(lock_of(town["bob"].new_address()), 2 * DURE)]).psdt
    core = replace(true.core, outputs=true.core.outputs[:1])
    coin = replace(true.coins[0], output=Output(Amount(2 * DURE + 1_000), board.lock, None))
    lie = with_policy(new_psdt(PARAMS, core, (coin,)), board.policy)
    by_bob = town["bob"].cosigner.sign(lie, {}, {}).psdt
    assert by_bob.fee == 1_000, "he was shown a small fee"
    truth = with_policy(new_psdt(PARAMS, core, true.coins), board.policy)
    with pytest.raises(FeeError):
        town["ann"].cosigner.sign(truth, {}, {})
    by_ann = town["ann"].cosigner.sign(truth, {}, {}, force=True).psdt
    mixed = dict(by_ann.parts[0].signatures) | dict(by_bob.parts[0].signatures)
    finished = replace(by_ann, parts=(replace(by_ann.parts[0], signatures=tuple(sorted(mixed.items()))),))
    with pytest.raises(PsdtError) as refused:
        finalise(PARAMS, finished, town.context, {})
    assert refused.value.rule is PsdtRule.BAD_SIGNATURE
    witness = [signature for _, signature in sorted(mixed.items(), key=lambda item: keys.index(item[0]))]
    tx = forged(core, board.policy, witness)
    with pytest.raises(ConsensusError) as invalid:
        await town.send(tx)
    assert invalid.value.rule is Rule.BAD_SIGNATURE


async def test_a_file_that_pays_out_more_than_it_takes_is_signed_by_nobody() -> None:
    town = Village("ann")
    (board,) = town.remember("board", multisig(1, [town["ann"].policies.new_key(), key(5).key]))
    await town.pay("ann", board.lock, 4 * DURE)
    town.mine()
    plan = town.plan("ann", board, Everything(board.lock))
    more = replace(plan.psdt.core, outputs=(Output(Amount(4 * DURE + 1), board.lock, None),))
    with pytest.raises(FeeError):
        town.sign("ann", with_policy(new_psdt(PARAMS, more, plan.psdt.coins), board.policy), force=True)


async def test_a_locked_wallet_signs_nothing() -> None:
    town = Village("ann")
    (board,) = town.remember("board", multisig(1, [town["ann"].policies.new_key(), key(5).key]))
    await town.pay("ann", board.lock, 4 * DURE)
    town.mine()
    plan = town.plan("ann", board, Everything(board.lock))
    town["ann"].encrypt("pass")
    with pytest.raises(WalletLockedError):
        town.sign("ann", plan.psdt)


async def test_a_plan_that_cannot_be_is_refused_by_name() -> None:
    town = Village("ann")
    (board,) = town.remember("board", multisig(1, [town["ann"].policies.new_key(), key(5).key]))
    await town.pay("ann", board.lock, DURE)
    town.mine()
    for wish, number in (
        ([payment(board.lock, 545)], None),
        ([payment(board.lock, 2 * DURE)], None),
        ([payment(board.lock, DURE)], None),
        ([payment(board.lock, DURE // 2)], 0),
        ([payment(board.lock, DURE // 2)], 2),
    ):
        with pytest.raises(PaymentError):
            town.plan("ann", board, wish, number)
