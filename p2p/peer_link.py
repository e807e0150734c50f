"""The shell around a `PeerConnection`: feeds it, drains it, writes, re-arms its timer. It decides nothing about peers.

Back-pressure: while a peer does not read what we wrote, `is_writable` is False and the node serves it nothing. If that
lasts, the link is cut. We go on reading meanwhile, for if both sides stopped, two honest nodes that serve each other
would wait for each other; the node calls `hold_reading` where a peer asks for more than it may have waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from p2p import limits
from p2p.connection import PeerConnection, State
from p2p.events import CloseReason, ConnectionClosed, Event
from p2p.messages import Message
from p2p.transport import Address, Link


class PeerLink:
    """A `transport.LinkHandler` that runs one connection on the running loop's clock."""

    def __init__(self, connection: PeerConnection, on_event: Callable[[PeerLink, Event], None]) -> None:
        """
        Args:
            connection: new; it is opened when the link is.
            on_event: told each event at once, from the loop's callbacks: it must not block. It may call `send` and
                `close`. After `ConnectionClosed` it is not called again.
        """
        self.connection = connection
        self.on_writable: Callable[[], None] | None = None
        """Called when a peer that was slow has caught up: serve it further."""
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._remote: Address | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for: float | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._held = False
        self._pumping = False

    @property
    def remote(self) -> Address | None:
        """The other end, gone or not; None before the link was there."""
        return self._remote

    @property
    def unsent(self) -> int:
        """Bytes that the peer has not read yet; at most `limits.MAX_WRITE_BUFFER`, but for one message."""
        return self._link.write_buffer_size() if self._link is not None else 0

    @property
    def is_writable(self) -> bool:
        """False while the peer is behind in reading: serve it no more bodies, announce only what must be."""
        return self._stall is None

    def send(self, message: Message) -> None:
        """Queue a message and let it go out; as `PeerConnection.send`."""
        self.connection.send(message)
        self._pump()

    def close(self, reason: CloseReason = CloseReason.LOCAL, detail: str = "") -> None:
        """End the connection in order: what is queued goes out first, for `limits.CLOSE_SECONDS` at most."""
        self.connection.close(reason, detail)
        self._pump()

    def hold_reading(self) -> None:
        """Take nothing from this peer until `release_reading`: the node has enough of its messages in work."""
        self._held = True
        if self._link is not None:
            self._link.pause_reading()

    def release_reading(self) -> None:
        """Undo `hold_reading`."""
        self._held = False
        if self._link is not None:
            self._link.resume_reading()

    # --- transport.LinkHandler --------------------------------------------------------------------------------

    def connected(self, link: Link) -> None:
        """Take the link and begin."""
        self._link = link
        self._remote = link.remote
        self.connection.open(self._loop.time())
        if self._held:
            link.pause_reading()
        self._pump()

    def data_received(self, data: bytes) -> None:
        """Feed the connection; what a link that was refused still delivers is dropped."""
        if self._link is None:
            return
        self.connection.receive_data(data, self._loop.time())
        self._pump()

    def paused(self) -> None:
        """Write no more than must be, until the peer has read."""
        if self._link is not None and self._stall is None:
            self._stall = self._loop.call_later(limits.SEND_STALL_SECONDS, self._cut_slow_reader)

    def writable(self) -> None:
        """The peer has read: go on."""
        if self._stall is None:
            return
        self._stall.cancel()
        self._stall = None
        if self.on_writable is not None and self.connection.state is State.READY:
            self.on_writable()

    def closed(self, error: Exception | None) -> None:
        """The link is gone, whoever ended it."""
        self.connection.link_lost("" if error is None else str(error))
        self._pump()
        self._link = self.on_writable = None
        self._cancel_timers()

    # --- the pump ---------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        # An event handler that sends comes back here: the outer call writes what it queued, and tells in order.
        if self._pumping:
            return
        self._pumping = True
        try:
            told = True
            while told:
                told = False
                for event in self.connection.events():
                    told = True
                    if isinstance(event, ConnectionClosed):
                        self._finish(event)
                    self._on_event(self, event)
                told = self._write() or told
        finally:
            self._pumping = False
        self._arm()

    def _write(self) -> bool:
        """Write what is queued; True if that was too much for a peer that does not read, and the end of it."""
        data = self.connection.data_to_send()
        if not data or self._link is None:
            return False
        self._link.write(data)
        if self.connection.is_closed or self._link.write_buffer_size() <= limits.MAX_WRITE_BUFFER:
            return False
        self.connection.close(CloseReason.SLOW_READER)
        return True

    def _finish(self, event: ConnectionClosed) -> None:
        """Write what is left, then close; cut at once what is too slow anyway."""
        self._cancel_timers()
        link = self._link
        if link is None or event.reason is CloseReason.LOST:
            return
        if event.reason is CloseReason.SLOW_READER:
            link.abort()
            return
        if data := self.connection.data_to_send():
            link.write(data)
        link.close()
        self._timer = self._loop.call_later(limits.CLOSE_SECONDS, link.abort)

    def _cut_slow_reader(self) -> None:
        self.connection.close(CloseReason.SLOW_READER)
        self._pump()

    def _arm(self) -> None:
        if self.connection.is_closed:
            return
        when = self.connection.next_timer()
        if self._timer is not None:
            if when == self._armed_for:
                return
            self._timer.cancel()
        self._armed_for = when
        self._timer = None if when is None else self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.connection.handle_timer(self._loop.time())
        self._pump()

    def _cancel_timers(self) -> None:
        for timer in (self._timer, self._stall):
            if timer is not None:
                timer.cancel()
        self._timer = self._stall = None
