"""Real daemons in processes of their own, each on a folder and on ports that the system chose."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rpc.client import RpcClient, Unreachable
from rpc.errors import RpcError

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0
"""Seconds for what takes a few at most: a test ends by what becomes true, never by this."""
STEP = 0.01


def environment(**more: str) -> dict[str, str]:
    """What a daemon of this repository needs of the environment, and none of the user's settings for daemons."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DURED_")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def command(*flags: str) -> list[str]:
    return [sys.executable, "-P", "-m", "node.main", *flags]


def run(*flags: str, prefix: Sequence[str] = (), **more: str) -> subprocess.CompletedProcess[str]:
    """Run a daemon that ends by itself, because it was only asked something or cannot start."""
    return subprocess.run(
        [*prefix, *command(*flags)],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


OBEY_MODES = """
import ctypes, os, sys

libc = ctypes.CDLL(None, use_errno=True)
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if libc.prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
        raise OSError(ctypes.get_errno(), "root keeps its privileges")
os.execv(sys.argv[1], sys.argv[1:])
"""


def obeying_modes() -> list[str]:
    """What to write before a command so that the modes of files hold for it, even where tests run as root (Linux)."""
    return [sys.executable, "-c", OBEY_MODES] if os.geteuid() == 0 else []


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait until something outside this process is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {PATIENCE} s")
        await asyncio.sleep(STEP)


class Daemon:
    """One data directory and the process that runs on it, if one does."""

    def __init__(self, folder: Path, *flags: str, network: str = "regtest", descriptors: int | None = None) -> None:
        """Args:
        descriptors: how many files the process may have open at once; None for what the tests may.
        """
        limit = ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(descriptors)]
        self.prefix = [] if descriptors is None else limit
        """What is written before the command, at the next start."""
        self.folder = folder
        self.flags = ("--network", network, "--datadir", str(folder), "--port", "0", "--rpc-port", "0", *flags)
        self.variables: dict[str, str] = {}
        """Of the environment, at the next start."""
        self.process: subprocess.Popen[bytes] | None = None
        self.client: RpcClient | None = None
        self._read_from = 0

    # Starting and ending

    def launch(self, *more: str) -> None:
        """Start the process; it is not ready yet."""
        if self.running:
            raise RuntimeError("it runs already")
        self._read_from = self._log_size()
        with (self.folder.parent / f"{self.folder.name}.output").open("ab") as output:
            self.process = subprocess.Popen(
                [*self.prefix, *command(*self.flags, *more)],
                env=environment(**self.variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def start(self, *more: str) -> RpcClient:
        """Start the process and wait until it answers calls."""
        self.launch(*more)
        await until(lambda: self.logged("ready") or not self.running, "the daemon is ready")
        if not self.logged("ready"):
            raise AssertionError(f"the daemon ended with {self.status}: {self.output[-2000:]}")
        return await self.answering()

    async def answering(self) -> RpcClient:
        """Return a client of a daemon that is ready."""
        ready = self.logged("ready")
        self.client = RpcClient(f"http://{ready[0]['rpc']}/", self.folder / ".cookie", timeout=PATIENCE)
        return self.client

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def status(self) -> int | None:
        return None if self.process is None else self.process.returncode

    @property
    def pid(self) -> int:
        if self.process is None:
            raise RuntimeError("it never ran")
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        if self.running:
            os.kill(self.pid, number)

    async def ended(self) -> int:
        """Wait until the process has ended; return its exit status."""
        await self._forget_client()
        await until(lambda: not self.running, "the daemon has ended")
        return int(self.status or 0)

    async def stop(self) -> int:
        self.send(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await self.ended()

    async def _forget_client(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            await client.close()

    # What it says

    @property
    def output(self) -> str:
        path = self.folder.parent / f"{self.folder.name}.output"
        return path.read_text(errors="replace") if path.exists() else ""

    def _log_size(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "debug.log").stat().st_size
        return 0

    @property
    def lines(self) -> list[Mapping[str, Any]]:
        """The log since the last start."""
        try:
            raw = (self.folder / "debug.log").read_bytes()[self._read_from :]
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in raw.splitlines() if line.endswith(b"}")]

    def logged(self, event: str) -> list[Mapping[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    # What it is asked

    async def call(self, method: str, *params: object) -> Any:
        if self.client is None:
            raise RuntimeError("it does not run")
        return await self.client.call(method, *params)

    async def until(self, method: str, *params: object, gives: Callable[[Any], object]) -> Any:
        """Ask again and again until the answer is as wanted; return it."""
        deadline = time.monotonic() + PATIENCE
        answer: object = None
        while True:
            with contextlib.suppress(RpcError, Unreachable):
                answer = await self.call(method, *params)
                if gives(answer):
                    return answer
            if time.monotonic() > deadline:
                raise AssertionError(f"{method}{params} still gives {answer!r}")
            await asyncio.sleep(STEP)

    @property
    def peer_address(self) -> str:
        """Where its peers find it."""
        return str(self.logged("ready")[-1]["p2p"])

    async def mine(self, count: int) -> list[str]:
        blocks: list[str] = await self.call("generatetoaddress", count, await self.call("getnewaddress"))
        return blocks


@asynccontextmanager
async def daemons(folder: Path, count: int = 1, *flags: str, network: str = "regtest") -> AsyncIterator[list[Daemon]]:
    """Folders for daemons, not started; whatever runs at the end is killed, by its id."""
    made = [Daemon(folder / f"node{number}", *flags, network=network) for number in range(count)]
    try:
        yield made
    finally:
        for daemon in made:
            await daemon.kill()
