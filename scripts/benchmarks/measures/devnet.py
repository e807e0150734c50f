"""`up`, `payment`, `heal`, `snapshot`: whole networks of processes, as `dure` starts them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from devnet.calls import CallRefused, Calls
from devnet.errors import Unavailable
from devnet.folder import NetworkFolder, NodeRecord
from rpc.schema import BlockchainInfo, NetworkInfo
from scripts.benchmarks.harness import Bound, Figure, Measure, Sample
from scripts.benchmarks.programs import PATIENCE, Program, until

DURE = Path(sys.executable).parent / "dure"
PAYMENTS = 20
HEALS = 20
LOADS = 5
SNAPSHOT_BLOCKS = 1_000
BURST = 20
"""Blocks between two settings of the clocks."""


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
        until(what, reached, 0.005)
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


def take_up(_kind: type[Program]) -> Iterator[Sample]:
    """Seconds from `dure up -n 5` to five nodes, all connected, on one tip above genesis."""
    with tempfile.TemporaryDirectory(prefix="dure-bench-") as folder:
        made = Network(Path(folder))
        began = time.monotonic()
        command = made.start("up", "-n", "5", "--detach")

        def is_there() -> bool:
            try:
                return made.folder.exists() and made.is_connected() and made.on_one_tip(1)
            except (Unavailable, CallRefused):
                return False

        yield Sample("up", made.wait("five connected nodes on one tip", is_there) - began)
        command.communicate(timeout=PATIENCE)
        made.run("down")


def take_payment(_kind: type[Program]) -> Iterator[Sample]:
    """Seconds from the call of `sendtoaddress` to the payment in all five mempools."""
    with network("-n", "5", "--miners", "0") as made:
        nodes = made.nodes
        address = str(made.calls.call(nodes[3], "getnewaddress"))
        for _ in range(PAYMENTS):
            began = time.monotonic()
            txid = made.calls.call(nodes[0], "sendtoaddress", address, "0.01")

            def everywhere(txid: str = txid) -> bool:
                return all(made.calls.of_each(nodes, lambda node: txid in made.calls.call(node, "getrawmempool")))

            yield Sample("payment", made.wait("the payment in all mempools", everywhere) - began)


def take_heal(_kind: type[Program]) -> Iterator[Sample]:
    """Seconds from `dure heal` to one tip, two nodes with one block against three nodes with two."""
    with network("-n", "5", "--miners", "0") as made:
        for _ in range(HEALS):
            made.run("partition", "0 1 | 2 3 4")
            made.run("mine", "0", "1")
            made.run("mine", "4", "2")
            began = time.monotonic()
            command = made.start("heal")
            yield Sample("heal", made.wait("one tip", made.on_one_tip) - began)
            command.communicate(timeout=PATIENCE)


def take_snapshot(_kind: type[Program]) -> Iterator[Sample]:
    """Seconds to save five nodes with 1,000 blocks, and from the load of them in a new folder to all on that tip."""
    with network("-n", "5", "--miners", "0") as made, tempfile.TemporaryDirectory(prefix="dure-bench-") as place:
        grow(made, SNAPSHOT_BLOCKS)
        began = time.monotonic()
        made.run("snapshot", "save", "big")
        yield Sample("snapshot_save", time.monotonic() - began)
        file = made.folder.path / "snapshots" / "big.snapshot"
        yield Sample("snapshot_size", file.stat().st_size / 1024 / 1024)
        for number in range(LOADS):
            yield Sample("snapshot_load", load_time(Network(Path(place) / str(number)), file))


def load_time(loaded: Network, file: Path) -> float:
    """Load a snapshot, wait until all nodes are on its tip; return the seconds. The network is ended afterwards."""
    began = time.monotonic()
    try:
        loaded.run("snapshot", "load", str(file))
        return loaded.wait("one tip", lambda: loaded.on_one_tip(SNAPSHOT_BLOCKS)) - began
    finally:
        loaded.run("down")


def grow(made: Network, height: int) -> None:
    """Find blocks until there are `height`, with the clocks set ahead, so that none is harder than the ones before."""
    node = made.nodes[0]
    address = str(made.calls.call(node, "getnewaddress"))
    ahead = 3_600
    while (now := int(made.calls.call(node, "getblockcount"))) < height:
        made.run("skew", "all", f"+{ahead}s")
        made.calls.call(node, "generatetoaddress", min(BURST, height - now), address, timeout=PATIENCE)
        ahead += 6 * BURST
    made.wait("one tip", lambda: made.on_one_tip(height))


MEASURES = {
    "up": Measure(take_up, {"up": Figure("s", must=Bound(6))}, runs=5, compared=False),
    "payment": Measure(take_payment, {"payment": Figure("s", must=Bound(0.5))}, runs=1, compared=False),
    "snapshot": Measure(
        take_snapshot,
        {
            "snapshot_save": Figure("s"),
            "snapshot_size": Figure("MiB"),
            "snapshot_load": Figure("s", must=Bound(5)),
        },
        runs=1,
        compared=False,
    ),
    "heal": Measure(take_heal, {"heal": Figure("s", must=Bound(3))}, runs=1, compared=False),
}
