"""Blocks, coins, transactions and peers, as the API shows them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from consensus.codec import decode_block, display_hash
from consensus.params import sim_params
from consensus.state import genesis_state
from consensus.types import Block
from consensus.validation import check_header
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError
from tests.support.api import Api, running_api
from tests.support.rules import build, coinbase, mine, pay


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_api() as running:
        yield running


def chain_of(api: Api, count: int, *, key: int = 1, start: int = 0) -> list[Block]:
    """Blocks on genesis that no node has seen."""
    params = api.services.params
    state, blocks = genesis_state(params), []
    for number in range(count):
        blocks.append(mine(params, state, to=key, time=state.median_time + 1 + start + number))
        state = check_header(params, blocks[-1].header, state)
    return blocks


async def submit(api: Api, block: Block) -> str | None:
    answer: str | None = await api.client.call("submitblock", block.encoded.hex())
    return answer


async def test_a_block_is_shown_in_three_depths(api: Api) -> None:
    (block,) = chain_of(api, 1)
    assert await submit(api, block) is None
    name = display_hash(block.hash)
    assert decode_block(bytes.fromhex(await api.client.call("getblock", name, 0))) == block
    shown = await api.client.call("getblock", name, result=schema.Block)
    assert shown.tx == [display_hash(block.transactions[0].txid)]
    assert (shown.height, shown.confirmations, shown.nTx, shown.size) == (1, 1, 1, len(block.encoded))
    whole = await api.client.call("getblock", name, 2, result=schema.Block)
    (detail,) = whole.tx
    assert isinstance(detail, schema.TransactionDetail)
    assert detail.vin[0].height == 1
    assert detail.vout[0].value == Dure(50 * 10**8)
    assert await api.client.call("getblock", name, True) == await api.client.call("getblock", name, 1)
    assert await api.client.call("getblockheader", name, False) == block.header.encoded.hex()
    header = await api.client.call("getblockheader", name, result=schema.BlockHeader)
    assert header.previousblockhash == await api.client.call("getblockhash", 0)
    assert header.chainwork == f"{4:064x}"


async def test_a_submitted_block_is_answered_as_bip_22_says(api: Api) -> None:
    block, child = chain_of(api, 2)
    assert await submit(api, child) == "prev-blk-not-found"
    assert await submit(api, block) is None
    assert await submit(api, block) == "duplicate"
    (rival,) = chain_of(api, 1, key=2)
    assert await submit(api, rival) == "inconclusive"
    greedy = build(api.services.params, api.services.chain.tip, [coinbase(2, [pay(1, 51 * 10**8)])])
    assert await submit(api, greedy) == "coinbase-value"
    assert await submit(api, greedy) == "coinbase-value"
    assert await submit(api, Block(chain_of(api, 1, key=3)[0].header, ())) == "no-transactions"
    with pytest.raises(RpcError) as refused:
        await api.client.call("submitblock", block.encoded.hex() + "00")
    assert refused.value.code is ErrorCode.DESERIALIZATION_ERROR


async def test_tips_have_the_status_that_bitcoin_core_gives_them(api: Api) -> None:
    #   genesis ── a1                      once the best chain
    #         ├─── b1 ── b2                the best chain
    #         ├─── c1                      a block that never was on it
    #         ├─── d1 (header only)
    #         └─── b1 ── e2                breaks a rule
    (a1,) = chain_of(api, 1, key=1)
    b1, b2 = chain_of(api, 2, key=2)
    (c1,) = chain_of(api, 1, key=3)
    (d1,) = chain_of(api, 1, key=4)
    for block in (a1, b1, b2, c1):
        await submit(api, block)
    api.services.chain.accept_header(d1.header)
    params = api.services.params
    after_b1 = check_header(params, b1.header, genesis_state(params))
    e2 = build(params, after_b1, [coinbase(2, [pay(1, 51 * 10**8)])])
    e3 = mine(params, check_header(params, e2.header, after_b1))
    e4 = mine(params, check_header(params, e3.header, check_header(params, e2.header, after_b1)))
    for block in (e2, e3, e4):
        await submit(api, block)
    tips = await api.client.call("getchaintips", result=list[schema.ChainTip])
    status = {tip.hash: (tip.status, tip.height, tip.branchlen) for tip in tips}
    assert status[display_hash(b2.hash)] == ("active", 2, 0)
    assert status[display_hash(a1.hash)] == ("valid-fork", 1, 1)
    assert status[display_hash(c1.hash)] == ("valid-headers", 1, 1)
    assert status[display_hash(d1.hash)] == ("headers-only", 1, 1)
    assert [tip.status for tip in tips].count("invalid") == 1
    assert await api.client.call("getbestblockhash") == display_hash(b2.hash)


async def test_the_sum_of_all_coins_is_what_was_mined(api: Api) -> None:
    """A075: supply is what coinbases could have created, and without losses it is all there."""
    await api.mine(152)
    info = await api.client.call("gettxoutsetinfo", result=schema.TxOutSetInfo)
    # regtest halves at 150.
    assert info.total_amount == info.supply == Dure((149 * 50 + 3 * 25) * 10**8)
    assert (info.height, info.txouts, info.transactions) == (152, 152, 152)
    assert len(str(info.state_hash)) == 64
    assert (await api.client.call("gettxoutsetinfo", "none")).get("state_hash") is None


async def test_a_transaction_is_found_in_mempool_and_block_and_nowhere_else(api: Api) -> None:
    client = api.client
    await api.mine(101)
    txid = await client.call("sendtoaddress", await client.call("getnewaddress"), Decimal("1.5"))
    raw = await client.call("getrawtransaction", txid)
    waiting = await client.call("getrawtransaction", txid, 1, result=schema.TransactionDetail)
    assert (waiting.hex, waiting.confirmations) == (raw, 0)
    assert isinstance(waiting.fee, Dure)
    assert await client.call("getrawmempool") == [txid]
    entry = await client.call("getmempoolentry", txid, result=schema.MempoolEntry)
    assert (entry.fees.base, entry.ancestorcount, entry.depends) == (waiting.fee, 1, [])
    assert (await client.call("getrawmempool", True)).keys() == {txid}
    (block,) = await api.mine(1)
    with pytest.raises(RpcError, match="Name the block that it is in"):
        await client.call("getrawtransaction", txid)
    found = await client.call("getrawtransaction", txid, True, block, result=schema.TransactionDetail)
    assert (found.hex, found.confirmations, found.in_active_chain, found.fee) == (raw, 1, True, waiting.fee)
    assert await client.call("getrawtransaction", txid, 0, block) == raw
    with pytest.raises(RpcError, match="No such transaction found in the provided block"):
        await client.call("getrawtransaction", txid, 1, await client.call("getblockhash", 1))
    assert (await client.call("decoderawtransaction", raw))["txid"] == txid
    assert (await client.call("gettxout", txid, 0))["confirmations"] == 1
    assert await client.call("gettxout", txid, 99) is None


async def test_a_raw_transaction_is_taken_once_and_refused_by_name(api: Api) -> None:
    client = api.client
    await api.mine(101)
    txid = await client.call("sendtoaddress", await client.call("getnewaddress"), 1)
    raw = await client.call("getrawtransaction", txid)
    assert await client.call("sendrawtransaction", raw) == txid
    await api.mine(1)
    with pytest.raises(RpcError) as confirmed:
        await client.call("sendrawtransaction", raw)
    assert confirmed.value.code is ErrorCode.VERIFY_ALREADY_IN_UTXO_SET
    with pytest.raises(RpcError) as damaged:
        await client.call("sendrawtransaction", raw[:-2])
    assert damaged.value.code is ErrorCode.DESERIALIZATION_ERROR
    broken = bytearray(bytes.fromhex(raw))
    broken[-1] ^= 1
    with pytest.raises(RpcError) as spent:
        await client.call("sendrawtransaction", bytes(broken).hex())
    assert spent.value.code in {ErrorCode.VERIFY_ERROR, ErrorCode.VERIFY_REJECTED, -27}


async def test_an_absurd_fee_of_a_raw_transaction_is_refused(api: Api) -> None:
    """A152."""
    client = api.client
    await api.mine(101)
    txid = await client.call("sendtoaddress", await client.call("getnewaddress"), 1)
    raw = await client.call("getrawtransaction", txid)
    async with running_api() as other:
        for height in range(1, 102):
            block = await client.call("getblock", await client.call("getblockhash", height), 0)
            assert await other.client.call("submitblock", block) is None
        with pytest.raises(RpcError, match="maxfeerate"):
            await other.client.call("sendrawtransaction", raw, Decimal("0.00000001"))
        assert await other.client.call("getrawmempool") == []
        assert await other.client.call("sendrawtransaction", raw, 0) == txid


async def test_waiting_for_a_block_ends_with_it(api: Api) -> None:
    client = api.client
    genesis = await client.call("getbestblockhash")
    waiting = [
        asyncio.create_task(client.call("waitfornewblock", result=schema.NewBlock)),
        asyncio.create_task(client.call("waitforblockheight", 1, result=schema.NewBlock)),
    ]
    await api.calls_running(2)
    (mined,) = await api.mine(1)
    assert [tip.hash for tip in await asyncio.gather(*waiting)] == [mined, mined]
    assert (await client.call("waitfornewblock", 0, genesis, result=schema.NewBlock)).hash == mined
    assert (await client.call("waitforblock", mined, result=schema.NewBlock)).height == 1
    assert (await client.call("waitfornewblock", 1, result=schema.NewBlock)).hash == mined


async def test_a_template_can_be_waited_for_and_is_what_the_chain_takes(api: Api) -> None:
    client = api.client
    address = await client.call("getnewaddress")
    template = await client.call("getblocktemplate", {"address": address}, result=schema.BlockTemplate)
    assert (template.height, template.coinbasevalue, template.transactions) == (1, 50 * 10**8, [])
    assert template.previousblockhash == await client.call("getbestblockhash")
    asked = {"address": address, "longpollid": template.longpollid}
    waiting = asyncio.create_task(client.call("getblocktemplate", asked, result=schema.BlockTemplate))
    await api.calls_running(1)
    await api.mine(1)
    assert (await waiting).height == 2
    with pytest.raises(RpcError, match="Invalid mode"):
        await client.call("getblocktemplate", {"mode": "proposal"})
    with pytest.raises(RpcError, match="Invalid address"):
        await client.call("getblocktemplate", {"address": address[:-1]})


async def test_a_node_that_lacks_blocks_gives_no_template(api: Api) -> None:
    blocks = chain_of(api, 11)
    for block in blocks:
        api.services.chain.accept_header(block.header, wanted=True)
    assert (await api.client.call("getblockchaininfo"))["initialblockdownload"]
    with pytest.raises(RpcError) as refused:
        await api.client.call("getblocktemplate")
    assert refused.value.code is ErrorCode.CLIENT_IN_INITIAL_DOWNLOAD
    for block in blocks:
        await submit(api, block)
    assert await api.client.call("getblocktemplate")


async def test_the_chain_and_the_node_describe_themselves(api: Api) -> None:
    client = api.client
    await api.mine(3)
    info = await client.call("getblockchaininfo", result=schema.BlockchainInfo)
    assert (info.chain, info.blocks, info.headers, info.verificationprogress) == ("regtest", 3, 3, 1.0)
    assert not info.initialblockdownload
    assert await client.call("getpeerinfo", result=list[schema.PeerInfo]) == []
    network = await client.call("getnetworkinfo", result=schema.NetworkInfo)
    assert (network.version, network.subversion, network.connections) == (10203, "/test:1.2.3/", 0)
    mempool = await client.call("getmempoolinfo", result=schema.MempoolInfo)
    assert (mempool.size, mempool.minrelaytxfee) == (0, Dure(1000))
    mining = await client.call("getmininginfo", result=schema.MiningInfo)
    assert (mining.blocks, mining.mining) == (3, False)
    assert await client.call("getdifficulty") > 0
    assert (await client.call("getrpcinfo", result=schema.RpcInfo)).active_commands[0].method == "getrpcinfo"


async def test_nodes_are_added_and_removed_by_name(api: Api) -> None:
    client = api.client
    assert await client.call("addnode", "10.9.9.9:7", "add") is None
    with pytest.raises(RpcError) as twice:
        await client.call("addnode", "10.9.9.9:7", "add")
    assert twice.value.code is ErrorCode.NODE_ALREADY_ADDED
    assert await client.call("getaddednodeinfo") == [{"addednode": "10.9.9.9:7", "connected": False}]
    assert await client.call("addnode", "10.9.9.9:7", "remove") is None
    with pytest.raises(RpcError) as gone:
        await client.call("addnode", "10.9.9.9:7", "remove")
    assert gone.value.code is ErrorCode.NODE_NOT_ADDED
    with pytest.raises(RpcError) as absent:
        await client.call("disconnectnode", "10.9.9.9:7")
    assert absent.value.code is ErrorCode.NODE_NOT_CONNECTED
    for params in ((), ("10.9.9.9:7", 3)):
        with pytest.raises(RpcError) as ambiguous:
            await client.call("disconnectnode", *params)
        assert ambiguous.value.code is ErrorCode.INVALID_PARAMS
    for wrong in ("", "a b", "1.2.3.4:99999", "http://x"):
        with pytest.raises(RpcError) as nonsense:
            await client.call("addnode", wrong, "onetry")
        assert nonsense.value.code is ErrorCode.INVALID_PARAMETER


async def test_a_block_dated_too_far_ahead_is_told_as_a_warning_about_the_clock() -> None:
    """A191: to whoever asks how the chain, the network or mining is."""
    params = sim_params(10, 0x207FFFFF, 0x207FFFFF)
    async with running_api(params, wallet=False) as api:
        early = mine(params, genesis_state(params), time=api.services.clock.time() + 1_000)
        assert await submit(api, early) == "time-too-new"
        for method in ("getblockchaininfo", "getnetworkinfo", "getmininginfo"):
            (warning,) = (await api.client.call(method))["warnings"]
            assert "clock behind" in warning
