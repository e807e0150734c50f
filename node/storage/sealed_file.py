"""An envelope for small files that a node can do without: which kind, which version, and whether it is whole (A134).

kind (8, ASCII) | version (4, big-endian) | content | SHA-256 of all before it (32)
"""

from __future__ import annotations

from hashlib import sha256

from node.storage.errors import DamagedError

_KIND_SIZE = 8
_VERSION_SIZE = 4
_HEAD_SIZE = _KIND_SIZE + _VERSION_SIZE
_SEAL_SIZE = 32


def head_of(kind: bytes, version: int) -> bytes:
    """Return how a file of a kind begins.

    Args:
        kind: 8 bytes.
    """
    if len(kind) != _KIND_SIZE:
        raise ValueError(f"a kind of file has {_KIND_SIZE} bytes: {kind!r}")
    return kind + version.to_bytes(_VERSION_SIZE, "big")


def seal_file(kind: bytes, version: int, content: bytes) -> bytes:
    """Return a whole file."""
    raw = head_of(kind, version) + content
    return raw + sha256(raw).digest()


def unseal_file(kind: bytes, version: int, raw: bytes) -> memoryview:
    """Return the content of a file.

    Raises:
        DamagedError: it is of another kind or version, or not what was written.
    """
    if raw[:_KIND_SIZE] != kind or len(raw) < _HEAD_SIZE + _SEAL_SIZE:
        raise DamagedError("it is not such a file")
    found = int.from_bytes(raw[_KIND_SIZE:_HEAD_SIZE], "big")
    if found != version:
        raise DamagedError(f"it is of version {found}, and this program reads {version}")
    view = memoryview(raw)
    if sha256(view[:-_SEAL_SIZE]).digest() != raw[-_SEAL_SIZE:]:
        raise DamagedError("its checksum is wrong")
    return view[_HEAD_SIZE:-_SEAL_SIZE]
