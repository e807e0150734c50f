"""Two chains side by side, people with a wallet on each, and a clock for both: swaps as they are told."""

from __future__ import annotations

from typing import Any, NamedTuple

from consensus.assets import asset_id
from consensus.params import Params, sim_params
from consensus.types import Amount, Asset, AssetId, LockId, NewAsset
from node.storage.files import MemoryFiles
from node.storage.memory_store import MemoryDatabase
from tests.support.asset_town import pay
from tests.support.assets import define
from tests.support.chain import ManualClock
from tests.support.village import Village
from tests.support.wallets import TERMS, DyingDatabase, lock_of, new_wallet, reopened
from wallet.assets.making import AssetWish
from wallet.results import Sent
from wallet.store import TABLES
from wallet.swaps.steps import Seen, Side, check_first_lock
from wallet.swaps.terms import Leg, Terms, read_terms, write_terms
from wallet.wallet import Wallet

NORTH = sim_params(5, 0x207FFFFF, 0x207FFFFF)
SOUTH = sim_params(10, 0x207FFFFE, 0x207FFFFE)
MARGIN = 24 * 15
START = 1_800_000_000
DEPTH = 3
"""How deep the other's lock must lie, in these stories."""
ANN, BOB = "ann", "bob"


class Shore(Village):
    """One of the two chains: a village whose blocks tell the time."""

    def __init__(self, params: Params, clock: ManualClock, *people: str) -> None:
        self.clock = clock
        super().__init__(*people, params=params, clock=clock)
        self.mine(12)

    def mine(self, count: int = 1) -> None:
        for _ in range(count):
            waiting = [entry.tx for entry in self.mempool.select(10**6, 10**4)]
            self.clock.now = max(self.clock.now, self.tip.median_time + 1)
            self._connect(self.chain.mine(self.block, waiting, time=self.clock.now))

    async def hand_over(self, sent: Sent) -> Sent:
        if sent.transaction.txid not in self.mempool:
            await self.send(sent.transaction)
        return sent

    @property
    def records(self) -> dict[AssetId, Asset]:
        return dict(self.chain.builder.assets(self.block))

    async def issue(self, person: str, amount: int, **more: Any) -> AssetId:
        definition = define(first=amount, **more)
        wish = AssetWish(issuances=(NewAsset(definition),))
        sent = await self.hand_over(self[person].assets.make_now(wish, {}, TERMS))
        self.mine()
        return asset_id(sent.transaction.core.inputs[0], 0, definition)

    async def give(self, person: str, to: str, asset: AssetId, amount: int) -> None:
        await self.pay_asset(person, asset, amount, lock_of(self[to].new_address()))
        self.mine()

    async def pay_asset(self, person: str, asset: AssetId, amount: int, to: LockId) -> Sent:
        return await self.hand_over(self[person].assets.make_now(pay(asset, amount, to), self.records, TERMS))

    def holds(self, person: str, asset: AssetId | None) -> int:
        """What a person can spend alone, in blocks."""
        if asset is None:
            return self[person].balances().confirmed
        found = {each.asset: each.sums.confirmed for each in self[person].assets.balances()}
        return found.get(asset, 0)

    def restore(self, person: str) -> None:
        """The person's wallet is lost; he has its words, and lets it follow the chain anew."""
        world = self.worlds[person]._replace(files=MemoryFiles(), database=MemoryDatabase(TABLES))
        again = new_wallet(world, mnemonic=self[person].mnemonic(), params=self.params)
        self.wallets[person] = again
        self.worlds[person] = world
        self._follow()

    def restart(self, person: str) -> None:
        """The person's node is killed, and starts again."""
        self.wallets[person] = reopened(self.worlds[person], self.params)
        self._follow()

    def doom(self, person: str, writes: int) -> None:
        """The person's node starts again, and is killed at its next write but so many."""
        world = self.worlds[person]
        dying = DyingDatabase(world.database, 1_000_000)
        self.wallets[person] = reopened(world._replace(database=dying), self.params)
        self._follow()
        dying.left = writes

    def rescan(self, wallet: Wallet) -> None:
        wallet.rescan(1, self.params.genesis_hash, target=self.tip.height)
        self._follow()


class Deal(NamedTuple):
    """What is swapped for what."""

    gives: AssetId | None
    """By Ann, on the north shore."""
    amount: int
    wants: AssetId | None
    """By Ann, of Bob on the south shore."""
    price: int


class Crossing:
    """Ann proposes and Bob takes; each has a wallet on either shore."""

    def __init__(self, *more: str) -> None:
        self.clock = ManualClock(START)
        self.north = Shore(NORTH, self.clock, ANN, BOB, *more)
        self.south = Shore(SOUTH, self.clock, ANN, BOB, *more)

    def pass_time(self, seconds: int) -> None:
        """Let it be later on both chains, to the second, with blocks enough to say so."""
        self.clock.now += seconds
        self.north.mine(6)
        self.south.mine(6)

    def mine(self, count: int = 1) -> None:
        self.north.mine(count)
        self.south.mine(count)

    def wait_until(self, time: int) -> None:
        self.pass_time(time - self.clock.now)

    # What the two do

    def propose(
        self, deal: Deal, *, second_at: int = START + 10 * MARGIN, first_at: int = START + 20 * MARGIN
    ) -> Terms:
        payer, receiver = self.north[ANN].swaps.new_key(), self.south[ANN].swaps.new_key()
        digest = self.south[ANN].swaps.hash_of(receiver)
        first = Leg(NORTH.genesis_hash, 5, deal.gives, Amount(deal.amount), payer, None, first_at)
        second = Leg(SOUTH.genesis_hash, 10, deal.wants, Amount(deal.price), None, receiver, second_at)
        return passed(self.north[ANN].swaps.propose(first, second, digest, self.north.records, self.north.context))

    def accept(self, terms: Terms, person: str = BOB) -> Terms:
        north, south = self.north[person].swaps, self.south[person].swaps
        north.check(terms, self.north.records)
        key = south.new_key()
        accepted = passed(south.accept(terms, north.new_key(), key, self.south.records, self.south.context))
        north.watch(accepted)
        return accepted

    async def lock_first(self, terms: Terms) -> Sent:
        self.south[ANN].swaps.watch(terms)
        return await self.north.hand_over(
            self.north[ANN].swaps.lock(terms, self.north.records, TERMS, self.north.context)
        )

    async def lock_second(self, terms: Terms) -> Sent:
        check_first_lock(self.seen(self.north, BOB, terms), DEPTH)
        return await self.south.hand_over(
            self.south[BOB].swaps.lock(terms, self.south.records, TERMS, self.south.context)
        )

    async def lock_both(self, terms: Terms) -> None:
        """Both lock, each so deep that the other moves."""
        await self.lock_first(terms)
        self.mine(DEPTH)
        await self.lock_second(terms)
        self.mine(DEPTH)

    async def claim_second(self, terms: Terms, secret: bytes | None = None) -> Sent:
        desk, south = self.south[ANN].swaps, self.south
        return await south.hand_over(desk.claim(terms, south.records, TERMS, south.context, secret=secret, depth=DEPTH))

    async def claim_first(self, terms: Terms) -> Sent:
        """Bob reads the secret off the south shore, and nowhere else."""
        secret = self.south[BOB].swaps.state(terms).secret
        return await self.north.hand_over(
            self.north[BOB].swaps.claim(
                terms, self.north.records, TERMS, self.north.context, secret=secret, depth=DEPTH
            )
        )

    async def refund(self, shore: Shore, person: str, terms: Terms) -> Sent:
        return await shore.hand_over(shore[person].swaps.refund(terms, shore.records, TERMS, shore.context))

    # What they see

    def seen(self, shore: Shore, person: str, terms: Terms) -> Seen:
        state = shore[person].swaps.state(terms)
        now = max(shore.tip.median_time, self.clock.now)
        return Seen(state.stage, state.depth, state.secret, shore.tip.median_time, now)

    def both_seen(self, person: str, terms: Terms) -> tuple[Seen, Seen]:
        return self.seen(self.north, person, terms), self.seen(self.south, person, terms)


def passed(terms: Terms) -> Terms:
    """The terms as the other gets them: as bytes."""
    return read_terms(write_terms(terms))


SIDES = {ANN: Side.PROPOSER, BOB: Side.TAKER}
