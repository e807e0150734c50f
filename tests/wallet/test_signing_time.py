"""Signing takes the same time whatever the nonce (A149)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from hashlib import sha256

import coincurve
import pytest
from ecdsa import SECP256k1
from ecdsa.rfc6979 import generate_k

SECRET = 5
SHORT = 246
"""Bits of a nonce that is short: one in a thousand is."""
ROUNDS = 60
Nonce = tuple[bytes, int]
"""A digest, and the nonce that RFC 6979 gives for it."""


def nonces() -> tuple[list[Nonce], list[Nonce]]:
    """As many digests with short nonces as with full ones."""
    short: list[Nonce] = []
    full: list[Nonce] = []
    for n in range(16_000):
        digest = sha256(n.to_bytes(4, "big")).digest()
        nonce = generate_k(SECP256k1.order, SECRET, sha256, digest)
        if nonce.bit_length() <= SHORT:
            short.append((digest, nonce))
        elif nonce.bit_length() == 256 and len(full) <= len(short):
            full.append((digest, nonce))
    return short[: len(full)], full[: len(short)]


def difference(work: Callable[[Nonce], object], short: list[Nonce], full: list[Nonce]) -> float:
    """By how much of its time a full nonce takes longer: CPU time of this thread, the quickest of many turns each."""
    quickest: dict[Nonce, int] = {}
    for _ in range(ROUNDS):
        for pair in zip(short, full, strict=True):
            for nonce in pair:
                started = time.thread_time_ns()
                work(nonce)
                taken = time.thread_time_ns() - started
                quickest[nonce] = min(taken, quickest.get(nonce, taken))
    of_short, of_full = (statistics.median(quickest[nonce] for nonce in group) for group in (short, full))
    return abs(of_full - of_short) / of_full


@pytest.mark.slow
def test_signing_takes_as_long_for_a_short_nonce_as_for_a_full_one() -> None:
    """A149 (CVE-2024-23342): a hundred signatures whose nonces' lengths leak give the key away.

    Beside it the same is measured of arithmetic that does leak, so that the measurement is known to see a leak. A leak
    is there every time; what a busy machine adds is not: one of a few tries has to be clean.
    """
    short, full = nonces()
    assert len(short) >= 15
    key = coincurve.PrivateKey(SECRET.to_bytes(32, "big"))
    leaking = [difference(lambda nonce: pow(3, nonce[1], SECP256k1.order), short, full) for _ in range(3)]
    assert min(leaking) > 0.02
    tries = (difference(lambda nonce: key.sign_recoverable(nonce[0], hasher=None), short, full) for _ in range(8))
    assert any(found < 0.01 for found in tries)
