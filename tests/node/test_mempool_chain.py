"""The mempool and mining on the real chain manager: what a reorg of whole blocks does to payments."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from consensus.codec import display_hash
from consensus.types import Block, Transaction
from node.block_template import BlockTemplates
from node.chain import ChainManager
from node.mempool import Mempool
from node.mining import Generator
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import TABLES
from node.workers import InlineWorkers
from tests.support.chain import PARAMS, ChainBuilder, ManualClock, feed, lines, recorder, running
from tests.support.pool import silent_log
from tests.support.rules import lock, pay

FEE = 10_000
VALUE = 100_000_000


@asynccontextmanager
async def node() -> AsyncIterator[tuple[ChainManager, Mempool, list[Mapping[str, Any]]]]:
    """A chain manager whose tip a mempool follows, and what the former logs."""
    log, entries = recorder()
    async with running(MemoryDatabase(TABLES), log=log) as chain:
        mempool = Mempool(PARAMS, chain, ManualClock(), InlineWorkers(), silent_log())
        chain.tip_listeners.append(lambda change: mempool.on_tip_changed(change).facts())
        yield chain, mempool, entries


def ripe(builder: ChainBuilder) -> list[Block]:
    """Enough blocks that the first rewards may be spent."""
    return builder.mine_chain(None, PARAMS.coinbase_maturity + 4)


def payment(builder: ChainBuilder, tip: Block, place: int, fee: int = FEE) -> Transaction:
    """A payment of the ripe reward at `place`."""
    coin = builder.mature(tip)[place]
    value = builder.coins(tip)[coin].output.value
    return builder.spend(tip, [coin], [pay(2, value - fee)])


async def test_a_reorg_gives_payments_back_and_its_log_line_says_which() -> None:
    #   ── tip ── a1 (kept, contradicted)
    #        └─── b1 (rival) ── b2
    builder = ChainBuilder()
    trunk = ripe(builder)
    tip = trunk[-1]
    kept, contradicted = payment(builder, tip, 0), payment(builder, tip, 1)
    rival = payment(builder, tip, 1, fee=2 * FEE)
    old = builder.mine(tip, [kept, contradicted])
    new = builder.mine(tip, [rival])
    async with node() as (chain, mempool, entries):
        await feed(chain, [*trunk, old])
        assert len(mempool) == 0
        await feed(chain, [new, builder.mine(new)])
        assert [entry.tx for entry in mempool] == [kept]
        (line,) = lines(entries, "reorg_done")
        assert (line["txs_back_in_mempool"], line["txs_dropped"]) == (1, 1)
        assert line["back_in_mempool"] == [display_hash(kept.txid)]
        assert line["dropped"] == [f"{display_hash(contradicted.txid)} (conflict)"]
        mempool.check_invariants()


async def test_blocks_made_on_demand_take_what_waits_and_are_stored() -> None:
    builder = ChainBuilder()
    trunk = ripe(builder)
    async with node() as (chain, mempool, _):
        await feed(chain, trunk)
        tx = payment(builder, trunk[-1], 0)
        await mempool.accept_transaction(tx)
        templates = BlockTemplates(PARAMS, chain, mempool, ManualClock())
        generator = Generator(templates, chain, InlineWorkers(), Random(1))
        hashes = await generator.generate(3, lock(5))
        assert chain.tip.hash == hashes[-1]
        first = chain.read_block(hashes[0])
        assert first is not None
        assert first.transactions[1:] == (tx,)
        assert len(mempool) == 0


async def test_a_long_reorg_back_and_forth_loses_no_payment() -> None:
    """A061: each flip confirms the same payments on another branch."""
    builder = ChainBuilder()
    trunk = ripe(builder)
    tip = trunk[-1]
    payments = [payment(builder, tip, place) for place in range(4)]
    branches: list[list[Block]] = [[builder.mine(tip, payments[:2])], [builder.mine(tip, payments[2:])]]
    async with node() as (chain, mempool, _):
        await feed(chain, [*trunk, branches[0][0], branches[1][0]])
        for flip in range(1, 8):
            branch = branches[flip % 2]
            while len(branch) <= len(branches[1 - flip % 2]):
                branch.append(builder.mine(branch[-1]))
                await feed(chain, [branch[-1]])
            assert chain.tip.hash == branch[-1].hash
            # What this branch holds is confirmed; what the other one holds has come back.
            waiting = payments[:2] if flip % 2 else payments[2:]
            assert {entry.tx.txid for entry in mempool} == {tx.txid for tx in waiting}
            mempool.check_invariants()
