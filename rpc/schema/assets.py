"""What nodes answer about assets. Amounts are whole numbers of an asset's smallest unit."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from rpc.schema.base import Result


class AssetText(Result, frozen=True, kw_only=True):
    """What the issuer says of an asset. Nobody checks it: anyone can use any name, so show the id beside it."""

    name: str | None
    ticker: str | None
    uri: str | None
    media_type: str | None


class AssetOrigin(Result, frozen=True, kw_only=True):
    """Where an asset was defined."""

    txid: str
    blockhash: str
    height: int
    time: int
    """The block's, UNIX seconds."""
    issuer: str
    """The address of the first coin that the defining transaction spent: what its issuer is known by."""


class AssetAuthority(Result, frozen=True, kw_only=True):
    """Who may issue more of an asset now: whoever can spend this coin."""

    txid: str
    vout: int
    address: str


class Asset(Result, frozen=True, kw_only=True):
    """getasset, and each of listassets."""

    asset: str
    """The id, hex in byte order."""
    kind: Literal["fixed", "reissuable", "reserved"]
    supply: int
    """All that is held by anybody: created less burned."""
    decimals: int
    """Digits after the point, where people write amounts of it."""
    closed: bool
    """Whether there will never be more of it: the supply is fixed, or the authority was burned."""
    authority: AssetAuthority | None
    controller: str | None
    """The address of the policy that approves whatever is done with the asset."""
    auditor: str | None
    """The address of the policy that attests the reserve."""
    attested: int | UnsetType = UNSET
    """Of a reserved asset: the newest attested total; the supply cannot be raised above it."""
    sequence: int | UnsetType = UNSET
    """Of that attestation; 0 before the first."""
    content: str | None
    """The SHA-256 of the file that it stands for."""
    collection: str | None
    """The asset whose authority its issuer held."""
    metadata: AssetText | None
    """None where it is not of the customary form."""
    raw_metadata: str
    origin: AssetOrigin


class AssetHolder(Result, frozen=True, kw_only=True):
    """One of getassetholders."""

    address: str
    amount: int


class AssetHolders(Result, frozen=True, kw_only=True):
    """getassetholders: whoever has most comes first."""

    asset: str
    height: int
    supply: int
    total: int
    """How many addresses hold some of it."""
    holders: list[AssetHolder]


class IssuanceDetail(Result, frozen=True, kw_only=True):
    """One entry of a transaction's issuances."""

    type: Literal["new", "reissue", "attestation"]
    asset: str
    amount: int | UnsetType = UNSET
    """Created by it."""
    sequence: int | UnsetType = UNSET
    total: int | UnsetType = UNSET
    """The reserve that is attested."""


class BurnDetail(Result, frozen=True, kw_only=True):
    """One entry of a transaction's burns."""

    asset: str
    """Of an asset, or of an authority."""
    amount: int
