"""`connect`: blocks taken by the chain manager, over its real database, without a network."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from consensus.codec import decode_block
from consensus.merkle import merkle_root
from consensus.params import REGTEST
from consensus.pow import target_from_bits
from consensus.types import Block, Header, Transaction
from node.block_template import BlockTemplates
from node.chain import ChainManager
from node.clock import SystemClock
from node.mempool import Mempool
from node.storage.chain_store import ChainStore
from node.storage.lmdb_store import LmdbDatabase
from node.storage.schema import STORAGE_VERSION, TABLES
from node.workers import ProcessWorkers
from scripts.benchmarks.harness import Figure, Measure, Sample, silent_log
from scripts.benchmarks.measures.pool import LOCK, Payer
from scripts.benchmarks.programs import Program

PER_BLOCK = 1_000
BLOCKS = 5
"""Of each kind in a run."""


def take_connect(_kind: type[Program]) -> Iterator[Sample]:
    """Transactions a second, decoded, checked and written; new ones, and those that the mempool has verified."""
    yield from asyncio.run(_connect())


class Bench(NamedTuple):
    """A chain of its own on the disk, and what feeds it."""

    store: ChainStore
    chain: ChainManager
    mempool: Mempool
    templates: BlockTemplates

    async def connect(self, transactions: list[Transaction]) -> float:
        """Have a block of these transactions connected; return how many a second."""
        raw = _block(self.templates, transactions).encoded
        began = time.perf_counter()
        result = await self.chain.accept_block(decode_block(raw), wanted=True)
        seconds = time.perf_counter() - began
        if result.error is not None:
            raise SystemExit(f"a block of the bench is not valid: {result.error}")
        return len(transactions) / seconds


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """The parts of a daemon that connect blocks, with their workers."""
    with tempfile.TemporaryDirectory(prefix="dure-bench-") as folder:
        database = LmdbDatabase(Path(folder) / "chain", TABLES, version=STORAGE_VERSION, identity=REGTEST.genesis_hash)
        store, workers, clock = ChainStore(database, REGTEST), ProcessWorkers(silent_log()), SystemClock()
        chain = ChainManager(REGTEST, store, workers, clock, silent_log())
        mempool = Mempool(REGTEST, chain, clock, workers, silent_log())
        chain.tip_listeners.append(lambda change: mempool.on_tip_changed(change).facts())
        await chain.start()
        yield Bench(store, chain, mempool, BlockTemplates(REGTEST, chain, mempool, clock))
        await chain.close()
        await workers.close()
        store.close()


async def _connect() -> list[Sample]:
    taken: list[Sample] = []
    async with bench() as node:
        payer = Payer(node.store)
        for number in range(2 * BLOCKS + 1):
            payments = [payer.payment() for _ in range(PER_BLOCK)]
            known = number % 2 == 0
            for tx in payments if known else ():
                await node.mempool.accept_transaction(tx)
            rate = await node.connect(payments)
            if number:  # the first starts the workers
                taken.append(Sample("connect_known" if known else "connect_new", rate))
    return taken


def _block(templates: BlockTemplates, payments: list[Transaction]) -> Block:
    """A block with all of these payments, and a little work."""
    template = templates.create(LOCK)
    transactions = (template.coinbase, *payments)
    root = merkle_root([tx.wtxid for tx in transactions])
    target = target_from_bits(template.bits)
    nonce = 0
    while True:
        header = Header(1, template.previous, root, template.time, template.bits, nonce)
        if int.from_bytes(header.hash, "little") <= target:
            return Block(header, transactions)
        nonce += 1


MEASURES = {
    "connect": Measure(
        take_connect,
        {"connect_new": Figure("tx/s", True), "connect_known": Figure("tx/s", True)},
        runs=2,
        compared=False,
    )
}
