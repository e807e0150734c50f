"""The gate for headers: honest, orphaned, early, light, too many."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from msgspec.structs import replace

from consensus.errors import ConsensusError, Rule
from consensus.params import REGTEST, local_params, sim_params
from consensus.types import Block, BlockHash, Header
from node import header_chain
from node.chain_events import BlockStatus, HeaderStatus, TipChanged
from node.chain_limits import LOW_WORK_MARGIN, MAX_EARLY
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import BODIES, HEADERS, TABLES
from tests.support.chain import ChainBuilder, ManualClock, feed, running
from tests.support.rules import find_nonce

PARAMS = replace(REGTEST, coinbase_maturity=2)
EASY = sim_params(10, 0x207FFFFF, 0x207FFFFF)
"""A network with a clock limit (120 s) and next to no work."""


def new_database() -> MemoryDatabase:
    return MemoryDatabase(TABLES)


async def test_headers_are_taken_once_and_survive_a_restart() -> None:
    chain, database = ChainBuilder(), new_database()
    headers = [block.header for block in chain.mine_chain(None, 12)]
    async with running(database) as node:
        result = node.accept_headers(headers)
        assert (result.status, result.added) == (HeaderStatus.ADDED, 12)
        assert result.entry is node.index.best_header
        again = node.accept_headers(headers[3:7])
        assert (again.status, again.added) == (HeaderStatus.KNOWN, 0)
        assert again.entry is node.index.get(headers[6].hash)
        assert node.tip.height == 0
    async with running(database) as node:
        assert node.index.best_header.hash == headers[-1].hash
        assert [node.read_header(entry) for entry in node.index][1:] == headers


async def test_a_state_that_is_rebuilt_after_a_restart_is_the_one_that_was() -> None:
    params = local_params(bytes(16))
    params = replace(params, start_bits=0x207FFFFF, limit_bits=0x207FFFFF)
    chain, database = ChainBuilder(params), new_database()
    random, time, parent = Random(3), 1_799_990_000, None
    blocks: list[Block] = []
    for _ in range(60):
        time += random.choice([0, 1, 3, 5, 9, 40])
        state = chain.state(parent)
        parent = chain.mine(parent, time=max(time, state.median_time + 1))
        blocks.append(parent)
    async with running(database, params) as node:
        await feed(node, blocks)
    async with running(database, params) as node:
        for entry in node.index:
            assert node.state_of(entry) == chain.state(entry.hash)
        assert len({id(entry.anchor) for entry in node.index}) < 60


async def test_a_header_without_its_parent_is_an_orphan_and_nothing_is_kept() -> None:
    """A054, A055"""
    random, database = Random(5), new_database()
    async with running(database) as node:
        for _ in range(300):
            header = find_nonce(Header(1, BlockHash(random.randbytes(32)), bytes(32), 1_800_000_000, 0x207FFFFF, 0))
            assert node.accept_header(header).status is HeaderStatus.ORPHAN
            block = Block(header, REGTEST.genesis.transactions)
            assert (await node.accept_block(block)).status is BlockStatus.ORPHAN
        assert len(node.index) == 1
    assert len(list(database.scan(HEADERS))) == 1
    assert len(list(database.scan(BODIES))) == 1


async def test_headers_before_the_one_that_breaks_a_rule_are_taken() -> None:
    chain = ChainBuilder()
    headers = [block.header for block in chain.mine_chain(None, 4)]
    bad = find_nonce(replace(headers[-1], bits=0x207FFFFE))
    async with running(new_database()) as node:
        with pytest.raises(ConsensusError) as refused:
            node.accept_headers([*headers[:3], bad])
        assert refused.value.rule is Rule.BAD_BITS
        assert node.index.best_header.hash == headers[2].hash


async def test_a_run_that_does_not_hang_together_is_refused() -> None:
    """A054"""
    chain = ChainBuilder()
    headers = [block.header for block in chain.mine_chain(None, 4)]
    async with running(new_database()) as node:
        with pytest.raises(ConsensusError) as refused:
            node.accept_headers([headers[0], headers[2]])
        assert refused.value.rule is Rule.BAD_PREVIOUS


async def test_an_early_header_is_not_invalid_and_is_taken_when_due() -> None:
    """A049: both sides of the limit, and the retry by the node itself."""
    chain, clock = ChainBuilder(EASY), ManualClock()
    on_time = chain.mine(None, time=clock.now + 120)
    early = chain.mine(None, time=clock.now + 121)
    child = chain.mine(early)
    async with running(new_database(), EASY, clock=clock) as node:
        due: list[BlockHash] = []
        node.header_listeners.append(lambda entry: due.append(entry.hash))
        assert node.accept_header(on_time.header).status is HeaderStatus.ADDED
        result = node.accept_headers([early.header, child.header])
        assert (result.status, result.added, result.entry) == (HeaderStatus.EARLY, 0, node.index.genesis)
        assert node.index.get(early.hash) is None
        node._retry_early()
        assert node.index.get(early.hash) is None
        clock.now += 1
        node._retry_early()
        assert node.index.get(early.hash) is not None
        assert due == [early.hash]


async def test_an_early_block_is_connected_when_due() -> None:
    """A049, A191"""
    chain, clock = ChainBuilder(EASY), ManualClock()
    block = chain.mine(None, time=clock.now + 500)
    async with running(new_database(), EASY, clock=clock) as node:
        changes = asyncio.Queue[TipChanged]()
        node.tip_listeners.append(changes.put_nowait)
        assert (await node.accept_block(block)).status is BlockStatus.EARLY
        assert (await node.accept_block(block)).status is BlockStatus.EARLY
        clock.now += 380
        node._retry_early()
        assert (await changes.get()).connected == (block,)


async def test_early_headers_are_bounded_and_the_soonest_due_are_kept() -> None:
    """A049"""
    chain, clock = ChainBuilder(EASY), ManualClock()
    blocks = [chain.mine(None, time=clock.now + 1000 - n) for n in range(MAX_EARLY + 20)]
    async with running(new_database(), EASY, clock=clock) as node:
        for block in blocks:
            assert (await node.accept_block(block)).status is BlockStatus.EARLY
        early = node._headers.early
        assert len(early) == MAX_EARLY
        assert [kept.header.time for kept in early.take_due(2**32)] == sorted(b.header.time for b in blocks)[:MAX_EARLY]


@pytest.mark.parametrize("back", [LOW_WORK_MARGIN, LOW_WORK_MARGIN + 1, LOW_WORK_MARGIN + 2])
async def test_headers_that_fork_off_far_back_are_stored_only_with_work_enough(back: int) -> None:
    """A052, A053, A099: the bound is the work of the last header, however many there are."""
    chain = ChainBuilder()
    trunk = chain.mine_chain(None, LOW_WORK_MARGIN + 5)
    fork = trunk[-1 - back]
    branch = chain.mine_chain(fork, 4)
    needed = max(0, back - LOW_WORK_MARGIN)
    database = new_database()
    async with running(database) as node:
        await feed(node, trunk)
        before = len(node.index)
        for block in (chain.mine(fork) for _ in range(50)):
            status = node.accept_header(block.header).status
            assert status is (HeaderStatus.LOW_WORK if needed > 1 else HeaderStatus.ADDED)
            result = await node.accept_block(block)
            assert result.status is (BlockStatus.LOW_WORK if needed > 1 else BlockStatus.SIDE_BRANCH)
        assert len(node.index) == before + (0 if needed > 1 else 50)
        assert node.accept_headers([b.header for b in branch]).status is HeaderStatus.ADDED
        assert node.accept_headers([b.header for b in branch]).status is HeaderStatus.KNOWN
    async with running(database) as node:
        assert node.index.get(branch[-1].hash) is not None


async def test_a_block_that_was_asked_for_is_stored_however_light() -> None:
    chain = ChainBuilder()
    trunk = chain.mine_chain(None, LOW_WORK_MARGIN + 5)
    block = chain.mine(None)
    async with running(new_database()) as node:
        await feed(node, trunk)
        assert (await node.accept_block(block)).status is BlockStatus.LOW_WORK
        assert (await node.accept_block(block, wanted=True)).status is BlockStatus.SIDE_BRANCH


async def test_headers_without_bodies_are_bounded_on_a_fresh_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """A052: what ran ahead is kept within a window; bodies move it on, and what nobody delivers is forgotten."""
    monkeypatch.setattr(header_chain, "MAX_UNBACKED_HEADERS", 20)
    chain = ChainBuilder()
    trunk = chain.mine_chain(None, 30)
    headers = [block.header for block in trunk]
    light = chain.mine_chain(None, 5)
    flood = chain.mine_chain(None, 19)
    async with running(new_database()) as node:
        assert node.accept_headers([block.header for block in light]).status is HeaderStatus.ADDED
        # What is off the best branch makes way for it.
        assert node.accept_headers(headers[:18]).status is HeaderStatus.FULL
        assert node.accept_headers(headers[:15]).status is HeaderStatus.ADDED
        assert node.accept_headers(headers[15:20]).status is HeaderStatus.ADDED
        assert node.index.get(light[-1].hash) is None
        assert node.accept_headers(headers[20:25]).status is HeaderStatus.FULL
        await feed(node, trunk[:5])
        assert node.accept_headers(headers[20:25]).status is HeaderStatus.ADDED
        # A peer that fills the window with headers of which it has no bodies:
        assert node.forget_headers() == 20
        assert node.accept_headers([block.header for block in flood]).status is HeaderStatus.ADDED
        assert node.accept_headers(headers[5:20]).status is HeaderStatus.FULL
        assert node.forget_headers() == 19
        assert node.accept_headers(headers[5:20]).status is HeaderStatus.ADDED
        await feed(node, trunk)
        assert node.tip.hash == trunk[-1].hash


async def test_headers_that_a_flood_left_are_forgotten_at_the_next_start() -> None:
    """A052"""
    chain, database = ChainBuilder(), new_database()
    junk = chain.mine_chain(None, 40)
    trunk = chain.mine_chain(None, LOW_WORK_MARGIN + 100)
    async with running(database) as node:
        node.accept_headers([block.header for block in junk])
        await feed(node, trunk)
    assert len(list(database.scan(HEADERS))) == 1 + 40 + len(trunk)
    async with running(database) as node:
        assert len(node.index) == 1 + len(trunk)
    assert len(list(database.scan(HEADERS))) == 1 + len(trunk)
