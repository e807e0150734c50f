"""What nodes answer about transactions that wait for a block."""

from __future__ import annotations

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


class MempoolFees(Result, frozen=True, kw_only=True):
    """What a transaction in the mempool pays."""

    base: Dure
    ancestor: Dure
    """With its unconfirmed ancestors."""
    descendant: Dure
    """With its unconfirmed descendants."""


class MempoolEntry(Result, frozen=True, kw_only=True):
    """getmempoolentry, and getrawmempool with verbosity."""

    vsize: int
    time: int
    """When it came."""
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
