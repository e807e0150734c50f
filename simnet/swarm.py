"""Swarms: a network under everything at once, then calm, then the question whether all is as it must be.

`scripts/swarm` runs them by the thousand. A plan fixes what is done; the seed fixes the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from consensus.errors import NotYet
from consensus.types import GRAIN_PER_DURE, AssetId
from node.chain import ChainClosedError
from node.chain_stats import coin_statistics
from node.peer_settings import PeerSettings
from node.storage.errors import StorageError
from rpc.errors import RpcError
from simnet.asset_model import right_of
from simnet.bounds import MUST_END, check_bounds, held
from simnet.conditions import BAD, INTERNET, LAN, Conditions
from simnet.errors import InvariantBroken, NodeDown
from simnet.hostile.coalition import Coalition
from simnet.mining import simulated_params
from simnet.sim_node import SimNode
from simnet.simulation import Simulation, simulate
from simnet.swarm_assets import AssetActs, AssetFates
from simnet.swarm_payments import Payments
from simnet.swarm_plan import UNREST_SECONDS, Act, Plan, Step

WEATHERS = (LAN, INTERNET, Conditions(latency=0.1, jitter=0.1, loss=0.02), BAD)
_PEACE_SECONDS = 1_500.0
"""Before the unrest: rewards mature, and everybody meets."""
_CALM_BLOCKS = 3
_MAX_CALM_BLOCKS = 15
_HOSTILE_SHARE = 0.4
"""Of the hash power, where there are hostile peers."""
_VICTIMS = 3
"""Of each hostile peer: all nodes have some of them."""
_DEEP = 6
"""Blocks: a reorg that leaves more is deep."""


class Outcome(NamedTuple):
    """A swarm that ended as it must."""

    digest: str
    """Of the whole log."""
    height: int
    sometimes: Counter[str]
    """How often each rare state was reached."""


class Swarm:
    """One plan, being played."""

    def __init__(self, sim: Simulation, plan: Plan) -> None:
        self._sim = sim
        self._plan = plan
        self._sometimes: Counter[str] = Counter()
        self._payments = Payments(sim, self._sometimes)
        assets = AssetActs(sim, self._payments, self._sometimes)
        sim.tip_listeners.append(AssetFates(sim, self._sometimes).tip_changed)
        self._coalition: Coalition | None = None
        self._wave = -1
        self._acts: dict[Act, Callable[[Step, SimNode, list[SimNode]], Awaitable[None] | None]] = {
            Act.PAY: self._pay,
            Act.ISSUE: assets.issue,
            Act.SEND_ASSET: assets.send,
            Act.REISSUE: assets.reissue,
            Act.ATTEST: assets.attest,
            Act.BURN: assets.burn,
            Act.CLOSE: assets.close,
            Act.MINT: assets.mint,
            Act.MINE: self._mine,
            Act.PARTITION: self._partition,
            Act.CUT: lambda _, node, others: sim.cut(node, others),
            Act.BRIDGE: self._bridge,
            Act.SHUT_OUT: self._shut_out,
            Act.HEAL: lambda *_: self._heal(),
            Act.HOLD: lambda _, node, others: sim.hold(node, others),
            Act.RELEASE: lambda *_: sim.release(),
            Act.WEATHER: lambda step, *_: sim.network.set_conditions(WEATHERS[step.amount % len(WEATHERS)]),
            Act.DISCONNECT: self._disconnect,
            Act.KILL: lambda _, node, __: node.crash(),
            Act.POWER_CUT: lambda _, node, __: node.crash(silent=True),
            Act.DIE_IN_WRITE: lambda step, node, _: node.disk.crash_in_call(step.amount),
            Act.DIE_IN_RECOVERY: self._die_in_recovery,
            Act.WRITE_FAILS: lambda step, node, _: node.disk.fail_call(step.amount),
            Act.DISK_FULL: self._fill_disk,
            Act.STOP: lambda _, node, __: node.stop(),
            Act.START: lambda *_: self._start_all(),
            Act.CLOCK: self._set_clock,
        }

    async def play(self) -> Outcome:
        """Play the plan, then calm down, then look.

        Raises:
            SimulationError: something is not as it must be.
        """
        sim, plan = self._sim, self._plan
        await self._begin()
        begun = sim.time
        for step in plan.steps:
            await sim.sleep(max(0.0, begun + step.at - sim.time))
            await self._send_wave(step.at)
            await self._do(step)
            for node in sim.running:
                check_bounds(node)
        await self._calm()
        await self._look()
        for node in sim.nodes:
            self._sometimes["a write was torn"] += node.disk.torn
        self._count_events()
        return Outcome(sim.events.digest, sim.nodes[0].height, self._sometimes)

    async def _begin(self) -> None:
        sim = self._sim
        for number in range(self._plan.nodes):
            settings = None
            if self._plan.gossip:
                address = sim.host(number + 1)
                settings = PeerSettings(bind=address, advertise_host=address.host, seeds=(sim.host(1),), max_outbound=4)
            node = await sim.add_node(settings=settings)
            node.disk.sync_seconds = self._plan.sync_seconds
        sim.mine_at_random(dict.fromkeys(sim.nodes, 1.0))
        await sim.sleep(_PEACE_SECONDS)
        sim.mine_at_random(dict(zip(sim.nodes, map(float, self._plan.miners), strict=True)))

    async def _send_wave(self, at: float) -> None:
        """Have the hostile peers of this part of the unrest in place."""
        waves, sim = self._plan.hostile, self._sim
        wave = int(at / UNREST_SECONDS * len(waves))
        if not waves or wave == self._wave:
            return
        if self._coalition is None:
            self._coalition = Coalition(sim, sim.nodes[-1])
            self._coalition.start(share=sum(self._plan.miners) * _HOSTILE_SHARE / (1 - _HOSTILE_SHARE))
        await self._coalition.dismiss()
        self._wave = wave
        for name in waves[min(wave, len(waves) - 1)]:
            victims = sim.rng.sample(sim.nodes, min(_VICTIMS, len(sim.nodes)))
            self._coalition.add(name, victims)
            self._sometimes[f"hostile: {name}"] += 1

    async def _do(self, step: Step) -> None:
        sim = self._sim
        node = sim.nodes[step.node % len(sim.nodes)]
        others = [sim.nodes[number % len(sim.nodes)] for number in step.others]
        sim.events.say("swarm", step.act, node=node.name, others=step.others, amount=step.amount)
        # A node may be down, or die over it, its wallet closed meanwhile: that is part of it.
        with suppress(StorageError, ChainClosedError, NotYet, NodeDown, RpcError):
            result = self._acts[step.act](step, node, others)
            if result is not None:
                await result

    # --- acts -------------------------------------------------------------------------------------------------

    async def _pay(self, step: Step, node: SimNode, others: list[SimNode]) -> None:
        payee = others[0]
        if not (node.is_up and payee.is_up):
            return
        lock = await payee.new_lock()
        await self._payments.take(node, node.pay([(lock, step.amount * GRAIN_PER_DURE)]))

    async def _mine(self, step: Step, node: SimNode, _: list[SimNode]) -> None:
        if node.is_up:
            await node.mine(step.amount)

    def _partition(self, _: Step, __: SimNode, others: list[SimNode]) -> None:
        self._sim.partition(others, [node for node in self._sim.nodes if node not in others])

    def _bridge(self, _: Step, node: SimNode, others: list[SimNode]) -> None:
        rest = [other for other in self._sim.nodes if other not in others]
        self._sim.network.bridge([n.host for n in others], [n.host for n in rest], node.host)

    def _shut_out(self, _: Step, node: SimNode, others: list[SimNode]) -> None:
        node.node.set_partition([other.address for other in others if other is not node])

    def _heal(self) -> None:
        self._sim.heal()
        for node in self._sim.running:
            node.node.set_partition([])

    def _disconnect(self, _: Step, node: SimNode, __: list[SimNode]) -> None:
        if node.is_up and node.node.peers:
            node.node.peer_manager.disconnect(node.node.peers[0], "a swarm")

    async def _die_in_recovery(self, step: Step, node: SimNode, _: list[SimNode]) -> None:
        node.crash()
        node.disk.crash_in_call(step.amount)
        try:
            await node.start(reindex=True)
        except StorageError:
            self._sometimes["a crash during recovery"] += 1

    def _fill_disk(self, step: Step, node: SimNode, _: list[SimNode]) -> None:
        node.disk.capacity = node.disk.used + step.amount

    def _set_clock(self, step: Step, node: SimNode, _: list[SimNode]) -> None:
        node.clock.skew = float(step.amount)

    async def _start_all(self) -> None:
        for node in self._sim.nodes:
            if not node.is_up:
                node.disk.capacity = None
                with suppress(StorageError):
                    await node.start()

    # --- the end ----------------------------------------------------------------------------------------------

    async def _calm(self) -> None:
        """All faults end, and a few more blocks come: after that there is no excuse."""
        sim = self._sim
        sim.events.say("swarm", "calm")
        if self._coalition is not None:
            await self._coalition.stop()
        sim.mining.stop()
        sim.release()
        sim.network.set_conditions(LAN)
        for node in sim.nodes:
            node.disk.no_faults()
            node.disk.capacity = None
            node.clock.skew = 0.0
        await sim.sleep(1)
        for node in sim.nodes:
            if not node.is_up:
                await node.start()
        for node in sim.nodes:
            await node.forget_waiting()
        self._heal()
        # Links that died without a word are noticed by their pings.
        await sim.sleep(240)
        await sim.until(lambda: all(node.peers for node in sim.nodes), 120, "a peer for everybody")
        # What rests on an attestation waits for it; so it may take a block for each of a row of them.
        blocks = 0
        while blocks < _CALM_BLOCKS or (blocks < _MAX_CALM_BLOCKS and self._payments.missing()):
            blocks += 1
            best = max(sim.nodes, key=lambda node: node.chain.tip.work)
            await best.mine()
            await sim.converged(within=120)
            await sim.sleep(60)

    async def _look(self) -> None:
        sim = self._sim
        tip = sim.nodes[0].tip
        wanted = sim.model.state_hash(tip)
        for node in sim.nodes:
            statistics = await coin_statistics(node.chain, node.store)
            if statistics.state_hash != wanted:
                raise InvariantBroken(f"{node.name} has another state hash")
            sim.model.check(node.name, node.store, tip)
            sim.model.check_index(node.name, node.store, tip)
            await self._look_at_wallet(node)
            self._look_for_leaks(node)
        # That its disk failed a node may say: it did.
        errors = [entry for entry in sim.events.errors if entry.event != "storage_failed"]
        if errors:
            raise InvariantBroken(f"a node logged an error: {errors[0]}")
        self._payments.look()

    async def _look_at_wallet(self, node: SimNode) -> None:
        wallet = await node.wallet.current()
        mine: Counter[AssetId | None] = Counter()
        for coin in self._sim.model.states[node.tip].coins.values():
            if wallet.is_mine(coin.output.lock):
                mine[coin.output.asset] += coin.output.value
        balances = wallet.balances()
        if len(node.mempool) or wallet.rebroadcast():
            return
        if balances.total - balances.pending - balances.change != mine[None]:
            raise InvariantBroken(f"the wallet of {node.name} shows {balances}, its coins are worth {mine[None]}")
        held = wallet.assets.balances()
        shown: Counter[AssetId | None] = Counter({each.asset: int(each.sums.confirmed) for each in held})
        shown.update(right_of(each.asset) for each in held if each.authority)
        del mine[None]
        if +shown != mine:
            raise InvariantBroken(f"the wallet of {node.name} shows {held}, and its coins carry {mine}")

    def _look_for_leaks(self, node: SimNode) -> None:
        holds = held(node)
        left = {what: holds[what] for what in MUST_END}
        if any(left.values()):
            raise InvariantBroken(f"{node.name} still has {left}")

    # --- sometimes --------------------------------------------------------------------------------------------

    def _count_events(self) -> None:
        count = self._sometimes
        for entry in self._sim.events.entries:
            facts = entry.facts
            match entry.event:
                case "reorg_done":
                    count["a reorg"] += 1
                    count["a reorg deeper than 6"] += facts["disconnected"] > _DEEP
                    count["a reorg gave payments back"] += bool(facts.get("txs_back_in_mempool"))
                case "crashed":
                    count["a crash within a write"] += "within" in facts
                    count["a crash between writes"] += "within" not in facts
                case "failed":
                    count[f"a node stopped by itself: {facts['why']}"] += 1
                case "not_started":
                    count["a start that failed"] += 1
                case "fork_seen":
                    count["two tips at once"] += 1
                case "payment_offered_again":
                    count["a payment was offered again"] += 1
                case "tip_is_stale":
                    count["a node looked for other peers"] += 1
                case _:
                    pass


RARE = (
    "a reorg deeper than 6",
    "a crash during recovery",
    "a crash within a write",
    "a write was torn",
    "a payment was confirmed",
    "an asset payment was confirmed",
    "an issuance was undone",
    "an attestation was done again",
    "a reissue was undone",
    "an attestation was undone",
    "a burn was undone",
    "a closing was undone",
    "a transfer was undone",
    "more was wanted than is attested",
    "somebody else approved",
    "a payment was offered again",
    "a reorg gave payments back",
    "two tips at once",
    "a node stopped by itself: StorageError",
    "a node stopped by itself: DiskFullError",
    "a start that failed",
)
"""What sixty seeds must have reached, or they test less than they seem to; each is in one of twenty at least."""
RAREST = ("a payment was lost with its coins", "a reserve was attested below the supply")
"""What campaigns must have reached: each is in one of a hundred, or rarer."""


def run_plan(plan: Plan, *, log_level: str = "info", replay: str | None = None) -> Outcome:
    """Play a plan in a simulation of its own.

    Raises:
        SimulationError: something is not as it must be.
    """

    async def story(sim: Simulation) -> Outcome:
        return await Swarm(sim, plan).play()

    return simulate(
        story,
        seed=plan.seed,
        params=simulated_params(plan.spacing),
        log_level=log_level,
        max_seconds=200_000,
        max_turns=20_000_000,
        replay=replay or f"scripts/swarm --seeds 1 --start {plan.seed}{' --hostile' if plan.hostile else ''}",
    )
