"""Partially signed transactions: files that pass from wallet to wallet until all who must have signed (docs/psdt.md).

    "durepsdt" 8 bytes | version 1 byte (2) | body, MessagePack | SHA-256 of all before, 32 bytes

    body = [genesis id, core, [coin, ...], [part, ...]]
    coin = [output, height | nil, coinbase]      one per input, in their order
    part = [lock, asset | nil, policy | nil, [[key, signature], ...], [[hash, preimage], ...]]

The parts are the witnesses of the finished transaction: one per distinct lock among the coins, by first
appearance; then, with an asset, one per approval. What is signed commits to the coins, so a file that lies
about them gathers signatures that are worth nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from enum import StrEnum
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from consensus.assets import Approval
from consensus.codec import approval_digest, encode, lock_digest, spend_message
from consensus.errors import ConsensusError
from consensus.hashing import hash256
from consensus.params import Params
from consensus.signatures import SignatureCheck, verify
from consensus.sizes import SIGNATURE_SIZE
from consensus.spend_policy import check_policy, policy_id, walk
from consensus.types import (
    MAX_INPUTS,
    MAX_INTEGER,
    MAX_SATISFACTIONS,
    MAX_WITNESSES,
    PREIMAGE_SIZE,
    AssetId,
    BlockHash,
    Coin,
    Core,
    Key,
    LockId,
    Opaque,
    Output,
    Policy,
    Preimage,
    TxId,
)
from wallet.assets.flows import flows
from wallet.coin_table import SpendableCoin
from wallet.errors import WalletError
from wallet.records import CoinRecord

MAGIC = b"durepsdt"
VERSION = 2
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
    BALANCE = "psdt-balance"
    """Of an asset more is spent and created than paid out and burned, or less: it could never be valid."""
    PARTS = "psdt-parts"
    """Not one part per distinct lock, in the order of their first appearance, and then those of approvals."""
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
    APPROVALS = "psdt-approvals"
    """It names other approvals than its assets take, as far as this node knows them."""
    INVALID = "psdt-invalid"
    """It would break a rule, which is named, whoever signs it."""
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


def spent_coin(coin: Coin | CoinRecord | SpendableCoin) -> SpentCoin:
    """Return a coin as a file tells it."""
    return SpentCoin(coin.output, coin.height, coin.coinbase)


class PartName(NamedTuple):
    """Which witness a part becomes."""

    lock: LockId
    """The lock that it opens, or the policy that approves."""
    asset: AssetId | None = None
    """None where a lock is opened; else what is approved. A signature for the one is worth nothing for the other."""


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

    @property
    def name(self) -> PartName:
        """Which witness it becomes. A policy that controls an asset and audits it has two parts of one name."""
        return PartName(self.lock, self.asset)

    def digest(self, message: bytes) -> bytes:
        """Return what its signatures sign, of a transaction's message."""
        if self.asset is None:
            return lock_digest(message, self.lock)
        return approval_digest(message, self.asset, self.lock)


class Psdt(_Value, frozen=True):
    """A transaction, what it spends, and who has signed; made by `new_psdt` and `read_psdt` only."""

    genesis: Annotated[BlockHash, Meta(min_length=32, max_length=32)]
    core: Core
    coins: Annotated[tuple[SpentCoin, ...], Meta(max_length=MAX_INPUTS)]
    parts: Annotated[tuple[Part, ...], Meta(max_length=MAX_WITNESSES)]

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


def new_psdt(params: Params, core: Core, coins: tuple[SpentCoin, ...], approvals: Sequence[Approval] = ()) -> Psdt:
    """Return a file that nobody has signed, its parts without their policies.

    Args:
        approvals: what `asset_effects` says that it takes.

    Raises:
        PsdtError: `BALANCE`: an asset would come from nowhere, or be lost.
    """
    names = [PartName(lock) for lock in dict.fromkeys(coin.output.lock for coin in coins)]
    names += [PartName(approval.policy, approval.asset) for approval in approvals]
    psdt = Psdt(params.genesis_hash, core, coins, tuple([Part(*name, None, (), ()) for name in names]))
    _check_balance(psdt)
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
                check_part_policy(part.lock, part.policy)
    except (msgspec.MsgspecError, RecursionError) as error:
        # RecursionError comes only from policies nested far deeper than any that can be spent.
        raise PsdtError(PsdtRule.MALFORMED, f"the file cannot be read: {error}") from None
    if encode(psdt) != body:
        raise PsdtError(PsdtRule.MALFORMED, "the file is not in the shortest form")
    return psdt


def check_part_policy(lock: LockId, policy: Policy) -> None:
    """Check that a policy may stand in a part.

    Raises:
        PsdtError: `POLICY`: it could not be spent, hides everything, or is not that of the lock.
    """
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
    _check_parts(psdt, _check_balance(psdt))
    if sum(len(part.signatures) for part in psdt.parts) > MAX_FILE_SIGNATURES:
        raise PsdtError(PsdtRule.SIGNATURES, f"a file holds at most {MAX_FILE_SIGNATURES} signatures")


def _check_balance(psdt: Psdt) -> Collection[AssetId]:
    """Check that no asset comes from nowhere or is lost; return all that there are."""
    found = flows(psdt.core, psdt.spent)
    for asset, flow in found.items():
        if not flow.balanced:
            sentence = (
                f"of asset {asset.hex()} {flow.spent} are spent and {flow.created} created, but {flow.paid_out} "
                f"paid out and {flow.burned} burned"
            )
            raise PsdtError(PsdtRule.BALANCE, sentence)
    return found.keys()


def _check_parts(psdt: Psdt, named: Collection[AssetId]) -> None:
    locks = list(dict.fromkeys(output.lock for output in psdt.spent))
    if [part.name for part in psdt.parts[: len(locks)]] != [PartName(lock) for lock in locks]:
        raise PsdtError(PsdtRule.PARTS, "there must be one part per distinct lock of the coins, by first appearance")
    approved = [part.asset for part in psdt.parts[len(locks) :]]
    # One by its controller and one by its auditor: no asset has three.
    if any(asset is None or asset not in named or count > 2 for asset, count in Counter(approved).items()):
        raise PsdtError(PsdtRule.PARTS, "an approval is for an asset of the transaction, by controller and auditor")
    if any((earlier or b"") > (later or b"") for earlier, later in pairwise(approved)):
        raise PsdtError(PsdtRule.PARTS, "approvals stand in the order of their assets")


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
        signed = part.digest(message)
        for key, signature in part.signatures:
            if not verify(SignatureCheck(signed, key, signature)):
                sentence = f"the signature of key {key.hex()} does not fit what the file says"
                raise PsdtError(PsdtRule.BAD_SIGNATURE, sentence)


def _check_order(given: list[bytes], shown: set[bytes]) -> None:
    if any(earlier >= later for earlier, later in pairwise(given)):
        raise PsdtError(PsdtRule.ORDER, "signatures and secrets stand in the order of their keys and hashes, each once")
    if not shown.issuperset(given):
        raise PsdtError(PsdtRule.ORDER, "a signature or secret is for a key or hash that the policy does not show")
