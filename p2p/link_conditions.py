"""What a bad line does to what it carries, as arithmetic on times: the same for real links and for simulated ones.

Each direction of a link has conditions of its own, and whoever sends applies them. A stream arrives whole and in order,
whatever the line does to it; of datagrams some never arrive, and they may overtake each other.
"""

from __future__ import annotations

import random
from typing import Annotated, Final

import msgspec
from msgspec import Meta

MAX_DELAY_MS: Final = 60_000
"""A minute: past 10 s no handshake succeeds any more, past 2 minutes open connections die too."""
MAX_LOSS_PPM: Final = 900_000
"""Of a million: past nine in ten a line is no line, and a partition says so more clearly."""
MIN_BITS_PER_SECOND: Final = 1_000
MAX_BITS_PER_SECOND: Final = 1_000_000_000_000

SEGMENT: Final = 1_460
"""Bytes that are lost together: a TCP segment on Ethernet (1,500 less 40 of headers)."""
FLIGHT: Final = 64 * 1024
"""Bytes of a stream that are under way together, so that what is lost of them is sent again together: TCP's window
without scaling (RFC 9293)."""
RETRANSMIT_SECONDS: Final = 0.2
"""Before what was lost is sent again, besides a round trip; doubled with each time that it is lost again (RFC 6298;
this is the least that Linux waits)."""
RETRANSMIT_CAP_SECONDS: Final = 120.0
"""The longest of those waits, as in Linux."""
MAX_ROUNDS: Final = 16
"""How often a flight is sent at most, as in Linux (tcp_retries2). The last always arrives: by then the peer has long
hung up."""


class LinkConditions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What one direction of a link does to what it carries. As made by default, nothing.

    Raises:
        ValueError: the jitter is more than the delay. The bounds of each field are checked where it is decoded.
    """

    delay_ms: Annotated[int, Meta(ge=0, le=MAX_DELAY_MS)] = 0
    """Milliseconds from one end to the other."""
    jitter_ms: Annotated[int, Meta(ge=0, le=MAX_DELAY_MS)] = 0
    """Milliseconds by which the delay is longer or shorter, evenly drawn for each piece; at most the delay."""
    loss_ppm: Annotated[int, Meta(ge=0, le=MAX_LOSS_PPM)] = 0
    """Of a million segments so many are lost. A stream repairs that and comes late; a datagram is gone."""
    bits_per_second: Annotated[int, Meta(ge=MIN_BITS_PER_SECOND, le=MAX_BITS_PER_SECOND)] | None = None
    """What the line carries at most; None for no bound."""

    def __post_init__(self) -> None:
        if self.jitter_ms > self.delay_ms:
            raise ValueError(f"a jitter of {self.jitter_ms} ms is more than the delay of {self.delay_ms} ms it varies")

    @property
    def are_perfect(self) -> bool:
        """Whether they do nothing at all."""
        return not self.delay_ms and not self.loss_ppm and self.bits_per_second is None


PERFECT: Final = LinkConditions()
"""A line that does nothing to what it carries."""


class Line:
    """One direction of a link: tells when what is handed to it comes out at the other end."""

    __slots__ = ("_free", "_last", "_rng", "conditions")

    def __init__(self, conditions: LinkConditions, rng: random.Random) -> None:
        """
        Args:
            conditions: of this direction; may be changed, which holds for what is handed over afterwards.
            rng: draws jitter and loss; a seeded one gives the same line again.
        """
        self.conditions = conditions
        self._rng = rng
        self._free = 0.0
        self._last = 0.0

    def stream_arrival(self, now: float, size: int) -> float:
        """Return when the next `size` bytes of a stream arrive, in seconds of the same clock as `now`.

        Never before what was handed over earlier. More than `FLIGHT` bytes are better handed over in pieces, for each
        piece arrives, and is delayed by loss, as a whole.
        """
        waits = self._sent(now, size) + self._way() + self._repair(size)
        self._last = max(self._last, waits)
        return self._last

    def datagram_arrival(self, now: float, size: int) -> float | None:
        """Return when a datagram of `size` bytes arrives; None if it is lost."""
        sent = self._sent(now, size)
        if self._rng.random() * 1_000_000 < self.conditions.loss_ppm:
            return None
        return sent + self._way()

    def _sent(self, now: float, size: int) -> float:
        """Return when the last byte has left: after all that waits before it, at the pace of the line."""
        start = max(now, self._free)
        pace = self.conditions.bits_per_second
        self._free = start if pace is None else start + 8 * size / pace
        return self._free

    def _way(self) -> float:
        """Return how long it is under way, in seconds."""
        conditions = self.conditions
        swing = conditions.jitter_ms * (2 * self._rng.random() - 1) if conditions.jitter_ms else 0.0
        return (conditions.delay_ms + swing) / 1000

    def _repair(self, size: int) -> float:
        """Return how long it takes until what is lost of a flight has been sent again, in seconds.

        A flight has arrived in `n` rounds if each of its segments was lost at most `n - 1` times. One draw decides.
        """
        loss = self.conditions.loss_ppm / 1_000_000
        if not loss:
            return 0.0
        segments = -(-size // SEGMENT)
        drawn = self._rng.random()
        rounds = 1
        while rounds < MAX_ROUNDS and (1 - loss**rounds) ** segments <= drawn:
            rounds += 1
        first = RETRANSMIT_SECONDS + 2 * self.conditions.delay_ms / 1000
        return sum(min(first * 2.0**again, RETRANSMIT_CAP_SECONDS) for again in range(rounds - 1))
