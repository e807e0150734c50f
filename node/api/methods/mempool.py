"""Transactions that wait for a block."""

from __future__ import annotations

from collections.abc import Iterable

from consensus.codec import display_hash
from consensus.types import TxId
from node.api.method import Area, method
from node.api.parameters import HashHex
from node.api.services import Services
from node.mempool_file import FILE
from node.mempool_graph import Entry
from node.relay_policy import MIN_FEE_RATE
from node.storage.errors import StorageError
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError


@method(Area.BLOCKCHAIN, reads=True)
async def getmempoolinfo(services: Services) -> schema.MempoolInfo:
    """Tell how full the mempool is, and what it takes to get in."""
    mempool = services.mempool
    return schema.MempoolInfo(
        loaded=services.node.mempool_file.loaded,
        size=len(mempool),
        bytes=mempool.size,
        usage=mempool.memory,
        total_fee=Dure(mempool.fees),
        maxmempool=mempool.max_bytes,
        mempoolminfee=Dure(mempool.min_fee_rate),
        minrelaytxfee=Dure(MIN_FEE_RATE),
        incrementalrelayfee=Dure(MIN_FEE_RATE),
    )


@method(Area.BLOCKCHAIN, reads=True)
async def getrawmempool(
    services: Services, verbose: bool = False, mempool_sequence: bool = False
) -> list[str] | dict[str, schema.MempoolEntry] | schema.MempoolSequence:
    """Return the txids of all transactions that wait for a block.

    Args:
        verbose: true for an object with an entry for each txid.
        mempool_sequence: true for an object with the txids and a number that rises with every change.
    """
    if verbose and mempool_sequence:
        raise RpcError(ErrorCode.INVALID_PARAMETER, "Verbose results cannot contain mempool sequence values.")
    if verbose:
        return _entries(services.mempool)
    txids = _txids(services.mempool)
    if mempool_sequence:
        return schema.MempoolSequence(txids=txids, mempool_sequence=services.mempool.generation)
    return txids


@method(Area.BLOCKCHAIN, reads=True)
async def getmempoolentry(services: Services, txid: HashHex) -> schema.MempoolEntry:
    """Return what is known of a transaction that waits for a block.

    Args:
        txid: its id.
    """
    return _entry(_find(services, txid))


@method(Area.BLOCKCHAIN, reads=True)
async def getmempoolancestors(
    services: Services, txid: HashHex, verbose: bool = False
) -> list[str] | dict[str, schema.MempoolEntry]:
    """Return the txids of the unconfirmed transactions that a transaction descends from, oldest first.

    Args:
        txid: of a transaction that waits for a block.
        verbose: true for an object with an entry for each txid.
    """
    found = services.mempool.ancestors(_find(services, txid).tx.txid)
    return _entries(found) if verbose else _txids(found)


@method(Area.BLOCKCHAIN, reads=True)
async def getmempooldescendants(
    services: Services, txid: HashHex, verbose: bool = False
) -> list[str] | dict[str, schema.MempoolEntry]:
    """Return the txids of the unconfirmed transactions that descend from a transaction, oldest first.

    Args:
        txid: of a transaction that waits for a block.
        verbose: true for an object with an entry for each txid.
    """
    found = services.mempool.descendants(_find(services, txid).tx.txid)
    return _entries(found) if verbose else _txids(found)


@method(Area.BLOCKCHAIN)
async def savemempool(services: Services) -> schema.SavedMempool:
    """Write what waits for a block to disk now; else that is done every quarter of an hour and when the node stops."""
    if not services.node.mempool_file.loaded:
        raise RpcError(ErrorCode.MISC_ERROR, "The mempool was not loaded yet")
    try:
        await services.node.mempool_file.save()
    except StorageError:
        raise RpcError(ErrorCode.MISC_ERROR, "Unable to dump mempool to disk") from None
    return schema.SavedMempool(filename=FILE)


def _find(services: Services, txid: HashHex) -> Entry:
    entry = services.mempool.entry(TxId(txid))
    if entry is None:
        raise RpcError(ErrorCode.INVALID_ADDRESS_OR_KEY, "Transaction not in mempool")
    return entry


def _entry(entry: Entry) -> schema.MempoolEntry:
    return schema.MempoolEntry(
        vsize=entry.virtual_size,
        time=entry.time,
        height=entry.height,
        wtxid=display_hash(entry.tx.wtxid),
        descendantcount=entry.descendant_count,
        descendantsize=entry.descendant_size,
        ancestorcount=entry.ancestor_count,
        ancestorsize=entry.ancestor_size,
        fees=schema.MempoolFees(
            base=Dure(entry.fee),
            modified=Dure(entry.fee),
            ancestor=Dure(entry.ancestor_fee),
            descendant=Dure(entry.descendant_fee),
        ),
        depends=_txids(entry.parents.values()),
        spentby=_txids(entry.children.values()),
    )


def _entries(entries: Iterable[Entry]) -> dict[str, schema.MempoolEntry]:
    return {display_hash(entry.tx.txid): _entry(entry) for entry in entries}


def _txids(entries: Iterable[Entry]) -> list[str]:
    return [display_hash(entry.tx.txid) for entry in entries]


METHODS = (
    getmempoolinfo,
    getrawmempool,
    getmempoolentry,
    getmempoolancestors,
    getmempooldescendants,
    savemempool,
)
