"""The transactions of the mempool and how they hang together. Knows no rules, no clock and no limits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from consensus.slices import SLICE, Slices
from consensus.types import Amount, AssetId, OutPoint, Transaction, TxId, WTxId
from node.score_order import Ranked, ScoreOrder
from node.waiting_assets import AssetChanges, issued_by

ENTRY_OVERHEAD = 1_500
"""Bytes of memory that an entry takes, with its places in the indexes, the two orders and the history of fees."""
MEMORY_PER_BYTE = 5
"""Bytes of memory for each encoded byte of a transaction, its encoding included: small objects are dear
(measured, CPython 3.11: a payment of 233 bytes takes 2,680 in all, one of 973 bytes with twenty outputs 6,000)."""
MANY = 1_000
"""Removals at once from which on an order is gone through as a whole: that costs as much as so many single ones."""


@dataclass(slots=True, eq=False)
class Entry:
    """A transaction in the mempool, and its neighbours there.

    The sums over ancestors and descendants include the entry itself, as in Bitcoin Core. The graph keeps
    them: whoever asks for them walks nowhere.
    """

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
    sponsored: bool = False
    """Whether it is here only because a descendant pays for it: by itself it is below the lowest fee rate."""
    height: int = 0
    """Of the tip when it came."""
    assets: AssetChanges = field(default_factory=dict)
    """What it does to the records of assets."""
    sequence: int = 0
    """Order of coming: a parent's is always below its children's."""
    parents: dict[TxId, Entry] = field(default_factory=dict)
    """Those of its parents that are unconfirmed, by txid."""
    children: dict[TxId, Entry] = field(default_factory=dict)

    size: int = field(init=False)
    """Encoded bytes."""
    ancestor_count: int = field(init=False, default=1)
    ancestor_size: int = field(init=False)
    """Virtual bytes."""
    ancestor_fee: int = field(init=False)
    descendant_count: int = field(init=False, default=1)
    descendant_size: int = field(init=False)
    """Virtual bytes."""
    descendant_fee: int = field(init=False)
    rank: int = field(init=False, default=0)
    """Its score in the order in which a block takes entries: the lowest first."""
    worth: int = field(init=False, default=0)
    """Its score in the order in which a full mempool gives entries up: the lowest first."""

    def __post_init__(self) -> None:
        self.size = len(self.tx.encoded)
        self.ancestor_size = self.descendant_size = self.virtual_size
        self.ancestor_fee = self.descendant_fee = int(self.fee)

    @property
    def memory(self) -> int:
        """About how many bytes of memory it takes, which is what the mempool's limit counts."""
        return ENTRY_OVERHEAD + MEMORY_PER_BYTE * self.size

    @property
    def in_block_order(self) -> Ranked:
        """Its place among what a block takes: by fee rate with its ancestors; of equals the first seen."""
        return self.rank, self.sequence, self

    @property
    def in_leaving_order(self) -> Ranked:
        """Its place among what a full mempool gives up.

        It counts by its own fee rate or that with its descendants, whichever is higher, so that no parent
        of a well-paying child goes before what pays worse. Of equals the last seen goes first.
        """
        return self.worth, -self.sequence, self

    def rank_now(self) -> int:
        """Return what `rank` is by the sums as they are."""
        return -score(self.ancestor_fee, self.ancestor_size)

    def worth_now(self) -> int:
        """Return what `worth` is by the sums as they are."""
        own = score(self.fee, self.virtual_size)
        return own if self.descendant_count == 1 else max(own, score(self.descendant_fee, self.descendant_size))


def score(fee: int, size: int) -> int:
    """Return a fee rate in 2^-32 grain per byte, rounded down: exact enough to sort by."""
    return (fee << 32) // size


class MempoolGraph:
    """Transactions by txid, wtxid, spent outpoint and score, each linked with its parents and children."""

    def __init__(self) -> None:
        self._entries: dict[TxId, Entry] = {}
        self._wtxids: dict[WTxId, Entry] = {}
        self._spends: dict[OutPoint, Entry] = {}
        self._issuers: dict[AssetId, dict[TxId, Entry]] = {}
        """Those that are valid only while the record of an asset is as it is."""
        self._sequence = 0
        self.block_order = ScoreOrder()
        """See `Entry.in_block_order`."""
        self.leaving_order = ScoreOrder()
        """See `Entry.in_leaving_order`."""
        self.memory = 0
        """About how many bytes all entries take together."""
        self.size = 0
        """Encoded bytes of all transactions."""
        self.virtual_size = 0
        """Virtual bytes of all transactions."""
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

    @property
    def has_issuers(self) -> bool:
        """Whether there is any entry that `issuers` would return."""
        return bool(self._issuers)

    def issuers(self, asset: AssetId) -> Collection[Entry]:
        """Return the entries that attest an asset's reserve or issue more of it, in the order of coming."""
        return self._issuers.get(asset, {}).values()

    def add(self, entry: Entry) -> None:
        """Add an entry that conflicts with none and whose children are not there yet."""
        tx = entry.tx
        self._sequence += 1
        entry.sequence = self._sequence
        self._entries[tx.txid] = entry
        self._wtxids[tx.wtxid] = entry
        for asset in issued_by(tx):
            self._issuers.setdefault(asset, {})[tx.txid] = entry
        for outpoint in tx.core.inputs:
            self._spends[outpoint] = entry
            parent = self._entries.get(outpoint.txid)
            if parent is not None:
                entry.parents[outpoint.txid] = parent
                parent.children[tx.txid] = entry
        for ancestor in self.ancestors(entry.parents.values()).values() if entry.parents else ():
            entry.ancestor_count += 1
            entry.ancestor_size += ancestor.virtual_size
            entry.ancestor_fee += ancestor.fee
            self._count_descendant(ancestor, entry, 1)
        entry.rank, entry.worth = entry.rank_now(), entry.worth_now()
        self.block_order.add(entry.in_block_order)
        self.leaving_order.add(entry.in_leaving_order)
        self.memory += entry.memory
        self.size += entry.size
        self.virtual_size += entry.virtual_size
        self.fees += entry.fee

    def remove(self, entry: Entry) -> None:
        """Remove an entry that has no parents here, because it was confirmed, or no children: the last of a line.

        Raises:
            ValueError: it has both, and nothing was changed.
        """
        self._unlink(entry)
        self.block_order.remove(entry.in_block_order)
        self.leaving_order.remove(entry.in_leaving_order)

    def remove_all_in_slices(self, entries: Collection[Entry]) -> Slices[None]:
        """Remove entries, each of which can be removed once those before it are; in slices.

        Meanwhile nobody may change anything here, nor ask for an order.
        """
        many = len(entries) >= MANY
        for place, entry in enumerate(entries, 1):
            if many:
                self._unlink(entry)
            else:
                self.remove(entry)
            if place % SLICE == 0:
                yield
        if many:
            self.block_order.remove_all({entry.sequence for entry in entries})
            self.leaving_order.remove_all({-entry.sequence for entry in entries})

    def _unlink(self, entry: Entry) -> None:
        """Take an entry out of all but the two orders."""
        if entry.parents and entry.children:
            raise ValueError("an entry between others cannot be removed alone")
        tx = entry.tx
        for ancestor in self.ancestors(entry.parents.values()).values() if entry.parents else ():
            self._count_descendant(ancestor, entry, -1)
        for heir in self.family(entry.children.values()) if entry.children else ():
            self._lose_ancestor(heir, entry)
        del self._entries[tx.txid]
        del self._wtxids[tx.wtxid]
        for asset in issued_by(tx):
            issuers = self._issuers.get(asset, {})
            issuers.pop(tx.txid, None)
            if not issuers:
                self._issuers.pop(asset, None)
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
        self.virtual_size -= entry.virtual_size
        self.fees -= entry.fee

    def _count_descendant(self, ancestor: Entry, heir: Entry, sign: int) -> None:
        ancestor.descendant_count += sign
        ancestor.descendant_size += sign * heir.virtual_size
        ancestor.descendant_fee += sign * heir.fee
        worth = ancestor.worth_now()
        if worth != ancestor.worth:
            self.leaving_order.remove(ancestor.in_leaving_order)
            ancestor.worth = worth
            self.leaving_order.add(ancestor.in_leaving_order)

    def _lose_ancestor(self, heir: Entry, ancestor: Entry) -> None:
        heir.ancestor_count -= 1
        heir.ancestor_size -= ancestor.virtual_size
        heir.ancestor_fee -= ancestor.fee
        rank = heir.rank_now()
        if rank != heir.rank:
            self.block_order.remove(heir.in_block_order)
            heir.rank = rank
            self.block_order.add(heir.in_block_order)

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
            self._check_sums(entry)
        _require(self._spends == spends, "the index of spent outpoints differs")
        _require(len(self._wtxids) == len(self._entries), "the index of wtxids differs")
        _require(self.memory == sum(entry.memory for entry in self), "the sum of memory differs")
        _require(self.size == sum(entry.size for entry in self), "the sum of sizes differs")
        _require(self.virtual_size == sum(entry.virtual_size for entry in self), "the sum of virtual sizes differs")
        _require(self.fees == sum(entry.fee for entry in self), "the sum of fees differs")
        in_blocks, leaving = list(self.block_order), list(self.leaving_order)
        _require(in_blocks == sorted(entry.in_block_order for entry in self), "the order for blocks differs")
        _require(leaving == sorted(entry.in_leaving_order for entry in self), "the order of leaving differs")

    def _check_sums(self, entry: Entry) -> None:
        ancestors = list(self.ancestors((entry,)).values())
        descendants = self.family((entry,))
        for what, members, kept in (
            ("ancestors", ancestors, (entry.ancestor_count, entry.ancestor_size, entry.ancestor_fee)),
            ("descendants", descendants, (entry.descendant_count, entry.descendant_size, entry.descendant_fee)),
        ):
            summed = (
                len(members),
                sum(member.virtual_size for member in members),
                sum(member.fee for member in members),
            )
            _require(kept == summed, f"the sums over an entry's {what} differ")
        _require(entry.rank == entry.rank_now() and entry.worth == entry.worth_now(), "an entry has an old score")


def _require(truth: bool, otherwise: str) -> None:
    if not truth:
        raise ValueError(otherwise)
