"""Every way to be invalid, and who is to blame for it."""

from __future__ import annotations

from enum import StrEnum


class Rule(StrEnum):
    """Every rule of consensus. Each member is a promise: some test breaks that rule and no other."""

    # Encoding
    MALFORMED = "malformed"
    """The bytes are not the one encoding of a value of this type."""

    # Headers
    HIGH_HASH = "high-hash"
    """The block id, as a little-endian integer, is above the header's target."""
    BAD_BITS = "bad-bits"
    """The header's bits are not exactly those that the difficulty rule demands."""
    TIME_TOO_OLD = "time-too-old"
    """The header's time is not above the median time of its parent."""
    BAD_PREVIOUS = "bad-previous"
    """The header does not name the block that it is checked against as its parent."""
    INVALID_PARENT = "invalid-parent"
    """The block builds on one that is invalid."""

    # Blocks, alone
    BLOCK_SIZE = "block-size"
    """The encoded block is larger than 4 MiB."""
    MERKLE_ROOT = "merkle-root"
    """The transactions are not those that the header commits to."""
    NO_TRANSACTIONS = "no-transactions"
    """A block without any transaction."""
    COINBASE_FIRST = "coinbase-first"
    """The first transaction is not a coinbase, or another one is."""
    BLOCK_SIGNATURES = "block-signatures"
    """More than 20,000 signatures in one block."""
    BLOCK_DOUBLE_SPEND = "block-double-spend"
    """Two inputs of one block name the same output."""

    # Transactions, alone
    TX_SIZE = "tx-size"
    """The encoded transaction is larger than 400,000 bytes."""
    TX_SIZE_64 = "tx-size-64"
    """The encoded transaction has exactly 64 bytes, as an inner Merkle node has."""
    TX_VERSION = "tx-version"
    """A version other than 1."""
    NO_INPUTS = "no-inputs"
    """A transaction without inputs."""
    NO_OUTPUTS = "no-outputs"
    """A transaction, other than a coinbase, without outputs."""
    DUPLICATE_INPUT = "duplicate-input"
    """Two inputs of one transaction name the same output."""
    NULL_INPUT = "null-input"
    """The zero txid is named by a transaction that is not a coinbase."""
    VALUE_RANGE = "value-range"
    """A value, or a sum of values, above the network's total supply."""
    DEFINITION_AMOUNT = "definition-amount"
    """An asset of fixed supply that begins with 0, or one of reserved supply that does not."""
    DEFINITION_AUDITOR = "definition-auditor"
    """An asset of reserved supply without an auditor, or another with one."""
    ISSUED_TWICE = "issued-twice"
    """Two reissues, or two attestations, of one asset in one transaction."""
    BURN_ORDER = "burn-order"
    """The ids of the burns do not strictly ascend."""

    # Coinbases
    COINBASE_SHAPE = "coinbase-shape"
    """A coinbase with issuances, burns or witnesses, or that pays an asset."""
    COINBASE_HEIGHT = "coinbase-height"
    """The coinbase does not name the height of its block."""
    COINBASE_VALUE = "coinbase-value"
    """The coinbase pays out more than the subsidy and the fees."""

    # Transactions, with the coins they spend
    MISSING_COIN = "missing-coin"
    """An input names an output that never was, or is already spent."""
    IMMATURE_SPEND = "immature-spend"
    """An input names a coinbase output that is too young."""
    IN_BELOW_OUT = "in-below-out"
    """The outputs are worth more than the inputs."""

    # Assets, with the coins they are carried by and their records
    UNKNOWN_ASSET = "unknown-asset"
    """A reissue or an attestation of an asset that did not exist before the transaction."""
    NOT_RESERVED = "not-reserved"
    """An attestation of an asset whose supply is not a reserved one."""
    ATTESTATION_SEQUENCE = "attestation-sequence"
    """An attestation whose sequence is not above that of the newest one."""
    NO_AUTHORITY = "no-authority"
    """A reissue by a transaction that does not spend the asset's authority."""
    SUPPLY_RANGE = "supply-range"
    """A reissue that makes the supply exceed 2^63-1."""
    ABOVE_RESERVE = "above-reserve"
    """A reissue that makes a reserved supply exceed the newest attested total."""
    COLLECTION_AUTHORITY = "collection-authority"
    """A new asset of a collection whose authority the transaction does not spend."""
    ASSET_CONSERVATION = "asset-conservation"
    """More or less of an asset, or an authority, is paid out and burned than was spent and created."""

    # Witnesses and spend policies
    WITNESS_COUNT = "witness-count"
    """Not exactly one witness for each distinct lock among the spent outputs, and each approval."""
    POLICY_MISMATCH = "policy-mismatch"
    """The revealed policy is not the one that the lock names."""
    POLICY_KEY = "policy-key"
    """A revealed key is not in compressed form: 02 or 03, then x below the field's prime."""
    POLICY_THRESHOLD = "policy-threshold"
    """A threshold with k below 1 or above n. (More than 16 children do not decode.)"""
    POLICY_DEPTH = "policy-depth"
    """A policy more than 4 levels deep."""
    POLICY_NODES = "policy-nodes"
    """A policy of more than 64 nodes."""
    POLICY_OPAQUE_ROOT = "policy-opaque-root"
    """The root of a revealed policy is opaque."""
    POLICY_REVEALED = "policy-revealed"
    """A threshold that does not reveal exactly k of its children."""
    POLICY_DUPLICATE_KEY = "policy-duplicate-key"
    """A key appears twice among the revealed leaves of one policy."""
    SATISFACTION_COUNT = "satisfaction-count"
    """Not exactly one satisfaction for each revealed key and preimage."""
    SATISFACTION_SIZE = "satisfaction-size"
    """A signature that is not 64 bytes, or a preimage that is not 32."""
    BAD_SIGNATURE = "bad-signature"
    """A signature that does not verify, or is not in its one valid form (low S)."""
    BAD_PREIMAGE = "bad-preimage"
    """A preimage that does not hash to what its leaf names."""
    AFTER_HEIGHT = "after-height"
    """Spent in a block below the height that the policy names."""
    AFTER_TIME = "after-time"
    """Spent in a block whose parent's median time is below the time that the policy names."""
    OLDER = "older"
    """A coin spent before it has the age that the policy names."""
    PAYS = "pays"
    """The output beside an input is not the one that the policy demands."""
    APPROVAL_LEAF = "approval-leaf"
    """An approval reveals `older` or `pays`, which speak of a coin: there is none."""


BODY_RULES = frozenset({Rule.MALFORMED, Rule.BLOCK_SIZE, Rule.NO_TRANSACTIONS, Rule.TX_SIZE_64, Rule.MERKLE_ROOT})
"""Rules that a body breaks without its header being to blame.

The same header may come again with an honest body, so a block that breaks one of these condemns
its sender and never the header (the class of CVE-2012-2459).
"""

EARLY_RULES = frozenset(
    {
        Rule.MISSING_COIN,
        Rule.IMMATURE_SPEND,
        Rule.AFTER_HEIGHT,
        Rule.AFTER_TIME,
        Rule.OLDER,
        Rule.UNKNOWN_ASSET,
        Rule.ATTESTATION_SEQUENCE,
        Rule.SUPPLY_RANGE,
        Rule.ABOVE_RESERVE,
    }
)
"""Rules that a lone transaction may break only because it comes early, or to a node on another branch:
another tip may hold the coin or the asset, have the height or the time, or leave room for the supply.
In a block they are final."""


class ConsensusError(Exception):
    """Invalid for every node, for ever.

    Attributes:
        rule: the one rule that was broken.
        facts: what a person needs to see why, such as `height=` or `outpoint=`.
    """

    def __init__(self, rule: Rule, **facts: object) -> None:
        super().__init__(rule, facts)
        self.rule = rule
        self.facts = facts

    def __str__(self) -> str:
        told = ", ".join(f"{name}={_readable(fact)}" for name, fact in self.facts.items())
        return f"{self.rule}: {told}" if told else str(self.rule)


class NotYet(Exception):
    """Depends on a clock, or on data that is not here: blame nobody, try again later.

    Attributes:
        reason: a short name, such as `time-too-far-ahead`; where a rule asks for it, that rule's.
        facts: as in `ConsensusError`.
    """

    def __init__(self, reason: str, **facts: object) -> None:
        super().__init__(reason, facts)
        self.reason = reason
        self.facts = facts

    def __str__(self) -> str:
        told = ", ".join(f"{name}={_readable(fact)}" for name, fact in self.facts.items())
        return f"{self.reason}: {told}" if told else self.reason


TOLD = 3
"""Values of a fact that has many, in a sentence."""


def _readable(fact: object) -> str:
    if isinstance(fact, tuple):
        more = f" and {len(fact) - TOLD} more" if len(fact) > TOLD else ""
        return " ".join(map(_readable, fact[:TOLD])) + more
    return fact.hex() if isinstance(fact, bytes) else str(fact)
