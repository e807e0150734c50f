"""Offers over the API: two nodes, and base64 that goes between two people."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator

import pytest

from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode
from tests.support.api import Api, refused
from tests.support.pair import Pair, running_pair

PRICE = 5 * 10**8


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Ann, who has rewards and issues, and Bob with 20 DURE."""
    async with running_pair() as both:
        await both.pay(await both.bob.client.call("getnewaddress"), 20)
        yield both


async def decoded(api: Api, offer: str) -> schema.SwapOffer:
    return await api.client.call("decodeoffer", offer, result=schema.SwapOffer)


async def signed(api: Api, offer: str) -> schema.SignedOffer:
    return await api.client.call("signoffer", offer, result=schema.SignedOffer)


async def refusal(api: Api, method: str, *params: object) -> str:
    return (await refused(api, method, *params)).message


async def held(api: Api, asset: str) -> int:
    balances = await api.client.call("getassetbalances", True, result=schema.AssetBalances)
    return next((each.trusted for each in balances.assets if each.asset == asset), 0)


async def test_an_offer_is_accepted_and_finished_over_the_api(pair: Pair) -> None:
    ann, bob = pair
    asset = await pair.issue("reissuable", 500)
    offer = await ann.client.call("offerswap", 100, PRICE, asset)
    said = await decoded(bob, offer)
    assert (said.gives.asset, said.gives.amount, said.wants.asset, said.wants.amount) == (asset, 100, None, PRICE)
    assert (said.ismine, said.accepted, said.stakes) == (False, False, [])
    assert (await decoded(ann, offer)).ismine
    assert len(await ann.client.call("listlockunspent")) == 1
    accepted = await bob.client.call("acceptoffer", offer)
    said = await decoded(bob, accepted)
    assert isinstance(said.fee, Dure)
    assert {stake.asset: stake.gets - stake.gives for stake in said.stakes} == {
        None: -PRICE - said.fee.grain,
        asset: 100,
    }
    assert "swap-not-accepted" in await refusal(ann, "signoffer", accepted)
    half = await signed(bob, accepted)
    assert not half.complete
    done = await signed(ann, half.offer)
    assert (done.complete, done.txid) == (True, said.txid)
    assert isinstance(done.txid, str)
    await pair.pass_on(done.txid)
    for api in pair:
        assert "swap-done" in await refusal(api, "canceloffer", half.offer)
    assert (await held(ann, asset), await held(bob, asset)) == (400, 100)
    assert (await bob.client.call("getbalance", result=Dure)).grain == 15 * 10**8 - said.fee.grain
    for api in pair:
        assert "swap-done" in (await decoded(api, accepted)).problem  # type: ignore[operator]
        assert "swap-done" in await refusal(api, "signoffer", half.offer)


async def test_both_withdraw_and_nothing_is_kept(pair: Pair) -> None:
    ann, bob = pair
    asset = await pair.issue("reissuable", 500)
    offer = await ann.client.call("offerswap", 100, PRICE, asset)
    half = await signed(bob, await bob.client.call("acceptoffer", offer))
    assert await held(ann, asset) == 0
    back = await bob.client.call("canceloffer", half.offer, result=schema.WithdrawnOffer)
    assert isinstance(back.txid, str)
    assert isinstance(back.fee, Dure)
    await pair.pass_on(back.txid)
    assert "swap-withdrawn" in await refusal(ann, "signoffer", half.offer)
    assert (await ann.client.call("canceloffer", offer)) == {}
    assert await held(ann, asset) == 500
    assert (await bob.client.call("getbalance", result=Dure)).grain == 20 * 10**8 - back.fee.grain
    for api in pair:
        assert await api.client.call("listlockunspent") == []


async def test_what_was_changed_or_is_not_ones_own_is_refused_by_name(pair: Pair) -> None:
    ann, bob = pair
    asset = await pair.issue("reissuable", 500)
    assert "swap-asset" in await refusal(ann, "offerswap", 1, 1, "00" * 32)
    assert "swap-terms" in await refusal(ann, "offerswap", 1, 1, asset, asset)
    offer = await ann.client.call("offerswap", 100, PRICE, asset)
    raw = b64decode(offer)
    for text, word in (("?", "base64"), ("AAAA", "swap-size"), (b64encode(raw[:-1] + b"\0").decode(), "swap-checksum")):
        error = await refused(bob, "decodeoffer", text)
        assert (error.code, word in error.message) == (ErrorCode.DESERIALIZATION_ERROR, True)
    assert "swap-not-yours" in await refusal(ann, "acceptoffer", offer)
    assert "swap-not-accepted" in await refusal(ann, "signoffer", offer)
    accepted = await bob.client.call("acceptoffer", offer)
    assert "swap-not-accepted" in await refusal(bob, "acceptoffer", accepted)
