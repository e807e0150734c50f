"""What waits for a block, as users see it: what is there, what would be taken, packages, fees."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from consensus.address import encode_address
from consensus.codec import display_hash
from consensus.params import REGTEST
from consensus.subsidy import block_subsidy
from consensus.types import Amount, Coin, OutPoint, Output, Transaction, TxId, Witness
from node.mempool_file import FILE, read_kept
from node.relay_policy import virtual_size
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode
from tests.support.api import Api, refused, running_api
from tests.support.pool import FEE, forward, outputs_of
from tests.support.rules import lock

MATURE = REGTEST.coinbase_maturity
Coins = Mapping[OutPoint, Coin]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """A chain whose first rewards, of key 1, can be spent."""
    async with running_api() as running:
        await running.mine(MATURE + 8, encode_address(REGTEST, lock(1)))
        yield running


async def reward(api: Api, height: int) -> dict[OutPoint, Coin]:
    block = await api.client.call("getblock", await api.client.call("getblockhash", height))
    value = block_subsidy(REGTEST, height)
    coin = Coin(Output(Amount(value), lock(1), None), height, True)
    return {OutPoint(TxId(bytes.fromhex(block["tx"][0])[::-1]), 0): coin}


async def pay(api: Api, coins: Coins, **how: object) -> Transaction:
    tx = forward(dict(coins), **how)  # type: ignore[arg-type]
    assert await api.client.call("sendrawtransaction", hexed(tx)) == shown(tx)
    return tx


def hexed(tx: Transaction) -> str:
    return tx.encoded.hex()


def shown(tx: Transaction) -> str:
    return display_hash(tx.txid)


def vsize(tx: Transaction) -> int:
    return virtual_size(len(tx.encoded), 1)


def wtxid(tx: Transaction) -> str:
    return display_hash(tx.wtxid)


# What is there


async def test_an_entry_tells_what_it_pays_alone_and_with_its_family(api: Api) -> None:
    parent = await pay(api, await reward(api, 1), parts=2)
    child = await pay(api, outputs_of(parent, 0), fee=3 * FEE)
    entry = await api.client.call("getmempoolentry", shown(parent), result=schema.MempoolEntry)
    assert (entry.ancestorcount, entry.descendantcount) == (1, 2)
    assert (entry.ancestorsize, entry.descendantsize) == (vsize(parent), vsize(parent) + vsize(child))
    assert entry.fees == schema.MempoolFees(
        base=Dure(FEE), modified=Dure(FEE), ancestor=Dure(FEE), descendant=Dure(4 * FEE)
    )
    assert (entry.height, entry.wtxid, entry.spentby, entry.depends) == (MATURE + 8, wtxid(parent), [shown(child)], [])
    assert entry.replaceable
    assert (await api.client.call("getmempoolentry", shown(child)))["bip125-replaceable"] is True
    assert (await refused(api, "getmempoolentry", "00" * 32)).message == "Transaction not in mempool"


async def test_ancestors_and_descendants_are_listed_or_told_in_full(api: Api) -> None:
    first = await pay(api, await reward(api, 1))
    second = await pay(api, outputs_of(first))
    third = await pay(api, outputs_of(second))
    call = api.client.call
    assert await call("getmempoolancestors", shown(third)) == [shown(first), shown(second)]
    assert await call("getmempooldescendants", shown(first)) == [shown(second), shown(third)]
    assert await call("getmempoolancestors", shown(first)) == []
    told = await call("getmempoolancestors", shown(third), True, result=dict[str, schema.MempoolEntry])
    assert {txid: entry.descendantcount for txid, entry in told.items()} == {shown(first): 3, shown(second): 2}
    told = await call("getmempooldescendants", shown(first), True, result=dict[str, schema.MempoolEntry])
    assert {txid: entry.ancestorcount for txid, entry in told.items()} == {shown(second): 2, shown(third): 3}
    for name in ("getmempoolancestors", "getmempooldescendants"):
        assert (await refused(api, name, "00" * 32)).code is ErrorCode.INVALID_ADDRESS_OR_KEY


async def test_the_whole_mempool_is_listed_told_in_full_or_with_a_number_that_rises(api: Api) -> None:
    call = api.client.call
    empty = await call("getrawmempool", False, True, result=schema.MempoolSequence)
    tx = await pay(api, await reward(api, 1))
    assert await call("getrawmempool") == [shown(tx)]
    told = await call("getrawmempool", True, result=dict[str, schema.MempoolEntry])
    assert {txid: entry.fees.base for txid, entry in told.items()} == {shown(tx): Dure(FEE)}
    later = await call("getrawmempool", False, True, result=schema.MempoolSequence)
    assert later.txids == [shown(tx)]
    assert later.mempool_sequence > empty.mempool_sequence
    assert (await refused(api, "getrawmempool", True, True)).code is ErrorCode.INVALID_PARAMETER


async def test_a_coin_is_shown_as_the_mempool_leaves_it_or_as_the_chain_does(api: Api) -> None:
    coins = await reward(api, 1)
    (place,) = coins
    tx = await pay(api, coins)
    call = api.client.call
    assert await call("gettxout", display_hash(place.txid), 0) is None
    mined = await call("gettxout", display_hash(place.txid), 0, False, result=schema.TxOut)
    assert (mined.confirmations, mined.coinbase) == (MATURE + 8, True)
    waiting = await call("gettxout", shown(tx), 0, result=schema.TxOut)
    assert (waiting.confirmations, waiting.coinbase, waiting.value) == (0, False, Dure(tx.core.outputs[0].value))
    assert await call("gettxout", shown(tx), 0, False) is None
    assert await call("gettxout", shown(tx), 1) is None
    assert (await refused(api, "gettxout", shown(tx), -1)).code is ErrorCode.INVALID_PARAMETER


async def test_the_mempool_is_written_when_asked(api: Api) -> None:
    tx = await pay(api, await reward(api, 1))
    assert await api.client.call("savemempool") == {"filename": FILE}
    raw = api.services.node.mempool_file._files.read(FILE)
    assert raw is not None
    assert [kept.raw for kept in read_kept(REGTEST, raw)] == [tx.encoded]
    assert (await api.client.call("getmempoolinfo", result=schema.MempoolInfo)).loaded


# What would be taken


async def test_a_trial_says_what_would_be_taken_and_changes_nothing(api: Api) -> None:
    tx = forward(await reward(api, 1))
    trial = api.client.call
    (result,) = await trial("testmempoolaccept", [hexed(tx)], result=list[schema.MempoolAccept])
    assert (result.txid, result.wtxid, result.allowed, result.vsize) == (shown(tx), wtxid(tx), True, vsize(tx))
    assert result.fees == schema.AcceptedFees(
        base=Dure(FEE), effective_feerate=Dure(FEE * 1_000 // vsize(tx)), effective_includes=[wtxid(tx)]
    )
    assert await trial("getrawmempool") == []
    await pay(api, await reward(api, 1))
    (result,) = await trial("testmempoolaccept", [hexed(tx)], result=list[schema.MempoolAccept])
    assert (result.allowed, result.reject_reason) == (False, "already-known")


async def test_a_trial_of_several_stops_at_the_first_that_is_refused(api: Api) -> None:
    good = forward(await reward(api, 1))
    cheap = forward(outputs_of(good), fee=1)
    after = forward(await reward(api, 2))
    raw = [hexed(tx) for tx in (good, cheap, after)]
    found = await api.client.call("testmempoolaccept", raw)
    assert [set(each) for each in found] == [
        {"txid", "wtxid", "allowed", "vsize", "fees"},
        {"txid", "wtxid", "allowed", "reject-reason", "reject-details"},
        {"txid", "wtxid"},
    ]
    assert found[1]["reject-reason"] == "low-fee"
    assert found[1]["reject-details"].startswith("low-fee: fee=1, required=")


async def test_a_trial_refuses_what_is_invalid_too_dear_or_out_of_order(api: Api) -> None:
    call = api.client.call
    tx = forward(await reward(api, 1))
    forged = Transaction(tx.core, (Witness(tx.witnesses[0].policy, (bytes([1]) * 64,)),))
    assert (await call("testmempoolaccept", [hexed(forged)]))[0]["reject-reason"] == "bad-signature"
    missing = forward(outputs_of(tx))
    assert (await call("testmempoolaccept", [hexed(missing)]))[0]["reject-reason"] == "missing-coin"
    dear = forward(await reward(api, 1), fee=200_000_000)
    assert (await call("testmempoolaccept", [hexed(dear)]))[0]["reject-reason"] == "max-fee-exceeded"
    assert (await call("testmempoolaccept", [hexed(dear)], 0))[0]["allowed"] is True
    unsorted = await call("testmempoolaccept", [hexed(missing), hexed(tx)])
    assert all("a child stands before its parent" in each["package-error"] for each in unsorted)
    bad: list[list[object]] = [[[]], [["00"] * 26], [["zz"]], [[1]], ["00"], [[hexed(tx)], -1]]
    for params in bad:
        error = await refused(api, "testmempoolaccept", *params)
        assert error.code in {
            ErrorCode.INVALID_PARAMETER,
            ErrorCode.TYPE_ERROR,
            ErrorCode.DESERIALIZATION_ERROR,
        }, params


# Packages


async def test_a_child_pays_for_its_parent_in_a_package(api: Api) -> None:
    parent = forward(await reward(api, 1), fee=0)
    child = forward(outputs_of(parent), fee=FEE)
    alone = await refused(api, "sendrawtransaction", hexed(parent))
    assert alone.code is ErrorCode.VERIFY_REJECTED
    found = await api.client.call("submitpackage", [hexed(parent), hexed(child)], result=schema.SubmittedPackage)
    assert (found.package_msg, found.replaced_transactions) == ("success", [])
    rate = Dure(FEE * 1_000 // (vsize(parent) + vsize(child)))
    for tx, fee in ((parent, 0), (child, FEE)):
        result = found.tx_results[wtxid(tx)]
        both = [wtxid(parent), wtxid(child)]
        assert result.fees == schema.AcceptedFees(base=Dure(fee), effective_feerate=rate, effective_includes=both)
    assert await api.client.call("getrawmempool") == [shown(parent), shown(child)]
    again = await api.client.call("submitpackage", [hexed(parent), hexed(child)], result=schema.SubmittedPackage)
    assert again.package_msg == "success"
    await api.mine(1)
    assert await api.client.call("getrawmempool") == []


async def test_a_package_that_replaces_says_what(api: Api) -> None:
    rival = await pay(api, await reward(api, 1))
    parent = forward(await reward(api, 1), fee=0)
    child = forward(outputs_of(parent), fee=9 * FEE)
    found = await api.client.call("submitpackage", [hexed(parent), hexed(child)], result=schema.SubmittedPackage)
    assert found.replaced_transactions == [shown(rival)]


async def test_a_package_that_is_refused_says_why_for_each(api: Api) -> None:
    call = api.client.call
    parent = forward(await reward(api, 1), fee=0)
    child = forward(outputs_of(parent), fee=1)
    found = await call("submitpackage", [hexed(parent), hexed(child)], result=schema.SubmittedPackage)
    assert found.package_msg == "transaction failed"
    assert all("low-fee" in str(result.error) for result in found.tx_results.values())
    dear = forward(outputs_of(parent), fee=300_000_000)
    found = await call("submitpackage", [hexed(parent), hexed(dear)], result=schema.SubmittedPackage)
    assert "max-fee-exceeded" in str(found.tx_results[wtxid(dear)].error)
    assert await call("getrawmempool") == []
    found = await call("submitpackage", [hexed(parent), hexed(dear)], 0, result=schema.SubmittedPackage)
    assert found.package_msg == "success"
    strangers = [hexed(forward(await reward(api, height))) for height in (2, 3)]
    error = await refused(api, "submitpackage", strangers)
    assert (error.code, "not a child with its parents" in error.message) == (ErrorCode.VERIFY_ERROR, True)
    assert (await refused(api, "submitpackage", ["00"])).code is ErrorCode.DESERIALIZATION_ERROR
    assert (await refused(api, "submitpackage", [])).code is ErrorCode.INVALID_PARAMETER


async def test_a_payment_that_pays_more_replaces_another_over_rpc(api: Api) -> None:
    first = await pay(api, await reward(api, 1))
    error = await refused(api, "sendrawtransaction", hexed(forward(await reward(api, 1), fee=FEE + 1)))
    assert error.code is ErrorCode.VERIFY_REJECTED
    assert error.message.startswith("replacement-low-fee: ")
    second = await pay(api, await reward(api, 1), fee=2 * FEE)
    assert await api.client.call("getrawmempool") == [shown(second)]
    assert (await refused(api, "getmempoolentry", shown(first))).code is ErrorCode.INVALID_ADDRESS_OR_KEY


# Fees


async def test_a_fee_is_estimated_from_the_first_block_on_and_says_why() -> None:
    async with running_api() as api:
        found = await api.client.call("estimatesmartfee", 1, result=schema.FeeEstimate)
        assert (found.feerate, found.blocks) == (Dure(1_000), 1)
        assert found.basis.startswith("0 transactions wait now")


async def test_estimates_learn_from_blocks(api: Api) -> None:
    for height in range(1, 8):
        await pay(api, await reward(api, height), fee=50 * 190)
        await api.mine(1)
    careful = await api.client.call("estimatesmartfee", 2, "conservative", result=schema.FeeEstimate)
    assert careful.feerate.grain > 40_000
    assert "came in time" in careful.basis
    cheap = await api.client.call("estimatesmartfee", 2, result=schema.FeeEstimate)
    assert cheap.feerate == Dure(1_000)
    for params in ([0], [1_009], [-1], ["1"], [1, "reckless"], [1.5]):
        assert (await refused(api, "estimatesmartfee", *params)).code in {
            ErrorCode.INVALID_PARAMETER,
            ErrorCode.TYPE_ERROR,
        }


async def test_mining_info_says_what_the_next_block_must_be(api: Api) -> None:
    await pay(api, await reward(api, 1))
    info = await api.client.call("getmininginfo", result=schema.MiningInfo)
    assert (info.blocks, info.next.height, info.pooledtx) == (MATURE + 8, MATURE + 9, 1)
    assert info.next.bits == info.bits == f"{REGTEST.start_bits:08x}"
    assert info.next.target == info.target


async def test_a_batch_of_transactions_is_answered_as_the_calls_would_be_one_by_one(api: Api) -> None:
    known = await pay(api, await reward(api, 1))
    parent = forward(await reward(api, 2), parts=2)
    child = forward(outputs_of(parent, 0))
    lost = forward(outputs_of(forward(await reward(api, 3)), 0))
    dear = forward(await reward(api, 4), fee=FEE + 1)
    given: list[list[object]] = [
        [hexed(known)], [hexed(parent)], ["zz"], [], [hexed(child)], [hexed(child)], [hexed(lost)],
        [hexed(dear), 0.00000001], [hexed(dear)],
    ]  # fmt: skip
    calls = [{"jsonrpc": "2.0", "id": n, "method": "sendrawtransaction", "params": p} for n, p in enumerate(given)]
    told = {"jsonrpc": "2.0", "method": "sendrawtransaction", "params": [hexed(forward(await reward(api, 5)))]}
    status, answers = await api.post([*calls, told, {"jsonrpc": "2.0", "id": 9, "method": "getmempoolinfo"}])
    assert status == 200
    assert [answer["id"] for answer in answers] == list(range(10))
    results = [answer.get("result") or answer["error"]["code"] for answer in answers[:9]]
    assert results == [
        shown(known), shown(parent), ErrorCode.DESERIALIZATION_ERROR, ErrorCode.MISC_ERROR, shown(child), shown(child),
        ErrorCode.VERIFY_ERROR, ErrorCode.VERIFY_ERROR, shown(dear),
    ]  # fmt: skip
    assert answers[9]["result"]["size"] == 5
