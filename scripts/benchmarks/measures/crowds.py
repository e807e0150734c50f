"""The series `nodes` of `growth`: what a block and a payment cost each node of networks of 2 to 32 processes.

The shape is the one that `dure up` gives larger networks: a tree, and two links more for each node. What the nodes take
while nothing happens is left aside.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from devnet.topology import Topology, edges
from scripts.benchmarks.harness import Sample, tell
from scripts.benchmarks.money import Coin, DurePurse
from scripts.benchmarks.programs import Dured, Program, family_seconds, until
from scripts.benchmarks.rpc import HOST

SIZES = (2, 4, 8, 16, 32)
BLOCKS = 20
BLOCK_SECONDS = 0.4
"""Between two blocks: nobody is asked meanwhile whether it has the last one, as answering would cost as much."""
PAYMENTS = 1_000
IDLE_SECONDS = 5.0
FLAT = 0.2
"""The highest exponent of what should not grow with the network at all: then the whole is linear."""
SERIES: dict[str, tuple[str, float | None]] = {
    "growth_block_cpu": ("ms", FLAT),
    "growth_block_messages": ("messages", None),
    "growth_block_link": ("messages", FLAT),
    "growth_payment_cpu": ("ms", FLAT),
    "growth_payment_messages": ("messages", None),
    "growth_payment_link": ("messages", FLAT),
}
"""Unit, and highest exponent, of what each node spends; `link`: of what goes over each link, in both directions. How
many neighbours a node has depends on the size of smaller networks, so what it sends to all of them is not judged."""


class _Meter:
    """What nodes have spent since it was made, each on average."""

    def __init__(self, nodes: Sequence[Program], idle: float = 0.0) -> None:
        self._nodes = nodes
        self._idle = idle
        self._seconds = self._total_seconds()
        self._messages = self._total_messages()
        self._began = time.monotonic()

    def _total_seconds(self) -> float:
        return family_seconds(*(node.pid for node in self._nodes))

    def _total_messages(self) -> int:
        return sum(peer["messagessent"] for node in self._nodes for peer in node.rpc.call("getpeerinfo"))

    @property
    def milliseconds(self) -> float:
        """Of processor time, beyond what they take idle; at least a hundredth, so that it can be plotted."""
        passed = time.monotonic() - self._began
        return max(0.01, 1_000 * ((self._total_seconds() - self._seconds) / len(self._nodes) - self._idle * passed))

    def samples(self, what: str, count: int, links: int) -> Iterator[Sample]:
        """Yield what each of `count` blocks or payments took."""
        size, messages = len(self._nodes), (self._total_messages() - self._messages) / count
        yield Sample(f"growth_{what}_cpu", self.milliseconds / count, size)
        yield Sample(f"growth_{what}_messages", messages / size, size)
        yield Sample(f"growth_{what}_link", messages / links, size)


def take(sizes: tuple[int, ...] = SIZES) -> Iterator[Sample]:
    """Milliseconds and messages of each node for an empty block, and for a payment from the call to its block."""
    for size in sizes:
        tell(f"growth: {size} nodes start …")
        with ExitStack() as stack:
            nodes: list[Program] = [Dured() for _ in range(size)]
            links = edges(Topology.RANDOM, size, bytes(16))
            for place, node in enumerate(nodes):
                # As `dure up` does: who is told whom to dial looks for nobody else.
                neighbours = [nodes[low + high - place] for low, high in links if place in (low, high)]
                node.extra = tuple(word for each in neighbours for word in ("--connect", f"{HOST}:{each.port}"))
                stack.push(node.__exit__)
                node.spawn()
            for node in nodes:
                node.wait_ready()
            degree = [sum(place in link for link in links) for place in range(size)]
            until("all linked", lambda: [node.peers() for node in nodes] == degree, 0.1)  # noqa: B023
            purse = DurePurse()
            coins = purse.fund(nodes[0], PAYMENTS)
            _until_same(nodes)
            tell(f"growth: {size} nodes …")
            yield from _cost(nodes, len(links), purse, coins)


def _until_same(nodes: Sequence[Program]) -> None:
    until("one tip", lambda: len({node.tip() for node in nodes}) == 1, 0.1)


def _cost(nodes: Sequence[Program], links: int, purse: DurePurse, coins: list[Coin]) -> Iterator[Sample]:
    time.sleep(1)
    meter = _Meter(nodes)
    time.sleep(IDLE_SECONDS)
    idle = meter.milliseconds / 1_000 / IDLE_SECONDS
    meter = _Meter(nodes, idle)
    for _ in range(BLOCKS):
        nodes[0].mine(1)
        time.sleep(BLOCK_SECONDS)
    yield from meter.samples("block", BLOCKS, links)
    _until_same(nodes)
    transactions = [purse.pay(coins.pop()) for _ in range(PAYMENTS)]
    meter = _Meter(nodes, idle)
    for transaction in transactions:
        nodes[0].rpc.call("sendrawtransaction", transaction)
    until("payments everywhere", lambda: all(node.waiting() == PAYMENTS for node in nodes), 0.5)
    nodes[0].mine(1)
    time.sleep(BLOCK_SECONDS)
    _until_same(nodes)
    yield from meter.samples("payment", PAYMENTS, links)
