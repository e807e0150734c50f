"""What this node chooses to hold and pass on. Never a rule: a block may hold what is refused here."""

from __future__ import annotations

from enum import StrEnum

from consensus.codec import MAX_BLOCK_SIZE
from consensus.spend_policy import walk
from consensus.types import Amount, Key, Transaction
from consensus.validation import MAX_BLOCK_SIGNATURES

MIN_FEE_RATE = 1_000
"""Grain per 1,000 bytes: the lowest fee rate that is relayed (Bitcoin Core: minrelaytxfee)."""
DUST_LIMIT = 546
"""Grain: no output of DURE may be worth less. To create and to spend one takes about 190 bytes, which at
three times the lowest fee rate is this much; the number is the one that Bitcoin's users know."""
MAX_RELAY_SIZE = 100_000
"""Bytes of a relayed transaction. So it also has fewer than 1,000 signatures (at least 100 bytes
each, with their key), which bounds what verifying one can cost: 50 ms of one core."""
SIGNATURE_BYTES = -(-MAX_BLOCK_SIZE // MAX_BLOCK_SIGNATURES)
"""Bytes that a signature stands for at least, so that fee rates price both bounds of a block."""
MAX_CHAIN = 25
"""A transaction may have 24 unconfirmed ancestors and 24 unconfirmed descendants (Bitcoin Core:
limitancestorcount, limitdescendantcount). Bounds the work of adding, removing and selecting."""
MAX_CHAIN_SIZE = SIGNATURE_BYTES * 1_000 + 1_000
"""Virtual bytes of a transaction with its unconfirmed ancestors, and with its descendants: the largest that is
relayed, and a child that pays for it (Bitcoin Core: limitancestorsize, 101,000 for the same reason)."""
MAX_PACKAGE = MAX_CHAIN
"""Transactions of one package (Bitcoin Core: MAX_PACKAGE_COUNT): together they must be a chain that is taken."""
MAX_RETURNED_CHAIN = 250
"""Ancestors and itself, where a reorg gives transactions back: they had been mined over many blocks."""


class Refusal(StrEnum):
    """Every reason for which a valid transaction is not taken."""

    ALREADY_KNOWN = "already-known"
    """It is in the mempool."""
    ALREADY_CONFIRMED = "already-confirmed"
    """It is in the chain, with an output that is still unspent."""
    SAME_TXID = "same-txid"
    """The mempool holds it with other witnesses; the first is kept."""
    CONFLICT = "conflict"
    """An input is spent by a transaction that cannot be replaced: a mined one that a reorg gave back."""
    TOO_LARGE = "too-large"
    """More than `MAX_RELAY_SIZE` bytes."""
    DUST = "dust"
    """An output below `DUST_LIMIT`."""
    NO_SIGNATURE = "no-signature"
    """A lock is opened without any signature: whoever sees it could take the coin himself."""
    LOW_FEE = "low-fee"
    """A fee rate below `MIN_FEE_RATE`, or below what the full mempool asks for now."""
    RESERVE_IN_USE = "reserve-in-use"
    """Another that waits attests the same reserve, or issues under it, and is no ancestor: the first is kept."""
    CHAIN_TOO_LONG = "chain-too-long"
    """Too many unconfirmed ancestors, or an ancestor with too many descendants."""
    POOL_FULL = "mempool-full"
    """It was evicted at once: all that the mempool holds pays better."""
    REPLACEMENT_RATE = "replacement-low-rate"
    """It conflicts with a transaction that pays at least as much for each byte."""
    REPLACEMENT_FEE = "replacement-low-fee"
    """It pays less than all that it would replace, with the price of its own relay on top."""
    REPLACES_TOO_MANY = "replaces-too-many"
    """It would put out more than `replacement.MAX_REPLACED` transactions."""
    SPENDS_REPLACED = "spends-replaced"
    """It descends from a transaction that it conflicts with."""
    NEW_UNCONFIRMED = "new-unconfirmed-input"
    """A replacement that spends an unconfirmed output which what it replaces did not."""
    MAX_FEE = "max-fee-exceeded"
    """It pays more than whoever hands it in said that it should."""
    BAD_PACKAGE = "bad-package"
    """The transactions are no package: see docs/mempool.md."""


TOO_LITTLE = frozenset({Refusal.LOW_FEE, Refusal.REPLACEMENT_RATE, Refusal.REPLACEMENT_FEE})
"""Reasons that a child may remove, by paying for its parent."""


class PolicyError(Exception):
    """Valid, but not taken by this node: our choice, and nobody's fault.

    Attributes:
        reason: why.
        facts: what a person needs to see why, as in `ConsensusError`.
    """

    def __init__(self, reason: Refusal, **facts: object) -> None:
        super().__init__(reason, facts)
        self.reason = reason
        self.facts = facts

    def __str__(self) -> str:
        told = ", ".join(
            f"{name}={fact.hex() if isinstance(fact, bytes) else fact}" for name, fact in self.facts.items()
        )
        return f"{self.reason}: {told}" if told else str(self.reason)


def virtual_size(size: int, signatures: int) -> int:
    """Return the bytes that fee rates are reckoned by (Bitcoin Core: GetVirtualTransactionSize).

    That is the encoded size, unless the transaction takes a larger part of a block's signatures
    than of its bytes.
    """
    return max(size, signatures * SIGNATURE_BYTES)


def required_fee(rate: int, size: int) -> Amount:
    """Return the fee, in grain, that `size` virtual bytes owe at `rate` grain per 1,000; rounded up."""
    return Amount(-(-rate * size // 1_000))


def check_relay_policy(tx: Transaction) -> None:
    """Check what can be said of a transaction without its coins.

    Raises:
        PolicyError: `TOO_LARGE`, `DUST` or `NO_SIGNATURE`.
    """
    if len(tx.encoded) > MAX_RELAY_SIZE:
        raise PolicyError(Refusal.TOO_LARGE, size=len(tx.encoded), limit=MAX_RELAY_SIZE)
    for index, output in enumerate(tx.core.outputs):
        if output.asset is None and output.value < DUST_LIMIT:
            raise PolicyError(Refusal.DUST, index=index, value=output.value, limit=DUST_LIMIT)
    for place, witness in enumerate(tx.witnesses):
        # A key is only ever seen where it is revealed, and each revealed key needs its signature.
        if type(witness.policy) is not Key and not any(type(node) is Key for node in walk(witness.policy)):
            raise PolicyError(Refusal.NO_SIGNATURE, witness=place)
