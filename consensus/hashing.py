"""The two hashes that everything in Dure is named and signed by."""

from __future__ import annotations

from functools import cache
from hashlib import sha256


def hash256(data: bytes) -> bytes:
    """Return SHA256(SHA256(data)), 32 bytes: the H of docs/protocol.md."""
    return sha256(sha256(data).digest()).digest()


@cache
def _tag_prefix(tag: str) -> bytes:
    # The cache is bounded by the number of tags in the code: no tag comes from outside.
    digest = sha256(tag.encode("ascii")).digest()
    return digest + digest


def tagged_hash(tag: str, data: bytes) -> bytes:
    """Return SHA256(SHA256(tag) + SHA256(tag) + data), 32 bytes (BIP 340, "Design", tagged hashes).

    A hash made under one tag can never be taken for one made under another.
    """
    return sha256(_tag_prefix(tag) + data).digest()
