"""Many nodes at once, for figures: how far one core and some memory go."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from node.peer_settings import PeerSettings
from simnet.errors import InvariantBroken
from simnet.simulation import Simulation

OUTBOUND = 8
_TELL_SECONDS = 1_800.0
_THRESHOLDS = (200_000, 20, 100)
"""For `gc`: garbage is looked for after so many new objects, and rarely among the old."""
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
        # Whoever dials us is linked to us already: in a small crowd some have fewer left to dial.
        free = [other for other in range(count) if other > number or (other < number and number not in chosen[other])]
        chosen.append(sim.rng.sample(free, min(outbound, len(free))))
    for number, dialled in enumerate(chosen):
        settings = PeerSettings(
            bind=sim.host(number + 1),
            connect=tuple(sim.host(other + 1) for other in dialled),
            discovery=False,
            max_outbound=0,
            ping_seconds=PING_SECONDS,
        )
        await sim.add_node(wallet=False, settings=settings)
    await sim.until(lambda: all(node.peers >= min(outbound, count - 1) for node in sim.nodes), 60, "links")


@contextmanager
def patient_collector() -> Iterator[None]:
    """Look for garbage seldom, and not among what is there: millions of objects that stay would take half the time."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


async def live(sim: Simulation, count: int, seconds: float, tell: Callable[[float, int], None] | None = None) -> Crowd:
    """Have `count` nodes mine with equal shares for so long; look in the end whether all is right.

    Args:
        tell: called after each half of an hour, with the virtual seconds so far and the height.

    Raises:
        InvariantBroken: a node has other coins than it must.
    """
    await gather(sim, count)
    with patient_collector():
        sim.mine_at_random(dict.fromkeys(sim.nodes, 1.0))
        end = sim.time + seconds
        while sim.time < end:
            await sim.sleep(min(_TELL_SECONDS, end - sim.time))
            if tell is not None:
                tell(sim.time, sim.nodes[0].height)
        sim.mining.stop()
        return await _look(sim)


async def _look(sim: Simulation) -> Crowd:
    """Bring all to one tip, and hold what each has stored against the model."""
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
    return Crowd(len(sim.nodes), tip.height, sim.network.open_links // 2)
