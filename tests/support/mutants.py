"""How tests run under `scripts/mutants`: the quickest first, and none much longer than it takes with the true rules.

mutmut loads this with `-p`, in a folder where it has written down how long each test takes.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from types import FrameType

import hypothesis
import pytest

STATS = Path("mutmut-stats.json")
MAX_MEMORY = 2 * 1024**3
"""Bytes of one process: a mutant that grows for ever is soon dead."""
TIMES = 10.0
"""So many times what a test takes, and no more; the loop of such a mutant has no end."""
LEAST_SECONDS = 4.0
OUT_OF_TIME = 36
"""mutmut's code for it."""

took: dict[str, float] = {}


def pytest_configure() -> None:
    # A mutant dies by the first counterexample, which is neither made small nor kept.
    hypothesis.settings.register_profile(
        "mutants",
        deadline=None,
        database=None,
        derandomize=True,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("mutants")
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    if STATS.is_file():
        took.update(json.loads(STATS.read_text())["duration_by_test"])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: took.get(item.nodeid, 0.0))


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(OUT_OF_TIME)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Allow a test its time: of the processor, so that a busy machine kills no mutant."""
    if item.nodeid in took:
        signal.signal(signal.SIGPROF, _end)
        signal.setitimer(signal.ITIMER_PROF, LEAST_SECONDS + TIMES * took[item.nodeid])
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
