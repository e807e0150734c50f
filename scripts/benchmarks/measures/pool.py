"""`template`, `pool`: what a template costs, and what a payment costs, as the mempool fills up.

The parts are those of the daemon: the rules, the coins in LMDB, the signatures. Payments are real ones, each of a
coin of its own, with fee rates as chance has them; every tenth spends an output of an earlier one.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from consensus.codec import MAX_BLOCK_SIZE, lock_digest, spend_message
from consensus.params import REGTEST
from consensus.signatures import public_key, sign
from consensus.spend_policy import policy_id, satisfy
from consensus.types import Amount, Coin, Core, Key, LockId, OutPoint, Output, Transaction, TxId
from node.api.long_answers import encode_in_pieces
from node.api.methods.mining import template_view
from node.block_template import BlockTemplates
from node.chain import ChainManager
from node.clock import SystemClock
from node.mempool import Mempool
from node.relay_policy import MIN_FEE_RATE
from node.storage.chain_store import ChainStore, Step
from node.storage.lmdb_store import LmdbDatabase
from node.storage.schema import STORAGE_VERSION, TABLES
from node.workers import InlineWorkers
from scripts.benchmarks.harness import Bound, Figure, Measure, Sample, silent_log
from scripts.benchmarks.programs import Program

SECRET = (7).to_bytes(32, "big")
POLICY = Key(public_key(SECRET))
LOCK: LockId = policy_id(POLICY)
VALUE = 10_000_000
POOL_BYTES = 300_000_000
"""Of memory, as the mempool counts it and as `mempool_mb` bounds it: Bitcoin Core's maxmempool."""
COINS_AT_ONCE = 20_000
TEMPLATES = 20
PROBE = 1_000
"""Payments that one figure of the cost of acceptance is the median of."""


class Payer:
    """Makes payments, in an order that is the same on every run."""

    def __init__(self, store: ChainStore) -> None:
        self._store = store
        self._chance = random.Random(1)
        self._next = 0
        self._free: list[tuple[OutPoint, Output]] = []
        self._change: list[tuple[OutPoint, Output]] = []

    def payment(self) -> Transaction:
        """A payment with two outputs, the usual form: 1 to 100 grain a byte."""
        if self._change and self._chance.random() < 0.1:
            outpoint, output = self._change.pop(self._chance.randrange(len(self._change)))
        else:
            if not self._free:
                self._make_coins()
            outpoint, output = self._free.pop()
        fee = int(MIN_FEE_RATE * 10 ** self._chance.uniform(0, 2)) * 300 // 1_000
        rest = output.value - fee
        outputs = (Output(Amount(rest // 3), LOCK, None), Output(Amount(rest - rest // 3), LOCK, None))
        core = Core(1, (outpoint,), outputs, (), (), b"")
        message = spend_message(REGTEST.genesis_hash, core, [output])
        tx = Transaction(core, (satisfy(POLICY, lambda _key: sign(SECRET, lock_digest(message, LOCK)), {}),))
        if outpoint.index == 0:
            self._change.append((OutPoint(tx.txid, 1), outputs[1]))
        return tx

    def _make_coins(self) -> None:
        output = Output(Amount(VALUE), LOCK, None)
        places = [OutPoint(TxId((self._next + n).to_bytes(32, "big")), 0) for n in range(1, COINS_AT_ONCE + 1)]
        self._next += COINS_AT_ONCE
        step = Step()
        step.put_coins({place: Coin(output, 0, False) for place in places})
        self._store.write(step)
        self._free = [(place, output) for place in places]


@asynccontextmanager
async def pool() -> AsyncIterator[tuple[Mempool, BlockTemplates, Payer]]:
    """A mempool on a chain on disk, empty."""
    with tempfile.TemporaryDirectory(prefix="dure-bench-") as folder:
        database = LmdbDatabase(Path(folder) / "chain", TABLES, version=STORAGE_VERSION, identity=REGTEST.genesis_hash)
        store = ChainStore(database, REGTEST)
        workers, clock = InlineWorkers(), SystemClock()
        chain = ChainManager(REGTEST, store, workers, clock, silent_log())
        mempool = Mempool(REGTEST, chain, clock, workers, silent_log(), max_bytes=POOL_BYTES)
        try:
            yield mempool, BlockTemplates(REGTEST, chain, mempool, clock), Payer(store)
        finally:
            store.close()


async def _filled(mempool: Mempool, payer: Payer, memory: float) -> None:
    while mempool.memory < memory:
        await mempool.accept_transaction(payer.payment())


async def _times(mempool: Mempool, payer: Payer, count: int) -> list[float]:
    """Seconds that each of so many more payments takes."""
    taken: list[float] = []
    for _ in range(count):
        tx = payer.payment()
        began = time.perf_counter()
        await mempool.accept_transaction(tx)
        taken.append(time.perf_counter() - began)
    return taken


def take_growth(_kind: type[Program]) -> Iterator[Sample]:
    """Microseconds that a payment costs mempools of 3 and 300 MB, all checks included, and their ratio."""
    small, large = asyncio.run(_growth())
    yield Sample("accept_3mb", small * 1e6)
    yield Sample("accept_300mb", large * 1e6)
    yield Sample("mempool_growth", large / small)


async def _growth() -> tuple[float, float]:
    async with pool() as (mempool, _, payer):
        await _filled(mempool, payer, POOL_BYTES / 100)
        small = statistics.median(await _times(mempool, payer, PROBE))
        await _filled(mempool, payer, POOL_BYTES * 0.99)
        large = statistics.median(await _times(mempool, payer, PROBE))
        return small, large


def take_template(_kind: type[Program]) -> Iterator[Sample]:
    """Milliseconds for a template of 4 MiB from a mempool of 300 MB in which a payment has just come.

    Then for the answer to getblocktemplate that is made of it, without the way to the miner.
    """
    yield from asyncio.run(_templates())


async def _templates() -> list[Sample]:
    taken: list[Sample] = []
    async with pool() as (mempool, templates, payer):
        await _filled(mempool, payer, POOL_BYTES * 0.99)
        for _ in range(TEMPLATES):
            await mempool.accept_transaction(payer.payment())
            began = time.perf_counter()
            templates.create(LOCK)
            taken.append(Sample("template", (time.perf_counter() - began) * 1000))
            began = time.perf_counter()
            b"".join(encode_in_pieces(template_view(templates.create(LOCK))))
            taken.append(Sample("template_answer", (time.perf_counter() - began) * 1000))
        if sum(entry.size for entry in templates.create(LOCK).entries) < 0.99 * MAX_BLOCK_SIZE:
            raise SystemExit("the template is not full")
    return taken


MEASURES = {
    "template": Measure(
        take_template,
        {"template": Figure("ms", must=Bound(100)), "template_answer": Figure("ms")},
        runs=1,
        compared=False,
    ),
    "pool": Measure(
        take_growth,
        {"accept_3mb": Figure("µs"), "accept_300mb": Figure("µs"), "mempool_growth": Figure("x", must=Bound(1.5))},
        runs=3,
        compared=False,
    ),
}
