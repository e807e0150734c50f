"""Nodes as processes: ours, and a peer's where its program is installed. Both are asked the same by the same client."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from consensus.address import encode_address
from consensus.params import REGTEST
from consensus.types import LockId
from scripts.benchmarks.rpc import HOST, Connection, RpcFailed

PATIENCE = 300.0
"""Seconds for anything that is waited for; whatever takes longer is a failure, not a figure."""
MINE_STEP = 50
"""Blocks in one call of generatetoaddress."""
_T = TypeVar("_T")


def until(what: str, reached: Callable[[], _T], step: float = 0.002) -> _T:
    """Ask until the answer is true, and return it.

    Raises:
        SystemExit: it takes too long.
    """
    deadline = time.monotonic() + PATIENCE
    while not (answer := reached()):
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {PATIENCE:.0f} s: {what}")
        time.sleep(step)
    return answer


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        port: int = taken.getsockname()[1]
        return port


def resident(pid: int) -> float:
    """Return the resident memory of a process and its children, in MiB."""
    said = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid), "--ppid", str(pid)], check=False, capture_output=True, text=True
    )
    return sum(map(int, said.stdout.split())) / 1024


def held(pid: int) -> float:
    """Return the memory that a process and its children hold for themselves alone, in MiB; all, where that is not told.

    Pages of a database that is mapped are the system's: it takes them back when it needs them.
    """
    total = 0
    for each in (pid, *children(pid)):
        try:
            status = Path(f"/proc/{each}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return resident(pid)
        total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:")), 0)
    return total / 1024


def children(*pids: int) -> list[int]:
    """Return the processes that processes have started, such as the workers of nodes."""
    said = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = (map(int, line.split()) for line in said.splitlines())
    return [child for child, parent in pairs if parent in pids]


def processor_seconds(pid: int) -> float:
    """Return how long a process has kept a processor busy, as ps(1) tells it to the hundredth where it can."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        said = subprocess.run(["ps", "-o", "time=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
        minutes, seconds = said.strip().split(":")[-2:]
        return 60 * float(minutes) + float(seconds)


def family_seconds(*pids: int) -> float:
    """Return how long processes and their children have kept processors busy, together."""
    return sum(map(processor_seconds, (*pids, *children(*pids))))


class Program(ABC):
    """One node process in a folder of its own, on regtest, without discovery, plaintext."""

    name: str
    minable: str
    """An address of nobody: rewards that are not to be spent go there."""
    measures: frozenset[str] | None = None
    """Names of those measures that it can be asked for; None for whatever is compared at all."""
    version = "1.0"
    """Of JSON-RPC."""
    cheap_call = "getblockcount"
    """The call that costs least."""
    hand_in_call = "sendrawtransaction"

    def __init__(self, dial: Program | None = None, *extra: str) -> None:
        """Choose folder and ports; nothing runs yet.

        Args:
            dial: the node that it connects to when it starts.
            extra: further arguments.
        """
        self.folder = Path(tempfile.mkdtemp(prefix=f"bench-{self.name}-"))
        self.rpc_port, self.port = free_port(), free_port()
        self.dial = dial
        self.extra = extra
        self._process: subprocess.Popen[bytes] | None = None
        self.rpc = self.connection()
        self.spawned = 0.0

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs the node."""

    @classmethod
    def installed(cls) -> bool:
        """Tell whether there is such a program here."""
        return True

    @property
    def pid(self) -> int:
        """The process id."""
        if self._process is None:
            raise SystemExit(f"{self.name} does not run")
        return self._process.pid

    def connection(self) -> Connection:
        """Return another connection to its RPC."""
        return Connection(self.rpc_port, "bench:benchmark", self.version)

    # Life

    def spawn(self) -> None:
        """Start the process; do not wait for it."""
        with (self.folder / "output").open("ab") as output:
            self.spawned = time.monotonic()
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self.environment()
            )

    def environment(self) -> dict[str, str]:
        """Return the environment of the process."""
        return dict(os.environ)

    def wait_ready(self) -> float:
        """Wait until the RPC answers; return the seconds since the process was started."""

        def answers() -> bool:
            if self._process is not None and self._process.poll() is not None:
                raise SystemExit(f"{self.name} ended: {(self.folder / 'output').read_text()[-2000:]}")
            try:
                self.rpc.call(self.cheap_call)
            except (OSError, RpcFailed):
                self.rpc.close()
                return False
            return True

        until(f"{self.name} answers", answers)
        return time.monotonic() - self.spawned

    def stop(self) -> None:
        """End the process; its folder stays."""
        self.rpc.close()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        try:
            self.spawn()
            self.wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    # What is asked of it

    def tip(self) -> str:
        """Return the id of its tip."""
        tip: str = self.rpc.call("getbestblockhash")
        return tip

    def height(self) -> int:
        """Return the height of its tip."""
        height: int = self.rpc.call("getblockcount")
        return height

    def mine(self, count: int, address: str | None = None) -> list[str]:
        """Mine blocks; return their ids."""
        mined: list[str] = []
        while len(mined) < count:
            step = min(MINE_STEP, count - len(mined))
            mined += self.rpc.call("generatetoaddress", step, address or self.minable)
        return mined

    def waiting(self) -> int:
        """Return how many transactions are in its mempool."""
        size: int = self.rpc.call("getmempoolinfo")["size"]
        return size

    def peers(self) -> int:
        """Return how many peers it has shaken hands with."""
        return sum(peer["version"] > 0 for peer in self.rpc.call("getpeerinfo"))

    def connect(self, other: Program) -> None:
        """Dial another node, once."""
        self.rpc.call("addnode", f"{HOST}:{other.port}", "onetry")

    def disconnect(self, other: Program) -> None:
        """Hang up on a node that was dialled."""
        self.rpc.call("disconnectnode", f"{HOST}:{other.port}")

    def hand_in(self, transactions: list[str], batch: int = 250) -> None:
        """Hand in transactions, so many in one request."""
        for start in range(0, len(transactions), batch):
            self.rpc.batch(self.hand_in_call, [[each] for each in transactions[start : start + batch]])

    def coinbase_of(self, block: str) -> str:
        """Return the txid of a block's coinbase."""
        txid: str = self.rpc.call("getblock", block)["tx"][0]
        return txid

    # A chain that is caught up with

    @classmethod
    def source(cls) -> type[Program]:
        """Return which program mines the chain that a fresh one of this kind catches up with."""
        return cls

    @classmethod
    def catch_up(cls, source: Program) -> float:
        """Return how many seconds a fresh node takes, from the call that connects it to being on the tip."""
        with cls() as sink:
            time.sleep(0.5)
            tip = source.tip()
            began = time.monotonic()
            sink.connect(source)
            until("the source's tip", lambda: sink.tip() == tip, 0.005)
            return time.monotonic() - began


class Dured(Program):
    """Ours."""

    name = "dure"
    wallet = "--no-wallet"
    minable = encode_address(REGTEST, LockId(bytes(32)))

    def command(self) -> list[str]:
        """See `Program`."""
        dured = Path(sys.executable).parent / "dured"
        dial = ["--connect", f"{HOST}:{self.dial.port}"] if self.dial else []
        return [
            str(dured), "--network", "regtest", "--datadir", str(self.folder), "--port", str(self.port),
            "--rpc-port", str(self.rpc_port), "--no-discovery", self.wallet, "--rpc-user", "bench",
            "--no-log-terminal", *dial, *self.extra,
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """See `Program`."""
        return super().environment() | {"DURED_RPC_PASSWORD": "benchmark"}


def drain(node: Program) -> None:
    """Mine until the mempool is empty."""

    def empty() -> bool:
        if node.waiting():
            node.mine(1)
        return node.waiting() == 0

    until("an empty mempool", empty, 0.02)


@contextmanager
def line(kind: type[Program], count: int) -> Iterator[list[Any]]:
    """Nodes of one kind, each connected to the one before it; running, and ended afterwards."""
    nodes: list[Program] = []
    try:
        for _ in range(count):
            nodes.append(kind(nodes[-1] if nodes else None))
            nodes[-1].spawn()
        for node in nodes:
            node.wait_ready()
        yield nodes
    finally:
        for node in reversed(nodes):
            node.__exit__()
