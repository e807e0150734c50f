"""Blocks on demand, and a miner process that is kept running."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from consensus.errors import ConsensusError, NotYet, Rule
from consensus.types import Block, Header
from miner.search import search
from node.block_template import BlockTemplates
from node.chain_events import BlockResult, BlockStatus
from node.mining import (
    FIRST_DELAY,
    LONGEST_DELAY,
    MAX_LINE,
    STEADY_SECONDS,
    STOP_SECONDS,
    ChildProcess,
    Generator,
    MinerProcess,
    miner_command,
    spawn_process,
)
from simnet.loop import run_virtual
from tests.support.pool import PARAMS, Ledger, Pool, forward
from tests.support.rules import lock

# On demand


class Searcher:
    """Searches in line, and tells how much it was asked for."""

    def __init__(self, meanwhile: Callable[[], None] | None = None) -> None:
        self.asked: list[int] = []
        self.meanwhile = meanwhile

    async def search(self, header: Header, tries: int) -> Header | None:
        self.asked.append(tries)
        if self.meanwhile is not None:
            self.meanwhile()
        return search(header, tries)


def generator(pool: Pool, chain: Any = None, searcher: Searcher | None = None, seed: int = 1) -> Generator:
    templates = BlockTemplates(PARAMS, pool.ledger, pool.mempool, pool.clock)
    return Generator(templates, chain or FollowedLedger(pool), searcher or Searcher(), Random(seed))


class FollowedLedger:
    """The pool's ledger, where each block that comes in is followed by the mempool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @property
    def tip(self) -> Any:
        return self._pool.ledger.tip

    async def accept_block(self, block: Block, *, wanted: bool = False) -> BlockResult:
        assert wanted
        self._pool.connect(block)
        return BlockResult(BlockStatus.CONNECTED, None, None)


async def test_blocks_are_mined_to_a_lock_in_a_row() -> None:
    pool = Pool()
    height = pool.ledger.tip.height
    hashes = await generator(pool).generate(5, lock(7))
    assert [block.hash for block in pool.ledger.blocks[height + 1 :]] == hashes
    assert all(block.transactions[0].core.outputs[0].lock == lock(7) for block in pool.ledger.blocks[height + 1 :])


async def test_what_waits_is_in_the_next_block() -> None:
    pool = Pool()
    tx = forward(pool.reward(1))
    pool.mempool.add(pool.mempool.check(tx))
    await generator(pool).generate(1, lock(7))
    assert tx in pool.ledger.blocks[-1].transactions
    assert len(pool.mempool) == 0


async def test_two_nodes_that_mine_to_one_address_in_one_second_find_different_blocks() -> None:
    left, right = Pool(), Pool()
    assert left.ledger.tip == right.ledger.tip
    mined = [await generator(pool, seed=seed).generate(1, lock(7)) for seed, pool in enumerate((left, right))]
    assert mined[0] != mined[1]


async def test_tries_that_do_not_suffice_give_fewer_blocks() -> None:
    pool = Pool()
    searcher = _Hopeless()
    assert await generator(pool, searcher=searcher).generate(3, lock(7), max_tries=50_000) == []
    assert sum(searcher.asked) == 50_000
    # The first search is small enough to be done in line.
    assert searcher.asked == [2_000, 20_000, 20_000, 8_000]
    assert searcher.starts == sorted(set(searcher.starts))


class _Hopeless(Searcher):
    """Finds nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: list[int] = []

    async def search(self, header: Header, tries: int) -> Header | None:
        self.asked.append(tries)
        # In the order of the search the bytes of a nonce count in reverse.
        self.starts.append(int.from_bytes(header.nonce.to_bytes(4, "little"), "big"))
        return None


async def test_no_blocks_are_no_work() -> None:
    pool = Pool()
    assert await generator(pool).generate(0, lock(7)) == []


async def test_a_block_that_arrives_during_the_search_is_built_upon() -> None:
    pool = Pool()
    height = pool.ledger.tip.height
    arrivals = iter([True])

    def meanwhile() -> None:
        if next(arrivals, False):
            pool.mine()

    hashes = await generator(pool, searcher=_Late(meanwhile)).generate(2, lock(7))
    assert len(hashes) == 2
    assert [block.hash for block in pool.ledger.blocks[height + 2 :]] == hashes


class _Late(Searcher):
    """Finds nothing in the first search, while another block arrives."""

    async def search(self, header: Header, tries: int) -> Header | None:
        found = await super().search(header, tries)
        return found if len(self.asked) > 1 else None


class _Answers:
    """A chain that answers as it is told."""

    def __init__(self, ledger: Ledger, *answers: BlockResult) -> None:
        self._ledger = ledger
        self._answers = list(answers)
        self.blocks: list[Block] = []

    @property
    def tip(self) -> Any:
        return self._ledger.tip

    async def accept_block(self, block: Block, *, wanted: bool = False) -> BlockResult:
        self.blocks.append(block)
        return self._answers.pop(0)


async def test_a_block_that_loses_a_race_is_not_counted() -> None:
    pool = Pool()
    lost, won = (BlockResult(status, None, None) for status in (BlockStatus.SIDE_BRANCH, BlockStatus.CONNECTED))
    chain = _Answers(pool.ledger, lost, won)
    assert await generator(pool, chain).generate(1, lock(7)) == [chain.blocks[1].hash]


async def test_a_refused_block_is_an_error_and_an_early_one_must_wait() -> None:
    pool = Pool()
    error = ConsensusError(Rule.HIGH_HASH)
    with pytest.raises(ConsensusError):
        await generator(pool, _Answers(pool.ledger, BlockResult(BlockStatus.INVALID, None, error))).generate(1, lock(7))
    with pytest.raises(NotYet) as early:
        await generator(pool, _Answers(pool.ledger, BlockResult(BlockStatus.EARLY, None, None))).generate(1, lock(7))
    assert early.value.reason == "time-too-far-ahead"


# A process


class FakeProcess:
    """Says its lines, runs until told to end (or for so long), and exits."""

    def __init__(self, lines: Sequence[bytes] = (), *, seconds: float | None = None, stubborn: bool = False) -> None:
        self.pid = 4_711
        self.stdout: asyncio.StreamReader | None = asyncio.StreamReader(limit=MAX_LINE)
        self.stubborn = stubborn
        self.signals: list[str] = []
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        for line in lines:
            self.stdout.feed_data(line)
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, self._end, 1)

    def _end(self, code: int) -> None:
        if not self._ended.done():
            assert self.stdout is not None
            self.stdout.feed_eof()
            self._ended.set_result(code)

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def terminate(self) -> None:
        self.signals.append("terminate")
        if not self.stubborn:
            self._end(0)

    def kill(self) -> None:
        self.signals.append("kill")
        self._end(-9)


class Spawner:
    """Starts what a test has prepared, and notes when."""

    def __init__(self, *make: Callable[[], FakeProcess]) -> None:
        self._make = list(make)
        self.times: list[float] = []
        self.processes: list[FakeProcess] = []

    async def __call__(self, command: Sequence[str]) -> ChildProcess:
        assert command == ("miner", "now")
        self.times.append(asyncio.get_running_loop().time())
        self.processes.append(self._make.pop(0)() if len(self._make) > 1 else self._make[0]())
        return self.processes[-1]


def recorder() -> tuple[Any, list[Mapping[str, Any]]]:
    capture = LogCapture()
    return structlog.wrap_logger(None, processors=[capture]), capture.entries  # type: ignore[return-value]


def simulate_miner(spawn: Any, story: Callable[[MinerProcess], Coroutine[Any, Any, None]]) -> list[Mapping[str, Any]]:
    """Run a supervised miner in virtual time; return what was logged."""
    log, entries = recorder()

    async def whole() -> None:
        miner = MinerProcess(["miner", "now"], log, spawn)
        miner.start()
        try:
            await story(miner)
        finally:
            await miner.stop()
            assert miner.pid is None

    run_virtual(whole)
    return entries


def events(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    return [entry["event"] for entry in entries]


def test_a_miner_is_started_once_heard_and_stopped() -> None:
    spawn = Spawner(lambda: FakeProcess([b"block_found height=3\n", b"\n", b"half a l"]))

    async def story(miner: MinerProcess) -> None:
        miner.start()
        await asyncio.sleep(1.0)
        assert miner.pid == 4_711

    entries = simulate_miner(spawn, story)
    assert events(entries) == ["miner_started", "miner_said", "miner_stopped"]
    assert entries[1]["line"] == "block_found height=3"
    assert [process.signals for process in spawn.processes] == [["terminate"]]


def test_a_miner_that_crashes_is_started_again_later_and_later() -> None:
    spawn = Spawner(lambda: FakeProcess(seconds=0.0))

    async def story(miner: MinerProcess) -> None:
        await asyncio.sleep(300.0)

    entries = simulate_miner(spawn, story)
    waits = [round(later - earlier) for earlier, later in zip(spawn.times, spawn.times[1:], strict=False)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert waits[0] == FIRST_DELAY
    assert waits[-1] == LONGEST_DELAY
    assert entries[1]["code"] == 1


def test_a_miner_that_ran_well_is_started_again_soon() -> None:
    spawn = Spawner(
        lambda: FakeProcess(seconds=0.0),
        lambda: FakeProcess(seconds=0.0),
        lambda: FakeProcess(seconds=STEADY_SECONDS),
        FakeProcess,
    )

    async def story(miner: MinerProcess) -> None:
        await asyncio.sleep(200.0)

    simulate_miner(spawn, story)
    assert spawn.times[3] - spawn.times[2] == pytest.approx(STEADY_SECONDS + FIRST_DELAY)


def test_a_miner_that_does_not_end_is_killed() -> None:
    spawn = Spawner(lambda: FakeProcess(stubborn=True))

    async def story(miner: MinerProcess) -> None:
        await asyncio.sleep(1.0)
        started = asyncio.get_running_loop().time()
        await miner.stop()
        assert asyncio.get_running_loop().time() - started == pytest.approx(STOP_SECONDS)

    assert events(simulate_miner(spawn, story))[-2:] == ["miner_killed", "miner_stopped"]
    assert spawn.processes[0].signals == ["terminate", "kill"]


def test_a_miner_that_cannot_be_started_is_tried_again() -> None:
    attempts = 0

    async def spawn(command: Sequence[str]) -> ChildProcess:
        nonlocal attempts
        attempts += 1
        raise FileNotFoundError("no such program")

    async def story(miner: MinerProcess) -> None:
        await asyncio.sleep(3.5)

    entries = simulate_miner(spawn, story)
    assert attempts == 3
    assert set(events(entries)) == {"miner_not_started"}


def test_a_line_without_end_reaches_the_log_in_bounded_pieces() -> None:
    """A138: what a process says cannot fill the memory of the node."""
    spawn = Spawner(lambda: FakeProcess([b"x" * (3 * MAX_LINE), b"\n", b"next\n"], seconds=0.5))

    async def story(miner: MinerProcess) -> None:
        await asyncio.sleep(1.0)

    said = [entry["line"] for entry in simulate_miner(spawn, story) if entry["event"] == "miner_said"]
    assert "".join(said[:-1]) == "x" * (3 * MAX_LINE)
    assert all(len(line) <= 3 * MAX_LINE for line in said)
    assert said[-1] == "next"


def test_the_command_names_this_process_as_the_parent() -> None:
    command = miner_command("http://127.0.0.1:1/", Path("/d/.cookie"), 20_000, "ldure1x")
    assert command[:2] == [sys.executable, "-P"]
    assert f"--parent={os.getpid()}" in command
    assert "--hashrate=20000" in command
    assert command[-1] == "--address=ldure1x"
    assert not any(part.startswith("--address") for part in miner_command("u", Path("c"), 0, None))


@pytest.mark.e2e
async def test_a_real_process_is_heard_and_ended() -> None:
    log, entries = recorder()
    script = "import time; print('here', flush=True); time.sleep(60)"
    miner = MinerProcess([sys.executable, "-c", script], log, spawn_process)
    miner.start()
    async with asyncio.timeout(30):
        while "miner_said" not in events(entries):  # noqa: ASYNC110 - another process speaks
            await asyncio.sleep(0.01)
    pid = miner.pid
    await miner.stop()
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert events(entries) == ["miner_started", "miner_said", "miner_stopped"]
