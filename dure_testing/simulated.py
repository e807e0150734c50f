"""A simulated network: the same nodes inside this process, on a virtual clock that moves only while a test waits.

Every call of a test runs the loop until it is answered; in between the whole network stands still. A seed repeats a
test to the byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from consensus.codec import parse_hash
from consensus.types import LockId
from dure_testing.network import CallRefused, Network, Node, TookTooLong
from node.api.catalogue import ALL
from node.api.long_answers import encode_in_pieces
from node.api.method import Method
from node.api.services import Services
from node.branch_mining import BranchMiner
from node.config import NodeConfig
from node.skewed_clock import SkewedClock
from node.storage.files import MemoryFiles
from node.version import AGENT, VERSION
from node.workers import InlineWorkers
from rpc.encoding import decode_any, encode
from rpc.errors import RpcError
from simnet.errors import NotReached
from simnet.loop import VirtualLoop
from simnet.sim_node import SimNode
from simnet.simulation import Simulation

METHODS: dict[str, Method] = {method.name: method for method in ALL}
FIRST_COINS = 2
"""Rewards that each wallet gets at the start."""


class SimulatedNode(Node):
    """A node of a simulation, asked as if by JSON-RPC."""

    def __init__(self, number: int, sim: SimNode, run: Callable[[Awaitable[Any]], Any]) -> None:
        self.number = number
        self.sim = sim
        self._run = run
        self._services: tuple[int, Services] | None = None

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.sim.is_up

    def call(self, method: str, *params: Any) -> Any:
        """See `Node`."""
        return self._run(self._call(method, params))

    async def _call(self, name: str, params: tuple[Any, ...]) -> Any:
        method = METHODS.get(name)
        if method is None:
            raise CallRefused(self.number, -32601, "Method not found")
        try:
            # As JSON would carry them: an amount given as a Decimal arrives as a number.
            given = decode_any(encode(params))
            result = await method.function(self._current(), **method.bind(given))
        except RpcError as error:
            raise CallRefused(self.number, int(error.code), error.message) from None
        return decode_any(b"".join(encode_in_pieces(result)))

    def _current(self) -> Services:
        """Return the parts of the run that is on now, as JSON-RPC's methods want them."""
        if self._services is None or self._services[0] != self.sim.starts:
            self._services = self.sim.starts, self._make_services()
        return self._services[1]

    def _make_services(self) -> Services:
        sim, params, clock = self.sim, self.sim.params, SkewedClock(self.sim.clock, MemoryFiles())
        return Services(
            params=params,
            config=NodeConfig(network="local"),
            clock=clock,
            log=sim.log,
            **sim.parts._asdict(),
            branches=BranchMiner(params, sim.chain, InlineWorkers(), clock, sim.rng),
            wallet=sim.wallet,
            backups=MemoryFiles(),
            fail=_refuse_to_fail,
            stop=_refuse_to_stop,
            started=clock.monotonic(),
            version=VERSION,
            agent=AGENT,
            disk_size=lambda: 0,
            mining_lock=sim.mining_lock,
            methods=METHODS,
        )


def _refuse_to_stop() -> None:
    raise RpcError(-1, "A simulated node is ended by the network's kill")


def _refuse_to_fail(error: Exception) -> None:
    raise error


class SimulatedNetwork(Network):
    """Nodes inside this process.

    Attributes:
        sim: the simulation, for what is not here: lines, disks, clocks, power cuts (docs/simulation.md).
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self._runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.seed = seed
        try:
            self.sim: Simulation = self._run(self._begin(size))
        except BaseException:
            self._runner.close()
            raise
        self.nodes = [SimulatedNode(number, node, self._run) for number, node in enumerate(self.sim.nodes)]

    async def _begin(self, size: int) -> Simulation:
        sim = Simulation(seed=self.seed)
        nodes = [await sim.add_node(connect=sim.nodes) for _ in range(size)]
        await sim.until(lambda: all(node.peers == size - 1 for node in nodes), what="all connected")
        locks: list[LockId] = [await node.new_lock("first coins") for node in nodes]
        for lock in locks * FIRST_COINS:
            await nodes[0].mine(1, lock)
        await nodes[0].mine(sim.params.coinbase_maturity, LockId(bytes(32)))
        await sim.converged()
        return sim

    def _run(self, work: Awaitable[Any]) -> Any:
        async def whole() -> Any:
            return await work

        return self._runner.run(whole())

    @property
    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self.sim.time

    def _find_block(self, node: int, address: str) -> None:
        found = self[node].call("generatetoaddress", 1, address)
        if len(found) != 1 or self.sim.nodes[node].tip != parse_hash(found[0]):
            raise TookTooLong(f"node {node} found no block")

    def partition(self, *groups: Iterable[int]) -> None:
        """See `Network`."""
        named = [[self.sim.nodes[number] for number in group] for group in groups]
        rest = [node for node in self.sim.nodes if not any(node in group for group in named)]
        self._run(_now(lambda: self.sim.partition(*named, *([rest] if rest else []))))

    def heal(self) -> None:
        """See `Network`."""
        self._run(_now(self.sim.heal))

    def kill(self, node: int) -> None:
        """See `Network`."""
        self._run(_now(self.sim.nodes[node].crash))

    def start(self, node: int) -> None:
        """See `Network`."""
        self._run(self.sim.nodes[node].start())

    def pass_time(self, seconds: float) -> None:
        """See `Network`."""
        self._run(self.sim.sleep(seconds))

    def wait_for(self, reached: Callable[[], object], within: float = 60.0, what: str = "") -> None:
        """See `Network`."""
        until = self.time + within
        while not reached():
            if self.time > until:
                raise TookTooLong(
                    f"not within {within:g} virtual seconds: {what or 'what was waited for'}; seed {self.seed}"
                )
            self.pass_time(0.05)

    def close(self) -> None:
        """End all of it, and hold it to having left nothing over."""
        try:
            self._run(self.sim.close())
        except NotReached as error:
            raise TookTooLong(str(error)) from None
        finally:
            self._runner.close()


async def _now(happen: Callable[[], None]) -> None:
    """Let something happen inside the loop."""
    happen()
