"""What carries bytes between nodes, as Protocols that real sockets and a simulated network both satisfy.

Everything is told by callbacks, so a peer needs no task of its own. A handler is called by one thread, the one that
runs the loop, and never again after `closed`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import NamedTuple, Protocol


class AddressSyntaxError(ValueError):
    """The text is not `host:port`. The message is a sentence for the person who typed it."""


class Address(NamedTuple):
    """Where a node listens, or where a link comes from."""

    host: str
    """An IP address in its shortest text form, without brackets; or a name, before it was resolved."""
    port: int
    """0..65535; 0 is no port at all."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, default_port: int | None = None) -> Address:
    """Read `127.0.0.1:7340`, `[::1]:7340` or `name:7340`.

    Args:
        text: what a person typed.
        default_port: taken if the text names no port.

    Raises:
        AddressSyntaxError: there is no host, or no port in 1..65535.
    """
    host, separator, port_text = text.strip().rpartition(":")
    if not separator or (text.count(":") > 1 and not host.endswith("]")):
        host, port_text = text.strip(), ""
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or any(character in host for character in "[]/@ \t\r\n\0"):
        raise AddressSyntaxError(f"{text!r} is not an address: write HOST:PORT, or [IPV6]:PORT")
    if not port_text and default_port is not None:
        return Address(normal_host(host), default_port)
    if not (port_text.isascii() and port_text.isdigit() and len(port_text) <= 5 and 1 <= int(port_text) <= 65535):
        raise AddressSyntaxError(f"{text!r} names no port between 1 and 65535")
    return Address(normal_host(host), int(port_text))


def normal_host(host: str) -> str:
    """One text per host: shortest form, IPv4 mapped into IPv6 as IPv4, no zone, names in lower case."""
    try:
        parsed = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower().rstrip(".")
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


class Link(Protocol):
    """One stream to one peer, open until `close` or `abort`."""

    @property
    def remote(self) -> Address:
        """The other end as the network sees it; for an inbound link the port is not one to dial."""

    def write(self, data: bytes) -> None:
        """Queue bytes. Never blocks and never fails: what a closed link is given is dropped."""

    def write_buffer_size(self) -> int:
        """Return how many queued bytes are not yet sent."""

    def pause_reading(self) -> None:
        """Leave further bytes to the network, which slows the sender down. Repeating it does nothing."""

    def resume_reading(self) -> None:
        """Undo `pause_reading`. Repeating it does nothing."""

    def close(self) -> None:
        """Send what is queued, then close. `closed` is called later, never from inside this call."""

    def abort(self) -> None:
        """Close at once and drop what is queued. `closed` is called later, never from inside this call."""


class LinkHandler(Protocol):
    """Who is told what happens on a link. Nothing here may block, and nothing may raise."""

    def connected(self, link: Link) -> None:
        """Take the link; called once, before anything else."""

    def data_received(self, data: bytes) -> None:
        """Take bytes as they come: a read of at most some hundred KiB, split anywhere."""

    def paused(self) -> None:
        """More than the high-water mark is queued: write no more than must be."""

    def writable(self) -> None:
        """After `paused`: the queue has drained below the low-water mark."""

    def closed(self, error: Exception | None) -> None:
        """The link is gone; `error` is None if one of the two sides closed it in order. Called once, last."""


class Listener(Protocol):
    """A place where peers may connect to."""

    @property
    def address(self) -> Address:
        """Where it listens, with the real port."""

    def close(self) -> None:
        """Stop listening; links already open stay open."""

    async def wait_closed(self) -> None:
        """Wait until everything that `close` ended is gone."""


class DatagramHandler(Protocol):
    """Who is told of datagrams."""

    def datagram_received(self, data: bytes, source: Address) -> None:
        """Take one datagram. Never blocks, never awaits and never raises."""


class DatagramEndpoint(Protocol):
    """A bound port for datagrams."""

    @property
    def address(self) -> Address:
        """Where it is bound, with the real port."""

    def send(self, data: bytes, to: Address) -> None:
        """Send one datagram to an IP address, or drop it: nobody is told which."""

    def close(self) -> None:
        """Stop; nothing is received afterwards."""

    async def wait_closed(self) -> None:
        """Wait until everything that `close` ended is gone."""


class Network(Protocol):
    """The network as a node sees it."""

    async def connect(self, address: Address, handler: LinkHandler) -> Link:
        """Open a link. `handler.connected` was called when this returns.

        Raises:
            OSError: refused, unreachable, no such name, or no answer in `limits.CONNECT_SECONDS`.
        """

    async def listen(self, address: Address, handler_factory: Callable[[], LinkHandler]) -> Listener:
        """Accept links, each with a new handler. Port 0 takes a free one.

        Raises:
            OSError: the port is taken, or the host is not one of this machine.
        """

    async def open_datagram(self, address: Address, handler: DatagramHandler) -> DatagramEndpoint:
        """Bind a port for datagrams. Port 0 takes a free one.

        Raises:
            OSError: the port is taken, or the host is not one of this machine.
        """

    async def resolve(self, address: Address) -> tuple[Address, ...]:
        """Look a name up: IP addresses with the port given, in the resolver's order; an IP address is itself.

        Raises:
            OSError: there is no such name, or nobody to ask.
        """
