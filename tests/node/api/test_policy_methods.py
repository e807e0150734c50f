"""Policies and files over the API: two nodes with a wallet each, one chain, and base64 that goes between them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest

from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError
from tests.support.api import Api, refused, running_api
from tests.support.pair import Pair, running_pair
from tests.support.rules import key

DURE = 10**8
Remembered = schema.RememberedPolicy


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with running_pair() as both:
        yield both


async def both_of(pair: Pair, name: str = "both") -> str:
    """A policy of both, remembered by both; returns its address."""
    keys = [await api.client.call("getpolicykey", "for both") for api in pair]
    policy = f"threshold(2, [key({keys[0]}), key({keys[1]})])"
    roles = {keys[0]: "Ann", keys[1]: "Bob"}
    known = [await api.client.call("importpolicy", name, policy, roles, result=Remembered) for api in pair]
    return known[0].address


async def listed(api: Api) -> schema.Policies:
    return await api.client.call("listpolicies", result=schema.Policies)


async def decoded(api: Api, psbt: str) -> schema.Psbt:
    return await api.client.call("decodepsbt", psbt, result=schema.Psbt)


async def test_two_wallets_spend_what_needs_both(pair: Pair) -> None:
    address = await both_of(pair)
    before = await pair.ann.client.call("getbalances", result=schema.Balances)
    assert before.watchonly == schema.MineBalances(trusted=Dure(0), untrusted_pending=Dure(0), immature=Dure(0))
    await pair.pay(address, 20)
    for api in pair:
        (known,) = (await listed(api)).policies
        assert (known.name, known.confirmed, len(known.coins)) == ("both", Dure(20 * DURE), 1)
        balances = await api.client.call("getbalances", result=schema.Balances)
        assert isinstance(balances.watchonly, schema.MineBalances)
        assert balances.watchonly.trusted == Dure(20 * DURE)
        info = await api.client.call("getaddressinfo", address, result=schema.AddressInfo)
        assert (info.ismine, info.iswatchonly, info.solvable) == (False, True, True)
    home = await pair.bob.client.call("getnewaddress")
    spend = await pair.ann.client.call("spendpolicy", "both", {home: 5}, result=schema.PolicySpend)
    assert spend.sentence == "Ann (yours) and Bob can spend together at any time."
    by_ann = await pair.ann.client.call("walletprocesspsbt", spend.psbt, result=schema.ProcessedPsbt)
    assert (by_ann.complete, len(by_ann.signed)) == (False, 1)
    unfinished = await pair.ann.client.call("finalizepsbt", by_ann.psbt, True, True, result=schema.FinalizedPsbt)
    assert (unfinished.complete, unfinished.psbt) == (False, by_ann.psbt)
    shown = await decoded(pair.bob, by_ann.psbt)
    assert [(one.amount, one.name, one.known) for one in shown.inputs] == [(Dure(20 * DURE), "both", True)]
    assert [(one.amount, one.name) for one in shown.outputs] == [
        (Dure(5 * DURE), "yours"),
        (Dure(15 * DURE - spend.fee.grain), "both"),
    ]
    assert (shown.fee, shown.complete, shown.warnings) == (spend.fee, False, [])
    (part,) = shown.parts
    assert [one.role for one in part.signed] == ["Ann"]
    assert part.branches[0].missing == ["1 signature of Bob (yours)"]
    by_bob = await pair.bob.client.call("walletprocesspsbt", spend.psbt, result=schema.ProcessedPsbt)
    together = await pair.bob.client.call("combinepsbt", [by_ann.psbt, by_bob.psbt])
    assert (await decoded(pair.bob, together)).complete
    done = await pair.ann.client.call("finalizepsbt", together, True, True, result=schema.FinalizedPsbt)
    assert done.complete
    assert await pair.ann.client.call("getrawmempool") == [done.txid]
    again = await pair.ann.client.call("finalizepsbt", together, True, True, result=schema.FinalizedPsbt)
    assert again == done
    await pair.mine()
    assert await pair.bob.client.call("getbalance") == 5
    (known,) = (await listed(pair.bob)).policies
    assert known.confirmed == Dure(15 * DURE - spend.fee.grain)


async def test_a_file_that_lies_about_a_coin_is_refused_by_a_node_that_knows_the_chain(pair: Pair) -> None:
    """A161."""
    from msgspec.structs import replace

    from consensus.params import REGTEST
    from consensus.types import Amount
    from wallet.psdt import new_psdt, read_psdt, write_psdt

    address = await both_of(pair)
    await pair.pay(address, 20)
    home = await pair.bob.client.call("getnewaddress")
    spend = await pair.ann.client.call("spendpolicy", "both", {home: 5}, result=schema.PolicySpend)
    true = read_psdt(REGTEST, b64decode(spend.psbt))
    coin = replace(true.coins[0], output=replace(true.coins[0].output, value=Amount(20 * DURE + 1)))
    lie = b64encode(write_psdt(new_psdt(REGTEST, true.core, (coin,)))).decode()
    for api in pair:
        error = await refused(api, "walletprocesspsbt", lie)
        assert error.code is ErrorCode.VERIFY_ERROR
        assert "20.00000001 DURE" in error.message
        shown = await decoded(api, lie)
        assert not shown.inputs[0].known
        assert shown.warnings[0].startswith("This is a lie: ")


async def test_a_file_that_takes_a_coin_of_ones_own_says_so_and_only_what_is_named_is_signed(pair: Pair) -> None:
    address = await both_of(pair)
    txid = await pair.pay(address, 20)
    outputs = (
        await pair.ann.client.call("getrawtransaction", txid, 1, (await pair.ann.client.call("getbestblockhash")))
    )["vout"]
    place = next(one["n"] for one in outputs if one["scriptPubKey"]["address"] == address)
    own = next(one for one in await pair.ann.client.call("listunspent"))
    home = await pair.bob.client.call("getnewaddress")
    inputs = [{"txid": txid, "vout": place}, {"txid": own["txid"], "vout": own["vout"]}]
    amount = 20 + own["amount"] - 1
    psbt = await pair.bob.client.call("createpsbt", inputs, [{home: amount}])
    shown = await decoded(pair.ann, psbt)
    assert f"It takes {own['amount']} DURE of this wallet's own coins." in shown.warnings
    assert any("0.1" in warning for warning in shown.warnings), "the fee is 1 DURE"
    assert (await refused(pair.ann, "walletprocesspsbt", psbt)).code is ErrorCode.INVALID_PARAMETER
    named = {"psbt": psbt, "only": [address], "force": True}
    _, answer = await pair.ann.post({"id": 1, "method": "walletprocesspsbt", "params": named})
    assert len(answer["result"]["signed"]) == 1
    assert [len(part.signed) for part in (await decoded(pair.ann, answer["result"]["psbt"])).parts] == [1, 0]
    _, answer = await pair.ann.post({"id": 1, "method": "walletprocesspsbt", "params": named | {"only": None}})
    assert len(answer["result"]["signed"]) == 2
    untouched = await pair.ann.client.call("walletprocesspsbt", psbt, False, result=schema.ProcessedPsbt)
    assert (untouched.signed, untouched.complete) == ([], False)


async def test_a_vault_sounds_its_alarm_in_the_answers_and_in_the_log(pair: Pair) -> None:
    hot, cold = [await api.client.call("getpolicykey") for api in pair]
    way_out = f"threshold(1, [threshold(2, [key({hot}), older(6)]), key({cold})])"
    explained = await pair.ann.client.call("explainpolicy", way_out, result=schema.PolicyExplanation)
    inside = f"threshold(1, [threshold(2, [key({hot}), pays({explained.lock})]), key({cold})])"
    lonely = await pair.ann.client.call("explainpolicy", inside, result=schema.PolicyExplanation)
    assert [warning.trap for warning in lonely.warnings] == ["unknown-destination"]
    for api in pair:
        await api.client.call("importpolicy", "savings/withdrawal", way_out)
        await api.client.call("importpolicy", "savings", inside)
    vault = await pair.ann.client.call("explainpolicy", "savings", result=schema.PolicyExplanation)
    assert vault.warnings == []
    await pair.pay(vault.address, 10)
    spend = await pair.ann.client.call("spendpolicy", "savings", None, explained.address, 1, result=schema.PolicySpend)
    assert spend.sentence.startswith("Key")
    assert f"but only whole coins, to savings/withdrawal ({explained.address})" in spend.sentence
    signed = await pair.ann.client.call("walletprocesspsbt", spend.psbt, result=schema.ProcessedPsbt)
    assert await pair.bob.client.call("sendrawtransaction", signed.hex)
    (alarm,) = (await listed(pair.bob)).withdrawals
    assert alarm.sentence.startswith("10.00000000 DURE are leaving savings: the withdrawal is in no block yet.")
    (line,) = pair.bob.logged("vault_withdrawal_seen")
    assert (line["vault"], line["log_level"]) == ("savings", "warning")
    await pair.ann.client.call("sendrawtransaction", signed.hex)
    await pair.mine()
    (alarm,) = (await listed(pair.bob)).withdrawals
    height = await pair.bob.client.call("getblockcount")
    assert alarm.free_at == height + 6
    assert "only the cold key can take it back for 5 blocks more" in alarm.sentence
    home = await pair.bob.client.call("getnewaddress")
    rescue = await pair.bob.client.call("spendpolicy", "savings/withdrawal", None, home, result=schema.PolicySpend)
    signed = await pair.bob.client.call("walletprocesspsbt", rescue.psbt, result=schema.ProcessedPsbt)
    assert await pair.ann.client.call("sendrawtransaction", signed.hex)
    await pair.mine()
    assert (await listed(pair.bob)).withdrawals == []
    assert (await pair.bob.client.call("getbalance")).as_tuple().digits[:3] == (9, 9, 9)


async def test_a_spend_that_waits_is_put_out_by_one_that_pays_more(pair: Pair) -> None:
    """The cold key takes the coins out of the vault itself, before the withdrawal is in any block."""
    hot, cold = [await api.client.call("getpolicykey") for api in pair]
    way_out = f"threshold(1, [threshold(2, [key({hot}), older(6)]), key({cold})])"
    explained = await pair.ann.client.call("explainpolicy", way_out, result=schema.PolicyExplanation)
    inside = f"threshold(1, [threshold(2, [key({hot}), pays({explained.lock})]), key({cold})])"
    for api in pair:
        await api.client.call("importpolicy", "savings/withdrawal", way_out)
        await api.client.call("importpolicy", "savings", inside)
    vault = await pair.ann.client.call("explainpolicy", "savings", result=schema.PolicyExplanation)
    await pair.pay(vault.address, 10)
    rate = {"policy": "savings", "everything_to": explained.address, "branch": 1, "fee_rate": 7}
    _, answer = await pair.ann.post({"id": 1, "method": "spendpolicy", "params": rate})
    signed = await pair.ann.client.call("walletprocesspsbt", answer["result"]["psbt"], result=schema.ProcessedPsbt)
    theft = await pair.bob.client.call("sendrawtransaction", signed.hex)
    home = await pair.bob.client.call("getnewaddress")
    instead = {"policy": "savings", "everything_to": home}
    _, answer = await pair.bob.post({"id": 1, "method": "spendpolicy", "params": instead})
    assert answer["error"]["code"] == ErrorCode.INSUFFICIENT_FUNDS, "the coin is spent by what waits"
    _, answer = await pair.bob.post({"id": 1, "method": "spendpolicy", "params": instead | {"replace": theft}})
    rescue = answer["result"]["psbt"]
    signed = await pair.bob.client.call("walletprocesspsbt", rescue, result=schema.ProcessedPsbt)
    done = await pair.bob.client.call("finalizepsbt", signed.psbt, True, True, result=schema.FinalizedPsbt)
    assert await pair.bob.client.call("getrawmempool") == [done.txid]
    policies = await listed(pair.bob)
    assert (policies.withdrawals, [known.confirmed.grain for known in policies.policies]) == ([], [0, 0])
    for wrong in ("00" * 32, done.txid):
        refusal = instead | {"policy": "savings/withdrawal", "replace": wrong}
        _, answer = await pair.bob.post({"id": 1, "method": "spendpolicy", "params": refusal})
        assert answer["error"]["code"] in {ErrorCode.INVALID_ADDRESS_OR_KEY, ErrorCode.INVALID_PARAMETER}


async def test_a_secret_finishes_a_hash_lock(pair: Pair) -> None:
    secret = bytes(range(32))
    receiver, payer = [await api.client.call("getpolicykey") for api in (pair.bob, pair.ann)]
    text = (
        f"threshold(1, [threshold(2, [key({receiver}), preimage({sha256(secret).hexdigest()})]),"
        f" threshold(2, [key({payer}), after_height(500)])])"
    )
    known, _ = [await api.client.call("importpolicy", "swap", text, result=Remembered) for api in pair]
    assert [branch.open for branch in known.branches] == [True, False]
    assert known.branches[0].hashes == [sha256(secret).hexdigest()]
    await pair.pay(known.address, 3)
    home = await pair.bob.client.call("getnewaddress")
    spend = await pair.bob.client.call("spendpolicy", "swap", None, home, result=schema.PolicySpend)
    signed = await pair.bob.client.call("walletprocesspsbt", spend.psbt, result=schema.ProcessedPsbt)
    assert not signed.complete
    (part,) = (await decoded(pair.bob, signed.psbt)).parts
    assert part.branches[0].missing == [f"the secret whose SHA-256 is {sha256(secret).hexdigest()}"]
    assert part.branches[1].missing[-1] == "time: it is not due yet"
    shown = {"psbt": signed.psbt, "secrets": [secret.hex()]}
    _, answer = await pair.bob.post({"id": 1, "method": "walletprocesspsbt", "params": shown})
    assert answer["result"]["complete"]
    assert (await refused(pair.ann, "spendpolicy", "swap", None, home, 2)).message.startswith(
        "branch 2 opens at block 500"
    )


@pytest.mark.parametrize("method", ["decodepsbt", "walletprocesspsbt", "finalizepsbt", "combinepsbt"])
async def test_hostile_files_are_refused_by_name(pair: Pair, method: str) -> None:
    address = await both_of(pair)
    await pair.pay(address, 20)
    spend = await pair.ann.client.call("spendpolicy", "both", {address: 5}, result=schema.PolicySpend)
    raw = b64decode(spend.psbt)
    files = [b"", raw[:-1], raw[:40], raw + b"x", raw[:100] + bytes([raw[100] ^ 1]) + raw[101:], b"\x91" * 10_000]
    texts = [b64encode(each).decode() for each in files] + ["é", "====", spend.psbt[:-1], spend.psbt + "\n"]
    for text in texts:
        params: Any = [text] if method == "combinepsbt" else text
        error = await refused(pair.bob, method, params)
        assert error.code is ErrorCode.DESERIALIZATION_ERROR
        assert error.message.startswith("TX decode failed: ")
    huge: Any = "A" * 700_000
    error = await refused(pair.bob, method, [huge] if method == "combinepsbt" else huge)
    assert error.code is ErrorCode.INVALID_PARAMETER


async def test_what_would_lose_coins_is_refused_by_name(pair: Pair) -> None:
    client = pair.ann.client
    mine = await client.call("getpolicykey")
    for text, why in (
        ("older(5)", "needs no signature"),
        (f"threshold(2, [key({mine}), key({mine})])", "twice"),
        (f"threshold(1, [key({mine}), key(02{'00' * 31}05)])", "no point"),
        (f"key({mine})", "ordinary address"),
        ("nonsense(", "This is no policy"),
        (f"threshold(3, [key({mine})])", "could not be spent"),
    ):
        assert why in (await refused(pair.ann, "importpolicy", "x", text)).message
    assert (await listed(pair.ann)).policies == []
    good = f"threshold(2, [key({mine}), key({key(1).key.hex()})])"
    assert (await refused(pair.ann, "importpolicy", "x", good, {"zz": "me"})).code is ErrorCode.INVALID_PARAMETER
    assert (await refused(pair.ann, "importpolicy", "x", good, {key(2).key.hex(): "me"})).code is ErrorCode.WALLET_ERROR
    await client.call("importpolicy", "x", good)
    assert (await client.call("importpolicy", "x", good))["name"] == "x"
    assert (await refused(pair.ann, "importpolicy", "y", good)).code is ErrorCode.WALLET_ERROR
    address = (await listed(pair.ann)).policies[0].address
    for name in ("x", address, good):
        assert (await client.call("explainpolicy", name))["name"] == "x"
    assert (await refused(pair.ann, "explainpolicy", "nobody")).code is ErrorCode.INVALID_ADDRESS_OR_KEY
    for params in (
        (),
        ("x",),
        ("x", {address: 1}, address),
        ("x", {address: 0}),
        ("x", {"q": 1}),
        ("x", {address: 1}, None, 9),
    ):
        assert isinstance(await refused(pair.ann, "spendpolicy", *params), RpcError)
    assert (await refused(pair.ann, "spendpolicy", "x", {address: 1})).code is ErrorCode.INSUFFICIENT_FUNDS
    missing = {"txid": "00" * 32, "vout": 0}
    assert "Input not found" in (await refused(pair.ann, "createpsbt", [missing], [{address: 1}])).message


async def test_without_a_wallet_a_policy_is_known_by_its_text(pair: Pair) -> None:
    async with running_api(wallet=False, seed=3) as bare:
        text = f"key({key(1).key.hex()})"
        explained = await bare.client.call("explainpolicy", text, result=schema.PolicyExplanation)
        assert explained.branches[0].sentence == f"Key {key(1).key.hex()[:10]}… can spend at any time."
        assert (await refused(bare, "explainpolicy", "board")).code is ErrorCode.WALLET_NOT_FOUND
        address = await both_of(pair)
        await pair.pay(address, 20)
        spend = await pair.ann.client.call("spendpolicy", "both", {address: 5}, result=schema.PolicySpend)
        shown = await decoded(bare, spend.psbt)
        assert (shown.inputs[0].known, shown.inputs[0].name) == (False, "")
        assert "does not know 1 coin" in shown.warnings[0]


async def test_two_people_spend_coins_of_their_own_in_one_file(pair: Pair) -> None:
    """Each signs for his coin, and knows what he gets for it: so a swap will be made."""
    await pair.pay(await pair.bob.client.call("getnewaddress"), 20)
    coins = [(await api.client.call("listunspent"))[0] for api in pair]
    homes = [await api.client.call("getnewaddress") for api in pair]
    inputs = [{"txid": coin["txid"], "vout": coin["vout"]} for coin in coins]
    outputs = [{homes[0]: coins[1]["amount"]}, {homes[1]: coins[0]["amount"] - Decimal("0.00001")}]
    psbt = await pair.ann.client.call("createpsbt", inputs, outputs)
    signed = [await api.client.call("walletprocesspsbt", psbt, result=schema.ProcessedPsbt) for api in pair]
    assert [(one.complete, len(one.signed)) for one in signed] == [(False, 1), (False, 1)]
    together = await pair.bob.client.call("combinepsbt", [one.psbt for one in signed])
    done = await pair.ann.client.call("finalizepsbt", together, True, True, result=schema.FinalizedPsbt)
    await pair.mine()
    for api, other in zip(pair, coins[::-1], strict=True):
        got = (await api.client.call("gettransaction", done.txid, result=schema.WalletTransaction)).details
        assert any(abs(entry.amount.grain - int(other["amount"] * DURE)) <= 1_000 for entry in got)
