"""The search for a nonce: double SHA-256 over 80 bytes, as fast as Python goes, in slices and at a given pace."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from consensus.pow import target_from_bits
from consensus.types import Header

NONCES = 2**32
"""Nonces that one header has."""
SLICE = 25_000
"""Tries between two looks at the rest of the world: about 20 ms."""
SLICES_PER_SECOND = 20
"""Of a miner whose rate is capped: it works a little and sleeps a little, 50 ms together."""
MAX_CREDIT = 0.25
"""Seconds that a miner may lag behind its rate and still catch up; what it misses beyond is lost."""

_PAIRS = tuple(number.to_bytes(2, "big") for number in range(65_536))
"""The last two bytes that are hashed, in counting order: made once, as making them would cost a tenth of the search."""


def search(header: Header, tries: int) -> Header | None:
    """Try `tries` nonces, beginning with that of `header`; return the header that has the work, or None.

    The four bytes of the nonce are counted as a big-endian number, because the later bytes are the
    cheaper ones to change: SHA-256 has taken in the first 78 of the 80 bytes before the inner loop
    starts, and `copy` takes up from there. After the last number comes 0. See `skipped` to go on.
    """
    target = target_from_bits(header.bits)
    if not target:
        return None
    # An id above the target mostly shows it in its last byte, the highest one: compare that first.
    highest = target >> 248
    count = _counted(header.nonce)
    remaining = min(tries, NONCES)
    fixed = header.encoded[:76]
    while remaining > 0:
        start = count & 0xFFFF
        pairs = _PAIRS[start : start + remaining]
        begun = sha256(fixed + (count >> 16).to_bytes(2, "big")).copy
        for pair in pairs:
            inner = begun()
            inner.update(pair)
            digest = sha256(inner.digest()).digest()
            if digest[31] <= highest and int.from_bytes(digest, "little") <= target:
                return Header.from_bytes(fixed + (count >> 16).to_bytes(2, "big") + pair)
        count = (count + len(pairs)) % NONCES
        remaining -= len(pairs)
    return None


def skip(nonce: int, tries: int) -> int:
    """Return the nonce that follows after `tries`, in the order in which `search` counts them."""
    return _counted((_counted(nonce) + tries) % NONCES)


def skipped(header: Header, tries: int) -> Header:
    """Return the header with the nonce that follows after `tries`: what to go on with."""
    return Header(
        header.version, header.previous, header.merkle_root, header.time, header.bits, skip(header.nonce, tries)
    )


def _counted(nonce: int) -> int:
    """Turn a nonce into its place in the order of the search, or back: its bytes, reversed."""
    return int.from_bytes(nonce.to_bytes(4, "little"), "big")


class Pace:
    """How much to search before the next pause, and how long that pause is, for a given hash rate."""

    def __init__(self, rate: int, monotonic: Callable[[], float]) -> None:
        """Take a cap in hashes per second (0: none), and a clock that only goes forward, in seconds."""
        self._rate = rate
        self._monotonic = monotonic
        self._due = monotonic()
        self.slice = min(SLICE, max(1, rate // SLICES_PER_SECOND)) if rate else SLICE
        """Tries until the next pause."""

    def pause(self, tries: int) -> float:
        """Return how many seconds to rest now that `tries` more were made; 0 if there is no time to lose.

        A pause that the system made too long is caught up by shorter ones, so the rate is right in
        the mean; a miner that stood still does not run ahead afterwards.
        """
        if not self._rate:
            return 0.0
        now = self._monotonic()
        self._due = max(self._due, now - MAX_CREDIT) + tries / self._rate
        return max(0.0, self._due - now)
