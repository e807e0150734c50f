"""Asking a node many things at once, again and again, over one connection that stays open.

`devnet.calls` opens a connection for each call, which is right for a command that asks a handful of questions and ends;
to whoever looks once a second at each of dozens of nodes it would be most of the work.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from devnet.calls import headers, status_sentence
from devnet.errors import Unavailable
from devnet.folder import NetworkFolder, NodeRecord
from rpc.encoding import decode

ASK_SECONDS = 5.0
"""How long a node may take to answer; one that takes longer is shown as starting, or as not reachable."""

T = TypeVar("T")

Question = tuple[str, Sequence[Any]]
"""A method and its parameters."""


class _Answer(msgspec.Struct):
    """One answer of a batch. Of an error only that it is one matters here."""

    id: int
    error: msgspec.Raw = msgspec.Raw(b"null")
    result: msgspec.Raw = msgspec.Raw(b"null")


_decoder = msgspec.json.Decoder(list[_Answer])


class Line:
    """A connection to one node. Not to be used by two threads at a time."""

    def __init__(self, node: NodeRecord, folder: NetworkFolder) -> None:
        """Args:
        node: whom to ask.
        folder: where the cookie is.
        """
        self.node = node
        self._folder = folder
        self._connection: http.client.HTTPConnection | None = None

    def move(self, node: NodeRecord) -> None:
        """Go on with this record of the node, which may have been brought back at other ports."""
        self.node = node

    def ask(self, questions: Sequence[Question]) -> list[msgspec.Raw | None]:
        """Ask all of `questions` in one request; return the answers in their order, None where the node refused.

        Raises:
            Unavailable: it does not answer, or not so.
        """
        request = msgspec.json.encode(
            [
                {"jsonrpc": "2.0", "id": place, "method": method, "params": params}
                for place, (method, params) in enumerate(questions)
            ]
        )
        try:
            status, raw = self._exchange(request)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unavailable(f"Node {self.node.id} does not answer ({str(error) or type(error).__name__}).") from None
        try:
            answers = {answer.id: answer for answer in _decoder.decode(raw)}
        except msgspec.MsgspecError:
            self.close()
            raise Unavailable(f"Node {self.node.id} does not answer ({status_sentence(status)}).") from None
        return [
            answer.result if (answer := answers.get(place)) is not None and bytes(answer.error) == b"null" else None
            for place in range(len(questions))
        ]

    def _exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and return what came back; once more if the node had closed a connection that lay idle."""
        if self._connection is not None and self._connection.port == self.node.rpc_port:
            with contextlib.suppress(http.client.RemoteDisconnected, ConnectionError):
                return self._send(self._connection, request)
        self.close()
        self._connection = http.client.HTTPConnection(self.node.host, self.node.rpc_port, timeout=ASK_SECONDS)
        return self._send(self._connection, request)

    def _send(self, connection: http.client.HTTPConnection, request: bytes) -> tuple[int, bytes]:
        connection.request("POST", "/", request, headers(self.node.credentials(self._folder)))
        answer = connection.getresponse()
        return answer.status, answer.read()

    def abort(self) -> None:
        """End what another thread is waiting for."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def read(raw: msgspec.Raw | None, kind: type[T]) -> T | None:
    """Read an answer as a type of `rpc.schema`; None if it was refused, or is in another form than known here."""
    if raw is None:
        return None
    try:
        return decode(raw, kind)
    except msgspec.MsgspecError:
        return None
