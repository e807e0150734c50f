"""Many nodes at once, for figures: how far one core and some memory go."""

from __future__ import annotations

from typing import NamedTuple

from node.peer_settings import PeerSettings
from simnet.errors import InvariantBroken
from simnet.simulation import Simulation

OUTBOUND = 8
PING_SECONDS = 600.0
"""Between two pings on a link, instead of 30: pings would be four of five messages, and show nothing."""


class Crowd(NamedTuple):
    """What became of it."""

    nodes: int
    height: int
    links: int


async def gather(sim: Simulation, count: int, outbound: int = OUTBOUND) -> None:
    """Add nodes without wallets, each of which dials `outbound` others, drawn at random, and nobody twice."""
    chosen: list[list[int]] = []
    for number in range(count):
        others = [other for other in range(count) if other != number]
        dialled: list[int] = []
        while len(dialled) < min(outbound, (count - 1) // 2):
            other = sim.rng.choice(others)
            if other not in dialled and (other > number or number not in chosen[other]):
                dialled.append(other)
        chosen.append(dialled)
    for number, dialled in enumerate(chosen):
        settings = PeerSettings(
            bind=sim.host(number + 1),
            connect=tuple(sim.host(other + 1) for other in dialled),
            discovery=False,
            max_outbound=0,
            ping_seconds=PING_SECONDS,
        )
        await sim.add_node(wallet=False, settings=settings)
    await sim.until(lambda: all(node.peers >= min(outbound, (count - 1) // 2) for node in sim.nodes), 60, "links")


async def live(sim: Simulation, count: int, seconds: float) -> Crowd:
    """Have `count` nodes mine with equal shares for so long; look in the end whether all is right.

    Raises:
        InvariantBroken: a node has other coins than it must.
    """
    await gather(sim, count)
    sim.mine_at_random(dict.fromkeys(sim.nodes, 1.0))
    await sim.sleep(seconds)
    sim.mining.stop()
    # Of two tips with as much work each node keeps the one it saw first: one more block decides.
    await sim.sleep(10)
    await max(sim.nodes, key=lambda node: node.chain.tip.work).mine()
    await sim.converged(within=600)
    tip = sim.nodes[0].chain.tip
    for height in range(1, tip.height + 1):
        block = sim.nodes[0].chain.block_at(height)
        if block is None:
            raise InvariantBroken(f"no block of height {height}")
        sim.model.add(block)
    for node in sim.nodes:
        sim.model.check(node.name, node.store, node.tip)
    return Crowd(count, tip.height, sim.network.open_links // 2)
