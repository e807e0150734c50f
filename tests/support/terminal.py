"""A terminal, for programs that behave otherwise on one than in a pipe."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

from tests.support.repository import ROOT

PATIENCE = 120.0
"""Seconds for what takes a few."""


class Terminal:
    """A terminal of 80 columns and 24 lines with a program on it."""

    def __init__(self, *command: str | Path) -> None:
        self._master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(ROOT), "COLUMNS": "80", "LINES": "24"}
        self.process = subprocess.Popen(
            command,
            stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def until(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < deadline, f"never seen: {text!r} in {self.seen[-3000:]!r}"
            self._read()

    def _read(self) -> bool:
        readable, _, _ = select.select([self._master], [], [], 1.0)
        try:
            self.seen += os.read(self._master, 65_536).decode(errors="replace") if readable else ""
        except OSError:  # the other end was closed
            return False
        return True

    def press(self, keys: str) -> None:
        self.seen = ""
        os.write(self._master, keys.encode())

    def ended(self) -> int:
        while self._read() and self.process.poll() is None:
            pass
        return self.process.wait(PATIENCE)

    def interrupt(self) -> None:
        """Press Ctrl-C: all programs on the terminal get the signal."""
        self.seen = ""
        os.killpg(self.process.pid, signal.SIGINT)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
