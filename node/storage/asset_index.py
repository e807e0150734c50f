"""Where assets are: which coins carry one, who defined it, which have a content or a collection.

No rule reads it. It is written with the coins that it is about, in the same write, so that it always speaks
of the tip; an asset, and an authority, whose last coin is burned has no coins here. Keys begin with a letter:

    o | asset id, or authority id (32) | coin key (36)     a coin that carries it         crc (4)
    d | asset id (32)                                      block key (36) | txid (32)     crc (4)
    c | content (32) | asset id (32)                       an asset with that content     crc (4)
    m | collection (32) | asset id (32)                    a member of that collection    crc (4)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from consensus.assets import defined_by
from consensus.state import StateDelta
from consensus.types import AssetId, Block, BlockHash, Definition, OutPoint, TxId
from node.storage.schema import (
    ASSET_INDEX,
    block_key,
    coin_key,
    read_block_key,
    read_coin_key,
    seal,
    unseal,
)
from node.storage.store import Change, Database

_COIN, _DEFINED, _CONTENT, _MEMBER = b"o", b"d", b"c", b"m"
_ID_SIZE = 32
_BLOCK_KEY_SIZE = 36


class Origin(NamedTuple):
    """Where an asset was defined, on the best chain."""

    height: int
    block_hash: BlockHash
    txid: TxId


def defined_in(block: Block) -> Iterator[tuple[AssetId, TxId, Definition]]:
    """Yield the assets that the transactions of a valid block define."""
    for tx in block.transactions:
        for asset, definition in defined_by(tx).items():
            yield asset, tx.txid, definition


class AssetIndexStep:
    """What some steps along the chain change in the index; the later ones win."""

    def __init__(self) -> None:
        self._records: dict[bytes, bytes | None] = {}

    def apply(self, height: int, block: Block, delta: StateDelta) -> None:
        """Take a block that was applied."""
        self._move_coins(delta)
        for asset, txid, definition in defined_in(block):
            self._records[_DEFINED + asset] = block_key(height, block.hash) + txid
            for key in _names(asset, definition):
                self._records[key] = b""

    def revert(self, block: Block, delta: StateDelta) -> None:
        """Take back a block that was reverted."""
        self._move_coins(delta)
        for asset, _, definition in defined_in(block):
            for key in (_DEFINED + asset, *_names(asset, definition)):
                self._records[key] = None

    def _move_coins(self, delta: StateDelta) -> None:
        for outpoint, coin in delta.spent.items():
            if coin.output.asset is not None:
                self._records[_COIN + coin.output.asset + coin_key(outpoint)] = None
        for outpoint, coin in delta.created.items():
            if coin.output.asset is not None:
                self._records[_COIN + coin.output.asset + coin_key(outpoint)] = b""

    def changes(self) -> Iterator[Change]:
        """Yield what must be written."""
        for key, value in self._records.items():
            yield Change(ASSET_INDEX, key, None if value is None else seal(key, value))


def _names(asset: AssetId, definition: Definition) -> Iterator[bytes]:
    if definition.content is not None:
        yield _CONTENT + definition.content + asset
    if definition.collection is not None:
        yield _MEMBER + definition.collection + asset


class AssetIndex:
    """Reads the index, at the tip. Nobody may write while one of its iterators is in use."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def coins(self, asset: AssetId) -> Iterator[OutPoint]:
        """Yield the coins that carry an asset or authority, in the order of outpoints."""
        for key in self._keys(_COIN + asset):
            yield read_coin_key(key[1 + _ID_SIZE :])

    def origin(self, asset: AssetId) -> Origin | None:
        """Return where an asset was defined; None if it is none."""
        key = _DEFINED + asset
        record = self._database.get(ASSET_INDEX, key)
        if record is None:
            return None
        value = unseal(ASSET_INDEX, key, record)
        height, block_hash = read_block_key(value[:_BLOCK_KEY_SIZE])
        return Origin(height, block_hash, TxId(value[_BLOCK_KEY_SIZE:]))

    def with_content(self, content: bytes, after: bytes = b"") -> Iterator[AssetId]:
        """Yield the assets above `after` whose content is this SHA-256, in the order of ids: anyone may define one."""
        return (AssetId(key[1 + _ID_SIZE :]) for key in self._keys(_CONTENT + content, after))

    def members(self, collection: AssetId, after: bytes = b"") -> Iterator[AssetId]:
        """Yield the assets above `after` of a collection, in the order of ids."""
        return (AssetId(key[1 + _ID_SIZE :]) for key in self._keys(_MEMBER + collection, after))

    def _keys(self, prefix: bytes, after: bytes = b"") -> Iterator[bytes]:
        start = prefix + after + b"\0" if after else prefix
        for key, record in self._database.scan(ASSET_INDEX, start=start):
            if not key.startswith(prefix):
                return
            unseal(ASSET_INDEX, key, record)
            yield key
