"""`sim`: how fast a simulated network is; `crowd`: a thousand nodes in one process, which takes some ten minutes."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

from consensus.types import GRAIN_PER_DURE
from p2p.transport import Address, Link
from scripts.benchmarks.harness import Bound, Figure, Measure, Sample
from scripts.benchmarks.programs import Program
from simnet.conditions import INTERNET, Conditions
from simnet.loop import run_virtual
from simnet.network import SimNetwork
from simnet.simulation import Simulation, simulate
from wallet.errors import WalletError

TEN_SECONDS = 4 * 3_600.0
PAYMENT_SECONDS = 20.0
HEALS = 20
LINKS, ROUNDS = 200, 500
CROWD, CROWD_SECONDS = 1_000, 6 * 3_600.0


def take_sim(_kind: type[Program]) -> Iterator[Sample]:
    """Ten nodes with wallets, a block a minute and three payments a minute, each verified by all; and one delivery."""
    began = time.perf_counter()
    payments = simulate(_ten, seed=1, log_level="warning")
    yield Sample("sim_speed", TEN_SECONDS / (time.perf_counter() - began))
    yield Sample("sim_payments", payments)
    began = time.perf_counter()
    run_virtual(_deliver)
    yield Sample("sim_delivery", (time.perf_counter() - began) / (LINKS * ROUNDS) * 1e6)

    for seed in range(HEALS):
        yield Sample("sim_heal", simulate(_heal, seed=seed, conditions=INTERNET, log_level="warning"))


async def _heal(sim: Simulation) -> float:
    """Return how many virtual seconds after a split of half an hour healed six nodes are on one tip."""
    left, right = await sim.add_nodes(3), await sim.add_nodes(3)
    sim.mine_at_random(dict.fromkeys(sim.nodes, 1.0))
    await sim.sleep(600)
    sim.partition(left, right)
    await sim.sleep(1_800)
    sim.mining.stop()
    while left[0].chain.tip.work == right[0].chain.tip.work:
        await left[0].mine()
    sim.heal()
    return await sim.converged(within=600)


async def _ten(sim: Simulation) -> float:
    """Return how many payments were made."""
    nodes = await sim.add_nodes(10)
    sim.mine_at_random(dict.fromkeys(nodes, 1.0))
    made = 0
    while sim.time < TEN_SECONDS:
        await sim.sleep(PAYMENT_SECONDS)
        payer, payee = sim.rng.sample(nodes, 2)
        with suppress(WalletError):  # nothing to spend yet
            await payer.pay([(await payee.new_lock(), GRAIN_PER_DURE)])
            made += 1
    sim.mining.stop()
    await sim.sleep(10)
    return float(made)


class _Echo:
    """Sends back what comes, so many times."""

    def __init__(self) -> None:
        self.left = ROUNDS // 2
        self.link: Link | None = None

    def connected(self, link: Link) -> None:
        self.link = link

    def data_received(self, data: bytes) -> None:
        self.left -= 1
        if self.link is not None and self.left > 0:
            self.link.write(data)

    def paused(self) -> None: ...
    def writable(self) -> None: ...
    def closed(self, _error: Exception | None) -> None: ...


async def _deliver() -> None:
    network = SimNetwork(random.Random(1), Conditions(latency=0.02))
    for number in range(LINKS):
        await network.listen(Address("10.0.0.2", number + 1), _Echo)
        link = await network.host(f"10.1.{number >> 8}.{number & 255}").connect(
            Address("10.0.0.2", number + 1), _Echo()
        )
        link.write(bytes(100))
    await asyncio.sleep(60)


def take_crowd(_kind: type[Program]) -> Iterator[Sample]:
    """A thousand full nodes, eight outbound peers each, six hours of a chain of a block a minute."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.benchmarks.crowd", str(CROWD), str(CROWD_SECONDS)],
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout)
    yield Sample("crowd_minutes", said["minutes"])
    yield Sample("crowd_cpu", said["cpu_minutes"])
    yield Sample("crowd_memory", said["mebibytes"])
    yield Sample("crowd_height", said["height"])
    yield Sample("crowd_links", said["links"])


MEASURES = {
    "sim": Measure(
        take_sim,
        {
            "sim_speed": Figure("times real time", more_is_better=True, must=Bound(100)),
            "sim_payments": Figure("payments", more_is_better=True),
            "sim_delivery": Figure("µs a delivery", aim=Bound(8)),
            "sim_heal": Figure("s of virtual time"),
        },
        runs=3,
        compared=False,
    ),
    "crowd": Measure(
        take_crowd,
        {
            "crowd_minutes": Figure("min", must=Bound(15)),
            "crowd_cpu": Figure("min of one core"),
            "crowd_memory": Figure("MiB", must=Bound(4_096)),
            "crowd_height": Figure("blocks", more_is_better=True),
            "crowd_links": Figure("links", more_is_better=True),
        },
        runs=1,
        compared=False,
        minutes=10,
    ),
}
