"""The figures of README.md, measured from outside on real networks: `scripts/bench [MEASURE ...]`.

Each measure runs several times and prints its median, minimum and maximum. Load goes to 127.0.0.1 only, and every
process that is started is ended by the command that ends its network.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from devnet.calls import CallRefused, Calls
from devnet.errors import Unavailable
from devnet.folder import NetworkFolder, NodeRecord
from rpc.schema import BlockchainInfo, NetworkInfo
from scripts.bench_pool import measure_mempool, measure_template

DURE = Path(sys.executable).parent / "dure"
PATIENCE = 120.0
"""Seconds for anything that is waited for; whatever takes longer is a failure, not a figure."""
SETTLE = 5.0
"""Seconds that a node is left alone before its memory is read."""


class Network:
    """A network of processes in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = NetworkFolder(folder)
        self.calls = Calls(self.folder)
        self._environment = os.environ | {"DURE_DIR": str(folder), "DURE_NODE": ""}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a `dure` command."""
        return subprocess.Popen(
            [DURE, *arguments], env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def run(self, *arguments: str) -> None:
        """Run a `dure` command to its end."""
        started = self.start(*arguments)
        _, said = started.communicate(timeout=PATIENCE)
        if started.returncode:
            raise SystemExit(f"dure {' '.join(arguments)} ended with {started.returncode}: {said.decode()}")

    @property
    def nodes(self) -> tuple[NodeRecord, ...]:
        """The nodes, from the folder."""
        return self.folder.load().nodes

    def wait(self, what: str, reached: Callable[[], bool]) -> float:
        """Ask until it is so; return the moment."""
        deadline = time.monotonic() + PATIENCE
        while not reached():
            if time.monotonic() > deadline:
                raise SystemExit(f"not within {PATIENCE:.0f} s: {what}")
            time.sleep(0.005)
        return time.monotonic()

    def on_one_tip(self, height: int = 0) -> bool:
        """Tell whether all nodes are on one tip of at least `height`."""
        infos = self.calls.of_each(self.nodes, lambda node: self.calls.ask(node, BlockchainInfo, "getblockchaininfo"))
        return len({info.bestblockhash for info in infos}) == 1 and infos[0].blocks >= height

    def is_connected(self) -> bool:
        """Tell whether each node has a connection to every other."""
        infos = self.calls.of_each(self.nodes, lambda node: self.calls.ask(node, NetworkInfo, "getnetworkinfo"))
        return all(info.connections >= len(infos) - 1 for info in infos)


@contextmanager
def network(*arguments: str) -> Iterator[Network]:
    """A network that is up, and ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="dure-bench-") as folder:
        made = Network(Path(folder))
        made.run("up", "--detach", *arguments)
        try:
            yield made
        finally:
            made.run("down")


def measure_start(runs: int) -> Iterator[float]:
    """Seconds from `dure up -n 5` to five nodes, all connected, on one tip above genesis."""
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="dure-bench-") as folder:
            made = Network(Path(folder))
            began = time.monotonic()
            command = made.start("up", "-n", "5", "--detach")

            def is_there(made: Network = made) -> bool:
                try:
                    return made.folder.exists() and made.is_connected() and made.on_one_tip(1)
                except (Unavailable, CallRefused):
                    return False

            yield made.wait("five connected nodes on one tip", is_there) - began
            command.communicate(timeout=PATIENCE)
            made.run("down")


def measure_memory(runs: int) -> Iterator[float]:
    """MiB resident of an idle node with a wallet and one peer."""
    for _ in range(max(1, runs // 2)):
        with network("-n", "2", "--miners", "0") as made:
            time.sleep(SETTLE)
            for node in made.nodes:
                if node.process is not None:
                    yield resident(node.process.pid)


def resident(pid: int) -> float:
    """Return the resident memory of a process, in MiB."""
    said = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(said.stdout) / 1024


def measure_payment(runs: int) -> Iterator[float]:
    """Seconds from the call of `sendtoaddress` to the payment in all five mempools."""
    with network("-n", "5", "--miners", "0") as made:
        nodes = made.nodes
        address = str(made.calls.call(nodes[3], "getnewaddress"))
        for _ in range(runs):
            began = time.monotonic()
            txid = made.calls.call(nodes[0], "sendtoaddress", address, "0.01")

            def everywhere(txid: str = txid) -> bool:
                return all(made.calls.of_each(nodes, lambda node: txid in made.calls.call(node, "getrawmempool")))

            yield made.wait("the payment in all mempools", everywhere) - began


def measure_heal(runs: int) -> Iterator[float]:
    """Seconds from `dure heal` to one tip, two nodes with one block against three nodes with two."""
    with network("-n", "5", "--miners", "0") as made:
        for _ in range(runs):
            made.run("partition", "0 1 | 2 3 4")
            made.run("mine", "0", "1")
            made.run("mine", "4", "2")
            began = time.monotonic()
            command = made.start("heal")
            yield made.wait("one tip", made.on_one_tip) - began
            command.communicate(timeout=PATIENCE)


class Measure(NamedTuple):
    """One figure: how it is taken, and what it must be."""

    take: Callable[[int], Iterator[float]]
    unit: str
    bound: float
    """The median must be below."""
    runs: int


MEASURES = {
    "start": Measure(measure_start, "s", 6.0, 5),
    "memory": Measure(measure_memory, "MiB", 72.0, 4),
    "payment": Measure(measure_payment, "s", 0.5, 20),
    "heal": Measure(measure_heal, "s", 3.0, 20),
    "template": Measure(measure_template, "ms", 100.0, 20),
    "mempool": Measure(measure_mempool, "times", 1.5, 3),
}


class Figure(msgspec.Struct):
    """What was measured."""

    name: str
    unit: str
    runs: int
    median: float
    least: float
    most: float
    bound: float


def taken(name: str, measure: Measure, runs: int | None) -> Figure:
    """Take a measure, showing progress, and sum it up."""
    values: list[float] = []
    for value in measure.take(runs or measure.runs):
        values.append(value)
        print(f"\r{name}: {len(values)} …", end="", file=sys.stderr, flush=True)
    print("\r", end="", file=sys.stderr)
    middle = statistics.median(values)
    return Figure(name, measure.unit, len(values), middle, min(values), max(values), measure.bound)


def main() -> int:
    """Take the measures that were named, or all; return 1 if a median is not below its bound."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "measures", nargs="*", metavar="MEASURE", help=f"of {', '.join(MEASURES)}; all if none is named"
    )
    parser.add_argument("--runs", type=int, help="how often each is taken")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    unknown = set(arguments.measures) - set(MEASURES)
    if unknown:
        parser.error(f"there is no measure {', '.join(sorted(unknown))}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    figures = []
    for name in arguments.measures or MEASURES:
        figure = taken(name, MEASURES[name], arguments.runs)
        figures.append(figure)
        print(
            f"{figure.name:<8} median {figure.median:7.3f} {figure.unit}, {figure.least:.3f} to {figure.most:.3f} "
            f"({figure.runs} runs; must be below {figure.bound:g})"
        )
    if arguments.json:
        arguments.json.write_bytes(json.dumps(msgspec.to_builtins(figures), indent=2).encode() + b"\n")
    return int(any(figure.median >= figure.bound for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
