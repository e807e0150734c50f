"""Transactions that wait for a block."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

from consensus.codec import display_hash
from consensus.types import TxId
from node.api.long_answers import array, table
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
    await mempool.at_rest()
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


@method(Area.BLOCKCHAIN, reads=True, long=True)
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
    await services.mempool.at_rest()
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
    await services.mempool.at_rest()
    return _shown(_seen(_find(services, txid)))


@method(Area.BLOCKCHAIN, reads=True, long=True)
async def getmempoolancestors(
    services: Services, txid: HashHex, verbose: bool = False
) -> list[str] | dict[str, schema.MempoolEntry]:
    """Return the txids of the unconfirmed transactions that a transaction descends from, oldest first.

    Args:
        txid: of a transaction that waits for a block.
        verbose: true for an object with an entry for each txid.
    """
    await services.mempool.at_rest()
    found = services.mempool.ancestors(_find(services, txid).tx.txid)
    return _entries(found) if verbose else _txids(found)


@method(Area.BLOCKCHAIN, reads=True, long=True)
async def getmempooldescendants(
    services: Services, txid: HashHex, verbose: bool = False
) -> list[str] | dict[str, schema.MempoolEntry]:
    """Return the txids of the unconfirmed transactions that descend from a transaction, oldest first.

    Args:
        txid: of a transaction that waits for a block.
        verbose: true for an object with an entry for each txid.
    """
    await services.mempool.at_rest()
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


class _Seen(NamedTuple):
    """What is shown of an entry, as it was at one moment: the mempool goes on while a long answer is made of it."""

    entry: Entry
    """Of this only what never changes."""
    descendant_count: int
    descendant_size: int
    descendant_fee: int
    ancestor_count: int
    ancestor_size: int
    ancestor_fee: int
    parents: tuple[TxId, ...]
    children: tuple[TxId, ...]


_NONE: tuple[TxId, ...] = ()
_sums = attrgetter(
    "descendant_count", "descendant_size", "descendant_fee", "ancestor_count", "ancestor_size", "ancestor_fee"
)


def _seen(entry: Entry) -> _Seen:
    parents = tuple(entry.parents) if entry.parents else _NONE
    children = tuple(entry.children) if entry.children else _NONE
    return _Seen._make((entry, *_sums(entry), parents, children))


def _shown(seen: _Seen) -> schema.MempoolEntry:
    entry = seen.entry
    return schema.MempoolEntry(
        vsize=entry.virtual_size,
        time=entry.time,
        height=entry.height,
        wtxid=display_hash(entry.tx.wtxid),
        descendantcount=seen.descendant_count,
        descendantsize=seen.descendant_size,
        ancestorcount=seen.ancestor_count,
        ancestorsize=seen.ancestor_size,
        fees=schema.MempoolFees(
            base=Dure(entry.fee),
            modified=Dure(entry.fee),
            ancestor=Dure(seen.ancestor_fee),
            descendant=Dure(seen.descendant_fee),
        ),
        depends=[display_hash(txid) for txid in seen.parents],
        spentby=[display_hash(txid) for txid in seen.children],
    )


def _entries(entries: Iterable[Entry]) -> dict[str, schema.MempoolEntry]:
    seen = [_seen(entry) for entry in entries]
    return table((display_hash(each.entry.tx.txid), _shown(each)) for each in seen)


def _txids(entries: Iterable[Entry]) -> list[str]:
    txids = [entry.tx.txid for entry in entries]
    return array(display_hash(txid) for txid in txids)


METHODS = (
    getmempoolinfo,
    getrawmempool,
    getmempoolentry,
    getmempoolancestors,
    getmempooldescendants,
    savemempool,
)
