"""An async client: calls a node's methods by JSON-RPC 2.0 over HTTP, with its cookie or with a password."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar, overload

import aiohttp
import msgspec

from rpc.encoding import decode, decode_any, encode
from rpc.errors import RpcError

CALL_SECONDS = 30.0
"""How long a call may take where its caller says nothing; long polls say more."""
MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer: a full block as hex is 8 MiB, as objects a few times that."""
COOKIE_NAME = ".cookie"
"""In a node's data directory, while it runs: `__cookie__:` and a secret of this run."""
COOKIE_USER = "__cookie__"

_T = TypeVar("_T")


class Unreachable(Exception):
    """The node does not answer: it is not there, it took too long, or what answers is no node."""


class Unauthorized(Unreachable):
    """There is a node, and it does not take our cookie or password."""


class Credentials(NamedTuple):
    """Who calls."""

    user: str
    password: str

    @property
    def header(self) -> str:
        """The value of HTTP's Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r}, password=...)"


def read_cookie(path: Path) -> Credentials:
    """Read a cookie file. The node writes a new one at each start.

    Raises:
        Unreachable: there is none, so the node does not run (or is not ours to read).
    """
    try:
        user, colon, password = path.read_text(encoding="ascii").strip().partition(":")
    except FileNotFoundError:
        raise Unreachable(f"there is no cookie file {path}: the node does not run") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Unreachable(f"the cookie file {path} cannot be read: {error}") from None
    if not colon or not user or not password:
        raise Unreachable(f"the cookie file {path} is empty or damaged")
    return Credentials(user, password)


class _Error(msgspec.Struct):
    code: int
    message: str


class _Answer(msgspec.Struct):
    id: int | str | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: _Error | None = None


class RpcClient:
    """Calls one node. Use it as an async context manager, or `close` it.

    With a cookie file, the file is read again whenever the node refuses what was read before, so a
    client lives on over restarts of its node.
    """

    def __init__(self, url: str, credentials: Credentials | Path, *, timeout: float = CALL_SECONDS) -> None:
        """
        Args:
            url: such as http://127.0.0.1:27341/
            credentials: user and password, or the path of the node's cookie file.
            timeout: seconds that a call may take unless it says otherwise.
        """
        self.url = url
        self._source = credentials
        self._credentials = credentials if isinstance(credentials, Credentials) else None
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._last_id = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. The next call would open new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @overload
    async def call(self, method: str, *params: object, timeout: float | None = None) -> Any: ...
    @overload
    async def call(self, method: str, *params: object, result: type[_T], timeout: float | None = None) -> _T: ...

    async def call(
        self, method: str, *params: object, result: type[Any] | None = None, timeout: float | None = None
    ) -> Any:
        """Call a method and return its result.

        Args:
            method: its name.
            params: by position; amounts as `Dure`, or as text.
            result: a type of `rpc.schema`, or any that JSON has. Without it plain values come back, numbers with
                a point as `Decimal`.
            timeout: seconds, in place of the client's own.

        Raises:
            RpcError: the node refused, with its code and words.
            Unauthorized: it does not take our cookie or password.
            Unreachable: no answer.
        """
        self._last_id += 1
        request = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        raw = await self._post(encode(request), timeout)
        return self._read(self._decode(raw, _Answer), result)

    async def batch(self, calls: Sequence[tuple[str, Sequence[object]]], *, timeout: float | None = None) -> list[Any]:
        """Make several calls in one request; return their plain results in order.

        Raises:
            RpcError: of the first call that was refused; the others were made nevertheless.
            Unauthorized, Unreachable: as in `call`.
        """
        request = [
            {"jsonrpc": "2.0", "id": place, "method": method, "params": params}
            for place, (method, params) in enumerate(calls)
        ]
        answers = self._decode(await self._post(encode(request), timeout), list[_Answer])
        by_place = {answer.id: answer for answer in answers}
        if len(by_place) != len(calls):
            raise Unreachable(f"{self.url} did not answer every call of a batch")
        return [self._read(by_place[place], None) for place in range(len(calls))]

    def _decode(self, raw: bytes, kind: type[_T]) -> _T:
        try:
            return decode(raw, kind)
        except msgspec.MsgspecError as error:
            raise Unreachable(f"{self.url} did not answer as a node does: {error}") from None

    def _read(self, answer: _Answer, result: type[Any] | None) -> Any:
        if answer.error is not None:
            raise RpcError(answer.error.code, answer.error.message)
        try:
            return decode_any(answer.result) if result is None else decode(answer.result, result)
        except msgspec.MsgspecError as error:
            raise Unreachable(f"{self.url} answered with another result than expected: {error}") from None

    async def _post(self, body: bytes, timeout: float | None) -> bytes:
        """Send a body; if the cookie is out of date, once more with the new one."""
        used = self._credentials or read_cookie(self._cookie_path())
        try:
            raw = await self._post_as(used, body, timeout)
        except Unauthorized:
            if isinstance(self._source, Credentials):
                raise
            fresh = read_cookie(self._cookie_path())
            if fresh == used:
                raise
            used = fresh
            raw = await self._post_as(used, body, timeout)
        self._credentials = used
        return raw

    def _cookie_path(self) -> Path:
        if isinstance(self._source, Credentials):
            raise TypeError("this client has a password, not a cookie file")
        return self._source

    async def _post_as(self, credentials: Credentials, body: bytes, timeout: float | None) -> bytes:
        if self._session is None:
            # No environment proxies and no cookie jar: the node is the only place that the password goes to.
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with self._session.post(
                self.url,
                data=io.BytesIO(body),  # sent in pieces: a block is 8 MiB of hex
                headers={"Content-Type": "application/json", "Authorization": credentials.header},
                timeout=aiohttp.ClientTimeout(total=self._timeout if timeout is None else timeout),
                allow_redirects=False,
            ) as answer:
                if answer.status == 401:
                    raise Unauthorized(f"{self.url} does not accept our user name and password")
                if answer.status in {403, 503}:
                    raise Unreachable(f"{self.url} turned the call away (HTTP {answer.status})")
                return await _read_bounded(answer)
        except TimeoutError:
            raise Unreachable(f"{self.url} did not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{self.url} does not answer: {error}") from None


async def _read_bounded(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > MAX_ANSWER:
            raise Unreachable(f"the answer has more than {MAX_ANSWER} bytes")
    return bytes(body)
