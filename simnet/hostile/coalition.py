"""All hostile peers of a simulation: their machines, their hash power, and a node that tells them of the chain."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress

from consensus.errors import ConsensusError, NotYet
from consensus.merkle import merkle_root
from consensus.params import Params
from consensus.pow import next_bits
from consensus.state import ChainState
from consensus.subsidy import block_subsidy
from consensus.types import Amount, Block, BlockHash, Header, LockId, Transaction
from miner.search import NONCES, search
from node.block_template import coinbase_with, make_coinbase
from node.chain import ChainManager
from node.relay_policy import PolicyError
from node.storage.errors import StorageError
from p2p.transport import Address
from simnet.errors import NodeDown
from simnet.hostile.assets import AssetFraud
from simnet.hostile.behaviour import Behaviour
from simnet.hostile.library import BEHAVIOURS
from simnet.hostile.link import HostileLink
from simnet.hostile.treasury import Treasury
from simnet.mining import Miner
from simnet.sim_node import SimNode
from simnet.simulation import Simulation
from wallet.errors import WalletError
from wallet.results import Payment

TICK_SECONDS = 1.0
REDIAL_ODDS = 0.2
"""Of each missing link at each tick: an attacker comes again, and again."""
_WORKING_CAPITAL = 100_000_000
"""Grain that the treasury is given, if it has none."""
_PAYMENT = 100_000
"""Grain of a payment that is made to be abused."""


def build_block(
    params: Params,
    parent: ChainState,
    lock: LockId,
    transactions: Sequence[Transaction],
    *,
    now: int,
    extranonce: int,
    more_reward: int = 0,
    seconds_ahead: int = 0,
) -> Block:
    """Return a block with its work done, for better or worse.

    Args:
        now: UNIX seconds.
        more_reward: grain beyond what it may take.
        seconds_ahead: how far from now it claims to be; never below what its parent allows.
    """
    height = parent.height + 1
    bits, _ = next_bits(params, parent.anchor, parent.height, parent.times[-1])
    coinbase = coinbase_with(make_coinbase(height, block_subsidy(params, height) + more_reward, lock), extranonce)
    whole = (coinbase, *transactions)
    root = merkle_root([tx.wtxid for tx in whole])
    time = max(parent.median_time + 1, now + seconds_ahead)
    found = search(Header(1, parent.hash, root, time, bits, 0), NONCES)
    if found is None:
        raise ValueError("no nonce does")
    return Block(found, whole)


class Machine:
    """One hostile machine: a behaviour, and a link to each of its victims."""

    def __init__(self, coalition: Coalition, behaviour: Behaviour, host: str, victims: Sequence[Address]) -> None:
        self.behaviour = behaviour
        self.victims = list(victims)
        self._coalition = coalition
        self._network = coalition.sim.network.host(host)
        self._links: dict[Address, HostileLink | None] = {}
        self._dials: dict[asyncio.Task[None], None] = {}
        self.dials = 0
        """How often it has connected."""

    def tick(self) -> None:
        """Dial where there is no link, and go on where there is one."""
        for victim in self.victims:
            link = self._links.get(victim)
            if victim in self._links and (link is None or not link.gone):
                if link is not None and not link.gone:
                    link.age += 1
                    self.behaviour.totals["ticks"] += 1
                    (self.behaviour.tick if link.ready else self.behaviour.early_tick)(link)
            elif victim not in self._links or self.behaviour.rng.random() < REDIAL_ODDS:
                self._links[victim] = None
                task = asyncio.create_task(self._dial(victim), name="hostile dial")
                self._dials[task] = None
                task.add_done_callback(self._dials.pop)

    async def _dial(self, victim: Address) -> None:
        link = HostileLink(self.behaviour)
        try:
            await self._network.connect(victim, link)
        except OSError:
            del self._links[victim]
        else:
            self.dials += 1
            self._links[victim] = link

    async def stop(self) -> None:
        """Cut all links."""
        self._network.is_up = False
        for task in list(self._dials):
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        for link in self._links.values():
            if link is not None:
                link.abort()


class Coalition:
    """Satisfies `Adversary`. Made in a running simulation; `start` begins, `stop` ends it.

    Attributes:
        machines: by the order of adding.
    """

    def __init__(self, sim: Simulation, spy: SimNode) -> None:
        """
        Args:
            spy: a node of the simulation with a wallet, honest in itself, through which the chain is known.
        """
        self.sim = sim
        self.spy = spy
        self.params = sim.params
        self.rng = random.Random(f"{sim.seed} hostile")
        self._treasury = Treasury(sim.params, self.rng)
        self.lock = self._treasury.lock
        self.machines: list[Machine] = []
        self._timer: asyncio.TimerHandle | None = None
        self._miner: Miner | None = None
        self._turn = self._count = 0
        self._payment: Transaction | None = None
        self._payment_height = -1
        self._making: asyncio.Task[None] | None = None
        self._seen: BlockHash | None = None
        self._provided: BlockHash | None = None
        self._providing: asyncio.Task[None] | None = None

    # --- life -------------------------------------------------------------------------------------------------

    def add(self, name: str, victims: Sequence[SimNode]) -> Machine:
        """Add one hostile machine."""
        self._count += 1
        number = self._count
        behaviour = BEHAVIOURS[name](self, number)
        host = f"10.{200 + number % 50}.{number // 50}.1"
        machine = Machine(self, behaviour, host, [victim.address for victim in victims])
        self.machines.append(machine)
        self.say("hostile_peer_added", behaviour=name, host=host)
        return machine

    def start(self, share: float = 0.0) -> None:
        """Begin.

        Args:
            share: of hash power, in the unit in which the simulation's miners have theirs.
        """
        self._tick()
        if share:
            self._miner = Miner(share, self.spy.next_bits, self._found)
            self.sim.mining.add(self._miner)

    async def dismiss(self) -> None:
        """Send all machines away; others may be added. The hash power stays."""
        for machine in self.machines:
            await machine.stop()
        self.machines.clear()

    async def stop(self) -> None:
        """End: all links are cut, and nobody mines any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._miner is not None:
            self.sim.mining.remove(self._miner)
        await self.dismiss()
        for task in (self._making, self._providing):
            if task is not None:
                await task
        # What is on the way still arrives; then the victims know that nobody is there.
        await asyncio.sleep(1)

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        if self.spy.is_up:
            self._provide()
            for machine in self.machines:
                machine.tick()

    def _provide(self) -> None:
        """At each new tip, take the next step towards one asset of each kind, if somebody is there to abuse them."""
        if self._provided != self.spy.tip and any(isinstance(each.behaviour, AssetFraud) for each in self.machines):
            self._provided = self.spy.tip
            self._providing = asyncio.create_task(self._take_a_step(), name="hostile treasury")

    async def _take_a_step(self) -> None:
        with suppress(WalletError, StorageError, NodeDown, ConsensusError, NotYet, PolicyError):
            if self.treasury.dure is None:
                # Again at the next block, if nobody takes this one into his.
                await self.spy.pay([(self.lock, _WORKING_CAPITAL)])
            elif (tx := self.treasury.beginning()) is not None:
                await self.spy.node.submit_transaction(tx)

    def _found(self) -> None:
        """Work is due: the next miner among the machines may use it."""
        miners = [machine.behaviour for machine in self.machines if machine.behaviour.mines]
        if miners and self.spy.is_up:
            self._turn += 1
            miners[self._turn % len(miners)].found_block()

    # --- Adversary --------------------------------------------------------------------------------------------

    @property
    def chain(self) -> ChainManager | None:
        """What the spy knows of the chain."""
        return self.spy.chain if self.spy.is_up else None

    @property
    def now(self) -> int:
        """UNIX seconds, by the spy's clock."""
        return self.spy.clock.time()

    def build(self, parent: ChainState, transactions: Sequence[Transaction] = (), **odd: int) -> Block:
        """Return a block with real work."""
        return build_block(
            self.params, parent, self.lock, transactions, now=self.now, extranonce=self.rng.getrandbits(64), **odd
        )

    @property
    def treasury(self) -> Treasury:
        """What it owns at the spy's tip; at the one before, while the spy is down."""
        if self.spy.is_up and self._seen != self.spy.tip:
            self._seen = self.spy.tip
            self._treasury.look(self.spy.height, self.spy.store.coins(), self.spy.store.assets())
        return self._treasury

    def own_payment(self) -> Transaction | None:
        """Return a valid payment out of the spy's wallet, one for each block; None if there is none yet."""
        if not self.spy.is_up:
            return None
        if self._payment is None or self._payment_height != self.spy.height:
            self._payment, self._payment_height = None, self.spy.height
            self._making = asyncio.create_task(self._make_payment(), name="hostile payment")
        return self._payment

    async def _make_payment(self) -> None:
        """Have the spy's wallet make a payment, and forget it."""
        wanted = [Payment(self.lock, Amount(_PAYMENT))]
        with suppress(WalletError, StorageError, NodeDown):
            service = self.spy.wallet
            sent = await service.ask(lambda wallet: wallet.send(wanted, service.terms))
            await service.ask(lambda wallet: wallet.abandon(sent.transaction.txid))
            self._payment = sent.transaction

    def say(self, event: str, **facts: object) -> None:
        """Put something into the log of the simulation."""
        self.sim.events.say("hostile", event, **facts)
