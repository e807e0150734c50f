"""Blocks and followers: what becomes of a block, mutated, invalid or in any order, and how a follower sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from random import Random

import pytest
from msgspec.structs import replace

from consensus.errors import ConsensusError, Rule
from consensus.params import REGTEST, sim_params
from consensus.types import Block, BlockHash
from node.chain import ChainClosedError
from node.chain_events import BlockStatus, TipChanged, UnknownCursorError
from node.storage.chain_store import ChainStore
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import COINS, INVALID, TABLES
from tests.support.chain import (
    ChainBuilder,
    chain_manager,
    feed,
    lines,
    recorder,
    reward_of,
    running,
    stored_coins,
)
from tests.support.rules import build, coinbase, pay

PARAMS = replace(REGTEST, coinbase_maturity=2)
EASY = sim_params(10, 0x207FFFFF, 0x207FFFFF)
"""A network with a clock limit (120 s) and next to no work."""


def new_database() -> MemoryDatabase:
    return MemoryDatabase(TABLES)


class CountingDatabase(MemoryDatabase):
    """Remembers what was put."""

    def __init__(self, tables: Sequence[str]) -> None:
        super().__init__(tables)
        self.put: list[tuple[str, bytes]] = []

    def write(self, changes: Iterable[tuple[str, bytes, bytes | None]], *, clear: Sequence[str] = ()) -> None:
        changes = list(changes)
        self.put += [(table, key) for table, key, value in changes if value is not None]
        super().write(changes, clear=clear)


async def test_a_mutated_body_condemns_its_sender_and_never_the_header() -> None:
    """A021, A097"""
    chain = ChainBuilder(PARAMS)
    trunk = chain.mine_chain(None, 4)
    payments = [chain.spend(trunk[-1], [reward_of(trunk[n])], [pay(2, 10**9)]) for n in range(2)]
    block = chain.mine(trunk[-1], payments)
    database = new_database()
    async with running(database, PARAMS) as node:
        await feed(node, trunk)
        for transactions in ((), block.transactions[:2], (*block.transactions, block.transactions[-1])):
            result = await node.accept_block(Block(block.header, transactions))
            assert result.status is BlockStatus.MUTATED
            assert result.error is not None
            assert result.error.rule in {Rule.MERKLE_ROOT, Rule.NO_TRANSACTIONS}
        assert not list(database.scan(INVALID))
        assert (await node.accept_block(block)).status is BlockStatus.CONNECTED


async def test_what_builds_on_an_invalid_block_is_refused_unseen_also_after_a_restart() -> None:
    """A057"""
    chain, database = ChainBuilder(), new_database()
    trunk = chain.mine_chain(None, 2)
    bad = chain.mine(trunk[-1], reward=51 * 10**8)
    first = chain.mine(bad, reward=0, valid=False)
    later = [first]
    for _ in range(20):
        later.append(chain.mine(later[-1], reward=0, valid=False))
    async with running(database) as node:
        node.accept_headers([*(b.header for b in trunk), bad.header, first.header])
        results = await feed(node, [*trunk, bad, first])
        assert [result.status for result in results[2:]] == [BlockStatus.INVALID] * 2
        assert results[3].error is not None
        assert results[3].error.rule is Rule.INVALID_PARENT
        assert node.index.best_header.hash == trunk[-1].hash
    for _ in range(2):
        async with running(database) as node:
            size = len(node.index)
            with pytest.raises(ConsensusError) as refused:
                node.accept_headers([block.header for block in later])
            assert refused.value.rule is Rule.INVALID_PARENT
            with pytest.raises(ConsensusError) as refused:
                node.accept_header(bad.header)
            assert refused.value.rule is Rule.COINBASE_VALUE
            result = await node.accept_block(later[5], wanted=True)
            assert result.status in {BlockStatus.INVALID, BlockStatus.ORPHAN}
            assert len(node.index) == size
            assert node.tip.hash == trunk[-1].hash


async def test_a_block_that_is_invalid_by_itself_is_marked_before_its_turn() -> None:
    """A013: no parent's body is needed to refuse it."""
    chain = ChainBuilder()
    first = chain.mine(None)
    second = build(chain.params, chain.state(first), [coinbase(2, [pay(1, 1)]), coinbase(2, [pay(2, 1)])])
    async with running(new_database()) as node:
        node.accept_headers([first.header, second.header])
        result = await node.accept_block(second)
        assert result.status is BlockStatus.INVALID
        assert result.error is not None
        assert result.error.rule is Rule.COINBASE_FIRST
        assert node.index.best_header.hash == first.hash


async def test_blocks_in_any_order_lead_to_the_same_tip() -> None:
    chain = ChainBuilder(PARAMS)
    blocks = chain.mine_chain(None, 30)
    for seed in range(10):
        order = blocks.copy()
        Random(seed).shuffle(order)
        database = new_database()
        async with running(database, PARAMS) as node:
            node.accept_headers([block.header for block in blocks])
            results = await feed(node, order)
            assert {result.status for result in results} <= {BlockStatus.WAITING, BlockStatus.CONNECTED}
            assert node.tip == chain.state(blocks[-1])
            assert (await node.accept_block(blocks[0])).status is BlockStatus.KNOWN


async def test_blocks_that_wait_together_are_written_together() -> None:
    chain, database = ChainBuilder(PARAMS), new_database()
    blocks = chain.mine_chain(None, 50)
    async with running(database, PARAMS) as node:
        changes = list[TipChanged]()
        node.tip_listeners.append(changes.append)
        writes = database.writes
        results = await asyncio.gather(*(node.accept_block(block) for block in blocks))
        assert {result.status for result in results} == {BlockStatus.CONNECTED}
        assert database.writes - writes == 1
        assert [block for change in changes for block in change.connected] == blocks
        assert [change.disconnected for change in changes] == [()]


async def test_a_coin_that_comes_and_goes_within_a_step_is_never_written() -> None:
    chain = ChainBuilder(PARAMS)
    trunk = chain.mine_chain(None, 3)
    coin = reward_of(trunk[0])
    blocks: list[Block] = []
    for _ in range(10):
        parent = blocks[-1] if blocks else trunk[-1]
        value = chain.coins(parent)[coin].output.value
        payment = chain.spend(parent, [coin], [pay(1, value)])
        blocks.append(chain.mine(parent, [payment]))
        coin = replace(coin, txid=payment.txid)
    database = CountingDatabase(TABLES)
    async with running(database, PARAMS) as node:
        await feed(node, trunk)
        database.put.clear()
        await asyncio.gather(*(node.accept_block(block) for block in blocks))
    written = [key for table, key in database.put if table == COINS]
    assert len(written) == 11  # ten rewards, and the last of the ten payments
    assert stored_coins(ChainStore(database, PARAMS)) == chain.coins(blocks[-1])


async def test_whoever_stops_waiting_does_not_stop_the_block() -> None:
    """A202"""
    chain = ChainBuilder()
    blocks = chain.mine_chain(None, 2)
    async with running(new_database()) as node:
        task = asyncio.create_task(node.accept_block(blocks[0]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await node.accept_block(blocks[1], wanted=True)).status is BlockStatus.CONNECTED
        assert node.tip.height == 2


async def test_after_closing_every_caller_hears_so() -> None:
    chain, database = ChainBuilder(), new_database()
    blocks = chain.mine_chain(None, 3)
    async with running(database) as node:
        waiting = [asyncio.create_task(node.accept_block(block, wanted=True)) for block in blocks]
        await asyncio.sleep(0)
        await node.close()
        for answer in await asyncio.gather(*waiting, return_exceptions=True):
            assert not isinstance(answer, BaseException) or isinstance(answer, ChainClosedError)
        with pytest.raises(ChainClosedError):
            await node.accept_block(blocks[0])
        with pytest.raises(ChainClosedError):
            async with node.standing_still():
                pass
    manager = chain_manager(database)
    with pytest.raises(ChainClosedError):
        await manager.accept_block(blocks[0])
    await manager.close()


async def test_blocks_wait_while_the_chain_stands_still() -> None:
    chain = ChainBuilder()
    block = chain.mine(None)
    async with running(new_database()) as node:
        async with node.standing_still():
            task = asyncio.create_task(node.accept_block(block))
            for _ in range(20):
                await asyncio.sleep(0)
            assert node.tip.height == 0
            assert not task.done()
        assert (await task).status is BlockStatus.CONNECTED


async def test_readers_who_never_stop_hold_up_no_block() -> None:
    """A176: those who wait read side by side; who comes meanwhile waits for a block that was there before him."""
    chain = ChainBuilder()
    block = chain.mine(None)
    together = most = rounds = 0
    async with running(new_database()) as node:

        async def read() -> None:
            nonlocal together, most, rounds
            while node.tip.height == 0 and rounds < 1_000:
                async with node.standing_still():
                    rounds += 1
                    together += 1
                    most = max(most, together)
                    for _ in range(5):
                        await asyncio.sleep(0)
                    together -= 1

        readers = [asyncio.create_task(read()) for _ in range(3)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert (await node.accept_block(block)).status is BlockStatus.CONNECTED
        await asyncio.gather(*readers)
    assert rounds < 100
    assert most == 3


async def test_a_long_sync_shares_one_log_line() -> None:
    chain, (log, entries) = ChainBuilder(), recorder()
    blocks = chain.mine_chain(None, 40)
    async with running(new_database(), log=log) as node:
        await asyncio.gather(*(node.accept_block(block, wanted=True) for block in blocks))
    (line,) = lines(entries, "blocks_connected")
    assert (line["first_height"], line["height"]) == (1, 40)
    assert not list(lines(entries, "block_connected"))


# Followers


async def test_a_follower_reverts_and_applies_its_way_to_the_tip() -> None:
    chain = ChainBuilder(PARAMS)
    blocks = chain.draw("""
        genesis a1 a2 a3 a4
        a1 b2 b3 b4 b5 b6
    """)
    async with running(new_database(), PARAMS) as node:
        await feed(node, blocks.values())
        for start in (*blocks, "genesis"):
            for limit in (1, 2, 100):
                cursor = blocks[start].hash if start != "genesis" else PARAMS.genesis_hash
                seen: list[str] = []
                while True:
                    updates = node.updates_since(cursor, limit)
                    assert 0 < len(updates.reverted) + len(updates.applied) <= limit or not updates.more
                    names = {block.hash: name for name, block in blocks.items()}
                    seen += [f"-{names[block.hash]}" for block in updates.reverted]
                    seen += [f"+{names[block.hash]}" for block in updates.applied]
                    for place, block in enumerate(updates.applied):
                        assert chain.state(block).height == updates.fork_height + 1 + place
                    cursor = updates.cursor(cursor)
                    if not updates.more:
                        break
                back = ["-a4", "-a3", "-a2"][-max(0, int(start[1]) - 1) :] if start in {"a2", "a3", "a4"} else []
                first = int(start[1]) if start.startswith("b") else 0 if start == "genesis" else 1
                forth = ["+a1", "+b2", "+b3", "+b4", "+b5", "+b6"][first:]
                assert seen == back + forth
                assert cursor == blocks["b6"].hash


async def test_a_cursor_that_was_never_here_is_refused() -> None:
    chain = ChainBuilder()
    block = chain.mine(None)
    async with running(new_database()) as node:
        node.accept_header(block.header)
        for cursor in (block.hash, BlockHash(bytes(32))):
            with pytest.raises(UnknownCursorError):
                node.updates_since(cursor)


async def test_blocks_are_read_by_id_and_by_height() -> None:
    chain = ChainBuilder()
    blocks = chain.draw("""
        genesis a1 a2
        genesis b1
    """)
    async with running(new_database()) as node:
        await feed(node, blocks.values())
        assert node.block_at(0) == REGTEST.genesis
        assert node.block_at(2) == blocks["a2"]
        assert node.block_at(3) is None
        assert node.read_block(blocks["b1"].hash) == blocks["b1"]
        assert node.read_raw_block(blocks["b1"].hash) == blocks["b1"].encoded
        assert node.read_block(BlockHash(bytes(32))) is None
        assert node.get_coins([reward_of(blocks["a1"]), reward_of(blocks["b1"])]).keys() == {reward_of(blocks["a1"])}
