"""The client: its cookie, its errors, and answers of something that is no node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rpc.client import Credentials, RpcClient, Unauthorized, Unreachable, read_cookie
from tests.support.api import OWNER, running_api


@pytest.mark.parametrize("content", [None, b"", b":", b"user:", b":secret", b"user", b"\xff:x"])
def test_a_cookie_file_that_is_none_means_that_there_is_no_node(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / ".cookie").write_bytes(content)
    with pytest.raises(Unreachable, match="cookie"):
        read_cookie(tmp_path / ".cookie")


def test_credentials_do_not_show_their_password() -> None:
    """A150."""
    assert "horse" not in repr(OWNER)


async def test_a_client_with_a_cookie_lives_on_over_restarts_of_its_node(tmp_path: Path) -> None:
    cookie = tmp_path / ".cookie"
    async with running_api() as api, RpcClient(api.url, cookie) as client:
        with pytest.raises(Unreachable):
            await client.call("getblockcount")
        cookie.write_text(f"{OWNER.user}:{OWNER.password}")
        assert await client.call("getblockcount") == 0
        client._credentials = Credentials("__cookie__", "of the run before")
        assert await client.call("getblockcount") == 0
        cookie.write_text("__cookie__:wrong")
        client._credentials = None
        with pytest.raises(Unauthorized):
            await client.call("getblockcount")


@asynccontextmanager
async def answering(raw: bytes) -> AsyncIterator[str]:
    """Something that answers every request alike; yields its URL."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


def http(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-x\r\n\r\n",
        http(b"<html>"),
        http(b"[]"),
        http(b'{"result":1,"error":5,"id":1}'),
        http(b"", b"302 Found"),
        http(b"x", b"503 Busy"),
        http(b"x", b"403 Forbidden"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    ],
    ids=repr,
)
async def test_what_answers_otherwise_is_no_node(raw: bytes) -> None:
    async with answering(raw) as url, RpcClient(url, OWNER) as client:
        with pytest.raises(Unreachable):
            await client.call("getblockcount")


async def test_a_result_of_another_type_is_told_as_such() -> None:
    async with answering(http(b'{"result":"x","error":null,"id":1}')) as url, RpcClient(url, OWNER) as client:
        with pytest.raises(Unreachable, match="another result"):
            await client.call("getblockcount", result=int)


async def test_a_batch_with_a_hole_is_told_as_such() -> None:
    async with answering(http(b'[{"result":1,"id":0}]')) as url, RpcClient(url, OWNER) as client:
        with pytest.raises(Unreachable, match="every call"):
            await client.batch([("getblockcount", ()), ("getblockcount", ())])
