"""Many nodes, and everything at once: cuts, heals, lost links, blocks on all sides. A seed replays a story."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

from consensus.types import Block
from simnet.conditions import Conditions
from simnet.loop import run_virtual
from simnet.network import SimNetwork
from tests.support.chain import ChainBuilder
from tests.support.nodes import RunningNode, World, converged, until

NODES = 7


class Storm:
    """One story: what a seed does to a network of nodes."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = World(
            seed=seed, network=SimNetwork(conditions=Conditions(latency=self.rng.choice((0.001, 0.01, 0.08))))
        )
        self.chain = ChainBuilder()
        self.nodes: list[RunningNode] = []

    async def start(self, stack: AsyncExitStack) -> None:
        """A connected network: each node dials one or two of those before it."""
        for number in range(NODES):
            before = [node.address for node in self.nodes]
            dials = self.rng.sample(before, min(number, self.rng.choice((1, 2))))
            self.nodes.append(await stack.enter_async_context(self.world.node(dials)))

    async def mine(self, node: RunningNode) -> Block:
        """A block on the tip that the node has."""
        block = self.chain.mine(node.chain.tip.hash, to=self.rng.randrange(1, 9))
        await node.feed([block])
        return block

    async def step(self) -> None:
        node = self.rng.choice(self.nodes)
        match self.rng.randrange(8):
            case 0:
                self.split()
            case 1:
                self.heal()
            case 2 if node.node.peers:
                node.node.peer_manager.disconnect(self.rng.choice(node.node.peers), "a storm")
            case 3:
                for _ in range(self.rng.randrange(1, 12)):
                    await self.mine(node)
            case _:
                await self.mine(node)
        await asyncio.sleep(self.rng.expovariate(0.5))

    def split(self) -> None:
        left = set(self.rng.sample(range(NODES), self.rng.randrange(1, NODES)))
        for number, node in enumerate(self.nodes):
            others = [other.address for place, other in enumerate(self.nodes) if (place in left) != (number in left)]
            node.node.set_partition(others)

    def heal(self) -> None:
        for node in self.nodes:
            node.node.set_partition([])

    async def calm(self) -> None:
        """Whole again, and one more block: all end on one tip, of the most work there is."""
        self.heal()
        await until(lambda: all(node.peers for node in self.nodes), within=15)
        await asyncio.sleep(5)
        highest = max(self.nodes, key=lambda node: node.chain.tip.work)
        last = await self.mine(highest)
        await converged(self.nodes, within=10)
        assert all(node.chain.tip.hash == last.hash for node in self.nodes)
        for node in self.nodes:
            assert node.node.sync.blocks_on_their_way == 0
            assert not any(entry["log_level"] == "error" for entry in node.entries)
            assert all(peer.score == 0 for peer in node.node.peers)
            assert not any("invalid" in entry["reason"] for entry in node.logged("peer_disconnected"))


@pytest.mark.parametrize("seed", range(6))
def test_after_any_storm_all_nodes_are_on_the_branch_with_the_most_work(seed: int) -> None:
    """A058, A085, A120"""

    async def story() -> None:
        storm = Storm(seed)
        async with AsyncExitStack() as stack:
            await storm.start(stack)
            for _ in range(40):
                await storm.step()
            await storm.calm()

    run_virtual(story)
