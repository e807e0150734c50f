"""Small networks for tests: records, and nodes that answer without a daemon behind them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from devnet.folder import VERSION, NetworkFolder, NetworkRecord, NodeRecord
from devnet.topology import Topology

FakeNode = Callable[[str, list[Any]], Any]
"""Given a method and its parameters, returns the result; a ValueError(code, message) becomes an error."""


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


@contextmanager
def answering(node: FakeNode) -> Iterator[int]:
    """Serve JSON-RPC on a free port of this machine until the block ends; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
            try:
                answer["result"] = node(request["method"], request["params"])
            except ValueError as error:
                answer["error"] = {"code": error.args[0], "message": error.args[1]}
            raw = json.dumps(answer).encode()
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
