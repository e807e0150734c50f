"""What nodes answer about transactions that several sign. Amounts of assets are whole smallest units."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from rpc.encoding import Dure
from rpc.schema.assets import AssetText, IssuanceDetail
from rpc.schema.base import Result
from rpc.schema.policies import PolicyKey


class PsbtInput(Result, frozen=True, kw_only=True):
    """What an input of a partially signed transaction spends, as the file says and signatures commit to."""

    txid: str
    vout: int
    amount: Dure
    """0 of a coin that carries an asset."""
    asset: str | UnsetType = UNSET
    """What it carries instead of DURE: an asset's id, or that of an authority."""
    units: int | UnsetType = UNSET
    """How much of that."""
    address: str
    name: str
    """Of the policy, or "yours", or "" for a lock that the wallet does not know."""
    known: bool
    """Whether this node knows the coin, and the file tells the truth about it."""


class PsbtOutput(Result, frozen=True, kw_only=True):
    """Whom a partially signed transaction pays."""

    amount: Dure
    asset: str | UnsetType = UNSET
    units: int | UnsetType = UNSET
    address: str
    name: str
    """As in `PsbtInput`."""


class PsbtAsset(Result, frozen=True, kw_only=True):
    """What happens to one asset or authority: spent and created are as much as paid out and burned."""

    asset: str
    """Its id, which alone tells it from others."""
    authority_of: str | UnsetType = UNSET
    """Of an authority: the asset that it is over, as far as that is known."""
    metadata: AssetText | None
    """Of the asset, or of the one that it is the authority over."""
    decimals: int | None
    """None where this node knows no such asset; 0 of an authority."""
    spent: int
    created: int
    paid_out: int
    burned: int


class PsbtStake(Result, frozen=True, kw_only=True):
    """What the wallet gives and gets of one asset or authority."""

    asset: str
    gives: int
    gets: int


class PsbtStakes(Result, frozen=True, kw_only=True):
    """What a transaction takes from coins that are the wallet's own, and what it brings to its own addresses."""

    gives: Dure
    gets: Dure
    assets: list[PsbtStake]


class PsbtBranch(Result, frozen=True, kw_only=True):
    """A branch, and what it still wants."""

    number: int
    sentence: str
    missing: list[str]
    """Empty: it opens the lock now."""


class PsbtPart(Result, frozen=True, kw_only=True):
    """What opens one lock, or approves for one asset."""

    address: str
    """Of the lock, or of the policy that approves."""
    name: str
    asset: str | UnsetType = UNSET
    """What is approved; absent where a lock is opened."""
    approves: Literal["controller", "auditor"] | UnsetType = UNSET
    """In which matter, as far as this node knows the asset."""
    policy: str | UnsetType = UNSET
    signed: list[PolicyKey]
    unsigned: list[PolicyKey]
    """Other keys of the policy."""
    preimages: list[str]
    branches: list[PsbtBranch]


class Psbt(Result, frozen=True, kw_only=True):
    """decodepsbt."""

    txid: str
    memo: str
    """Hex."""
    inputs: list[PsbtInput]
    outputs: list[PsbtOutput]
    assets: list[PsbtAsset]
    """All that it spends, creates, pays out or burns, in the order of their ids."""
    issuances: list[IssuanceDetail]
    paid_in: Dure
    paid_out: Dure
    fee: Dure
    """Negative: it could never be valid."""
    yours: PsbtStakes | UnsetType = UNSET
    """What the wallet gives and gets; absent without a wallet."""
    parts: list[PsbtPart]
    complete: bool
    """Whether it can be finished for the next block."""
    warnings: list[str]
    """What a signer should know: lies, coins that nobody knows, a rule that it breaks, a high fee."""


class ProcessedPsbt(Result, frozen=True, kw_only=True):
    """walletprocesspsbt."""

    psbt: str
    complete: bool
    signed: list[str]
    """The keys that signed now, hex."""
    hex: str | UnsetType = UNSET
    """The finished transaction, if it is complete."""


class FinalizedPsbt(Result, frozen=True, kw_only=True):
    """finalizepsbt."""

    psbt: str | UnsetType = UNSET
    """As it was given, if it is not complete."""
    hex: str | UnsetType = UNSET
    """The finished transaction."""
    txid: str | UnsetType = UNSET
    complete: bool
    missing: str | UnsetType = UNSET
    """Why it is not complete."""
