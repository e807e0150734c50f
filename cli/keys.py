"""Single keys from the terminal, while something else is on the screen."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from typing import Any, Self


class Keys:
    """Waits for a key or for some time to pass, whichever is first; where there is no terminal, only for the time."""

    def __init__(self) -> None:
        self._terminal: int | None = None
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        if sys.stdin.isatty():
            self._terminal = sys.stdin.fileno()
            self._before = termios.tcgetattr(self._terminal)
            tty.setcbreak(self._terminal)  # Ctrl-C stays what it is
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal is not None:
            termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._before)

    def wait(self, seconds: float) -> str:
        """Return the keys that were pressed, nothing if none were within so many seconds."""
        if self._terminal is None:
            time.sleep(max(0.0, seconds))
            return ""
        readable, _, _ = select.select([self._terminal], [], [], max(0.0, seconds))
        return os.read(self._terminal, 64).decode(errors="replace") if readable else ""
