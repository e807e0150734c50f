"""Which transactions of the mempool go into a block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heappop, heappush

from consensus.types import TxId
from node.mempool_graph import Entry, MempoolGraph, score
from node.score_order import Ranked

MAX_MISSES = 1_000
"""Packages in a row that no longer fit, before a block counts as full (Bitcoin Core: MAX_CONSECUTIVE_FAILURES)."""

_Sum = tuple[int, int]
"""Fee, in grain, and virtual size of an entry with those ancestors that are not chosen."""


def select_packages(graph: MempoolGraph, max_bytes: int, max_signatures: int) -> list[Entry]:
    """Return what pays a miner best within both bounds, each transaction after its parents.

    A transaction is judged together with those ancestors that are not chosen yet, so that a child
    can pay for its parent (Bitcoin Core: addPackageTxs). Among equals the first seen goes first. The
    mempool keeps the order in which nothing is chosen yet; a heap beside it holds those whose score
    has changed because an ancestor was chosen. So the cost goes with what is chosen, not with what waits.
    """
    chosen: dict[TxId, Entry] = {}
    sums: dict[TxId, _Sum] = {}
    again: list[Ranked] = []
    order = iter(graph.block_order)
    following = next(order, None)
    misses = 0
    while misses < MAX_MISSES:
        if again and (following is None or again[0] < following):
            rank, _, entry = heappop(again)
            if entry.tx.txid in chosen or rank != -score(*sums[entry.tx.txid]):
                continue  # Chosen with a child, or ranked again since.
        elif following is not None:
            entry = following[2]
            following = next(order, None)
            if entry.parents and (entry.tx.txid in chosen or entry.tx.txid in sums):
                continue  # Its score has changed: it stands in the heap.
            if entry.children and entry.tx.txid in chosen:
                continue
        else:
            break
        package, size, signatures = [entry], entry.size, entry.signatures
        if entry.parents:
            package = _missing_ancestors(entry, chosen)
            size = sum(member.size for member in package)
            signatures = sum(member.signatures for member in package)
        if size > max_bytes or signatures > max_signatures:
            misses += 1
            continue
        misses = 0
        max_bytes -= size
        max_signatures -= signatures
        for member in package:
            chosen[member.tx.txid] = member
        # A lone transaction, as nearly all are, has no heirs.
        for heir in _relieve_descendants(graph, package, chosen, sums) if entry.children or entry.parents else ():
            heappush(again, (-score(*sums[heir.tx.txid]), heir.sequence, heir))
    return list(chosen.values())


def _missing_ancestors(entry: Entry, chosen: Mapping[TxId, Entry]) -> list[Entry]:
    """Return the entry and its ancestors that are not chosen, in the order of coming."""
    found: dict[TxId, Entry] = {}
    pending = [entry]
    while pending:
        member = pending.pop()
        if member.tx.txid not in found and member.tx.txid not in chosen:
            found[member.tx.txid] = member
            pending.extend(member.parents.values())
    return sorted(found.values(), key=lambda member: member.sequence)


def _relieve_descendants(
    graph: MempoolGraph, package: Iterable[Entry], chosen: Mapping[TxId, Entry], sums: dict[TxId, _Sum]
) -> list[Entry]:
    """Take the chosen ones out of the sums of what descends from them; return whose sums have changed."""
    changed: dict[TxId, Entry] = {}
    for member in package:
        for heir in graph.family(member.children.values()) if member.children else ():
            txid = heir.tx.txid
            if txid not in chosen:
                fee, size = sums.get(txid) or (heir.ancestor_fee, heir.ancestor_size)
                sums[txid] = fee - member.fee, size - member.virtual_size
                changed[txid] = heir
    return list(changed.values())
