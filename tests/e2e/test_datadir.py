"""A data directory that is damaged, copied while it is used, or left in the middle of a start."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rpc.client import Unreachable
from rpc.errors import RpcError
from tests.support.daemon import Daemon, daemons, until

pytestmark = pytest.mark.e2e

COINS = "gettxoutsetinfo"
PIECE = 16_384
SPARED = {".lock", "lock.mdb"}
"""Files without content: locks."""


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with daemons(tmp_path) as made:
        yield made[0]


async def start_or_end(daemon: Daemon, *flags: str) -> str | None:
    """Start a daemon on what may be damaged; return None once it is ready, else the last line that it wrote."""
    daemon.launch(*flags)
    await until(lambda: daemon.logged("ready") or not daemon.running, "it is ready, or has ended")
    if daemon.running:
        await daemon.answering()
        return None
    return daemon.output.strip().splitlines()[-1]


# Damage


def _damaged(whole: bytes, rng: Random) -> Iterator[tuple[str, bytes]]:
    flipped = bytearray(whole)
    if whole:
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
    yield "one bit flipped", bytes(flipped)
    yield rng.choice((("random", rng.randbytes(max(100, len(whole) // 2))), ("empty", b"")))


@pytest.mark.slow
async def test_whatever_file_is_damaged_the_node_says_so_or_does_without_it(daemon: Daemon, tmp_path: Path) -> None:
    """A124, A125, A132, A134, A136: every file of a data directory; and never a wrong balance."""
    await daemon.start()
    await daemon.mine(105)
    await daemon.call("sendtoaddress", await daemon.call("getnewaddress"), "1.5")
    await daemon.call("setpartition", ["127.0.0.1:9"])
    await daemon.call("setclockskew", 5)
    await daemon.call("generatetoaddress", 1, await daemon.call("getnewaddress"))
    coins, balances = await daemon.call(COINS), await daemon.call("getbalances")
    await daemon.stop()
    (daemon.folder / "dured.toml").write_text("# settings\n")
    files = [path for path in sorted(daemon.folder.rglob("*")) if path.is_file() and path.name not in SPARED]
    names = {str(path.relative_to(daemon.folder)) for path in files}
    assert {"chain/data.mdb", "wallet/data.mdb", "partition.json", "debug.log"} <= names
    rng, number, refused = Random(134), 0, 0
    for file in files:
        for how, content in _damaged(file.read_bytes(), rng):
            number += 1
            twin = Daemon(tmp_path / f"twin{number}")
            shutil.copytree(daemon.folder, twin.folder)
            (twin.folder / file.relative_to(daemon.folder)).write_bytes(content)
            what = f"{file.relative_to(daemon.folder)}, {how}"
            try:
                if await start_or_end(twin) is None:
                    try:
                        await _check_same(twin, coins, balances, what)
                        continue
                    except (RpcError, Unreachable):
                        await twin.ended()  # the damage was met later
                refused += 1
                _check_sentence(twin, what)
            finally:
                await twin.kill()
                shutil.rmtree(twin.folder)
    assert refused > 5


def _check_sentence(daemon: Daemon, what: str) -> None:
    """Whatever ends a daemon says so. Only LMDB may be killed by the system, on a page that is none."""
    last = daemon.output.strip().splitlines()[-1]
    died = (daemon.status or 0) < 0 and "data.mdb" in what
    assert died or (daemon.status in {74, 78} and last.startswith("dured: ")), f"{what}: {last}"


async def _check_same(daemon: Daemon, coins: Any, balances: Any, what: str) -> None:
    """Whatever it starts with is the chain to some block, and the wallet's balance is that of the same wallet then."""
    now = await daemon.call(COINS)
    assert now["total_amount"] == now["supply"], what
    if now["height"] == coins["height"]:
        assert now == coins, what
        assert await daemon.call("getbalances") == balances, what


# Copies


def copy_slowly(source: Path, target: Path) -> None:
    """Copy a folder that is being written to, as over a slow line."""

    def piecewise(one: str, other: str) -> object:
        with open(one, "rb") as reading, open(other, "wb") as writing:
            while piece := reading.read(PIECE):
                writing.write(piece)
                time.sleep(0.002)
        return other

    shutil.copytree(source, target, copy_function=piecewise, ignore=shutil.ignore_patterns("debug.log*", "*.new"))


@pytest.mark.slow
async def test_a_copy_of_a_folder_in_use_is_refused_or_consistent(daemon: Daemon, tmp_path: Path) -> None:
    """A133: while it connects blocks and pays."""
    await daemon.start()
    await daemon.mine(110)
    address = await daemon.call("getnewaddress")

    async def work() -> None:
        while True:
            with suppress(RpcError):
                await daemon.call("sendtoaddress", await daemon.call("getnewaddress"), "0.01")
                await daemon.call("generatetoaddress", 3, address)

    working = asyncio.create_task(work())
    for number in range(3):
        twin = Daemon(tmp_path / f"copy{number}")
        try:
            await asyncio.to_thread(copy_slowly, daemon.folder, twin.folder)
        except shutil.Error:
            continue  # a file that was there a moment ago: nobody takes that for a copy
        try:
            if await start_or_end(twin) is not None:
                _check_sentence(twin, "data.mdb, copied")
                continue
            coins = await twin.call(COINS)
            assert await daemon.call("getblockhash", coins["height"]) == coins["bestblock"]
            balances = await twin.call("getbalances")
            await twin.call("rescanblockchain")
            assert await twin.call("getbalances") == balances
            await twin.stop()
            if await start_or_end(twin, "--reindex") is not None:
                _check_sentence(twin, "data.mdb, copied")
                continue
            assert await twin.call(COINS) == coins
        finally:
            await twin.kill()
    working.cancel()
    await asyncio.wait([working])


async def test_a_backup_made_while_the_node_works_opens_and_holds_everything(daemon: Daemon, tmp_path: Path) -> None:
    """A133"""
    await daemon.start()
    await daemon.mine(105)
    mining = asyncio.create_task(daemon.call("generatetoaddress", 300, await daemon.call("getnewaddress")))
    await daemon.until("getblockcount", gives=lambda height: height > 110)
    written = await daemon.call("backupwallet", "hot")
    txid = await daemon.call("sendtoaddress", await daemon.call("getnewaddress"), "2")
    await mining
    await daemon.mine(1)
    balances = await daemon.call("getbalances")
    twin = Daemon(tmp_path / "restored", "--restore-wallet", str(daemon.folder / written))
    try:
        await daemon.stop()
        await daemon.start()
        await twin.start("--connect", daemon.peer_address)
        tip = await daemon.call("getbestblockhash")
        await twin.until("getbestblockhash", gives=lambda block: block == tip)
        assert await twin.call("getbalances") == balances
        assert (await twin.call("gettransaction", txid))["confirmations"] >= 1
    finally:
        await twin.kill()


# Stops


async def test_a_stop_after_each_line_of_the_start_is_clean(daemon: Daemon) -> None:
    """A137: SIGTERM, and the next start is whole."""
    await daemon.start("--mine")
    await daemon.stop()
    lines = [line["event"] for line in daemon.lines]
    upto = lines.index("ready") + 1
    for number in range(1, upto + 1):
        if daemon.folder.exists():
            shutil.rmtree(daemon.folder)
        daemon.launch("--mine")
        await until(lambda: len(daemon.lines) >= number or not daemon.running, "so many lines are there")  # noqa: B023
        daemon.send(signal.SIGTERM)
        assert await daemon.ended() == 0, lines[:number]
    await daemon.start()
    assert await daemon.call("getblockcount") >= 0
    await daemon.mine(1)


async def test_a_signal_in_a_commit_waits_for_it(daemon: Daemon) -> None:
    """A137: SIGINT while blocks are written one after the other; what was said is there."""
    await daemon.start()
    address, said = await daemon.call("getnewaddress"), []

    async def mine() -> None:
        with suppress(Unreachable, RpcError):
            while True:
                said.extend(await daemon.call("generatetoaddress", 2, address))

    for _ in range(2):
        mining = asyncio.create_task(mine())
        before = len(said)
        await until(lambda: len(said) > before + 4, "blocks come")  # noqa: B023
        daemon.send(signal.SIGINT)
        await mining
        assert await daemon.ended() == 0
        await daemon.start()
        header = await daemon.call("getblockheader", said[-1])
        assert header["confirmations"] >= 1


async def test_a_process_that_the_system_ends_says_where_it_was(daemon: Daemon) -> None:
    """A125: as LMDB may be, on a page that is none."""
    await daemon.start()
    daemon.send(signal.SIGBUS)
    await daemon._forget_client()
    await until(lambda: not daemon.running, "it has ended")
    assert daemon.status == -signal.SIGBUS
    assert "Fatal Python error: Bus error" in daemon.output
    await daemon.start()


async def test_a_daemon_without_standard_streams_keeps_its_files_out_of_their_numbers(
    daemon: Daemon, tmp_path: Path
) -> None:
    """A130: started with 0, 1 and 2 closed, as by a careless supervisor."""
    script = tmp_path / "closed.sh"
    script.write_text('exec "$@" 0<&- 1>&- 2>&-\n')
    daemon.prefix = ["sh", str(script)]
    await daemon.start()
    names = [os.readlink(f"/proc/{daemon.pid}/fd/{number}") for number in range(3)]
    assert names == [os.devnull] * 3
    await daemon.mine(1)
    assert await daemon.stop() == 0
