"""A disk that takes its time: the node runs on meanwhile, and nobody sees anything half done (A127, A128)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest
from msgspec.structs import replace

from consensus.params import REGTEST
from consensus.types import Amount
from node.chain import ChainClosedError
from node.chain_events import BlockStatus
from node.storage.chain_store import ChainStore
from node.storage.errors import DiskFullError, StorageError
from node.storage.executor import INLINE, disk_thread, run_whole
from node.storage.files import DirectoryFiles
from node.storage.lmdb_store import INITIAL_MAP_SIZE, LmdbDatabase
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import HEADERS, TABLES
from node.storage.staged import StagedDatabase
from node.wallet_service import WalletService
from simnet.loop import run_virtual
from tests.support.chain import (
    ChainBuilder,
    chain_manager,
    feed,
    recorder,
    reward_of,
    running,
    stored_coins,
)
from tests.support.disks import LateExecutor, SlowDatabase
from tests.support.nodes import RunningNode, World
from tests.support.rules import lock, pay
from tests.support.wallets import DURE, WORDS, Chain, lock_of, new_wallet, outside
from tests.support.wallets import PARAMS as WALLET_PARAMS
from wallet.errors import InsufficientFundsError
from wallet.results import Payment
from wallet.store import TABLES as WALLET_TABLES
from wallet.wallet import Wallet

_T = TypeVar("_T")
PARAMS = replace(REGTEST, coinbase_maturity=2)


async def a_few_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


# The chain


async def test_while_a_block_is_written_everybody_sees_the_old_tip_with_its_coins() -> None:
    """A128"""
    chain, disk = ChainBuilder(PARAMS), SlowDatabase(TABLES)
    trunk = chain.mine_chain(None, 4)
    spent = reward_of(trunk[0])
    block = chain.mine(trunk[-1], [chain.spend(trunk[-1], [spent], [pay(2, 10**9)])])
    async with running(disk, PARAMS) as node:
        await feed(node, trunk)
        with disk.slow():
            told: list[bytes] = []
            node.tip_listeners.append(lambda change: told.append(change.new.hash))
            connecting = asyncio.create_task(node.accept_block(block))
            await disk.begun.wait()
            await a_few_turns()
            assert not connecting.done()
            assert not told
            assert node.tip == chain.state(trunk[-1])
            assert node.index.tip.hash == trunk[-1].hash
            assert spent in node.get_coins([spent])
            assert node.updates_since(trunk[-1].hash).applied == ()
            # What it is made of can be had already, from memory: nobody is told that it is missing.
            assert node.read_block(block.hash) == block
            assert node.read_raw_block(block.hash) == block.encoded
        assert (await connecting).status is BlockStatus.CONNECTED
        assert told == [block.hash]
        assert node.tip == chain.state(block)
        assert not node.get_coins([spent])


async def test_headers_come_and_go_while_a_block_is_written() -> None:
    """A128: they are answered at once, and are of the next write; what is forgotten meanwhile is not on disk after."""
    chain, disk = ChainBuilder(PARAMS), SlowDatabase(TABLES)
    trunk = chain.mine_chain(None, 3)
    block, later = chain.mine(trunk[-1]), chain.mine_chain(trunk[-1], 5)
    rival = chain.mine_chain(trunk[0], 3)
    async with running(disk, PARAMS) as node:
        await feed(node, trunk)
        node.accept_headers([each.header for each in rival])  # they go with the block's write
        with disk.slow():
            connecting = asyncio.create_task(node.accept_block(block))
            await disk.begun.wait()
            assert node.accept_headers([each.header for each in later]).added == len(later)
            entry = node.index.get(later[-1].hash)
            assert entry is not None
            assert node.read_header(entry) == later[-1].header
            in_flight = node.index.get(rival[-1].hash)
            assert in_flight is not None
            assert node.read_header(in_flight) == rival[-1].header
            assert node.forget_headers() == len(later) + len(rival)
            node.accept_headers([later[0].header])  # and comes again
        await connecting
        assert node.index.get(rival[-1].hash) is None
    async with running(disk, PARAMS) as node:
        kept = {stored.header.hash for stored in ChainStore(disk, PARAMS).headers()}
        assert kept == {each.hash for each in (PARAMS.genesis, *trunk, block, later[0])}
        assert node.tip == chain.state(block)


async def test_a_long_run_of_headers_is_written_before_any_block_comes() -> None:
    chain, disk = ChainBuilder(PARAMS), SlowDatabase(TABLES)
    blocks = chain.mine_chain(None, 600)
    async with running(disk, PARAMS) as node:
        node.accept_headers([each.header for each in blocks])
        await a_few_turns()
        assert len(list(disk.scan(HEADERS))) == len(blocks) + 1
        commits = disk.commits
        await a_few_turns()
        assert disk.commits == commits


async def test_blocks_that_come_while_one_is_written_share_the_next_write() -> None:
    chain, disk = ChainBuilder(PARAMS), SlowDatabase(TABLES)
    blocks = chain.mine_chain(None, 8)
    async with running(disk, PARAMS) as node:
        with disk.slow():
            first = asyncio.create_task(node.accept_block(blocks[0]))
            await disk.begun.wait()
            others = [asyncio.create_task(node.accept_block(block)) for block in (*blocks[1:], blocks[0])]
            await a_few_turns()
            assert not any(task.done() for task in (first, *others))
        results = await asyncio.gather(first, *others)
        assert [result.status for result in results] == [BlockStatus.CONNECTED] * 8 + [BlockStatus.KNOWN]
        assert disk.commits == 2


async def test_who_hands_in_a_block_and_goes_away_does_not_stop_its_write() -> None:
    """A202"""
    chain, disk = ChainBuilder(PARAMS), SlowDatabase(TABLES)
    block = chain.mine()
    async with running(disk, PARAMS) as node:
        with disk.slow():
            connecting = asyncio.create_task(node.accept_block(block))
            await disk.begun.wait()
            connecting.cancel()
            await a_few_turns()
        assert (await node.accept_block(block)).status is BlockStatus.KNOWN
        assert node.tip == chain.state(block)


async def test_a_close_waits_for_the_write_in_hand() -> None:
    chain, disk = ChainBuilder(PARAMS), SlowDatabase(TABLES)
    block = chain.mine()
    async with running(disk, PARAMS) as node:
        with disk.slow():
            connecting = asyncio.create_task(node.accept_block(block))
            await disk.begun.wait()
            closing = asyncio.create_task(node.close())
            await a_few_turns()
            assert not closing.done()
        await closing
        assert (await connecting).status is BlockStatus.CONNECTED
    assert stored_coins(ChainStore(disk, PARAMS)) == chain.coins(block)


@pytest.mark.parametrize("error", [StorageError("I/O error"), DiskFullError("no space left on the disk")])
async def test_a_write_that_fails_stops_the_chain_and_is_not_tried_again(error: StorageError) -> None:
    """A126, A127"""
    chain, disk = ChainBuilder(PARAMS), SlowDatabase(TABLES)
    blocks = chain.mine_chain(None, 3)
    node = chain_manager(disk, PARAMS)
    await node.start()
    await feed(node, blocks[:2])
    disk.fails, commits = error, disk.commits
    with disk.slow():
        connecting = asyncio.create_task(node.accept_block(blocks[2]))
        await disk.begun.wait()
    with pytest.raises(ChainClosedError):
        await connecting
    assert node.tip == chain.state(blocks[1])
    with pytest.raises(ChainClosedError):
        await node.accept_block(blocks[2])
    for failing in (node.wait_stopped, node.close):
        with pytest.raises(type(error)):
            await failing()
    assert disk.commits == commits + 1
    disk.fails = None
    async with running(disk, PARAMS) as node:
        assert node.tip == chain.state(blocks[1])
        await feed(node, blocks)
        assert node.tip == chain.state(blocks[2])


async def test_a_start_that_is_cancelled_in_a_write_ends_after_it() -> None:
    """A137: a signal during a reindex."""
    chain, disk = ChainBuilder(PARAMS), SlowDatabase(TABLES)
    blocks = chain.mine_chain(None, 5)
    async with running(disk, PARAMS) as node:
        await feed(node, blocks)
    node = chain_manager(disk, PARAMS, reindex=True)
    with disk.slow():
        starting = asyncio.create_task(node.start())
        await disk.begun.wait()
        starting.cancel()
        await a_few_turns()
        assert not starting.done()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await node.close()
    async with running(disk, PARAMS) as node:
        assert node.tip == chain.state(blocks[-1])
    assert stored_coins(ChainStore(disk, PARAMS)) == chain.coins(blocks[-1])


# LMDB


def open_lmdb(folder: Path, executor: LateExecutor | None = None) -> LmdbDatabase:
    return LmdbDatabase(folder, ("one", "two"), version=1, identity=b"network", executor=executor or INLINE)


async def test_what_lmdb_has_committed_is_seen_only_once_the_loop_knows(tmp_path: Path) -> None:
    """A128: the commit is whole in another thread, while the loop still works with the state before it."""
    executor = LateExecutor()
    database = open_lmdb(tmp_path, executor)
    database.write([("one", b"a", b"old"), ("one", b"b", b"old")])
    executor.late = True
    committing = asyncio.create_task(database.commit([("one", b"a", b"new"), ("one", b"b", None)]))
    await asyncio.sleep(0)
    await asyncio.to_thread(executor.done.wait)
    assert not committing.done()
    assert database.get("one", b"a") == b"old"
    assert database.get_many("one", [b"a", b"b"]) == [b"old", b"old"]
    assert list(database.scan("one")) == [(b"a", b"old"), (b"b", b"old")]
    assert list(database.scan("one", reverse=True)) == [(b"b", b"old"), (b"a", b"old")]
    with pytest.raises(RuntimeError, match="one writer"):
        database.write([("one", b"a", b"other")])
    with pytest.raises(RuntimeError, match="one writer"):
        await database.commit([("one", b"a", b"other")])
    executor.late = False
    executor.tell.set()
    await committing
    assert list(database.scan("one")) == [(b"a", b"new")]
    database.close()
    executor.shutdown()


async def test_the_map_grows_in_the_middle_of_a_commit(tmp_path: Path) -> None:
    executor = disk_thread("test")
    database = LmdbDatabase(tmp_path, ("one",), version=1, identity=b"", executor=executor)
    piece = bytes(INITIAL_MAP_SIZE // 20)
    for n in range(3):
        await database.commit([("one", bytes([n, m]), piece) for m in range(25)])
    assert len(list(database.scan("one"))) == 75
    database.close()
    executor.shutdown()


async def test_a_commit_of_an_unknown_table_changes_nothing_and_the_next_one_may_come(tmp_path: Path) -> None:
    database = open_lmdb(tmp_path)
    with pytest.raises(KeyError):
        await database.commit([("one", b"a", b"1"), ("unknown", b"a", b"1")])
    await database.commit([("two", b"a", b"1")])
    assert [list(database.scan(table)) for table in ("one", "two")] == [[], [(b"a", b"1")]]
    database.close()


async def test_commits_do_not_make_the_file_grow(tmp_path: Path) -> None:
    """A130: the view that reads share keeps old pages only as long as the commit takes."""
    database = open_lmdb(tmp_path)
    sizes: list[int] = []
    for n in range(60):
        await database.commit([("one", bytes([m]), bytes([n]) * 10_000) for m in range(20)])
        sizes.append((tmp_path / "data.mdb").stat().st_size)
    database.close()
    assert sizes[-1] <= 2 * sizes[4]


async def test_a_task_that_is_cancelled_waits_for_the_end_of_its_work() -> None:
    """A202"""
    executor, begun, go = disk_thread("test"), threading.Event(), threading.Event()
    done: list[bool] = []

    def work() -> None:
        begun.set()
        go.wait()
        done.append(True)

    task = asyncio.create_task(run_whole(executor, work))
    await asyncio.sleep(0)
    await asyncio.to_thread(begun.wait)
    for _ in range(3):
        task.cancel()
        await a_few_turns()
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]
    go.clear()

    def fail() -> None:
        go.wait()
        raise StorageError("I/O error")

    task = asyncio.create_task(run_whole(executor, fail))
    await a_few_turns()
    task.cancel()
    await a_few_turns()
    go.set()
    with pytest.raises(StorageError):
        await task
    executor.shutdown()


async def test_a_file_is_saved_beside_the_loop(tmp_path: Path) -> None:
    executor = disk_thread("test")
    files = DirectoryFiles(tmp_path, executor)
    await asyncio.gather(files.save("peers", b"one"), files.save("peers", b"two"))
    assert files.read("peers") == b"two"
    (tmp_path / ".peers.new").mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        await files.save("peers", b"three")
    executor.shutdown()


# What the wallet writes on


def test_gathered_writes_are_read_like_written_ones() -> None:
    tables, random = ("one", "two"), Random(5)
    below, model = MemoryDatabase(tables), MemoryDatabase(tables)
    staged = StagedDatabase(below)

    async def whole() -> None:
        for turn in range(60):
            with staged.gathering():
                for _ in range(random.randrange(8)):
                    value = random.choice([None, bytes([turn])])
                    change = (random.choice(tables), bytes([random.randrange(12)]), value)
                    staged.write([change])
                    model.write([change])
                    compare()
            writes = below.writes
            await staged.settle()
            assert below.writes <= writes + 1
            assert list(below.scan("one")) == list(model.scan("one"))
        staged.write([("one", b"z", b"1")])  # straight through
        assert below.get("one", b"z") == b"1"

    def compare() -> None:
        for table in tables:
            bounds = random.choice([(b"", None), (b"\x03", None), (b"", b"\x06"), (b"\x02", b"\x09")])
            for reverse in (False, True):
                assert list(staged.scan(table, *bounds, reverse=reverse)) == list(
                    model.scan(table, *bounds, reverse=reverse)
                )
            keys = [bytes([n]) for n in range(12)]
            assert staged.get_many(table, keys) == [staged.get(table, key) for key in keys]
            assert staged.get_many(table, keys) == model.get_many(table, keys)

    run_virtual(whole)


# The wallet


@asynccontextmanager
async def service(
    running_node: RunningNode, disk: SlowDatabase, failures: list[StorageError]
) -> AsyncIterator[WalletService]:
    database = StagedDatabase(disk)
    wallet = new_wallet(outside()._replace(database=database), mnemonic=WORDS)
    made = WalletService(wallet, database, running_node.node, recorder()[0], failures.append)
    await made.start()
    yield made
    if not failures:
        await made.stop()


def test_a_payment_is_shown_to_nobody_before_it_is_durable() -> None:
    """A128, A143"""

    async def whole() -> None:
        chain, disk = Chain(), SlowDatabase(WALLET_TABLES)
        async with World(params=WALLET_PARAMS).node() as node, service(node, disk, []) as wallet:
            paid = chain.mine(chain.base, to=lock_of(wallet.wallet.new_address()))
            await node.feed(chain.builder.chain(chain.mine_many(paid, WALLET_PARAMS.coinbase_maturity)))
            await wallet.current()
            with disk.slow():
                order = [Payment(lock(9), Amount(DURE))]
                sending = asyncio.create_task(wallet.ask(lambda w: w.send(order, wallet.terms, request_id="1")))
                await disk.begun.wait()

                async def total() -> int:
                    return (await wallet.current()).balances().total

                asking = asyncio.create_task(total())
                again = asyncio.create_task(wallet.ask(lambda w: w.send(order, wallet.terms, request_id="1")))
                await a_few_turns()
                assert not any(task.done() for task in (sending, asking, again))
                sending.cancel()  # whoever asked has gone away; the payment stands
            with pytest.raises(asyncio.CancelledError):
                await sending
            sent = await again
            assert await asking == 49 * DURE - sent.fee

    run_virtual(whole)


def test_a_wallet_whose_disk_fails_answers_no_more() -> None:
    """A126, A127: what is in its memory is ahead of the disk."""

    async def whole() -> None:
        disk, failures = SlowDatabase(WALLET_TABLES), [StorageError("none yet")]
        async with World(params=WALLET_PARAMS).node() as node, service(node, disk, failures) as wallet:
            disk.fails = DiskFullError("no space left on the disk")
            with pytest.raises(DiskFullError):
                await wallet.ask(lambda w: w.new_address())
            commits = disk.commits
            for _ in range(2):
                with pytest.raises(StorageError, match="since then nothing is written"):
                    await wallet.current()
            assert disk.commits == commits
            if wallet._task is not None:
                wallet._task.cancel()

    run_virtual(whole)


def test_what_the_wallet_refuses_leaves_it_open_for_the_next() -> None:
    async def whole() -> None:
        disk = SlowDatabase(WALLET_TABLES)
        async with World(params=WALLET_PARAMS).node() as node, service(node, disk, []) as wallet:
            order = [Payment(lock(9), Amount(DURE))]

            async def slowly(work: Callable[[Wallet], _T]) -> _T:
                return await wallet._ask_slowly(lambda: work(wallet.wallet))

            for ask in (wallet.ask, slowly):
                with pytest.raises(InsufficientFundsError):
                    await ask(lambda w: w.send(order, wallet.terms))
                assert len({await ask(lambda w: w.new_address()) for _ in range(3)}) == 3

    run_virtual(whole)
