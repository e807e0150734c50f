"""What an operator decides by JSON-RPC: which blocks not to want, and whether to have peers at all."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from consensus.codec import display_hash
from consensus.params import REGTEST
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode
from tests.support.api import READER, Api, refused, running_api


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_api() as running:
        yield running


async def test_a_branch_is_left_and_taken_back_with_its_payments_and_rewards(api: Api) -> None:
    call = api.client.call
    blocks = await api.mine(103)
    address = await call("getnewaddress")
    txid = await call("sendtoaddress", address, "1")
    blocks += await api.mine(2)
    before = await call("getbalances", result=schema.Balances)
    assert await call("invalidateblock", blocks[103]) is None
    assert await call("getbestblockhash") == blocks[102]
    assert await call("getrawmempool") == [txid]
    lost = await call("getbalances", result=schema.Balances)
    assert lost.mine.immature.grain < before.mine.immature.grain
    tips = {tip.hash: tip.status for tip in await call("getchaintips", result=list[schema.ChainTip])}
    assert tips == {blocks[102]: "active", blocks[104]: "invalid"}
    assert await call("submitblock", await call("getblock", blocks[104], 0)) == "set-aside"
    # Life goes on from there, and ends when the branch is taken back: it has more work.
    (other,) = await api.mine(1)
    assert await call("getbestblockhash") == other
    assert await call("getrawmempool") == []
    assert await call("reconsiderblock", blocks[103]) is None
    assert await call("getbestblockhash") == blocks[104]
    assert (await call("gettransaction", txid))["confirmations"] == 2
    assert (await call("getbalances", result=schema.Balances)).mine.immature == before.mine.immature
    said = [line["says"] for line in api.logged("reorg_started")]
    assert said[0] == "the operator has set our branch aside: leaving 2 block(s) after block 103 for 0 other(s)"
    assert said[1].startswith("the operator has taken a branch back, and it has more work: leaving 1 block(s)")


async def test_only_a_known_block_after_genesis_can_be_set_aside(api: Api) -> None:
    await api.mine(1)
    genesis = display_hash(REGTEST.genesis_hash)
    for name in ("invalidateblock", "reconsiderblock"):
        assert (await refused(api, name, "11" * 32)).code is ErrorCode.INVALID_ADDRESS_OR_KEY
        assert (await refused(api, name, "11")).code is ErrorCode.INVALID_PARAMETER
        assert (await refused(api, name, 1)).code is ErrorCode.TYPE_ERROR
    assert (await refused(api, "invalidateblock", genesis)).code is ErrorCode.INVALID_PARAMETER
    assert await api.client.call("reconsiderblock", genesis) is None
    assert await api.client.call("getblockcount") == 1


async def test_peers_can_be_switched_off_and_on(api: Api) -> None:
    call = api.client.call
    assert (await call("getnetworkinfo", result=schema.NetworkInfo)).networkactive
    assert await call("setnetworkactive", False) is False
    assert not (await call("getnetworkinfo", result=schema.NetworkInfo)).networkactive
    assert await call("setnetworkactive", True) is True
    assert (await call("getnetworkinfo", result=schema.NetworkInfo)).networkactive
    for bad in ("off", 0, None):
        error = await refused(api, "setnetworkactive", bad)
        assert error.code in {ErrorCode.TYPE_ERROR, ErrorCode.MISC_ERROR}


async def test_a_read_only_user_decides_nothing(api: Api) -> None:
    """A171."""
    for name in ("invalidateblock", "reconsiderblock", "setnetworkactive", "submitpackage", "savemempool"):
        status, _ = await api.post({"id": 1, "method": name, "params": []}, READER)
        assert status == 403, name
    async with api.reader() as reader:
        assert (await reader.call("estimatesmartfee", 1, result=schema.FeeEstimate)).feerate == Dure(1_000)
