"""Worker processes: the same answers as in line, also when they die; none outlives its daemon."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from consensus.params import REGTEST, local_params
from consensus.pow import check_proof_of_work
from consensus.signatures import SignatureCheck, public_key, sign
from consensus.types import Header
from node.signature_cache import SignatureCache, name_of
from node.storage.lmdb_store import LmdbDatabase
from node.worker_process import pack_checks
from node.workers import EARLY_START, FEW_CHECKS, FEW_TRIES, InlineWorkers, ProcessWorkers
from tests.support.chain import recorder

KEY = public_key(bytes(31) + b"\7")


def checks(count: int, *bad: int) -> list[SignatureCheck]:
    """Valid checks, but for those at the places `bad`."""
    made: list[SignatureCheck] = []
    for n in range(count):
        digest = n.to_bytes(32, "big")
        signature = sign(bytes(31) + b"\7", digest)
        made.append(SignatureCheck(bytes(32) if n in bad and n else digest, KEY, signature))
    return made


@asynccontextmanager
async def processes(count: int = 2) -> AsyncIterator[tuple[ProcessWorkers, list[str]]]:
    log, entries = recorder()
    events: list[str] = []
    workers = ProcessWorkers(log, count=count)
    try:
        yield workers, events
    finally:
        await workers.close()
        events += [str(entry["event"]) for entry in entries]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_few_signatures_start_no_process() -> None:
    async with processes() as (workers, _):
        assert await workers.verify([]) is None
        assert await workers.verify(checks(FEW_CHECKS)) is None
        assert await workers.verify(checks(FEW_CHECKS, 3)) == 3
        assert workers.pids == []


async def test_a_stream_of_few_signatures_has_the_processes_started() -> None:
    async with processes() as (workers, _):
        made = checks(EARLY_START + 100, EARLY_START + 60)
        for start in range(0, EARLY_START, FEW_CHECKS):
            assert workers.pids == []
            assert await workers.verify(made[start : min(start + FEW_CHECKS, EARLY_START)]) is None
        while len(workers.pids) < 2:  # noqa: ASYNC110  there is no event for it
            await asyncio.sleep(0.001)
        ready = workers.pids
        assert await workers.verify(made[EARLY_START:]) == 60
        assert workers.pids == ready


async def test_processes_that_are_just_being_started_end_with_the_rest() -> None:
    async with processes() as (workers, events):
        made = checks(EARLY_START)
        for start in range(0, EARLY_START, FEW_CHECKS):
            assert await workers.verify(made[start : start + FEW_CHECKS]) is None
        await asyncio.sleep(0)
    assert workers.pids == []
    assert events == []


async def test_many_signatures_give_the_same_answers_as_in_line() -> None:
    inline = InlineWorkers()
    async with processes() as (workers, events):
        for bad in ((), (1,), (599,), (300, 299, 580)):
            wanted = min(bad, default=None)
            assert await workers.verify(checks(600, *bad)) == wanted
            assert await inline.verify(checks(600, *bad)) == wanted
        assert len(workers.pids) == 2
        running = workers.pids
    assert not any(is_alive(pid) for pid in running)
    assert events == []


async def test_what_was_valid_once_is_not_verified_again() -> None:
    async with processes() as (workers, _):
        valid = checks(FEW_CHECKS + 50)
        assert await workers.verify(valid) is None
        for pid in workers.pids:
            os.kill(pid, signal.SIGSTOP)  # whoever asks them would wait for ever
        try:
            async with asyncio.timeout(30):
                assert await workers.verify(valid) is None
        finally:
            for pid in workers.pids:
                os.kill(pid, signal.SIGCONT)


async def test_a_killed_worker_is_replaced_and_its_work_is_done_again() -> None:
    async with processes() as (workers, _):
        assert await workers.verify(checks(100)) is None
        before = workers.pids
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        many = [SignatureCheck(c.digest[::-1], c.key, sign(bytes(31) + b"\7", c.digest[::-1])) for c in checks(300)]
        assert await workers.verify(many[1:]) is None
        assert not set(before) & set(workers.pids)


async def test_a_worker_that_is_killed_in_the_middle_is_replaced() -> None:
    async with processes() as (workers, events):
        assert await workers.verify(checks(100)) is None
        stopped = workers.pids
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        asking = asyncio.create_task(workers.verify(checks(400, 250)[100:]))
        while not any(worker.asked for worker in workers._running.values()):  # noqa: ASYNC110  there is no event for it
            await asyncio.sleep(0)
        for pid in stopped:
            os.kill(pid, signal.SIGKILL)
        assert await asking == 150
    assert "worker_died" in events


async def test_where_no_worker_can_be_started_the_work_is_done_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    async with processes() as (workers, events):
        assert await workers.verify(checks(100, 40)) == 40
    assert "worker_not_started" in events


async def test_a_worker_that_dies_of_its_request_does_not_stop_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    async with processes() as (workers, events):
        assert await workers.verify(checks(40, 30)) == 30
    assert events.count("worker_died") >= 3


async def test_searches_find_what_a_search_in_line_finds() -> None:
    header = Header(1, REGTEST.genesis_hash, bytes(32), 1_800_000_000, local_params(bytes(16)).limit_bits, 0)
    async with processes(1) as (workers, _):
        assert await workers.search(header, 10) is None
        assert workers.pids == []
        found = await workers.search(header, 200_000)
        assert found is not None
        check_proof_of_work(found)
        assert found == await InlineWorkers().search(header, 200_000)
        assert await workers.search(header, FEW_TRIES + 1) is None
        assert len(workers.pids) == 1


async def test_a_cancelled_request_leaves_no_answer_for_the_next() -> None:
    """A202"""
    header = Header(1, REGTEST.genesis_hash, bytes(32), 1_800_000_000, 0x1D00FFFF, 0)
    async with processes(1) as (workers, _):
        task = asyncio.create_task(workers.search(header, 2**31))
        while not workers.pids:  # noqa: ASYNC110  there is no event for it
            await asyncio.sleep(0.001)
        (pid,) = workers.pids
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not is_alive(pid)
        assert await workers.verify(checks(50, 20)) == 20


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_a_worker_holds_no_descriptor_but_the_standard_ones(tmp_path: Path, runner: Callable[..., None]) -> None:
    """A130: neither the database nor a socket, on either event loop."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux shows a process's descriptors")

    async def story() -> None:
        database = LmdbDatabase(tmp_path / "db", ("table",), version=1, identity=b"")
        async with processes(1) as (workers, _):
            assert await workers.verify(checks(50)) is None
            (pid,) = workers.pids
            assert set(os.listdir(f"/proc/{pid}/fd")) == {"0", "1", "2"}
        database.close()

    inheritable = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(inheritable, True)
    try:
        runner(story())
    finally:
        os.close(inheritable)


def test_workers_end_with_a_daemon_that_is_killed() -> None:
    code = """
import asyncio, os, signal
from tests.node.test_workers import checks
from tests.support.chain import recorder
from node.workers import ProcessWorkers
async def main():
    workers = ProcessWorkers(recorder()[0], count=2)
    await workers.verify(checks(100))
    print(*workers.pids, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    root = Path(__file__).parents[2]
    # Its output ends only when all who hold it have ended: the workers hold it, as their errors go there.
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2


def test_the_cache_keeps_two_generations_and_asks_for_all_three_parts() -> None:
    """A041"""
    cache = SignatureCache(generation=10)
    made = checks(50)
    names = [name_of(check) for check in made]
    for name in names:
        cache.add(name)
    assert len(cache) == 20
    assert all(name in cache for name in names[-20:])
    assert not any(name in cache for name in names[:-20])
    digest, key, signature = made[-1]
    assert name_of(SignatureCheck(bytes(32), key, signature)) not in cache
    assert name_of(SignatureCheck(digest, public_key(bytes(31) + b"\1"), signature)) not in cache
    assert name_of(SignatureCheck(digest, key, made[-2].signature)) not in cache


def test_fields_of_other_sizes_are_never_sent() -> None:
    digest, key, signature = checks(1)[0]
    for wrong in (SignatureCheck(digest, key, signature + b"\0"), SignatureCheck(digest, key[1:], b"\0" + signature)):
        with pytest.raises(ValueError, match="another size"):
            pack_checks([wrong])
