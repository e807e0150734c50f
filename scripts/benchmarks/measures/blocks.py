"""`sync`: a fresh node catches up with another; `mining`: the search for a nonce."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

from consensus.params import MAIN
from miner.search import search
from scripts.benchmarks.harness import Bound, Figure, Measure, Sample
from scripts.benchmarks.money import purse_for
from scripts.benchmarks.programs import Program, drain

EMPTY_BLOCKS = 5_000
TRANSACTIONS = 20_000
PER_BLOCK = 1_000
SINKS = 2
"""Fresh nodes that catch up with one source, one after the other."""
TRIES = 1_000_000


def take_sync(kind: type[Program]) -> Iterator[Sample]:
    """Blocks a second of an empty chain, and signed transactions a second of a full one.

    From the call that connects a running fresh node to its being on the source's tip.
    """
    with kind.source()() as source:
        source.mine(EMPTY_BLOCKS)
        for _ in range(SINKS):
            yield Sample("sync_empty", EMPTY_BLOCKS / kind.catch_up(source))
    purse = purse_for(kind)
    with kind.source()() as source:
        coins = purse.fund(source, TRANSACTIONS)
        while coins:
            source.hand_in([purse.pay(coins.pop()) for _ in range(min(PER_BLOCK, len(coins)))])
            drain(source)
        for _ in range(SINKS):
            yield Sample("sync_tx", TRANSACTIONS / kind.catch_up(source))


def take_mining(_kind: type[Program]) -> Iterator[Sample]:
    """How much of a bare loop over hashlib's SHA-256d the miner's search reaches, on one core, with main's target."""
    header = MAIN.genesis.header
    began = time.perf_counter()
    search(header, TRIES)
    ours = TRIES / (time.perf_counter() - began)
    prefix, sha256 = header.encoded[:76], hashlib.sha256
    base = sha256(prefix)
    began = time.perf_counter()
    for nonce in range(TRIES):
        tried = base.copy()
        tried.update(nonce.to_bytes(4, "little"))
        sha256(tried.digest()).digest()
    yield Sample("mining", ours * (time.perf_counter() - began) / TRIES)


MEASURES = {
    "sync": Measure(
        take_sync,
        {
            "sync_empty": Figure("blocks/s", True, must=Bound(1_600), aim=Bound(3_000)),
            "sync_tx": Figure("tx/s", True, must=Bound(1.0, of_peer=True), aim=Bound(1.3, of_peer=True)),
        },
        runs=2,
    ),
    "mining": Measure(take_mining, {"mining": Figure("x", True, must=Bound(0.9))}, runs=5, compared=False),
}
