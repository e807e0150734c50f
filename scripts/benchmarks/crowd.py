"""`python -m scripts.benchmarks.crowd NODES SECONDS`: a crowd of simulated nodes in a process of its own."""

from __future__ import annotations

import json
import resource
import sys
import time

from simnet.crowd import Crowd, live
from simnet.loop import MAX_TURNS, run_virtual
from simnet.simulation import Simulation

MEBI = 1024 * 1024


async def _story(nodes: int, seconds: float) -> Crowd:
    sim = Simulation(seed=1, log_level="warning", check=False)
    crowd = await live(sim, nodes, seconds)
    await sim.close()
    return crowd


def main() -> int:
    """Live, and print what it took as JSON."""
    nodes, seconds = int(sys.argv[1]), float(sys.argv[2])
    began, began_cpu = time.monotonic(), time.process_time()
    crowd = run_virtual(lambda: _story(nodes, seconds), max_turns=10 * MAX_TURNS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(
        json.dumps(
            {
                **crowd._asdict(),
                "minutes": (time.monotonic() - began) / 60,
                "cpu_minutes": (time.process_time() - began_cpu) / 60,
                "mebibytes": peak / MEBI,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
