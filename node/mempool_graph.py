"""The transactions of the mempool and how they hang together. Knows no rules, no clock and no limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from consensus.types import Amount, OutPoint, Transaction, TxId, WTxId

ENTRY_OVERHEAD = 1_000
"""Bytes of memory that an entry takes, with its places in the indexes (measured, CPython 3.11)."""
MEMORY_PER_BYTE = 5
"""Bytes of memory for each encoded byte of a transaction, its encoding included: small objects are dear
(measured: a payment of 233 bytes takes 2,010 in all, one of 973 bytes with twenty outputs 5,420)."""


@dataclass(slots=True, eq=False)
class Entry:
    """A transaction in the mempool, and its neighbours there."""

    tx: Transaction
    fee: Amount
    virtual_size: int
    """What the fee rate is reckoned by, see `relay_policy.virtual_size`."""
    signatures: int
    """How many count against a block's bound."""
    time: int
    """When it came, UNIX seconds."""
    watched: bool
    """Whether a reorg could make it early again: it spends a coinbase or names a height, time or age."""
    sequence: int = 0
    """Order of coming: a parent's is always below its children's."""
    parents: dict[TxId, Entry] = field(default_factory=dict)
    """Those of its parents that are unconfirmed, by txid."""
    children: dict[TxId, Entry] = field(default_factory=dict)

    size: int = field(init=False)
    """Encoded bytes."""

    def __post_init__(self) -> None:
        self.size = len(self.tx.encoded)

    @property
    def memory(self) -> int:
        """About how many bytes of memory it takes, which is what the mempool's limit counts."""
        return ENTRY_OVERHEAD + MEMORY_PER_BYTE * self.size


class MempoolGraph:
    """Transactions by txid, wtxid and spent outpoint, each linked with its parents and children."""

    def __init__(self) -> None:
        self._entries: dict[TxId, Entry] = {}
        self._wtxids: dict[WTxId, Entry] = {}
        self._spends: dict[OutPoint, Entry] = {}
        self._sequence = 0
        self.memory = 0
        """About how many bytes all entries take together."""
        self.size = 0
        """Encoded bytes of all transactions."""
        self.fees = 0
        """Of all transactions, in grain."""

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """In the order of coming, so that parents stand before their children."""
        return iter(self._entries.values())

    def get(self, txid: TxId) -> Entry | None:
        """Return the entry of a txid."""
        return self._entries.get(txid)

    def by_wtxid(self, wtxid: WTxId) -> Entry | None:
        """Return the entry of a wtxid."""
        return self._wtxids.get(wtxid)

    def spender(self, outpoint: OutPoint) -> Entry | None:
        """Return the entry that spends an outpoint."""
        return self._spends.get(outpoint)

    def add(self, entry: Entry) -> None:
        """Add an entry that conflicts with none and whose children are not there yet."""
        tx = entry.tx
        self._sequence += 1
        entry.sequence = self._sequence
        self._entries[tx.txid] = entry
        self._wtxids[tx.wtxid] = entry
        for outpoint in tx.core.inputs:
            self._spends[outpoint] = entry
            parent = self._entries.get(outpoint.txid)
            if parent is not None:
                entry.parents[outpoint.txid] = parent
                parent.children[tx.txid] = entry
        self.memory += entry.memory
        self.size += entry.size
        self.fees += entry.fee

    def remove(self, entry: Entry) -> None:
        """Remove one entry, whose children stay: it was confirmed, or they are removed as well."""
        tx = entry.tx
        del self._entries[tx.txid]
        del self._wtxids[tx.wtxid]
        for outpoint in tx.core.inputs:
            del self._spends[outpoint]
        for parent in entry.parents.values():
            del parent.children[tx.txid]
        for child in entry.children.values():
            del child.parents[tx.txid]
        entry.parents.clear()
        entry.children.clear()
        self.memory -= entry.memory
        self.size -= entry.size
        self.fees -= entry.fee

    def remove_with_descendants(self, entry: Entry) -> list[Entry]:
        """Remove an entry and all that descends from it; return them, parents before children."""
        removed = self.family((entry,))
        for member in reversed(removed):
            self.remove(member)
        return removed

    def ancestors(self, parents: Iterable[Entry]) -> dict[TxId, Entry]:
        """Return `parents` and all unconfirmed transactions that they descend from, in no order that matters."""
        found: dict[TxId, Entry] = {}
        pending = list(parents)
        while pending:
            entry = pending.pop()
            if entry.tx.txid not in found:
                found[entry.tx.txid] = entry
                pending.extend(entry.parents.values())
        return found

    def family(self, roots: Iterable[Entry]) -> list[Entry]:
        """Return `roots` and all that descends from them, in the order of coming: parents before children."""
        found: dict[TxId, Entry] = {}
        pending = list(roots)
        while pending:
            entry = pending.pop()
            if entry.tx.txid not in found:
                found[entry.tx.txid] = entry
                pending.extend(entry.children.values())
        return sorted(found.values(), key=lambda entry: entry.sequence)

    def has_family_of(self, entry: Entry, count: int) -> bool:
        """Tell whether an entry and all that descends from it are at least `count`; looks at no more."""
        found = {entry.tx.txid}
        pending = [entry]
        while pending and len(found) < count:
            for txid, child in pending.pop().children.items():
                if txid not in found:
                    found.add(txid)
                    pending.append(child)
        return len(found) >= count

    def check(self) -> None:
        """Check that the indexes, links and sums agree with the transactions. For tests: it reads everything.

        Raises:
            ValueError: naming what does not agree.
        """
        spends: dict[OutPoint, Entry] = {}
        last = 0
        for txid, entry in self._entries.items():
            _require(entry.tx.txid == txid, "an entry stands under another txid")
            _require(self._wtxids.get(entry.tx.wtxid) is entry, "an entry has no wtxid")
            _require(entry.sequence > last, "entries are not in the order of coming")
            last = entry.sequence
            for outpoint in entry.tx.core.inputs:
                _require(outpoint not in spends, "two entries spend one outpoint")
                spends[outpoint] = entry
            parents = {o.txid: self._entries[o.txid] for o in entry.tx.core.inputs if o.txid in self._entries}
            _require(entry.parents == parents, "an entry's parents are others")
            for parent in parents.values():
                _require(parent.children.get(txid) is entry, "a parent lacks its child")
                _require(parent.sequence < entry.sequence, "a child stands before its parent")
            for child in entry.children.values():
                _require(child.parents.get(txid) is entry, "a child lacks its parent")
                _require(self._entries.get(child.tx.txid) is child, "a child is not in the mempool")
        _require(self._spends == spends, "the index of spent outpoints differs")
        _require(len(self._wtxids) == len(self._entries), "the index of wtxids differs")
        _require(self.memory == sum(entry.memory for entry in self), "the sum of memory differs")
        _require(self.size == sum(entry.size for entry in self), "the sum of sizes differs")
        _require(self.fees == sum(entry.fee for entry in self), "the sum of fees differs")


def _require(truth: bool, otherwise: str) -> None:
    if not truth:
        raise ValueError(otherwise)
