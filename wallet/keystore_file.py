"""The keys on disk: one small file, encrypted, replaced whole.

    "durekeys" 8 bytes | version 1 byte | body, MessagePack | SHA-256 of all before, 32 bytes

    body       = [account key 33, account chain code 32, [imported public key 33, ...], protection]
    protection = [0, secret]                                  on networks whose coins are worth nothing
               | [1, log2 N, r, p, salt 16, nonce 12, sealed]   scrypt (RFC 7914), ChaCha20-Poly1305 (RFC 8439)
    secret     = [mnemonic, [imported private key 32, ...]]

The account key is public: with it a locked wallet hands out addresses and sees payments. All that
is readable is authenticated with what is sealed, so none of it can be exchanged. The checksum is
looked at before anything is believed, the costs of the key derivation before it is run.
"""

from __future__ import annotations

import unicodedata
from hashlib import sha256
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from wallet.errors import KeystoreError, WalletError, WrongPassphraseError
from wallet.ports import Entropy

KEYSTORE_FILE = "wallet.keys"
MAX_IMPORTED_KEYS = 10_000
"""Bounds the file, which is written whole for each imported key: 650 KB."""
_MAGIC = b"durekeys"
_VERSION = 1
_HEAD = _MAGIC + bytes([_VERSION])
_CHECKSUM_SIZE = 32
_MIN_LOG_N, _MAX_LOG_N = 14, 18
"""16 MiB, the least that scrypt was proposed with for logins, to 256 MiB of memory."""
_SCRYPT_R = 8
_MAX_P = 4


class KdfCost(NamedTuple):
    """What one guess at the passphrase costs."""

    log_n: int
    """Memory: 2^log_n KiB."""
    p: int
    """Time: how often that memory is walked through."""


DEFAULT_KDF = KdfCost(16, 2)
"""64 MiB and about 0.4 s a guess: one of the settings that OWASP's password storage page holds equal."""

_Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
_Bytes33 = Annotated[bytes, Meta(min_length=33, max_length=33)]


class Secret(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the passphrase protects."""

    mnemonic: str
    imported: Annotated[tuple[_Bytes32, ...], Meta(max_length=MAX_IMPORTED_KEYS)]

    def __repr__(self) -> str:
        # So that no traceback and no log line shows it.
        return "Secret()"


class Plain(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=0):
    """No protection but the file's mode."""

    secret: bytes


class Sealed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """A secret under a passphrase."""

    log_n: int
    r: int
    p: int
    salt: Annotated[bytes, Meta(min_length=16, max_length=16)]
    nonce: Annotated[bytes, Meta(min_length=12, max_length=12)]
    sealed: bytes


class KeystoreBody(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The whole file but its head and checksum."""

    account_key: _Bytes33
    account_chain_code: _Bytes32
    imported_public: Annotated[tuple[_Bytes33, ...], Meta(max_length=MAX_IMPORTED_KEYS)]
    protection: Plain | Sealed


_encode = msgspec.msgpack.Encoder().encode


def encode_secret(secret: Secret) -> bytes:
    """Return what is sealed, or on a network without value stored as it is."""
    return _encode(secret)


def read_keystore(raw: bytes) -> KeystoreBody:
    """Read a file.

    Raises:
        KeystoreError: it is not whole, of another version, or its costs are not sane.
    """
    if len(raw) < len(_HEAD) + _CHECKSUM_SIZE or sha256(raw[:-_CHECKSUM_SIZE]).digest() != raw[-_CHECKSUM_SIZE:]:
        raise KeystoreError(f"{KEYSTORE_FILE} is damaged: its checksum does not match")
    if raw[: len(_MAGIC)] != _MAGIC:
        raise KeystoreError(f"{KEYSTORE_FILE} is not a keystore")
    if raw[len(_MAGIC)] != _VERSION:
        raise KeystoreError(f"{KEYSTORE_FILE} is of version {raw[len(_MAGIC)]}, which this program does not know")
    try:
        body = msgspec.msgpack.decode(raw[len(_HEAD) : -_CHECKSUM_SIZE], type=KeystoreBody)
    except msgspec.MsgspecError as error:
        raise KeystoreError(f"{KEYSTORE_FILE} is damaged: {error}") from None
    if isinstance(body.protection, Sealed):
        _check_cost(KdfCost(body.protection.log_n, body.protection.p))
        if body.protection.r != _SCRYPT_R:
            raise KeystoreError(f"{KEYSTORE_FILE} asks for a block size that this program does not use")
    return body


def write_keystore(body: KeystoreBody) -> bytes:
    """Return the file."""
    content = _HEAD + _encode(body)
    return content + sha256(content).digest()


def _check_cost(cost: KdfCost) -> None:
    if not _MIN_LOG_N <= cost.log_n <= _MAX_LOG_N or not 1 <= cost.p <= _MAX_P:
        raise KeystoreError(f"{KEYSTORE_FILE} asks for a key derivation that is too cheap, or too dear, to be ours")


def _readable_part(body: KeystoreBody) -> bytes:
    """Return what is authenticated beside the secret: all but the secret and its nonce."""
    protection = body.protection
    cost = (protection.log_n, protection.r, protection.p, protection.salt) if isinstance(protection, Sealed) else ()
    return _HEAD + _encode((body.account_key, body.account_chain_code, body.imported_public, cost))


def _derive(passphrase: str, salt: bytes, cost: KdfCost) -> bytes:
    # cryptography takes 8 MiB of memory: most of a node's life nobody needs it.
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt  # noqa: PLC0415

    # NFKD, so that however a keyboard composes an accent, the same letters open the wallet (BIP 39 does so too).
    text = unicodedata.normalize("NFKD", passphrase).encode("utf-8", "surrogatepass")
    return Scrypt(salt=salt, length=32, n=1 << cost.log_n, r=_SCRYPT_R, p=cost.p).derive(text)


def seal(
    entropy: Entropy, body: KeystoreBody, secret: Secret, passphrase: str, cost: KdfCost
) -> tuple[KeystoreBody, bytes]:
    """Return a body with its secret under a new passphrase, and the key that seals it.

    Raises:
        WalletError: the passphrase is empty.
        KeystoreError: the cost is out of bounds.
    """
    if not passphrase:
        raise WalletError("the passphrase is empty")
    _check_cost(cost)
    protection = Sealed(cost.log_n, _SCRYPT_R, cost.p, entropy.randbytes(16), bytes(12), b"")
    key = _derive(passphrase, protection.salt, cost)
    return sealed_with(entropy, body, protection, secret, key), key


def sealed_with(entropy: Entropy, body: KeystoreBody, protection: Sealed, secret: Secret, key: bytes) -> KeystoreBody:
    """Return a body with its secret under a key that is known, with a new nonce."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415 - as in _derive

    nonce = entropy.randbytes(12)
    readable = _readable_part(msgspec.structs.replace(body, protection=protection))
    sealed = ChaCha20Poly1305(key).encrypt(nonce, encode_secret(secret), readable)
    return msgspec.structs.replace(body, protection=msgspec.structs.replace(protection, nonce=nonce, sealed=sealed))


def unseal(body: KeystoreBody, protection: Sealed, passphrase: str) -> tuple[bytes, bytes]:
    """Return the encoded secret, and the key that seals it; takes the time of one key derivation.

    Raises:
        WrongPassphraseError: it does not open.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as in _derive
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415

    key = _derive(passphrase, protection.salt, KdfCost(protection.log_n, protection.p))
    try:
        return ChaCha20Poly1305(key).decrypt(protection.nonce, protection.sealed, _readable_part(body)), key
    except InvalidTag:
        raise WrongPassphraseError("the passphrase does not open this wallet") from None
