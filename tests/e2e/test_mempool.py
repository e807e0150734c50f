"""What waits for a block, and what the operator decided, on a real daemon that is stopped, killed and started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from consensus.address import encode_address
from consensus.codec import display_hash
from consensus.params import REGTEST
from consensus.subsidy import block_subsidy
from consensus.types import Amount, Coin, OutPoint, Output, Transaction, TxId
from tests.support.daemon import Daemon, daemons
from tests.support.pool import forward, outputs_of
from tests.support.rules import lock

pytestmark = pytest.mark.e2e

MATURE = REGTEST.coinbase_maturity


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with daemons(tmp_path) as made:
        yield made[0]


async def reward(daemon: Daemon, height: int) -> dict[OutPoint, Coin]:
    """The reward of a block that key 1 mined: no wallet knows it, so nobody offers its payments again."""
    block: Any = await daemon.call("getblock", await daemon.call("getblockhash", height))
    coin = Coin(Output(Amount(block_subsidy(REGTEST, height)), lock(1), None), height, True)
    return {OutPoint(TxId(bytes.fromhex(block["tx"][0])[::-1]), 0): coin}


def shown(*txs: Transaction) -> list[str]:
    return [display_hash(tx.txid) for tx in txs]


async def test_what_waits_and_what_was_decided_outlives_every_kind_of_end(daemon: Daemon) -> None:
    """A134, A199: a stop writes it, a kill leaves what was written before, and a damaged file costs one warning."""
    await daemon.start()
    await daemon.call("generatetoaddress", MATURE + 8, encode_address(REGTEST, lock(1)))
    parent = forward(await reward(daemon, 1), fee=0)
    child = forward(outputs_of(parent), fee=50_000)
    package: Any = await daemon.call("submitpackage", [tx.encoded.hex() for tx in (parent, child)])
    assert package["package_msg"] == "success"
    first = forward(await reward(daemon, 2))
    bumped = forward(await reward(daemon, 2), fee=30_000)
    for tx in (first, bumped):
        await daemon.call("sendrawtransaction", tx.encoded.hex())
    waiting = shown(parent, child, bumped)
    assert await daemon.call("getrawmempool") == waiting
    entry = await daemon.call("getmempoolentry", waiting[0])
    assert await daemon.stop() == 0

    await daemon.start()
    await daemon.until("getmempoolinfo", gives=lambda info: info["loaded"])
    assert await daemon.call("getrawmempool") == waiting
    assert await daemon.call("getmempoolentry", waiting[0]) == entry
    assert [line["transactions"] for line in daemon.logged("mempool_loaded")] == [3]
    late = forward(await reward(daemon, 3))
    await daemon.call("sendrawtransaction", late.encoded.hex())
    assert await daemon.call("savemempool") == {"filename": "mempool.dat"}
    lost = forward(await reward(daemon, 4))
    await daemon.call("sendrawtransaction", lost.encoded.hex())
    await daemon.kill()

    await daemon.start()
    await daemon.until("getmempoolinfo", gives=lambda info: info["loaded"])
    assert await daemon.call("getrawmempool") == [*waiting, *shown(late)]
    blocks: Any = await daemon.call("generatetoaddress", 3, encode_address(REGTEST, lock(2)))
    assert await daemon.call("getrawmempool") == []
    await daemon.call("invalidateblock", blocks[0])
    assert await daemon.call("getblockcount") == MATURE + 8
    assert sorted(str(txid) for txid in await daemon.call("getrawmempool")) == sorted([*waiting, *shown(late)])
    assert await daemon.stop() == 0
    raw = bytearray((daemon.folder / "mempool.dat").read_bytes())
    raw[len(raw) // 2] ^= 1
    (daemon.folder / "mempool.dat").write_bytes(raw)

    await daemon.start()
    await daemon.until("getmempoolinfo", gives=lambda info: info["loaded"])
    assert [line["why"] for line in daemon.logged("mempool_unreadable")] == ["its checksum is wrong"]
    assert await daemon.call("getrawmempool") == []
    assert await daemon.call("getblockcount") == MATURE + 8
    estimate: Any = await daemon.call("estimatesmartfee", 2)
    assert "payments" in estimate["basis"]
    await daemon.call("reconsiderblock", blocks[2])
    assert await daemon.call("getbestblockhash") == blocks[2]
    (said,) = (line["says"] for line in daemon.logged("block_taken_back"))
    assert said.startswith("the operator has taken a block back")
    assert (daemon.folder / "mempool.dat").stat().st_mode & 0o777 == 0o600


async def test_peers_come_back_when_the_network_is_switched_on_again(tmp_path: Path) -> None:
    async with daemons(tmp_path, 2) as (one, other):
        await one.start()
        await other.start("--connect", str(one.logged("ready")[0]["p2p"]))
        await one.until("getconnectioncount", gives=lambda count: count == 1)
        assert await one.call("setnetworkactive", False) is False
        await other.until("getconnectioncount", gives=lambda count: count == 0)
        await one.call("generatetoaddress", 2, encode_address(REGTEST, lock(1)))
        assert await other.call("getblockcount") == 0
        assert await one.call("setnetworkactive", True) is True
        await other.until("getblockcount", gives=lambda height: height == 2)
