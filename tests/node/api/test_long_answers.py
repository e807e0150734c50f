"""Long answers: made piece by piece, sent while they are made, and only as fast as the caller takes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest

from node.api import delivery
from node.api.long_answers import ITEMS, array, encode_in_pieces, table
from node.api.method import Area, method
from node.api.services import Services
from rpc.client import Unreachable
from rpc.encoding import Dure, encode
from tests.support.api import OWNER, Api, running_api, until

FILLER = "x" * 1_000


class Page(msgspec.Struct):
    """A result with a long list between two fields."""

    first: int
    items: list[str]
    last: str


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_api(wallet=False) as running:
        yield running


def add(api: Api, *methods: Any) -> None:
    methods_by_name: dict[str, Any] = api.services.methods  # type: ignore[assignment]
    methods_by_name.update({each.name: each for each in methods})


made = [0]
"""Items of `numbers` that were made so far: a method of the API is handed nothing of a test's."""


def counted(count: int) -> Iterator[str]:
    for number in range(1, count + 1):
        made[0] = number
        yield FILLER


@method(Area.CONTROL, reads=True, long=True)
async def numbers(services: Services, count: int) -> list[str]:
    """Return a long list."""
    return array(counted(count))


@method(Area.CONTROL, reads=True, long=True)
async def breaks(services: Services, count: int) -> list[str]:
    """Return a list whose last item cannot be made."""

    def items() -> Iterator[str]:
        yield from counted(count)
        raise KeyError("/secret/path")

    return array(items())


@method(Area.CONTROL)
async def work(services: Services) -> None:
    """Do something."""
    services.stop()


# The text


@pytest.mark.parametrize("count", [0, 1, ITEMS - 1, ITEMS, ITEMS + 1, 3 * ITEMS])
def test_pieces_are_the_same_text_as_the_whole(count: int) -> None:
    items = [f'"\\{n}\x00 é' for n in range(count)]
    pairs = {f'k"{n}\x00': Dure(n) for n in range(count)}
    for whole, in_parts in (
        (items, array(items)),
        (pairs, table(pairs.items())),
        (Page(1, items, "\x00"), Page(1, array(items), "\x00")),
        ({"result": Page(1, items, "z"), "id": "\x00"}, {"result": Page(1, array(items), "z"), "id": "\x00"}),
        ([items, pairs], [array(items), table(pairs.items())]),
    ):
        assert b"".join(encode_in_pieces(in_parts)) == encode(whole)


def test_no_more_items_are_made_than_a_piece_holds() -> None:
    pieces = encode_in_pieces(array(counted(10 * ITEMS)))
    next(pieces)
    for number in range(1, 11):
        next(pieces)
        assert made[0] == number * ITEMS


# On its way


async def test_an_answer_has_a_length_until_it_is_long(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "LONG", 50_000)
    add(api, numbers)
    for count in (0, 1, 40, 60, 1_000):
        assert await api.client.call("numbers", count) == [FILLER] * count
        head = await first_bytes(api, {"method": "numbers", "params": [count]})
        assert (b"Content-Length" in head) == (count < 50)


async def first_bytes(api: Api, body: object) -> bytes:
    async with asking(api, body) as reader:
        return await reader.readuntil(b"\r\n\r\n")


@asynccontextmanager
async def asking(api: Api, body: object) -> AsyncIterator[asyncio.StreamReader]:
    """Call, and read nothing: what is read is up to the caller."""
    reader, writer = await asyncio.open_connection(*api.address, limit=2**10)
    raw = json.dumps(body).encode()
    writer.write(
        f"POST / HTTP/1.1\r\nHost: {api.address}\r\nAuthorization: {OWNER.header}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(raw)}\r\n\r\n".encode()
        + raw
    )
    try:
        yield reader
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_batch_holds_long_answers_among_others(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "LONG", 50_000)
    add(api, numbers)
    calls = [("getblockcount", ()), ("numbers", (500,)), ("numbers", (3,)), ("numbers", (60,)), ("getblockcount", ())]
    assert await api.client.batch(calls) == [0, [FILLER] * 500, [FILLER] * 3, [FILLER] * 60, 0]


async def test_the_calls_of_a_batch_are_made_though_nobody_takes_their_answers(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "READER_SECONDS", 0.05)
    add(api, numbers, work)
    calls = [{"id": 1, "method": "numbers", "params": [200_000]}, *[{"id": n, "method": "work"} for n in range(3)]]
    async with asking(api, calls):
        await until(lambda: len(api.stops) == 3)


async def test_a_caller_who_takes_nothing_is_cut_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made for him by then is bounded by what connections buffer, however much there would be."""
    monkeypatch.setattr(delivery, "READER_SECONDS", 0.05)
    add(api, numbers)
    count = 200_000  # 200 MB
    async with asking(api, {"method": "numbers", "params": [count]}) as reader:
        await until(lambda: made[0] > 1)
        await until(lambda: not api.server._runner.server.connections)  # type: ignore[union-attr]
        assert made[0] < count / 4
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(count * len(FILLER))
    assert await api.client.call("getblockcount") == 0


async def test_a_caller_who_takes_too_long_in_all_is_cut_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "ANSWER_SECONDS", 0.0)
    add(api, numbers)
    assert await api.client.call("numbers", 10) == [FILLER] * 10
    async with asking(api, {"method": "numbers", "params": [200_000]}) as reader:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(200_000 * len(FILLER))


async def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is cut without the end of the body; why is in the log, and only there."""
    monkeypatch.setattr(delivery, "LONG", 50_000)
    add(api, breaks)
    for count in (1_000, 10):
        with pytest.raises(Unreachable) as failed:
            await api.client.call("breaks", count)
        assert "secret" not in str(failed.value)
    assert [entry["method"] for entry in api.logged("rpc_failed")] == ["breaks", "breaks"]
    api.entries.clear()


async def test_everybody_else_is_served_while_an_answer_is_made(api: Api) -> None:
    add(api, numbers)
    long = asyncio.create_task(api.client.call("numbers", 20_000))
    await until(lambda: made[0] >= ITEMS)
    assert await api.client.call("getblockcount") == 0
    assert not long.done()
    assert len(await long) == 20_000
