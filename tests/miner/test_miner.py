"""The miner on a node in memory and in virtual time: it follows, finds, submits and ends."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from consensus.types import Block
from miner.miner import FIRST_DELAY, LONGEST_DELAY, BadTemplateError, Miner, work_of
from miner.search import Pace
from node.block_template import make_coinbase
from rpc.client import Unreachable
from rpc.errors import ErrorCode, RpcError
from rpc.schema import CoinbaseTransaction
from simnet.loop import LoopClock, run_virtual
from tests.support.pool import NodeInMemory, Pool, forward, template_answer
from tests.support.rules import build, lock

RATE = 200
"""Hashes per second: slices of ten, 50 ms apart, so that virtual time moves on."""
IMPOSSIBLE = "0300ffff"
"""Bits whose target no id of a test will meet."""


class World:
    """A miner, its node, and what was said."""

    def __init__(self, seed: int = 1) -> None:
        loop = asyncio.get_running_loop()
        self.node = NodeInMemory(Pool(), clock=LoopClock(loop))
        self.said: list[tuple[str, dict[str, object]]] = []
        self.going = True
        self.miner = Miner(
            self.node,
            pace=Pace(RATE, loop.time),
            entropy=Random(seed),
            monotonic=loop.time,
            log=lambda event, **facts: self.said.append((event, facts)),
            wanted=lambda: self.going,
        )

    @property
    def height(self) -> int:
        return self.node.pool.ledger.tip.height

    def events(self) -> list[str]:
        return [event for event, _ in self.said]

    async def until(self, condition: Callable[[], bool], within: float) -> None:
        async with asyncio.timeout(within):
            while not condition():  # noqa: ASYNC110 - virtual time costs nothing
                await asyncio.sleep(0.01)


def tell(story: Callable[[World], Coroutine[Any, Any, None]]) -> World:
    """Run a story while the miner runs; at the end it must end by itself."""
    worlds: list[World] = []

    async def whole() -> None:
        world = World()
        worlds.append(world)
        async with asyncio.TaskGroup() as group:
            group.create_task(world.miner.run())
            await story(world)
            world.going = False

    run_virtual(whole)
    return worlds[0]


def test_blocks_are_found_one_after_the_other() -> None:
    async def story(world: World) -> None:
        start = world.height
        await world.until(lambda: world.height >= start + 5, within=10.0)

    world = tell(story)
    assert set(world.events()) == {"block_found"}
    assert [facts["height"] for _, facts in world.said] == [
        block.transactions[0].core.inputs[0].index for block in world.node.submitted
    ]
    extranonces = {block.transactions[0].core.memo[-8:] for block in world.node.submitted}
    assert len(extranonces) == len(world.node.submitted)


def test_what_waits_is_mined() -> None:
    async def story(world: World) -> None:
        pool = world.node.pool
        tx = forward(pool.reward(1))
        pool.mempool.add(pool.mempool.check(tx))
        await world.until(lambda: len(pool.mempool) == 0, within=10.0)
        assert any(tx in block.transactions for block in world.node.submitted)

    tell(story)


def _stuck(world: World) -> None:
    """Make the node's templates too hard to be solved."""
    create = world.node.templates.create
    harder = int(IMPOSSIBLE, 16)
    world.node.templates.create = (  # type: ignore[method-assign]
        lambda lock: dataclasses.replace(create(lock), bits=harder)
    )


def _another_block(world: World) -> Block:
    """A block that somebody else found."""
    ledger = world.node.pool.ledger
    return build(ledger.params, ledger.tip, [make_coinbase(ledger.tip.height + 1, 1, lock(5))])


def test_a_new_tip_replaces_stale_work_within_a_slice() -> None:
    async def story(world: World) -> None:
        _stuck(world)
        await world.until(lambda: world.miner._job is not None, within=1.0)
        block = _another_block(world)
        world.node.take(block)
        await world.until(
            lambda: world.miner._job is not None and world.miner._job.work.previous == block.hash, within=0.06
        )

    world = tell(story)
    assert world.node.submitted == []


def test_the_headers_time_follows_and_every_header_is_new() -> None:
    async def story(world: World) -> None:
        _stuck(world)
        await world.until(lambda: world.miner._job is not None, within=1.0)
        job = world.miner._job
        assert job is not None
        seen = set()
        for _ in range(200):
            assert world.miner._job is job
            assert job.header.time >= job.work.time
            seen.add((job.header.time, job.header.nonce))
            await asyncio.sleep(0.05)
        assert job.header.time - job.work.time >= 9
        assert len(seen) >= 195

    tell(story)


def test_when_nonces_are_used_up_the_extranonce_moves_on() -> None:
    async def story(world: World) -> None:
        _stuck(world)
        await world.until(lambda: world.miner._job is not None, within=1.0)
        job = world.miner._job
        assert job is not None
        root, extranonce = job.header.merkle_root, job.extranonce
        job.advance(2**32, asyncio.get_running_loop().time())
        assert job.extranonce == (extranonce + 1) % 2**64
        assert job.header.merkle_root != root
        assert job.header.nonce == 0

    tell(story)


def test_a_node_that_does_not_answer_is_asked_again_later_and_later() -> None:
    async def story(world: World) -> None:
        world.node.failures = [Unreachable("nobody there") for _ in range(8)]
        started = asyncio.get_running_loop().time()
        await world.until(lambda: len(world.node.failures) == 0, within=120.0)
        waited = asyncio.get_running_loop().time() - started
        assert waited >= FIRST_DELAY * (2**4) + 2 * LONGEST_DELAY
        start = world.height
        await world.until(lambda: world.height > start, within=LONGEST_DELAY + 5.0)

    # It says why it waits once, not eight times.
    assert tell(story).events()[:3] == ["waiting_for_node", "node_answered", "block_found"]


def test_a_node_that_is_busy_says_why_and_stale_work_is_dropped() -> None:
    async def story(world: World) -> None:
        _stuck(world)
        await world.until(lambda: world.miner._job is not None, within=1.0)
        world.node.failures = [RpcError(ErrorCode.CLIENT_IN_INITIAL_DOWNLOAD, "still fetching blocks")]
        world.node.take(_another_block(world))
        await world.until(lambda: bool(world.said), within=5.0)
        assert world.miner._job is None
        await world.until(lambda: world.miner._job is not None, within=5.0)

    world = tell(story)
    assert world.events() == ["waiting_for_node", "node_answered"]
    assert "still fetching blocks" in str(world.said[0])


def test_a_found_block_is_offered_again_until_the_node_takes_it() -> None:
    async def story(world: World) -> None:
        await world.until(lambda: world.miner._job is not None, within=1.0)
        world.node.failures = [Unreachable("busy"), Unreachable("busy")]
        start = world.height
        await world.until(lambda: world.height > start, within=10.0)

    events = tell(story).events()
    assert "block_found" in events


def test_a_refused_block_is_told_and_work_goes_on() -> None:
    async def story(world: World) -> None:
        submit = world.node.call
        refusals = iter(["high-hash"])

        async def call(method: str, *params: Any, **how: Any) -> Any:
            if method == "submitblock" and (refusal := next(refusals, None)) is not None:
                return refusal
            return await submit(method, *params, **how)

        world.node.call = call  # type: ignore[method-assign]
        start = world.height
        await world.until(lambda: world.height > start, within=10.0)

    events = tell(story).events()
    assert events[0] == "block_refused"
    assert "block_found" in events


def test_it_ends_soon_when_it_is_no_longer_wanted() -> None:
    async def story(world: World) -> None:
        world.node.failures = [Unreachable("nobody there") for _ in range(100)]
        await asyncio.sleep(30.0)
        started = asyncio.get_running_loop().time()
        world.going = False
        while len(asyncio.all_tasks()) > 2:  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(0.05)
        assert asyncio.get_running_loop().time() - started <= 1.0

    tell(story)


def test_a_template_that_makes_no_sense_is_refused() -> None:
    answer = template_answer(NodeInMemory(Pool()).templates.create(lock(1)))
    assert work_of(answer).height == answer.height

    def with_coinbase(data: str) -> CoinbaseTransaction:
        return replace(answer.coinbasetxn, data=data)

    short = make_coinbase(1, 5, lock(1))
    short = type(short)(replace(short.core, memo=b"1234567"), ())
    for broken in (
        replace(answer, coinbasetxn=with_coinbase("zz")),
        replace(answer, coinbasetxn=with_coinbase("90")),
        replace(answer, coinbasetxn=with_coinbase(short.encoded.hex())),
        replace(answer, previousblockhash="00"),
        replace(answer, bits="what"),
    ):
        with pytest.raises(BadTemplateError):
            work_of(broken)
