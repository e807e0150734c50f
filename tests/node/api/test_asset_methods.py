"""What the API says of assets, and how their transactions look there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from consensus.address import encode_address
from consensus.asset_text import Metadata, encode_metadata
from consensus.assets import authority_id
from consensus.codec import display_hash
from consensus.params import REGTEST
from consensus.types import Amount, Attestation, Core, NewAsset, OutPoint, Reissue, SupplyKind, Transaction
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError
from tests.support.api import Api, running_api
from tests.support.assets import asset_core, carry, define, hold, new_id
from tests.support.chain import ChainBuilder, reward_of
from tests.support.rules import lock, pay

PARAMS = replace(REGTEST, coinbase_maturity=2)
TEXT = Metadata("Won of the town", "WON", None, None)
WON = define(SupplyKind.RESERVED, decimals=2, controller=lock(3), metadata=encode_metadata(TEXT))


def address(n: int) -> str:
    return encode_address(PARAMS, lock(n))


class Mint:
    """A chain on which a stablecoin and two works of a collection were issued, handed to a node block by block."""

    def __init__(self) -> None:
        self.chain = ChainBuilder(PARAMS)
        self.blocks = self.chain.mine_chain(None, 6)
        source = reward_of(self.blocks[0])
        rest = self.chain.coins(self.blocks[-1])[source].output.value
        works = define(SupplyKind.REISSUABLE, 0)
        self.won, self.series = new_id([source], WON, 0), new_id([source], works, 1)
        rights = [hold(1, authority_id(name)) for name in (self.won, self.series)]
        fee = 1_000
        core = asset_core([source], [pay(1, rest - fee), *rights], [NewAsset(WON), NewAsset(works)])
        self.define = self.add(core)
        core = asset_core(
            [OutPoint(self.define.txid, 0)], [pay(1, rest - fee)], [Attestation(self.won, 1, Amount(900))]
        )
        self.attest = self.add(core)
        inputs = [OutPoint(self.attest.txid, 0), OutPoint(self.define.txid, 1)]
        outputs = [pay(1, rest - fee), rights[0], hold(2, self.won, 500), hold(4, self.won, 30), hold(2, self.won, 1)]
        self.issue = self.add(asset_core(inputs, outputs, [Reissue(self.won, Amount(531))]))
        inputs = [OutPoint(self.issue.txid, 0), OutPoint(self.define.txid, 2), OutPoint(self.issue.txid, 4)]
        art = [define(content=bytes([n]) * 32, collection=self.series) for n in (1, 2)]
        self.art = [new_id(inputs, each, place) for place, each in enumerate(art)]
        outputs = [pay(1, rest - fee), *(hold(5, name) for name in self.art)]
        burns = {authority_id(self.series): 1, self.won: 1}
        self.mint = self.add(asset_core(inputs, outputs, map(NewAsset, art), burns))

    def add(self, core: Core) -> Transaction:
        tip = self.blocks[-1]
        coins = {name: self.chain.coins(tip)[name] for name in core.inputs}
        tx = carry(coins, core, self.chain.assets(tip), params=PARAMS)
        self.blocks.append(self.chain.mine(tip, [tx]))
        return tx


@pytest.fixture(scope="module")
def mint() -> Mint:
    return Mint()


@pytest.fixture
async def api(mint: Mint) -> AsyncIterator[Api]:
    async with running_api(PARAMS) as running:
        for block in mint.blocks:
            assert await running.client.call("submitblock", block.encoded.hex()) is None
        yield running


async def test_an_asset_is_shown_with_all_that_the_chain_knows(api: Api, mint: Mint) -> None:
    won = await api.client.call("getasset", mint.won.hex(), result=schema.Asset)
    assert (won.asset, won.kind, won.decimals, won.supply) == (mint.won.hex(), "reserved", 2, 530)
    assert (won.attested, won.sequence) == (900, 1)
    assert (won.controller, won.auditor) == (address(3), address(9))
    assert not won.closed
    assert won.authority == schema.AssetAuthority(txid=display_hash(mint.issue.txid), vout=1, address=address(1))
    assert won.metadata == schema.AssetText(name="Won of the town", ticker="WON", uri=None, media_type=None)
    block = mint.blocks[6]
    assert won.origin == schema.AssetOrigin(
        txid=display_hash(mint.define.txid),
        blockhash=display_hash(block.hash),
        height=7,
        time=block.header.time,
        issuer=address(1),
    )
    series = await api.client.call("getasset", mint.series.hex(), result=schema.Asset)
    assert series.closed
    assert series.authority is None
    assert series.attested is UNSET
    assert series.metadata is None


async def test_assets_are_listed_by_page_by_content_and_by_collection(api: Api, mint: Mint) -> None:
    """A070: a copy of a name is another asset, and every answer has the id."""

    async def listed(*params: object) -> list[str]:
        return [each.asset for each in await api.client.call("listassets", *params, result=list[schema.Asset])]

    names = sorted(name.hex() for name in (mint.won, mint.series, *mint.art))
    assert await listed() == names
    assert await listed(None, None, None, 3) == names[:3]
    assert await listed(None, None, names[2]) == names[3:]
    assert await listed(None, None, "00" * 32) == names
    first, second = mint.art
    assert await listed("01" * 32) == [first.hex()]
    assert await listed("03" * 32) == []
    assert await listed("01" * 32, None, first.hex()) == []
    members = sorted([first.hex(), second.hex()])
    assert await listed(None, mint.series.hex()) == members
    assert await listed(None, mint.series.hex(), members[0]) == members[1:]
    assert await listed(None, mint.series.hex(), "00" * 32) == members
    assert await listed("01" * 32, mint.series.hex(), "ff" * 32) == []
    assert await listed("01" * 32, mint.won.hex()) == []
    assert await listed("01" * 32, mint.series.hex()) == [first.hex()]


async def test_a_page_is_full_though_others_copied_the_content_of_a_work() -> None:
    """A070: whoever pages through a collection is not led to believe that it ends."""
    mint = Mint()
    source = OutPoint(mint.mint.txid, 0)
    rest = mint.chain.coins(mint.blocks[-1])[source].output.value
    copies = [define(content=bytes([1]) * 32, decimals=place) for place in range(8)]
    names = [new_id([source], each, place) for place, each in enumerate(copies)]
    outputs = [pay(1, rest - 1_000), *(hold(6, name) for name in names)]
    mint.add(asset_core([source], outputs, map(NewAsset, copies)))
    work = mint.art[0]
    assert min(names) < work
    async with running_api(PARAMS) as api:
        for block in mint.blocks:
            assert await api.client.call("submitblock", block.encoded.hex()) is None
        listed = await api.client.call("listassets", "01" * 32, mint.series.hex(), None, 1, result=list[schema.Asset])
    assert [each.asset for each in listed] == [work.hex()]


async def test_holders_are_added_up_by_address(api: Api, mint: Mint) -> None:
    held = await api.client.call("getassetholders", mint.won.hex(), result=schema.AssetHolders)
    assert (held.height, held.supply, held.total) == (10, 530, 2)
    assert [(each.address, each.amount) for each in held.holders] == [(address(2), 500), (address(4), 30)]
    assert sum(each.amount for each in held.holders) == held.supply
    first = await api.client.call("getassetholders", mint.won.hex(), 1, result=schema.AssetHolders)
    assert (len(first.holders), first.total) == (1, 2)


async def test_an_id_that_is_no_asset_is_refused(api: Api, mint: Mint) -> None:
    """A170: an unknown id, an authority's id, and what is no id at all."""
    for method in ("getasset", "getassetholders"):
        for name in (bytes(32), authority_id(mint.won)):
            with pytest.raises(RpcError) as refused:
                await api.client.call(method, name.hex())
            assert refused.value.code is ErrorCode.INVALID_ADDRESS_OR_KEY
        for text in ("", "xyz", mint.won.hex()[1:], mint.won.hex() + "00"):
            with pytest.raises(RpcError) as refused:
                await api.client.call(method, text)
            assert refused.value.code is ErrorCode.INVALID_PARAMETER


async def test_a_transaction_shows_assets_apart_from_dure(api: Api, mint: Mint) -> None:
    """A072: an amount of an asset is never shown as DURE, nor counted into a fee."""
    shown = await api.client.call(
        "getrawtransaction", display_hash(mint.issue.txid), 1, display_hash(mint.blocks[8].hash),
        result=schema.TransactionDetail,
    )  # fmt: skip
    dure, right, won, *_ = shown.vout
    assert dure.value == Dure(50 * 10**8 - 1_000)
    assert (dure.asset, dure.amount) == (UNSET, UNSET)
    assert (right.value, right.asset, right.amount) == (Dure(0), authority_id(mint.won).hex(), 1)
    assert (won.value, won.asset, won.amount) == (Dure(0), mint.won.hex(), 500)
    assert shown.issuances == [schema.IssuanceDetail(type="reissue", asset=mint.won.hex(), amount=531)]
    block = await api.client.call("getblock", display_hash(mint.blocks[9].hash), 2, result=schema.Block)
    _, minted = block.tx
    assert isinstance(minted, schema.TransactionDetail)
    assert minted.fee == Dure(0)
    assert [(each.type, each.asset, each.amount) for each in minted.issuances] == [
        ("new", name.hex(), 1) for name in mint.art
    ]
    assert minted.burns == [
        schema.BurnDetail(asset=name.hex(), amount=1) for name in sorted([authority_id(mint.series), mint.won])
    ]
    out = await api.client.call("gettxout", display_hash(mint.issue.txid), 2, result=schema.TxOut)
    assert (out.value, out.asset, out.amount) == (Dure(0), mint.won.hex(), 500)
    total = await api.client.call("gettxoutsetinfo", result=schema.TxOutSetInfo)
    assert total.assets == 4
    assert total.total_amount == Dure(10 * 50 * 10**8)
