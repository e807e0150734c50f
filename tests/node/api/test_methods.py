"""Every method: that its parameters are checked by its signature, and that it says what it does."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from consensus.params import MAIN
from node.api.catalogue import ALL
from node.api.method import Method
from rpc.client import RpcClient
from rpc.errors import ErrorCode, RpcError
from tests.support.api import Api, running_api

JUNK: tuple[Any, ...] = (
    "",
    "x",
    "é\u202e\x00",
    "0" * 64,
    "g" * 64,
    "0" * 63,
    "z" * 100_000,
    -1,
    0,
    1,
    2**31,
    2**63,
    10**60,
    1.5,
    -0.000000001,
    True,
    [],
    [[]],
    ["x"],
    {},
    {"x": "y"},
    None,
)
PROMISED = [
    "getblockchaininfo",
    "getbestblockhash",
    "getblockcount",
    "getblockhash",
    "getblockheader",
    "getblock",
    "getchaintips",
    "getrawmempool",
    "getmempoolinfo",
    "getrawtransaction",
    "sendrawtransaction",
    "gettxoutsetinfo",
    "getpeerinfo",
    "getnetworkinfo",
    "addnode",
    "disconnectnode",
    "generatetoaddress",
    "submitblock",
    "getblocktemplate",
    "waitfornewblock",
    "getnewaddress",
    "getbalances",
    "sendtoaddress",
    "listtransactions",
    "gettransaction",
    "getwalletinfo",
    "help",
    "uptime",
    "stop",
    "getmempoolentry",
    "testmempoolaccept",
    "getmempoolancestors",
    "getmempooldescendants",
    "submitpackage",
    "estimatesmartfee",
    "decoderawtransaction",
    "gettxout",
    "getmininginfo",
    "setnetworkactive",
    "invalidateblock",
    "reconsiderblock",
    "listunspent",
    "walletpassphrase",
    "walletlock",
    "encryptwallet",
    "sendmany",
    "bumpfee",
    "lockunspent",
    "getaddressinfo",
    "validateaddress",
    "signmessage",
    "verifymessage",
]
NAMED = {each.name: each for each in ALL}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_api() as running:
        yield running


def test_all_that_was_promised_is_there_and_no_name_twice() -> None:
    assert set(PROMISED) <= NAMED.keys()
    assert len(NAMED) == len(ALL)


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
def test_a_method_documents_itself_and_each_of_its_parameters(method: Method) -> None:
    assert method.summary.endswith(".")
    assert method.usage in method.help
    undocumented = [parameter.name for parameter in method.parameters if not parameter.about]
    assert undocumented == []


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
async def test_parameters_of_the_wrong_kind_count_or_name_are_a_named_error(api: Api, method: Method) -> None:
    """A170: never a failure of the node, never an answer that is none."""
    client = api.client
    await refused(client, method.name, *[1] * (len(method.parameters) + 1), code=ErrorCode.MISC_ERROR)
    required = [parameter for parameter in method.parameters if parameter.required]
    if required:
        await refused(client, method.name, code=ErrorCode.MISC_ERROR)
    if method.waits or method.name == "stop":
        # Called only with what cannot be right: a call that is right would wait.
        return
    for place, junk in itertools.product(range(len(method.parameters)), JUNK):
        # Every parameter before it gets something of the right shape, where there is such a thing.
        params = [_plausible(parameter) for parameter in method.parameters[:place]]
        try:
            await client.call(method.name, *params, junk)
        except RpcError as error:
            assert error.code not in {ErrorCode.INTERNAL_ERROR, ErrorCode.PARSE_ERROR}, (method.name, place, junk)
            assert isinstance(error.code, ErrorCode)
            assert "Traceback" not in error.message
            assert len(error.message) < 600


def _plausible(parameter: Any) -> Any:
    if not parameter.required:
        return None
    kind = getattr(parameter.kind, "__origin__", parameter.kind)
    return {int: 1, bool: True, str: "x", list: [], dict: {}}.get(kind, "0" * 64)


async def refused(client: RpcClient, name: str, *params: object, code: ErrorCode) -> str:
    with pytest.raises(RpcError) as refusal:
        await client.call(name, *params)
    assert refusal.value.code is code
    return refusal.value.message


async def test_a_wrong_type_and_a_wrong_value_have_different_codes(api: Api) -> None:
    """As in Bitcoin Core: -3 and -8; and -1 with the usage for the wrong number of parameters."""
    client = api.client
    assert await refused(client, "getblockhash", code=ErrorCode.MISC_ERROR) == "getblockhash height"
    assert "expected int" in await refused(client, "getblockhash", "1", code=ErrorCode.TYPE_ERROR)
    await refused(client, "getblockhash", 1.5, code=ErrorCode.TYPE_ERROR)
    await refused(client, "getblockhash", 1, code=ErrorCode.INVALID_PARAMETER)
    await refused(client, "getblockhash", -1, code=ErrorCode.INVALID_PARAMETER)
    await refused(client, "getblock", "0" * 64, 9, code=ErrorCode.INVALID_PARAMETER)
    await refused(client, "addnode", "127.0.0.1:1", "insert", code=ErrorCode.INVALID_PARAMETER)
    message = await refused(client, "getblock", "00", code=ErrorCode.INVALID_PARAMETER)
    assert message == "blockhash must be of length 64 (not 2, for '00')"


@pytest.mark.parametrize("amount", ["1.123456789", "x", "1e3", "", "-1", -1, True, [], 10**60, "0x10"])
async def test_what_is_no_amount_is_refused_as_one(api: Api, amount: object) -> None:
    """A005: no float, no sign, no more than eight decimals."""
    address = await api.client.call("getnewaddress")
    await refused(api.client, "sendtoaddress", address, amount, code=ErrorCode.TYPE_ERROR)


async def test_help_lists_what_there_is_and_explains_each(api: Api) -> None:
    listing = await api.client.call("help")
    for name in PROMISED:
        assert f"\n{name}" in listing
    assert "== Wallet ==" in listing
    text = await api.client.call("help", "getblock")
    assert text.startswith('getblock "blockhash" ( verbosity )')
    assert "2. verbosity (number or boolean, optional, default=1)" in text
    assert "\n  confirmations (number)\n" in text
    listed = await api.client.call("help", "getrawmempool")
    assert "\nMempoolEntry:\n  vsize (number)\n" in listed
    assert "\nMempoolSequence:\n  txids (array of string)\n" in listed
    await refused(api.client, "help", "nosuch", code=ErrorCode.METHOD_NOT_FOUND)


async def test_a_partition_can_be_made_on_networks_of_ones_own_only() -> None:
    """A062: on main there is no such method."""
    async with running_api() as api:
        assert await api.client.call("setpartition", ["127.0.0.1:5", "[::1]:6"]) == ["127.0.0.1:5", "[::1]:6"]
        assert await api.client.call("getpartition") == ["127.0.0.1:5", "[::1]:6"]
        assert await api.client.call("setpartition", []) == []
        await refused(api.client, "setpartition", ["non sense"], code=ErrorCode.INVALID_PARAMETER)
    async with running_api(MAIN, wallet=False) as api:
        for name in ("setpartition", "getpartition"):
            await refused(api.client, name, code=ErrorCode.METHOD_NOT_FOUND)
            assert name not in await api.client.call("help")


async def test_lines_and_clocks_can_be_made_bad_on_networks_of_ones_own_only() -> None:
    """A062: on main there are no such methods."""
    bad = {"127.0.0.1:5": {"delay_ms": 200, "jitter_ms": 50, "loss_ppm": 100_000, "bits_per_second": 1_000_000}}
    async with running_api() as api:
        assert await api.client.call("setlinkconditions", bad) == bad
        assert await api.client.call("getlinkconditions") == bad
        for wrong in (
            {"non sense": {"delay_ms": 1}},
            {"127.0.0.1:5": {"delay_ms": -1}},
            {"127.0.0.1:5": {"delay_ms": 60_001}},
            {"127.0.0.1:5": {"delay_ms": 50, "jitter_ms": 51}},
            {"127.0.0.1:5": {"loss_ppm": 900_001}},
            {"127.0.0.1:5": {"bits_per_second": 999}},
            {"127.0.0.1:5": {"colour": 1}},
        ):
            await refused(api.client, "setlinkconditions", wrong, code=ErrorCode.INVALID_PARAMETER)
        assert await api.client.call("getlinkconditions") == bad
        assert await api.client.call("setlinkconditions", {}) == {}

        before = api.services.clock.time()
        assert await api.client.call("setclockskew", -90) == -90
        assert await api.client.call("getclockskew") == -90
        assert before - 90 <= api.services.clock.time() <= before - 60
        await refused(api.client, "setclockskew", 366 * 86_400 + 1, code=ErrorCode.INVALID_PARAMETER)
    async with running_api(MAIN, wallet=False) as api:
        for name in ("setlinkconditions", "getlinkconditions", "setclockskew", "getclockskew"):
            await refused(api.client, name, code=ErrorCode.METHOD_NOT_FOUND)
            assert name not in await api.client.call("help")


async def test_a_branch_can_be_mined_on_any_block_with_exactly_what_is_named() -> None:
    """A062: on main there is no such method."""
    async with running_api() as api:
        address = await api.client.call("getnewaddress")
        last = (await api.mine(103))[-1]
        txid = await api.client.call("sendtoaddress", address, "1")
        raw = await api.client.call("getrawtransaction", txid)
        block = await api.client.call("generateblock", address, [])
        assert block["connected"]
        assert (await api.client.call("getblock", block["hash"]))["previousblockhash"] == last
        assert len((await api.client.call("getblock", block["hash"]))["tx"]) == 1
        assert await api.client.call("getrawmempool") == [txid]

        beside = await api.client.call("generateblock", address, [raw], last)
        assert (beside["connected"], beside["height"]) == (False, 104)
        assert await api.client.call("getbestblockhash") == block["hash"]
        longer = await api.client.call("generateblock", address, [], beside["hash"])
        assert longer["connected"]
        assert await api.client.call("getbestblockhash") == longer["hash"]
        assert (await api.client.call("getblock", beside["hash"]))["tx"][1:] == [txid]
        assert await api.client.call("getrawmempool") == []

        await refused(api.client, "generateblock", address, [txid], code=ErrorCode.INVALID_ADDRESS_OR_KEY)
        await refused(api.client, "generateblock", address, ["00"], code=ErrorCode.DESERIALIZATION_ERROR)
        await refused(api.client, "generateblock", address, [raw], code=ErrorCode.VERIFY_ERROR)  # spent already
        await refused(api.client, "generateblock", "nobody", [], code=ErrorCode.INVALID_ADDRESS_OR_KEY)
        await refused(api.client, "generateblock", address, [], "11" * 32, code=ErrorCode.INVALID_ADDRESS_OR_KEY)
        assert await api.client.call("getbestblockhash") == longer["hash"]
    async with running_api(MAIN, wallet=False) as api:
        await refused(api.client, "generateblock", code=ErrorCode.METHOD_NOT_FOUND)


async def test_a_node_without_a_wallet_says_so() -> None:
    async with running_api(wallet=False) as api:
        for name in ("getnewaddress", "getbalances", "getwalletinfo"):
            await refused(api.client, name, code=ErrorCode.WALLET_NOT_FOUND)
