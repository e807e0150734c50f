"""A chain's records, typed, over any `Database`: what `schema` draws, read and written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from consensus.codec import decode_asset, decode_block_in_slices, decode_coin, decode_undo, encode
from consensus.errors import ConsensusError
from consensus.params import Params
from consensus.slices import Slices, whole
from consensus.state import BlockUndo
from consensus.types import Asset, AssetId, Block, BlockHash, Coin, Header, OutPoint
from consensus.validation import check_body_in_slices
from node.storage.asset_index import AssetIndex
from node.storage.errors import DamagedError, OtherNetworkError
from node.storage.schema import (
    ASSET_INDEX,
    ASSETS,
    BODIES,
    COINS,
    HEADERS,
    INVALID,
    META,
    REINDEX_KEY,
    TIP_KEY,
    UNDO,
    StoredHeader,
    block_key,
    body_record,
    coin_key,
    header_record,
    read_block_key,
    read_body_record,
    read_coin_key,
    read_header_record,
    seal,
    unseal,
)
from node.storage.store import Change, Database

_T = TypeVar("_T")


class Step:
    """Changes on their way to one write. Nothing of it is seen by anybody before it is written."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def put_header(self, stored: StoredHeader) -> None:
        """Keep a header, or replace its record."""
        key = block_key(stored.height, stored.header.hash)
        self.changes.append(Change(HEADERS, key, header_record(key, stored)))

    def forget_header(self, height: int, block_hash: BlockHash) -> None:
        """Remove a header that has no body."""
        self.changes.append(Change(HEADERS, block_key(height, block_hash), None))

    def put_body(self, height: int, block: Block, arrival: int) -> None:
        """Keep a block."""
        self.changes.append(Change(BODIES, block_key(height, block.hash), body_record(arrival, block.encoded)))

    def put_undo(self, height: int, block_hash: BlockHash, undo: BlockUndo) -> None:
        """Keep what takes a block back."""
        key = block_key(height, block_hash)
        self.changes.append(Change(UNDO, key, seal(key, encode(undo))))

    def put_coins(self, coins: Mapping[OutPoint, Coin | None]) -> None:
        """Add coins, and remove those that are None."""
        for outpoint, coin in coins.items():
            key = coin_key(outpoint)
            self.changes.append(Change(COINS, key, None if coin is None else seal(key, encode(coin))))

    def put_assets(self, assets: Mapping[AssetId, Asset | None]) -> None:
        """Keep records of assets, or replace them, and remove those that are None."""
        for asset, record in assets.items():
            self.changes.append(Change(ASSETS, asset, None if record is None else seal(asset, encode(record))))

    def put_tip(self, height: int, block_hash: BlockHash) -> None:
        """Say whose coins these are."""
        self.changes.append(Change(META, TIP_KEY, seal(TIP_KEY, block_key(height, block_hash))))

    def put_invalid(self, height: int, block_hash: BlockHash, rule: str) -> None:
        """Remember that a block breaks a rule, or that the operator has set it aside (`schema.SET_ASIDE`)."""
        key = block_key(height, block_hash)
        self.changes.append(Change(INVALID, key, seal(key, rule.encode("ascii"))))

    def clear_invalid(self, height: int, block_hash: BlockHash) -> None:
        """Forget that a block was marked."""
        self.changes.append(Change(INVALID, block_key(height, block_hash), None))

    def end_reindex(self) -> None:
        """Say that the coins are again those of the tip."""
        self.changes.append(Change(META, REINDEX_KEY, None))


class ChainStore:
    """One network's headers, bodies, undo records, coins, assets and invalid marks."""

    def __init__(self, database: Database, params: Params, *, reindex: bool = False) -> None:
        """Open the chain in `database`; an empty one gets the genesis block.

        Args:
            reindex: forget all but the bodies, however damaged the rest is; the chain manager then
                rebuilds it from them when it starts. So it does where a reindex was begun before.

        Raises:
            OtherNetworkError: another network's chain is there, or an altered genesis block (A051, A132).
            DamagedError: a record is not what was written.
        """
        self._database = database
        self._params = params
        self.asset_index = AssetIndex(database)
        self._check_network()
        if reindex or self.reindexing or database.get(META, TIP_KEY) is None:
            self._begin()
        if self.read_block(0, params.genesis_hash).encoded != params.genesis.encoded:
            raise OtherNetworkError("the stored genesis block is not this network's")

    def _check_network(self) -> None:
        """Refuse a chain with another genesis block, before anything is written."""
        for table in (HEADERS, BODIES):
            for key, _ in self._database.scan(table, stop=(1).to_bytes(4, "big")):
                if read_block_key(key)[1] != self._params.genesis_hash:
                    raise OtherNetworkError("this chain belongs to another network (another genesis block)")

    def _begin(self) -> None:
        """Make the chain its genesis, in one write. Where there are other bodies, they are to be taken anew."""
        step = Step()
        genesis = self._params.genesis
        step.put_header(StoredHeader(0, genesis.header, 1, None))
        step.put_body(0, genesis, 1)
        step.put_tip(0, genesis.hash)
        if next(self._database.scan(BODIES, start=(1).to_bytes(4, "big")), None) is not None:
            step.changes.append(Change(META, REINDEX_KEY, seal(REINDEX_KEY, b"\x01")))
        self._database.write(step.changes, clear=(HEADERS, UNDO, COINS, ASSETS, ASSET_INDEX, INVALID, META))

    def write(self, step: Step) -> None:
        """Make all changes of a step, or none; durable once this returns. At a start, before anything runs.

        Raises:
            StorageError: nothing was written.
        """
        self._database.write(step.changes)

    async def commit(self, step: Step) -> None:
        """Make all changes of a step, or none; durable, and seen by reads, once this returns. See `Database.commit`.

        Raises:
            StorageError: nothing was written.
        """
        await self._database.commit(step.changes)

    # Headers

    def headers(self) -> Iterator[StoredHeader]:
        """Yield every header, parents before children."""
        for key, record in self._database.scan(HEADERS):
            yield read_header_record(key, record)

    def read_header(self, height: int, block_hash: BlockHash) -> Header:
        """Return a stored header.

        Raises:
            DamagedError: it is missing, or not what was written.
        """
        key = block_key(height, block_hash)
        record = self._database.get(HEADERS, key)
        if record is None:
            raise DamagedError(f"the header of block {block_hash[::-1].hex()} is missing: start with --reindex")
        return read_header_record(key, record).header

    def invalid_marks(self) -> Iterator[tuple[BlockHash, str]]:
        """Yield the blocks that are marked, each with the rule that it breaks, or `schema.SET_ASIDE`."""
        for key, record in self._database.scan(INVALID):
            yield read_block_key(key)[1], _text(unseal(INVALID, key, record))

    # Blocks

    def bodies(self) -> Iterator[tuple[int, int, Block]]:
        """Yield (height, arrival, block) for every stored body that is whole, parents before children."""
        for key, record in self._database.scan(BODIES):
            try:
                height, block_hash = read_block_key(key)
            except DamagedError:
                continue  # what is left is rebuilt
            arrival, raw = read_body_record(record)
            block = whole(_whole_block(block_hash, raw))
            if block is not None:
                yield height, arrival, block

    def read_raw_block(self, height: int, block_hash: BlockHash) -> bytes | None:
        """Return the encoding of a block as it was stored, unchecked, or None: for a peer, who checks it."""
        record = self._database.get(BODIES, block_key(height, block_hash))
        return None if record is None else read_body_record(record)[1]

    def read_block(self, height: int, block_hash: BlockHash) -> Block:
        """Return a stored block.

        Raises:
            DamagedError: it is missing, or not the block of this id.
        """
        return whole(self.read_block_in_slices(height, block_hash))

    def read_block_in_slices(self, height: int, block_hash: BlockHash) -> Slices[Block]:
        """Do `read_block`, in slices: what is read is read in the first, whatever is written meanwhile."""
        raw = self.read_raw_block(height, block_hash)
        block = None if raw is None else (yield from _whole_block(block_hash, raw))
        if block is None:
            raise DamagedError(
                f"block {block_hash[::-1].hex()} of height {height} is missing or damaged: start with --reindex,"
                " and the node will fetch it anew from its peers"
            )
        return block

    def has_undo(self, height: int, block_hash: BlockHash) -> bool:
        """Tell whether a block was ever on the best chain, so that what takes it back is here."""
        return self._database.get(UNDO, block_key(height, block_hash)) is not None

    def read_undo(self, height: int, block_hash: BlockHash) -> BlockUndo:
        """Return what takes a block back.

        Raises:
            DamagedError: it is missing, or not what was written (A135).
        """
        key = block_key(height, block_hash)
        record = self._database.get(UNDO, key)
        if record is None:
            raise DamagedError(f"the undo record of block {block_hash[::-1].hex()} is missing: start with --reindex")
        return _decoded(decode_undo, unseal(UNDO, key, record))

    # Coins

    def read_coins(self, outpoints: Iterable[OutPoint]) -> dict[OutPoint, Coin]:
        """Return those of the outpoints that are unspent at the tip, read in one sorted pass."""
        wanted = {coin_key(outpoint): outpoint for outpoint in outpoints}
        keys = sorted(wanted)
        records = self._database.get_many(COINS, keys)
        return {
            wanted[key]: _decoded(decode_coin, unseal(COINS, key, record))
            for key, record in zip(keys, records, strict=True)
            if record is not None
        }

    def coins(self) -> Iterator[tuple[OutPoint, Coin]]:
        """Yield every coin at the tip, in the order of the state hash. Nobody may write meanwhile."""
        for key, record in self._database.scan(COINS):
            yield read_coin_key(key), _decoded(decode_coin, unseal(COINS, key, record))

    def read_assets(self, assets: Iterable[AssetId]) -> dict[AssetId, Asset]:
        """Return the records of those of the ids that are assets at the tip."""
        keys = sorted(set(assets))
        records = self._database.get_many(ASSETS, keys)
        return {
            AssetId(key): _decoded(decode_asset, unseal(ASSETS, key, record))
            for key, record in zip(keys, records, strict=True)
            if record is not None
        }

    def assets(self, after: bytes = b"") -> Iterator[tuple[AssetId, Asset]]:
        """Yield every asset at the tip whose id is above `after`, in the order of ids. Nobody may write meanwhile."""
        for key, record in self._database.scan(ASSETS, start=after + b"\x00" if after else b""):
            yield AssetId(key), _decoded(decode_asset, unseal(ASSETS, key, record))

    # The tip

    def read_tip(self) -> tuple[int, BlockHash]:
        """Return height and id of the block whose coins are stored."""
        record = self._database.get(META, TIP_KEY)
        if record is None:
            raise DamagedError("the tip's record is missing: start with --reindex")
        return read_block_key(unseal(META, TIP_KEY, record))

    @property
    def reindexing(self) -> bool:
        """Whether the chain is still to be rebuilt from its bodies."""
        return self._database.get(META, REINDEX_KEY) is not None

    def close(self) -> None:
        """Give the database back."""
        self._database.close()


def _whole_block(block_hash: BlockHash, raw: bytes) -> Slices[Block | None]:
    """Return the block in `raw`, or None unless every byte is the one that `block_hash` commits to."""
    try:
        block = yield from decode_block_in_slices(raw)
        yield from check_body_in_slices(block)
    except ConsensusError:
        return None
    return block if block.hash == block_hash else None


def _text(raw: bytes) -> str:
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError as error:
        raise DamagedError(f"a record is damaged ({error}): start with --reindex") from error


def _decoded(decode: Callable[[bytes], _T], raw: bytes) -> _T:
    try:
        return decode(raw)
    except ConsensusError as error:
        raise DamagedError(f"a record is damaged ({error}): start with --reindex") from error
