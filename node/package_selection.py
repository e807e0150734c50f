"""Which transactions of the mempool go into a block, and which leave a mempool that is too large."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush

from consensus.types import TxId
from node.mempool_graph import Entry, MempoolGraph

MAX_MISSES = 1_000
"""Packages in a row that no longer fit, before a block counts as full (Bitcoin Core: MAX_CONSECUTIVE_FAILURES)."""

_Ranked = tuple[int, int, Entry]
"""A score, negative where the best comes first; then the order of coming. No two entries have the same."""
_Sum = tuple[int, int]
"""Fee, in grain, and virtual size of several transactions together."""


def _score(total: _Sum) -> int:
    """Return the fee rate in 2^-32 grain per byte, rounded down: exact enough to sort by."""
    return (total[0] << 32) // total[1]


def _add_up(entries: Iterable[Entry]) -> _Sum:
    fee = size = 0
    for entry in entries:
        fee += entry.fee
        size += entry.virtual_size
    return fee, size


def _sums_with(
    entries: Iterable[Entry],
    relatives: Callable[[Entry], Mapping[TxId, Entry]],
    all_of: Callable[[Entry], Iterable[Entry]],
) -> dict[TxId, _Sum]:
    """Return the sum of each entry and all its ancestors, or all its descendants.

    Args:
        entries: each after its relatives.
        relatives: its parents, or its children.
        all_of: itself, and relatives of every degree.
    """
    sums: dict[TxId, _Sum] = {}
    for entry in entries:
        near = relatives(entry)
        fee, size = int(entry.fee), entry.virtual_size
        if len(near) == 1:
            (nearest,) = near
            fee, size = fee + sums[nearest][0], size + sums[nearest][1]
        elif near:
            # Two relatives may have ancestors in common: those count once.
            fee, size = _add_up(all_of(entry))
        sums[entry.tx.txid] = fee, size
    return sums


def select_packages(graph: MempoolGraph, max_bytes: int, max_signatures: int) -> list[Entry]:
    """Return what pays a miner best within both bounds, each transaction after its parents.

    A transaction is judged together with those ancestors that are not chosen yet, so that a child
    can pay for its parent (Bitcoin Core: addPackageTxs). Among equals the first seen goes first.
    """
    sums = _sums_with(graph, lambda entry: entry.parents, lambda entry: graph.ancestors((entry,)).values())
    # All start in one sorted list, taken from its end: cheaper than a heap, which only those need
    # whose score has changed because an ancestor was chosen.
    order = [(-_score(sums[entry.tx.txid]), entry.sequence, entry) for entry in graph]
    order.sort(reverse=True)
    again: list[_Ranked] = []
    chosen: dict[TxId, Entry] = {}
    misses = 0
    while (order or again) and misses < MAX_MISSES:
        key, _, entry = heappop(again) if again and (not order or again[0] < order[-1]) else order.pop()
        txid = entry.tx.txid
        if txid in chosen or key != -_score(sums[txid]):
            continue  # Chosen with a child, or ranked again since.
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
            heappush(again, (-_score(sums[heir.tx.txid]), heir.sequence, heir))
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
        for heir in graph.family((member,)) if member.children else ():
            txid = heir.tx.txid
            if txid not in chosen:
                fee, size = sums[txid]
                sums[txid] = fee - member.fee, size - member.virtual_size
                changed[txid] = heir
    return list(changed.values())


def worst_packages(graph: MempoolGraph) -> Iterator[tuple[list[Entry], int]]:
    """Yield what to evict next: an entry with all its descendants, and their fee rate (2^-32 grain per byte).

    The caller removes each package before it asks for the next. An entry counts by its own fee
    rate or that with its descendants, whichever is higher, so that no parent of a well-paying child
    goes before what pays worse. Among equals the last seen goes first.
    """
    sums = _sums_with(reversed(list(graph)), lambda entry: entry.children, lambda entry: graph.family((entry,)))
    heap: list[_Ranked] = [(_worth(entry, sums[entry.tx.txid]), -entry.sequence, entry) for entry in graph]
    heapify(heap)
    while heap:
        key, _, entry = heappop(heap)
        if graph.get(entry.tx.txid) is not entry:
            continue
        package = graph.family((entry,))
        worth = _worth(entry, _add_up(package))
        if worth > key:
            # A badly paying descendant has left since.
            heappush(heap, (worth, -entry.sequence, entry))
            continue
        yield package, worth


def _worth(entry: Entry, with_descendants: _Sum) -> int:
    return max(_score((entry.fee, entry.virtual_size)), _score(with_descendants))
