"""The wallet's assets through the API: issued, paid and burned by a node, and mined by it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from consensus.address import encode_address
from consensus.assets import authority_id
from consensus.params import REGTEST
from consensus.types import AssetId
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode
from tests.support.api import Api, refused, running_api
from tests.support.rules import lock

HIM = encode_address(REGTEST, lock(9))


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_api() as running:
        await running.mine(101)
        yield running


async def make(api: Api, method: str, *params: object) -> schema.SentAsset:
    sent = await api.client.call(method, *params, result=schema.SentAsset)
    assert sent.txid in await api.client.call("getrawmempool")
    await api.mine(1)
    return sent


async def issued(api: Api, *params: object) -> str:
    asset = (await make(api, "issueasset", *params)).asset
    assert isinstance(asset, str)
    return asset


async def held(api: Api, *, show_all: bool = False) -> schema.AssetBalances:
    return await api.client.call("getassetbalances", show_all, result=schema.AssetBalances)


async def test_an_asset_lives_from_its_issue_to_its_closing(api: Api) -> None:
    """A070: wherever its name is shown the id stands beside it."""
    sent = await api.client.call("issueasset", "reissuable", 1_000, 2, "Hours", "HOUR", result=schema.SentAsset)
    (waiting,) = (await held(api)).assets
    assert (waiting.trusted, waiting.decimals, waiting.asset) == (1_000, 2, sent.asset)
    await api.mine(1)
    asset = sent.asset
    assert isinstance(asset, str)
    await make(api, "reissueasset", asset, 50)
    await make(api, "sendassets", [{"address": HIM, "asset": asset, "amount": 300}], "for bread")
    await make(api, "burnasset", asset, 20)
    await make(api, "closeasset", asset)
    (balance,) = (await held(api)).assets
    assert (balance.trusted, balance.authority, balance.shown) == (730, False, True)
    assert balance.metadata == schema.AssetText(name="Hours", ticker="HOUR", uri=None, media_type=None)
    known = await api.client.call("getasset", asset, result=schema.Asset)
    assert (known.supply, known.closed) == (1_030, True)
    lines = await api.client.call("listassettransactions", 10, 0, asset, result=list[schema.AssetEntry])
    assert [(line.category, line.amount) for line in lines] == [
        ("issued", 1_000),
        ("issued", 50),
        ("sent", -300),
        ("burned", -20),
        ("closed", 0),
    ]
    assert (lines[2].addresses, lines[2].comment, lines[2].asset) == ([HIM], "for bread", asset)
    await api.client.call("showasset", asset, False)
    ask = ("listassettransactions", 10, 0, None)
    assert await api.client.call(*ask, lines[2].txid, result=list[schema.AssetEntry]) == [lines[2]]
    assert await api.client.call(*ask, result=list[schema.AssetEntry]) == []
    for txid in ("00" * 32, (await api.client.call("listtransactions", "*", 1))[0]["txid"]):
        assert await api.client.call(*ask, txid, result=list[schema.AssetEntry]) == []
    assert (await refused(api, "reissueasset", asset, 1)).code is ErrorCode.INSUFFICIENT_FUNDS


async def test_the_history_of_dure_shows_no_amount_of_an_asset(api: Api) -> None:
    """A072"""
    asset = await issued(api, "fixed", 7)
    sent = await make(api, "sendassets", [{"address": HIM, "asset": asset, "amount": 3}])
    shown = await api.client.call("gettransaction", sent.txid, result=schema.WalletTransaction)
    assert (shown.amount, shown.fee, shown.details) == (Dure(0), Dure(-sent.fee.grain), [])


async def test_a_stablecoin_is_issued_up_to_what_its_auditor_attests(api: Api) -> None:
    auditor = await api.client.call("getnewaddress")
    won = await issued(api, "reserved", 0, 0, "Won", "WON", None, None, None, auditor)
    assert "above-reserve" in (await refused(api, "reissueasset", won, 1)).message
    await make(api, "attestasset", won, 500)
    assert "above-reserve" in (await refused(api, "reissueasset", won, 501)).message
    await make(api, "reissueasset", won, 500)
    await make(api, "attestasset", won, 400)
    known = await api.client.call("getasset", won, result=schema.Asset)
    assert (known.supply, known.attested, known.sequence) == (500, 400, 2)


async def test_a_work_is_found_by_its_file_and_in_its_collection(api: Api) -> None:
    series = await issued(api, "reissuable", 0, 0, "Series")
    params = ["fixed", 1, 0, "Sunrise", None, None, "image/png", None, None, "01" * 32]
    work = await issued(api, *params, series)
    copy = await issued(api, *params)
    found = await api.client.call("listassets", "01" * 32, result=list[schema.Asset])
    assert {each.asset: each.collection for each in found} == {work: series, copy: None}
    assert [each.authority for each in (await held(api)).assets if each.asset == series] == [True]


async def test_an_asset_is_hidden_and_shown_as_its_owner_says(api: Api) -> None:
    """A162"""
    asset = await issued(api, "fixed", 7)
    await api.client.call("showasset", asset, False)
    assert ((await held(api)).assets, (await held(api)).hidden) == ([], 1)
    assert [each.asset for each in (await held(api, show_all=True)).assets] == [asset]
    await api.client.call("showasset", asset)
    assert (await held(api)).hidden == 0
    assert (await refused(api, "showasset", "00" * 32)).code is ErrorCode.INVALID_ADDRESS_OR_KEY


@pytest.mark.parametrize(
    "params",
    [
        ("fixed", 0),
        ("reserved", 5, 0, None, None, None, None, None, HIM),
        ("reserved", 0),
        ("fixed", 1, 0, None, None, None, None, None, HIM),
        ("fixed", 1, 19),
        ("fixed", -1),
        ("fixed", 2**63),
        ("fixed", 1.5),
        ("money", 1),
        ("fixed", 1, 0, "a" * 65),
        ("fixed", 1, 0, "hid\u202eden"),
    ],
)
async def test_a_definition_that_cannot_be_is_refused(api: Api, params: tuple[object, ...]) -> None:
    """A073, A170, A174: and nothing is made."""
    assert (await refused(api, "issueasset", *params)).code in {ErrorCode.INVALID_PARAMETER, ErrorCode.TYPE_ERROR}
    assert await api.client.call("getrawmempool") == []


async def test_a_repeated_issue_makes_one_asset(api: Api) -> None:
    """A155"""
    call = {"jsonrpc": "2.0", "id": 1, "method": "issueasset", "params": {"kind": "fixed", "amount": 5}}
    call["params"] |= {"request_id": "one"}  # type: ignore[operator]
    first, again = await api.post(call), await api.post(call)
    assert first == again
    await api.mine(1)
    assert len((await held(api)).assets) == 1


async def test_what_is_no_amount_of_an_asset_moves_none(api: Api) -> None:
    """A002-A005, A170: to pay, issue more, burn; and a reserve may be 0, and nothing else of these."""
    asset = await issued(api, "reissuable", 100)
    none: list[object] = [-1, True, 1.0, 1.5, "1", None, [1], 2**63, 2**64, 10**30]
    for amount in (0, *none):
        payments = [{"address": HIM, "asset": asset, "amount": amount}]
        assert (await refused(api, "sendassets", payments)).code != ErrorCode.INTERNAL_ERROR, amount
        for method in ("reissueasset", "burnasset"):
            assert (await refused(api, method, asset, amount)).code != ErrorCode.INTERNAL_ERROR, (method, amount)
    for amount in none:
        assert (await refused(api, "attestasset", asset, amount)).code != ErrorCode.INTERNAL_ERROR, amount
    assert await api.client.call("getrawmempool") == []


async def test_what_is_no_asset_is_refused_wherever_one_is_named(api: Api) -> None:
    """A170: and the authority over one is none of which more could be issued."""
    mine = await issued(api, "reissuable", 100)
    right = authority_id(AssetId(bytes.fromhex(mine))).hex()
    none: list[object] = ["", "00" * 32, "0g" * 32, "ab" * 31, "ab" * 33, "AB" * 32, "DURE", None, 7]
    calls: list[tuple[str, list[object]]] = [
        (method, [name, *more])
        for name in (*none, right)
        for method, *more in (("getasset",), ("getassetholders",), ("reissueasset", 1), ("attestasset", 1))
    ]
    for asset in none:
        calls += [("burnasset", [asset, 1]), ("sendassets", [[{"address": HIM, "asset": asset, "amount": 1}]])]
    for method, params in calls:
        assert (await refused(api, method, *params)).code != ErrorCode.INTERNAL_ERROR, (method, params)
    assert await api.client.call("getrawmempool") == []
