"""Assets in partially signed transactions over the API: two wallets, and base64 that goes between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import UNSET

from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode
from tests.support.api import Api, refused
from tests.support.pair import Pair, running_pair

DURE = 10**8


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with running_pair() as both:
        yield both


async def coins_of(api: Api, address: str) -> list[dict[str, Any]]:
    """The outputs of the newest block that went to an address."""
    tip = await api.client.call("getbestblockhash")
    block = await api.client.call("getblock", tip, 2)
    return [
        {"txid": tx["txid"], "vout": output["n"]}
        for tx in block["tx"]
        for output in tx["vout"]
        if output["scriptPubKey"]["address"] == address
    ]


async def decoded(api: Api, psbt: str) -> schema.Psbt:
    return await api.client.call("decodepsbt", psbt, result=schema.Psbt)


async def signed(api: Api, psbt: str, *, approve: list[str] | None = None, only: list[str] | None = None) -> str:
    params = (psbt, True, None, None, True, only, None, False, approve)
    return (await api.client.call("walletprocesspsbt", *params, result=schema.ProcessedPsbt)).psbt


async def deal(pair: Pair, asset: str) -> tuple[str, list[str]]:
    """Ann gives 30 of her 100, Bob 2 of his 3 DURE and the fee; returns the file and where their coins lie."""
    shelf, purse = [await api.client.call("getnewaddress") for api in pair]
    sent = await pair.ann.client.call(
        "sendassets", [{"address": shelf, "asset": asset, "amount": 100}], result=schema.SentAsset
    )
    await pair.pass_on(sent.txid)
    goods = await coins_of(pair.ann, shelf)
    await pair.pay(purse, 3)
    money = await coins_of(pair.ann, purse)
    to_bob, to_ann = await pair.bob.client.call("getnewaddress"), await pair.ann.client.call("getnewaddress")
    outputs = [
        {to_bob: {"asset": asset, "amount": 30}},
        {to_ann: {"asset": asset, "amount": 70}},
        {to_ann: 2},
        {purse: "0.9999"},
    ]
    return await pair.bob.client.call("createpsbt", goods + money, outputs), [shelf, purse]


async def test_two_wallets_exchange_an_asset_for_dure(pair: Pair) -> None:
    """A161: each is told what it loses and gains, and signs for its own coins only."""
    asset = await pair.issue("fixed", 100, 1, "Bread")
    psbt, (shelf, purse) = await deal(pair, asset)
    hers, his = await decoded(pair.ann, psbt), await decoded(pair.bob, psbt)
    assert hers.yours == schema.PsbtStakes(
        gives=Dure(0), gets=Dure(2 * DURE), assets=[schema.PsbtStake(asset=asset, gives=100, gets=70)]
    )
    assert his.yours == schema.PsbtStakes(
        gives=Dure(3 * DURE), gets=Dure(99_990_000), assets=[schema.PsbtStake(asset=asset, gives=0, gets=30)]
    )
    (flow,) = his.assets
    assert (flow.spent, flow.created, flow.paid_out, flow.burned, flow.decimals) == (100, 0, 100, 0, 1)
    assert flow.metadata is not None
    assert (flow.asset, flow.metadata.name, his.fee) == (asset, "Bread", Dure(10_000))
    goods = his.inputs[0]
    assert (goods.amount, goods.asset, goods.units, goods.address) == (Dure(0), asset, 100, shelf)
    by_ann, by_bob = await signed(pair.ann, psbt, only=[shelf]), await signed(pair.bob, psbt, only=[purse])
    together = await pair.bob.client.call("combinepsbt", [by_ann, by_bob])
    done = await pair.bob.client.call("finalizepsbt", together, True, True, result=schema.FinalizedPsbt)
    assert isinstance(done.txid, str)
    await pair.pass_on(done.txid)
    (held,) = (await pair.bob.client.call("getassetbalances", True, result=schema.AssetBalances)).assets
    assert (held.asset, held.trusted) == (asset, 30)


async def test_a_controllers_wallet_approves_and_opens_no_lock(pair: Pair) -> None:
    """A161, A208: `approve` names assets; a coin of the controller's in the same file stays shut."""
    asset = await pair.issue("fixed", 100, 0, "Share", None, None, None, await pair.ann.client.call("getnewaddress"))
    psbt, (shelf, purse) = await deal(pair, asset)
    shown = await decoded(pair.bob, psbt)
    assert [(part.asset, part.approves) for part in shown.parts if isinstance(part.asset, str)] == [
        (asset, "controller")
    ]
    approved = await signed(pair.ann, psbt, approve=[asset])
    unsigned = await decoded(pair.ann, approved)
    assert {part.address: len(part.signed) for part in unsigned.parts if not isinstance(part.asset, str)} == {
        shelf: 0,
        purse: 0,
    }
    assert [len(part.signed) for part in unsigned.parts if part.asset == asset] == [1]
    by_both = await signed(pair.bob, await signed(pair.ann, approved, only=[shelf]), only=[purse])
    done = await pair.bob.client.call("finalizepsbt", by_both, True, True, result=schema.FinalizedPsbt)
    assert done.complete


async def test_an_imbalance_and_a_worthless_output_are_refused(pair: Pair) -> None:
    """A154"""
    asset = await pair.issue("fixed", 100, 0, "Bread")
    shelf = await pair.ann.client.call("getnewaddress")
    params = [{"address": shelf, "asset": asset, "amount": 100}]
    sent = await pair.ann.client.call("sendassets", params, result=schema.SentAsset)
    await pair.pass_on(sent.txid)
    goods = await coins_of(pair.ann, shelf)
    for outputs, burns, code in (
        ([{shelf: {"asset": asset, "amount": 99}}], [], "psdt-balance"),
        ([{shelf: {"asset": asset, "amount": 101}}], [], "psdt-balance"),
        ([{shelf: {"asset": asset, "amount": 100}}], [{"asset": asset, "amount": 1}], "psdt-balance"),
        ([{shelf: {"asset": asset, "amount": 0}}], [], "outputs"),
        ([{shelf: {"asset": asset, "amount": 1.5}}], [], "outputs"),
        ([{shelf: {"asset": asset[:62], "amount": 1}}], [], "outputs"),
        ([{shelf: {"asset": asset}}], [], "outputs"),
    ):
        error = await refused(pair.ann, "createpsbt", goods, outputs, 0, None, "", burns)
        assert code in error.message
        assert error.code in {ErrorCode.INVALID_PARAMETER, ErrorCode.TYPE_ERROR}
    burns = [{"asset": asset, "amount": 1}]
    outputs = [{shelf: {"asset": asset, "amount": 99}}]
    psbt = await pair.ann.client.call("createpsbt", goods, outputs, 0, None, "", burns)
    (flow,) = (await decoded(pair.ann, psbt)).assets
    assert (flow.spent, flow.paid_out, flow.burned) == (100, 99, 1)


async def test_a_transfer_waits_for_its_controller_and_is_sent_by_him(pair: Pair) -> None:
    """A208: whoever holds a share signs, the registrar's node approves and sends; the holder's wallet sees it."""
    registrar = await pair.ann.client.call("getnewaddress")
    asset = await pair.issue("fixed", 100, 0, "Share", None, None, None, registrar)
    await pair.pay(await pair.bob.client.call("getnewaddress"), 3)
    his, hers = await pair.bob.client.call("getnewaddress"), await pair.ann.client.call("getnewaddress")
    paid = await pair.ann.client.call(
        "sendassets", [{"address": his, "asset": asset, "amount": 40}], result=schema.SentAsset
    )
    await pair.pass_on(paid.txid)
    params = [{"address": hers, "asset": asset, "amount": 15}]
    sent = await pair.bob.client.call("sendassets", params, "back", result=schema.SentAsset)
    assert sent.approvers == [registrar]
    assert sent.txid not in await pair.bob.client.call("getrawmempool")
    (waiting,) = await waiting_of(pair.bob)
    assert (waiting.txid, waiting.state, waiting.comment) == (sent.txid, "waiting", "back")
    assert (waiting.gives, waiting.addresses) == ([schema.AssetAmount(asset=asset, amount=15)], [hers])
    assert (waiting.approvers, waiting.fee, waiting.psbt) == ([registrar], sent.fee, UNSET)
    whole = await pair.bob.client.call("getwaitingtransfer", sent.txid, result=schema.WaitingTransfer)
    assert whole.psbt == sent.psbt
    (held,) = await held_by(pair.bob)
    assert (held.trusted, held.waiting) == (0, 40)
    assert isinstance(sent.psbt, str)
    approved = await signed(pair.ann, sent.psbt, approve=[asset], only=[])
    done = await pair.ann.client.call("finalizepsbt", approved, True, True, result=schema.FinalizedPsbt)
    assert done.txid == sent.txid
    await pair.pass_on(sent.txid)
    assert await waiting_of(pair.bob) == []
    (held,) = await held_by(pair.bob)
    assert (held.trusted, held.waiting) == (25, 0)


async def waiting_of(api: Api) -> list[schema.WaitingTransfer]:
    return await api.client.call("listwaitingtransfers", result=list[schema.WaitingTransfer])


async def held_by(api: Api) -> list[schema.AssetBalance]:
    return (await api.client.call("getassetbalances", True, result=schema.AssetBalances)).assets


async def test_a_transfer_that_waits_is_cancelled_or_forgotten(pair: Pair) -> None:
    auditor = await pair.bob.client.call("getnewaddress")
    won = await pair.issue("reserved", 0, 0, "Won", None, None, None, None, auditor)
    cancelled = []
    for forget in (False, True):
        sent = await pair.ann.client.call("attestasset", won, 500, result=schema.SentAsset)
        assert sent.approvers == [auditor]
        cancelled.append(sent.txid)
        done = await pair.ann.client.call("cancelwaitingtransfer", sent.txid, forget, result=schema.CancelledTransfer)
        assert isinstance(done.txid, str) is not forget
        assert [each.state for each in await waiting_of(pair.ann)] == ([] if forget else ["cancelling"])
        await pair.mine()
        assert await waiting_of(pair.ann) == []
    for txid in cancelled:
        assert (await refused(pair.ann, "cancelwaitingtransfer", txid)).code is ErrorCode.INVALID_ADDRESS_OR_KEY
        assert (await refused(pair.ann, "getwaitingtransfer", txid)).code is ErrorCode.INVALID_ADDRESS_OR_KEY
    again = await pair.ann.client.call("attestasset", won, 500, result=schema.SentAsset)
    assert isinstance(again.psbt, str)
    (shown,) = (await decoded(pair.bob, again.psbt)).assets
    assert shown.metadata is not None
    assert (shown.asset, shown.metadata.name, shown.spent) == (won, "Won", 0), "named, though none of it moves"
    approved = await signed(pair.bob, again.psbt, approve=[won], only=[])
    await pair.bob.client.call("finalizepsbt", approved, True, True, result=schema.FinalizedPsbt)
    await pair.pass_on(again.txid)
    known = await pair.bob.client.call("getasset", won, result=schema.Asset)
    assert (known.attested, known.sequence) == (500, 1)


async def test_a_frozen_address_gets_no_approval_until_it_is_free(pair: Pair) -> None:
    """A208: the controller's own list: refused by name, and shown to him beforehand."""
    registrar = await pair.ann.client.call("getnewaddress")
    asset = await pair.issue("fixed", 100, 0, "Share", None, None, None, registrar)
    psbt, (shelf, _) = await deal(pair, asset)
    await pair.ann.client.call("freezeaddress", asset, shelf, "a court order")
    (frozen,) = await pair.ann.client.call("listfrozenaddresses", asset, result=list[schema.FrozenAddress])
    assert frozen == schema.FrozenAddress(asset=asset, address=shelf, why="a court order")
    assert any(f"has frozen {shelf} (a court order)" in each for each in (await decoded(pair.ann, psbt)).warnings)
    params: tuple[Any, ...] = (psbt, True, None, None, True, [], None, False, [asset])
    error = await refused(pair.ann, "walletprocesspsbt", *params)
    assert f"has frozen {shelf}" in error.message
    assert (await refused(pair.bob, "freezeaddress", asset, shelf)).message.startswith("another controls")
    assert (await refused(pair.ann, "freezeaddress", "00" * 32, shelf)).code is ErrorCode.INVALID_ADDRESS_OR_KEY
    await pair.ann.client.call("unfreezeaddress", asset, shelf)
    assert (await refused(pair.ann, "unfreezeaddress", asset, shelf)).message.endswith("not frozen for this asset")
    await pair.ann.client.call("walletprocesspsbt", *params)


async def test_an_asset_and_its_authority_at_a_policy_are_moved_by_both(pair: Pair) -> None:
    """A158: shown at the policy, by name with the id; spent by a file that both sign."""
    keys = [await api.client.call("getpolicykey") for api in pair]
    text = f"threshold(2, [key({keys[0]}), key({keys[1]})])"
    board = ""
    for api in pair:
        board = (await api.client.call("importpolicy", "board", text, result=schema.RememberedPolicy)).address
    hers, his = [await api.client.call("getnewaddress") for api in pair]
    await pair.pay(his, 3)
    bread = await pair.issue("reissuable", 100, 1, "Bread")
    params = [{"address": board, "asset": bread, "amount": 40}]
    await pair.pass_on((await pair.ann.client.call("sendassets", params, result=schema.SentAsset)).txid)
    await pair.pass_on((await pair.ann.client.call("sendauthority", bread, board, result=schema.SentAsset)).txid)
    (known,) = (await pair.bob.client.call("listpolicies", result=schema.Policies)).policies
    held = {(each.asset == bread): each for each in known.assets}
    assert (held[True].confirmed, held[True].decimals, held[True].shown) == (40, 1, False)
    assert (held[False].confirmed, held[False].authority_of) == (1, bread)
    assert all(each.metadata is not None and each.metadata.name == "Bread" for each in known.assets)
    for params_of, spent in (((bread, {hers: 15}), 40), ((bread, None, hers, True), 1)):
        spend = await pair.bob.client.call("spendpolicyasset", "board", *params_of, result=schema.PolicySpend)
        assert [flow.spent for flow in (await decoded(pair.bob, spend.psbt)).assets] == [spent]
        together = await signed(pair.ann, await signed(pair.bob, spend.psbt))
        done = await pair.bob.client.call("finalizepsbt", together, True, True, result=schema.FinalizedPsbt)
        assert isinstance(done.txid, str)
        await pair.pass_on(done.txid)
    (balance,) = await held_by(pair.ann)
    assert (balance.trusted, balance.authority) == (75, True)
    for wrong in (("board", bread), ("board", bread, {hers: 1}, hers), ("bord", bread, {hers: 1})):
        await refused(pair.bob, "spendpolicyasset", *wrong)
    assert "at board lie 2.5" in (await refused(pair.bob, "spendpolicyasset", "board", bread, {hers: 26})).message


async def test_an_authority_is_given_away_once(pair: Pair) -> None:
    """A068"""
    bread = await pair.issue("reissuable", 100, 1, "Bread")
    his = await pair.bob.client.call("getnewaddress")
    sent = await pair.ann.client.call("sendauthority", bread, his, "take over", result=schema.SentAsset)
    await pair.pass_on(sent.txid)
    assert (await refused(pair.ann, "sendauthority", bread, his)).code is ErrorCode.INSUFFICIENT_FUNDS
    assert (await refused(pair.ann, "reissueasset", bread, 1)).code is ErrorCode.INSUFFICIENT_FUNDS
    assert (await refused(pair.ann, "sendauthority", "00" * 32, his)).code is ErrorCode.INVALID_ADDRESS_OR_KEY
    (balance,) = await held_by(pair.bob)
    assert (balance.asset, balance.authority, balance.shown) == (bread, True, False)
    (line,) = await pair.bob.client.call("listassettransactions", 9, 0, bread, result=list[schema.AssetEntry])
    assert (line.category, line.amount, line.comment) == ("entrusted", 0, UNSET)
    known = await pair.bob.client.call("getasset", bread, result=schema.Asset)
    assert known.authority is not None
    assert known.authority.address == his
