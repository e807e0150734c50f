"""Splits, storms and sleep: a network is on one tip again soon after they end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from simnet.conditions import BAD, Conditions
from simnet.simulation import Simulation, simulate

SPACING = 60
WITHIN = 10 * SPACING
"""Virtual seconds: ten block times; it takes a fraction of that."""


async def network(sim: Simulation) -> None:
    """Six connected nodes, all of which mine."""
    nodes = await sim.add_nodes(6)
    sim.mine_at_random(dict.fromkeys(nodes, 1.0))
    await sim.sleep(600)


async def ends_on_one_tip(sim: Simulation) -> None:
    """Everything is mended; nobody mines but for one block more, since tips of equal work may stand side by side."""
    sim.mining.stop()
    sim.heal()
    sim.release()
    sim.network.set_conditions(Conditions())
    await sim.sleep(WITHIN - 60)
    await max(sim.nodes, key=lambda node: node.chain.tip.work).mine()
    await sim.converged(within=60)


@pytest.mark.parametrize("seed", range(3))
def test_halves_that_were_apart_for_a_hundred_blocks_are_on_one_tip_soon_after(seed: int) -> None:
    """A120"""

    async def story(sim: Simulation) -> None:
        await network(sim)
        left, right = sim.nodes[:3], sim.nodes[3:]
        sim.partition(left, right)
        # Each half finds a block every two minutes, at first: the difficulty follows.
        await sim.until(lambda: min(left[0].height, right[0].height) > 100, within=40_000)
        assert left[0].tip != right[0].tip
        sim.mining.stop()
        sim.heal()
        took = await sim.converged(within=WITHIN)
        assert took < SPACING

    simulate(story, seed=seed)


async def one_way(sim: Simulation) -> None:
    """Half of the nodes are heard by all and hear only themselves."""
    sim.cut(sim.nodes[:3], sim.nodes[3:])
    await sim.sleep(3_600)


async def bridge(sim: Simulation) -> None:
    """One node sees both halves: that is enough."""
    hosts = [node.host for node in sim.nodes]
    sim.network.bridge(hosts[:3], hosts[3:], hosts[0])
    await sim.sleep(3_600)


async def loss(sim: Simulation) -> None:
    """Three of ten packets are lost, doubled or overtaken."""
    sim.network.set_conditions(Conditions(latency=0.1, jitter=0.2, loss=0.3, duplicate=0.3, reorder=0.3))
    await sim.sleep(3_600)


async def swizzle(sim: Simulation) -> None:
    """One node after the other is clogged, then they come free in another order (swizzle-clogging, FoundationDB)."""
    for _ in range(5):
        order = sim.rng.sample(sim.nodes, 4)
        for node in order:
            sim.pause(node)
            await sim.sleep(sim.rng.uniform(1, 100))
        for node in sim.rng.sample(order, len(order)):
            sim.release(node)
            await sim.sleep(sim.rng.uniform(1, 100))


async def sleep(sim: Simulation) -> None:
    """A machine is suspended for ten minutes (A194), and its clock stood still meanwhile."""
    node = sim.nodes[2]
    sim.pause(node)
    await sim.sleep(600)
    sim.release(node)
    node.clock.jump(-600)
    await sim.sleep(600)
    node.clock.jump(600)


async def tunnels(sim: Simulation) -> None:
    """Bad lines, and a split on top."""
    sim.network.set_conditions(BAD)
    sim.partition(sim.nodes[:2], sim.nodes[2:4], sim.nodes[4:])
    await sim.sleep(3_600)


@pytest.mark.parametrize("storm", [one_way, bridge, loss, swizzle, sleep, tunnels])
def test_after_any_storm_there_is_one_tip(storm: Callable[[Simulation], Awaitable[None]]) -> None:
    """A084, A085, A120, A194"""

    async def story(sim: Simulation) -> None:
        await network(sim)
        await storm(sim)
        await ends_on_one_tip(sim)
        assert sim.nodes[0].height > 15
        assert not sim.events.errors

    simulate(story, seed=1)


def test_over_a_bridge_both_halves_stay_on_one_chain() -> None:
    async def story(sim: Simulation) -> None:
        nodes = [await sim.add_node(connect=sim.nodes) for _ in range(5)]
        hosts = [node.host for node in nodes]
        sim.network.bridge(hosts[:2], hosts[3:], hosts[2])
        sim.mine_at_random(dict.fromkeys(nodes, 1.0))
        await sim.sleep(7_200)
        sim.mining.stop()
        await sim.converged(within=60)
        assert nodes[0].height > 60

    simulate(story)


def test_the_clocks_of_a_hundred_peers_do_not_move_ours() -> None:
    """A193: nobody is told what time it is; a block dated too far ahead waits, whoever has it."""

    async def story(sim: Simulation) -> None:
        honest = await sim.add_node()
        liars = [await sim.add_node(connect=[honest], wallet=False) for _ in range(100)]
        for liar in liars:
            liar.clock.jump(7_200)
        await sim.until(lambda: honest.peers == 100)
        before = honest.clock.time() - int(sim.time)
        await liars[0].mine(2)
        await sim.sleep(600)
        assert honest.clock.time() - int(sim.time) == before
        assert honest.height == 0
        await sim.sleep(7_200)
        assert honest.height == 2

    simulate(story)
