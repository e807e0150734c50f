"""A real daemon for a campaign: started, called, and killed by its process id."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rpc.client import RpcClient, Unreachable

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120.0
"""Seconds for what takes one: nothing is judged by it but a daemon that hangs."""


class Lost(Exception):
    """Something that must not be."""


class Daemon:
    """One folder, and the process on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.client: RpcClient | None = None
        self.ready: dict[str, Any] = {}
        """What it logged when it was ready last: where it listens, among others."""

    def launch(self, *flags: str) -> None:
        """Start the process. It is its own group's leader, and known by its id alone."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DURED_")}
        with self.folder.with_suffix(".output").open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "node.main", "--network", "regtest", "--datadir", str(self.folder)),
                    *("--port", "0", "--rpc-port", "0", "--no-discovery", "--log-level", "info", *flags),
                ],
                env={**kept, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def start(self, *flags: str) -> float:
        """Start the process, wait until it is ready; return the seconds that took."""
        began, size = time.monotonic(), self._log_size()
        self.launch(*flags)
        while (ready := self._ready_line(size)) is None:
            if self.process is None or self.process.poll() is not None:
                raise Lost(f"it does not start: {self.folder.with_suffix('.output').read_text()[-2_000:]}")
            if time.monotonic() > began + PATIENCE:
                raise Lost(f"it is not ready after {PATIENCE:.0f} s")
            await asyncio.sleep(0.005)
        self.ready = ready
        self.client = RpcClient(f"http://{ready['rpc']}/", self.folder / ".cookie", timeout=PATIENCE)
        return time.monotonic() - began

    def _log_size(self) -> int:
        with suppress(FileNotFoundError):
            return (self.folder / "debug.log").stat().st_size
        return 0

    def _ready_line(self, since: int) -> dict[str, Any] | None:
        with suppress(FileNotFoundError), (self.folder / "debug.log").open("rb") as log:
            log.seek(since)
            for line in log:
                if b'"event":"ready"' in line and line.endswith(b"}\n"):
                    found: dict[str, Any] = json.loads(line)
                    return found
        return None

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the process, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    async def end(self) -> None:
        """Kill the process, if it runs, and wait until it is gone."""
        self.kill()
        client, self.client = self.client, None
        if client is not None:
            await client.close()
        while self.process is not None and self.process.poll() is None:  # noqa: ASYNC110 - a process sets no event
            await asyncio.sleep(0.002)

    async def call(self, method: str, *params: object) -> Any:
        """Call it.

        Raises:
            RpcError: it refused.
            Unreachable: it is gone.
        """
        if self.client is None:
            raise Unreachable("it does not run")
        return await self.client.call(method, *params)
