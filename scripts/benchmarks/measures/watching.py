"""`watch`: what looking at a network costs, on a terminal, beside the network itself."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from scripts.benchmarks.harness import Bound, Figure, Measure, Sample
from scripts.benchmarks.measures.devnet import DURE, Network, network
from scripts.benchmarks.programs import Program, processor_seconds

ROWS, COLUMNS = 40, 120
"""The terminal that is drawn on."""

SETTLE = 3.0
"""Seconds for its imports and the first look, which are not part of the figure."""

LOOKING = 30.0
"""Seconds of looking: about six blocks."""


@contextmanager
def watching(made: Network) -> Iterator[subprocess.Popen[bytes]]:
    """`dure watch` on a terminal that somebody reads."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    environment = kept | {"DURE_DIR": str(made.folder.path), "DURE_NODE": "", "TERM": "xterm-256color"}
    process = subprocess.Popen([DURE, "watch"], env=environment, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)

    def read() -> None:
        try:
            while os.read(master, 65_536):
                pass
        except OSError:  # the other end was closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield process
    finally:
        os.write(master, b"q")
        process.wait()
        reader.join()
        os.close(master)


def take_watch(_kind: type[Program]) -> Iterator[Sample]:
    """Share of one core that `dure watch` takes for eight nodes, two of them mining, on a terminal of 120 by 40."""
    with network("-n", "8") as made, watching(made) as process:
        time.sleep(SETTLE)
        began, before = time.monotonic(), processor_seconds(process.pid)
        time.sleep(LOOKING)
        yield Sample("watch", 100 * (processor_seconds(process.pid) - before) / (time.monotonic() - began))


MEASURES = {"watch": Measure(take_watch, {"watch": Figure("% of core", must=Bound(5))}, runs=3, compared=False)}
