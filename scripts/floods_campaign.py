"""Every flood and every breach of the wire at once, against a real `dured`, for as long as is asked (A197).

Hostile peers dial it over real sockets, each with one behaviour of `simnet.hostile`; who is cut off comes again a
second later. Meanwhile blocks are mined and payments made by JSON-RPC, as on any day. It ends with 1 if the daemon has
died, does not answer, takes more memory than it may, or grows by more than 1 % an hour after the first tenth of the
time (which is judged from two hours on: in less, noise is more than that).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from consensus.codec import decode_block
from consensus.params import REGTEST
from consensus.state import ChainState
from consensus.types import Block, LockId, Transaction
from node.chain import ChainManager
from node.clock import SystemClock
from node.storage.chain_store import ChainStore
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import TABLES
from node.workers import InlineWorkers
from p2p.tcp import TcpNetwork
from p2p.transport import Address, parse_address
from rpc.client import Unreachable
from rpc.errors import RpcError
from scripts.benchmarks.harness import silent_log
from scripts.crash_daemon import Daemon, Lost
from simnet.hostile import floods, wire
from simnet.hostile.behaviour import Behaviour
from simnet.hostile.library import BEHAVIOURS
from simnet.hostile.link import HostileLink
from simnet.hostile.treasury import Treasury

PEERS_EACH = 3
"""Hostile peers of each behaviour at a time."""
FIRST_BLOCKS = 110
JUDGED_FROM = 2 * 3_600
"""Seconds of flooding, from which on growth is judged."""
MAX_GROWTH = 1.0
"""Percent an hour."""
SAMPLE_SECONDS = 10.0
FLOODS = sorted(name for name, kind in BEHAVIOURS.items() if kind.__module__ in {floods.__name__, wire.__name__})


class Sample(NamedTuple):
    """The daemon's resident memory at a moment."""

    seconds: float
    mib: float


class Outside:
    """Who floods: satisfies `simnet.hostile.behaviour.Adversary`, and knows the chain as anybody does."""

    def __init__(self, chain: ChainManager, seed: str) -> None:
        self.params = REGTEST
        self.rng = random.Random(seed)
        self.lock = LockId(bytes(32))
        self.treasury = Treasury(REGTEST, self.rng)
        self.chain: ChainManager | None = chain
        self.said: Counter[str] = Counter()

    @property
    def now(self) -> int:
        """UNIX seconds."""
        return int(time.time())

    def build(self, parent: ChainState, transactions: Sequence[Transaction] = (), **odd: int) -> Block:
        """Floods need no work."""
        raise NotImplementedError

    def own_payment(self) -> Transaction | None:
        """Floods need no coins."""
        return None

    def say(self, event: str, **_facts: object) -> None:
        """Count it."""
        self.said[event] += 1


class Campaign:
    """One daemon, its enemies, and what was seen."""

    def __init__(self, daemon: Daemon, outside: Outside, chain: ChainManager) -> None:
        self.daemon = daemon
        self.samples: list[Sample] = []
        self.dialled: Counter[str] = Counter()
        self._outside = outside
        self._chain = chain
        self._network = TcpNetwork()
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    async def run(self, seconds: float) -> None:
        """Flood for so long.

        Raises:
            Lost: the daemon has died or does not answer.
        """
        victim = parse_address(str(self.daemon.ready["p2p"]), REGTEST.p2p_port)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._attack(BEHAVIOURS[name], number, victim))
                for number, name in enumerate(FLOODS * PEERS_EACH)
            ]
            next_line = 0.0
            while self.elapsed < seconds:
                await self._ordinary_day()
                self.samples.append(Sample(self.elapsed, resident_mib(self.daemon)))
                if self.elapsed >= next_line:
                    next_line = self.elapsed + 60
                    print(
                        f"{self.elapsed / 3600:6.2f} h  {self.samples[-1].mib:6.1f} MiB  "
                        f"{self.dialled.total():,} connections  height {self._chain.tip.height}",
                        flush=True,
                    )
                await asyncio.sleep(min(SAMPLE_SECONDS, max(0.0, seconds - self.elapsed)))
            for task in tasks:
                task.cancel()

    async def _attack(self, kind: type[Behaviour], number: int, victim: Address) -> None:
        while True:
            behaviour = kind(self._outside, number + 1_000 * self.dialled.total())
            link = HostileLink(behaviour)
            self.dialled[kind.name] += 1
            with suppress(OSError, TimeoutError):
                await self._network.connect(victim, link)
                while not link.gone:
                    await asyncio.sleep(1)
                    link.age += 1
                    (behaviour.tick if link.ready else behaviour.early_tick)(link)
            await asyncio.sleep(1)

    async def _ordinary_day(self) -> None:
        """Mine a block, pay somebody, and look at both."""
        call = self.daemon.call
        try:
            address = await call("getnewaddress")
            with suppress(RpcError):  # rewards that are ripe may all be on their way
                await call("sendtoaddress", address, "1.00000000")
            for name in await call("generatetoaddress", 1, address):
                await self._chain.accept_block(
                    decode_block(bytes.fromhex(await call("getblock", name, 0))), wanted=True
                )
        except Unreachable as error:
            raise Lost(f"after {self.elapsed:.0f} s it does not answer: {error}") from error


def growth(samples: Sequence[Sample]) -> float:
    """Percent an hour, after the first tenth of the time: the last quarter's median against the first quarter's."""
    settled = [sample for sample in samples if sample.seconds >= samples[-1].seconds / 10]
    quarter = max(1, len(settled) // 4)
    first, last = settled[:quarter], settled[-quarter:]
    if not first or first == last:
        return 0.0
    before, after = (statistics.median(sample.mib for sample in part) for part in (first, last))
    hours = (statistics.mean(s.seconds for s in last) - statistics.mean(s.seconds for s in first)) / 3600
    return 100 * (after / before - 1) / hours


def resident_mib(daemon: Daemon) -> float:
    """Return the resident memory of the daemon.

    Raises:
        Lost: it has died.
    """
    if daemon.process is None or daemon.process.poll() is not None:
        raise Lost("it has died")
    asked = ["ps", "-o", "rss=", "-p", str(daemon.process.pid)]
    return int(subprocess.run(asked, capture_output=True, text=True, check=True).stdout) / 1024


async def campaign(seconds: float, memory: float, seed: str) -> int:
    """Run one campaign in a folder of its own; return the exit status."""
    log = silent_log()
    chain = ChainManager(REGTEST, ChainStore(MemoryDatabase(TABLES), REGTEST), InlineWorkers(), SystemClock(), log)
    await chain.start()
    with tempfile.TemporaryDirectory(prefix="dure-floods-") as place:
        daemon = Daemon(Path(place) / "node")
        try:
            await daemon.start()
            for name in await daemon.call("generatetoaddress", FIRST_BLOCKS, await daemon.call("getnewaddress")):
                block = decode_block(bytes.fromhex(await daemon.call("getblock", name, 0)))
                await chain.accept_block(block, wanted=True)
            running = Campaign(daemon, Outside(chain, seed), chain)
            print(f"{len(FLOODS)} behaviours, {PEERS_EACH} peers of each; it may take {memory:.0f} MiB", flush=True)
            lost: list[str] = []
            try:
                await running.run(seconds)
            except* Lost as errors:
                lost = [str(error) for error in errors.exceptions]
            return judge(running.samples, running.dialled, seconds, memory, lost)
        finally:
            await daemon.end()
            await chain.close()


def judge(
    samples: Sequence[Sample], dialled: Counter[str], seconds: float, memory: float, failures: Sequence[str]
) -> int:
    """Say what came of it, after what went wrong on the way; return the exit status."""
    most, an_hour = max((sample.mib for sample in samples), default=0.0), growth(samples)
    hours = samples[-1].seconds / 3600 if samples else 0.0
    print(f"{dialled.total():,} connections in {hours:.2f} h: at most {most:.1f} MiB, {an_hour:+.2f} % an hour")
    failed = list(failures)
    if most > memory:
        failed.append(f"it took more than {memory:.0f} MiB")
    if seconds >= JUDGED_FROM and an_hour > MAX_GROWTH:
        failed.append(f"it grew by more than {MAX_GROWTH} % an hour")
    if any(dialled[name] < PEERS_EACH for name in FLOODS):
        failed.append("not all hostile peers came to dial")
    for failure in failed:
        print(f"FAILED: {failure}")
    return 1 if failed else 0


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="scripts/floods", description=__doc__.partition("\n")[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=float, default=24.0, help="how long (24)")
    length.add_argument("--seconds", type=float, help="how long, for a look")
    parser.add_argument("--memory", type=float, default=512.0, metavar="MIB", help="that the daemon may take (512)")
    parser.add_argument("--seed", default="floods", help="of all that is random in the attack")
    asked = parser.parse_args()
    seconds = asked.hours * 3600 if asked.seconds is None else asked.seconds
    return asyncio.run(campaign(seconds, asked.memory, asked.seed))


if __name__ == "__main__":
    sys.exit(main())
