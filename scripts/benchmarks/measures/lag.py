"""`lag`: how long the event loop and a caller are held up while a full block comes, goes and comes again.

Each figure is of a while: from what begins it until half a second after it has its answer, or its tip. The lag is the
lateness of a timer that is due every 5 ms; the calls are of getblockcount, due every 5 ms, waiting included.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from scripts.benchmarks.harness import Bound, Figure, Measure, Sample
from scripts.benchmarks.lag import Prober, Seen, WatchedDured, percentile, probing
from scripts.benchmarks.money import SECRET, DurePurse
from scripts.benchmarks.programs import Dured, Program, until
from wallet.pem import export_key

TRANSACTIONS = 16_000
"""In a full block: 4 MiB."""
AFTER = 0.5
"""Seconds after a block's connection that count as its own: the mempool, the wallet and the peers follow."""
WHILES = ("unknown", "known", "submitted", "left", "again", "owned", "answers")
"""A full block comes from a peer: of new transactions, or of those that wait here. One is handed in, taken out of the
chain, and put in again. One whose every coin is the wallet's comes and goes. Large answers are asked for.
"""
LARGE: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("getrawmempool", (True,)),
    ("getblocktemplate", ()),
    ("listunspent", ()),
    ("listtransactions", ("*", 1_000)),
)
"""Calls whose answers are large where a full block waits in the mempool, and all of it is the wallet's."""


class _Owner(WatchedDured):
    wallet = "--wallet"


class HoldUps(NamedTuple):
    """What holds up loop and caller in one kind of while, in ms."""

    name: str
    lag_p99: float
    lag_max: float
    call_p99: float


def take_lag(_kind: type[Program]) -> Iterator[Sample]:
    """Hold-ups of the loop and of a caller, p99 and maximum, in ms, by what happens meanwhile."""
    for held in hold_ups(TRANSACTIONS):
        yield Sample(f"{held.name}, lag p99", held.lag_p99)
        yield Sample(f"{held.name}, lag max", held.lag_max)
        yield Sample(f"{held.name}, call p99", held.call_p99)


def hold_ups(transactions: int) -> Iterator[HoldUps]:
    """Yield the hold-ups of each kind of while, with so many transactions in a block."""
    spans, prober, seen = _live(transactions)
    for name in WHILES:
        lags = [late for span in spans[name] for late in seen.lags(*span)]
        calls = [took for span in spans[name] for took in prober.latencies(*span)]
        yield HoldUps(name, *(1_000 * ms for ms in (percentile(lags, 99), max(lags), percentile(calls, 99))))


def _live(transactions: int) -> tuple[dict[str, list[tuple[float, float]]], Prober, Seen]:
    spans: dict[str, list[tuple[float, float]]] = {name: [] for name in WHILES}
    purse = DurePurse()

    def during(name: str, act: Callable[[], object], ends: Callable[[], bool] = lambda: True) -> None:
        time.sleep(AFTER)
        began = time.monotonic()
        act()
        until(f"the end of: {name}", ends, 0.005)
        time.sleep(AFTER)
        spans[name].append((began, time.monotonic()))

    with Dured() as other, _Owner() as node:
        coins = purse.fund(other, 5 * transactions)

        def part() -> None:
            if node.peers():
                node.disconnect(other)
                until("two nodes apart", lambda: node.peers() == other.peers() == 0)

        def full_block() -> str:
            part()
            other.hand_in([purse.pay(coins.pop()) for _ in range(transactions)])
            return other.mine(1)[0]

        node.connect(other)
        until("one tip", lambda: node.tip() == other.tip())
        with probing(node) as prober:
            block = full_block()
            during("unknown", lambda: node.connect(other), lambda: node.tip() == block)
            payments = [purse.pay(coins.pop()) for _ in range(transactions)]
            part()
            for each in (node, other):  # Apart: so many at once are too many to be announced.
                each.hand_in(payments)
            node.connect(other)
            until("two nodes together", lambda: node.peers() == other.peers() == 1)
            during("known", lambda: other.mine(1), lambda: node.tip() == other.tip())
            block = full_block()
            raw = node.rpc.request("submitblock", other.rpc.call("getblock", block, 0))
            during("submitted", lambda: node.rpc.exchange(raw), lambda: node.tip() == block)
            during("left", lambda: node.rpc.call("invalidateblock", block))
            during("again", lambda: node.rpc.call("reconsiderblock", block))
            node.rpc.call("importkey", export_key(SECRET))
            block = full_block()
            during("owned", lambda: node.connect(other), lambda: node.tip() == block)
            during("answers", lambda: node.rpc.call("getblock", block, 2))
            part()
            during("owned", lambda: node.rpc.call("invalidateblock", block))
            during("answers", lambda: [node.rpc.call(method, *params) for method, params in LARGE])
        return spans, prober, node.seen()


MEASURES = {
    "lag": Measure(
        take_lag,
        {
            f"{name}, {what}": Figure("ms", must=Bound(50) if what == "lag p99" else None)
            for name in WHILES
            for what in ("lag p99", "lag max", "call p99")
        },
        runs=1,
        compared=False,
    )
}
