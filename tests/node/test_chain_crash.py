"""A chain that is stopped at any moment: on disk is the state of some block, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from consensus.codec import decode_block
from consensus.params import REGTEST
from consensus.signatures import SignatureCheck
from consensus.types import Block, BlockHash
from node import reorg
from node.chain import ChainClosedError
from node.storage.chain_store import ChainStore
from node.storage.errors import DiskFullError
from node.storage.lmdb_store import LmdbDatabase
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import STORAGE_VERSION, TABLES
from node.workers import InlineWorkers
from tests.support.chain import ChainBuilder, feed, reward_of, running, stored_coins
from tests.support.rules import pay

PARAMS = replace(REGTEST, coinbase_maturity=2)


def a_history(chain: ChainBuilder, rounds: int) -> list[Block]:
    """Blocks in the order of coming: payments, and again and again a branch that overtakes the last one."""
    blocks = chain.mine_chain(None, 3)
    tip = blocks[-1]
    for turn in range(rounds):
        fork = tip
        for length in (2, 3):
            parent = fork
            for _ in range(length):
                ripe = chain.mature(parent, to=1)
                payments = [
                    chain.spend(parent, [coin], [pay(1, chain.coins(parent)[coin].output.value)]) for coin in ripe[:3]
                ]
                parent = chain.mine(parent, payments, to=1 + turn % 2)
                blocks.append(parent)
            tip = parent
    return blocks


class Crash(Exception):
    """The machine stops."""


class CrashingDatabase(MemoryDatabase):
    """Stops the machine at one write: before anything is on disk, or just after all is."""

    def __init__(self, tables: Sequence[str], at: int, *, written: bool, error: type[Exception]) -> None:
        super().__init__(tables)
        self.at, self.written, self.error = at, written, error

    def write(self, changes: Iterable[tuple[str, bytes, bytes | None]], *, clear: Sequence[str] = ()) -> None:
        self.at -= 1
        if self.at == 0 and not self.written:
            raise self.error
        super().write(changes, clear=clear)
        if self.at == 0:
            raise self.error


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("error", [Crash, DiskFullError])
async def test_a_stop_at_any_write_leaves_the_state_of_some_block(
    monkeypatch: pytest.MonkeyPatch,
    *,
    written: bool,
    error: type[Exception],
) -> None:
    """A121, A122, A126: every write of a history with reorgs, each of which takes several."""
    monkeypatch.setattr(reorg, "BATCH_BLOCKS", 2)
    chain = ChainBuilder(PARAMS)
    blocks = a_history(chain, 3)
    whole = MemoryDatabase(TABLES)
    async with running(whole, PARAMS) as node:
        await feed(node, blocks)
        wanted = node.tip
    for at in range(1, whole.writes + 1):
        database = CrashingDatabase(TABLES, at, written=written, error=error)
        acknowledged: list[BlockHash] = []
        try:
            async with running(database, PARAMS) as node:
                for block in blocks:
                    await node.accept_block(block, wanted=True)
                    acknowledged.append(block.hash)
        except (error, ChainClosedError):
            pass
        else:
            pytest.fail(f"write {at} never came")
        if database.writes:
            store = ChainStore(database, PARAMS)
            height, tip = store.read_tip()
            assert stored_coins(store) == chain.coins(tip)
            assert chain.state(tip).height == height
        async with running(database, PARAMS) as node:
            for block_hash in acknowledged:
                assert node.read_block(block_hash) is not None
            best = max((chain.state(block_hash).work for block_hash in acknowledged), default=0)
            assert node.tip.work >= best
            await feed(node, blocks)
            assert node.tip == wanted
        assert stored_coins(ChainStore(database, PARAMS)) == chain.coins(wanted.hash)


class WaitingWorkers(InlineWorkers):
    """Verify nothing before they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def verify(self, checks: Sequence[SignatureCheck]) -> int | None:
        self.asked.set()
        await self.go.wait()
        return await super().verify(checks)


async def test_headers_that_come_while_a_block_is_verified_wait_for_its_write() -> None:
    """A121: were they written before, and the machine stopped, they might speak of a body that is not there."""
    chain, database, workers = ChainBuilder(PARAMS), MemoryDatabase(TABLES), WaitingWorkers()
    trunk = chain.mine_chain(None, 3)
    block = chain.mine(trunk[-1], [chain.spend(trunk[-1], [reward_of(trunk[0])], [pay(1, 10**9)])])
    later = chain.mine_chain(block, 700)
    async with running(database, PARAMS, workers=workers) as node:
        await feed(node, trunk)
        connecting = asyncio.create_task(node.accept_block(block))
        await workers.asked.wait()
        writes = database.writes
        node.accept_headers([each.header for each in later])
        for _ in range(10):
            await asyncio.sleep(0)
        assert database.writes == writes
        workers.go.set()
        await connecting
        assert node.tip == chain.state(block)
        assert database.writes == writes + 1
    async with running(database, PARAMS) as node:
        assert node.tip == chain.state(block)
        assert node.index.best_header.hash == later[-1].hash
        await feed(node, [later[0]])
        assert node.tip == chain.state(later[0])


CHILD = """
import asyncio, sys
from pathlib import Path
from msgspec.structs import replace
from tests.node.test_chain_crash import PARAMS, open_database, read_blocks
from tests.support.chain import running
async def main(folder):
    database = open_database(folder)
    async with running(database, PARAMS) as node:
        for block in read_blocks(folder):
            await node.accept_block(block, wanted=True)
            print(block.hash.hex(), flush=True)
    database.close()
asyncio.run(main(Path(sys.argv[1])))
"""


def open_database(folder: Path) -> LmdbDatabase:
    return LmdbDatabase(folder / "chain", TABLES, version=STORAGE_VERSION, identity=PARAMS.genesis_hash)


def read_blocks(folder: Path) -> list[Block]:
    return [decode_block(bytes.fromhex(line)) for line in (folder / "blocks").read_text().split()]


def run_and_kill(folder: Path, lines: int, delay: float) -> list[BlockHash]:
    """Run a child until it has acknowledged `lines` blocks, and `delay` seconds more; return what it acknowledged."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
    )
    with child:
        if child.stdout is None:
            pytest.fail("no output")
        seen = [line for _, line in zip(range(lines), child.stdout, strict=False)]
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        seen += child.stdout.readlines()
    return [BlockHash(bytes.fromhex(line)) for line in seen if line.endswith("\n")]


@pytest.mark.slow
def test_a_daemon_killed_at_random_moments_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """A121, A122: kill -9, while blocks connect and branches change, over and over on one folder."""
    chain, random = ChainBuilder(PARAMS), Random(121)
    blocks = a_history(chain, 40)
    (tmp_path / "blocks").write_text("\n".join(block.encoded.hex() for block in blocks))
    acknowledged: list[BlockHash] = []
    for _ in range(6):
        # It hears first of the blocks that it knows: so each run gets on a bit before it is killed.
        acknowledged = run_and_kill(tmp_path, len(acknowledged) + random.randrange(1, 20), random.random() * 0.01)
        database = open_database(tmp_path)
        store = ChainStore(database, PARAMS)
        _, tip = store.read_tip()
        assert stored_coins(store) == chain.coins(tip)
        best = max((chain.state(block_hash).work for block_hash in acknowledged), default=0)
        assert chain.state(tip).work >= best
        for block_hash in acknowledged:
            assert store.read_block(chain.state(block_hash).height, block_hash) == chain.blocks[block_hash]
        database.close()


async def test_a_start_after_a_kill_goes_on_where_it_was(tmp_path: Path) -> None:
    """A121"""
    chain = ChainBuilder(PARAMS)
    blocks = a_history(chain, 10)
    (tmp_path / "blocks").write_text("\n".join(block.encoded.hex() for block in blocks))
    run_and_kill(tmp_path, 20, 0.0)
    database = open_database(tmp_path)
    async with running(database, PARAMS) as node:
        await feed(node, blocks)
        assert node.tip == chain.state(blocks[-1])
        assert node.get_coins([reward_of(blocks[-1])])
        assert stored_coins(ChainStore(database, PARAMS)) == chain.coins(blocks[-1])
    database.close()
