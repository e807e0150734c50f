"""Work for more than one core: signatures, and the search for a nonce.

A few signatures are verified in line; many go in chunks to long-lived processes, because threads of one
Python hold each other up while the main one runs. The processes are plain children that talk over their
standard input and output (see `worker_process`). A `multiprocessing` pool would pickle, would import
the whole daemon again in each child, and would leave children behind when the daemon is killed; these
end when their input ends. They are started at first need and inherit no descriptor but the three standard
ones: no database, no socket.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from structlog.typing import FilteringBoundLogger

from consensus.signatures import SignatureCheck, verify
from consensus.types import Header
from miner.search import search
from node.signature_cache import SignatureCache, name_of
from node.worker_process import ANSWER_SIZE, pack_checks, pack_search, read_answer

FEW_CHECKS = 16
"""Signatures that are verified in line: half a millisecond, less than asking another process."""
CHUNK = 512
"""Signatures in one request to a worker: 16 ms, so that the cores end together."""
DEPTH = 2
"""Requests that a worker has at once: it goes on with the next while the loop is busy with something else."""
INLINE_SLICE = 64
"""Signatures between two turns of the event loop, where no worker can be had: 2 ms."""
FEW_TRIES = 2_000
"""Nonces that are tried in line: 2 ms."""
EARLY_START = 500
"""Signatures, verified in line or expected, after which the processes are started, so that the first large request need
not wait a tenth of a second for them: a node that has seen so many will see more."""
MAX_WORKERS = 4
"""Each takes some 15 MiB."""
MAX_ATTEMPTS = 3
"""Workers that may die over one request before it is done in line."""
CLOSE_SECONDS = 2.0
"""A worker that has not ended so long after its input was closed is killed."""


class Workers(Protocol):
    """What the node asks of other cores."""

    async def verify(self, checks: Sequence[SignatureCheck]) -> int | None:
        """Return the place of the first check that fails, or None if all hold."""
        ...

    async def search(self, header: Header, tries: int) -> Header | None:
        """Try `tries` nonces, beginning with that of `header`; return the header that has the work, or None."""
        ...

    def expect(self, checks: int) -> None:
        """About so many signatures will be asked about soon."""
        ...

    async def close(self) -> None:
        """End all processes. Nothing may be asked afterwards."""
        ...


class InlineWorkers:
    """Satisfies `Workers` on the event loop itself: for tests and simulated nodes."""

    def __init__(self) -> None:
        self.cache = SignatureCache()

    async def verify(self, checks: Sequence[SignatureCheck]) -> int | None:
        """Return the place of the first check that fails, or None if all hold."""
        return await _verify_inline(self.cache, await _unknown(self.cache, checks))

    async def search(self, header: Header, tries: int) -> Header | None:
        """Try `tries` nonces, beginning with that of `header`."""
        return search(header, tries)

    def expect(self, checks: int) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing to end."""


class _Open(NamedTuple):
    """A check that is still to be made."""

    place: int
    name: bytes
    check: SignatureCheck


async def _unknown(cache: SignatureCache, checks: Sequence[SignatureCheck]) -> list[_Open]:
    """Return those of the checks that the cache does not have."""
    found: list[_Open] = []
    for place, check in enumerate(checks):
        if place and place % CHUNK == 0:
            await asyncio.sleep(0)
        name = name_of(check)
        if name not in cache:
            found.append(_Open(place, name, check))
    return found


async def _verify_inline(cache: SignatureCache, places: Sequence[_Open]) -> int | None:
    for start in range(0, len(places), INLINE_SLICE):
        if start:
            await asyncio.sleep(0)
        for place, name, check in places[start : start + INLINE_SLICE]:
            if not verify(check):
                return place
            cache.add(name)
    return None


class WorkerDiedError(Exception):
    """A worker process ended in the middle of a request."""


class NoWorkerError(Exception):
    """No worker process can do it: do it here."""


class ProcessWorkers:
    """Satisfies `Workers` with a process for each core, up to `MAX_WORKERS`.

    A process that dies is replaced, and what it was doing is done again (killed for want of memory, say);
    a request that kills `MAX_ATTEMPTS` of them is done in line.
    """

    def __init__(self, log: FilteringBoundLogger, *, count: int | None = None) -> None:
        """Take the number of processes; by default one for each core. None is started yet."""
        self.cache = SignatureCache()
        self._log = log
        self._count = count or min(MAX_WORKERS, os.cpu_count() or 1)
        self._running: dict[int, _Worker] = {}
        self._free = asyncio.Semaphore(self._count * DEPTH)
        self._choosing = asyncio.Lock()
        self._closed = False
        self._expected = 0
        self._preparing: asyncio.Task[None] | None = None

    async def verify(self, checks: Sequence[SignatureCheck]) -> int | None:
        """Return the place of the first check that fails, or None if all hold."""
        places = await _unknown(self.cache, checks)
        if len(places) <= FEW_CHECKS:
            self.expect(len(places))
            return await _verify_inline(self.cache, places)
        # As many chunks as keep every worker busy to the end, none too small to be worth sending.
        size = max(FEW_CHECKS, min(CHUNK, -(-len(places) // self._count)))
        chunks = [places[start : start + size] for start in range(0, len(places), size)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._verify_chunk(chunk)) for chunk in chunks]
        return min((bad for task in tasks if (bad := task.result()) is not None), default=None)

    async def _verify_chunk(self, places: list[_Open]) -> int | None:
        try:
            bad = await self._ask(pack_checks([each.check for each in places]))
        except (NoWorkerError, ValueError):
            return await _verify_inline(self.cache, places)
        for each in places[:bad]:
            self.cache.add(each.name)
        return None if bad is None else places[bad].place

    def expect(self, checks: int) -> None:
        """About so many signatures will be asked about soon, or were just verified in line."""
        self._expected += checks
        if self._expected >= EARLY_START:
            self._prepare()

    def _prepare(self) -> None:
        """Start all processes, once, beside whatever else runs; what fails is tried again when one is needed."""
        if self._preparing is None and not self._closed:
            self._preparing = asyncio.create_task(self._start_all(), name="workers")

    async def _start_all(self) -> None:
        """Ask each for nothing: its answer comes when it is ready."""
        with suppress(NoWorkerError):
            await asyncio.gather(*(self._ask(pack_checks(())) for _ in range(self._count)))

    async def search(self, header: Header, tries: int) -> Header | None:
        """Try `tries` nonces, beginning with that of `header`; the first few in line."""
        if tries <= FEW_TRIES:
            return search(header, tries)
        try:
            nonce = await self._ask(pack_search(header, tries))
        except NoWorkerError:
            return search(header, tries)
        if nonce is None:
            return None
        return Header(header.version, header.previous, header.merkle_root, header.time, header.bits, nonce)

    async def _ask(self, request: bytes) -> int | None:
        """Return a worker's answer.

        Raises:
            NoWorkerError: none could be had, or too many died over it.
        """
        async with self._free:
            for _ in range(MAX_ATTEMPTS):
                try:
                    worker = await self._reserve()
                except OSError as error:
                    self._log.warning("worker_not_started", why=str(error))
                    break
                if worker is None:
                    break
                try:
                    return await worker.ask(request)
                except WorkerDiedError:
                    await self._discard(worker)
                    if not self._closed:
                        self._log.warning("worker_died", pid=worker.pid)
                except BaseException:
                    # Cancelled in the middle: what it would answer belongs to nobody. Who else asked it asks another.
                    worker.kill()
                    await self._discard(worker)
                    raise
                finally:
                    worker.asked -= 1
        raise NoWorkerError

    async def _reserve(self) -> _Worker | None:
        """Return the worker with the least to do; a new one, if all are at work and there may be more. None at the end.

        Raises:
            OSError: it cannot be started.
        """
        async with self._choosing:
            if self._closed:
                return None
            worker = min(reversed(self._running.values()), key=lambda each: each.asked, default=None)
            if worker is None or (worker.asked and len(self._running) < self._count):
                worker = await _Worker.start()
                self._running[worker.pid] = worker
            worker.asked += 1
            return worker

    async def _discard(self, worker: _Worker) -> None:
        self._running.pop(worker.pid, None)
        await worker.end()

    async def close(self) -> None:
        """End all processes. Who still waits for an answer gets it, worked out in line."""
        self._closed = True
        await self._end_all()
        if self._preparing is not None:
            await self._preparing
            await self._end_all()  # what was just being started

    async def _end_all(self) -> None:
        running, self._running = list(self._running.values()), {}
        for worker in running:
            await worker.end()

    @property
    def pids(self) -> list[int]:
        """The process ids of the running workers: for operators and tests."""
        return sorted(self._running)


class _Worker:
    """One child process, and the pipes to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid
        self.asked = 0
        """Requests that it has, or is about to get; at most `DEPTH`."""
        self._answers = asyncio.Lock()

    @classmethod
    async def start(cls) -> _Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # nothing from the folder that the daemon happens to stand in
            "-m",
            "node.worker_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Ctrl-C on a terminal goes to the daemon, which then ends its workers in order.
            start_new_session=True,
            # The very packages that this program runs from, wherever they are.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)},
        )
        return cls(process)

    async def ask(self, request: bytes) -> int | None:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise WorkerDiedError
        try:
            stdin.write(request)
            # Answers come in the order of the requests, and so do those who wait for the lock.
            async with self._answers:
                await stdin.drain()
                return read_answer(await stdout.readexactly(ANSWER_SIZE))
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise WorkerDiedError from error

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> None:
        """Close its input, which ends it; wait until it is gone."""
        if self._process.stdin is not None:
            self._process.stdin.close()
            with suppress(ConnectionError):
                await self._process.stdin.wait_closed()
        try:
            await asyncio.wait_for(self._process.wait(), CLOSE_SECONDS)
        except TimeoutError:
            self.kill()
            await self._process.wait()
