"""Who may call, and from where: no web page, no other host's name, no stranger. Decides; does no I/O.

A node's JSON-RPC can spend its wallet, and a browser on the same machine runs whatever page it is shown. So a page
gets nothing at all: no answer under another host's name (DNS rebinding, A164), none to a request that names the page
it comes from or has a form's content type (A165), and never a header that lets a page read what was answered.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

MAX_BODY = 9 * 1024 * 1024
"""Bytes of a request: the largest block as hex has 8 MiB."""
MAX_CREDENTIALS = 1_024
"""Characters of an Authorization header."""
_JSON_TYPES = frozenset({"application/json", "application/json-rpc", "application/jsonrequest"})
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


class HttpRefusal(Exception):
    """A request that is answered by a status and a sentence, before it is a call."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, sentence)
        self.status = status
        self.sentence = sentence
        self.headers = dict(headers or {})


class Role(Enum):
    """What a caller may do."""

    OWNER = "owner"
    """Everything."""
    READER = "reader"
    """Whatever changes nothing and shows nothing of the wallet (A171)."""


class Login(NamedTuple):
    """A user name and password that the node accepts."""

    user: str
    password: str
    role: Role

    def __repr__(self) -> str:
        return f"Login(user={self.user!r}, password=..., role={self.role})"


class Access:
    """The rules of one server."""

    def __init__(self, logins: Iterable[Login], *, hosts: Iterable[str] = (), bound_to: str = "127.0.0.1") -> None:
        """
        Args:
            logins: who is accepted.
            hosts: names under which the server may be called, beside those of this machine.
            bound_to: the address that the server listens at.
        """
        self._logins = tuple(logins)
        self._hosts = frozenset(host.lower() for host in (*_LOCAL_NAMES, bound_to, *hosts))
        self._far = bound_to not in _LOCAL_NAMES

    def check_origin(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        """Refuse what a web page could have sent, and what is no request of ours.

        Raises:
            HttpRefusal: 403, 404 or 405.
        """
        if not self._is_own_host(headers.get("Host")):
            raise HttpRefusal(403, "This host name is not one of this node's (setting rpc_hosts).")
        if "Origin" in headers or headers.get("Sec-Fetch-Site", "none") != "none":
            raise HttpRefusal(403, "Web pages may not call this node.")
        if method != "POST":
            raise HttpRefusal(405, "JSON-RPC is called by POST.", {"Allow": "POST"})
        # Bitcoin Core's clients name a wallet in the path. There is one, so any name means it.
        if path != "/" and not path.startswith("/wallet/"):
            raise HttpRefusal(404, "JSON-RPC is called at /.")

    def _is_own_host(self, value: str | None) -> bool:
        host = _host_of(value or "")
        if host in self._hosts:
            return True
        # An address cannot be rebound to another one: only names can.
        return self._far and _is_address(host)

    def check_content(self, headers: Mapping[str, str]) -> None:
        """Refuse a body of another type, compressed, or announced as too long.

        Raises:
            HttpRefusal: 413 or 415.
        """
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind and kind not in _JSON_TYPES:
            raise HttpRefusal(415, "The body must be application/json.")
        if headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
            raise HttpRefusal(415, "The body must not be compressed.")
        length = headers.get("Content-Length", "0")
        if len(length) > 12 or (length.isascii() and length.isdigit() and int(length) > MAX_BODY):
            raise HttpRefusal(413, f"The body has more than {MAX_BODY} bytes.")

    def login(self, headers: Mapping[str, str]) -> Role | None:
        """Return what the caller may do, or None if the credentials are missing or wrong.

        Every login is compared in full, whichever fits: how long it takes says nothing of any.
        """
        given = _credentials(headers.get("Authorization", ""))
        found: Role | None = None
        for login in self._logins:
            wanted = f"{login.user}:{login.password}".encode()
            if hmac.compare_digest(given, wanted):
                found = login.role
        return found


def _host_of(value: str) -> str:
    """Return the host of a Host header, without its port; nothing if it is malformed."""
    value = value.strip().lower()
    if value.startswith("["):
        host, bracket, port = value[1:].partition("]")
        port = port.removeprefix(":")
        return host if bracket and (not port or port.isdigit()) else ""
    host, _, port = value.partition(":")
    return host.rstrip(".") if not port or port.isdigit() else ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _credentials(header: str) -> bytes:
    """Return `user:password` of a Basic Authorization header; nothing if it is none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic" or len(header) > MAX_CREDENTIALS:
        return b""
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
