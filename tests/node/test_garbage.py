"""Nothing that comes and goes in a node is left to Python's collector, which looks at everything once an hour only."""

from __future__ import annotations

import asyncio
import gc
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from msgspec.structs import replace

from consensus.codec import decode_block
from consensus.errors import ConsensusError, NotYet, Rule
from consensus.slices import Slices
from consensus.types import Block, Transaction
from node.chain_events import BlockStatus
from node.clock import SystemClock
from node.garbage import EVERYTHING_SECONDS, LEAST_GROWTH, collecting_seldom, own_memory
from node.mempool_graph import Entry
from node.packages import accept_package
from node.relay_policy import PolicyError
from node.storage.errors import DiskFullError
from node.storage.executor import INLINE, disk_thread, run_whole, to_the_end
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import TABLES
from node.turns import in_turns, in_turns_to_the_end
from p2p.tcp import TcpNetwork
from p2p.transport import Address
from rpc.client import RpcClient
from rpc.errors import RpcError
from simnet.loop import run_virtual
from tests.support.api import OWNER, running_api, until
from tests.support.chain import ChainBuilder, feed, running
from tests.support.nodes import World, new_chain
from tests.support.pool import FEE, Pool, forward, outputs_of
from tests.support.rules import build

OURS = ("consensus", "node", "p2p", "rpc", "wallet")


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fail if what happens inside leaves objects of ours that only the collector finds."""
    gc.collect()
    gc.disable()
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not [name for name in left if name.split(".")[0] in OURS], left


async def test_peers_that_are_gone_leave_nothing() -> None:
    """Over real sockets: both ends of a simulated one would be garbage together."""
    chain, blocks = new_chain(10)
    world = World()
    more: dict[str, Any] = {"network": TcpNetwork(), "clock": SystemClock(), "address": Address("127.0.0.1", 0)}
    async with world.node(**more) as host, world.node(**more, connect=[host.address]) as guest:
        await host.feed(blocks)

        async def come_and_go() -> None:
            await until(lambda: guest.chain.tip.hash == host.chain.tip.hash)
            guest.node.set_partition([host.address])
            await until(lambda: not host.node.peers and not guest.node.peers)
            blocks.append(chain.mine(blocks[-1]))
            await host.feed(blocks[-1:])
            stranger, talk = await asyncio.open_connection(*host.address)
            talk.write(bytes(100))
            while await stranger.read(100_000):
                continue  # until it is cut off
            talk.close()
            await talk.wait_closed()
            guest.node.set_partition([])

        await come_and_go()  # what is made once, and kept
        with nothing_left():
            for _ in range(3):
                await come_and_go()


async def test_transactions_that_are_mined_replaced_or_taken_back_leave_nothing() -> None:
    pool = Pool()

    async def come_and_go(number: int) -> None:
        reward = pool.reward(number)
        parent = forward(reward)
        child = forward(outputs_of(parent))
        for tx in (parent, child, forward(outputs_of(child))):
            await pool.mempool.accept_transaction(tx)
        pool.mempool.on_tip_changed(pool.ledger.mine([parent]))
        pool.mempool.on_tip_changed(pool.ledger.reorg(1, [], [forward(reward, fee=3 * FEE)]))

    await come_and_go(1)
    with nothing_left():
        for number in range(2, 6):
            await come_and_go(number)


async def test_transactions_that_are_refused_leave_nothing() -> None:
    """One by one, several in turn, and as a package."""
    pool = Pool(8)
    cheap = forward(pool.reward(1), fee=1)
    orphan = forward(outputs_of(forward(pool.reward(2))))
    forged = replace(forward(pool.reward(3)), witnesses=orphan.witnesses)
    bad = [cheap, orphan, forged, Transaction(cheap.core, ())]

    async def come_and_go(number: int) -> None:
        for tx in bad:
            with suppress(ConsensusError, NotYet, PolicyError):
                await pool.mempool.accept_transaction(tx)
        entered, *refused = await pool.mempool.accept_each([forward(pool.reward(number)), *bad], [0] * 5)
        assert isinstance(entered, Entry)
        assert not [each for each in refused if isinstance(each, Entry)]
        for package in ([cheap, forward(outputs_of(cheap), fee=1)], [orphan, forward(outputs_of(orphan))]):
            assert (await accept_package(pool.mempool, package)).refused

    await come_and_go(4)
    with nothing_left():
        for number in range(5, 8):
            await come_and_go(number)


async def test_blocks_and_headers_that_are_refused_leave_nothing() -> None:
    """Each way; a peer may send the largest body of any block that is still to come, again and again."""
    chain = ChainBuilder()
    tip = chain.mine()
    mutated, unfit = chain.mine(tip), chain.mine(tip, to=3)
    async with running(MemoryDatabase(TABLES)) as node:
        await feed(node, [tip])

        async def come_and_go() -> None:
            worthless = chain.mine(tip, reward=10**15, valid=False)
            greedy = chain.mine(tip, reward=50 * 10**8 + 1, valid=False)
            crowded = chain.add(
                build(chain.params, chain.state(tip), (*unfit.transactions, *tip.transactions)), valid=False
            )
            lightweight = replace(mutated.header, bits=0x1D00FFFF)
            for block, status in (
                (Block(mutated.header, tip.transactions), BlockStatus.MUTATED),
                (worthless, BlockStatus.INVALID),
                (greedy, BlockStatus.INVALID),
                (crowded, BlockStatus.INVALID),
                (worthless, BlockStatus.INVALID),
                (chain.mine(worthless, valid=False), BlockStatus.INVALID),
                (Block(lightweight, ()), BlockStatus.INVALID),
            ):
                assert (await node.accept_block(block)).status is status
                if status is BlockStatus.INVALID:
                    with suppress(ConsensusError):
                        node.accept_headers((block.header,))

        await come_and_go()
        with nothing_left():
            for _ in range(3):
                await come_and_go()


async def test_of_an_invalid_block_only_the_reason_is_kept_however_often_it_is_asked_for() -> None:
    """A peer may send its header again and again."""
    chain = ChainBuilder()
    invalid = chain.mine(reward=50 * 10**8 + 1, valid=False)
    async with running(MemoryDatabase(TABLES)) as node:
        await feed(node, [decode_block(invalid.encoded), chain.mine()])

        def depth() -> int:
            with pytest.raises(ConsensusError, match=Rule.COINBASE_VALUE) as refused:
                node.accept_headers((invalid.header,))
            return len(list(traceback.walk_tb(refused.value.__traceback__)))

        assert depth() == depth()
        held = [each for each in gc.get_objects() if type(each) is Block and each.hash == invalid.hash]
        assert held == [invalid]


async def test_calls_answered_or_refused_leave_nothing() -> None:
    async with running_api() as api:

        async def calls() -> None:
            async with RpcClient(api.url, OWNER) as client:
                await api.mine(2)
                for method in ("getblockchaininfo", "getwalletinfo", "nosuchmethod"):
                    with suppress(RpcError):
                        await client.call(method)
                with suppress(RpcError):
                    await client.call("sendtoaddress", "nobody", 1)
                with suppress(RpcError):
                    await client.batch([("sendrawtransaction", ["00"])] * 2)
                to = await client.call("getnewaddress")
                await client.call("sendtoaddress", to, 1)

        await api.mine(110)
        await calls()
        with nothing_left():
            for _ in range(3):
                await calls()


async def test_work_on_the_disk_that_fails_leaves_nothing() -> None:
    def fail() -> None:
        raise DiskFullError

    async def fail_later() -> None:
        fail()

    async def come_and_go() -> None:
        for failing in (
            run_whole(INLINE, fail),
            run_whole(thread, fail),
            to_the_end(asyncio.create_task(fail_later())),
        ):
            with pytest.raises(DiskFullError):
                await failing

    with disk_thread("disk") as thread:
        await come_and_go()
        with nothing_left():
            await come_and_go()


async def test_callers_who_go_away_leave_nothing() -> None:
    """Each holds what it was asked, and as much of the answer as there was."""
    pool = Pool()

    def slices() -> Slices[None]:
        for _ in range(3):
            yield

    async def call(way: Callable[[], Awaitable[None]]) -> None:
        asked = forward(pool.reward(1))
        await way()
        pytest.fail(f"not cancelled: {asked}")

    async def come_and_go() -> None:
        for way in (
            lambda: in_turns(slices()),
            lambda: in_turns_to_the_end(slices()),
            lambda: to_the_end(asyncio.create_task(in_turns(slices()))),
        ):
            caller = asyncio.create_task(call(way))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            caller.cancel("gone")
            with pytest.raises(asyncio.CancelledError, match="gone"):
                await caller
            del caller

    await come_and_go()
    with nothing_left():
        await come_and_go()


async def test_a_wrong_passphrase_is_not_left_in_memory() -> None:
    async with running_api() as api, RpcClient(api.url, OWNER) as client:

        async def come_and_go() -> None:
            for method, words in (
                ("walletpassphrase", ["the riht one", 9]),
                ("walletpassphrasechange", ["no", "next"]),
            ):
                with pytest.raises(RpcError, match="passphrase"):
                    await client.call(method, *words)

        await client.call("encryptwallet", "the right one")
        await come_and_go()
        with nothing_left():
            await come_and_go()


async def test_everything_is_looked_at_once_an_hour_and_all_is_as_before_in_the_end() -> None:
    before = gc.get_threshold()
    with collecting_seldom():
        young, middle, old = gc.get_threshold()
        assert (young, middle) == before[:2]
        assert old > 10**6
    assert gc.get_threshold() == before
    gc.unfreeze()


MEBI = 1024 * 1024


def looks_at(memory: Callable[[], int], seconds: float) -> list[float]:
    """Return when everything was looked at within so many seconds of a loop, and twice as many after its end."""
    looks: list[float] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()

        def look(phase: str, info: dict[str, int]) -> None:
            if phase == "stop" and info["generation"] == 2:
                looks.append(round(loop.time() - begun, 3))

        gc.callbacks.append(look)
        try:
            with collecting_seldom(memory):
                await asyncio.sleep(seconds)
            await asyncio.sleep(2 * seconds)
        finally:
            gc.callbacks.remove(look)
            gc.unfreeze()

    run_virtual(story)
    return looks


def test_the_hourly_look_comes_again() -> None:
    assert looks_at(lambda: 50 * MEBI, 2.5 * EVERYTHING_SECONDS) == [EVERYTHING_SECONDS, 2 * EVERYTHING_SECONDS]


def test_everything_is_looked_at_when_memory_has_grown_by_a_quarter_and_a_good_deal() -> None:
    least = LEAST_GROWTH // MEBI
    # At the start; at 1; at 2, and after the look; at 3 and 4; at 5, and after; at 6; at 7, and after; at 8.
    told = iter((100, 100 + least, 101 + least, 90, 90 + least, 80, 91 + least, 2_000, 2_500, 2_501, 2_501, 2_502))
    assert looks_at(lambda: next(told) * MEBI, 8.5) == [2, 5, 7]


def test_memory_is_what_this_process_alone_has() -> None:
    before = own_memory()
    much = bytearray(b"x") * (64 * MEBI)
    assert own_memory() - before > 60 * MEBI
    assert len(much) == 64 * MEBI
