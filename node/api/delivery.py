"""An answer on its way to one caller: whole if it is short, else while it is made.

However long the answer and slow the caller, this node holds no more of it than `LONG` and what the connection buffers,
and not for longer than `ANSWER_SECONDS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse

from node.turns import give_way

LONG = 1024 * 1024
"""Bytes of an answer from which on it is sent while it is made; a shorter one is sent whole, with its length."""
PIECE = 64 * 1024
"""Bytes of a long answer that are handed to the connection at once."""
READER_SECONDS = 30.0
"""A caller that takes no piece of a long answer for so long is cut off."""
ANSWER_SECONDS = 600.0
"""So is one that has not taken all of it by then: at the pace of a slow modem that is 4 MiB."""
HEADERS = {"Server": "dure", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Answer = bytes | Iterator[bytes]
"""JSON text: whole; or in pieces, each of which is made when it is asked for. Empty for a notification."""


class BrokenOffError(Exception):
    """The rest of an answer cannot be made. Why is in the log."""


def whole_answer(status: int, text: bytes) -> Response:
    """Return the response that is one short answer."""
    if not text:
        return Response(status=204, headers=HEADERS)
    return Response(status=status, body=text + b"\n", content_type="application/json", headers=HEADERS)


class Delivery:
    """Sends one answer. To a caller that is gone, or too slow, nothing more is sent."""

    def __init__(self, request: BaseRequest, status: int) -> None:
        self._request = request
        self._status = status
        self._gathered = bytearray()
        self._stream: StreamResponse | None = None
        self._lost = False
        self._deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS

    @property
    def begun(self) -> bool:
        """Whether some of the answer is sent, so that no other can take its place."""
        return self._stream is not None or self._lost

    async def add(self, answer: Answer) -> None:
        """Send some more. Everybody else gets a turn between two pieces.

        One that breaks off cuts the connection, so that nobody takes a part for the whole.
        """
        if isinstance(answer, bytes):
            await self._gather(answer)
            return
        try:
            for piece in answer:
                if self._lost:
                    return
                await self._gather(piece)
                await give_way()
        except BrokenOffError:
            self.cut()

    async def end(self) -> StreamResponse:
        """Send what is left; return the response."""
        if not self.begun:
            return whole_answer(self._status, bytes(self._gathered))
        self._gathered += b"\n"
        await self._flush()
        return self._stream or Response(status=self._status)

    def cut(self) -> None:
        """Send nothing more, and end the connection at once."""
        self._lost = True
        if self._request.transport is not None:
            self._request.transport.abort()

    async def _gather(self, piece: bytes) -> None:
        self._gathered += piece
        if len(self._gathered) >= (PIECE if self._stream is not None else LONG):
            await self._flush()

    async def _flush(self) -> None:
        data, self._gathered = bytes(self._gathered), bytearray()
        if self._lost:
            return
        try:
            if self._stream is None:
                self._stream = StreamResponse(status=self._status, headers=HEADERS)
                self._stream.content_type = "application/json"
                await self._stream.prepare(self._request)
            for start in range(0, len(data), PIECE):
                left = self._deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    raise TimeoutError
                async with asyncio.timeout(min(READER_SECONDS, left)):
                    await self._stream.write(data[start : start + PIECE])
        except (TimeoutError, ConnectionError):
            self.cut()
