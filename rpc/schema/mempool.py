"""What nodes answer about transactions that wait for a block."""

from __future__ import annotations

from msgspec import UNSET, UnsetType, field

from rpc.encoding import Dure
from rpc.schema.base import Result


class MempoolInfo(Result, frozen=True, kw_only=True):
    """getmempoolinfo."""

    loaded: bool
    size: int
    """Transactions."""
    bytes: int
    """Their encoded bytes."""
    usage: int
    """Bytes of memory."""
    total_fee: Dure
    maxmempool: int
    """The bound on `usage`."""
    mempoolminfee: Dure
    """DURE per 1,000 virtual bytes that it takes to get in now."""
    minrelaytxfee: Dure
    """The least that it ever takes."""
    incrementalrelayfee: Dure
    """What a replacement pays for each 1,000 virtual bytes of its own, on top of all that it replaces."""
    fullrbf: bool = True
    """Any transaction may be replaced by one that pays more."""


class MempoolFees(Result, frozen=True, kw_only=True):
    """What a transaction in the mempool pays."""

    base: Dure
    modified: Dure
    """The same: there are no priorities here."""
    ancestor: Dure
    """With its unconfirmed ancestors."""
    descendant: Dure
    """With its unconfirmed descendants."""


class MempoolEntry(Result, frozen=True, kw_only=True):
    """getmempoolentry, and getrawmempool with verbosity."""

    vsize: int
    time: int
    """When it came."""
    height: int
    """Of the tip when it came."""
    wtxid: str
    descendantcount: int
    """With itself, as in Bitcoin Core; so are the three that follow."""
    descendantsize: int
    ancestorcount: int
    ancestorsize: int
    fees: MempoolFees
    depends: list[str]
    """Unconfirmed parents."""
    spentby: list[str]
    """Unconfirmed children."""
    replaceable: bool = field(default=True, name="bip125-replaceable")
    """Always: see docs/mempool.md."""


class MempoolSequence(Result, frozen=True, kw_only=True):
    """getrawmempool with mempool_sequence."""

    txids: list[str]
    mempool_sequence: int
    """Rises with every change, of the mempool or of the tip."""


class SavedMempool(Result, frozen=True, kw_only=True):
    """savemempool."""

    filename: str
    """In the node's folder."""


class AcceptedFees(Result, frozen=True, kw_only=True):
    """What a transaction pays, and what counted when it was taken."""

    base: Dure
    effective_feerate: Dure | UnsetType = field(default=UNSET, name="effective-feerate")
    """DURE per 1,000 virtual bytes, of all that it was judged together with."""
    effective_includes: list[str] | UnsetType = field(default=UNSET, name="effective-includes")
    """Their wtxids, its own among them."""


class MempoolAccept(Result, frozen=True, kw_only=True):
    """testmempoolaccept, for one transaction. After the first that is refused only the ids are told."""

    txid: str
    wtxid: str
    allowed: bool | UnsetType = UNSET
    vsize: int | UnsetType = UNSET
    fees: AcceptedFees | UnsetType = UNSET
    package_error: str | UnsetType = field(default=UNSET, name="package-error")
    """Why they cannot follow each other at all."""
    reject_reason: str | UnsetType = field(default=UNSET, name="reject-reason")
    reject_details: str | UnsetType = field(default=UNSET, name="reject-details")


class PackageTransaction(Result, frozen=True, kw_only=True):
    """One transaction of submitpackage."""

    txid: str
    other_wtxid: str | UnsetType = field(default=UNSET, name="other-wtxid")
    """The mempool holds the transaction with other witnesses: these."""
    vsize: int | UnsetType = UNSET
    fees: AcceptedFees | UnsetType = UNSET
    error: str | UnsetType = UNSET
    """Why it was not taken."""


class SubmittedPackage(Result, frozen=True, kw_only=True):
    """submitpackage."""

    package_msg: str
    """`success`, or that something was refused."""
    tx_results: dict[str, PackageTransaction] = field(name="tx-results")
    """By wtxid."""
    replaced_transactions: list[str] = field(name="replaced-transactions")
    """Txids of what left for them."""


class FeeEstimate(Result, frozen=True, kw_only=True):
    """estimatesmartfee."""

    feerate: Dure
    """DURE per 1,000 virtual bytes."""
    blocks: int
    """The target that it is an estimate for."""
    basis: str
    """What it rests on, in a sentence."""
