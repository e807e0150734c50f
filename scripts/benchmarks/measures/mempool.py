"""`mempool`: transactions handed in over JSON-RPC."""

from __future__ import annotations

import time
from collections.abc import Iterator

from scripts.benchmarks.harness import Bound, Figure, Measure, Sample
from scripts.benchmarks.money import purse_for
from scripts.benchmarks.programs import Program, drain, until

TRANSACTIONS = 5_000
BATCH = 100


def take_mempool(kind: type[Program]) -> Iterator[Sample]:
    """Transactions a second until all are in the mempool, handed in one by one and in batches of a hundred."""
    purse = purse_for(kind)
    with kind() as node:
        coins = purse.fund(node, 2 * TRANSACTIONS)
        for figure in ("mempool_single", "mempool_batch"):
            transactions = [purse.pay(coins.pop()) for _ in range(TRANSACTIONS)]
            requests = [node.rpc.request(node.hand_in_call, each) for each in transactions]
            began = time.monotonic()
            if figure == "mempool_single":
                for request in requests:
                    node.rpc.exchange(request)
            else:
                node.hand_in(transactions, BATCH)
            until("a full mempool", lambda: node.waiting() == TRANSACTIONS)
            yield Sample(figure, TRANSACTIONS / (time.monotonic() - began))
            drain(node)


MEASURES = {
    "mempool": Measure(
        take_mempool,
        {
            "mempool_single": Figure("tx/s", True, must=Bound(1.0, of_peer=True), aim=Bound(1.5, of_peer=True)),
            "mempool_batch": Figure("tx/s", True, must=Bound(2.0, of_peer=True), aim=Bound(4.0, of_peer=True)),
        },
        runs=3,
    )
}
