"""The records of a wallet, as they are stored: MessagePack arrays, in the order of their fields."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from consensus.codec import decode_transaction
from consensus.types import Amount, AssetId, BlockHash, LockId, Output, Transaction, TxId
from wallet.errors import WalletDataError


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A stored value."""


class AddressRecord(Record, frozen=True):
    """An address that is watched; it is handed out if its index is below its branch's next."""

    lock: LockId
    label: str
    used: bool
    """Whether anybody ever paid to it, or to a later one of its branch."""


class TxRecord(Record, frozen=True):
    """A transaction that concerns the wallet."""

    sequence: int
    time: int
    """When it was first seen, UNIX seconds."""
    raw: bytes
    arrival: int
    """As `sequence`, but of the last time that the mempool took it."""
    ours: bool
    """Whether we made it, or at least all its inputs are ours."""
    abandoned: bool
    dropped: bool
    """Whether the mempool gave it up."""
    height: int | None
    """Of its block, if it is in the chain."""
    block_hash: BlockHash | None
    block_time: int | None

    @property
    def transaction(self) -> Transaction:
        """The transaction, decoded."""
        return decode_transaction(self.raw)


class CoinRecord(Record, frozen=True):
    """An output to one of our locks. All but what is pending follows from it alone."""

    value: Amount
    lock: LockId
    asset: AssetId | None
    coinbase: bool
    height: int | None
    """Of the block that created it; None while its transaction is in no block."""
    spender: TxId | None
    """The transaction in the chain that spent it."""
    spent_height: int | None

    @property
    def output(self) -> Output:
        """The output that it is."""
        return Output(self.value, self.lock, self.asset)


class JournalRecord(Record, frozen=True):
    """What a block had for the wallet."""

    block_hash: BlockHash
    txids: tuple[TxId, ...]
    """In the order of the block."""


class ConflictRecord(Record, frozen=True):
    """Who in the chain spent a coin that a transaction of `pending` names, and where."""

    spender: TxId
    height: int


class RequestRecord(Record, frozen=True):
    """A payment that was asked for under a name."""

    txid: TxId
    fingerprint: bytes
    """Of what was asked for: the same name for another payment is a mistake."""


class PolicyRecord(Record, frozen=True):
    """A spend policy whose coins are watched."""

    number: int
    """In the order in which they were added."""
    name: str
    policy: bytes
    """Encoded as in a witness, all branches that are known revealed."""
    roles: tuple[tuple[bytes, str], ...]
    """What to call the owners of some keys, in the order of the keys."""


class WaitingRecord(Record, frozen=True):
    """A transaction of ours that waits for somebody else's approval."""

    number: int
    """In the order in which they were made."""
    time: int
    """When it was made, UNIX seconds."""
    raw: bytes
    """The partially signed transaction, as a file (`wallet.psdt`)."""


class RescanRecord(Record, frozen=True):
    """A rescan that is under way; its progress is the cursor."""

    from_height: int
    previous: BlockHash
    """The id of the block below `from_height`."""
    target: int
    descending: bool
    """Whether blocks from `from_height` on are still being taken back."""


_R = TypeVar("_R", bound=Record)
encode_record = msgspec.msgpack.Encoder().encode
_decoders: dict[type, msgspec.msgpack.Decoder[object]] = {
    kind: msgspec.msgpack.Decoder(kind)
    for kind in (
        AddressRecord,
        TxRecord,
        CoinRecord,
        JournalRecord,
        ConflictRecord,
        RequestRecord,
        PolicyRecord,
        WaitingRecord,
        RescanRecord,
    )
}


def decode_record(raw: bytes, kind: type[_R]) -> _R:
    """Return the record of a kind.

    Raises:
        WalletDataError: it is none.
    """
    try:
        decoded = _decoders[kind].decode(raw)
    except msgspec.MsgspecError as error:
        raise WalletDataError(f"the wallet's database is damaged: {error}") from None
    if not isinstance(decoded, kind):
        raise WalletDataError("the wallet's database is damaged")
    return decoded
