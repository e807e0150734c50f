"""Asking nodes: one call, or the same of many nodes at once.

This is not `rpc.client`, which waits for answers in an event loop and stands on aiohttp: importing that takes longer
than a whole `dure status`, which asks each node a handful of questions and ends.
"""

from __future__ import annotations

import base64
import http.client
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec

from devnet.errors import Refused, Unavailable
from devnet.folder import NetworkFolder, NodeRecord
from rpc.encoding import decode, decode_any

CALL_SECONDS = 30.0
"""How long an ordinary call may take. Waiting for a paused or stuck node has to end some time."""

PROBE_SECONDS = 2.0
"""How long a node may take to say that it is there."""

T = TypeVar("T")


class _Error(msgspec.Struct):
    """The error of a JSON-RPC answer."""

    code: int
    message: str


class _Answer(msgspec.Struct):
    """A JSON-RPC answer: one of the two is null."""

    error: _Error | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")


class CallRefused(Refused):
    """A node answered with an error."""

    def __init__(self, node: int, code: int, message: str) -> None:
        """Args:
        node: which node.
        code: Bitcoin Core's error code.
        message: the node's own words.
        """
        super().__init__(f"Node {node} refused: {message}")
        self.code = code
        self.message = message


def headers(credentials: bytes) -> dict[str, str]:
    """Return the headers of a request.

    Args:
        credentials: `user:password`.
    """
    return {"Authorization": "Basic " + base64.b64encode(credentials).decode(), "Content-Type": "application/json"}


def status_sentence(status: int) -> str:
    """Return what an answer that is no JSON-RPC means."""
    return "it refuses the user name or the password" if status == HTTPStatus.UNAUTHORIZED else f"HTTP status {status}"


class Calls:
    """JSON-RPC to the nodes of one network."""

    def __init__(self, folder: NetworkFolder) -> None:
        """Args:
        folder: whose nodes; the cookies of those on this machine are in their data directories.
        """
        self.folder = folder

    def call(self, node: NodeRecord, method: str, *params: Any, timeout: float = CALL_SECONDS) -> Any:
        """Call `method` on a node and return its result as plain values.

        Raises:
            CallRefused: the node answered with an error.
            Unavailable: it does not answer.
        """
        return decode_any(self.call_raw(node, method, params, timeout=timeout))

    def ask(self, node: NodeRecord, kind: type[T], method: str, *params: Any, timeout: float = CALL_SECONDS) -> T:
        """Call `method` on a node and return its result as a type of `rpc.schema`.

        Raises:
            CallRefused: the node answered with an error.
            Unavailable: it does not answer, or not as this program understands.
        """
        raw = self.call_raw(node, method, params, timeout=timeout)
        try:
            return decode(raw, kind)
        except msgspec.MsgspecError as error:
            raise self._down(node, f"{method} in another form than known here: {error}") from None

    def call_raw(
        self, node: NodeRecord, method: str, params: Sequence[Any], *, timeout: float = CALL_SECONDS
    ) -> msgspec.Raw:
        """Call `method` on a node and return its result as the very JSON that the node wrote.

        Raises:
            CallRefused: the node answered with an error.
            Unavailable: it does not answer.
        """
        request = msgspec.json.encode({"jsonrpc": "2.0", "id": 0, "method": method, "params": params})
        connection = http.client.HTTPConnection(node.host, node.rpc_port, timeout=timeout)
        try:
            connection.request("POST", "/", request, headers(node.credentials(self.folder)))
            answer = connection.getresponse()
            raw = answer.read()
        except FileNotFoundError:
            raise self._down(node, "it has no cookie file yet") from None
        except TimeoutError:
            raise self._down(node, f"no answer within {timeout:.0f} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise self._down(node, str(error) or type(error).__name__) from None
        finally:
            connection.close()
        try:
            said = msgspec.json.decode(raw, type=_Answer)
        except msgspec.MsgspecError:
            raise self._down(node, status_sentence(answer.status)) from None
        if said.error is not None:
            raise CallRefused(node.id, said.error.code, said.error.message)
        return said.result

    def _down(self, node: NodeRecord, why: str) -> Unavailable:
        """Return the error of a node that does not answer."""
        return Unavailable(f"Node {node.id} does not answer ({why}). See {self.folder.hint('status')}")

    def answers(self, node: NodeRecord) -> bool:
        """Tell whether a node answers at all."""
        try:
            self.call(node, "getblockcount", timeout=PROBE_SECONDS)
        except (Unavailable, CallRefused):
            return False
        return True

    def of_each(self, nodes: Sequence[NodeRecord], ask: Callable[[NodeRecord], T]) -> list[T]:
        """Do `ask` for all nodes at once, and return what it returned, in the order of the nodes.

        If one fails, or the user interrupts, the others are not waited for: their answers do not matter any more.
        """
        if not nodes:
            return []
        pool = ThreadPoolExecutor(max_workers=len(nodes))
        try:
            return list(pool.map(ask, nodes))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
