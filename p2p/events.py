"""What a connection reports to the node that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from p2p.errors import ProtocolError
from p2p.messages import Hello, Message


class CloseReason(StrEnum):
    """Why a connection ended. Only `VIOLATION` blames the peer."""

    VIOLATION = "violation"
    """The peer broke the wire; the event says how."""
    SELF = "self"
    """We dialled our own address: forget it, blame nobody."""
    LOCAL = "local"
    """The node closed it; the event's `detail` repeats its words."""
    LOST = "lost"
    """The link is gone: closed by the other side, reset, or cut."""
    OVERLOADED = "overloaded"
    """Our budget for half-received values is taken. Not the peer's fault: ask again, here or elsewhere."""
    SLOW_READER = "slow-reader"
    """The peer did not read what it asked for (`limits.SEND_STALL_SECONDS`, `limits.MAX_WRITE_BUFFER`)."""


@dataclass(frozen=True, slots=True)
class HandshakeCompleted:
    """Both sides have said `Hello`: messages may flow."""

    hello: Hello
    """The peer's."""
    version: int
    """The version that both speak."""


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A message with its fields checked. `Hello`, `Ping` and `Pong` are the connection's own business, never told."""

    message: Message


@dataclass(frozen=True, slots=True)
class MessageIgnored:
    """A message of a number unknown here was skipped. To be logged sparingly (once a minute at most)."""

    number: int
    size: int
    """Bytes of its body."""


@dataclass(frozen=True, slots=True)
class LatencyMeasured:
    """A ping came back."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """The end: always the last event, and told once."""

    reason: CloseReason
    error: ProtocolError | None = None
    """What the peer broke, given exactly if `reason` is `VIOLATION`."""
    detail: str = ""
    """The words of whoever closed it."""


Event = HandshakeCompleted | MessageReceived | MessageIgnored | LatencyMeasured | ConnectionClosed
