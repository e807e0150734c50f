"""Two connections back to back, and what tests say over them."""

from __future__ import annotations

import random
from collections.abc import Iterable

from p2p.connection import PeerConnection
from p2p.events import ConnectionClosed, Event, HandshakeCompleted, LatencyMeasured, MessageReceived
from p2p.framing import ReceiveBudget, encode_frame
from p2p.messages import Hello, Message

GENESIS = bytes(range(32))


def hello(nonce: int = 1, *, genesis: bytes = GENESIS, version: int = 1, agent: str = "test/1") -> Hello:
    """A Hello that is right unless told otherwise."""
    return Hello(version, genesis, nonce.to_bytes(8, "big"), agent, 7340, 0)


def connection(nonce: int = 1, *, dialled: bool = False, budget: ReceiveBudget | None = None) -> PeerConnection:
    """A new connection with seeded randomness."""
    return PeerConnection(
        hello(nonce), dialled=dialled, budget=budget or ReceiveBudget(), random_bytes=random.Random(nonce).randbytes
    )


def frame(message: Message) -> bytes:
    """A message as it travels, without any check."""
    return encode_frame(message.number, message.encode_body())


def messages(events: Iterable[Event]) -> list[Message]:
    """Only what the peer said."""
    return [event.message for event in events if isinstance(event, MessageReceived)]


def closing(events: Iterable[Event]) -> ConnectionClosed:
    """The one end among the events; it must be the last."""
    events = list(events)
    ends = [event for event in events if isinstance(event, ConnectionClosed)]
    if len(ends) != 1 or events[-1] is not ends[0]:
        raise AssertionError(f"expected one end, and last: {events}")
    return ends[0]


MAX_ROUNDS = 10_000
"""More turns than any conversation of a test takes."""


class ConnectionPair:
    """A dialling and an accepting connection with a perfect link in between. `now` moves only by `wait`."""

    def __init__(self, now: float = 0.0, dialler: PeerConnection | None = None, acceptor: PeerConnection | None = None):
        self.now = now
        self.dialler = dialler or connection(1, dialled=True)
        self.acceptor = acceptor or connection(2)
        self.events: dict[PeerConnection, list[Event]] = {self.dialler: [], self.acceptor: []}
        self.dialler.open(now)
        self.acceptor.open(now)

    def other(self, side: PeerConnection) -> PeerConnection:
        return self.acceptor if side is self.dialler else self.dialler

    def exchange(self, piece: int = 0) -> None:
        """Carry bytes both ways until nobody has any, in pieces of `piece` bytes (0: as they come)."""
        moved, rounds = True, 0
        while moved:
            moved, rounds = False, rounds + 1
            if rounds > MAX_ROUNDS:
                raise AssertionError("the two go on answering each other for ever")
            for side in (self.dialler, self.acceptor):
                data = side.data_to_send()
                moved = moved or bool(data)
                for start in range(0, len(data), piece or len(data) or 1):
                    self.other(side).receive_data(data[start : start + (piece or len(data))], self.now)
        for side, happened in self.events.items():
            happened.extend(side.events())

    def wait(self, seconds: float) -> None:
        """Let time pass, waking each side whenever it wants, and carrying what it says then."""
        end = self.now + seconds
        for _ in range(MAX_ROUNDS):
            due = [when for side in self.events if (when := side.next_timer()) is not None and when <= end]
            if not due:
                break
            self.now = max(self.now, min(due))
            for side in self.events:
                side.handle_timer(self.now)
            self.exchange()
        else:
            raise AssertionError(f"a timer is due again and again, at {self.now}")
        self.now = end

    def take(self, side: PeerConnection) -> list[Event]:
        """What happened on one side since last asked."""
        happened = self.events[side]
        self.events[side] = []
        return happened


def ready_pair(**kwargs: PeerConnection) -> ConnectionPair:
    """Two connections that have shaken hands and measured their latency."""
    pair = ConnectionPair(**kwargs)  # type: ignore[arg-type]
    pair.exchange()
    for side in pair.events:
        kinds = [type(event) for event in pair.take(side)]
        if kinds != [HandshakeCompleted, LatencyMeasured]:
            raise AssertionError(f"no plain handshake: {kinds}")
    return pair
