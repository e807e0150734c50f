"""Partially signed transactions: files that pass from wallet to wallet until all who must have signed (docs/psdt.md).

    "durepsdt" 8 bytes | version 1 byte | body, MessagePack | SHA-256 of all before, 32 bytes

    body = [genesis id, core, [coin, ...], [part, ...]]
    coin = [output, height | nil, coinbase]      one per input, in their order
    part = [lock, asset | nil, policy | nil, [[key, signature], ...], [[hash, preimage], ...]]

The parts are the witnesses of the finished transaction: one per distinct lock among the coins, by first
appearance. (A part with an asset will be an approval; files of this version hold no assets at all.) What is
signed commits to the coins, so a file that lies about them gathers signatures that are worth nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import Meta

from consensus.codec import encode, lock_digest, spend_message
from consensus.errors import ConsensusError
from consensus.hashing import hash256
from consensus.params import Params
from consensus.signatures import SignatureCheck, verify
from consensus.spend_policy import check_policy, policy_id, walk
from consensus.types import (
    MAX_INPUTS,
    MAX_INTEGER,
    MAX_SATISFACTIONS,
    PREIMAGE_SIZE,
    SIGNATURE_SIZE,
    AssetId,
    BlockHash,
    Core,
    Key,
    LockId,
    Opaque,
    Output,
    Policy,
    Preimage,
    Threshold,
    TxId,
)
from wallet.errors import WalletError

MAGIC = b"durepsdt"
VERSION = 1
_HEAD = MAGIC + bytes([VERSION])
_CHECKSUM_SIZE = 32
MAX_FILE_SIZE = 512 * 1024
"""Bytes: a transaction as large as one that is relayed, its coins, policies and signatures, several times over."""
MAX_FILE_SIGNATURES = 1_000
"""Each is verified when a file is read: 50 ms of one core at most. A relayed transaction holds fewer."""

_Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
_Key = Annotated[bytes, Meta(min_length=33, max_length=33)]
_Signature = Annotated[bytes, Meta(min_length=SIGNATURE_SIZE, max_length=SIGNATURE_SIZE)]
_Preimage = Annotated[bytes, Meta(min_length=PREIMAGE_SIZE, max_length=PREIMAGE_SIZE)]


class PsdtRule(StrEnum):
    """Every way in which a file is none."""

    SIZE = "psdt-size"
    """Longer than `MAX_FILE_SIZE`, or too short for anything."""
    MAGIC = "psdt-magic"
    """It starts with something else."""
    VERSION = "psdt-version"
    CHECKSUM = "psdt-checksum"
    """Damaged on its way."""
    MALFORMED = "psdt-malformed"
    """The body is no MessagePack of this shape, or not in its shortest form."""
    NETWORK = "psdt-network"
    """It is of another network."""
    COINS = "psdt-coins"
    """Not one coin per input."""
    PARTS = "psdt-parts"
    """Not one part per distinct lock, in the order of their first appearance."""
    ASSET = "psdt-asset"
    """An asset: none of these files holds one yet. Shown as DURE, it would deceive a signer."""
    POLICY = "psdt-policy"
    """A policy that is none, or not the one of its lock."""
    ORDER = "psdt-order"
    """Signatures or preimages out of order, twice, or for a key or hash that the policy does not show."""
    SIGNATURES = "psdt-signatures"
    """Too many of them."""
    BAD_SIGNATURE = "psdt-bad-signature"
    """One does not fit what the file says: it was altered after the signing, or never fitted."""
    BAD_PREIMAGE = "psdt-bad-preimage"
    DIFFERENT = "psdt-different"
    """Files to be combined are not of the same transaction."""
    LIE = "psdt-lie"
    """It says something else of a coin than what the chain says, as far as this wallet and its node know it."""


class PsdtError(WalletError):
    """The bytes are no partially signed transaction of this network.

    Attributes:
        rule: which rule they break.
    """

    def __init__(self, rule: PsdtRule, sentence: str) -> None:
        super().__init__(f"{rule}: {sentence}")
        self.rule = rule


class _Value(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A value in the file."""


class SpentCoin(_Value, frozen=True):
    """What an input spends, as whoever made the file found it."""

    output: Output
    """All signatures commit to it."""
    height: Annotated[int, Meta(ge=0, le=MAX_INTEGER)] | None
    """Of the block that created it; None if it is in no block. Told, not proven: it only helps to say what is due."""
    coinbase: bool


class Part(_Value, frozen=True):
    """A witness that is being put together."""

    lock: Annotated[LockId, Meta(min_length=32, max_length=32)]
    asset: Annotated[AssetId, Meta(min_length=32, max_length=32)] | None
    """None where a lock is opened; else the asset that is approved."""
    policy: Policy | None
    """None while nobody has added it."""
    signatures: Annotated[tuple[tuple[_Key, _Signature], ...], Meta(max_length=MAX_SATISFACTIONS)]
    """By key, ascending."""
    preimages: Annotated[tuple[tuple[_Bytes32, _Preimage], ...], Meta(max_length=MAX_SATISFACTIONS)]
    """By hash, ascending."""


class Psdt(_Value, frozen=True):
    """A transaction, what it spends, and who has signed; made by `new_psdt` and `read_psdt` only."""

    genesis: Annotated[BlockHash, Meta(min_length=32, max_length=32)]
    core: Core
    coins: Annotated[tuple[SpentCoin, ...], Meta(max_length=MAX_INPUTS)]
    parts: Annotated[tuple[Part, ...], Meta(max_length=MAX_INPUTS)]

    @property
    def spent(self) -> tuple[Output, ...]:
        """The outputs that the inputs name, in their order."""
        return tuple([coin.output for coin in self.coins])

    @property
    def message(self) -> bytes:
        """What all signatures commit to, beside their lock."""
        return spend_message(self.genesis, self.core, self.spent)

    @property
    def txid(self) -> TxId:
        """The id that the finished transaction will have: no signature changes it."""
        return TxId(hash256(encode(self.core)))

    @property
    def fee(self) -> int:
        """Grain that are spent and not paid out; negative if the transaction is invalid."""
        paid_out = sum(output.value for output in self.core.outputs if output.asset is None)
        return sum(output.value for output in self.spent if output.asset is None) - paid_out


_decoder = msgspec.msgpack.Decoder(Psdt)


def new_psdt(params: Params, core: Core, coins: tuple[SpentCoin, ...]) -> Psdt:
    """Return a file that nobody has signed, its parts without their policies.

    Raises:
        PsdtError: `ASSET`: it would move more than DURE.
    """
    locks = dict.fromkeys(coin.output.lock for coin in coins)
    psdt = Psdt(params.genesis_hash, core, coins, tuple([Part(lock, None, None, (), ()) for lock in locks]))
    _check_assets(psdt)
    return psdt


def write_psdt(psdt: Psdt) -> bytes:
    """Return the file: for each value exactly one.

    Raises:
        PsdtError: `SIZE`: it would be too large.
    """
    content = _HEAD + encode(psdt)
    raw = content + sha256(content).digest()
    _check_size(raw)
    return raw


def read_psdt(params: Params, raw: bytes) -> Psdt:
    """Read a file, all of whose signatures and preimages hold for what it says.

    Raises:
        PsdtError: with the rule that it breaks, the cheapest checks first.
    """
    _check_size(raw)
    if not raw.startswith(MAGIC):
        raise PsdtError(PsdtRule.MAGIC, "this is no partially signed transaction")
    if raw[len(MAGIC)] != VERSION:
        sentence = f"the file is of version {raw[len(MAGIC)]}, this program knows version {VERSION}"
        raise PsdtError(PsdtRule.VERSION, sentence)
    if sha256(raw[:-_CHECKSUM_SIZE]).digest() != raw[-_CHECKSUM_SIZE:]:
        raise PsdtError(PsdtRule.CHECKSUM, "the file is damaged")
    psdt = _decode(raw[len(_HEAD) : -_CHECKSUM_SIZE])
    if psdt.genesis != params.genesis_hash:
        raise PsdtError(PsdtRule.NETWORK, "the file is of another network")
    _check_shape(psdt)
    _check_satisfactions(psdt)
    return psdt


def _check_size(raw: bytes) -> None:
    if not len(_HEAD) + _CHECKSUM_SIZE < len(raw) <= MAX_FILE_SIZE:
        raise PsdtError(PsdtRule.SIZE, f"a file has at most {MAX_FILE_SIZE} bytes, this one {len(raw)}")


def _decode(body: bytes) -> Psdt:
    try:
        psdt = _decoder.decode(body)
        for part in psdt.parts:
            if part.policy is not None:
                _check_policy(part.lock, part.policy)
    except (msgspec.MsgspecError, RecursionError) as error:
        # RecursionError comes only from policies nested far deeper than any that can be spent.
        raise PsdtError(PsdtRule.MALFORMED, f"the file cannot be read: {error}") from None
    if encode(psdt) != body:
        raise PsdtError(PsdtRule.MALFORMED, "the file is not in the shortest form")
    return psdt


def _check_policy(lock: LockId, policy: Policy) -> None:
    try:
        # First what bounds the policy: its id and its encoding cost as much as it is large.
        check_policy(policy)
    except ConsensusError as error:
        raise PsdtError(PsdtRule.POLICY, f"a policy could not be spent: {error}") from None
    if isinstance(policy, Opaque) or policy_id(policy) != lock:
        raise PsdtError(PsdtRule.POLICY, f"a policy is not the one of its lock {lock.hex()}")


def _check_shape(psdt: Psdt) -> None:
    if len(psdt.coins) != len(psdt.core.inputs) or not psdt.coins:
        raise PsdtError(PsdtRule.COINS, f"{len(psdt.core.inputs)} inputs, and {len(psdt.coins)} coins for them")
    _check_assets(psdt)
    if [part.lock for part in psdt.parts] != list(dict.fromkeys(output.lock for output in psdt.spent)):
        raise PsdtError(PsdtRule.PARTS, "there must be one part per distinct lock of the coins, by first appearance")
    if sum(len(part.signatures) for part in psdt.parts) > MAX_FILE_SIGNATURES:
        raise PsdtError(PsdtRule.SIGNATURES, f"a file holds at most {MAX_FILE_SIGNATURES} signatures")


def _check_assets(psdt: Psdt) -> None:
    outputs = (*psdt.spent, *psdt.core.outputs)
    if any(output.asset is not None for output in outputs) or any(part.asset is not None for part in psdt.parts):
        raise PsdtError(PsdtRule.ASSET, "it moves an asset, which no wallet signs for in a file of this version")
    if psdt.core.issuances or psdt.core.burns:
        raise PsdtError(PsdtRule.ASSET, "it issues or burns, which no wallet signs for in a file of this version")


def _check_satisfactions(psdt: Psdt) -> None:
    message = psdt.message
    for part in psdt.parts:
        nodes = [] if part.policy is None else list(walk(part.policy))
        _check_order([key for key, _ in part.signatures], {node.key for node in nodes if isinstance(node, Key)})
        _check_order(
            [digest for digest, _ in part.preimages], {node.hash for node in nodes if isinstance(node, Preimage)}
        )
        for digest, preimage in part.preimages:
            if sha256(preimage).digest() != digest:
                raise PsdtError(PsdtRule.BAD_PREIMAGE, f"a secret is not the one of hash {digest.hex()}")
        signed = lock_digest(message, part.lock)
        for key, signature in part.signatures:
            if not verify(SignatureCheck(signed, key, signature)):
                sentence = f"the signature of key {key.hex()} does not fit what the file says"
                raise PsdtError(PsdtRule.BAD_SIGNATURE, sentence)


def _check_order(given: list[bytes], shown: set[bytes]) -> None:
    if any(earlier >= later for earlier, later in pairwise(given)):
        raise PsdtError(PsdtRule.ORDER, "signatures and secrets stand in the order of their keys and hashes, each once")
    if not shown.issuperset(given):
        raise PsdtError(PsdtRule.ORDER, "a signature or secret is for a key or hash that the policy does not show")


# What wallets do to it


def with_policy(psdt: Psdt, policy: Policy) -> Psdt:
    """Add what is known of a policy to the part of its lock; what is hidden on one side is taken from the other.

    Raises:
        PsdtError: `POLICY`: no coin lies at it.
    """
    lock = policy_id(policy)
    _check_policy(lock, policy)
    if all(part.lock != lock for part in psdt.parts):
        raise PsdtError(PsdtRule.POLICY, "no coin of this transaction lies at the policy")
    parts = [_revealing(part, policy) if part.lock == lock else part for part in psdt.parts]
    return msgspec.structs.replace(psdt, parts=tuple(parts))


def with_satisfactions(
    psdt: Psdt, lock: LockId, signatures: Mapping[bytes, bytes], preimages: Mapping[bytes, bytes]
) -> Psdt:
    """Add signatures by key, and preimages by hash, to the part of a lock; earlier ones stay."""
    parts = [
        msgspec.structs.replace(
            part,
            signatures=tuple(sorted({**signatures, **dict(part.signatures)}.items())),
            preimages=tuple(sorted({**preimages, **dict(part.preimages)}.items())),
        )
        if part.lock == lock
        else part
        for part in psdt.parts
    ]
    return msgspec.structs.replace(psdt, parts=tuple(parts))


def combine(psdts: Sequence[Psdt]) -> Psdt:
    """Return one file with all that is in several of the same transaction.

    Raises:
        PsdtError: `DIFFERENT`: they are not of the same transaction, or differ in what they say it spends.
    """
    first, *others = psdts
    for other in others:
        if (other.genesis, other.core, other.spent) != (first.genesis, first.core, first.spent):
            raise PsdtError(PsdtRule.DIFFERENT, "the files are not of the same transaction")
        for part in other.parts:
            if part.policy is not None:
                first = with_policy(first, part.policy)
            first = with_satisfactions(first, part.lock, dict(part.signatures), dict(part.preimages))
    return first


def _revealing(part: Part, policy: Policy) -> Part:
    shown = policy if part.policy is None else _merged(part.policy, policy)
    return msgspec.structs.replace(part, policy=shown)


def _merged(one: Policy, other: Policy) -> Policy:
    """Return a policy that shows what either shows. Both have the same id, so where both show, they agree."""
    if isinstance(one, Opaque):
        return other
    if not isinstance(one, Threshold) or not isinstance(other, Threshold):
        return one
    children = [_merged(mine, theirs) for mine, theirs in zip(one.children, other.children, strict=True)]
    return Threshold(one.k, tuple(children))
