"""ECDSA on secp256k1 through libsecp256k1: 64 bytes r, s, big-endian; low S only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import coincurve
from coincurve._libsecp256k1 import ffi, lib

from consensus.sizes import SIGNATURE_SIZE

_parse_key = lib.secp256k1_ec_pubkey_parse
_parse_signature = lib.secp256k1_ecdsa_signature_parse_compact
_verify = lib.secp256k1_ecdsa_verify
_context = lib.secp256k1_context_static
_key_type = ffi.typeof("secp256k1_pubkey *")
_signature_type = ffi.typeof("secp256k1_ecdsa_signature *")


class SignatureCheck(NamedTuple):
    """One signature to verify. All three fields together key the signature cache (A041)."""

    digest: bytes
    key: bytes
    signature: bytes


def verify(check: SignatureCheck) -> bool:
    """Tell whether the signature is the key's, over the digest as it stands (not hashed again).

    False, never an error, for a key that is no point, for r or s out of range, and for a high S.
    """
    digest, key, signature = check
    if len(signature) != SIGNATURE_SIZE or len(key) != 33 or len(digest) != 32:
        return False
    point = ffi.new(_key_type)
    if not _parse_key(_context, point, key, 33):
        return False
    parsed = ffi.new(_signature_type)
    if not _parse_signature(_context, parsed, signature):
        return False
    # libsecp256k1 refuses a high S by itself.
    return bool(_verify(_context, parsed, digest, point))


def verify_all(checks: Sequence[SignatureCheck]) -> int | None:
    """Return the place of the first check that fails, or None if all hold."""
    for place, check in enumerate(checks):
        if not verify(check):
            return place
    return None


class SigningError(Exception):
    """The library made a signature that does not verify: a fault of this machine. Nothing was released."""


def sign(private_key: bytes, digest: bytes) -> bytes:
    """Sign 32 bytes with a 32-byte private key; nonces are those of RFC 6979.

    The signature is verified before it is returned, because a faulty one can give away the key.

    Raises:
        ValueError: if the key is zero or not below the group order.
        SigningError: if the signature does not verify.
    """
    secret = coincurve.PrivateKey(private_key)
    signature = secret.sign_recoverable(digest, hasher=None)[:SIGNATURE_SIZE]
    if not verify(SignatureCheck(digest, secret.public_key.format(), signature)):
        raise SigningError("a signature did not verify")
    return signature


_KNOWN_KEY = bytes(31) + b"\x01"
_KNOWN_DIGEST = bytes.fromhex("a0dc65ffca799873cbea0ac274015b9526505daaaed385155425f7337704883e")
"""SHA-256 of "Satoshi Nakamoto"."""
_KNOWN_SIGNATURE = bytes.fromhex(
    "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
    "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5"
)


def check_library() -> None:
    """Check that the library makes the one signature that RFC 6979 allows for a published key and message.

    So a library that draws its nonces in another way, or is broken on this machine, never sees a key of ours (A149).

    Raises:
        SigningError: it makes another.
    """
    if sign(_KNOWN_KEY, _KNOWN_DIGEST) != _KNOWN_SIGNATURE:
        raise SigningError("the library libsecp256k1 of this machine does not sign as it must")


def public_key(private_key: bytes) -> bytes:
    """Return the compressed public key, 33 bytes, of a 32-byte private key.

    Raises:
        ValueError: if the key is zero or not below the group order.
    """
    return coincurve.PrivateKey(private_key).public_key.format()
