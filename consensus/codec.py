"""One value, one encoding: bytes to values, and the messages that are signed.

MessagePack in its shortest form. msgspec reads longer forms than are needed, so whatever was
decoded is encoded again and compared: an object whose bytes differ from that is malformed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from consensus.errors import ConsensusError, Rule
from consensus.hashing import tagged_hash
from consensus.slices import Slices, whole
from consensus.state import BlockUndo
from consensus.types import (
    HEADER_SIZE,
    Asset,
    AssetId,
    Block,
    BlockHash,
    Coin,
    Core,
    Header,
    LockId,
    OutPoint,
    Output,
    Policy,
    Threshold,
    Transaction,
    TxId,
    WTxId,
)

MAX_BLOCK_SIZE = 4 * 1024 * 1024
MAX_DEPTH = 24
"""Arrays nested deeper than this are malformed wherever they stand."""

MIN_TRANSACTION_SIZE = 10
"""Bytes that any transaction takes whose core and witnesses are as empty as can be, valid or not. Of more elements than
this leaves room for in a block, no list is made."""
READ_AT_ONCE = 2_000
"""Transactions of a block that are read in a slice: some three milliseconds. In a sync, blocks wait to be read while
others are connected; those of ordinary size should not have to wait for turns."""
_ARRAY_16 = b"\xdc"
"""The head of an array; two bytes with its length follow."""

_T = TypeVar("_T")
_encoder = msgspec.msgpack.Encoder()

encode = _encoder.encode
"""Encode a value of `consensus.types` (or a tuple of such, integers, bytes and None) in its one form."""


class _BlockParts(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A block whose transactions are not read yet."""

    header: Annotated[bytes, Meta(min_length=HEADER_SIZE, max_length=HEADER_SIZE)]
    transactions: Annotated[tuple[msgspec.Raw, ...], Meta(max_length=MAX_BLOCK_SIZE // MIN_TRANSACTION_SIZE)]


_transaction_decoder = msgspec.msgpack.Decoder(Transaction)
_parts_decoder = msgspec.msgpack.Decoder(_BlockParts)
_transactions_decoder = msgspec.msgpack.Decoder(tuple[Transaction, ...])
_policy_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Policy)
_asset_decoder = msgspec.msgpack.Decoder(Asset)
_coin_decoder = msgspec.msgpack.Decoder(Coin)
_undo_decoder = msgspec.msgpack.Decoder(BlockUndo)


def _decode(decoder: msgspec.msgpack.Decoder[_T], raw: bytes, what: str) -> _T:
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        # RecursionError comes only from policies nested far deeper than MAX_DEPTH.
        raise ConsensusError(Rule.MALFORMED, what=what, why=str(error)) from None


def _check_canonical(what: str, raw: bytes, encoded: bytes) -> None:
    if encoded != raw:
        raise ConsensusError(Rule.MALFORMED, what=what, why="not in the shortest form")


def _threshold_depth(policy: Policy) -> int:
    """How many thresholds stand inside each other, at most. Costs nothing for a single key."""
    depth, level = 0, [policy]
    while level := [node for node in level if type(node) is Threshold]:
        depth += 1
        level = [child for node in level if type(node) is Threshold for child in node.children]
    return depth


def _check_depth(what: str, transactions: Sequence[Transaction], outside: int) -> None:
    # A witness policy lies 4 arrays inside its transaction, counting the transaction's own and
    # the leaf's; each threshold adds its own array and that of its children. Every other array's
    # place is fixed by the types, far above the bound.
    room = (MAX_DEPTH - outside - 4) // 2
    for tx in transactions:
        for witness in tx.witnesses:
            if type(witness.policy) is Threshold and _threshold_depth(witness.policy) > room:
                raise ConsensusError(Rule.MALFORMED, what=what, why=f"arrays nested deeper than {MAX_DEPTH}")


def decode_transaction(raw: bytes) -> Transaction:
    """Read a transaction.

    Raises:
        ConsensusError: `MALFORMED`, unless `raw` is the one encoding of a transaction.
    """
    tx = _decode(_transaction_decoder, raw, "transaction")
    _check_canonical("transaction", raw, tx.encoded)
    _check_depth("transaction", (tx,), 0)
    return tx


def decode_header(raw: bytes) -> Header:
    """Read a header.

    Raises:
        ConsensusError: `MALFORMED`, unless `raw` has 80 bytes.
    """
    try:
        return Header.from_bytes(raw)
    except struct.error:
        raise ConsensusError(Rule.MALFORMED, what="header", size=len(raw)) from None


def decode_block(raw: bytes) -> Block:
    """Read a block.

    Raises:
        ConsensusError: `BLOCK_SIZE` above 4 MiB, before anything is decoded; `MALFORMED`, unless
            `raw` is the one encoding of a block.
    """
    return whole(decode_block_in_slices(raw))


def decode_block_in_slices(raw: bytes) -> Slices[Block]:
    """Do `decode_block`, in slices: some transactions at a time."""
    if len(raw) > MAX_BLOCK_SIZE:
        raise ConsensusError(Rule.BLOCK_SIZE, size=len(raw))
    parts = _decode(_parts_decoder, raw, "block")
    header = decode_header(parts.header)
    transactions: list[Transaction] = []
    for start in range(0, len(parts.transactions), READ_AT_ONCE):
        if start:
            yield
        group = parts.transactions[start : start + READ_AT_ONCE]
        encoded = b"".join(group)
        read = _decode(_transactions_decoder, _ARRAY_16 + len(group).to_bytes(2, "big") + encoded, "block")
        _check_canonical("block", encoded, b"".join([tx.encoded for tx in read]))
        _check_depth("block", read, 2)
        transactions += read
    _check_canonical("block", raw, encode((parts.header, parts.transactions)))
    return Block(header, tuple(transactions))


def decode_policy(raw: bytes) -> Policy:
    """Read a spend policy that stands alone, as in a file or a wallet.

    Raises:
        ConsensusError: `MALFORMED`, unless `raw` is the one encoding of a policy.
    """
    policy: Policy = _decode(_policy_decoder, raw, "policy")
    _check_canonical("policy", raw, encode(policy))
    if 2 * _threshold_depth(policy) + 1 > MAX_DEPTH:
        raise ConsensusError(Rule.MALFORMED, what="policy", why=f"arrays nested deeper than {MAX_DEPTH}")
    return policy


# What is signed


def spend_message(genesis_hash: BlockHash, core: Core, spent: Sequence[Output]) -> bytes:
    """Return m, 32 bytes: what all signatures of a transaction commit to, beside their lock.

    Args:
        spent: the outputs that `core.inputs` name, exactly as created, in that order.
    """
    return tagged_hash("dure/tx", encode((genesis_hash, core, tuple(spent))))


def approval_digest(message: bytes, asset: AssetId, policy: LockId) -> bytes:
    """Return the 32 bytes that a key signs to approve, as part of `policy`, what a transaction does to an asset."""
    return tagged_hash("dure/approve", message + asset + policy)


def lock_digest(message: bytes, lock: LockId) -> bytes:
    """Return the 32 bytes that a key signs to open `lock` in the transaction of `message`."""
    return tagged_hash("dure/sign", message + lock)


# Records that nodes store; not hashed, but compared in tests and by the state hash


def coin_entry(outpoint: OutPoint, coin: Coin) -> bytes:
    """Return a coin's entry in the state hash: encode([0, outpoint, output, height, coinbase 0 | 1])."""
    return encode((0, outpoint, coin.output, coin.height, int(coin.coinbase)))


def asset_entry(asset: AssetId, record: Asset) -> bytes:
    """Return an asset's entry in the state hash: encode([1, id, definition, supply, sequence, total])."""
    return encode((1, asset, record.definition, record.supply, record.sequence, record.total))


def decode_asset(raw: bytes) -> Asset:
    """Read an asset from its stored record, `encode(asset)`.

    Raises:
        ConsensusError: `MALFORMED`: the store is damaged.
    """
    return _decode(_asset_decoder, raw, "asset")


def decode_coin(raw: bytes) -> Coin:
    """Read a coin from its stored record, `encode(coin)`.

    Raises:
        ConsensusError: `MALFORMED`: the store is damaged.
    """
    return _decode(_coin_decoder, raw, "coin")


def decode_undo(raw: bytes) -> BlockUndo:
    """Read an undo record, `encode(undo)`.

    Raises:
        ConsensusError: `MALFORMED`: the store is damaged.
    """
    return _decode(_undo_decoder, raw, "undo")


# Where a person reads an id


def display_hash(raw: BlockHash | TxId | WTxId | bytes) -> str:
    """Show a block id, txid, wtxid or Merkle root: hex with the bytes reversed, as Bitcoin does."""
    return raw[::-1].hex()


def parse_hash(text: str) -> bytes:
    """Read what `display_hash` shows.

    Raises:
        ValueError: unless `text` is 64 hex digits.
    """
    if len(text) != 64 or not text.isascii() or not text.isalnum():
        raise ValueError(f"not 64 hex digits: {text[:80]!r}")
    return bytes.fromhex(text)[::-1]
