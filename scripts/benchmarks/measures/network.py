"""`net`, `propagation`, `reorg`: several nodes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

from scripts.benchmarks.harness import Bound, Figure, Measure, Sample
from scripts.benchmarks.money import Coin, Purse, purse_for
from scripts.benchmarks.programs import Program, line, until

LENGTH = 4
LINKED = [1, 2, 2, 1]
"""Peers of each node of a line of four."""
TRANSACTIONS = 1_000
"""In a full block."""
EMPTY_BLOCKS, KNOWN_BLOCKS, UNKNOWN_BLOCKS = 10, 5, 3
"""Of each kind in a run."""
PAUSE = 0.3
"""Seconds between two blocks, so that none is measured in the wake of another."""
DEPTHS = (10, 100)
REORGS = 3
"""Of each depth in a run."""


def take_net(kind: type[Program]) -> Iterator[Sample]:
    """Seconds from the start of four processes to a first block on all of them."""
    began = time.monotonic()
    with line(kind, LENGTH) as nodes:
        until("a line of four", lambda: [node.peers() for node in nodes] == LINKED)
        nodes[0].mine(1)
        _until_same(nodes)
        yield Sample("net_first_block", time.monotonic() - began)


def _until_same(nodes: Sequence[Program]) -> None:
    until("one tip", lambda: len({node.tip() for node in nodes}) == 1)


def take_propagation(kind: type[Program]) -> Iterator[Sample]:
    """Milliseconds from the request to mine a block to the last node of the line having it as its tip."""
    purse = purse_for(kind)
    with line(kind, LENGTH) as nodes:
        until("a line of four", lambda: [node.peers() for node in nodes] == LINKED)
        coins = purse.fund(nodes[0], TRANSACTIONS * (KNOWN_BLOCKS + UNKNOWN_BLOCKS))
        _until_same(nodes)
        for _ in range(EMPTY_BLOCKS):
            yield Sample("propagation_empty", _propagate(nodes))
        for _ in range(KNOWN_BLOCKS):
            _fill(nodes, purse, coins)
            yield Sample("propagation_known", _propagate(nodes))
        for _ in range(UNKNOWN_BLOCKS):
            # Cut off while they are handed in, so that only the first node ever saw them.
            nodes[1].disconnect(nodes[0])
            until("a cut line", lambda: nodes[0].peers() == 0)
            _fill(nodes[:1], purse, coins)
            nodes[1].connect(nodes[0])
            until("a line of four", lambda: [node.peers() for node in nodes] == LINKED)
            yield Sample("propagation_unknown", _propagate(nodes))


def _fill(nodes: Sequence[Program], purse: Purse, coins: list[Coin]) -> None:
    """Hand the transactions of a block to all of these nodes."""
    transactions = [purse.pay(coins.pop()) for _ in range(TRANSACTIONS)]
    for node in nodes:
        known = set(node.rpc.call("getrawmempool")) if node.waiting() else set()
        if len(known) < TRANSACTIONS:
            _hand_in_new(node, transactions)
    until("full mempools", lambda: all(node.waiting() == TRANSACTIONS for node in nodes))


def _hand_in_new(node: Program, transactions: Sequence[str]) -> None:
    """Hand in transactions, some of which a neighbour may have passed on already."""
    raw = [node.rpc.request("sendrawtransaction", each) for each in transactions]
    for each in raw:
        node.rpc.exchange(each)


def _propagate(nodes: Sequence[Program]) -> float:
    """Mine a block at one end; return how many milliseconds later it is the tip at the other."""
    time.sleep(PAUSE)
    old = nodes[-1].tip()
    arrived: list[float] = []

    def watch() -> None:
        connection = nodes[-1].connection()
        raw = connection.request("getbestblockhash")
        while old.encode() in connection.exchange(raw)[1]:
            time.sleep(0.0003)
        arrived.append(time.monotonic())
        connection.close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    time.sleep(0.02)
    began = time.monotonic()
    nodes[0].mine(1)
    watcher.join()
    _until_same(nodes)
    until("empty mempools", lambda: not any(node.waiting() for node in nodes))
    return (arrived[0] - began) * 1_000


def take_reorg(kind: type[Program]) -> Iterator[Sample]:
    """Milliseconds from the call that connects two nodes to the one with less work being on the other's tip."""
    with line(kind, 1) as (winner,), line(kind, 1) as (loser,):
        winner.mine(120)
        loser.connect(winner)
        _until_same([winner, loser])
        for depth in DEPTHS:
            for _ in range(REORGS):
                loser.disconnect(winner)
                until("two nodes apart", lambda: loser.peers() == winner.peers() == 0)
                # Another address, or both might mine the very same blocks.
                loser.mine(depth, purse_for(kind).address)
                winner.mine(depth + 1)
                tip = winner.tip()
                time.sleep(PAUSE)
                began = time.monotonic()
                loser.connect(winner)
                until("one tip", lambda tip=tip: loser.tip() == tip, 0.0005)  # type: ignore[misc]
                yield Sample(f"reorg_{depth}", (time.monotonic() - began) * 1_000)


MEASURES = {
    "net": Measure(take_net, {"net_first_block": Figure("s", must=Bound(3), aim=Bound(1.5))}, runs=5),
    "propagation": Measure(
        take_propagation,
        {
            "propagation_empty": Figure("ms", must=Bound(15), aim=Bound(6)),
            "propagation_known": Figure("ms", must=Bound(100), aim=Bound(1.0, of_peer=True)),
            "propagation_unknown": Figure("ms", must=Bound(1.5, of_peer=True), aim=Bound(1.0, of_peer=True)),
        },
        runs=3,
    ),
    "reorg": Measure(
        take_reorg,
        {
            "reorg_10": Figure("ms", must=Bound(100), aim=Bound(1.0, of_peer=True)),
            "reorg_100": Figure("ms", must=Bound(400), aim=Bound(1.0, of_peer=True)),
        },
        runs=3,
    ),
}
