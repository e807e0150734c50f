"""What all files about swaps have around their contents.

    "dureswap" 8 bytes | version 1 byte | kind 1 byte | body, MessagePack | SHA-256 of all before, 32 bytes

A file has one form: the same contents are the same bytes. It holds no secret.
"""

from __future__ import annotations

from enum import IntEnum
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from consensus.codec import encode
from wallet.swaps.errors import SwapError, SwapRule

MAGIC = b"dureswap"
VERSION = 1
MAX_SWAP_SIZE = 512 * 1024
"""Bytes: as much as a partially signed transaction (wallet/psdt.py), which one kind of them holds."""
_HEAD_SIZE = len(MAGIC) + 2
_CHECKSUM_SIZE = 32

_V = TypeVar("_V", bound=msgspec.Struct)


class FileKind(IntEnum):
    """What a file is about."""

    TERMS = 1
    """A swap across two networks (terms.py)."""
    OFFER = 2
    """A swap in one transaction, offered (offers.py)."""
    ACCEPTANCE = 3
    """The same with the other half, and whatever was signed of it."""


_WHAT = {
    FileKind.TERMS: "a swap across two networks",
    FileKind.OFFER: "an offer that nobody has accepted",
    FileKind.ACCEPTANCE: "an offer that was accepted",
}


class FileValue(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A value in a file."""


def write_frame(kind: FileKind, value: msgspec.Struct) -> bytes:
    """Return the file of a value.

    Raises:
        SwapError: `SIZE`.
    """
    content = MAGIC + bytes([VERSION, kind]) + encode(value)
    raw = content + sha256(content).digest()
    _check_size(raw)
    return raw


def file_kind(raw: bytes) -> FileKind:
    """Return what a file is about, once its frame is whole.

    Raises:
        SwapError: `SIZE`, `MAGIC`, `VERSION` or `CHECKSUM`, the cheapest checks first.
    """
    _check_size(raw)
    if not raw.startswith(MAGIC):
        raise SwapError(SwapRule.MAGIC, "this is no file about a swap")
    version, kind = raw[len(MAGIC) : _HEAD_SIZE]
    if version != VERSION or kind not in list(FileKind):
        raise SwapError(SwapRule.VERSION, f"the file is of version {version}.{kind}, which this program does not know")
    if sha256(raw[:-_CHECKSUM_SIZE]).digest() != raw[-_CHECKSUM_SIZE:]:
        raise SwapError(SwapRule.CHECKSUM, "the file is damaged")
    return FileKind(kind)


def read_frame(kind: FileKind, decoder: msgspec.msgpack.Decoder[_V], raw: bytes) -> _V:
    """Return the value in a file of this kind.

    Raises:
        SwapError: as `file_kind`; then `MALFORMED`.
    """
    found = file_kind(raw)
    if found is not kind:
        raise SwapError(SwapRule.MALFORMED, f"the file is {_WHAT[found]}, which goes by other steps than {_WHAT[kind]}")
    body = raw[_HEAD_SIZE:-_CHECKSUM_SIZE]
    try:
        value: Any = decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise SwapError(SwapRule.MALFORMED, f"the file cannot be read: {error}") from None
    if encode(value) != body:
        raise SwapError(SwapRule.MALFORMED, "the file is not in its shortest form")
    return value  # type: ignore[no-any-return]


def _check_size(raw: bytes) -> None:
    if not _HEAD_SIZE + _CHECKSUM_SIZE < len(raw) <= MAX_SWAP_SIZE:
        raise SwapError(SwapRule.SIZE, f"a file has at most {MAX_SWAP_SIZE} bytes, this one {len(raw)}")
