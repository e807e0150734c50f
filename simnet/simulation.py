"""A whole network in a test, an experiment or a search for bugs: made from a seed, run in virtual time.

async def story(sim: Simulation) -> None:
    left, right = await sim.add_nodes(2), await sim.add_nodes(2)
    sim.partition(left, right)
    await left[0].mine(2)
    tip = await right[0].mine(3)
    sim.heal()
    await sim.until(lambda: all(node.tip == tip for node in left + right), within=60)

simulate(story, seed=7)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from consensus.params import Params
from node.chain_events import TipChanged
from node.peer_settings import PeerSettings
from p2p.transport import Address
from simnet.conditions import Conditions
from simnet.errors import InvariantBroken, NotReached
from simnet.events import EventLog
from simnet.invariants import ChainModel, check_mempool
from simnet.loop import MAX_SECONDS, MAX_TURNS, START, run_virtual
from simnet.mining import Miner, MiningProcess, simulated_params
from simnet.network import SimNetwork
from simnet.sim_node import SimNode, World

_T = TypeVar("_T")
Group = SimNode | Sequence[SimNode]
POLL_SECONDS = 0.05
"""Between two looks at what is waited for."""
_DIALS = 2
"""How many of the nodes before it a new node dials: a connected network with loops."""


class Simulation:
    """Nodes, the network between them, and everything that may happen to them. Made inside a running virtual loop.

    Attributes:
        rng: for the story's own choices; the parts draw from streams of their own, so that one more draw here
            changes nothing there.
        network, events, model, mining: what the names say; see their classes.
        nodes: all that were ever added, in order.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        params: Params | None = None,
        conditions: Conditions | None = None,
        log_level: str = "info",
        check: bool = True,
    ) -> None:
        """
        Args:
            seed: of everything that is drawn.
            params: the network's; by default one block a minute at about a thousand hashes.
            conditions: of all ways at first.
            log_level: the least that is kept of what nodes log.
            check: whether every node's coins are held against the model at every new tip.
        """
        self.seed = seed
        self.params = params or simulated_params()
        self.rng = random.Random(f"{seed} story")
        self._loop = asyncio.get_running_loop()
        self.events = EventLog(lambda: self.time, log_level)
        self.network = SimNetwork(random.Random(f"{seed} network"), conditions or Conditions())
        self.mining = MiningProcess(self.params, random.Random(f"{seed} mining"))
        self.nodes: list[SimNode] = []
        self.model = ChainModel(self.params)
        self.tip_listeners: list[Callable[[SimNode, TipChanged], None]] = []
        """Told of each change of the tip of each node, once the model knows its blocks; without `check` of none."""
        self._check = check
        self._miners: dict[int, Miner] = {}
        self._world = World(self.params, self.network, self.events, seed, {}, [])

    @property
    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self._loop.time() - START

    @property
    def running(self) -> list[SimNode]:
        """The nodes that are up."""
        return [node for node in self.nodes if node.is_up]

    # --- nodes ------------------------------------------------------------------------------------------------

    def host(self, number: int) -> Address:
        """Return where the node of a number listens."""
        return Address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", self.params.p2p_port)

    async def add_node(
        self,
        connect: Iterable[SimNode] | None = None,
        *,
        wallet: bool = True,
        settings: PeerSettings | None = None,
        start: bool = True,
    ) -> SimNode:
        """Add one machine, and start its node.

        Args:
            connect: whom it dials for ever; None draws two of those that are there.
            wallet: whether it has one.
            settings: how it finds and keeps peers, instead of `connect`; `bind` is set for it.
        """
        number = len(self.nodes) + 1
        if settings is None:
            dialled = self.rng.sample(self.nodes, min(_DIALS, len(self.nodes))) if connect is None else list(connect)
            settings = PeerSettings(
                bind=self.host(number), connect=tuple(node.address for node in dialled), discovery=False, max_outbound=0
            )
        node = SimNode(number, self._world, settings, wallet=wallet)
        if self._check:
            node.on_start.append(self._watch)
        self.nodes.append(node)
        if start:
            await node.start()
        return node

    async def add_nodes(self, count: int, *, wallet: bool = True) -> list[SimNode]:
        """Add nodes; each dials two of those before it, drawn anew."""
        return [await self.add_node(wallet=wallet) for _ in range(count)]

    def _watch(self, node: SimNode) -> None:
        """Hold what a node stores against the model at every new tip."""
        store, chain = node.store, node.chain
        tip = chain.tip
        # Blocks may have been written as the machine died.
        self.model.learn(store, chain.index.get(tip.hash))
        self.model.check(node.name, store, tip.hash)
        chain.tip_listeners.append(lambda change: self._tip_changed(node, change))

    def _tip_changed(self, node: SimNode, change: TipChanged) -> None:
        try:
            for block in change.connected:
                self.model.add(block)
            self.model.check(node.name, node.store, change.new.hash)
            check_mempool(node.name, node.mempool)
            for listener in self.tip_listeners:
                listener(node, change)
        except InvariantBroken as error:
            # Raised here it would be the node's to handle: it is the story's.
            self._world.failures.append(error)

    # --- mining -----------------------------------------------------------------------------------------------

    def mine_at_random(self, shares: dict[SimNode, float]) -> None:
        """Have nodes mine from now on, each with a share of the hash power, instead of those that did."""
        for miner in self._miners.values():
            self.mining.remove(miner)
        self._miners = {
            node.number: Miner(share, node.next_bits, node.mine_later) for node, share in shares.items() if share > 0
        }
        for miner in self._miners.values():
            self.mining.add(miner)

    # --- faults -----------------------------------------------------------------------------------------------

    def partition(self, *groups: Group) -> None:
        """Keep groups of nodes from each other."""
        self.events.say("simulation", "partitioned", groups=" | ".join(_names(group) for group in groups))
        self.network.partition(*(_hosts(group) for group in groups))

    def cut(self, sources: Group, targets: Group) -> None:
        """Let nothing pass from one group to another; the way back stays open."""
        self.events.say("simulation", "cut", sources=_names(sources), targets=_names(targets))
        self.network.cut(_hosts(sources), _hosts(targets))

    def hold(self, sources: Group, targets: Group) -> None:
        """Keep back what passes between groups, until `release`."""
        self.events.say("simulation", "held", sources=_names(sources), targets=_names(targets))
        self.network.hold(_hosts(sources), _hosts(targets))

    def pause(self, node: SimNode) -> None:
        """Keep back all that a node says and hears, as if its process were stopped; its own timers go on."""
        self.hold(node, [other for other in self.nodes if other is not node])

    def release(self, group: Group | None = None) -> None:
        """Let go what is held, of a group or everywhere."""
        self.events.say("simulation", "released", nodes="all" if group is None else _names(group))
        self.network.release(None if group is None else _hosts(group))

    def heal(self) -> None:
        """Open all ways that were cut."""
        self.events.say("simulation", "healed")
        self.network.heal()

    # --- waiting ----------------------------------------------------------------------------------------------

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(seconds)
        self.check()

    async def until(self, true: Callable[[], bool], within: float = 60.0, what: str = "") -> float:
        """Wait until something is true; return how many virtual seconds that took.

        Raises:
            NotReached: it is not, within so many seconds.
        """
        begun = self.time
        while not true():
            self.check()
            if self.time - begun > within:
                raise NotReached(f"not within {within:g} s: {what or 'what was waited for'}")
            await asyncio.sleep(POLL_SECONDS)
        self.check()
        return self.time - begun

    async def converged(self, nodes: Sequence[SimNode] | None = None, within: float = 60.0) -> float:
        """Wait until nodes, by default all that run, are on one tip."""
        return await self.until(lambda: len({n.tip for n in nodes or self.running}) == 1, within, "one tip")

    def check(self) -> None:
        """Raise what went wrong beside the story, if something did."""
        if self._world.failures:
            raise self._world.failures[0]

    async def close(self) -> None:
        """Stop everything; nothing may be left of it.

        Raises:
            InvariantBroken: a task or a link is.
        """
        self.mining.stop()
        while self._world.tasks:
            await asyncio.wait(list(self._world.tasks))
        self.heal()
        self.release()
        for node in self.nodes:
            await node.stop()
        self.check()
        # What was still on the way arrives at nobody.
        await asyncio.sleep(120)
        left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if left or self.network.open_links:
            raise InvariantBroken(f"left over: tasks {sorted(left)}, {self.network.open_links} ends of links")


def _members(group: Group) -> Sequence[SimNode]:
    return [group] if isinstance(group, SimNode) else group


def _hosts(group: Group) -> list[str]:
    return [node.host for node in _members(group)]


def _names(group: Group) -> str:
    return " ".join(node.name for node in _members(group))


def simulate(
    story: Callable[[Simulation], Awaitable[_T]],
    *,
    seed: int = 0,
    params: Params | None = None,
    conditions: Conditions | None = None,
    log_level: str = "info",
    max_seconds: float = MAX_SECONDS,
    max_turns: int = MAX_TURNS,
    replay: str | None = None,
) -> _T:
    """Run a story on a simulation of its own, to its end; return what it returns. See the module's example.

    Args:
        seed: of everything that is drawn: the same again is the same run.
        replay: the command that repeats it, for whoever reads of its failure.

    Raises:
        SimulationError: a node broke an invariant, nothing would ever happen again, or never end.
    """
    made: list[Simulation] = []

    async def whole() -> _T:
        sim = Simulation(seed=seed, params=params, conditions=conditions, log_level=log_level)
        made.append(sim)
        result = await story(sim)
        await sim.close()
        return result

    try:
        return run_virtual(whole, max_seconds=max_seconds, max_turns=max_turns)
    except BaseException as error:
        if made:
            error.add_note(f"seed {seed}, after {made[0].events.count} events; the newest of them:")
            error.add_note("\n".join(list(made[0].events.lines())[-12:]))
            for trace in made[0].events.tracebacks[:3]:
                error.add_note(trace)
        error.add_note(f"To repeat it: {replay or f'the same story with seed={seed}'}")
        raise
