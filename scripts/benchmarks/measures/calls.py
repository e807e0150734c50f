"""`rpc`: how many calls a second are answered."""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterator

from scripts.benchmarks.harness import Bound, Figure, Measure, Sample
from scripts.benchmarks.programs import Program
from scripts.benchmarks.rpc import Connection

CALLS = 10_000
WIDTH = 16
"""Connections at once."""


def take_rpc(kind: type[Program]) -> Iterator[Sample]:
    """Answers a second to the cheapest call, over one connection and over sixteen."""
    with kind() as node:
        raw = node.rpc.request(node.cheap_call)
        for _ in range(CALLS // 5):
            node.rpc.exchange(raw)
        began = time.monotonic()
        for _ in range(CALLS):
            node.rpc.exchange(raw)
        yield Sample("rpc_1", CALLS / (time.monotonic() - began))
        yield Sample("rpc_16", _wide(node, raw))


def _wide(node: Program, raw: bytes) -> float:
    with selectors.DefaultSelector() as selector:
        connections = [node.connection() for _ in range(WIDTH)]
        for connection in connections:
            selector.register(connection.open(), selectors.EVENT_READ, connection)
        began = time.monotonic()
        for connection in connections:
            connection.open().sendall(raw)
        sent, received = WIDTH, 0
        while received < CALLS:
            for key, _ in selector.select():
                connection = key.data
                if not isinstance(connection, Connection):
                    raise TypeError("a stranger's socket")
                connection.receive()
                received += 1
                if sent < CALLS:
                    connection.open().sendall(raw)
                    sent += 1
        took = time.monotonic() - began
        for connection in connections:
            connection.close()
    return CALLS / took


MEASURES = {
    "rpc": Measure(
        take_rpc,
        {
            "rpc_1": Figure("calls/s", True, must=Bound(5_000), aim=Bound(8_000)),
            "rpc_16": Figure("calls/s", True, must=Bound(8_000), aim=Bound(13_000)),
        },
        runs=3,
    )
}
