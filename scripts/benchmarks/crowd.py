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


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / MEBI


def _tell(seconds: float, height: int) -> None:
    print(
        f"{seconds / 3600:.1f} h, height {height}: {time.process_time():.0f} s of one core, {_peak():.0f} MiB",
        file=sys.stderr,
        flush=True,
    )


async def _story(nodes: int, seconds: float) -> Crowd:
    sim = Simulation(seed=1, log_level="warning", check=False)
    crowd = await live(sim, nodes, seconds, _tell)
    await sim.close()
    return crowd


def main() -> int:
    """Live, and print what it took as JSON."""
    nodes, seconds = int(sys.argv[1]), float(sys.argv[2])
    began, began_cpu = time.monotonic(), time.process_time()
    crowd = run_virtual(lambda: _story(nodes, seconds), max_turns=10 * MAX_TURNS)
    print(
        json.dumps(
            {
                **crowd._asdict(),
                "minutes": (time.monotonic() - began) / 60,
                "cpu_minutes": (time.process_time() - began_cpu) / 60,
                "mebibytes": _peak(),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
