"""JSON-RPC over real HTTP: what is answered, what is refused, and that nothing else happens."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from node.api import jsonrpc
from node.api.access import MAX_BODY
from node.api.method import Area, method
from node.api.services import Services
from node.storage.errors import StorageError
from rpc.client import Credentials, Unauthorized, Unreachable
from rpc.errors import ErrorCode, RpcError
from tests.support.api import OWNER, READER, Api, running_api, until


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_api() as running:
        yield running


def call(name: str, *params: object, **more: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": name, "params": list(params), **more}


async def test_a_call_of_version_2_is_answered_in_kind(api: Api) -> None:
    assert await api.post(call("getblockcount")) == (200, {"jsonrpc": "2.0", "result": 0, "id": 1})
    status, answer = await api.post(call("getblockhash", 5))
    assert (status, answer["error"]["code"]) == (200, -8)
    assert "result" not in answer


async def test_an_older_call_is_answered_as_bitcoin_core_does(api: Api) -> None:
    old = {"id": "x", "method": "getblockcount"}
    assert await api.post(old) == (200, {"result": 0, "error": None, "id": "x"})
    status, answer = await api.post({"id": None, "method": "nosuch", "params": []})
    assert status == 404
    assert answer == {"result": None, "error": {"code": -32601, "message": "Method not found"}, "id": None}


async def test_parameters_may_be_named(api: Api) -> None:
    genesis = (await api.post(call("getbestblockhash")))[1]["result"]
    named = call("getblock") | {"params": {"blockhash": genesis, "verbosity": 0}}
    assert (await api.post(named))[1]["result"] == (await api.post(call("getblock", genesis, 0)))[1]["result"]
    mixed = call("getblock") | {"params": {"args": [genesis], "verbosity": 0}}
    assert (await api.post(mixed))[1]["result"] == (await api.post(named))[1]["result"]
    for wrong in ({"nosuch": 1}, {"args": [genesis], "blockhash": genesis}, {"args": 5}):
        assert (await api.post(call("getblock") | {"params": wrong}))[1]["error"]["code"] == -8


async def test_a_notification_has_no_answer(api: Api) -> None:
    status, answer = await api.post({"jsonrpc": "2.0", "method": "stop"})
    assert (status, answer) == (204, "")
    assert api.stops == [True]


async def test_a_batch_is_answered_call_by_call(api: Api) -> None:
    batch = [call("getblockcount"), {"jsonrpc": "2.0", "method": "uptime"}, 5, call("nosuch"), {"id": 2}]
    status, answers = await api.post(batch)
    assert status == 200
    codes = [answer.get("error") and answer["error"]["code"] for answer in answers]
    assert codes == [None, -32600, -32601, -32600]
    assert await api.post([{"jsonrpc": "2.0", "method": "uptime"}]) == (204, "")
    assert await api.post([]) == (200, [])


async def test_a_batch_is_bounded(api: Api) -> None:
    """A169."""
    status, answers = await api.post([call("getblockcount")] * jsonrpc.MAX_BATCH)
    assert (status, len(answers)) == (200, jsonrpc.MAX_BATCH)
    status, answer = await api.post([call("getblockcount")] * (jsonrpc.MAX_BATCH + 1))
    assert (status, answer["error"]["code"]) == (400, -32600)
    status, answer = await api.post(b"[" + b"5," * 100_000 + b"5]")
    assert (status, answer["error"]["code"]) == (400, -32600)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 100_000, b'{"id":1,"id":1}', b"[NaN]", b"1" * 10_000, b'{"method":"\\ud800"}', b"\xff\xfe"],
    ids=repr,
)
async def test_what_is_no_json_is_an_error_object(api: Api, body: bytes) -> None:
    """A169."""
    status, answer = await api.post(body)
    assert (status, answer["error"]["code"]) == (400, -32700)


@pytest.mark.parametrize(
    "body",
    [
        b"5",
        b"null",
        b'"getblockcount"',
        b"{}",
        b'{"id":1,"method":5}',
        b'{"id":1,"method":"uptime","params":5}',
        b'{"id":{},"method":"uptime"}',
        b'{"id":true,"method":"uptime"}',
        b'{"jsonrpc":"3.0","id":1,"method":"uptime"}',
        b'{"jsonrpc":["2.0"],"id":1,"method":"uptime"}',
    ],
    ids=repr,
)
async def test_json_that_is_no_call_is_refused(api: Api, body: bytes) -> None:
    status, answer = await api.post(body)
    assert answer["error"]["code"] == -32600
    assert status == 400


# Strangers


@pytest.mark.parametrize(
    "credentials",
    [None, Credentials("alice", ""), Credentials("alice", "wrong"), Credentials("", "x" * 5_000)],
    ids=str,
)
async def test_without_the_password_there_is_no_call(api: Api, credentials: Credentials | None) -> None:
    """A163."""
    started = asyncio.get_running_loop().time()
    status, answer = await api.post(call("stop"), credentials)
    assert status == 401
    assert api.stops == []
    assert "alice" not in str(answer)
    assert asyncio.get_running_loop().time() - started >= jsonrpc.FAILED_LOGIN_SECONDS
    assert len(api.logged("rpc_login_failed")) == 1


async def test_strangers_take_no_place_from_those_who_may_call(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A163, A176."""
    monkeypatch.setattr(jsonrpc, "MAX_REQUESTS", 1)
    monkeypatch.setattr(jsonrpc, "MAX_STRANGERS", 2)
    wrong = Credentials("alice", "wrong")
    guesses = [asyncio.create_task(api.post(call("stop"), wrong)) for _ in range(6)]
    await until(lambda: len(api.logged("rpc_login_failed")) == 6)
    assert await api.client.call("getblockcount") == 0
    assert sorted([status for status, _ in await asyncio.gather(*guesses)]) == [401, 401, 503, 503, 503, 503]


async def test_a_page_gets_nothing_even_with_the_password(api: Api) -> None:
    """A164, A165."""
    assert (await api.post(call("stop"), Host="evil.example"))[0] == 403
    assert (await api.post(call("stop"), Origin="http://evil.example"))[0] == 403
    assert (await api.post(call("stop"), Sec_Fetch_Site="cross-site"))[0] == 403
    assert (await api.post(call("stop"), Content_Type="text/plain"))[0] == 415
    assert (await api.post(call("uptime"), Content_Type=""))[0] == 200
    assert api.stops == []


async def test_a_page_may_not_even_ask_whether_it_may(api: Api) -> None:
    """A165: a preflight is answered without any header that would allow something."""
    request = f"OPTIONS / HTTP/1.1\r\nHost: {api.address}\r\nOrigin: http://evil\r\nAccess-Control-Request-Method: POST"
    answer = await api.raw(request.encode() + b"\r\n\r\n")
    assert status_of(answer) == 403
    assert b"access-control" not in answer.lower()


async def test_there_is_no_web_socket_to_open(api: Api) -> None:
    """A166: from whatever origin."""
    lines = ("GET / HTTP/1.1", f"Host: {api.address}", "Upgrade: websocket", "Connection: Upgrade")
    key = ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    assert status_of(await api.raw(request(*lines, *key))) == 405
    assert status_of(await api.raw(request(*lines, *key, "Origin: http://evil.example"))) == 403


async def test_a_reader_may_read_and_nothing_else(api: Api) -> None:
    """A171."""
    async with api.reader() as reader:
        assert await reader.call("getblockcount") == 0
    for name in ("getbalances", "getnewaddress", "getmnemonic", "stop", "setpartition", "generatetoaddress"):
        status, _ = await api.post(call(name), READER)
        assert status == 403, name
    assert [line["method"] for line in api.logged("rpc_method_forbidden")][:2] == ["getbalances", "getnewaddress"]
    assert api.stops == []


async def test_a_reader_may_do_no_more_inside_a_batch(api: Api) -> None:
    """A171."""
    status, answers = await api.post([call("getblockcount"), call("getbalances")], READER)
    assert status == 200
    assert answers[0]["result"] == 0
    assert "result" not in answers[1]


# HTTP


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def request(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_requests_that_two_programs_may_read_differently_are_refused(api: Api) -> None:
    """A167: request smuggling."""
    host = f"Host: {api.address}"
    smuggled = b'{"id":1,"method":"stop"}'
    requests = [
        request("POST / HTTP/1.1", host, "Content-Length: 5", "Content-Length: 6", body=smuggled),
        request("POST / HTTP/1.1", host, "Content-Length: 5", "Transfer-Encoding: chunked", body=smuggled),
        request("POST / HTTP/1.1", host, "Transfer-Encoding: chunked, identity", body=smuggled),
        request("POST / HTTP/1.1", host, "Content-Length: 5", " folded: 1", body=smuggled),
        request("POST / HTTP/1.1", host, "Content-Length: +5", body=smuggled),
        request("POST / HTTP/1.1", host, "Content-Length : 5", body=smuggled),
        f"POST / HTTP/1.1\n{host}\nContent-Length: 5\n\n".encode() + smuggled,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50) + b"\r\n\r\n",
    ]
    for each in requests:
        answer = await api.raw(each)
        assert status_of(answer) == 400, each
        assert b"keep-alive" not in answer
        assert b"aiohttp" not in answer
        assert b"Python" not in answer


async def test_a_chunk_that_is_none_ends_the_request(api: Api) -> None:
    """A167."""
    head = ("POST / HTTP/1.1", f"Host: {api.address}", f"Authorization: {OWNER.header}", "Transfer-Encoding: chunked")
    answer = await api.raw(request(*head, body=b"zz\r\nxxxx\r\n"))
    assert status_of(answer) == 400


async def test_bodies_and_heads_are_bounded(api: Api) -> None:
    """A168: announced, endless, many headers, long headers, compressed."""
    status, _ = await api.post(b"", Content_Length=str(MAX_BODY + 1))
    assert status == 413
    chunk = b"%x\r\n" % 1_000_000 + b" " * 1_000_000 + b"\r\n"
    head = ("POST / HTTP/1.1", f"Host: {api.address}", f"Authorization: {OWNER.header}", "Transfer-Encoding: chunked")
    answer = await api.raw(request(*head, body=chunk * (MAX_BODY // 1_000_000 + 1)))
    assert status_of(answer) == 413
    many = [f"X-{number}: 1" for number in range(10_000)]
    assert status_of(await api.raw(request("POST / HTTP/1.1", f"Host: {api.address}", *many))) == 400
    long = request("POST / HTTP/1.1", f"Host: {api.address}", "X: " + "a" * 100_000)
    assert status_of(await api.raw(long)) == 400
    assert (await api.post(gzip.compress(b" " * 10_000_000), Content_Encoding="gzip"))[0] == 415
    assert await api.client.call("getblockcount") == 0


async def test_a_request_that_never_arrives_is_given_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A168: one byte and silence, in the head and in the body."""
    monkeypatch.setattr(jsonrpc, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(jsonrpc, "BODY_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(b"POST / HT")
    async with asyncio.timeout(30):
        assert await reader.read() == b""
    writer.close()
    head = ("POST / HTTP/1.1", f"Host: {api.address}", f"Authorization: {OWNER.header}", "Content-Length: 10")
    assert status_of(await api.raw(request(*head, body=b"{"))) == 408


async def test_connections_are_bounded() -> None:
    """A176, A196."""
    async with running_api(max_callers=3) as api:
        open_ = [await asyncio.open_connection(*api.address) for _ in range(3)]
        assert [writer.is_closing() for _, writer in open_] == [False] * 3
        reader, writer = await asyncio.open_connection(*api.address)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        for _, each in (*open_, (reader, writer)):
            each.close()


async def test_no_answer_says_what_the_server_is_made_of(api: Api) -> None:
    """A178."""
    answers = [
        await api.raw(request("GET / HTTP/1.1", f"Host: {api.address}")),
        await api.raw(request("POST / HTTP/1.1", f"Host: {api.address}", "Content-Length: x")),
        await api.raw(request("POST / HTTP/1.1", f"Host: {api.address}", "Content-Length: 2", body=b"{}")),
    ]
    for answer in answers:
        assert b"Server: dure\r\n" in answer
        assert not any(word in answer.lower() for word in (b"python", b"aiohttp", b"/dure", b"traceback"))


# Many calls


@method(Area.CONTROL, waits=True)
async def wait(services: Services) -> None:
    """Wait for ever."""
    await asyncio.Event().wait()


@method(Area.CONTROL)
async def work(services: Services) -> str:
    """Do something that takes its time."""
    await asyncio.sleep(0.05)
    services.stop()
    return "done"


@method(Area.CONTROL)
async def break_(services: Services) -> None:
    """Fail in a way that nobody foresaw."""
    raise KeyError("/secret/path")


@method(Area.CONTROL)
async def crash(services: Services) -> None:
    """Find that the disk is gone."""
    raise StorageError("cannot write /secret/path")


def add(api: Api, *methods: Any) -> None:
    methods_by_name: dict[str, Any] = api.services.methods  # type: ignore[assignment]
    methods_by_name.update({each.name: each for each in methods})


async def test_calls_that_wait_leave_room_for_others(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A176: the next one that would wait is turned away, every other call is answered."""
    monkeypatch.setattr(jsonrpc, "MAX_WAITING", 5)
    monkeypatch.setattr(jsonrpc, "MAX_REQUESTS", 1)
    add(api, wait)
    waiting = [asyncio.create_task(api.client.call("wait")) for _ in range(5)]
    await api.calls_running(5)
    assert (await api.post(call("wait")))[0] == 503
    assert await api.client.call("getblockcount") == 0
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    await api.calls_running(0)


async def test_too_many_calls_at_once_are_turned_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A176."""
    monkeypatch.setattr(jsonrpc, "MAX_REQUESTS", 2)
    add(api, work)
    statuses = [status for status, _ in await asyncio.gather(*(api.post(call("work")) for _ in range(20)))]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) == len(api.stops)


async def test_a_call_that_waits_ends_with_its_caller(api: Api) -> None:
    add(api, wait)
    task = asyncio.create_task(api.client.call("wait"))
    await api.calls_running(1)
    task.cancel()
    await asyncio.wait([task])
    await api.calls_running(0)


async def test_a_call_that_works_is_done_though_its_caller_is_gone(api: Api) -> None:
    add(api, work)
    task = asyncio.create_task(api.client.call("work"))
    await api.calls_running(1)
    task.cancel()
    await asyncio.wait([task])
    await until(lambda: api.stops)


async def test_a_stop_ends_what_waits_and_finishes_what_works(api: Api) -> None:
    add(api, wait, work)
    waiting = asyncio.create_task(api.client.call("wait"))
    working = asyncio.create_task(api.post(call("work")))
    await api.calls_running(2)
    await api.server.stop()
    with pytest.raises(Unreachable):
        await waiting
    assert (await working)[1]["result"] == "done"


async def test_a_mistake_of_ours_costs_one_call_and_tells_nothing(api: Api) -> None:
    """A178: no traceback, no path; the log has them."""
    add(api, break_)
    status, answer = await api.post(call("break"))
    assert (status, answer["error"]["code"]) == (200, -32603)
    assert "secret" not in str(answer)
    assert len(api.logged("rpc_failed")) == 1
    api.entries.clear()


async def test_a_failing_disk_stops_the_node(api: Api) -> None:
    """A127."""
    add(api, crash)
    with pytest.raises(RpcError) as refused:
        await api.client.call("crash")
    assert refused.value.code is ErrorCode.DATABASE_ERROR
    assert "secret" not in refused.value.message
    assert [str(error) for error in api.failures] == ["cannot write /secret/path"]


async def test_a_node_that_starts_says_so(api: Api) -> None:
    api.services.starting = "The node is starting"
    with pytest.raises(RpcError) as refused:
        await api.client.call("getblockcount")
    assert refused.value.code is ErrorCode.IN_WARMUP
    assert await api.client.call("uptime") >= 0


# The client


async def test_the_client_reads_amounts_exactly_and_tells_errors_apart(api: Api) -> None:
    balance = await api.client.call("getbalance")
    assert isinstance(balance, Decimal)
    assert await api.client.batch([("getblockcount", ()), ("getblockhash", (0,))]) == [
        0,
        await api.client.call("getbestblockhash"),
    ]
    with pytest.raises(RpcError, match="out of range"):
        await api.client.batch([("getblockcount", ()), ("getblockhash", (7,))])
    client = type(api.client)(api.url, Credentials("alice", "wrong"))
    async with client:
        with pytest.raises(Unauthorized):
            await client.call("getblockcount")
    async with type(api.client)("http://127.0.0.1:1/", OWNER) as nobody:
        with pytest.raises(Unreachable):
            await nobody.call("getblockcount")
