"""Clocks that are wrong, that jump, that stand still: the chain is the same, and nobody is blamed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from consensus.params import Params, sim_params
from consensus.types import Block
from node.logs import Logs
from node.mempool_entries import EXPIRY_SECONDS
from p2p.messages import Addr, Hello, PeerAddress
from simnet.loop import LoopClock, VirtualLoop, run_virtual
from tests.node.test_logs import Kept
from tests.support.chain import ChainBuilder
from tests.support.nodes import FakePeer, RunningNode, World, converged, dial, new_chain, until
from tests.support.pool import Pool, forward
from tests.support.stage import PARAMS, Stage

EASY: Params = sim_params(10, 0x207FFFFF, 0x207FFFFF)
"""A network whose nodes refuse what is more than 120 s ahead of their clock, with next to no work."""
NOW = 1_800_000_000
DAY = 86_400


class WrongClock(LoopClock):
    """Off by some seconds, until it is set."""

    def __init__(self, off: int) -> None:
        super().__init__(asyncio.get_running_loop(), NOW)
        self.off = off

    def time(self) -> int:
        return super().time() + self.off


def chain_until_now(length: int = 30) -> tuple[ChainBuilder, list[Block]]:
    """A chain with a block every ten seconds, the last of them now."""
    chain = ChainBuilder(EASY)
    blocks: list[Block] = []
    for back in range(length - 1, -1, -1):
        blocks.append(chain.mine(blocks[-1] if blocks else None, time=NOW - 10 * back))
    return chain, blocks


def is_unblemished(node: RunningNode, blocks: list[Block]) -> bool:
    """Tell whether a node holds none of these blocks against anybody."""
    entries = [node.chain.index.get(block.hash) for block in blocks]
    return not any(entry is not None and entry.invalid for entry in entries)


@pytest.mark.parametrize("off", [7_200, DAY, 2**31 + 5 - NOW, 2**32 - 1_000 - NOW], ids=["2h", "1d", "2038", "2106"])
def test_a_clock_that_is_ahead_follows_the_same_chain(off: int) -> None:
    """A191: it takes what it would take, and no more: what it makes itself, others hold back."""
    chain, blocks = chain_until_now()
    far = chain.mine(blocks[-1], time=NOW + off)

    async def story() -> None:
        world = World(params=EASY)
        async with world.node() as right, world.node([right.address], clock=WrongClock(off)) as wrong:
            await right.feed(blocks)
            await converged([right, wrong])
            assert wrong.height == len(blocks)
            await wrong.feed([far])
            assert wrong.height == len(blocks) + 1
            await until(lambda: right.logged("clock_in_doubt") != [])
            assert right.height == len(blocks)
            assert is_unblemished(right, [far])
            later = chain.mine_chain(blocks[-1], 3)
            await right.feed(later)
            await converged([right, wrong])
            assert right.peers == 1

    run_virtual(story)


@pytest.mark.parametrize("off", [-7_200, -DAY, -NOW], ids=["2h", "1d", "1970"])
def test_a_clock_that_is_behind_waits_warns_and_follows_once_it_is_set(off: int) -> None:
    """A191: no early block is invalid for ever."""
    _, blocks = chain_until_now()

    async def story() -> None:
        world = World(params=EASY)
        clock = WrongClock(off)
        async with world.node() as right, world.node([right.address], clock=clock) as wrong:
            await right.feed(blocks)
            await until(lambda: wrong.logged("clock_in_doubt") != [])
            assert wrong.height == 0
            assert "clock behind" in wrong.chain.warnings[0]
            assert is_unblemished(wrong, blocks)
            await asyncio.sleep(600)
            assert len(wrong.logged("clock_in_doubt")) == 1
            assert wrong.peers == 1
            clock.off = 0
            await converged([right, wrong], within=180)
            assert wrong.height == len(blocks)
            assert wrong.chain.warnings == []

    run_virtual(story)


@pytest.mark.parametrize("jump", [DAY, -DAY, 3_650 * DAY, -NOW], ids=["+1d", "-1d", "+10y", "1970"])
def test_a_clock_that_jumps_costs_no_peer_and_no_transaction(jump: int) -> None:
    """A192: deadlines, allowances and ages are counted by a clock that does not jump."""
    stage = Stage()
    tx = stage.spend("one key")

    async def story() -> None:
        world = World(params=PARAMS)
        clock = WrongClock(0)
        async with (
            world.node() as first,
            world.node([first.address], clock=clock) as jumping,
            world.node([jumping.address]) as last,
        ):
            await first.feed(stage.trunk)
            await converged([first, jumping, last])
            await first.node.submit_transaction(tx)
            await until(lambda: tx.txid in last.mempool)
            clock.off = jump
            await asyncio.sleep(300)
            await first.feed([stage.good_block()])
            await converged([first, jumping, last], within=5)
            assert jumping.peers == 2
            assert tx.txid in jumping.mempool
            assert jumping.logged("peer_disconnected") == []

    run_virtual(story)


def test_the_age_of_a_transaction_is_not_that_of_the_clock() -> None:
    """A192: a clock set forward by two weeks empties no mempool; two weeks do."""
    pool = Pool()
    steady = pool.clock.monotonic
    started = pool.clock.now
    pool.clock.monotonic = lambda: float(started)  # type: ignore[method-assign]
    tx = forward(pool.reward(1))
    asyncio.run(pool.mempool.accept_transaction(tx))
    pool.clock.now += EXPIRY_SECONDS + 1
    pool.mine()
    assert tx.txid in pool.mempool
    pool.clock.monotonic = steady  # type: ignore[method-assign]
    pool.mine()
    assert tx.txid not in pool.mempool


def test_a_hundred_peers_do_not_move_a_nodes_clock() -> None:
    """A193: none tells a time but those of addresses, and these are cut to ours."""
    assert not [name for name in Hello.__struct_fields__ if "time" in name]

    async def story() -> None:
        world = World(params=EASY)
        async with world.node(max_inbound=200) as node:
            clock = LoopClock(asyncio.get_running_loop())
            for number in range(100):
                peer = await dial(world, node, FakePeer(world, nonce=number), host=f"10.{number + 1}.0.1")
                seen = 2**32 - 1 if number % 2 else 1
                peer.send(Addr((PeerAddress(bytes(10) + b"\xff\xff" + bytes([9, number, 1, 1]), 7340, seen),)))
            await asyncio.sleep(60)
            assert node.peers == 100
            assert node.chain.latest_time() == clock.time() + (EASY.max_future_seconds or 0)
            table = node.node.addresses.table
            assert len(table) > 0
            assert all(one.seen <= clock.time() for one in table.sample(1_000, clock.time()))

    run_virtual(story)


@pytest.mark.parametrize("seconds", [30, 600, DAY])
def test_a_loop_that_stood_still_recovers_and_blames_nobody(seconds: int) -> None:
    """A194: a machine that was asleep, and a loop that was blocked: all timers are due at once."""
    _, blocks = new_chain(300)

    async def story() -> None:
        world = World()
        async with (
            world.node() as first,
            world.node([first.address]) as second,
            world.node([second.address]) as third,
        ):
            nodes = [first, second, third]
            await first.feed(blocks[:150])
            await until(lambda: 0 < third.height < 150)  # in the middle of it
            cast("VirtualLoop", asyncio.get_running_loop()).now += seconds
            await first.feed(blocks[150:])
            await converged(nodes, within=180)
            assert third.height == 300
            await until(lambda: [node.peers for node in nodes] == [1, 2, 1], within=180)
            assert all(is_unblemished(node, blocks) for node in nodes)
            assert not any(node.logged("peer_discouraged") for node in nodes)

    run_virtual(story)


@asynccontextmanager
async def in_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        yield
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/St_Johns", "XXX+12YYY,M1.1.0/0,M12.5.0/24"])
async def test_the_log_speaks_utc_wherever_the_machine_is(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A195: summer time included; the chain itself counts in whole seconds since 1970."""
    async with in_zone(zone, monkeypatch):
        kept = Kept()
        before = int(time.time())
        Logs(kept).logger("x").info("here")
        _, facts = kept.events[0]
        shown = time.strptime(str(facts["time"])[:19], "%Y-%m-%dT%H:%M:%S")
        assert str(facts["time"]).endswith("Z")
        assert 0 <= calendar_seconds(shown) - before <= 60


def calendar_seconds(moment: time.struct_time) -> int:
    """UNIX seconds of a moment in UTC, reckoned by hand: without the machine's zone."""
    year, month, day = moment[:3]
    year, month = (year, month) if month > 2 else (year - 1, month + 12)
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719_469
    return days * DAY + moment[3] * 3_600 + moment[4] * 60 + moment[5]
