"""The operator's own verdict: a branch that breaks no rule is left, and taken back; peers are not blamed for it."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from consensus.errors import Rule
from consensus.params import REGTEST
from consensus.types import Block
from node import reorg
from node.block_index import BlockEntry
from node.chain import ChainClosedError, ChainManager
from node.chain_events import BlockStatus, HeaderStatus, TipChanged
from node.storage.chain_store import ChainStore, Step
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import SET_ASIDE, TABLES
from simnet.loop import run_virtual
from tests.support.chain import ChainBuilder, feed, lines, recorder, reward_of, running, state_hash, stored_coins
from tests.support.nodes import World, until
from tests.support.rules import pay

PARAMS = replace(REGTEST, coinbase_maturity=2)


def new_database() -> MemoryDatabase:
    return MemoryDatabase(TABLES)


def entry_of(node: ChainManager, block: Block) -> BlockEntry:
    entry = node.index.get(block.hash)
    assert entry is not None
    return entry


def at(node: ChainManager) -> bytes:
    return node.tip.hash


async def test_a_block_that_is_set_aside_goes_with_all_that_builds_on_it_and_comes_back() -> None:
    chain = ChainBuilder(PARAMS)
    a = chain.mine_chain(None, 6)
    database = new_database()
    async with running(database, PARAMS) as node:
        await feed(node, a)
        changes: list[TipChanged] = []
        node.tip_listeners.append(changes.append)
        await node.set_aside(entry_of(node, a[3]))
        assert at(node) == a[2].hash
        assert list(changes[-1].disconnected) == [a[5], a[4], a[3]]
        assert changes[-1].connected == ()
        assert state_hash(stored_coins(ChainStore(database, PARAMS))) == state_hash(chain.coins(a[2]))
        assert node.index.best_header.hash == a[2].hash
        assert [node.is_set_aside(entry_of(node, block)) for block in a] == [False] * 3 + [True] * 3
        await node.take_back(entry_of(node, a[3]))
        assert at(node) == a[5].hash
        assert list(changes[-1].connected) == a[3:]
        assert not any(entry.invalid for entry in node.index)
        assert node.index.best_header.hash == a[5].hash
        assert state_hash(stored_coins(ChainStore(database, PARAMS))) == state_hash(chain.coins(a[5]))


async def test_the_best_other_branch_is_taken_though_it_has_less_work() -> None:
    chain = ChainBuilder(PARAMS)
    named = chain.draw(
        """genesis a1 a2 a3 a4
        a1 b2 b3
        a1 c2"""
    )
    async with running(new_database(), PARAMS) as node:
        await feed(node, named.values())
        await node.set_aside(entry_of(node, named["a2"]))
        assert at(node) == named["b3"].hash
        await node.set_aside(entry_of(node, named["b3"]))
        assert at(node) == named["b2"].hash
        # Of equals the first seen: c2 has as much work as b2.
        await node.set_aside(entry_of(node, named["b2"]))
        assert at(node) == named["c2"].hash
        await node.take_back(entry_of(node, named["a4"]))  # the mark is on a2, before it
        assert at(node) == named["a4"].hash
        assert entry_of(node, named["b3"]).invalid
        await node.take_back(entry_of(node, named["b2"]))  # with b3, which descends from it
        assert not entry_of(node, named["b3"]).invalid
        assert at(node) == named["a4"].hash


async def test_blocks_beside_the_chain_can_be_set_aside_before_they_win() -> None:
    chain = ChainBuilder(PARAMS)
    named = chain.draw(
        """genesis a1 a2
        a1 b2 b3 b4"""
    )
    async with running(new_database(), PARAMS) as node:
        await feed(node, [named[name] for name in ("a1", "a2", "b2")])
        await node.set_aside(entry_of(node, named["b2"]))
        (result,) = await feed(node, [named["b3"]])
        assert (result.status, result.error) == (BlockStatus.SET_ASIDE, None)
        assert node.accept_header(named["b3"].header).status is HeaderStatus.SET_ASIDE
        assert node.accept_header(named["b2"].header).status is HeaderStatus.SET_ASIDE
        assert at(node) == named["a2"].hash
        await node.take_back(entry_of(node, named["b2"]))
        results = await feed(node, [named["b3"], named["b4"]])
        assert [result.status for result in results] == [BlockStatus.CONNECTED] * 2


async def test_a_verdict_is_kept_over_restarts_and_so_is_its_end() -> None:
    chain = ChainBuilder(PARAMS)
    a = chain.mine_chain(None, 5)
    database = new_database()
    async with running(database, PARAMS) as node:
        await feed(node, a)
        await node.set_aside(entry_of(node, a[2]))
    async with running(database, PARAMS) as node:
        assert at(node) == a[1].hash
        assert node.is_set_aside(entry_of(node, a[4]))
        await node.take_back(entry_of(node, a[2]))
    async with running(database, PARAMS) as node:
        assert at(node) == a[4].hash
        assert list(ChainStore(database, PARAMS).invalid_marks()) == []


async def test_a_stop_half_way_off_a_branch_is_gone_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """A122: a deep branch is left in several writes; each leaves the state of some block, and a start goes on."""
    monkeypatch.setattr(reorg, "BATCH_BLOCKS", 2)
    chain = ChainBuilder(PARAMS)
    a = chain.mine_chain(None, 9)
    whole = new_database()
    async with running(whole, PARAMS) as node:
        await feed(node, a)
    writes = whole.writes
    async with running(whole, PARAMS) as node:
        await node.set_aside(entry_of(node, a[1]))
    assert whole.writes > writes + 3
    database = new_database()
    async with running(database, PARAMS) as node:
        await feed(node, a)
        entry = entry_of(node, a[1])
    # The mark is on disk, and the tip still stands beyond it.
    step = Step()
    step.put_invalid(entry.height, entry.hash, SET_ASIDE)
    ChainStore(database, PARAMS).write(step)
    async with running(database, PARAMS) as node:
        assert at(node) == a[0].hash
        assert state_hash(stored_coins(ChainStore(database, PARAMS))) == state_hash(chain.coins(a[0]))


async def test_a_reindex_forgets_the_verdict_with_all_else_that_is_not_a_block() -> None:
    chain = ChainBuilder(PARAMS)
    a = chain.mine_chain(None, 4)
    database = new_database()
    async with running(database, PARAMS) as node:
        await feed(node, a)
        await node.set_aside(entry_of(node, a[2]))
    async with running(database, PARAMS, reindex=True) as node:
        assert at(node) == a[3].hash


async def test_a_block_that_breaks_a_rule_is_found_out_again_when_it_is_taken_back() -> None:
    chain = ChainBuilder(PARAMS)
    a = chain.mine_chain(None, 3)
    greedy = chain.mine(a[-1], reward=10**12, valid=False)
    async with running(new_database(), PARAMS) as node:
        await feed(node, a)
        (result,) = await feed(node, [greedy])
        assert result.status is BlockStatus.INVALID
        await node.take_back(entry_of(node, greedy))
        assert at(node) == a[-1].hash
        error = node.why_invalid(entry_of(node, greedy))
        assert error is not None
        assert error.rule is Rule.COINBASE_VALUE
        assert not node.is_set_aside(entry_of(node, greedy))
        # Setting aside what is invalid by itself changes nothing.
        await node.set_aside(entry_of(node, greedy))
        assert not node.is_set_aside(entry_of(node, greedy))


async def test_the_log_says_what_the_operator_did_and_what_it_meant() -> None:
    chain = ChainBuilder(PARAMS)
    a = chain.mine_chain(None, 5)
    log, entries = recorder()
    async with running(new_database(), PARAMS, log=log) as node:
        await feed(node, a)
        await node.set_aside(entry_of(node, a[3]))
        await node.take_back(entry_of(node, a[3]))
    (aside,) = lines(entries, "block_set_aside")
    assert aside["log_level"] == "warning"
    assert aside["height"] == 4
    assert "the operator has set aside a block of our chain, with all that builds on it" in aside["says"]
    started = [line["says"] for line in lines(entries, "reorg_started")]
    assert started == ["the operator has set our branch aside: leaving 2 block(s) after block 3 for 0 other(s)"]
    (done,) = lines(entries, "reorg_done")
    assert (done["disconnected"], done["connected"]) == (2, 0)
    assert done["says"].startswith("back at block 3: 2 block(s) left, 0 joined;")
    assert len(list(lines(entries, "block_taken_back"))) == 1


async def test_who_waits_for_an_order_hears_when_the_manager_stops() -> None:
    chain = ChainBuilder(PARAMS)
    a = chain.mine_chain(None, 3)
    async with running(new_database(), PARAMS) as node:
        await feed(node, a)
        async with node.standing_still():
            order = asyncio.create_task(node.set_aside(entry_of(node, a[1])))
            await asyncio.sleep(0)
            closing = asyncio.create_task(node.close())
            await asyncio.sleep(0)
        await closing
        try:
            await order
        except ChainClosedError:
            assert at(node) == a[2].hash
        else:
            assert at(node) == a[0].hash
        with pytest.raises(ChainClosedError):
            await node.take_back(entry_of(node, a[1]))


async def test_a_header_that_is_set_aside_before_its_block_has_come_is_not_forgotten() -> None:
    chain = ChainBuilder(PARAMS)
    a = chain.mine_chain(None, 3)
    b = chain.mine_chain(a[0], 4)
    database = new_database()
    async with running(database, PARAMS) as node:
        await feed(node, a)
        node.accept_headers([block.header for block in b])
        await node.set_aside(entry_of(node, b[0]))
        assert node.forget_headers() == 3  # those after it; they were of no use
        assert node.accept_headers([block.header for block in b]).status is HeaderStatus.SET_ASIDE
    async with running(database, PARAMS) as node:
        assert [result.status for result in await feed(node, b[:2])] == [BlockStatus.SET_ASIDE] * 2
        assert at(node) == a[2].hash


# Among peers


def test_peers_on_a_branch_that_is_set_aside_are_neither_blamed_nor_followed_until_it_is_taken_back() -> None:
    chain = ChainBuilder(PARAMS)
    a = chain.mine_chain(None, 6)
    more = chain.mine_chain(a[-1], 15)

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as other, world.node([other.address]) as node:
            await other.feed(a)
            await until(lambda: node.height == 6)
            await node.chain.set_aside(entry_of(node.chain, a[3]))
            # More than any peer may announce without connecting.
            for block in more:
                await other.feed([block])
                await asyncio.sleep(0.1)
            assert node.height == 3
            assert (node.peers, other.peers) == (1, 1)
            assert not node.logged("peer_disconnected")
            await node.chain.take_back(entry_of(node.chain, a[3]))
            node.node.sync.ask_all_for_headers()
            await until(lambda: node.height == 6 + 15)

    run_virtual(story)


def test_payments_of_blocks_that_are_left_wait_again_and_are_mined_by_whoever_goes_on() -> None:
    chain = ChainBuilder(PARAMS)
    a = chain.mine_chain(None, 5)
    coin = reward_of(a[0])
    value = chain.coins(a[-1])[coin].output.value
    tx = chain.spend(a[-1], [coin], [pay(2, value - 10_000)])
    block = chain.mine(a[-1], [tx])

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node:
            await node.feed([*a, block])
            await node.chain.set_aside(entry_of(node.chain, block))
            assert [entry.tx.txid for entry in node.mempool] == [tx.txid]
            (line,) = node.logged("reorg_done")
            assert line["txs_back_in_mempool"] == 1
            await node.chain.take_back(entry_of(node.chain, block))
            assert len(node.mempool) == 0

    run_virtual(story)
