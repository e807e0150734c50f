"""One connection of a hostile peer: it can speak the wire as it should, and in any other way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from p2p.errors import ProtocolError
from p2p.framing import FrameReader, ReceiveBudget, encode_frame
from p2p.messages import Hello, Message, Ping, Pong, decode_body
from p2p.transport import Link

if TYPE_CHECKING:
    from simnet.hostile.behaviour import Behaviour


class HostileLink:
    """Satisfies `p2p.transport.LinkHandler`, and passes on to a behaviour what happens.

    Attributes:
        age: seconds since it is there.
        ready: whether the victim has said Hello.
        gone: whether the link is closed.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.age = 0
        self.ready = False
        self.gone = False
        self._link: Link | None = None
        self._reader = FrameReader(ReceiveBudget())
        self._loop = asyncio.get_running_loop()

    # --- what it does -----------------------------------------------------------------------------------------

    def send(self, *messages: Message) -> None:
        """Say something that is well formed."""
        for message in messages:
            self.send_raw(encode_frame(message.number, message.encode_body()))

    def send_raw(self, data: bytes) -> None:
        """Send any bytes."""
        if self._link is not None and not self.gone:
            self._link.write(data)

    @property
    def backlog(self) -> int:
        """Bytes that the victim has not read: an attacker does not fill its own memory either."""
        return 0 if self._link is None else self._link.write_buffer_size()

    def stop_reading(self) -> None:
        """Leave to the network whatever the victim says."""
        if self._link is not None:
            self._link.pause_reading()

    def abort(self) -> None:
        """Cut the link."""
        if self._link is not None:
            self._link.abort()

    # --- p2p.transport.LinkHandler ----------------------------------------------------------------------------

    def connected(self, link: Link) -> None:
        """The link is there."""
        self._link = link
        self.behaviour.connected(self)

    def data_received(self, data: bytes) -> None:
        """Take what the victim says."""
        self._reader.feed(data)
        try:
            while not self.gone and (frame := self._reader.next_frame(_whatever)) is not None:
                self._take(decode_body(frame.number, frame.body))
        except ProtocolError as error:
            # An honest node never says anything wrong: worth an error in the log.
            self.behaviour.world_says("an honest node broke the wire", why=str(error))

    def _take(self, message: Message) -> None:
        self.behaviour.totals[type(message).__name__] += 1
        match message:
            case Hello():
                self.ready = True
                self.behaviour.ready(self)
            case Ping(nonce):
                if self.behaviour.answers_pings:
                    self.send(Pong(nonce))
            case _:
                self.behaviour.message(self, message)

    def paused(self) -> None:
        """The victim reads slowly: behaviours look at `backlog`."""

    def writable(self) -> None:
        """See `paused`."""

    def closed(self, _error: Exception | None) -> None:
        """The link is gone."""
        self.gone = True
        self.behaviour.closed(self)


def _whatever(_number: int, _size: int) -> None:
    """Take a body of any kind and size: honest nodes keep to what is allowed."""
