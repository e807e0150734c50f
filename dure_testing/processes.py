"""A network of real processes: `dured` on real sockets, in a folder of the test's own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from devnet import control, healing
from devnet.bring_up import Progress, bring_up
from devnet.calls import CallRefused as Refused
from devnet.calls import Calls
from devnet.faults import format_groups
from devnet.folder import NetworkFolder, NodeRecord, wait_until
from devnet.launcher import Plan, is_alive
from devnet.mining import find_block
from dure_testing.network import CallRefused, Network, Node, TookTooLong


class ProcessNode(Node):
    """A daemon.

    Attributes:
        url: of its JSON-RPC, for a program that is to be tested against it.
    """

    def __init__(self, number: int, calls: Calls) -> None:
        self.number = number
        self._calls = calls
        self.url = self.record.rpc_url

    @property
    def record(self) -> NodeRecord:
        """What the folder knows of it: ports, data directory, process."""
        return self._calls.folder.load().node(self.number)

    @property
    def login(self) -> tuple[str, str]:
        """User and password of its JSON-RPC; new ones at each start."""
        user, _, password = self.record.credentials(self._calls.folder).decode().partition(":")
        return user, password

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return is_alive(self.record)

    def call(self, method: str, *params: Any) -> Any:
        """See `Node`."""
        try:
            return self._calls.call(self.record, method, *params)
        except Refused as error:
            raise CallRefused(self.number, error.code, error.message) from None


class ProcessNetwork(Network):
    """Daemons without miners: blocks come when the test says so."""

    def __init__(self, folder: Path, size: int) -> None:
        """Start a network; returns once its nodes are connected and funded.

        Raises:
            DevnetError: it could not be brought up; nothing runs.
        """
        self._folder = NetworkFolder(folder)
        quiet = Progress(lambda _step: None, lambda _done, _all: None)
        plan = Plan(size=size, miners=0)
        bring_up(self._folder, plan, fresh=False, entropy=random.SystemRandom(), now=int(time.time()), progress=quiet)
        self._calls = Calls(self._folder)
        self.nodes = [ProcessNode(number, self._calls) for number in range(size)]

    def _find_block(self, node: int, address: str) -> None:
        record = self._folder.load().node(node)
        while find_block(self._calls, record, address) is None:
            pass  # a block from elsewhere came first, or there were too few tries in one call

    def partition(self, *groups: Iterable[int]) -> None:
        """See `Network`."""
        control.partition(self._folder, format_groups([list(group) for group in groups]))

    def heal(self) -> None:
        """See `Network`."""
        healing.heal(self._folder, int(time.time()))

    def kill(self, node: int) -> None:
        """See `Network`."""
        control.kill(self._folder, [node])

    def start(self, node: int) -> None:
        """See `Network`."""
        control.start(self._folder, [node])

    def pass_time(self, seconds: float) -> None:
        """See `Network`."""
        time.sleep(seconds)

    def wait_for(self, reached: Callable[[], object], within: float = 60.0, what: str = "") -> None:
        """See `Network`."""
        if not wait_until(lambda: bool(reached()), within):
            raise TookTooLong(f"not within {within:g} s: {what or 'what was waited for'}")

    def close(self) -> None:
        """See `Network`."""
        control.bring_down(self._folder)
