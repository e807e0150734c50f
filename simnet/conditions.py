"""How good the way between two hosts is."""

from __future__ import annotations

import random
from dataclasses import dataclass

RETRANSMIT_SECONDS = 0.2
"""After a lost packet the sender repeats it, and doubles the wait each time (RFC 6298; Linux: TCP_RTO_MIN)."""
MAX_RETRANSMISSIONS = 8
"""Repeated in vain so often (51 s), a stream is reset."""
REORDER_SECONDS = 0.05
"""By so much, at most, is a datagram late that others are to overtake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Of one direction between two hosts. A stream sees loss as delay, and in the worst case as a reset."""

    latency: float = 0.02
    """Seconds that everything takes."""
    jitter: float = 0.0
    """Up to so many seconds more, drawn anew each time. A stream keeps its order nevertheless."""
    bandwidth: float | None = None
    """Bytes a second; None is without bound."""
    loss: float = 0.0
    """Share of packets that are lost, 0 to 1."""
    duplicate: float = 0.0
    """Share of datagrams that arrive twice. A stream hides it."""
    reorder: float = 0.0
    """Share of datagrams that others may overtake. A stream hides it."""

    @property
    def is_plain(self) -> bool:
        """Whether latency is all there is: nothing to draw and nothing to wait for."""
        return not (self.jitter or self.bandwidth or self.loss or self.duplicate or self.reorder)

    def delay(self, rng: random.Random) -> float:
        """Return how long one packet takes."""
        return self.latency + (self.jitter * rng.random() if self.jitter else 0.0)

    def retransmissions(self, rng: random.Random) -> tuple[float, bool]:
        """Return what a stream waits for lost packets, in seconds, and whether it gave up."""
        waited, wait = 0.0, RETRANSMIT_SECONDS
        for _ in range(MAX_RETRANSMISSIONS):
            if rng.random() >= self.loss:
                return waited, False
            waited += wait
            wait *= 2
        return waited, True


PERFECT = Conditions(latency=0.0)
LAN = Conditions(latency=0.0005)
INTERNET = Conditions(latency=0.05, jitter=0.02, bandwidth=2.5e6)
"""Twenty megabits, as at home."""
BAD = Conditions(latency=0.2, jitter=0.3, bandwidth=64_000, loss=0.1, duplicate=0.05, reorder=0.2)
"""A train through tunnels."""
