"""Keys from a seed: BIP 32 over libsecp256k1, and where Dure keeps its own: m/44'/7340'/0'/branch/index.

The coin type 7340 is not registered in SLIP 44; it is the number of the network's port.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import new as new_hash
from hashlib import sha256, sha512

import coincurve
import msgspec

from consensus.hashing import hash256
from wallet.errors import KeyFormatError

HARDENED = 0x8000_0000
"""Added to an index whose child takes the private key to derive."""
ACCOUNT_PATH = (44 | HARDENED, 7340 | HARDENED, 0 | HARDENED)
MAX_KEY_DEPTH = 255
_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_VERSION_PRIVATE = bytes.fromhex("0488ade4")
_VERSION_PUBLIC = bytes.fromhex("0488b21e")
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def path_text(path: Sequence[int]) -> str:
    """Return a path from the master key as people write it, h for hardened: m/44h/7340h/0h/0/5."""
    return "/".join(["m", *(f"{index - HARDENED}h" if index >= HARDENED else str(index) for index in path)])


class InvalidChildError(Exception):
    """This index has no key (a chance of 1 in 2^127): go on with the next, as BIP 32 says."""


class PublicNode(msgspec.Struct, frozen=True):
    """An extended public key: from it follow the public keys of all children that are not hardened."""

    public_key: bytes
    """Compressed, 33 bytes."""
    chain_code: bytes
    depth: int = 0
    parent: bytes = bytes(4)
    """The parent's public key, or only its fingerprint, 4 bytes; zeros for a master key."""
    index: int = 0

    def child(self, index: int) -> PublicNode:
        """Return the child at `index` (BIP 32, CKDpub).

        Raises:
            ValueError: a hardened index, or a depth above 255.
            InvalidChildError: see there.
        """
        if not 0 <= index < HARDENED:
            raise ValueError("a hardened child takes the private key, and an index is below 2^31")
        _check_depth(self.depth)
        tweak, chain_code = _derive(self.chain_code, self.public_key, index)
        try:
            point = coincurve.PublicKey(self.public_key).add(tweak)
        except ValueError:
            raise InvalidChildError from None
        return PublicNode(point.format(), chain_code, self.depth + 1, self.public_key, index)

    def serialize(self) -> str:
        """Return the text that starts with xpub (BIP 32, serialization format)."""
        return _encode_node(_VERSION_PUBLIC, self, self.public_key)


class PrivateNode(msgspec.Struct, frozen=True):
    """An extended private key."""

    private_key: bytes
    """32 bytes, big-endian."""
    chain_code: bytes
    depth: int = 0
    parent: bytes = bytes(4)
    """The parent's public key, or only its fingerprint, 4 bytes; zeros for a master key."""
    index: int = 0

    def __repr__(self) -> str:
        # A traceback or a log line that shows a node must not show the key.
        return f"PrivateNode(depth={self.depth}, index={self.index})"

    def child(self, index: int) -> PrivateNode:
        """Return the child at `index` (BIP 32, CKDpriv); hardened from 2^31 on.

        Raises:
            ValueError: an index outside 0 .. 2^32 - 1, or a depth above 255.
            InvalidChildError: see there.
        """
        if not 0 <= index < 2**32:
            raise ValueError("an index is below 2^32")
        _check_depth(self.depth)
        secret = coincurve.PrivateKey(self.private_key)
        public_key = secret.public_key.format()
        material = b"\x00" + self.private_key if index >= HARDENED else public_key
        tweak, chain_code = _derive(self.chain_code, material, index)
        try:
            child = secret.add(tweak).secret
        except ValueError:
            raise InvalidChildError from None
        return PrivateNode(child, chain_code, self.depth + 1, public_key, index)

    def descend(self, path: tuple[int, ...]) -> PrivateNode:
        """Return the descendant at a path of indices.

        Raises:
            ValueError, InvalidChildError: see `child`.
        """
        node = self
        for index in path:
            node = node.child(index)
        return node

    def public(self) -> PublicNode:
        """Return the extended public key of the same node."""
        public_key = coincurve.PrivateKey(self.private_key).public_key.format()
        return PublicNode(public_key, self.chain_code, self.depth, self.parent, self.index)

    def serialize(self) -> str:
        """Return the text that starts with xprv. It is as secret as the key."""
        return _encode_node(_VERSION_PRIVATE, self, b"\x00" + self.private_key)


def master_node(seed: bytes) -> PrivateNode:
    """Return the root of all keys of a seed of 16 to 64 bytes (BIP 32, master key generation).

    Raises:
        ValueError: for a seed of another length, or one that gives no key (a chance of 1 in 2^127).
    """
    if not 16 <= len(seed) <= 64:
        raise ValueError(f"a seed has 16 to 64 bytes, not {len(seed)}")
    digest = hmac.digest(b"Bitcoin seed", seed, sha512)
    if not 0 < int.from_bytes(digest[:32], "big") < _ORDER:
        raise ValueError("the seed gives no key")
    return PrivateNode(digest[:32], digest[32:])


def _fingerprint(parent: bytes) -> bytes:
    # Computed only for text: OpenSSL of some systems lacks RIPEMD-160, and nothing else needs it.
    return parent if len(parent) == 4 else new_hash("ripemd160", sha256(parent).digest()).digest()[:4]


def _check_depth(depth: int) -> None:
    if depth >= MAX_KEY_DEPTH:
        raise ValueError("no key is deeper than 255 levels")


def _derive(chain_code: bytes, material: bytes, index: int) -> tuple[bytes, bytes]:
    digest = hmac.digest(chain_code, material + index.to_bytes(4, "big"), sha512)
    if int.from_bytes(digest[:32], "big") >= _ORDER:
        raise InvalidChildError
    return digest[:32], digest[32:]


# As text


def parse_node(text: str) -> PrivateNode | PublicNode:
    """Read an extended key, xprv or xpub.

    Raises:
        KeyFormatError: with what is wrong (BIP 32, test vector 5).
    """
    raw = _base58check_decode(text)
    if len(raw) != 78:
        raise KeyFormatError("an extended key has 78 bytes")
    version, depth, parent, index, chain_code, key = raw[:4], raw[4], raw[5:9], raw[9:13], raw[13:45], raw[45:]
    if version not in {_VERSION_PRIVATE, _VERSION_PUBLIC}:
        raise KeyFormatError("the extended key is of an unknown version")
    if depth == 0 and (any(parent) or any(index)):
        raise KeyFormatError("a master key has no parent and no index")
    if version == _VERSION_PRIVATE:
        if key[0] != 0 or not 0 < int.from_bytes(key[1:], "big") < _ORDER:
            raise KeyFormatError("the private key is not one of secp256k1")
        return PrivateNode(key[1:], chain_code, depth, parent, int.from_bytes(index, "big"))
    try:
        if key[0] not in {2, 3}:
            raise ValueError
        coincurve.PublicKey(key)
    except ValueError:
        raise KeyFormatError("the public key is no compressed point of secp256k1") from None
    return PublicNode(key, chain_code, depth, parent, int.from_bytes(index, "big"))


def _encode_node(version: bytes, node: PublicNode | PrivateNode, key: bytes) -> str:
    place = bytes([node.depth]) + _fingerprint(node.parent) + node.index.to_bytes(4, "big")
    return _base58check_encode(version + place + node.chain_code + key)


def _base58check_encode(payload: bytes) -> str:
    raw = payload + hash256(payload)[:4]
    number, text = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    zeros = len(raw) - len(raw.lstrip(b"\x00"))
    return "1" * zeros + text


def _base58check_decode(text: str) -> bytes:
    # Longer than any extended key; bounds the quadratic conversion below.
    if len(text) > 120:
        raise KeyFormatError("the text is too long for an extended key")
    number = 0
    for place, symbol in enumerate(text, 1):
        digit = _ALPHABET.find(symbol)
        if digit < 0:
            raise KeyFormatError(f"the character at place {place} is not one of base58")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    raw = bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
    if len(raw) < 4 or hash256(raw[:-4])[:4] != raw[-4:]:
        raise KeyFormatError("the extended key is mistyped: its checksum does not match")
    return raw[:-4]
