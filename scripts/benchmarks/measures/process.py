"""`start`, `memory`: one node by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator

from scripts.benchmarks.harness import Bound, Figure, Measure, Sample
from scripts.benchmarks.programs import Program, resident

SETTLE = 2.0
"""Seconds that a node is left alone before its memory is read."""
BLOCKS = 1_000


def take_start(kind: type[Program]) -> Iterator[Sample]:
    """Seconds from the start of the process to its first answer, on a fresh folder and a warm disk."""
    node = kind()
    try:
        node.spawn()
        yield Sample("start", node.wait_ready())
    finally:
        node.__exit__()


def take_memory(kind: type[Program]) -> Iterator[Sample]:
    """Memory of an idle node, and after a thousand blocks."""
    with kind() as node:
        time.sleep(SETTLE)
        yield Sample("memory_idle", resident(node.pid))
        node.mine(BLOCKS)
        time.sleep(SETTLE)
        yield Sample("memory_blocks", resident(node.pid))


MEASURES = {
    "start": Measure(take_start, {"start": Figure("s", must=Bound(0.5), aim=Bound(0.4))}, runs=7),
    "memory": Measure(
        take_memory,
        {
            "memory_idle": Figure("MiB", must=Bound(72), aim=Bound(1.0, of_peer=True)),
            "memory_blocks": Figure("MiB", must=Bound(80), aim=Bound(1.0, of_peer=True)),
        },
        runs=3,
    ),
}
