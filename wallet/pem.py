"""Single private keys as PEM (SEC 1, "EC PRIVATE KEY"), read and written by `ecdsa`. It signs nothing here."""

from __future__ import annotations

from wallet.errors import KeyFormatError

_MAX_PEM = 4_096
"""Characters; a key takes 230."""


def export_key(private_key: bytes) -> str:
    """Return 32 bytes as PEM, which other programs (OpenSSL) read."""
    from ecdsa import SECP256k1, SigningKey  # noqa: PLC0415 - slow to import, and seldom needed

    return str(SigningKey.from_string(private_key, curve=SECP256k1).to_pem().decode("ascii"))


def import_key(text: str) -> bytes:
    """Return the private key, 32 bytes, of a PEM in SEC 1 or PKCS 8 form. It must not be encrypted.

    Raises:
        KeyFormatError: it cannot be read, or is of another curve.
    """
    from ecdsa import SECP256k1, SigningKey  # noqa: PLC0415 - as above
    from ecdsa.der import UnexpectedDER  # noqa: PLC0415
    from ecdsa.errors import MalformedPointError  # noqa: PLC0415

    if len(text) > _MAX_PEM or "PRIVATE KEY-----" not in text:
        raise KeyFormatError("this is no PEM of a private key")
    if "ENCRYPTED" in text:
        raise KeyFormatError("the PEM is encrypted: decrypt it first")
    try:
        key = SigningKey.from_pem(text)
    except (UnexpectedDER, MalformedPointError, ValueError, TypeError, IndexError, AssertionError):
        # What the library raises on garbage is not documented; found by flipping every byte (tests).
        raise KeyFormatError("the PEM cannot be read") from None
    if key.curve != SECP256k1:
        raise KeyFormatError("the key is not one of secp256k1")
    return bytes(key.to_string())
