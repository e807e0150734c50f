"""Which transactions of the mempool go into a block, and which leave a mempool that is too large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush

from consensus.types import TxId
from node.mempool_graph import Entry, MempoolGraph

MAX_MISSES = 1_000
"""Packages in a row that no longer fit, before a block counts as full (Bitcoin Core: MAX_CONSECUTIVE_FAILURES)."""

_HeapItem = tuple[int, int, Entry]


def _score(entries: Iterable[Entry]) -> int:
    """Return the fee rate of a package in 2^-32 grain per byte, rounded down: exact enough to sort by."""
    fee = size = 0
    for entry in entries:
        fee += entry.fee
        size += entry.virtual_size
    return (fee << 32) // size


def select_packages(graph: MempoolGraph, max_bytes: int, max_signatures: int) -> list[Entry]:
    """Return what pays a miner best within both bounds, each transaction after its parents.

    A transaction is judged together with those ancestors that are not chosen yet, so that a child
    can pay for its parent (Bitcoin Core: addPackageTxs). Among equals the first seen goes first.
    """
    heap: list[_HeapItem] = [(-_score(graph.ancestors((entry,)).values()), entry.sequence, entry) for entry in graph]
    heapify(heap)
    chosen: dict[TxId, Entry] = {}
    misses = 0
    while heap and misses < MAX_MISSES:
        key, _, entry = heappop(heap)
        if entry.tx.txid in chosen:
            continue
        package = _missing_ancestors(entry, chosen)
        if -_score(package) != key:
            continue  # An ancestor was chosen since: the entry was pushed again, with its new score.
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
        if any(member.children for member in package):
            for member in graph.family(package):
                if member.tx.txid not in chosen:
                    heappush(heap, (-_score(_missing_ancestors(member, chosen)), member.sequence, member))
    return list(chosen.values())


def _missing_ancestors(entry: Entry, chosen: dict[TxId, Entry]) -> list[Entry]:
    """Return the entry and its ancestors that are not chosen, in the order of coming."""
    if not entry.parents:
        return [entry]
    found: dict[TxId, Entry] = {}
    pending = [entry]
    while pending:
        member = pending.pop()
        if member.tx.txid not in found and member.tx.txid not in chosen:
            found[member.tx.txid] = member
            pending.extend(member.parents.values())
    return sorted(found.values(), key=lambda member: member.sequence)


def worst_packages(graph: MempoolGraph) -> Iterator[tuple[list[Entry], int]]:
    """Yield what to evict next: an entry with all its descendants, and their fee rate (2^-32 grain per byte).

    The caller removes each package before it asks for the next. An entry counts by its own fee
    rate or that with its descendants, whichever is higher, so that no parent of a well-paying child
    goes before what pays worse. Among equals the last seen goes first.
    """
    heap: list[_HeapItem] = [(_worth(graph, entry), -entry.sequence, entry) for entry in graph]
    heapify(heap)
    while heap:
        key, _, entry = heappop(heap)
        if graph.get(entry.tx.txid) is not entry:
            continue
        worth = _worth(graph, entry)
        if worth > key:
            # A badly paying descendant has left since.
            heappush(heap, (worth, -entry.sequence, entry))
            continue
        package = graph.family((entry,))
        yield package, worth


def _worth(graph: MempoolGraph, entry: Entry) -> int:
    own = _score((entry,))
    return own if not entry.children else max(own, _score(graph.family((entry,))))
