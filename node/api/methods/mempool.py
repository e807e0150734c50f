"""Transactions that wait for a block."""

from __future__ import annotations

from collections.abc import Iterable

from consensus.codec import display_hash
from consensus.types import TxId
from node.api.method import Area, method
from node.api.parameters import HashHex
from node.api.services import Services
from node.mempool_graph import Entry
from node.relay_policy import MIN_FEE_RATE
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError


@method(Area.BLOCKCHAIN, reads=True)
async def getmempoolinfo(services: Services) -> schema.MempoolInfo:
    """Tell how full the mempool is, and what it takes to get in."""
    mempool = services.mempool
    return schema.MempoolInfo(
        loaded=True,
        size=len(mempool),
        bytes=mempool.size,
        usage=mempool.memory,
        total_fee=Dure(mempool.fees),
        maxmempool=mempool.max_bytes,
        mempoolminfee=Dure(mempool.min_fee_rate),
        minrelaytxfee=Dure(MIN_FEE_RATE),
    )


@method(Area.BLOCKCHAIN, reads=True)
async def getrawmempool(services: Services, verbose: bool = False) -> list[str] | dict[str, schema.MempoolEntry]:
    """Return the txids of all transactions that wait for a block.

    Args:
        verbose: true for an object with an entry for each txid.
    """
    if verbose:
        return {display_hash(entry.tx.txid): _entry(services, entry) for entry in services.mempool}
    return [display_hash(entry.tx.txid) for entry in services.mempool]


@method(Area.BLOCKCHAIN, reads=True)
async def getmempoolentry(services: Services, txid: HashHex) -> schema.MempoolEntry:
    """Return what is known of a transaction that waits for a block.

    Args:
        txid: its id.
    """
    return _entry(services, _find(services, txid))


@method(Area.BLOCKCHAIN, reads=True)
async def getmempoolancestors(services: Services, txid: HashHex) -> list[str]:
    """Return the txids of the unconfirmed transactions that a transaction descends from, oldest first.

    Args:
        txid: of a transaction that waits for a block.
    """
    return _txids(services.mempool.ancestors(_find(services, txid).tx.txid))


@method(Area.BLOCKCHAIN, reads=True)
async def getmempooldescendants(services: Services, txid: HashHex) -> list[str]:
    """Return the txids of the unconfirmed transactions that descend from a transaction, oldest first.

    Args:
        txid: of a transaction that waits for a block.
    """
    return _txids(services.mempool.descendants(_find(services, txid).tx.txid))


def _find(services: Services, txid: HashHex) -> Entry:
    entry = services.mempool.entry(TxId(txid))
    if entry is None:
        raise RpcError(ErrorCode.INVALID_ADDRESS_OR_KEY, "Transaction not in mempool")
    return entry


def _entry(services: Services, entry: Entry) -> schema.MempoolEntry:
    txid = entry.tx.txid
    ancestors = [entry, *services.mempool.ancestors(txid)]
    descendants = [entry, *services.mempool.descendants(txid)]
    return schema.MempoolEntry(
        vsize=entry.virtual_size,
        time=entry.time,
        wtxid=display_hash(entry.tx.wtxid),
        descendantcount=len(descendants),
        descendantsize=sum(each.virtual_size for each in descendants),
        ancestorcount=len(ancestors),
        ancestorsize=sum(each.virtual_size for each in ancestors),
        fees=schema.MempoolFees(
            base=Dure(entry.fee),
            ancestor=Dure(sum(each.fee for each in ancestors)),
            descendant=Dure(sum(each.fee for each in descendants)),
        ),
        depends=_txids(entry.parents.values()),
        spentby=_txids(entry.children.values()),
    )


def _txids(entries: Iterable[Entry]) -> list[str]:
    return [display_hash(entry.tx.txid) for entry in entries]


METHODS = (getmempoolinfo, getrawmempool, getmempoolentry, getmempoolancestors, getmempooldescendants)
