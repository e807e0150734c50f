"""What the wallet answers: plain values, amounts in grain."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from consensus.types import Amount, AssetId, BlockHash, LockId, OutPoint, Transaction, TxId


class Payment(NamedTuple):
    """Somebody to be paid."""

    lock: LockId
    amount: Amount


class Note(NamedTuple):
    """What its maker wrote down about a payment: for himself, no part of the transaction."""

    comment: str = ""
    to: str = ""
    """Who or what is paid."""


class RelayTerms(NamedTuple):
    """What the node asks of a transaction before it passes it on (`node/relay_policy.py`)."""

    fee_rate: int
    """Grain per 1,000 virtual bytes that a payment offers."""
    min_fee_rate: int = 1_000
    """Grain per 1,000 virtual bytes below which nothing is relayed: less only if forced."""
    dust_limit: int = 546
    """Grain: no output may be worth less."""
    max_size: int = 100_000
    """Bytes of a transaction."""
    signature_bytes: int = 210
    """Virtual bytes that each signature stands for at least."""
    max_chain: int = 25
    """Unconfirmed transactions in a row, the payment included."""


class Cursor(NamedTuple):
    """The newest block that the wallet has applied."""

    height: int
    hash: BlockHash


class Balances(msgspec.Struct, frozen=True):
    """What the wallet owns in DURE, each grain in exactly one field. Coins that carry an asset are in none."""

    confirmed: Amount
    """In the chain, and can be spent now."""
    change: Amount
    """Of our own payments that are in no block yet: can be spent already."""
    pending: Amount
    """Paid to us by others, in no block yet. Not ours before it is."""
    immature: Amount
    """Mined by us, too young to be spent."""
    locked: Amount
    """In the chain or change, but set aside by its owner, or kept for what waits for an approval."""

    @property
    def trusted(self) -> Amount:
        """What can be spent now (Bitcoin Core: getbalances, `trusted`)."""
        return Amount(self.confirmed + self.change)

    @property
    def total(self) -> Amount:
        """All of it."""
        return Amount(self.confirmed + self.change + self.pending + self.immature + self.locked)


class AssetSums(NamedTuple):
    """What the wallet owns of one asset, or of one authority, in smallest units."""

    confirmed: Amount
    """In the chain."""
    change: Amount
    """Of our own payments that are in no block yet: can be spent already."""
    pending: Amount
    """Paid to us by others, in no block yet. Not ours before it is."""
    waiting: Amount = Amount(0)
    """Set aside for an offer, say, or kept for transactions that wait for somebody's approval."""

    @property
    def trusted(self) -> Amount:
        """What can be spent now."""
        return Amount(self.confirmed + self.change)


class AssetBalance(msgspec.Struct, frozen=True):
    """What the wallet has to do with one asset."""

    asset: AssetId
    sums: AssetSums
    authority: bool
    """Whether it can issue more."""
    shown: bool
    """Whether the wallet issued or sent some of it, or was told to show it."""


class AssetMovement(StrEnum):
    """What a transaction did to what we have of an asset."""

    ISSUED = "issued"
    BURNED = "burned"
    SENT = "sent"
    RECEIVED = "received"
    MOVED = "moved"
    """Within the wallet."""
    PASSED_ON = "passed on"
    """The authority over it, to somebody else."""
    ENTRUSTED = "entrusted"
    """With the authority over it, by somebody else."""
    ATTESTED = "attested"
    """As its auditor."""
    CLOSED = "closed"
    """Its authority was burned."""


class AssetEntry(msgspec.Struct, frozen=True):
    """One line of the history of assets: one transaction, and one asset in it."""

    movement: AssetMovement
    asset: AssetId
    amount: int
    """Smallest units: what it brought (positive) or took (negative); of an attestation, the reserve."""
    others: tuple[LockId, ...]
    """Who else was paid some of it."""
    txid: TxId
    state: State
    confirmations: int
    block_height: int | None
    time: int
    note: Note
    shown: bool


class ListedCoin(NamedTuple):
    """A coin in DURE that no transaction has spent."""

    outpoint: OutPoint
    value: Amount
    lock: LockId
    height: int | None
    """Of its block; None if it is in none."""
    coinbase: bool
    mature: bool
    safe: bool
    """Whether it is in a block, or else change of our own payments: nobody else can take it back."""
    aside: bool
    """Whether its owner set it aside, or it is kept for a transaction that waits for an approval."""

    @property
    def spendable(self) -> bool:
        """Whether a payment may use it now."""
        return self.mature and self.safe and not self.aside


class OwnAddress(NamedTuple):
    """An address that was handed out, or whose key was imported, and what it was paid."""

    lock: LockId
    label: str
    path: str
    """Of its key from the master key, such as m/44h/7340h/0h/0/5; empty if the key was imported."""
    change: bool
    received: Amount
    """In blocks, all that it was ever paid; in DURE."""
    payments: int
    """How many outputs that were."""


class AddressFacts(NamedTuple):
    """What the wallet knows of an address."""

    lock: LockId
    mine: bool
    label: str
    """Empty if it has none."""
    change: bool = False
    public_key: bytes | None = None
    path: str = ""


class Category(StrEnum):
    """What happened to us (Bitcoin Core: listtransactions, `category`)."""

    SEND = "send"
    RECEIVE = "receive"
    GENERATE = "generate"
    """A reward that can be spent."""
    IMMATURE = "immature"
    """A reward that is too young."""
    ORPHAN = "orphan"
    """A reward of a block that is no longer in the chain: worth nothing."""


class State(StrEnum):
    """Where a transaction stands."""

    CONFIRMED = "confirmed"
    PENDING = "pending"
    """In no block, and nothing speaks against it."""
    CONFLICTED = "conflicted"
    """Another transaction spent one of its coins, or one of a transaction it descends from."""
    ABANDONED = "abandoned"
    """Given up by its owner; its coins are free again."""
    DROPPED = "dropped"
    """Paid to us by another, and no longer in the mempool."""
    ORPHANED = "orphaned"
    """A reward of a block that is no longer in the chain."""


class HistoryEntry(msgspec.Struct, frozen=True):
    """One line of the history: one output, seen as given away or as received."""

    category: Category
    lock: LockId
    label: str
    amount: int
    """Grain; negative for `send`."""
    fee: int | None
    """Grain, negative: the whole transaction's, on each of its `send` lines; None elsewhere, or if unknown."""
    index: int
    """Of the output in its transaction."""
    txid: TxId
    state: State
    confirmations: int
    """0 in no block; negative if conflicted: how deep the block is that holds the other transaction."""
    block_hash: BlockHash | None
    block_height: int | None
    block_time: int | None
    time: int
    """When the wallet first saw it, or its block's time if that is earlier; UNIX seconds."""
    conflicts: tuple[TxId, ...]
    """Other transactions that spend one of its coins."""
    replaced_by: TxId | None
    """Our own payment that was made in its place, with a higher fee."""
    note: Note


class TransactionDetail(msgspec.Struct, frozen=True):
    """All that the wallet knows of one transaction."""

    transaction: Transaction
    entries: tuple[HistoryEntry, ...]
    amount: int
    """Grain: what it brought (positive) or took (negative), its fee left out (as in Bitcoin Core)."""
    fee: int | None
    """Grain, negative, if all inputs are ours."""
    state: State
    confirmations: int
    block_hash: BlockHash | None
    block_height: int | None
    block_time: int | None
    time: int
    conflicts: tuple[TxId, ...]
    """Other transactions that spend one of its coins."""
    replaced_by: TxId | None
    replaces: TxId | None
    note: Note


class Sent(msgspec.Struct, frozen=True):
    """A payment that is made, signed, checked and recorded: hand it to the node."""

    transaction: Transaction
    fee: Amount
    change: Amount
    left: int
    """For send-all: coins that did not fit into this transaction, or were not worth their fee."""
    again: bool = False
    """Whether it was made before, and asked for again under its name: others may have it already."""


class WalletInfo(msgspec.Struct, frozen=True):
    """For getwalletinfo."""

    encrypted: bool
    locked: bool
    transactions: int
    coins: int
    """Unspent, the pending ones included."""
    addresses: int
    """Handed out, to others or for change."""
    cursor: Cursor
    rescan_target: int | None
    """While rescanning: the height at which it ends."""
