"""What nodes answer about swaps. Amounts are whole numbers of an asset's smallest unit, or of grain."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from rpc.encoding import Dure
from rpc.schema.base import Result
from rpc.schema.wallet import CoinName


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


class SwapWorth(Result, frozen=True, kw_only=True):
    """An amount of something."""

    asset: str | None
    """Null for DURE."""
    amount: int


class SwapStake(Result, frozen=True, kw_only=True):
    """What a swap takes from this wallet and brings to it, of one asset or of DURE; the fee is in it."""

    asset: str | None
    gives: int
    gets: int


class SwapOffer(Result, frozen=True, kw_only=True):
    """decodeoffer."""

    gives: SwapWorth
    """The offerer."""
    wants: SwapWorth
    coins: list[CoinName]
    """That are given, whole; what is too much comes back to the offerer."""
    ismine: bool
    """Whether this wallet offered it."""
    accepted: bool
    """Whether somebody has added his half."""
    signed: bool
    """Whether he has signed it."""
    fee: Dure | UnsetType = UNSET
    """Paid by whoever accepts. This and what follows: if it is accepted."""
    txid: str | UnsetType = UNSET
    stakes: list[SwapStake]
    """Of this wallet."""
    approvals: list[str]
    """The assets whose controller has still to approve, before whoever offered it signs."""
    problem: str | UnsetType = UNSET
    """Why it cannot be fulfilled any more: it is done, or a coin is spent, or not what the file says."""


class SignedOffer(Result, frozen=True, kw_only=True):
    """signoffer."""

    offer: str
    """The file, to be passed on."""
    complete: bool
    """Whether the swap was sent."""
    txid: str | UnsetType = UNSET


class WithdrawnOffer(Result, frozen=True, kw_only=True):
    """canceloffer."""

    txid: str | UnsetType = UNSET
    """Of the payment to himself, by which an acceptor who has signed makes sure of it."""
    fee: Dure | UnsetType = UNSET
