"""The values that consensus is about, each with one encoding (docs/protocol.md, "Encoding").

Every struct is a MessagePack array of its fields, in order. Bounds stand in the types and are
checked when bytes are decoded, not when a value is made in code.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Annotated, Any, Generic, NewType, TypeVar

import msgspec
from msgspec import Meta

from consensus.hashing import hash256

BlockHash = NewType("BlockHash", bytes)
"""32 bytes as hashed; people see them reversed, as in Bitcoin."""
TxId = NewType("TxId", bytes)
"""H of the encoded core: no witness can change it."""
WTxId = NewType("WTxId", bytes)
"""H of the whole encoded transaction."""
LockId = NewType("LockId", bytes)
"""The id of the spend policy that guards an output."""
AssetId = NewType("AssetId", bytes)
Amount = NewType("Amount", int)
"""In grain: 1 DURE is 100,000,000 grain."""
Height = NewType("Height", int)

GRAIN_PER_DURE = 100_000_000
HEADER_SIZE = 80
NULL_TXID = TxId(bytes(32))
"""What a coinbase names as its input, beside its height."""

MAX_INTEGER = 2**63 - 1
MAX_UINT32 = 2**32 - 1
MAX_TRANSACTION_SIZE = 400_000
MAX_INPUTS = 4_096
MAX_OUTPUTS = 4_096
MAX_ISSUANCES = 64
MAX_BURNS = 64
MAX_MEMO = 96
MAX_WITNESSES = 12_288
MAX_SATISFACTIONS = 64
MAX_SATISFACTION_SIZE = 10_000
MAX_METADATA = 1_024
MAX_DECIMALS = 18
MAX_THRESHOLD_CHILDREN = 16
PREIMAGE_SIZE = 32

_UInt = Meta(ge=0, le=MAX_INTEGER)
_UInt32 = Meta(ge=0, le=MAX_UINT32)
_Positive = Meta(ge=1, le=MAX_INTEGER)
_Bytes32 = Meta(min_length=32, max_length=32)


class _Value(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A consensus value: immutable, an array on the wire, refused with a field too many."""


class Key(_Value, frozen=True, tag=0):
    """Holds if `key` signed."""

    key: Annotated[bytes, Meta(min_length=33, max_length=33)]
    """A compressed secp256k1 public key."""


class Preimage(_Value, frozen=True, tag=1):
    """Holds if 32 bytes are shown whose plain SHA-256 is `hash`."""

    hash: Annotated[bytes, _Bytes32]


class AfterHeight(_Value, frozen=True, tag=2):
    """Holds in a block of this height, or later."""

    height: Annotated[int, _UInt32]


class AfterTime(_Value, frozen=True, tag=3):
    """Holds in a block whose parent's median time is this, in UNIX seconds, or later (BIP 113)."""

    time: Annotated[int, _UInt32]


class Older(_Value, frozen=True, tag=4):
    """Holds `blocks` blocks after the coin was created, or later."""

    blocks: Annotated[int, Meta(ge=1, le=MAX_UINT32)]


class Threshold(_Value, frozen=True, tag=5):
    """Holds if `k` of its children hold. A spender reveals exactly those, the others are opaque."""

    k: Annotated[int, _UInt]
    children: Annotated[tuple[Policy, ...], Meta(max_length=MAX_THRESHOLD_CHILDREN)]


class Opaque(_Value, frozen=True, tag=6):
    """A branch that is not revealed, by the id of its policy."""

    id: Annotated[LockId, _Bytes32]


class Pays(_Value, frozen=True, tag=7):
    """Holds if each input at this lock has an output beside it that goes to `lock`, no less."""

    lock: Annotated[LockId, _Bytes32]


Policy = Key | Preimage | AfterHeight | AfterTime | Older | Threshold | Opaque | Pays
"""Who may spend, and when: a tree (see `consensus.spend_policy`). Tag 8 is reserved."""


class OutPoint(_Value, frozen=True):
    """Names an output: the txid of its transaction, and its place there, from 0.

    The input of a coinbase is [32 zero bytes, height].
    """

    txid: Annotated[TxId, _Bytes32]
    index: Annotated[int, _UInt32]

    def __str__(self) -> str:
        return f"{self.txid[::-1].hex()}:{self.index}"


class Output(_Value, frozen=True):
    """A value that only whoever satisfies the policy behind `lock` can spend."""

    value: Annotated[Amount, _Positive]
    lock: Annotated[LockId, _Bytes32]
    asset: Annotated[AssetId, _Bytes32] | None
    """None for DURE."""


class SupplyKind(IntEnum):
    """How much of an asset there may ever be."""

    FIXED = 0
    """The first amount, never more."""
    REISSUABLE = 1
    """More by whoever spends the asset's authority."""
    RESERVED = 2
    """More by whoever spends the authority, up to the reserve that the auditor attested last."""


class Definition(_Value, frozen=True):
    """What an asset is, for ever."""

    supply_kind: Annotated[int, Meta(ge=0, le=2)]
    """A `SupplyKind`."""
    first_amount: Annotated[Amount, _UInt]
    """Created with the asset: ≥ 1 of a fixed one, 0 of a reserved one."""
    decimals: Annotated[int, Meta(ge=0, le=MAX_DECIMALS)]
    """Where people put the point; no rule reads it."""
    auditor: Annotated[LockId, _Bytes32] | None
    """The policy that approves attestations; given exactly for a reserved supply."""
    controller: Annotated[LockId, _Bytes32] | None
    """The policy that approves whatever moves, creates or burns the asset."""
    content: Annotated[bytes, _Bytes32] | None
    """The SHA-256 of the file that an NFT stands for."""
    collection: Annotated[AssetId, _Bytes32] | None
    """An asset whose authority the defining transaction spends."""
    metadata: Annotated[bytes, Meta(max_length=MAX_METADATA)]
    """For people, untrusted; no rule reads it."""


class NewAsset(_Value, frozen=True, tag=0):
    """Creates an asset."""

    definition: Definition


class Reissue(_Value, frozen=True, tag=1):
    """Creates more of an asset."""

    asset: Annotated[AssetId, _Bytes32]
    amount: Annotated[Amount, _Positive]


class Attestation(_Value, frozen=True, tag=2):
    """Records the reserve that is held for an asset."""

    asset: Annotated[AssetId, _Bytes32]
    sequence: Annotated[int, _UInt]
    total: Annotated[Amount, _UInt]


class Asset(_Value, frozen=True):
    """An asset's record in the state of a chain. Never deleted, but by a reorg."""

    definition: Definition
    supply: Annotated[Amount, _UInt]
    """Created less burned, in the asset's smallest unit."""
    sequence: Annotated[int, _UInt]
    """Of the newest attestation; 0 before the first."""
    total: Annotated[Amount, _UInt]
    """The reserve that it attested; 0 before the first."""


class Burn(_Value, frozen=True):
    """Destroys an amount of an asset or of an authority."""

    id: Annotated[AssetId, _Bytes32]
    amount: Annotated[Amount, _Positive]


class Core(_Value, frozen=True):
    """All of a transaction but its witnesses: what is signed, and what the txid names."""

    version: Annotated[int, _UInt]
    inputs: Annotated[tuple[OutPoint, ...], Meta(max_length=MAX_INPUTS)]
    outputs: Annotated[tuple[Output, ...], Meta(max_length=MAX_OUTPUTS)]
    issuances: Annotated[tuple[NewAsset | Reissue | Attestation, ...], Meta(max_length=MAX_ISSUANCES)]
    burns: Annotated[tuple[Burn, ...], Meta(max_length=MAX_BURNS)]
    memo: Annotated[bytes, Meta(max_length=MAX_MEMO)]


class Witness(_Value, frozen=True):
    """The revealed policy of one lock, and what satisfies it."""

    policy: Policy
    satisfactions: Annotated[
        tuple[Annotated[bytes, Meta(max_length=MAX_SATISFACTION_SIZE)], ...], Meta(max_length=MAX_SATISFACTIONS)
    ]
    """A signature for each revealed key and a preimage for each revealed hash, in pre-order."""


_T = TypeVar("_T")
_encode = msgspec.msgpack.Encoder().encode


class _Once(Generic[_T]):
    """A property that is worked out at first use, and then found in the object's own dict.

    `functools.cached_property` without its lock, which took most of the time (and which Python 3.12 dropped): whoever
    asks in two threads at once works the same value out twice.
    """

    def __init__(self, work_out: Callable[[Any], _T]) -> None:
        self._work_out = work_out
        self.__doc__ = work_out.__doc__
        self._name = work_out.__name__

    def __get__(self, instance: Any, owner: type | None = None) -> _T:
        value: _T = self._work_out(instance)
        instance.__dict__[self._name] = value
        return value


class Transaction(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """A transaction; its ids and its encoding are computed once, at first use."""

    core: Core
    witnesses: Annotated[tuple[Witness, ...], Meta(max_length=MAX_WITNESSES)]

    @_Once
    def encoded(self) -> bytes:
        """The one encoding of this transaction."""
        return _encode(self)

    @_Once
    def txid(self) -> TxId:
        """H of the encoded core."""
        return TxId(hash256(_encode(self.core)))

    @_Once
    def wtxid(self) -> WTxId:
        """H of the encoded transaction, witnesses included."""
        return WTxId(hash256(self.encoded))

    @property
    def is_coinbase(self) -> bool:
        """Whether the only input names the zero txid."""
        inputs = self.core.inputs
        return len(inputs) == 1 and inputs[0].txid == NULL_TXID


_HEADER = struct.Struct("<I32s32sIII")


class Header(msgspec.Struct, frozen=True, dict=True):
    """Bitcoin's block header: 80 bytes, little-endian. Not an array: in a block it is bin(80)."""

    version: int
    """Any 32 bits, unsigned here, with no meaning: miners roll it."""
    previous: BlockHash
    merkle_root: bytes
    time: int
    """UNIX seconds, below 2^32: the last valid second is in the year 2106."""
    bits: int
    """The target in Bitcoin's compact form."""
    nonce: int

    @_Once
    def encoded(self) -> bytes:
        """The 80 bytes that are hashed."""
        return _HEADER.pack(self.version, self.previous, self.merkle_root, self.time, self.bits, self.nonce)

    @_Once
    def hash(self) -> BlockHash:
        """The block's id: H of the 80 bytes."""
        return BlockHash(hash256(self.encoded))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Header:
        """Read 80 bytes; any 80 bytes are a header.

        Raises:
            struct.error: if `raw` has another length. (`codec.decode_header` names the rule.)
        """
        version, previous, root, time, bits, nonce = _HEADER.unpack(raw)
        return cls(version, BlockHash(previous), root, time, bits, nonce)


class Block(msgspec.Struct, frozen=True, dict=True):
    """A header and the transactions that it commits to. Encoded as [bin(80), [transaction, ...]]."""

    header: Header
    transactions: tuple[Transaction, ...]

    @_Once
    def encoded(self) -> bytes:
        """The one encoding of this block."""
        return _encode((self.header.encoded, self.transactions))

    @property
    def hash(self) -> BlockHash:
        """The header's id, which names the block."""
        return self.header.hash


class Coin(_Value, frozen=True):
    """An unspent output, with what the rules ask of it (Bitcoin Core: "A UTXO entry")."""

    output: Output
    height: Annotated[int, _UInt]
    """Of the block that created it."""
    coinbase: bool
