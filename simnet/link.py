"""One stream between two hosts of a simulated network, as TCP looks from above.

What is written travels in order and arrives after the way's delay, back-pressure is signalled, and both ends close.
While the way is cut, bytes and the news of an end wait, as a sender repeats what nobody acknowledges; a way that is
cut towards us only keeps our acknowledgements from us, so that our buffer fills.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from enum import Enum

from p2p import limits
from p2p.transport import Address, LinkHandler
from simnet.conditions import Conditions


class _Mark(Enum):
    """What travels beside bytes."""

    FIN = "the end, in order"
    RESET = "the end, at once"


class SimLink:
    """One end of a stream; satisfies `p2p.transport.Link`. `other` is the other end.

    Attributes:
        here, there: the two hosts.
        in_flight: bytes on the way to the other end.
        unacknowledged: bytes that arrived there, but the way back is blocked, so we do not know.
        unread: bytes that arrived here and are not taken.
        blocked: nothing gets from here to there now. The network sets it, see `unblock`.
    """

    __slots__ = (
        "_aborted",
        "_arrives",
        "_busy_until",
        "_finishing",
        "_gone",
        "_inbox",
        "_loop",
        "_on_gone",
        "_plain",
        "_reading",
        "_rng",
        "_stalled",
        "_wire",
        "_writer_paused",
        "blocked",
        "conditions",
        "handler",
        "here",
        "in_flight",
        "other",
        "remote",
        "there",
        "unacknowledged",
        "unread",
    )

    def __init__(
        self,
        handler: LinkHandler,
        here: str,
        remote: Address,
        conditions: Conditions,
        rng: random.Random,
        on_gone: Callable[[SimLink], None],
    ) -> None:
        """
        Args:
            remote: the other end, as this end sees it.
            conditions: of the way from here to there.
            on_gone: called when this end is closed.
        """
        self.remote = remote
        self.handler = handler
        self.here, self.there = here, remote.host
        self.other: SimLink = self
        self.set_conditions(conditions)
        self.blocked = False
        self._rng = rng
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._wire: deque[bytes | _Mark] = deque()
        """On the way to the other end, or waiting for it to be open."""
        self._arrives = self._busy_until = 0.0
        """When the newest of it arrives; when the last byte has left."""
        self._stalled = 0
        """How much of `_wire` would have arrived, were the way not blocked."""
        self.in_flight = 0
        self.unacknowledged = 0
        self._inbox: deque[bytes | _Mark] = deque()
        self.unread = 0
        self._reading = True
        self._writer_paused = False
        self._finishing = False
        self._gone = False
        self._aborted = False

    # --- p2p.transport.Link -----------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        if self._gone or self._aborted or self._finishing or not data:
            return
        self.in_flight += len(data)
        self._send(bytes(data), len(data))
        if not self._writer_paused and self.write_buffer_size() > limits.WRITE_HIGH_WATER:
            self._writer_paused = True
            self._loop.call_soon(self._tell_paused)

    def write_buffer_size(self) -> int:
        """Return how many bytes the other end has not taken: there is no kernel between."""
        return self.in_flight + self.unacknowledged + self.other.unread

    def pause_reading(self) -> None:
        """Leave further bytes to the network."""
        self._reading = False

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        if not self._reading:
            self._reading = True
            self._loop.call_soon(self._deliver)

    def close(self) -> None:
        """Send what is queued, then close."""
        if not self._finishing and not self._gone and not self._aborted:
            self._finishing = True
            self._send(_Mark.FIN, 0)

    def abort(self) -> None:
        """Close at once and drop what is queued."""
        self.reset(None)

    def reset(self, error: Exception | None) -> None:
        """As `abort`, and tell our own handler why."""
        if self._gone or self._aborted:
            return
        self._aborted = True
        self._drop_wire()
        self._inbox.clear()
        self._send(_Mark.RESET, 0)
        self._loop.call_soon(self.vanish, error)

    # --- what the network does --------------------------------------------------------------------------------

    @property
    def is_gone(self) -> bool:
        """Whether this end is closed."""
        return self._gone

    def set_conditions(self, conditions: Conditions) -> None:
        """Have what is written from now on travel so."""
        self.conditions = conditions
        self._plain = conditions.is_plain

    def unblock(self, wait: float) -> None:
        """The way from here is open again: what waited is repeated after `wait` seconds. Both ends know more then."""
        self.blocked = False
        for _ in range(self._stalled):
            self._loop.call_later(wait, self._carry)
        self._stalled = 0
        self._loop.call_later(wait, self.other.acknowledged)

    def vanish(self, error: Exception | None) -> None:
        """This end is gone; nothing that still travels here finds anybody."""
        if not self._gone:
            self._gone = True
            self._inbox.clear()
            self.unread = 0
            self._on_gone(self)
            self.handler.closed(error)

    # --- inside -----------------------------------------------------------------------------------------------

    def _send(self, item: bytes | _Mark, size: int) -> None:
        conditions = self.conditions
        now = self._loop.time()
        arrives = now + conditions.latency
        if not self._plain:
            if conditions.bandwidth is not None:
                self._busy_until = max(now, self._busy_until) + size / conditions.bandwidth
                arrives = self._busy_until + conditions.latency
            arrives += conditions.jitter * self._rng.random() if conditions.jitter else 0.0
            if conditions.loss:
                wait, lost = conditions.retransmissions(self._rng)
                arrives += wait
                if lost:
                    self._loop.call_at(arrives, self.reset, TimeoutError("nobody acknowledges"))
                    return
        # Whatever the way does, a stream keeps its order.
        self._arrives = max(self._arrives, arrives)
        self._wire.append(item)
        self._loop.call_at(self._arrives, self._carry)

    def _drop_wire(self) -> None:
        for item in self._wire:
            if isinstance(item, bytes):
                self.in_flight -= len(item)
        self._wire.clear()
        self._stalled = 0

    def _carry(self) -> None:
        """The oldest of what travels has arrived."""
        if self.blocked:
            self._stalled += 1
        elif self._wire:  # else a reset has overtaken it
            self.other.arrive(self._wire.popleft())

    def arrive(self, item: bytes | _Mark) -> None:
        """Something has come from the other end."""
        writer = self.other
        if isinstance(item, bytes):
            writer.in_flight -= len(item)
            if self.blocked:
                writer.unacknowledged += len(item)
        if self._aborted:
            return
        if self._gone:
            # Its kernel answers for it.
            if isinstance(item, bytes):
                self._send(_Mark.RESET, 0)
            return
        if item is _Mark.RESET:
            self._drop_wire()
            self.vanish(ConnectionResetError("reset by peer"))
            return
        self._inbox.append(item)
        if isinstance(item, bytes):
            self.unread += len(item)
        self._deliver()

    def _deliver(self) -> None:
        while self._reading and self._inbox and not self._gone:
            item = self._inbox.popleft()
            if isinstance(item, bytes):
                self.unread -= len(item)
                self.handler.data_received(item)
            else:
                self._end_in_order()
        self.other.acknowledged()

    def acknowledged(self) -> None:
        """Take note of how much the other end has read, if its word gets here."""
        if self.other.blocked:
            return
        self.unacknowledged = 0
        if self._writer_paused and not self._gone and self.write_buffer_size() <= limits.WRITE_LOW_WATER:
            self._writer_paused = False
            self.handler.writable()

    def _end_in_order(self) -> None:
        """All that the other end wrote was read, and it has closed: so do we, and it hears of that."""
        self._loop.call_soon(self.vanish, None)
        if not self.blocked:
            self._loop.call_soon(self.other.vanish, None)
        self._finishing = True

    def _tell_paused(self) -> None:
        if not self._gone and self._writer_paused:
            self.handler.paused()
