"""Signing takes the same time whatever the nonce (A149), and its library is known to work before it is used."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from hashlib import sha256

import coincurve
import pytest
from coincurve._libsecp256k1 import ffi
from ecdsa import SECP256k1
from ecdsa.rfc6979 import generate_k

from consensus.signatures import SigningError, check_library, sign

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


def test_the_library_signs_as_published_or_the_wallet_does_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A149: another library, or a broken one, is found out before it sees a key."""
    check_library()

    class Random(coincurve.PrivateKey):
        """Signs well, but with nonces of its own."""

        def sign_recoverable(self, message: bytes, hasher: object = None, custom_nonce: object = None) -> bytes:
            return super().sign_recoverable(message, hasher=None, custom_nonce=(ffi.NULL, _entropy()))

    monkeypatch.setattr("consensus.signatures.coincurve.PrivateKey", Random)
    with pytest.raises(SigningError, match="does not sign as it must"):
        check_library()


def _entropy() -> object:
    return ffi.new("unsigned char[32]", b"\x07" * 32)


def test_a_faulty_signature_is_not_released(monkeypatch: pytest.MonkeyPatch) -> None:
    """A148: one bit that falls over while it is made would let everybody compute the key."""
    for place in (0, 31, 32, 63):

        class Faulty(coincurve.PrivateKey):
            def sign_recoverable(
                self, message: bytes, hasher: object = None, custom_nonce: object = None, place: int = place
            ) -> bytes:
                good = super().sign_recoverable(message, hasher=None)
                return good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]

        monkeypatch.setattr("consensus.signatures.coincurve.PrivateKey", Faulty)
        with pytest.raises(SigningError, match="did not verify"):
            sign(bytes(31) + b"\x05", sha256(b"x").digest())
        monkeypatch.undo()
