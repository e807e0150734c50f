"""What nodes answer about spend policies, and about transactions that several sign."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from rpc.encoding import Dure
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


class PsbtInput(Result, frozen=True, kw_only=True):
    """What an input of a partially signed transaction spends, as the file says and signatures commit to."""

    txid: str
    vout: int
    amount: Dure
    address: str
    name: str
    """Of the policy, or "yours", or "" for a lock that the wallet does not know."""
    known: bool
    """Whether this node knows the coin, and the file tells the truth about it."""


class PsbtOutput(Result, frozen=True, kw_only=True):
    """Whom a partially signed transaction pays."""

    amount: Dure
    address: str
    name: str
    """As in `PsbtInput`."""


class PsbtBranch(Result, frozen=True, kw_only=True):
    """A branch, and what it still wants."""

    number: int
    sentence: str
    missing: list[str]
    """Empty: it opens the lock now."""


class PsbtPart(Result, frozen=True, kw_only=True):
    """What opens one lock."""

    address: str
    name: str
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
    paid_in: Dure
    paid_out: Dure
    fee: Dure
    """Negative: it could never be valid."""
    parts: list[PsbtPart]
    complete: bool
    """Whether it can be finished for the next block."""
    warnings: list[str]
    """What a signer should know: lies, coins that nobody knows, coins of his own that it takes, a high fee."""


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
