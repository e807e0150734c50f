"""Small networks for tests: records, and nodes that answer without a daemon behind them."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from devnet.folder import VERSION, NetworkFolder, NetworkRecord, NodeRecord, wait_until
from devnet.processes import Process, send_to_family, sight, start
from devnet.topology import Topology
from rpc.encoding import Dure, encode
from rpc.schema import Balances, BlockchainInfo, LastProcessedBlock, MineBalances


def record_of(
    size: int, *, partition: tuple[tuple[int, ...], ...] = (), ports: tuple[int, ...] | None = None
) -> NetworkRecord:
    """Return the record of a network that was never started: node N at ports 20000 + 2N, or its RPC at ports[N]."""
    return NetworkRecord(
        version=VERSION,
        tag="00" * 16,
        topology=Topology.FULL,
        hashrate=20_000,
        created=1_767_225_600,
        funded=True,
        partition=partition,
        nodes=tuple(
            NodeRecord(
                id=node,
                port=20_000 + 2 * node,
                rpc_port=ports[node] if ports else 20_001 + 2 * node,
                mines=node == 0,
                dials=tuple(other for other in range(size) if other != node),
                wanted="stopped",
                process=None,
            )
            for node in range(size)
        ),
    )


def save_network(path: Path, record: NetworkRecord) -> NetworkFolder:
    """Write the record, and a folder and cookie for each of its nodes."""
    folder = NetworkFolder(path)
    for node in record.nodes:
        folder.node_path(node.id).mkdir(parents=True)
        (folder.node_path(node.id) / ".cookie").write_text("__cookie__:00")
    folder.save(record)
    return folder


class FakeNodes:
    """Nodes that answer calls as they are told, each beside a real process that can be paused and killed."""

    def __init__(self, folder: NetworkFolder, answers: dict[str, Any], asked: list[tuple[int, str, list[Any]]]) -> None:
        self.folder = folder
        self.answers = answers
        """For each method its result, or a function of the node's number and the parameters that returns it.

        A `Refusal` raised by that function becomes the error that the node answers with.
        """
        self.asked = asked
        """Every call: node, method, parameters."""

    def calls_of(self, method: str) -> list[tuple[int, list[Any]]]:
        """Return who was asked for `method`, with which parameters."""
        return [(node, params) for node, asked, params in self.asked if asked == method]


class Refusal(Exception):
    """A call that a fake node refuses: code and message."""


@contextmanager
def fake_network(path: Path, size: int, **answers: Any) -> Iterator[FakeNodes]:
    """Make a network in `path` that looks as if it ran, until the block ends."""
    asked: list[tuple[int, str, list[Any]]] = []
    with ExitStack() as running:
        ports = tuple(running.enter_context(_serve(node, answers, asked)) for node in range(size))
        record = record_of(size, ports=ports)
        folder = save_network(path, record)
        for node in record.nodes:
            process = start(
                [sys.executable, "-c", "import time; time.sleep(600)"],
                output=path / f"output{node.id}",
                environment=os.environ,
            )
            running.callback(_end, process)
            record = record.with_node(msgspec.structs.replace(node, wanted="running", process=process))
        folder.save(record)
        yield FakeNodes(folder, answers, asked)


def _end(process: Process) -> None:
    """Kill a process and wait until it is gone."""
    send_to_family(process, signal.SIGKILL)
    wait_until(lambda: sight(process) is None, 30)


@contextmanager
def _serve(node: int, answers: dict[str, Any], asked: list[tuple[int, str, list[Any]]]) -> Iterator[int]:
    """Serve JSON-RPC on a free port of this machine until the block ends; yields the port."""

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        method, params = request["method"], request["params"]
        asked.append((node, method, params))
        said: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            given = answers.get(method)
            said["result"] = given(node, params) if callable(given) else given
        except Refusal as refusal:
            said["error"] = {"code": refusal.args[0], "message": refusal.args[1]}
        return said

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            raw = encode(list(map(answer, request)) if isinstance(request, list) else answer(request))
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def chain_info(height: int, tip: str, work: int = 1) -> BlockchainInfo:
    """Return what a node at `height` answers to getblockchaininfo."""
    return BlockchainInfo(
        chain="local",
        blocks=height,
        headers=height,
        bestblockhash=tip,
        bits="1e53e2d6",
        target="00" * 32,
        difficulty=0.00005,
        time=1_767_225_600,
        mediantime=1_767_225_600,
        verificationprogress=1.0,
        initialblockdownload=False,
        chainwork=f"{work:064x}",
        genesis="00" * 32,
        size_on_disk=0,
        pruned=False,
        warnings=[],
    )


def balances_of(trusted: str, pending: str = "0", immature: str = "0") -> Balances:
    """Return what a node answers to getbalances."""
    mine = MineBalances(
        trusted=Dure.parse(trusted), untrusted_pending=Dure.parse(pending), immature=Dure.parse(immature)
    )
    return Balances(mine=mine, lastprocessedblock=LastProcessedBlock(hash="00" * 32, height=0))
