"""Payments: coins, fees, dust and change; the rules agree; nothing is paid twice."""

from __future__ import annotations

from collections import Counter

import pytest
from msgspec.structs import replace

from consensus.address import AddressError
from consensus.types import Amount, Block, Key, LockId
from node.relay_policy import (
    DUST_LIMIT,
    MAX_CHAIN,
    MAX_RELAY_SIZE,
    MIN_FEE_RATE,
    SIGNATURE_BYTES,
    check_relay_policy,
    required_fee,
    virtual_size,
)
from tests.support.rules import lock
from tests.support.wallets import (
    DURE,
    OTHER_WORDS,
    PARAMS,
    TERMS,
    Chain,
    Silent,
    lock_of,
    new_wallet,
    outside,
    reopened,
)
from wallet.coin_selection import fee_for
from wallet.coin_table import in_order
from wallet.errors import FeeError, InsufficientFundsError, PaymentError, WalletLockedError
from wallet.keystore_file import KdfCost
from wallet.payments import MAX_FEE, SMALL_FEE
from wallet.ports import Outside
from wallet.results import Payment, RelayTerms, Sent
from wallet.wallet import Wallet

HIM = lock(9)
"""Whoever is paid."""


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


def funded(chain: Chain, *values: int, world: Outside | None = None, same_lock: bool = False) -> tuple[Wallet, Block]:
    wallet = new_wallet(world)
    first = lock_of(wallet.new_address())
    locks = [first if same_lock else lock_of(wallet.new_address()) for _ in values]
    tip = chain.mine(chain.base, [chain.gift(chain.base, list(zip(locks, values, strict=True)))])
    chain.follow(wallet, tip)
    return wallet, tip


def him(amount: int) -> list[Payment]:
    return [Payment(HIM, Amount(amount))]


def checked(chain: Chain, tip: Block, sent: Sent, terms: RelayTerms = TERMS) -> Sent:
    """Let the rules and the relay policy judge a payment, and its fee."""
    chain.builder.coins(chain.mine(tip, [sent.transaction]))
    check_relay_policy(sent.transaction)
    size = virtual_size(len(sent.transaction.encoded), len(sent.transaction.witnesses))
    owed = required_fee(terms.fee_rate, size)
    assert owed <= sent.fee <= owed + DUST_LIMIT + terms.fee_rate * 60 // 1000 + 10
    return sent


def test_what_is_settled_is_what_can_be_spent_and_is_in_a_block(chain: Chain) -> None:
    wallet, tip = funded(chain, DURE, 2 * DURE, 3 * DURE, 4 * DURE)
    wallet.send(him(DURE // 2), TERMS)
    chain.follow(wallet, chain.mine(tip, to=lock_of(wallet.new_address())))
    table, height = wallet._ledger.coins, wallet.cursor.height + 1
    aside = next(coin.outpoint for coin in table.settled(height))
    wallet.coins.set_aside([aside])
    spendable = table.spendable(height)
    assert [coin.value for coin in spendable if coin.chain] == [coin.value for coin in spendable if coin.height is None]
    assert table.settled(height) == in_order(coin for coin in spendable if coin.chain == 0)
    assert table.settled(height) == table.settled(height)
    assert len(table.settled(height)) == 2, "one of four was spent, one set aside, and the reward is too young"
    assert len(table.settled(height + PARAMS.coinbase_maturity)) == 3
    gone = {coin.outpoint for coin in table.settled(height)}
    wallet.coins.take_back()
    assert {coin.outpoint for coin in table.settled(height)} == gone | {aside}


def test_the_wallets_terms_are_those_of_the_relay() -> None:
    assert RelayTerms(1) == RelayTerms(1, MIN_FEE_RATE, DUST_LIMIT, MAX_RELAY_SIZE, SIGNATURE_BYTES, MAX_CHAIN)


@pytest.mark.parametrize("rate", [1_000, 7_777, 50_000])
@pytest.mark.parametrize("amount", [DUST_LIMIT, DURE, 12 * DURE, 29 * DURE])
def test_a_payment_is_valid_relayed_and_exact_to_the_grain(chain: Chain, amount: int, rate: int) -> None:
    """A153: value is conserved: what went in is what was paid, what came back, and the fee."""
    wallet, tip = funded(chain, 10 * DURE, 20 * DURE, DURE)
    terms = TERMS._replace(fee_rate=rate)
    sent = checked(chain, tip, wallet.send(him(amount), terms, memo=b"a memo"), terms)
    outputs = sent.transaction.core.outputs
    assert sum(o.value for o in outputs if o.lock == HIM) == amount
    assert sum(o.value for o in outputs if wallet.is_mine(o.lock)) == sent.change
    spent = sum(chain.builder.coins(tip)[outpoint].output.value for outpoint in sent.transaction.core.inputs)
    assert spent == amount + sent.change + sent.fee
    assert wallet.balances().total == 31 * DURE - amount - sent.fee


def test_coins_at_one_lock_cost_one_signature(chain: Chain) -> None:
    wallet, tip = funded(chain, *[DURE] * 30, same_lock=True)
    sent = checked(chain, tip, wallet.send(him(25 * DURE), TERMS))
    assert len(sent.transaction.core.inputs) > 25
    assert len(sent.transaction.witnesses) == 1
    assert len(sent.transaction.encoded) < 30 * 37 + 250


def test_an_exact_match_needs_no_change(chain: Chain) -> None:
    """A153"""
    wallet, tip = funded(chain, 10 * DURE, 3 * DURE + 500, 4 * DURE)
    sent = checked(chain, tip, wallet.send(him(7 * DURE), TERMS))
    assert (sent.change, len(sent.transaction.core.inputs), len(sent.transaction.core.outputs)) == (0, 2, 1)


def test_one_grain_short_is_refused_and_enough_is_not(chain: Chain) -> None:
    """A153: both sides of the boundary, without change."""
    wallet, tip = funded(chain, DURE)
    fee = fee_for(TERMS, 210, 1)
    with pytest.raises(InsufficientFundsError, match=r"0\.99999791 DURE and a fee.*1\.00000000 can be spent"):
        wallet.send(him(DURE - fee + 1), TERMS)
    assert wallet.balances().confirmed == DURE
    assert checked(chain, tip, wallet.send(him(DURE - fee), TERMS)).change == 0


def test_change_below_dust_goes_to_the_fee_and_at_dust_comes_back(chain: Chain) -> None:
    """A153"""
    with_change = None
    for left in (DUST_LIMIT - 1, DUST_LIMIT):
        wallet, tip = funded(chain, DURE)
        if with_change is None:
            trial, _ = funded(chain, DURE)
            with_change = trial.send(him(DURE // 2), TERMS).fee
        sent = checked(chain, tip, wallet.send(him(DURE - with_change - left), TERMS))
        assert sent.change == (left if left >= DUST_LIMIT else 0)


def test_dust_alone_pays_nothing(chain: Chain) -> None:
    """A153, A162: coins that cost more to spend than they are worth are left where they are."""
    wallet, _ = funded(chain, *[DUST_LIMIT] * 20)
    high = TERMS._replace(fee_rate=5_000)
    with pytest.raises(InsufficientFundsError):
        wallet.send(him(DUST_LIMIT * 10), high)
    with pytest.raises(InsufficientFundsError, match="worth its fee"):
        wallet.send_all(HIM, high)


def test_an_output_below_dust_is_refused(chain: Chain) -> None:
    wallet, _ = funded(chain, DURE)
    with pytest.raises(PaymentError, match="dust"):
        wallet.send(him(DUST_LIMIT - 1), TERMS)


@pytest.mark.parametrize("amount", [0, -1, PARAMS.total_supply + 1, 2**63])
def test_amounts_that_cannot_exist_are_refused(chain: Chain, amount: int) -> None:
    """A002, A004"""
    wallet, _ = funded(chain, DURE)
    with pytest.raises(PaymentError):
        wallet.parse_payment(wallet.new_address(), amount)
    with pytest.raises(PaymentError):
        wallet.send(him(amount), TERMS)


def test_send_all_leaves_nothing_and_takes_the_fee_out(chain: Chain) -> None:
    """A153"""
    wallet, tip = funded(chain, 10 * DURE, 20 * DURE, DURE)
    sent = checked(chain, tip, wallet.send_all(HIM, TERMS))
    assert (sent.change, sent.left) == (0, 0)
    assert [o.value for o in sent.transaction.core.outputs] == [31 * DURE - sent.fee]
    assert wallet.balances().total == 0


def test_send_all_leaves_what_is_not_worth_its_fee(chain: Chain) -> None:
    wallet, _ = funded(chain, DURE, DUST_LIMIT)
    high = TERMS._replace(fee_rate=5_000)
    sent = wallet.send_all(HIM, high)
    assert (sent.left, len(sent.transaction.core.inputs)) == (1, 1)


def test_the_payments_bear_the_fee_if_asked(chain: Chain) -> None:
    wallet, tip = funded(chain, 10 * DURE)
    payments = [Payment(HIM, Amount(3 * DURE)), Payment(lock(8), Amount(2 * DURE)), Payment(lock(7), Amount(DURE))]
    sent = checked(chain, tip, wallet.send(payments, TERMS, bearers=range(3)))
    paid = {o.lock: o.value for o in sent.transaction.core.outputs}
    part, rest = divmod(sent.fee, 3)
    assert (paid[HIM], paid[lock(8)], paid[lock(7)]) == (3 * DURE - part - rest, 2 * DURE - part, DURE - part)
    assert sent.change == 4 * DURE


def test_all_that_is_there_can_be_sent_if_the_payment_bears_the_fee(chain: Chain) -> None:
    wallet, tip = funded(chain, 10 * DURE, 20 * DURE)
    sent = checked(chain, tip, wallet.send(him(30 * DURE), TERMS, bearers=[0]))
    assert (sent.change, wallet.balances().total) == (0, 0)
    poor, _ = funded(chain, 700)
    with pytest.raises(InsufficientFundsError, match="less than dust"):
        poor.send(him(700), TERMS, bearers=[0])


class TestFees:
    """A152"""

    @pytest.mark.parametrize("rate", [0, MIN_FEE_RATE - 1])
    def test_a_rate_below_the_relays_is_refused_unless_forced(self, chain: Chain, rate: int) -> None:
        """A152"""
        wallet, tip = funded(chain, DURE)
        low = TERMS._replace(fee_rate=rate)
        with pytest.raises(FeeError, match="no node relays it"):
            wallet.send(him(DURE // 2), low)
        chain.builder.coins(chain.mine(tip, [wallet.send(him(DURE // 2), low, force=True).transaction]))

    @pytest.mark.parametrize("rate", [-1, 10**9 + 1, 2**63, 2**64])
    def test_an_impossible_rate_is_refused_even_if_forced(self, chain: Chain, rate: int) -> None:
        """A152"""
        wallet, _ = funded(chain, DURE)
        with pytest.raises(FeeError, match="fee rate is"):
            wallet.send(him(DURE // 2), TERMS._replace(fee_rate=rate), force=True)

    def test_a_fee_above_the_cap_is_refused_unless_forced(self, chain: Chain) -> None:
        """A152"""
        wallet, _ = funded(chain, 40 * DURE)
        at_cap = TERMS._replace(fee_rate=MAX_FEE * 1000 // 243)
        wallet.send(him(39 * DURE), at_cap)
        wallet, _ = funded(chain, 40 * DURE)
        above = TERMS._replace(fee_rate=MAX_FEE * 1000 // 240)
        with pytest.raises(FeeError, match=r"above 0\.10000000"):
            wallet.send(him(39 * DURE), above)
        assert wallet.balances().confirmed == 40 * DURE
        assert wallet.send(him(39 * DURE), above, force=True).fee > MAX_FEE

    def test_more_than_a_tenth_is_refused_but_for_small_change(self, chain: Chain) -> None:
        """A152"""
        wallet, _ = funded(chain, DURE)
        high = TERMS._replace(fee_rate=SMALL_FEE * 1000 // 243 + 1_000)
        with pytest.raises(FeeError, match="10 %"):
            wallet.send(him(SMALL_FEE * 10), high)
        wallet.send(him(SMALL_FEE * 11), high)
        low, _ = funded(chain, DURE)
        assert low.send(him(1_000), TERMS).fee > 100


def test_the_same_request_pays_once(chain: Chain) -> None:
    """A155: a retry after a time-out gets the same transaction, over a restart too."""
    world = outside()
    wallet, _ = funded(chain, 10 * DURE, 20 * DURE, world=world)
    first = wallet.send(him(DURE), TERMS, request_id="order 7")
    for again in (wallet, reopened(world)):
        second = again.send(him(DURE), TERMS._replace(fee_rate=9_999), request_id="order 7")
        assert second == replace(first, again=True)
        assert again.balances().total == 30 * DURE - DURE - first.fee
    with pytest.raises(PaymentError, match="another payment"):
        wallet.send(him(2 * DURE), TERMS, request_id="order 7")
    with pytest.raises(PaymentError, match="another payment"):
        wallet.send_all(HIM, TERMS, request_id="order 7")
    assert wallet.send(him(DURE), TERMS, request_id="order 8").transaction != first.transaction
    everything = wallet.send_all(HIM, TERMS, request_id="all")
    assert wallet.send_all(HIM, TERMS, request_id="all").transaction == everything.transaction


def test_a_request_whose_payment_was_given_up_is_not_paid_under_its_name(chain: Chain) -> None:
    """A155: whoever holds the first could still have it mined; so could whoever holds one that lost a coin."""
    wallet, tip = funded(chain, 10 * DURE)
    first = wallet.send(him(DURE), TERMS, request_id="order 7")
    wallet.abandon(first.transaction.txid)
    with pytest.raises(PaymentError, match="given up or lost a coin"):
        wallet.send(him(DURE), TERMS, request_id="order 7")
    chain.follow(wallet, chain.mine(tip, [first.transaction]))
    assert wallet.send(him(DURE), TERMS, request_id="order 7") == replace(first, again=True)


def test_a_request_that_our_own_node_refused_is_made_anew(chain: Chain) -> None:
    """A155: nobody else ever saw the first."""
    world = outside()
    wallet, _ = funded(chain, 10 * DURE, world=world)
    first = wallet.send(him(DURE), TERMS, request_id="order 7")
    wallet.refuse(first.transaction.txid)
    assert wallet.balances().confirmed == 10 * DURE
    second = reopened(world).send(him(DURE), TERMS._replace(fee_rate=2_000), request_id="order 7")
    assert not second.again
    assert second.fee > first.fee


def test_two_payments_at_once_never_share_a_coin(chain: Chain) -> None:
    """A155"""
    wallet, tip = funded(chain, *[3 * DURE] * 6)
    sent = [wallet.send(him(2 * DURE), TERMS).transaction for _ in range(6)]
    spent = Counter(outpoint for tx in sent for outpoint in tx.core.inputs)
    assert max(spent.values()) == 1
    chain.builder.coins(chain.mine(tip, sent))


def test_an_unconfirmed_chain_ends_where_the_relay_would_end_it(chain: Chain) -> None:
    wallet, tip = funded(chain, 10 * DURE)
    sent = [wallet.send(him(DURE // 10), TERMS).transaction for _ in range(MAX_CHAIN)]
    with pytest.raises(PaymentError, match="wait until the last payments are mined"):
        wallet.send(him(DURE // 10), TERMS)
    chain.follow(wallet, chain.mine(tip, sent[:1]))
    wallet.send(him(DURE // 10), TERMS)


def test_a_locked_wallet_pays_nothing_and_is_not_changed(chain: Chain) -> None:
    """A151: locked, it hands out addresses and follows the chain; a payment is made whole or not at all."""
    world = outside()
    wallet = Wallet.create(PARAMS, world, passphrase="secret", cost=KdfCost(14, 1))
    gift = chain.gift(chain.base, [(lock_of(wallet.new_address()), DURE)])
    wallet.lock()
    tip = chain.mine(chain.base, [gift])
    chain.follow(wallet, tip)
    assert wallet.balances().confirmed == DURE
    before = wallet.new_address(), wallet.info()
    for _ in range(2):
        with pytest.raises(WalletLockedError):
            wallet.send(him(DURE // 2), TERMS, request_id="x")
    assert wallet.info() == before[1]
    assert wallet.balances().confirmed == DURE
    wallet.unlock("secret")
    sent = checked(chain, tip, wallet.send(him(DURE // 2), TERMS, request_id="x"))
    wallet.lock()
    # The same request needs no key: it was paid.
    assert wallet.send(him(DURE // 2), TERMS, request_id="x") == replace(sent, again=True)


def test_a_payment_is_durable_before_anybody_sees_it(chain: Chain) -> None:
    """A143: the change address too: after a crash the change is ours, and its index is not handed out again."""
    world = outside()
    wallet, tip = funded(chain, 10 * DURE, world=world)
    sent = wallet.send(him(DURE), TERMS)
    again = reopened(world)
    assert again.rebroadcast() == [sent.transaction]
    chain.follow(again, chain.mine(tip, [sent.transaction]))
    assert again.balances().confirmed == sent.change
    second = again.send(him(DURE), TERMS)
    change_locks = [o.lock for tx in (sent, second) for o in tx.transaction.core.outputs if again.is_mine(o.lock)]
    assert len(set(change_locks)) == 2


def test_too_many_recipients_or_none_are_refused(chain: Chain) -> None:
    wallet, _ = funded(chain, DURE)
    for payments in ([], him(1_000) * 4_096):
        with pytest.raises(PaymentError, match="pays 1 to"):
            wallet.send(payments, TERMS)
    with pytest.raises(PaymentError, match="memo"):
        wallet.send(him(1_000), TERMS, memo=bytes(97))
    for name in ("", "x" * 257):
        with pytest.raises(PaymentError, match="name of a request"):
            wallet.send(him(1_000), TERMS, request_id=name)


@pytest.mark.parametrize("damage", ["typo", "network", "case", "swap"])
def test_a_mistyped_address_pays_nobody(damage: str) -> None:
    """A147"""
    wallet = new_wallet()
    address = new_wallet(outside(), mnemonic=OTHER_WORDS).new_address()
    wrong = {
        "typo": address[:-1] + ("q" if address[-1] != "q" else "p"),
        "network": "r" + address[1:],
        "case": address[:-1] + address[-1].upper() if address[-1].isalpha() else address.capitalize(),
        "swap": address[:20] + address[21] + address[20] + address[22:],
    }[damage]
    if wrong != address:
        with pytest.raises(AddressError):
            wallet.parse_payment(wrong, 1_000)


def test_the_log_tells_of_a_payment_and_of_no_secret(chain: Chain) -> None:
    """A150"""
    world = outside()
    wallet, _ = funded(chain, DURE, world=world)
    wallet.send(him(DURE // 2), TERMS)
    assert isinstance(world.log, Silent)
    events = dict(world.log.lines)
    assert set(events["payment_made"]) == {"txid", "inputs", "bytes", "fee"}
    assert "abandon" not in repr(world.log.lines)


def test_keys_have_the_lock_that_selection_reckons_with() -> None:
    assert LockId(lock(3)) != lock(4)
    assert Key(bytes(33)).key == bytes(33)
