"""What nodes answer about spend policies."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from rpc.encoding import Dure
from rpc.schema.assets import AssetText
from rpc.schema.base import Result


class PolicyKey(Result, frozen=True, kw_only=True):
    """A key of a policy."""

    pubkey: str
    """Hex."""
    role: str | UnsetType = UNSET
    """What its owner is called."""
    ismine: bool
    """Whether it is this wallet's."""


class PolicyBranch(Result, frozen=True, kw_only=True):
    """One way to spend."""

    number: int
    """From 1."""
    sentence: str
    """Who can spend, and when, seen from where the chain is now."""
    signatures: int
    """How many it takes."""
    keys: list[str]
    """Whose they may be, hex."""
    open: bool
    """Whether its height and its time are reached, for a coin that is old enough."""
    after_height: int | UnsetType = UNSET
    after_time: int | UnsetType = UNSET
    older: int | UnsetType = UNSET
    """Blocks that a coin must be old."""
    hashes: list[str] | UnsetType = UNSET
    """SHA-256 of each secret that must be shown, hex."""
    pays: list[str] | UnsetType = UNSET
    """The address that each coin must go to, whole."""


class PolicyWarning(Result, frozen=True, kw_only=True):
    """Something that is wrong with a policy."""

    trap: str
    fatal: bool
    """Whether it must not be paid, and is not remembered."""
    sentence: str


class PolicyExplanation(Result, frozen=True, kw_only=True):
    """explainpolicy."""

    name: str | UnsetType = UNSET
    """If the wallet remembers it."""
    address: str
    lock: str
    """Hex."""
    policy: str
    keys: list[PolicyKey]
    branches: list[PolicyBranch]
    warnings: list[PolicyWarning]


class PolicyCoin(Result, frozen=True, kw_only=True):
    """A coin at a policy."""

    txid: str
    vout: int
    amount: Dure
    confirmations: int


class PolicyAsset(Result, frozen=True, kw_only=True):
    """What lies at a policy of one asset or authority, in smallest units."""

    asset: str
    authority_of: str | UnsetType = UNSET
    """Of an authority: the asset that it is over."""
    metadata: AssetText | None
    decimals: int | None
    confirmed: int
    pending: int
    """In no block yet."""
    shown: bool
    """Whether the wallet shows that asset unasked."""


class RememberedPolicy(Result, frozen=True, kw_only=True):
    """A policy whose coins the wallet watches."""

    name: str
    address: str
    policy: str
    keys: list[PolicyKey]
    branches: list[PolicyBranch]
    confirmed: Dure
    pending: Dure
    """In no block yet."""
    immature: Dure
    """Rewards that are too young."""
    coins: list[PolicyCoin]
    """In DURE."""
    assets: list[PolicyAsset]


class Withdrawal(Result, frozen=True, kw_only=True):
    """Coins on their way out of a vault."""

    vault: str
    """The policy's name."""
    address: str
    """Where they lie until they are old enough."""
    txid: str
    vout: int
    amount: Dure
    confirmations: int
    free_at: int | UnsetType = UNSET
    """The height of the first block in which whoever started it can take them; absent while it is not known."""
    sentence: str


class Policies(Result, frozen=True, kw_only=True):
    """listpolicies."""

    policies: list[RememberedPolicy]
    withdrawals: list[Withdrawal]
    """Alarms, unless their owner sent them."""


class PolicySpend(Result, frozen=True, kw_only=True):
    """spendpolicy."""

    psbt: str
    fee: Dure
    branch: int
    sentence: str
    """Of the branch."""
