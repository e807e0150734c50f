"""Real daemons on a disk that is slow, full or broken (see `tests/support/disk_shim.c`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from rpc.client import Unreachable
from rpc.errors import RpcError
from tests.support.daemon import Daemon, daemons, until

pytestmark = pytest.mark.e2e

COINS = "gettxoutsetinfo"
Shimmed = Callable[..., None]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[list[Daemon]]:
    async with daemons(tmp_path, 2) as made:
        yield made


@pytest.fixture
def on_shim(disk_shim: Path) -> Shimmed:
    """Has a daemon run on the shim from its next start on."""

    def put(daemon: Daemon, **variables: object) -> None:
        shown = {name: str(value) for name, value in variables.items()}
        daemon.variables = {"LD_PRELOAD": str(disk_shim), "DISK_SHIM_FOLDER": str(daemon.folder), **shown}

    return put


async def test_a_slow_disk_holds_up_neither_peers_nor_calls(pair: list[Daemon], on_shim: Shimmed) -> None:
    """A128: a second for each sync, of which a commit takes two. Whoever asked for it waits; nobody else does."""
    slow, other = pair
    await slow.start()  # makes its databases, which takes many syncs
    await slow.stop()
    await other.start()
    on_shim(slow, DISK_SHIM_SLOW_US=1_000_000)
    await slow.start("--connect", other.peer_address)
    await other.until("getconnectioncount", gives=lambda count: count == 1)
    for work in (("getnewaddress",), ("generatetoaddress", 1, await slow.call("getnewaddress"))):
        waiting = asyncio.create_task(slow.call(*work))
        await asyncio.sleep(0.2)
        assert (await slow.call("getpeerinfo"))[0]["addr"]
        assert not waiting.done(), "the calls were answered after the disk only"
        await waiting
    await other.until("getblockcount", gives=lambda height: height == 1)
    height = await slow.call("getblockcount")
    mining = asyncio.create_task(other.mine(1))
    await slow.until("getblockcount", gives=lambda now: now == height + 1)
    await mining
    assert (await slow.call(COINS))["state_hash"] == (await other.call(COINS))["state_hash"]


@pytest.mark.parametrize("work", ["generatetoaddress", "getnewaddress"])
async def test_a_full_disk_stops_the_node_with_a_sentence_and_nothing_is_lost(
    pair: list[Daemon], on_shim: Shimmed, work: str, tmp_path: Path
) -> None:
    """A126: in the chain's database, or in the wallet's. Once there is space again it goes on."""
    daemon, full = pair[0], tmp_path / "full"
    on_shim(daemon, DISK_SHIM_FULL=full)
    await daemon.start()
    blocks = await daemon.mine(3)
    address = await daemon.call("getnewaddress")
    before = await daemon.call(COINS)
    full.touch()
    with pytest.raises((RpcError, Unreachable)):
        await (daemon.call(work, 1, address) if work == "generatetoaddress" else daemon.call(work))
    assert await daemon.ended() == 74
    assert daemon.output.strip().splitlines()[-1].startswith("dured: cannot write: no space left on the disk")
    daemon.launch()
    assert await daemon.ended() == 74
    assert "no space left" in daemon.output.strip().splitlines()[-1].lower()
    full.unlink()
    await daemon.start()
    assert await daemon.call(COINS) == before
    assert await daemon.call("getbestblockhash") == blocks[-1]
    assert (await daemon.call("getaddressinfo", address))["ismine"]
    await daemon.mine(1)


async def test_a_disk_that_cannot_sync_stops_the_node_at_the_first_try(
    pair: list[Daemon], on_shim: Shimmed, tmp_path: Path
) -> None:
    """A127"""
    daemon, broken = pair[0], tmp_path / "broken"
    on_shim(daemon, DISK_SHIM_BROKEN=broken, DISK_SHIM_LOG=tmp_path / "log")
    await daemon.start()
    await daemon.mine(3)
    before = await daemon.call(COINS)
    broken.touch()
    with pytest.raises((RpcError, Unreachable)):
        await daemon.mine(1)
    assert await daemon.ended() == 74
    assert "Input/output error" in daemon.output.strip().splitlines()[-1]
    assert sum("storage_failed" in line for line in daemon.output.splitlines()) >= 1
    broken.unlink()
    await daemon.start()
    assert await daemon.call(COINS) == before
    await daemon.mine(1)
    await until(lambda: daemon.running, "it runs")
