"""JSON-RPC over one connection that is kept: as little of the client's own time in the figures as Python allows."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Sequence
from typing import Any

HOST = "127.0.0.1"


class RpcFailed(Exception):
    """The answer is an error, or none."""


class Connection:
    """One connection to one node, blocking. The same for every program that is measured."""

    def __init__(self, port: int, login: str, version: str = "1.0", timeout: float = 600.0) -> None:
        self.port = port
        self._version = version
        self._timeout = timeout
        token = base64.b64encode(login.encode()).decode()
        self._head = (
            f"POST / HTTP/1.1\r\nHost: {HOST}:{port}\r\nAuthorization: Basic {token}\r\n"
            "Content-Type: application/json\r\nConnection: keep-alive\r\nContent-Length: "
        )
        self.socket: socket.socket | None = None
        self._buffer = b""

    def request(self, method: str, *params: object) -> bytes:
        """Return the bytes of a call: made once, where it is sent many times."""
        return self._frame({"jsonrpc": self._version, "id": 1, "method": method, "params": params})

    def _frame(self, body: object) -> bytes:
        raw = json.dumps(body, separators=(",", ":")).encode()
        return self._head.encode() + str(len(raw)).encode() + b"\r\n\r\n" + raw

    def open(self) -> socket.socket:
        """Connect, if need be."""
        if self.socket is None:
            self.socket = socket.create_connection((HOST, self.port), self._timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.socket

    def close(self) -> None:
        """Hang up."""
        if self.socket is not None:
            self.socket.close()
        self.socket, self._buffer = None, b""

    def exchange(self, raw: bytes) -> tuple[int, bytes]:
        """Send a request and return status and body. A kept connection that the other end closed is opened anew."""
        fresh = self.socket is None
        try:
            self.open().sendall(raw)
            return self.receive()
        except ConnectionError:
            self.close()
            if fresh:
                raise
        self.open().sendall(raw)
        return self.receive()

    def receive(self) -> tuple[int, bytes]:
        """Return status and body of the next answer."""
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self._take(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return int(lines[0].split()[1]), body

    def _chunk(self) -> bytes:
        """Return the next piece of a long answer; empty at its end."""
        while b"\r\n" not in self._buffer:
            self._fill()
        size, self._buffer = self._buffer.split(b"\r\n", 1)
        return self._take(int(size, 16) + 2)[:-2]

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _fill(self) -> None:
        data = self.open().recv(1 << 18)
        if not data:
            raise ConnectionResetError("the node closed the connection")
        self._buffer += data

    def call(self, method: str, *params: object) -> Any:
        """Return the result of a call.

        Raises:
            RpcFailed: with what the node said.
        """
        status, body = self.exchange(self.request(method, *params))
        try:
            answer = json.loads(body)
        except ValueError:
            raise RpcFailed(f"{method}: status {status}") from None
        if answer.get("error"):
            raise RpcFailed(f"{method}: {answer['error']}")
        return answer["result"]

    def batch(self, method: str, parameters: Sequence[Sequence[object]]) -> list[Any]:
        """Return the results of many calls of one method, sent as one request.

        Raises:
            RpcFailed: one of them failed.
        """
        calls = [
            {"jsonrpc": self._version, "id": place, "method": method, "params": each}
            for place, each in enumerate(parameters)
        ]
        _, body = self.exchange(self._frame(calls))
        answers = json.loads(body)
        failed = next((answer["error"] for answer in answers if answer.get("error")), None)
        if failed:
            raise RpcFailed(f"{method}: {failed}")
        return [answer["result"] for answer in answers]
