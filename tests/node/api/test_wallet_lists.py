"""Coins, addresses, labels and signed messages through the API, in Bitcoin Core's shape."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import UNSET

from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode
from tests.support.api import Api, refused, running_api

DURE = 10**8


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_api() as running:
        await running.mine(102)
        yield running


async def unspent(api: Api, *params: Any) -> list[schema.UnspentCoin]:
    return await api.client.call("listunspent", *params, result=list[schema.UnspentCoin])


async def test_coins_are_listed_by_depth_address_worth_and_number(api: Api) -> None:
    mature = await unspent(api)
    assert {(coin.confirmations, coin.amount, coin.generated) for coin in mature} == {
        (depth, Dure(50 * DURE), True) for depth in (100, 101, 102)
    }
    assert len(await unspent(api, 1, 9_999_999, None, True, {"include_immature_coinbase": True})) == 102
    (oldest,) = await unspent(api, 102)
    assert [coin.txid for coin in await unspent(api, 1, 9_999_999, [oldest.address])] == [
        coin.txid for coin in mature if coin.address == oldest.address
    ]
    assert len(await unspent(api, 1, 9_999_999, None, True, {"maximumCount": 2})) == 2
    assert len(await unspent(api, 1, 9_999_999, None, True, {"minimumSumAmount": 60})) == 2
    assert await unspent(api, 1, 9_999_999, None, True, {"minimumAmount": "50.00000001"}) == []
    assert await unspent(api, 1, 9_999_999, None, True, {"maximumAmount": "49.99999999"}) == []
    assert (await refused(api, "listunspent", 1, 9, None, True, {"worth": 1})).code is ErrorCode.INVALID_PARAMETER
    assert (await refused(api, "listunspent", 1, 9, ["x"])).code is ErrorCode.INVALID_ADDRESS_OR_KEY


async def test_change_in_no_block_is_listed_with_no_depth_and_is_safe(api: Api) -> None:
    own = await api.client.call("getnewaddress", "me")
    txid = await api.client.call("sendtoaddress", own, 1)
    fresh = [coin for coin in await unspent(api, 0, 0) if coin.txid == txid]
    assert {(coin.confirmations, coin.safe, coin.spendable) for coin in fresh} == {(0, True, True)}
    assert {coin.label for coin in fresh} == {"me", ""}
    assert not [coin for coin in await unspent(api) if coin.txid == txid]


async def test_a_coin_that_is_set_aside_is_not_listed_not_spent_and_shown_apart(api: Api) -> None:
    client = api.client
    coins = [{"txid": coin.txid, "vout": coin.vout} for coin in await unspent(api)]
    assert await client.call("lockunspent", False, coins[1:]) is True
    assert await client.call("listlockunspent") == coins[1:]
    mine = (await client.call("getbalances", result=schema.Balances)).mine
    assert (mine.trusted.grain, mine.locked.grain) == (50 * DURE, 50 * DURE * (len(coins) - 1))
    assert len(await unspent(api)) == 1
    assert (await refused(api, "sendtoaddress", await client.call("getnewaddress"), 50)).code is (
        ErrorCode.INSUFFICIENT_FUNDS
    )
    assert "aside already" in (await refused(api, "lockunspent", False, coins[1:2])).message
    for wrong in ([{"txid": "00" * 32, "vout": 0}], coins[:1]):
        assert (await refused(api, "lockunspent", True, wrong)).code is ErrorCode.INVALID_PARAMETER
    for nonsense in ([{"txid": "00"}], [{"txid": "00" * 32, "vout": -1}], [{"vout": 1}], ["x"]):
        assert (await refused(api, "lockunspent", False, nonsense)).code in {
            ErrorCode.INVALID_PARAMETER,
            ErrorCode.TYPE_ERROR,
        }
    assert await client.call("lockunspent", True) is True
    assert await client.call("listlockunspent") == []


async def test_addresses_have_labels_ours_and_those_of_others(api: Api) -> None:
    client = api.client
    own = await client.call("getnewaddress", "savings")
    async with running_api(seed=2) as other:
        hers = await other.client.call("getnewaddress")
    await client.call("setlabel", hers, "Heidi")
    assert await client.call("listlabels", "send") == ["Heidi"]
    assert "savings" in await client.call("listlabels", "receive")
    assert (await refused(api, "listlabels", "x")).code is ErrorCode.INVALID_PARAMETER
    assert await client.call("getaddressesbylabel", "Heidi") == {hers: {"purpose": "send"}}
    assert await client.call("getaddressesbylabel", "savings") == {own: {"purpose": "receive"}}
    assert (await refused(api, "getaddressesbylabel", "nobody")).code is ErrorCode.INVALID_LABEL_NAME
    assert (await refused(api, "setlabel", own, "a\nb")).code is ErrorCode.INVALID_LABEL_NAME
    info = await client.call("getaddressinfo", own, result=schema.AddressInfo)
    assert (info.ismine, info.labels, info.ischange, info.solvable) == (True, ["savings"], False, True)
    assert isinstance(info.pubkey, str)
    assert info.policy == f"key({info.pubkey})"
    assert str(info.hdkeypath).startswith("m/44h/7340h/0h/0/")
    theirs = await client.call("getaddressinfo", hers, result=schema.AddressInfo)
    assert (theirs.ismine, theirs.labels) == (False, ["Heidi"])
    await client.call("sendtoaddress", hers, 2)
    (line,) = await client.call("listtransactions", "Heidi", result=list[schema.WalletEntry])
    assert (line.category, line.amount) == ("send", Dure(-2 * DURE))
    received = await client.call("listreceivedbyaddress", result=list[schema.ReceivedByAddress])
    assert [(each.payments, each.amount) for each in received] == [(102, Dure(5_100 * DURE))]
    (empty,) = await client.call("listreceivedbyaddress", True, False, own, result=list[schema.ReceivedByAddress])
    assert (empty.amount.grain, empty.payments, empty.label) == (0, 0, "savings")


async def test_a_message_is_signed_here_and_verified_anywhere(api: Api) -> None:
    client = api.client
    own = await client.call("getnewaddress")
    signature = await client.call("signmessage", own, "두레")
    async with running_api(wallet=False) as other:
        assert await other.client.call("verifymessage", own, signature, "두레") is True
        assert await other.client.call("verifymessage", own, signature, "두레.") is False
        assert (await refused(other, "verifymessage", own, "x", "두레")).code is ErrorCode.TYPE_ERROR
        assert (await refused(other, "verifymessage", "x", signature, "")).code is ErrorCode.INVALID_ADDRESS_OR_KEY
    async with running_api(seed=2) as other:
        assert (await refused(other, "signmessage", own, "x")).code is ErrorCode.INVALID_ADDRESS_OR_KEY
    await client.call("encryptwallet", "secret")
    assert (await refused(api, "signmessage", own, "x")).code is ErrorCode.UNLOCK_NEEDED


async def test_sendmany_lets_those_bear_the_fee_that_it_names(api: Api) -> None:
    client = api.client
    own = [await client.call("getnewaddress") for _ in range(3)]
    amounts = dict.fromkeys(own, 5)
    sent = await client.call(
        "sendmany", "", amounts, None, "", own[1:], None, None, None, 2, True, result=schema.SentPayment
    )
    outputs = (await client.call("getrawtransaction", sent.txid, 1, result=schema.TransactionDetail)).vout
    paid = {output.scriptPubKey.address: output.value.grain for output in outputs}
    assert paid[own[0]] == 5 * DURE
    assert sorted([paid[own[1]], paid[own[2]]]) == [5 * DURE - -(-sent.fee.grain // 2), 5 * DURE - sent.fee.grain // 2]
    for params in (("x", amounts), ("", amounts, None, "", [await client.call("getnewaddress")])):
        assert (await refused(api, "sendmany", *params)).code is ErrorCode.INVALID_PARAMETER
    assert (await refused(api, "sendmany", "", {own[0]: 1, own[0].upper(): 2})).message.endswith("duplicated address")


async def test_a_fee_beyond_the_caps_is_paid_only_if_it_is_meant(api: Api) -> None:
    """A152"""
    own = await api.client.call("getnewaddress")
    named = {"address": own, "amount": "0.01", "fee_rate": 600}
    call: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "sendtoaddress", "params": named}
    _, answer = await api.post(call)
    assert answer["error"]["code"] == ErrorCode.INVALID_PARAMETER
    assert "10 %" in answer["error"]["message"]
    _, answer = await api.post(call | {"params": named | {"force": True}})
    assert len(answer["result"]) == 64


async def test_a_fee_is_bumped_and_only_the_replacement_waits(api: Api) -> None:
    """A156"""
    client = api.client
    async with running_api(seed=2) as other:
        hers = await other.client.call("getnewaddress")
    old = await client.call("sendtoaddress", hers, 1)
    bumped = await client.call("bumpfee", old, result=schema.BumpedFee)
    assert await client.call("getrawmempool") == [bumped.txid]
    assert bumped.fee.grain > bumped.origfee.grain > 0
    first = await client.call("gettransaction", old, result=schema.WalletTransaction)
    assert (first.state, first.replaced_by_txid, first.walletconflicts) == ("conflicted", bumped.txid, [bumped.txid])
    lines = await client.call("listtransactions", "*", 2, result=list[schema.WalletEntry])
    assert [(line.state, line.walletconflicts) for line in lines] == [
        ("conflicted", [bumped.txid]),
        ("pending", [old]),
    ]
    assert [line.replaced_by_txid for line in lines] == [bumped.txid, UNSET]
    second = await client.call("gettransaction", bumped.txid, result=schema.WalletTransaction)
    assert (second.state, second.replaces_txid, second.amount) == ("pending", old, Dure(-DURE))
    assert "replaced already" in (await refused(api, "bumpfee", old)).message
    again = await client.call("bumpfee", bumped.txid, {"fee_rate": "9.5"}, result=schema.BumpedFee)
    assert again.origfee == bumped.fee
    assert "pays more than" in (await refused(api, "bumpfee", again.txid, {"fee_rate": 9})).message
    await client.call("generatetoaddress", 1, hers)
    mined = await client.call("gettransaction", again.txid, result=schema.WalletTransaction)
    assert (mined.state, mined.confirmations) == ("confirmed", 1)
    conflicted = await client.call("gettransaction", old, result=schema.WalletTransaction)
    assert (conflicted.state, conflicted.confirmations) == ("conflicted", -1)
    balances = (await client.call("getbalances", result=schema.Balances)).mine
    assert balances.trusted.grain == 4 * 50 * DURE - DURE - again.fee.grain


async def test_what_a_replacement_would_take_from_others_is_refused(api: Api) -> None:
    """The payment was spent on by us: those that wait for it would go with it."""
    client = api.client
    own = await client.call("getnewaddress")
    old = await client.call("sendtoaddress", own, 140)
    await client.call("sendtoaddress", own, 145)
    assert (await refused(api, "bumpfee", old)).message == "Transaction has descendants in the mempool"
    assert (await refused(api, "bumpfee", "00" * 32)).code is ErrorCode.INVALID_ADDRESS_OR_KEY
    assert (await refused(api, "bumpfee", old, {"rate": 1})).code is ErrorCode.INVALID_PARAMETER


async def test_a_payment_offers_what_is_estimated_or_what_its_caller_says_but_not_both(api: Api) -> None:
    """A152"""
    own = await api.client.call("getnewaddress")
    call: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "sendtoaddress"}
    params = {"address": own, "amount": 1, "conf_target": 2, "estimate_mode": "conservative", "verbose": True}
    _, answer = await api.post(call | {"params": params})
    assert answer["result"]["fee_reason"] == "Estimated"
    estimate = await api.client.call("estimatesmartfee", 2, "conservative", result=schema.FeeEstimate)
    entry = await api.client.call("getmempoolentry", answer["result"]["txid"], result=schema.MempoolEntry)
    assert entry.fees.base.grain * 1_000 / entry.vsize == pytest.approx(estimate.feerate.grain, rel=0.05)
    _, answer = await api.post(call | {"params": params | {"fee_rate": 2}})
    assert answer["error"]["code"] == ErrorCode.INVALID_PARAMETER
    _, answer = await api.post(call | {"params": params | {"conf_target": 0}})
    assert answer["error"]["code"] == ErrorCode.INVALID_PARAMETER


async def test_comments_come_back_with_their_payment(api: Api) -> None:
    own = await api.client.call("getnewaddress")
    txid = await api.client.call("sendtoaddress", own, 1, "for the rent", "Heidi")
    detail = await api.client.call("gettransaction", txid, result=schema.WalletTransaction)
    assert (detail.comment, detail.to) == ("for the rent", "Heidi")
    (line,) = await api.client.call("listtransactions", "*", 1, result=list[schema.WalletEntry])
    assert (line.comment, line.to) == ("for the rent", "Heidi")
    many = await api.client.call("sendmany", "", {own: 1}, None, "many")
    assert (await api.client.call("gettransaction", many))["comment"] == "many"
    assert (await refused(api, "sendtoaddress", own, 1, "x" * 1_001)).code is ErrorCode.INVALID_PARAMETER
