"""A wallet in one file: all that the chain cannot give back.

    "durewallet" 10 bytes | version 1 byte | body, MessagePack | SHA-256 of all before, 32 bytes

    body = [genesis id, keystore file, next receive index, next change index, next policy key's index, gap limit,
            [[branch, index, label], ...], [[lock, label], ...], [[hash of a request's name, txid, fingerprint], ...],
            [[time, transaction], ...], [[name, policy, [[key, role], ...]], ...], [[txid, comment, to], ...],
            [[time, partially signed transaction], ...], [[asset id, lock, why], ...]]

Version 2 ended before the last two: what waits for somebody's approval, and what its controller froze.

The keys are as protected in it as they are in the keystore. The transactions are our own payments
that are in no block yet; all others are found again by following the chain. The requests are there so
that a call that is repeated pays once, even if the wallet was restored in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import Meta

from consensus.codec import decode_transaction
from consensus.errors import ConsensusError
from consensus.types import BlockHash, LockId, Transaction, TxId
from wallet.addresses import AddressBook, Branch
from wallet.errors import WalletDataError
from wallet.keys import HARDENED
from wallet.records import TxRecord
from wallet.store import WalletStore

_MAGIC = b"durewallet"
_VERSION = 3
_OLDER = 2
_HEAD = _MAGIC + bytes([_VERSION])
_CHECKSUM_SIZE = 32
_Index = Annotated[int, Meta(ge=0, le=HARDENED)]


_Branch = Annotated[int, Meta(ge=0, le=int(max(Branch)))]
_Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]


class SavedWallet(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a backup holds."""

    genesis: BlockHash
    keystore: bytes
    next_receive: _Index
    next_change: _Index
    next_policy: _Index
    gap: int
    labels: tuple[tuple[_Branch, _Index, str], ...]
    contacts: tuple[tuple[LockId, str], ...]
    requests: tuple[tuple[_Hash, TxId, _Hash], ...]
    payments: tuple[tuple[int, bytes], ...]
    policies: tuple[tuple[str, bytes, tuple[tuple[bytes, str], ...]], ...]
    """In the order in which they were added."""
    notes: tuple[tuple[TxId, str, str], ...]
    waiting: tuple[tuple[int, bytes], ...] = ()
    """In the order in which they were made."""
    frozen: tuple[tuple[_Hash, _Hash, str], ...] = ()

    def transactions(self) -> list[tuple[int, Transaction]]:
        """Return our own payments that were in no block, each with the time at which it was made.

        Raises:
            WalletDataError: one cannot be read.
        """
        try:
            return [(time, decode_transaction(raw)) for time, raw in self.payments]
        except ConsensusError as error:
            raise WalletDataError(f"the backup is damaged: {error}") from None


def write_backup(
    genesis: BlockHash, keystore: bytes, addresses: AddressBook, store: WalletStore, payments: Iterable[TxRecord]
) -> bytes:
    """Return the file."""
    saved = SavedWallet(
        genesis=genesis,
        keystore=keystore,
        next_receive=addresses.next_index(Branch.RECEIVE),
        next_change=addresses.next_index(Branch.CHANGE),
        next_policy=addresses.next_index(Branch.POLICY),
        gap=addresses.gap,
        labels=tuple((known.branch, known.index, known.label) for known in addresses.labels()),
        contacts=tuple(addresses.contacts()),
        requests=tuple((name, request.txid, request.fingerprint) for name, request in store.requests()),
        payments=tuple((record.time, record.raw) for record in payments),
        policies=tuple(
            (record.name, record.policy, record.roles)
            for record in sorted(store.policies(), key=lambda record: record.number)
        ),
        notes=tuple((txid, note.comment, note.to) for txid, note in store.notes()),
        waiting=tuple(
            (record.time, record.raw) for record in sorted(store.waiting(), key=lambda record: record.number)
        ),
        frozen=tuple(store.frozen()),
    )
    content = _HEAD + msgspec.msgpack.encode(saved)
    return content + sha256(content).digest()


def read_backup(raw: bytes, genesis: BlockHash) -> SavedWallet:
    """Read the file.

    Raises:
        WalletDataError: it is damaged, of another version or of another network.
    """
    if len(raw) < len(_HEAD) + _CHECKSUM_SIZE or sha256(raw[:-_CHECKSUM_SIZE]).digest() != raw[-_CHECKSUM_SIZE:]:
        raise WalletDataError("the backup is damaged: its checksum does not match")
    if raw[: len(_HEAD)] not in (_HEAD, _MAGIC + bytes([_OLDER])):
        raise WalletDataError("this is no backup of a wallet, or one of another version")
    try:
        saved = msgspec.msgpack.decode(raw[len(_HEAD) : -_CHECKSUM_SIZE], type=SavedWallet)
    except msgspec.MsgspecError as error:
        raise WalletDataError(f"the backup is damaged: {error}") from None
    if saved.genesis != genesis:
        raise WalletDataError("the backup is of another network")
    return saved
