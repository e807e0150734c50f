"""Assets that wait for a block: seen from their ancestors, tied where records tie them, valid in every template."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

import pytest

from consensus.assets import authority_id
from consensus.codec import MAX_BLOCK_SIZE
from consensus.errors import ConsensusError, NotYet, Rule
from consensus.types import (
    Amount,
    Asset,
    AssetId,
    Attestation,
    Coin,
    NewAsset,
    OutPoint,
    Output,
    Reissue,
    SupplyKind,
    Transaction,
)
from consensus.validation import MAX_BLOCK_SIGNATURES
from node.relay_policy import PolicyError, Refusal
from node.waiting_assets import AssetChange, seen_after
from tests.support.assets import asset_core, carry, define, hold, new_id
from tests.support.pool import FEE, PARAMS, Pool, outputs_of
from tests.support.rules import lock, pay

Coins = dict[OutPoint, Coin]
WON = define(SupplyKind.RESERVED)


def value(coins: Mapping[OutPoint, Coin]) -> int:
    return sum(coin.output.value for coin in coins.values() if coin.output.asset is None)


def transaction(
    pool: Pool,
    coins: Coins,
    outputs: Iterable[Output] = (),
    issuances: Iterable[NewAsset | Reissue | Attestation] = (),
    burns: Mapping[AssetId, int] | None = None,
    book: Mapping[AssetId, Asset] | None = None,
    fee: int = FEE,
) -> Transaction:
    """A transaction of these coins that pays what is left of their DURE back to key 1 as its first output."""
    core = asset_core(coins, [pay(1, value(coins) - fee), *outputs], issuances, burns)
    return carry(coins, core, pool.ledger.assets if book is None else book, params=PARAMS)


class Bank:
    """A pool where a reserved asset is defined, whose authority key 1 holds; nothing is attested yet."""

    def __init__(self) -> None:
        self.pool = Pool(rewards=8)
        self._next = 0
        coins = self.purse()
        self.won = new_id(coins, WON)
        self.right = authority_id(self.won)
        self.born = transaction(self.pool, coins, [hold(1, self.right)], [NewAsset(WON)])
        self.pool.mine([self.born])

    def purse(self) -> Coins:
        """A ripe reward of key 1, another each time."""
        self._next += 1
        return self.pool.reward(self._next)

    @property
    def authority(self) -> Coins:
        ledger = self.pool.ledger
        return {o: coin for o, coin in ledger.coins.items() if coin.output.asset == self.right}

    def attest(self, sequence: int, total: int, coins: Coins | None = None) -> Transaction:
        attestation = Attestation(self.won, sequence, Amount(total))
        return transaction(self.pool, coins or self.purse(), (), [attestation])

    def issue(self, amount: int, coins: Coins | None = None) -> Transaction:
        coins = {**(coins or self.purse()), **self.authority}
        return transaction(
            self.pool, coins, [hold(1, self.right), hold(2, self.won, amount)], [Reissue(self.won, Amount(amount))]
        )


async def refused(pool: Pool, tx: Transaction) -> Rule | Refusal | str:
    with pytest.raises((ConsensusError, NotYet, PolicyError)) as error:
        await pool.mempool.accept_transaction(tx)
    found = error.value
    if isinstance(found, ConsensusError):
        return found.rule
    return found.reason if isinstance(found, NotYet | PolicyError) else ""


def mine_template(pool: Pool) -> int:
    """Mine what a template would hold, through all the rules; return how many that were."""
    chosen = [entry.tx for entry in pool.mempool.select(MAX_BLOCK_SIZE - 1_000, MAX_BLOCK_SIGNATURES)]
    pool.mine(chosen)
    return len(chosen)


async def test_an_asset_is_issued_and_handed_on_before_any_of_it_is_mined() -> None:
    pool = Pool()
    definition = define(SupplyKind.REISSUABLE, 100)
    coins = pool.reward(1)
    name = new_id(coins, definition)
    born = transaction(pool, coins, [hold(1, name, 100), hold(1, authority_id(name))], [NewAsset(definition)])
    await pool.mempool.accept_transaction(born)
    coins = outputs_of(born)
    more = transaction(
        pool, coins, [hold(2, name, 150), hold(1, authority_id(name))], [Reissue(name, Amount(50))], book={}
    )
    await pool.mempool.accept_transaction(more)
    coins = outputs_of(more, 0, 1)
    burned = transaction(pool, coins, [hold(3, name, 140)], burns={name: 10}, book={})
    await pool.mempool.accept_transaction(burned)
    assert mine_template(pool) == 3
    assert pool.ledger.assets[name].supply == 140
    assert not len(pool.mempool)


async def test_amounts_of_an_asset_are_not_dust() -> None:
    """One unit of an NFT is worth keeping; one grain of DURE beside it is not."""
    pool = Pool()
    coins = pool.reward(1)
    name = new_id(coins, define())
    good = transaction(pool, coins, [hold(2, name)], [NewAsset(define())])
    dusty = transaction(pool, coins, [hold(2, name), pay(2, 1)], [NewAsset(define())], fee=FEE + 1)
    assert await refused(pool, dusty) is Refusal.DUST
    await pool.mempool.accept_transaction(good)


async def test_inflation_is_refused_by_the_mempool_too() -> None:
    """A067, A068: nothing enters that a block must not hold, and the sender is to blame."""
    bank = Bank()
    assert await refused(bank.pool, bank.issue(1)) == Rule.ABOVE_RESERVE
    coins = bank.purse()
    forged = transaction(bank.pool, coins, [hold(2, bank.won, 1)])
    assert await refused(bank.pool, forged) is Rule.ASSET_CONSERVATION
    stolen = transaction(bank.pool, bank.purse(), [hold(2, bank.won, 1)], [Reissue(bank.won, Amount(1))])
    assert await refused(bank.pool, stolen) is Rule.NO_AUTHORITY
    assert not bank.pool.mempool.wants(forged.wtxid)


async def test_what_may_be_early_is_blamed_on_nobody() -> None:
    """An attestation of an asset that is not here yet, or an issue before the attestation: welcome later."""
    bank = Bank()
    unknown = transaction(bank.pool, bank.purse(), (), [Attestation(AssetId(b"?" * 32), 1, Amount(5))])
    assert await refused(bank.pool, unknown) == Rule.UNKNOWN_ASSET
    assert bank.pool.mempool.wants(unknown.wtxid)
    early, issue = bank.attest(1, 100), bank.issue(60)
    assert await refused(bank.pool, issue) == Rule.ABOVE_RESERVE
    bank.pool.mine([early])
    await bank.pool.mempool.accept_transaction(issue)


async def test_two_that_rest_on_one_reserve_wait_only_in_line() -> None:
    """An attestation and what depends on it: the second is taken if it descends from the first, else later."""
    bank = Bank()
    bank.pool.mine([bank.attest(1, 100)])
    first = bank.attest(2, 200)
    await bank.pool.mempool.accept_transaction(first)
    assert await refused(bank.pool, bank.attest(3, 50)) is Refusal.RESERVE_IN_USE
    assert await refused(bank.pool, bank.issue(10)) is Refusal.RESERVE_IN_USE
    child = bank.issue(150, outputs_of(first, 0))
    assert await refused(bank.pool, bank.issue(201, outputs_of(first, 0))) == Rule.ABOVE_RESERVE
    await bank.pool.mempool.accept_transaction(child)
    assert await refused(bank.pool, bank.attest(4, 300)) is Refusal.RESERVE_IN_USE
    last = bank.attest(4, 300, outputs_of(child, 0))
    await bank.pool.mempool.accept_transaction(last)
    assert mine_template(bank.pool) == 3
    record = bank.pool.ledger.assets[bank.won]
    assert (record.supply, record.sequence, record.total) == (150, 4, 300)


async def test_several_handed_in_together_are_tied_in_the_same_way() -> None:
    bank = Bank()
    bank.pool.mine([bank.attest(1, 100)])
    first = bank.attest(2, 200)
    child = bank.issue(150, outputs_of(first, 0))
    await bank.pool.mempool.accept_together([first, child])
    assert mine_template(bank.pool) == 2
    loose = [bank.attest(3, 300), bank.attest(4, 400)]
    with pytest.raises(PolicyError) as error:
        await bank.pool.mempool.accept_together(loose)
    assert error.value.reason is Refusal.RESERVE_IN_USE


async def test_a_block_with_another_attestation_puts_ours_out() -> None:
    """Its coins are all there, and yet it is stale; what descends from it goes with it, all else stays."""
    bank = Bank()
    bank.pool.mine([bank.attest(1, 100)])
    ours = bank.attest(2, 200)
    child = transaction(bank.pool, outputs_of(ours, 0))
    issue = bank.issue(50)
    for tx in (ours, child):
        await bank.pool.mempool.accept_transaction(tx)
    change = bank.pool.ledger.mine([bank.attest(2, 120), issue])
    told = bank.pool.mempool.on_tip_changed(change)
    assert {(dropped.txid, dropped.reason) for dropped in told.dropped} == {
        (ours.txid, Rule.ATTESTATION_SEQUENCE),
        (child.txid, "lost-parent"),
    }
    bank.pool.mempool.check_invariants()
    assert mine_template(bank.pool) == 0


async def test_a_lower_attestation_in_a_block_stops_what_would_issue_above_it() -> None:
    bank = Bank()
    bank.pool.mine([bank.attest(1, 100)])
    small, large = bank.issue(50), bank.issue(90)
    await bank.pool.mempool.accept_transaction(large)
    told = bank.pool.mempool.on_tip_changed(bank.pool.ledger.mine([bank.attest(2, 60)]))
    assert [(dropped.txid, dropped.reason) for dropped in told.dropped] == [(large.txid, Rule.ABOVE_RESERVE)]
    await bank.pool.mempool.accept_transaction(small)
    told = bank.pool.mempool.on_tip_changed(bank.pool.ledger.mine([bank.attest(3, 50)]))
    assert told.dropped == ()
    assert mine_template(bank.pool) == 1


async def test_a_reorg_gives_back_what_assets_need_in_the_order_that_they_need() -> None:
    """A059, A073: definition, attestation and issue return from a losing branch, and are mined again."""
    bank = Bank()
    attest = bank.attest(1, 100)
    bank.pool.mine([attest])
    issue = bank.issue(70)
    bank.pool.mine([issue])
    before = dict(bank.pool.ledger.assets)
    change = bank.pool.ledger.reorg(3, [], [], [], [])
    told = bank.pool.mempool.on_tip_changed(change)
    bank.pool.mempool.check_invariants()
    assert not bank.pool.ledger.assets
    # The attestation descends from nothing that defines its asset, so it has to come again.
    assert set(told.returned) == {bank.born.txid}
    assert {(dropped.txid, dropped.reason) for dropped in told.dropped} == {
        (attest.txid, Rule.UNKNOWN_ASSET),
        (issue.txid, Rule.ABOVE_RESERVE),
    }
    assert mine_template(bank.pool) == 1
    for tx in (attest, issue):
        await bank.pool.mempool.accept_transaction(tx)
        assert mine_template(bank.pool) == 1
    assert bank.pool.ledger.assets == before


async def test_a_controlled_asset_needs_its_approval_here_too() -> None:
    pool = Pool()
    share = define(first=10, controller=lock(3))
    coins = pool.reward(1)
    name = new_id(coins, share)
    born = transaction(pool, coins, [hold(1, name, 10)], [NewAsset(share)])
    await pool.mempool.accept_transaction(born)
    coins = outputs_of(born)
    book = {name: Asset(share, Amount(10), 0, Amount(0))}
    bare = transaction(pool, coins, [hold(2, name, 10)], book={})
    assert await refused(pool, bare) is Rule.WITNESS_COUNT
    await pool.mempool.accept_transaction(transaction(pool, coins, [hold(2, name, 10)], book=book))
    assert mine_template(pool) == 2


def test_changes_of_ancestors_are_laid_over_the_record_of_the_tip() -> None:
    """Burns elsewhere move the supply meanwhile; attested figures are replaced, supplies are moved."""
    record = Asset(WON, Amount(100), 3, Amount(500))
    before = Asset(WON, Amount(90), 3, Amount(500))
    more = AssetChange(before, Asset(WON, Amount(120), 3, Amount(500)))
    attested = AssetChange(before, Asset(WON, Amount(90), 4, Amount(700)))
    name = AssetId(b"n" * 32)
    assert seen_after({name: record}, []) == {name: record}
    assert seen_after({name: record}, [{name: more}, {name: attested}]) == {
        name: Asset(WON, Amount(130), 4, Amount(700))
    }
    new = AssetChange(None, Asset(WON, Amount(0), 0, Amount(0)))
    assert seen_after({name: None}, [{name: new}]) == {name: new.after}
    assert seen_after({}, [{name: new}]) == {}


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_waits_makes_a_valid_block(seed: int) -> None:
    """A068: random issues, attestations, burns and payments of two reserves, chained and apart; every template holds.

    Blocks from elsewhere with some of the same kind come in between, and reorgs.
    """
    bank, dice = Bank(), random.Random(seed)
    bank.pool.mine([bank.attest(1, 1_000)])
    taken = mined = 0
    for round_ in range(40):
        sequence = bank.pool.ledger.assets[bank.won].sequence if bank.won in bank.pool.ledger.assets else 0
        for _ in range(dice.randint(1, 4)):
            tx = _random_transaction(bank, dice, sequence)
            try:
                await bank.pool.mempool.accept_transaction(tx)
                taken += 1
            except (ConsensusError, NotYet, PolicyError):
                continue
        bank.pool.mempool.check_invariants()
        if dice.random() < 0.3:
            elsewhere = transaction(
                bank.pool, _confirmed(bank), (), [Attestation(bank.won, sequence + 1, Amount(dice.randint(0, 2_000)))]
            )
            bank.pool.mine([elsewhere] if bank.won in bank.pool.ledger.assets else [])
        elif dice.random() < 0.15 and round_ > 5:
            depth = dice.randint(1, 3)
            bank.pool.mempool.on_tip_changed(bank.pool.ledger.reorg(depth, *[[] for _ in range(depth + 1)], to=1))
            bank.pool.mempool.check_invariants()
        else:
            mined += mine_template(bank.pool)
    assert taken > 20
    assert mined > 10


def _confirmed(bank: Bank) -> Coins:
    """The coins of DURE that are ripe and free, one of them."""
    pool = bank.pool
    height = pool.ledger.tip.height + 1
    for outpoint, coin in sorted(pool.ledger.coins.items(), key=lambda item: (item[1].height, item[0].txid)):
        ripe = not coin.coinbase or height >= coin.height + PARAMS.coinbase_maturity
        mine = coin.output.lock == lock(1) and coin.output.asset is None and coin.output.value > 10 * FEE
        if ripe and mine and pool.mempool.spender(outpoint) is None:
            return {outpoint: coin}
    raise AssertionError("no coin is left")


def _random_transaction(bank: Bank, dice: random.Random, sequence: int) -> Transaction:
    """An attestation, an issue, a payment or a burn, of confirmed or of waiting coins."""
    pool = bank.pool
    waiting = [entry.tx for entry in pool.mempool]
    coins = _confirmed(bank)
    if waiting and dice.random() < 0.5:
        parent = dice.choice(waiting)
        if pool.mempool.spender(OutPoint(parent.txid, 0)) is None:
            coins = outputs_of(parent, 0)
    found = dict(pool.ledger.coins)
    for tx in waiting:
        found |= outputs_of(tx)
    free = {o: coin for o, coin in found.items() if pool.mempool.spender(o) is None and coin.output.asset is not None}
    rights = {o: coin for o, coin in free.items() if coin.output.asset == bank.right}
    held = {o: coin for o, coin in free.items() if coin.output.asset == bank.won}
    what = dice.random()
    if what < 0.3:
        attestation = Attestation(bank.won, sequence + dice.randint(1, 3), Amount(dice.randint(0, 2_000)))
        return transaction(pool, coins, (), [attestation])
    if what < 0.6 and rights:
        amount = dice.randint(1, 400)
        outputs = [hold(1, bank.right), hold(1, bank.won, amount)]
        return transaction(pool, {**coins, **rights}, outputs, [Reissue(bank.won, Amount(amount))])
    if held:
        outpoint = dice.choice(list(held))
        amount = held[outpoint].output.value
        burned = dice.randint(0, amount)
        outputs = [hold(1, bank.won, amount - burned)] if burned < amount else []
        burns = {bank.won: burned} if burned else None
        return transaction(pool, {**coins, outpoint: held[outpoint]}, outputs, burns=burns)
    return transaction(pool, coins)
