"""What nodes answer about swaps. Amounts are whole numbers of an asset's smallest unit, or of grain."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from rpc.encoding import Dure
from rpc.schema.base import Result


class SwapKey(Result, frozen=True, kw_only=True):
    """getswapkey."""

    pubkey: str
    """Hex."""
    hash: str
    """SHA-256 of the secret that goes with the key, hex. The secret itself only a claim shows."""
    genesis: str
    """The id of this network's first block."""
    spacing: int
    """Seconds between its blocks."""
    now: int
    """UNIX seconds, by the chain's or the node's clock, whichever is later: count times from it."""


class SwapLeg(Result, frozen=True, kw_only=True):
    """What one of the two gives in a swap across two networks."""

    genesis: str
    spacing: int
    asset: str | None
    """Null for DURE."""
    amount: int
    payer: str | None
    """Hex: the key that takes it back from `refund_at` on. Null until the taker accepts."""
    receiver: str | None
    """Hex: the key that takes it with the secret. Null likewise."""
    refund_at: int
    """UNIX seconds, by the chain's clock."""


class SwapHere(Result, frozen=True, kw_only=True):
    """The leg on this node's network, as its wallet sees it."""

    leg: Literal["first", "second"]
    gives: bool | None
    """Whether this wallet pays it or receives it; null for neither."""
    address: str
    """Where it is locked."""
    watched: bool
    """Whether the wallet watches it; else the rest says nothing. See watchswap."""
    stage: Literal["nothing", "different", "pending", "locked", "claiming", "claimed", "refunding", "refunded"]
    depth: int
    """Of what the stage is about: 1 in the newest block, 0 in none."""
    txid: str | UnsetType = UNSET
    """Of the lock."""
    vout: int | UnsetType = UNSET
    spender: str | UnsetType = UNSET
    """The txid of what claimed it, or took it back."""
    secret: str | UnsetType = UNSET
    """Hex, once anybody has shown it here."""


class Swap(Result, frozen=True, kw_only=True):
    """decodeswap."""

    first: SwapLeg
    """The proposer gives it."""
    second: SwapLeg
    """The taker gives it."""
    hash: str
    accepted: bool
    margin: int
    """Seconds that each step leaves to the next."""
    mediantime: int
    """By this node's chain: what refunds are held against."""
    now: int
    """By the chain's or the node's clock, whichever is later: what claims are held against."""
    problem: str | UnsetType = UNSET
    """Why this node would have nothing to do with it: an asset that is not there, another pace of blocks."""
    here: SwapHere | UnsetType = UNSET
    """If it is accepted and this node has a wallet."""


class SwapStep(Result, frozen=True, kw_only=True):
    """lockswap, claimswap and refundswap."""

    txid: str
    fee: Dure
    again: bool
    """Whether that was done before: nothing was sent twice."""
