"""ECDSA by libsecp256k1 held against published nonces and a second implementation."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import coincurve
import ecdsa
import pytest
from coincurve._libsecp256k1 import ffi
from ecdsa.util import sigencode_string
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.signatures import SignatureCheck, SigningError, check_library, public_key, sign, verify, verify_all
from tests.support.rules import key, secret

ORDER = int(ecdsa.SECP256k1.order)
DIGEST = sha256(b"digest").digest()
GOOD = sign(secret(3), DIGEST)


def parts(signature: bytes) -> tuple[int, int]:
    return int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")


def joined(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def test_nonces_are_those_of_rfc_6979(vectors: Path) -> None:
    """A148: r of each signature is that of the published nonce."""
    cases = json.loads((vectors / "ecdsa" / "rfc6979_secp256k1.json").read_text())
    assert len(cases) == 10
    for case in cases:
        digest = sha256(case["message"].encode()).digest()
        r, _ = parts(sign(bytes.fromhex(case["d"]), digest))
        point = ecdsa.SECP256k1.generator * int(case["k0"], 16)
        assert r == int(point.x()) % ORDER


@settings(max_examples=25, deadline=None)
@given(st.integers(1, ORDER - 1), st.binary(min_size=32, max_size=32))
def test_a_second_implementation_agrees(d: int, digest: bytes) -> None:
    """A036 A037: each verifies what the other signed, once its S is made low."""
    ours = ecdsa.SigningKey.from_secret_exponent(d, ecdsa.SECP256k1)
    public = public_key(d.to_bytes(32, "big"))
    assert ours.verifying_key.to_string("compressed") == public
    signature = sign(d.to_bytes(32, "big"), digest)
    assert ours.verifying_key.verify_digest(signature, digest)
    r, s = parts(ours.sign_digest_deterministic(digest, sha256, sigencode_string))
    assert joined(r, min(s, ORDER - s)) == signature


def test_only_low_s_within_range_verifies() -> None:
    """A036: a high S, and r or s of 0, n and n + 1, in any combination."""
    r, s = parts(GOOD)
    public = key(3).key
    assert verify(SignatureCheck(DIGEST, public, GOOD))
    assert not verify(SignatureCheck(DIGEST, public, joined(r, ORDER - s)))
    for bad in (0, ORDER, ORDER + 1, 2**256 - 1):
        assert not verify(SignatureCheck(DIGEST, public, joined(bad, s)))
        assert not verify(SignatureCheck(DIGEST, public, joined(r, bad)))


def test_other_lengths_and_der_do_not_verify() -> None:
    """A036: 63 or 65 bytes, and DER."""
    r, s = parts(GOOD)
    der = ecdsa.util.sigencode_der(r, s, ORDER)
    for bad in (b"", GOOD[:63], GOOD + b"\0", der):
        assert not verify(SignatureCheck(DIGEST, key(3).key, bad))
    assert not verify(SignatureCheck(DIGEST[:31], key(3).key, GOOD))


def test_keys_that_are_no_point_verify_nothing() -> None:
    """A037: not on the curve, infinity, uncompressed, hybrid, 32 and 34 bytes."""
    x = key(3).key[1:]
    off = next(
        n.to_bytes(32, "big")
        for n in range(1, 100)
        if pow(n**3 + 7, (2**256 - 2**32 - 978) // 2, 2**256 - 2**32 - 977) != 1
    )
    full = ecdsa.SigningKey.from_secret_exponent(3, ecdsa.SECP256k1).verifying_key
    for bad in (
        b"\x02" + off,
        b"\0",
        bytes(33),
        b"\x04" + x,
        full.to_string("uncompressed"),
        full.to_string("hybrid"),
        x,
        key(3).key + b"\0",
    ):
        assert not verify(SignatureCheck(DIGEST, bad, GOOD))


def test_the_first_failure_is_named() -> None:
    good = SignatureCheck(DIGEST, key(3).key, GOOD)
    bad = SignatureCheck(DIGEST, key(4).key, GOOD)
    assert verify_all([]) is None
    assert verify_all([good, good]) is None
    assert verify_all([good, bad, bad]) == 1


@pytest.mark.parametrize("private", [bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32])
def test_a_private_key_out_of_range_is_refused(private: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- the message is the library's own
        sign(private, DIGEST)


def test_the_library_signs_as_published_or_the_wallet_does_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A149: another library, or a broken one, is found out before it sees a key."""
    check_library()

    class Random(coincurve.PrivateKey):
        """Signs well, but with nonces of its own."""

        def sign_recoverable(self, message: bytes, hasher: object = None, custom_nonce: object = None) -> bytes:
            return super().sign_recoverable(message, hasher=None, custom_nonce=(ffi.NULL, _entropy()))

    monkeypatch.setattr("consensus.signatures.coincurve.PrivateKey", Random)
    with pytest.raises(SigningError, match=r"^the library libsecp256k1 of this machine does not sign as it must$"):
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
        with pytest.raises(SigningError, match=r"^a signature did not verify$"):
            sign(bytes(31) + b"\x05", sha256(b"x").digest())
        monkeypatch.undo()
