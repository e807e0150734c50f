"""One connection to one peer, as a state machine without I/O.

It is given bytes and the time, and gives back bytes to send, events, and when it wants to be called again. It never
reads a clock and opens nothing, so every deadline can be tested to the instant. The shell around it is `peer_link`.

    connection.open(now)                     the link is there
    connection.receive_data(data, now)       bytes came
    connection.handle_timer(now)             the time of next_timer() came
    connection.send(message)                 say something
    connection.close(detail) / link_lost()   the end, by us or by the network
    connection.events(), data_to_send(), next_timer()     look at these after each call of the above

`now` is monotonic seconds from any origin. After `CLOSED` all calls are harmless and do nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from p2p import limits
from p2p.errors import LocalProtocolError, ProtocolError, Violation
from p2p.events import (
    CloseReason,
    ConnectionClosed,
    Event,
    HandshakeCompleted,
    LatencyMeasured,
    MessageIgnored,
    MessageReceived,
)
from p2p.framing import BudgetExhausted, FrameReader, ReceiveBudget, encode_frame
from p2p.messages import (
    BY_NUMBER,
    Addr,
    BlockMessage,
    BlockTransactions,
    GetAddr,
    GetBlockTransactions,
    GetData,
    GetHeaders,
    Headers,
    Hello,
    ItemKind,
    Message,
    NotFound,
    Ping,
    Pong,
    TxMessage,
    decode_body,
)
from p2p.rate import TokenBucket


class State(Enum):
    """Where a connection stands."""

    NEW = "new"
    AWAITING_HELLO = "awaiting-hello"
    READY = "ready"
    CLOSED = "closed"


class Cause(Enum):
    """What moves a connection on."""

    OPENED = "the link is there"
    HELLO = "the peer's Hello"
    MESSAGE = "any other message of the peer's"
    ENDED = "either side, or the network, ended it"


TRANSITIONS: Final[dict[State, dict[Cause, State | Violation]]] = {
    State.NEW: {Cause.OPENED: State.AWAITING_HELLO, Cause.ENDED: State.CLOSED},
    State.AWAITING_HELLO: {
        Cause.HELLO: State.READY,
        Cause.MESSAGE: Violation.NOT_YET,
        Cause.ENDED: State.CLOSED,
    },
    State.READY: {
        Cause.HELLO: Violation.SECOND_HELLO,
        Cause.MESSAGE: State.READY,
        Cause.ENDED: State.CLOSED,
    },
    State.CLOSED: {},
}
"""The whole machine. A `Violation` ends the connection; what is not in the table is our own mistake."""

_BODY_OF: Final = {
    ItemKind.TX: TxMessage.number,
    ItemKind.TX_BY_TXID: TxMessage.number,
    ItemKind.BLOCK: BlockMessage.number,
}
_OURS: Final = (Hello, Ping, Pong)
"""Messages that the connection itself sends and answers."""


class PeerConnection:
    """What one peer and we may say to each other, and when it is enough."""

    def __init__(
        self,
        hello: Hello,
        *,
        dialled: bool,
        budget: ReceiveBudget,
        random_bytes: Callable[[int], bytes],
        ping_seconds: float = limits.PING_SECONDS,
    ) -> None:
        """
        Args:
            hello: ours. Its nonce is drawn once for the node's whole run.
            dialled: True if we opened the link; the side that did says `Hello` first.
            budget: the node's, shared by all its connections.
            random_bytes: for ping nonces, unpredictable to the peer: `random.Random.randbytes` or the like.
            ping_seconds: between two pings.
        """
        self.state = State.NEW
        self.dialled = dialled
        self.latency: float | None = None
        """Seconds the newest answered ping took; None before the first."""
        self.bytes_received = 0
        self.bytes_sent = 0
        self.messages_received = 0
        self.messages_sent = 0
        self.last_received = 0.0
        """When bytes last came, in the caller's `now`."""
        self.last_sent = 0.0
        """When bytes were last given out to be written, as of the newest `now`."""
        self._hello = hello
        self._random_bytes = random_bytes
        self._ping_seconds = ping_seconds
        self._reader = FrameReader(budget)
        self._out: list[bytes] = []
        self._events: list[Event] = []
        self._asked = dict.fromkeys(
            (TxMessage.number, BlockMessage.number, BlockTransactions.number, Headers.number), 0
        )
        self._now = 0.0
        self._handshake_deadline = 0.0
        self._frame_begun: float | None = None
        self._ping_due = 0.0
        self._ping_nonce: bytes | None = None
        self._ping_sent = 0.0
        self._pong_deadline = 0.0
        self._buckets: dict[type[Message] | None, TokenBucket] = {}

    @property
    def is_closed(self) -> bool:
        """True once it has ended, whoever ended it."""
        return self.state is State.CLOSED

    # --- what the shell calls ---------------------------------------------------------------------------------

    def open(self, now: float) -> None:
        """Begin: the link is there."""
        self._move(Cause.OPENED)
        self._now = self.last_received = now
        self._handshake_deadline = now + limits.HANDSHAKE_SECONDS
        if self.dialled:
            self._write(self._hello)

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes from the peer, split anywhere."""
        if self.is_closed:
            return
        self._now = self.last_received = now
        self.bytes_received += len(data)
        try:
            self._reader.feed(data)
            # The end of the connection discards what the reader holds, so it ends this loop too.
            while (frame := self._reader.next_frame(self._check_head)) is not None:
                self._frame_begun = None
                self._handle_frame(frame.number, frame.body)
        except ProtocolError as error:
            self._end(CloseReason.VIOLATION, error)
        except BudgetExhausted:
            self._end(CloseReason.OVERLOADED)
        if self._frame_begun is None and self._reader.unfinished is not None:
            self._frame_begun = now

    def handle_timer(self, now: float) -> None:
        """Do what is due. Being called early or twice does nothing."""
        self._now = now
        if self.state is State.AWAITING_HELLO and now >= self._handshake_deadline:
            self._end(CloseReason.VIOLATION, ProtocolError(Violation.HANDSHAKE_TIMEOUT))
        elif self.state is State.READY:
            if now >= self._frame_deadline():
                size = self._reader.unfinished
                self._end(CloseReason.VIOLATION, ProtocolError(Violation.FRAME_TIMEOUT, size=size))
            elif self._ping_nonce is not None:
                if now >= self._pong_deadline:
                    self._end(CloseReason.VIOLATION, ProtocolError(Violation.NO_PONG))
            elif now >= self._ping_due:
                self._send_ping()

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called, in the caller's `now`; None for never. It may be in the past."""
        if self.state is State.AWAITING_HELLO:
            return self._handshake_deadline
        if self.state is State.READY:
            ping = self._ping_due if self._ping_nonce is None else self._pong_deadline
            return min(ping, self._frame_deadline())
        return None

    def events(self) -> list[Event]:
        """Return what happened since the last call, in order."""
        happened, self._events = self._events, []
        return happened

    def data_to_send(self) -> bytes:
        """Return the bytes to be written now, and forget them."""
        if not self._out:
            return b""
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        self.bytes_sent += len(data)
        self.last_sent = self._now
        return data

    def link_lost(self, detail: str = "") -> None:
        """The network ended the link."""
        self._end(CloseReason.LOST, detail=detail)

    # --- what the node calls ----------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Queue a message. Does nothing once the connection is closed.

        What a `GetData`, `GetHeaders` or `GetBlockTransactions` asks for may then come in bodies past
        `limits.UNSOLICITED_BODY`, once each.

        Raises:
            LocalProtocolError: before the handshake is done; the connection's own business (`Hello`, `Ping`,
                `Pong`); or a body past its bound.
        """
        if self.is_closed:
            return
        name = type(message).__name__
        if self.state is not State.READY:
            raise LocalProtocolError(f"{name} before the handshake")
        if isinstance(message, _OURS):
            raise LocalProtocolError(f"{name} is the connection's own business")
        self._write(message)
        if isinstance(message, GetData):
            for item in message.items:
                self._expect(_BODY_OF[item.kind])
        elif isinstance(message, GetHeaders):
            self._expect(Headers.number)
        elif isinstance(message, GetBlockTransactions):
            self._expect(BlockTransactions.number)
        elif isinstance(message, GetAddr):
            self._buckets[Addr].add(limits.MAX_ADDRESSES)

    def close(self, reason: CloseReason = CloseReason.LOCAL, detail: str = "") -> None:
        """End the connection. What was queued before is still in `data_to_send`."""
        self._end(reason, detail=detail)

    # --- frames and messages ----------------------------------------------------------------------------------

    def _check_head(self, number: int, size: int) -> None:
        """Decide by number and size alone whether a body is wanted: before any of it is kept."""
        self._next_state(Cause.HELLO if number == Hello.number else Cause.MESSAGE)
        kind = BY_NUMBER.get(number)
        if size > (limits.UNKNOWN_BODY if kind is None else kind.max_body):
            raise ProtocolError(Violation.TOO_LARGE, number=number, size=size)
        if size > limits.UNSOLICITED_BODY and self._asked.get(number, 0) == 0:
            raise ProtocolError(Violation.UNSOLICITED, number=number, size=size)

    def _handle_frame(self, number: int, body: bytes) -> None:
        self.messages_received += 1
        if number not in BY_NUMBER:
            self._spend(None)
            self._events.append(MessageIgnored(number, len(body)))
            return
        message = decode_body(number, body)
        match message:
            case Hello():
                self._handle_hello(message)
            case Ping(nonce):
                self._spend(Ping)
                self._write(Pong(nonce))
            case Pong(nonce):
                self._handle_pong(nonce)
            case Addr(addresses):
                taken = self._buckets[Addr].take_up_to(self._now, len(addresses))
                if taken:
                    self._events.append(MessageReceived(Addr(addresses[:taken])))
            case _:
                if isinstance(message, GetAddr):
                    self._spend(GetAddr)
                self._settle(message)
                self._events.append(MessageReceived(message))

    def _handle_hello(self, hello: Hello) -> None:
        following = self._next_state(Cause.HELLO)
        if not self.dialled:
            # Answered even if refused below, so that the dialling side learns why, and can forget its own address.
            self._write(self._hello)
        if hello.genesis != self._hello.genesis:
            raise ProtocolError(Violation.WRONG_NETWORK, genesis=hello.genesis[::-1].hex())
        if hello.nonce == self._hello.nonce:
            self._end(CloseReason.SELF)
            return
        if hello.version < limits.OLDEST_VERSION:
            raise ProtocolError(Violation.OLD_VERSION, version=hello.version)
        self.state = following
        self._start_buckets()
        self._events.append(HandshakeCompleted(hello, min(hello.version, self._hello.version)))
        self._send_ping()

    def _handle_pong(self, nonce: bytes) -> None:
        if nonce != self._ping_nonce:
            raise ProtocolError(Violation.BAD_PONG)
        self._ping_nonce = None
        self._ping_due = self._ping_sent + self._ping_seconds
        self.latency = self._now - self._ping_sent
        self._events.append(LatencyMeasured(self.latency))

    def _send_ping(self) -> None:
        self._ping_nonce = self._random_bytes(8)
        self._ping_sent = self._now
        self._pong_deadline = self._now + limits.PONG_SECONDS
        self._write(Ping(self._ping_nonce))

    def _write(self, message: Message) -> None:
        body = message.encode_body()
        if len(body) > message.max_body:
            raise LocalProtocolError(f"{type(message).__name__} of {len(body)} bytes, bound {message.max_body}")
        self._out.append(encode_frame(message.number, body))
        self.messages_sent += 1

    # --- allowances -------------------------------------------------------------------------------------------

    def _expect(self, number: int) -> None:
        self._asked[number] = min(self._asked[number] + 1, limits.MAX_BODIES_ASKED)

    def _settle(self, message: Message) -> None:
        """An answer came: it is no longer asked for, and proves that the peer is at work."""
        if isinstance(message, NotFound):
            for item in message.items:
                number = _BODY_OF[item.kind]
                self._asked[number] = max(0, self._asked[number] - 1)
        elif self._asked.get(message.number, 0):
            self._asked[message.number] -= 1
            self._pong_deadline = max(self._pong_deadline, self._now + limits.PONG_SECONDS)

    def _start_buckets(self) -> None:
        now = self._now
        self._buckets = {
            Ping: TokenBucket(limits.PING_RATE, limits.PING_BURST, now),
            GetAddr: TokenBucket(limits.GET_ADDR_RATE, limits.GET_ADDR_BURST, now),
            Addr: TokenBucket(limits.ADDRESS_RATE, limits.ADDRESS_BURST, now, start=limits.ADDRESS_START),
            None: TokenBucket(limits.UNKNOWN_RATE, limits.UNKNOWN_BURST, now),
        }

    def _spend(self, kind: type[Message] | None) -> None:
        if not self._buckets[kind].take(self._now):
            raise ProtocolError(Violation.FLOOD, message="unknown" if kind is None else kind.__name__)

    # --- state ------------------------------------------------------------------------------------------------

    def _frame_deadline(self) -> float:
        if self._frame_begun is None:
            return float("inf")
        size = self._reader.unfinished or 0
        return self._frame_begun + limits.FRAME_SECONDS + size / limits.FRAME_BYTES_PER_SECOND

    def _next_state(self, cause: Cause) -> State:
        following = TRANSITIONS[self.state].get(cause)
        if following is None:
            raise LocalProtocolError(f"{cause.value!r} in state {self.state.value!r}")
        if isinstance(following, Violation):
            raise ProtocolError(following)
        return following

    def _move(self, cause: Cause) -> None:
        self.state = self._next_state(cause)

    def _end(self, reason: CloseReason, error: ProtocolError | None = None, detail: str = "") -> None:
        if self.is_closed:
            return
        self._move(Cause.ENDED)
        self._reader.discard()
        self._frame_begun = None
        self._events.append(ConnectionClosed(reason, error, detail))
