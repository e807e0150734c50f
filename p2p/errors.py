"""How a peer can break the wire, each way with a name, and our own misuse of it."""

from __future__ import annotations

from enum import StrEnum


class Violation(StrEnum):
    """What was wrong. Each member is a promise: some test breaks the wire in that way and in no other."""

    BAD_FRAME = "bad-frame"
    """The stream is not `[number, bin]` in the shortest MessagePack: a map, a float, another length, garbage."""
    TOO_LARGE = "too-large"
    """The body's header announces more than this message may have."""
    UNSOLICITED = "unsolicited"
    """A body past `limits.UNSOLICITED_BODY` that nobody asked for."""
    MALFORMED = "malformed"
    """The body is not the message's fields, is past one of its bounds, or is not in canonical form."""
    NOT_YET = "message-before-handshake"
    """Another message than `Hello` came first."""
    SECOND_HELLO = "second-hello"
    """`Hello` came again."""
    WRONG_NETWORK = "wrong-network"
    """The peer has another genesis block."""
    OLD_VERSION = "old-version"
    """The peer speaks only a version that is no longer spoken here."""
    HANDSHAKE_TIMEOUT = "handshake-timeout"
    """No complete `Hello` in time."""
    FRAME_TIMEOUT = "frame-timeout"
    """A message was begun and not finished in time."""
    NO_PONG = "no-pong"
    """A `Ping` was not answered in time: the peer is gone, or does not run."""
    BAD_PONG = "bad-pong"
    """A `Pong` that answers no open `Ping`."""
    FLOOD = "flood"
    """More `Ping`, `GetAddr` or unknown messages than any honest peer has a use for."""


class ProtocolError(Exception):
    """The peer broke the wire. The connection ends; nothing about any block or transaction follows from it."""

    def __init__(self, violation: Violation, **facts: object) -> None:
        self.violation = violation
        self.facts = facts
        super().__init__(violation, facts)

    def __str__(self) -> str:
        said = " ".join(f"{name}={value}" for name, value in self.facts.items())
        return f"{self.violation} {said}".rstrip()


class LocalProtocolError(Exception):
    """We tried to send what a correct node never sends: a bug of ours, never the peer's."""
