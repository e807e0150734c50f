"""A rate with a burst: how often something may happen."""

from __future__ import annotations


class TokenBucket:
    """Tokens that come back at a steady rate, up to a burst; what happens takes some, or does not happen."""

    __slots__ = ("_burst", "_level", "_rate", "_when")

    def __init__(self, rate: float, burst: float, now: float, start: float | None = None) -> None:
        """
        Args:
            rate: tokens a second.
            burst: the most it holds.
            now: monotonic seconds.
            start: what it holds at first; full if not given.
        """
        self._rate = rate
        self._burst = burst
        self._level = burst if start is None else min(burst, start)
        self._when = now

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take `amount` and say True, or take nothing and say False."""
        self._refill(now)
        if self._level < amount:
            return False
        self._level -= amount
        return True

    def take_up_to(self, now: float, amount: int) -> int:
        """Take as many whole tokens as there are, at most `amount`; return how many."""
        self._refill(now)
        taken = min(amount, int(self._level))
        self._level -= taken
        return taken

    def add(self, amount: float) -> None:
        """Give tokens outright, up to the burst."""
        self._level = min(self._burst, self._level + amount)

    def _refill(self, now: float) -> None:
        # A clock that steps back refunds nothing and takes nothing.
        if now > self._when:
            self._level = min(self._burst, self._level + (now - self._when) * self._rate)
        self._when = now
