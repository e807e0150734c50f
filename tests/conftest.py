"""What every test may use: the published vectors, and a guard against leaving this machine."""

from __future__ import annotations

import ipaddress
import os
import resource
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support.disk_log import build_shim
from tests.support.require import require
from tests.support.watch import raise_broken

# No test fails by the speed of a machine: hypothesis would otherwise give each example 200 ms.
hypothesis.settings.register_profile("dure", deadline=None)
hypothesis.settings.load_profile("dure")

# A shell that runs the tests in the background has them ignore Ctrl-C, and all that they start. Here it is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MAX_MEMORY = 8 * 1024**3
"""Bytes of one process: many times what any test takes. One that goes on for ever ends with a traceback of its own,
before the machine has no memory left."""
if sys.platform == "linux":
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))

_real_connect = socket.socket.connect


def _stays_here(address: Any) -> bool:
    """Tell whether a socket address is on this machine: a loopback address, or no internet address at all."""
    if not isinstance(address, tuple):
        return True  # a Unix socket
    host = str(address[0])
    if host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to connect anywhere but to this machine: a test that needs the internet is not a test of ours.

    Covers blocking sockets and asyncio's own loop; what a test starts as another process it must bind to 127.0.0.1.
    """

    def connect(self: socket.socket, address: Any) -> None:
        if not _stays_here(address):
            pytest.fail(f"a test tried to connect to {address}: tests stay on 127.0.0.1")
        _real_connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture(autouse=True)
def _every_chain_keeps_its_invariants() -> Iterator[None]:
    """Fail a test whose chains ever had a coin or a unit of an asset too many, at any height (`support.watch`)."""
    yield
    raise_broken()


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of published test vectors, from $DURE_VECTORS; without it the test is skipped."""
    folder = os.environ.get("DURE_VECTORS", "")
    if not folder:
        require("vectors", "DURE_VECTORS is not set: no published vectors here")
    if not Path(folder).is_dir():
        require("vectors", "DURE_VECTORS names no folder: no published vectors here")
    return Path(folder)


@pytest.fixture(scope="session")
def disk_shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of `tests/support/disk_shim.c`; skipped where it cannot be made (DURE_REQUIRE may name `cc`)."""
    if sys.platform != "linux":
        require("cc", "a disk that fails on demand is made for Linux only")
    compiler = shutil.which("cc")
    if compiler is None:
        require("cc", "there is no C compiler (cc) to make a disk that fails on demand")
    return build_shim(compiler, tmp_path_factory.mktemp("shim"))
