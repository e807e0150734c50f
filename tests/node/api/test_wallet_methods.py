"""The wallet through the API: what is shown is what the chain says, and a payment is made once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError
from tests.support.api import Api, refused, running_api

DURE = 10**8


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_api() as running:
        # The reward of block 1 can be spent in block 101: 50 DURE.
        await running.mine(100)
        yield running


async def balances(api: Api) -> schema.MineBalances:
    return (await api.client.call("getbalances", result=schema.Balances)).mine


async def test_a_payment_is_seen_from_making_to_confirming(api: Api) -> None:
    client = api.client
    assert await balances(api) == schema.MineBalances(
        trusted=Dure(50 * DURE), untrusted_pending=Dure(0), immature=Dure(4950 * DURE)
    )
    own = await client.call("getnewaddress", "savings")
    sent = await client.call(
        "sendtoaddress", own, "12.5", "", "", False, None, None, None, None, 2.5, True, result=schema.SentPayment
    )
    assert await client.call("getrawmempool") == [sent.txid]
    entry = await client.call("getmempoolentry", sent.txid, result=schema.MempoolEntry)
    assert entry.fees.base == sent.fee
    assert sent.fee.grain / entry.vsize == pytest.approx(2.5, rel=0.05)
    assert (await balances(api)).trusted == Dure(50 * DURE - sent.fee.grain)
    pending = await client.call("gettransaction", sent.txid, result=schema.WalletTransaction)
    assert (pending.confirmations, pending.trusted, pending.state) == (0, True, "pending")
    assert pending.fee == Dure(-sent.fee.grain)
    (block,) = await api.mine(1)
    mined = await client.call("gettransaction", sent.txid, False, True, result=schema.WalletTransaction)
    assert (mined.confirmations, mined.blockhash, mined.state) == (1, block, "confirmed")
    assert isinstance(mined.decoded, schema.TransactionDetail)
    assert mined.decoded.hex == mined.hex
    lines = await client.call("listtransactions", "savings", result=list[schema.WalletEntry])
    assert {(line.category, line.amount) for line in lines} >= {("receive", Dure(1_250_000_000))}


async def test_the_history_is_oldest_first_and_paged_from_the_newest(api: Api) -> None:
    lines = await api.client.call("listtransactions", "*", 1000, result=list[schema.WalletEntry])
    assert [line.blockheight for line in lines] == list(range(1, 101))
    assert lines[0].category == "generate"
    assert lines[-1].category == "immature"
    page = await api.client.call("listtransactions", "*", 3, 2, result=list[schema.WalletEntry])
    assert [line.blockheight for line in page] == [96, 97, 98]


async def test_a_repeated_request_pays_once(api: Api) -> None:
    """A155: the caller did not hear the first answer."""
    address = await api.client.call("getnewaddress")
    named = {"address": address, "amount": 1, "request_id": "order 7"}
    call = {"jsonrpc": "2.0", "id": 1, "method": "sendtoaddress", "params": named}
    first, again = await api.post(call), await api.post(call)
    assert first == again
    assert await api.client.call("getrawmempool") == [first[1]["result"]]
    other = await api.post(call | {"params": named | {"amount": 2}})
    assert other[1]["error"]["code"] == ErrorCode.INVALID_PARAMETER


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        (0, ErrorCode.INVALID_PARAMETER),
        ("0.00000001", ErrorCode.INVALID_PARAMETER),
        (50, ErrorCode.INSUFFICIENT_FUNDS),
        ("14949.99", ErrorCode.INSUFFICIENT_FUNDS),
        (10**10, ErrorCode.INVALID_PARAMETER),
        (-1, ErrorCode.TYPE_ERROR),
        ("0.123456789", ErrorCode.TYPE_ERROR),
    ],
)
async def test_an_amount_that_cannot_be_paid_changes_nothing(api: Api, amount: object, code: ErrorCode) -> None:
    before = await balances(api)
    error = await refused(api, "sendtoaddress", await api.client.call("getnewaddress"), amount)
    assert error.code is code
    assert await balances(api) == before
    assert await api.client.call("getrawmempool") == []


async def test_a_mistyped_address_is_refused_by_name(api: Api) -> None:
    """A147."""
    address: str = await api.client.call("getnewaddress")
    swapped = address[:-1] + ("q" if address[-1] != "q" else "p")
    for wrong in (swapped, address.replace("rdure1", "dure1"), "", "R" + address[1:]):
        error = await refused(api, "sendtoaddress", wrong, 1)
        assert error.code is ErrorCode.INVALID_ADDRESS_OR_KEY
        assert error.message.startswith("Invalid address: ")
    assert not (await api.client.call("validateaddress", swapped, result=schema.AddressValidity)).isvalid
    valid = await api.client.call("validateaddress", address.upper(), result=schema.AddressValidity)
    assert (valid.isvalid, valid.address) == (True, address)


@pytest.mark.parametrize("rate", [0, "0.5", 10**8, "x", -1, 1.2345])
async def test_an_absurd_fee_rate_is_refused(api: Api, rate: object) -> None:
    """A152."""
    params = (await api.client.call("getnewaddress"), 1, "", "", False, None, None, None, None, rate)
    error = await refused(api, "sendtoaddress", *params)
    assert error.code in {ErrorCode.INVALID_PARAMETER, ErrorCode.TYPE_ERROR}
    assert await api.client.call("getrawmempool") == []


async def test_several_are_paid_at_once_and_everything_can_be_sent(api: Api) -> None:
    client = api.client
    one, two = [await client.call("getnewaddress", label) for label in ("one", "two")]
    txid = await client.call("sendmany", "", {one: "1.5", two: 2})
    detail = await client.call("gettransaction", txid, result=schema.WalletTransaction)
    received = {entry.label: entry.amount for entry in detail.details if entry.category == "receive"}
    assert received == {"one": Dure(150_000_000), "two": Dure(200_000_000)}
    everything = await client.call("sendall", [one], result=schema.SentAll)
    assert everything.complete
    await api.mine(1)
    mine = await balances(api)
    fees = 50 * DURE + 50 * DURE - mine.trusted.grain
    assert 0 < fees < 100_000
    for wrong in ({}, {one: -1}, {one: "x"}, {"x": 1}, {one: 1000}):
        assert (await refused(api, "sendmany", "", wrong)).code is not ErrorCode.INTERNAL_ERROR


async def test_a_payment_in_the_mempool_is_not_given_up(api: Api) -> None:
    txid = await api.client.call("sendtoaddress", await api.client.call("getnewaddress"), 1)
    assert (await refused(api, "abandontransaction", txid)).code is ErrorCode.INVALID_ADDRESS_OR_KEY
    assert (await refused(api, "abandontransaction", "00" * 32)).code is ErrorCode.INVALID_ADDRESS_OR_KEY
    assert (await refused(api, "gettransaction", "00" * 32)).message == "Invalid or non-wallet transaction id"


async def test_a_wallet_is_encrypted_locked_and_unlocked(api: Api) -> None:
    client = api.client
    assert (await refused(api, "walletlock")).code is ErrorCode.WRONG_ENC_STATE
    assert "encrypted" in await client.call("encryptwallet", "correct horse")
    address = await client.call("getnewaddress")
    assert (await refused(api, "sendtoaddress", address, 1)).code is ErrorCode.UNLOCK_NEEDED
    assert (await refused(api, "exportkey", address)).code is ErrorCode.UNLOCK_NEEDED
    assert (await refused(api, "walletpassphrase", "wrong", 9)).code is ErrorCode.PASSPHRASE_INCORRECT
    assert (await refused(api, "walletpassphrase", "", 9)).code is ErrorCode.INVALID_PARAMETER
    await client.call("walletpassphrase", "correct horse", 9)
    assert not (await client.call("getwalletinfo", result=schema.WalletInfo)).locked
    assert await client.call("sendtoaddress", address, 1)
    await client.call("walletpassphrasechange", "correct horse", "battery staple")
    await client.call("walletlock")
    assert (await refused(api, "walletpassphrase", "correct horse", 9)).code is ErrorCode.PASSPHRASE_INCORRECT
    await client.call("walletpassphrase", "battery staple", 0)
    assert (await refused(api, "encryptwallet", "again")).code is ErrorCode.WRONG_ENC_STATE


async def test_a_key_moves_to_another_wallet_with_what_it_was_paid(api: Api) -> None:
    client = api.client
    address = await client.call("getnewaddress")
    await client.call("sendtoaddress", address, 7)
    await api.mine(1)
    pem = await client.call("exportkey", address)
    async with running_api(seed=2) as other:
        for height in range(1, 102):
            raw = await client.call("getblock", await client.call("getblockhash", height), 0)
            assert await other.client.call("submitblock", raw) is None
        assert (await balances(other)).trusted == Dure(0)
        assert await other.client.call("importkey", pem, "found") == address
        assert (await balances(other)).trusted == Dure(7 * DURE)
        assert (await refused(other, "importkey", pem)).code is ErrorCode.WALLET_ERROR
        assert (await refused(other, "importkey", "nonsense")).code is ErrorCode.WALLET_ERROR
        found = await other.client.call("rescanblockchain", result=schema.RescanResult)
        assert found.stop_height == 101
        assert (await balances(other)).trusted == Dure(7 * DURE)
    assert (await refused(api, "rescanblockchain", 500)).code is ErrorCode.INVALID_PARAMETER


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/tmp/x", "a/b", ".x", "x\x00", "x" * 200, "x y", "a\\b"])
async def test_a_backup_is_written_in_its_folder_only(api: Api, name: str) -> None:
    """A172."""
    assert (await refused(api, "backupwallet", name)).code is ErrorCode.INVALID_PARAMETER
    assert await api.client.call("backupwallet", "a.backup") == "backups/a.backup"
    assert (await refused(api, "backupwallet", "a.backup")).code is ErrorCode.WALLET_ERROR


async def test_amounts_in_answers_are_numbers_with_eight_decimals(api: Api) -> None:
    status, answer = await api.post({"id": 1, "method": "getbalance"})
    assert (status, answer["result"]) == (200, 50.0)
    assert await api.client.call("getbalance") == Decimal("50.00000000")


async def test_no_secret_is_logged_quoted_or_listed(api: Api) -> None:
    """A150: whatever is done with a passphrase or a key, and whatever is wrong with them."""
    client = api.client
    address = await client.call("getnewaddress")
    words, pem = await client.call("getmnemonic"), await client.call("exportkey", address)
    backup = await client.call("getwalletbackup")
    said: list[str] = []
    for method, params in (
        ("importkey", [pem]),
        ("importkey", [pem.replace("A", "B")]),
        ("importkey", [pem[:-40]]),
        ("encryptwallet", ["correct horse", "correct horse"]),
        ("encryptwallet", [["correct horse"]]),
        ("encryptwallet", ["correct horse" * 1_000]),
        ("walletpassphrase", ["correct horse", 5]),
        ("encryptwallet", ["correct horse"]),
        ("walletpassphrase", ["correct horse", "correct horse"]),
        ("walletpassphrase", ["wrong horse", 5]),
        ("walletpassphrase", ["correct horse", 5]),
        ("walletpassphrasechange", ["wrong horse", "correct horse"]),
        ("walletpassphrasechange", ["correct horse", "better horse"]),
        ("correct horse", []),
        ("signmessage", [address, 7]),
    ):
        try:
            await client.call(method, *params)
        except RpcError as error:
            said += [] if method == "correct horse" else [str(error), repr(error)]
    seen = repr(api.entries) + repr(said) + repr(await client.call("getrpcinfo"))
    two_words = " ".join(words.split()[:2])
    for secret in ("correct horse", "wrong horse", "better horse", two_words, pem.splitlines()[1], backup):
        assert secret not in seen
    assert said
