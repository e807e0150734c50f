"""The records of a chain, drawn byte by byte. Changing one raises `STORAGE_VERSION`.

All integers are big-endian, so that keys sort by number. A *block key* is

    height (4) | block id (32)

so that records lie in the order of the chain, parents before children. `crc` is the CRC-32 of the key
followed by the rest of the value: LMDB has no checksums, and a flipped bit must never become a wrong
balance (A125). Bodies need none: the id in their key commits to all of their bytes.

    table    key                       value
    headers  block key                 header (80) | arrival (8) | anchor height (4), time (4), bits (4) | crc (4)
    bodies   block key                 arrival (8) | encoded block
    undo     block key                 encoded BlockUndo | crc (4)
    coins    txid (32) | index (4)     encoded Coin | crc (4)
    assets   asset id (32)             encoded Asset | crc (4)
    asset_index                        drawn in `asset_index`
    invalid  block key                 the rule that the block breaks, or `set-aside`, in ASCII | crc (4)
    meta     "tip"                     block key of the tip whose coins are in `coins` | crc (4)
             "reindex"                 one byte, present while the chain is being rebuilt from its bodies | crc (4)

`arrival` numbers the bodies in the order in which they came, from 1 (genesis); 0 where there is none yet.
It decides between tips of equal work, and is kept in both tables so that a reindex keeps the order.
An anchor of zeros is none. In `invalid` only the first bad block of a branch has a record.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from consensus.pow import Anchor
from consensus.types import HEADER_SIZE, BlockHash, Header, OutPoint, TxId
from node.storage.errors import DamagedError
from node.storage.store import Change, Database

STORAGE_VERSION = 2
"""2 added the tables of assets, and to undo records what they were."""


def add_assets(_database: Database) -> Iterable[Change]:
    """Bring version 1 to 2: there were no assets, and undo records without any read as they are."""
    return ()


MIGRATIONS = {1: add_assets}
"""How to come from each version to the next."""

HEADERS = "headers"
BODIES = "bodies"
UNDO = "undo"
COINS = "coins"
ASSETS = "assets"
ASSET_INDEX = "asset_index"
INVALID = "invalid"
META = "meta"
TABLES = (HEADERS, BODIES, UNDO, COINS, ASSETS, ASSET_INDEX, INVALID, META)

SET_ASIDE = "set-aside"
"""Stands in `invalid` for the operator's choice: the block breaks no rule."""

TIP_KEY = b"tip"
REINDEX_KEY = b"reindex"

_BLOCK_KEY = struct.Struct(">I32s")
_COIN_KEY = struct.Struct(">32sI")
_HEADER_RECORD = struct.Struct(f">{HEADER_SIZE}sQIII")
_ARRIVAL = struct.Struct(">Q")
_CRC_SIZE = 4


class StoredHeader(NamedTuple):
    """A record of `headers`."""

    height: int
    header: Header
    arrival: int
    """Of its body, 0 if there is none."""
    anchor: Anchor | None
    """Of the state after this header."""


def block_key(height: int, block_hash: BlockHash) -> bytes:
    """Return the key of a block's records."""
    return _BLOCK_KEY.pack(height, block_hash)


def read_block_key(key: bytes) -> tuple[int, BlockHash]:
    """Return the height and the id in a block key.

    Raises:
        DamagedError: it is no such key.
    """
    height, block_hash = _unpacked(_BLOCK_KEY, key)
    return height, BlockHash(block_hash)


def coin_key(outpoint: OutPoint) -> bytes:
    """Return the key of a coin: in the order of keys, coins are in the order of the state hash."""
    return _COIN_KEY.pack(outpoint.txid, outpoint.index)


def read_coin_key(key: bytes) -> OutPoint:
    """Return the outpoint in a coin's key.

    Raises:
        DamagedError: it is no such key.
    """
    txid, index = _unpacked(_COIN_KEY, key)
    return OutPoint(TxId(txid), index)


def seal(key: bytes, value: bytes) -> bytes:
    """Return `value` with its checksum."""
    return value + zlib.crc32(value, zlib.crc32(key)).to_bytes(_CRC_SIZE, "big")


def unseal(table: str, key: bytes, sealed: bytes) -> bytes:
    """Return what was sealed.

    Raises:
        DamagedError: it is not what was written, or was written under another key.
    """
    value = sealed[:-_CRC_SIZE]
    if zlib.crc32(value, zlib.crc32(key)).to_bytes(_CRC_SIZE, "big") != sealed[-_CRC_SIZE:]:
        raise DamagedError(f"a record in the table {table} is damaged (key {key.hex()}): start with --reindex")
    return value


def _unpacked(layout: struct.Struct, raw: bytes) -> tuple[Any, ...]:
    """Return the fields of a key or a value. A seal does not name its table: in a copy of a database that was being
    written to (A133), a page of one table may stand where another's was, with records that are whole.
    """
    if len(raw) != layout.size:
        raise DamagedError(f"a record is damaged ({len(raw)} bytes for {layout.size}): start with --reindex")
    return layout.unpack(raw)


def header_record(key: bytes, stored: StoredHeader) -> bytes:
    """Return the record of a header."""
    anchor = stored.anchor or Anchor(0, 0, 0)
    packed = _HEADER_RECORD.pack(stored.header.encoded, stored.arrival, anchor.height, anchor.time, anchor.bits)
    return seal(key, packed)


def read_header_record(key: bytes, record: bytes) -> StoredHeader:
    """Return the header in a record.

    Raises:
        DamagedError: it is not what was written.
    """
    raw, arrival, anchor_height, time, bits = _unpacked(_HEADER_RECORD, unseal(HEADERS, key, record))
    anchor = Anchor(anchor_height, time, bits) if bits else None
    return StoredHeader(read_block_key(key)[0], Header.from_bytes(raw), arrival, anchor)


def body_record(arrival: int, encoded: bytes) -> bytes:
    """Return the record of a body."""
    return _ARRIVAL.pack(arrival) + encoded


def read_body_record(record: bytes) -> tuple[int, bytes]:
    """Return the arrival and the encoded block in a record; neither is checked."""
    return int.from_bytes(record[: _ARRIVAL.size], "big"), record[_ARRIVAL.size :]
