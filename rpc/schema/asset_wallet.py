"""What a wallet answers about its assets. Amounts are whole numbers of an asset's smallest unit, never DURE."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from rpc.encoding import Dure
from rpc.schema.assets import AssetText
from rpc.schema.base import Result
from rpc.schema.wallet import LastProcessedBlock


class AssetBalance(Result, frozen=True, kw_only=True):
    """One of getassetbalances."""

    asset: str
    """The id: anyone can use any name."""
    metadata: AssetText | None
    decimals: int | None
    """None while the asset that others paid is in no block."""
    trusted: int
    """What can be spent now."""
    untrusted_pending: int
    """Paid by others, in no block yet."""
    waiting: int
    """Kept for transactions that wait for somebody's approval."""
    authority: bool
    """Whether the wallet can issue more."""
    shown: bool
    """Whether the wallet issued or sent some of it, or was told to show it."""


class AssetBalances(Result, frozen=True, kw_only=True):
    """getassetbalances."""

    assets: list[AssetBalance]
    hidden: int
    """Assets left out: strangers paid them unasked."""
    lastprocessedblock: LastProcessedBlock


class AssetEntry(Result, frozen=True, kw_only=True):
    """One of listassettransactions: what one transaction did to what the wallet has of one asset."""

    category: Literal["issued", "burned", "sent", "received", "moved", "attested", "closed", "passed on", "entrusted"]
    asset: str
    metadata: AssetText | None
    decimals: int | None
    amount: int
    """What it brought, or, negative, took; of an attestation, the reserve."""
    addresses: list[str]
    """Who else was paid some of it, if the wallet sent it."""
    txid: str
    state: str
    confirmations: int
    blockheight: int | UnsetType = UNSET
    time: int
    comment: str | UnsetType = UNSET


class SentAsset(Result, frozen=True, kw_only=True):
    """issueasset, sendassets, reissueasset, attestasset, closeasset, sendauthority and burnasset."""

    txid: str
    fee: Dure
    asset: str | UnsetType = UNSET
    """Of issueasset: the new asset's id."""
    psbt: str | UnsetType = UNSET
    """Only where somebody else has to approve first, and nothing was sent: the partially signed transaction."""
    approvers: list[str] | UnsetType = UNSET
    """Then: the addresses of the policies that have to approve."""


class AssetAmount(Result, frozen=True, kw_only=True):
    """So much of an asset."""

    asset: str
    amount: int


class FrozenAddress(Result, frozen=True, kw_only=True):
    """One of listfrozenaddresses."""

    asset: str
    address: str
    why: str


class CancelledTransfer(Result, frozen=True, kw_only=True):
    """cancelwaitingtransfer."""

    txid: str | UnsetType = UNSET
    """Of the payment that makes it worthless; absent if it was only forgotten."""
    fee: Dure | UnsetType = UNSET


class WaitingTransfer(Result, frozen=True, kw_only=True):
    """One of listwaitingtransfers, and getwaitingtransfer."""

    txid: str
    """That it will have."""
    state: Literal["waiting", "cancelling", "lost"]
    """Waiting for an approval; being cancelled by a payment that is in no block yet; or without one of its coins."""
    time: int
    """When it was made, UNIX seconds."""
    gives: list[AssetAmount]
    """What the wallet has less of once it is sent, but for its fee."""
    addresses: list[str]
    """Who else is paid."""
    fee: Dure
    approvers: list[str]
    """The addresses of the policies that have to approve."""
    comment: str | UnsetType = UNSET
    psbt: str | UnsetType = UNSET
    """Of getwaitingtransfer: the partially signed transaction, as this wallet signed it."""
