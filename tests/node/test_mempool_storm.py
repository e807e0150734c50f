"""Everything at once, by seed: payments, replacements, packages, blocks, reorgs. After each step all must hold."""

from __future__ import annotations

import random

import pytest

from consensus.errors import ConsensusError, NotYet
from consensus.types import Coin, OutPoint, Transaction
from consensus.validation import MAX_BLOCK_SIGNATURES
from node.mempool_entries import EXPIRY_SECONDS
from node.mempool_graph import score
from node.packages import accept_package
from node.relay_policy import MAX_CHAIN, MIN_FEE_RATE, PolicyError
from tests.support.pool import MATURITY, Pool, forward, outputs_of
from tests.support.rules import outpoint, pay

STEPS = 150
FEES = (0, 300, 1_000, 4_000, 20_000, 90_000)


class Storm:
    """One run: what may be done, drawn by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.pool = Pool(4, max_bytes=25_000)
        self.seen: list[Transaction] = []
        self._coins = 0

    async def step(self) -> None:
        action = self.chance.choice(
            [self.pay] * 4 + [self.replace] * 3 + [self.package] * 4 + [self.mine, self.reorg, self.wait]
        )
        await action()
        self.check()

    def coins(self) -> dict[OutPoint, Coin]:
        """A new confirmed coin, or some output that was seen, spent or not."""
        if self.seen and self.chance.random() < 0.7:
            tx = self.chance.choice(self.seen)
            index = self.chance.randrange(len(tx.core.outputs))
            return outputs_of(tx, index)
        self._coins += 1
        place = outpoint(self._coins)
        self.pool.ledger.coins[place] = Coin(pay(1, 10**9), 1, False)
        return {place: self.pool.ledger.coins[place]}

    async def offer(self, *txs: Transaction) -> None:
        self.seen += txs
        try:
            if len(txs) == 1:
                await self.pool.mempool.accept_transaction(txs[0])
            else:
                await accept_package(self.pool.mempool, txs)
        except (ConsensusError, NotYet, PolicyError):
            pass  # what is refused, and why, other tests say

    def made(self, coins: dict[OutPoint, Coin], fees: tuple[int, ...] = FEES) -> Transaction | None:
        fee = self.chance.choice(fees)
        if sum(coin.output.value for coin in coins.values()) < fee + 100_000:
            return None
        return forward(coins, fee=fee, parts=self.chance.randint(1, 3), memo=self.chance.randbytes(2))

    async def pay(self) -> None:
        coins = self.coins() | (self.coins() if self.chance.random() < 0.3 else {})
        tx = self.made(coins)
        if tx is not None:
            await self.offer(tx)

    async def replace(self) -> None:
        """Spend what one or two others spend, for more."""
        waiting = list(self.pool.mempool)
        if not waiting:
            return
        chosen = self.chance.sample(waiting, min(len(waiting), self.chance.randint(1, 2)))
        places = [place for entry in chosen for place in entry.tx.core.inputs]
        coins = {place: coin for place in places if (coin := self._coin(place)) is not None}
        total = sum(coin.output.value for coin in coins.values())
        fee = min(sum(entry.descendant_fee for entry in chosen) * self.chance.choice([1, 2, 4]), total // 2)
        if coins and total > 100_000:
            await self.offer(forward(coins, fee=fee, memo=self.chance.randbytes(2)))

    def _coin(self, place: OutPoint) -> Coin | None:
        parent = self.pool.mempool.get(place.txid)
        return outputs_of(parent)[place] if parent is not None else self.pool.ledger.coins.get(place)

    async def package(self) -> None:
        parents = [
            tx
            for tx in (self.made(self.coins(), (0, 0, 1_000)) for _ in range(self.chance.randint(1, 3)))
            if tx is not None
        ]
        coins = {place: coin for tx in parents for place, coin in outputs_of(tx, 0).items()}
        # A coin beside them can be spent by another, which takes the child away.
        child = self.made(coins | self.coins()) if coins else None
        if child is not None:
            await self.offer(*parents, child)

    def body(self) -> list[Transaction]:
        """Of what waits as much as chance has it; sometimes something that contradicts the rest."""
        room = self.chance.randint(0, 3_000)
        return [entry.tx for entry in self.pool.mempool.select(room, MAX_BLOCK_SIGNATURES)]

    def rival(self, body: list[Transaction]) -> list[Transaction]:
        spent = {place for tx in body for place in tx.core.inputs}
        for entry in self.pool.mempool:
            coins = {place: self.pool.ledger.coins.get(place) for place in entry.tx.core.inputs}
            if all(coins.values()) and not spent & set(coins):
                whole = {place: coin for place, coin in coins.items() if coin is not None}
                return [forward(whole, fee=1, to=3)]
        return []

    async def mine(self) -> None:
        body = self.body()
        if self.chance.random() < 0.3:
            body += self.rival(body)
        self.pool.mempool.on_tip_changed(self.pool.ledger.mine(body, to=2))

    async def reorg(self) -> None:
        depth = min(self.chance.randint(1, 3), self.pool.ledger.tip.height - MATURITY)
        if depth > 0:
            bodies: list[list[Transaction]] = [[] for _ in range(depth + self.chance.randint(-1, 1))]
            self.pool.mempool.on_tip_changed(self.pool.ledger.reorg(depth, *bodies, to=self.chance.randint(4, 9)))

    async def wait(self) -> None:
        self.pool.clock.now += self.chance.choice([60, 3_600, EXPIRY_SECONDS // 3])

    def check(self) -> None:
        mempool = self.pool.mempool
        mempool.check_invariants()
        for entry in mempool:
            assert entry.ancestor_count <= 10 * MAX_CHAIN
            assert not entry.sponsored or entry.worth >= score(MIN_FEE_RATE, 1_000)
        # All of it is a valid block, in the order of coming and in the order of a template.
        for order in (list(mempool), mempool.select(10**7, MAX_BLOCK_SIGNATURES)):
            assert len(order) == len(mempool)
            self.pool.ledger.mine([entry.tx for entry in order], to=2)
            self.pool.ledger.disconnect()


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_comes_the_mempool_stays_whole_within_its_bound_and_minable(seed: int) -> None:
    """A198, A199."""
    storm = Storm(seed)
    for _ in range(STEPS):
        await storm.step()
    assert len(storm.seen) > STEPS // 3
