"""Blocks that this node makes itself: on demand, and by a miner in a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from consensus.errors import NotYet
from consensus.types import Block, BlockHash, Header, LockId
from miner.search import skipped
from node.block_template import BlockTemplates, TipView
from node.chain_events import BlockResult, BlockStatus

DEFAULT_MAX_TRIES = 1_000_000
"""Of `generatetoaddress` for each block (Bitcoin Core: DEFAULT_MAX_TRIES)."""
FIRST_TRIES = 2_000
"""Tries made first: no more than the workers do in line, which on `regtest` is always enough."""
MORE_TRIES = 20_000
"""Tries between two looks at the tip after that, 25 ms of one core: where two nodes search, few blocks are stale."""

FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
"""Seconds before a miner that ended is started again: doubled each time it ends soon."""
STEADY_SECONDS = 60.0
"""A miner that ran for so long was well: the next delay is the first one again."""
STOP_SECONDS = 5.0
"""A miner that has not ended so long after being asked is killed."""
MAX_LINE = 4_096
"""Bytes of one line of the miner's output that reach the log."""


# On demand


class ChainSink(TipView, Protocol):
    """What mining on demand asks of the chain manager."""

    async def accept_block(self, block: Block, *, wanted: bool = False) -> BlockResult:
        """Check and store a block; the tip follows if it has the most work."""
        ...


class Searcher(Protocol):
    """What mining on demand asks of the workers."""

    async def search(self, header: Header, tries: int) -> Header | None:
        """Try nonces from that of `header` on; a large search does not run on the event loop."""
        ...


class Generator:
    """Mines blocks when asked, with real proof of work (Bitcoin Core: generateBlocks)."""

    def __init__(self, templates: BlockTemplates, chain: ChainSink, workers: Searcher, entropy: Random) -> None:
        self._templates = templates
        self._chain = chain
        self._workers = workers
        self._entropy = entropy

    async def generate(self, count: int, lock: LockId, max_tries: int = DEFAULT_MAX_TRIES) -> list[BlockHash]:
        """Mine `count` blocks that pay `lock`; return their ids, oldest first.

        Fewer than `count` if for one of them `max_tries` headers do not suffice. Blocks that arrive
        meanwhile are built upon: what was begun before them is dropped.

        Raises:
            NotYet: many blocks in an instant have run ahead of the clock.
            ConsensusError: never, but for a mistake of ours: the chain manager found it invalid.
        """
        mined: list[BlockHash] = []
        tries = max_tries
        while len(mined) < count and tries > 0:
            await self._templates.ready()
            template = self._templates.create(lock)
            # Two nodes that mine to one address in one second must not find the same block.
            block = template.block(self._entropy.getrandbits(64))
            found, tried = await self._search(block.header, tries)
            tries -= tried
            if found is None:
                continue
            block = Block(found, block.transactions)
            result = await self._chain.accept_block(block, wanted=True)
            if result.error is not None:
                raise result.error
            if result.status is BlockStatus.EARLY:
                raise NotYet("time-too-far-ahead", time=found.time, mined=len(mined))
            if result.status is BlockStatus.CONNECTED:
                mined.append(block.hash)
                tries = max_tries
        return mined

    async def _search(self, header: Header, max_tries: int) -> tuple[Header | None, int]:
        """Search until the work is found, the tip is another, or the tries are used up; say how many were."""
        tried = 0
        while tried < max_tries and header.previous == self._chain.tip.hash:
            tries = min(MORE_TRIES if tried else FIRST_TRIES, max_tries - tried)
            found = await self._workers.search(header, tries)
            tried += tries
            if found is not None:
                return found, tried
            header = skipped(header, tries)
        return None, tried


# By a process


class ChildProcess(Protocol):
    """What the supervisor asks of a running miner: a part of `asyncio.subprocess.Process`."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    @property
    def stdout(self) -> asyncio.StreamReader | None:
        """Its output and its errors."""
        ...

    async def wait(self) -> int:
        """Return its exit code once it has ended."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """End it."""
        ...


Spawn = Callable[[Sequence[str]], Coroutine[None, None, ChildProcess]]


def miner_command(rpc_url: str, cookie_file: Path, hashrate: int, address: str | None) -> list[str]:
    """Return the command of a miner that mines for this process and ends with it."""
    return [
        sys.executable,
        "-P",  # nothing from the folder that the daemon happens to stand in
        "-m",
        "miner.main",
        f"--rpc-url={rpc_url}",
        f"--cookie-file={cookie_file}",
        f"--hashrate={hashrate}",
        f"--parent={os.getpid()}",
        *([] if address is None else [f"--address={address}"]),
    ]


async def spawn_process(command: Sequence[str]) -> ChildProcess:
    """Start a process whose output and errors come through one pipe."""
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=MAX_LINE,
        # Ctrl-C on a terminal goes to the daemon, which then ends its miner in order.
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )


class MinerProcess:
    """Keeps a miner running: starts it, puts what it says in the log, starts it again when it ends."""

    def __init__(self, command: Sequence[str], log: FilteringBoundLogger, spawn: Spawn = spawn_process) -> None:
        """Take the command, program first, as `miner_command` makes it."""
        self._command = tuple(command)
        self._log = log
        self._spawn = spawn
        self._task: asyncio.Task[None] | None = None
        self.pid: int | None = None
        """Of the running miner."""

    def start(self) -> None:
        """Start the miner and watch over it, until `stop`."""
        if self._task is None:
            self._task = asyncio.create_task(self._supervise(), name="miner-process")

    async def stop(self) -> None:
        """End the miner, and wait until it has ended."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.result()

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY
        while True:
            started = loop.time()
            try:
                process = await self._spawn(self._command)
            except OSError as error:
                self._log.warning("miner_not_started", error=str(error), again_in_s=delay)
            else:
                code = await self._watch(process)
                if loop.time() - started >= STEADY_SECONDS:
                    delay = FIRST_DELAY
                self._log.warning("miner_ended", code=code, again_in_s=delay)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    async def _watch(self, process: ChildProcess) -> int:
        """Log what a miner says until it has ended; if this is cancelled, end it."""
        self.pid = process.pid
        self._log.info("miner_started", pid=process.pid)
        try:
            await self._log_output(process)
            return await process.wait()
        except asyncio.CancelledError:
            await self._end(process)
            raise
        finally:
            self.pid = None

    async def _log_output(self, process: ChildProcess) -> None:
        output = process.stdout
        while output is not None:
            try:
                line = await output.readuntil()
            except asyncio.IncompleteReadError as error:
                line, output = error.partial, None
            except asyncio.LimitOverrunError as error:
                # A longer line is cut into pieces.
                line = await output.readexactly(max(1, error.consumed))
            if text := line.decode("utf-8", "replace").strip():
                self._log.info("miner_said", line=text)

    async def _end(self, process: ChildProcess) -> None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            self._log.warning("miner_killed", pid=process.pid)
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        self._log.info("miner_stopped", pid=process.pid)
