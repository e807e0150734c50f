"""All measures, by the name that is typed."""

from __future__ import annotations

from scripts.benchmarks.harness import Measure
from scripts.benchmarks.measures import (
    assets,
    blocks,
    calls,
    connect,
    deposits,
    devnet,
    lag,
    mempool,
    network,
    pool,
    process,
    simulated,
    throughput,
    wallet,
    watching,
)

MEASURES: dict[str, Measure] = {
    **process.MEASURES,
    **network.MEASURES,
    **mempool.MEASURES,
    **blocks.MEASURES,
    **calls.MEASURES,
    **devnet.MEASURES,
    **pool.MEASURES,
    **connect.MEASURES,
    **assets.MEASURES,
    **lag.MEASURES,
    **wallet.MEASURES,
    **deposits.MEASURES,
    **watching.MEASURES,
    **simulated.MEASURES,
    **throughput.MEASURES,
}
