"""The tree of headers: how much work each chain has, which bodies are here, where branches part.

A block is *complete* when this node holds its body and those of all blocks before it: only then can it be
a tip. Along a branch, complete blocks come first and invalid ones last, so both ends are found by bisection.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from functools import lru_cache

from consensus.pow import Anchor, work_of_bits
from consensus.types import BlockHash, Header

_work = lru_cache(maxsize=4096)(work_of_bits)
NEVER = 0
"""The arrival of a body that is not here."""
LOCATOR_DENSE = 10
"""Newest blocks that a locator names one by one, before its steps double (Bitcoin Core)."""


class BlockEntry:
    """A header's place in the tree. Its 80 bytes are in the store; here is what choosing a chain needs."""

    __slots__ = (
        "anchor",
        "arrival",
        "children",
        "complete",
        "hash",
        "height",
        "invalid",
        "parent",
        "skip",
        "time",
        "work",
    )

    def __init__(self, header: Header, parent: BlockEntry | None, anchor: Anchor | None) -> None:
        self.hash = header.hash
        self.parent = parent
        self.time = header.time
        self.anchor = anchor
        """Of the state after this block: shared by most of a branch."""
        self.height: int = parent.height + 1 if parent else 0
        self.work: int = _work(header.bits) + (parent.work if parent else 0)
        """Expected hashes of all headers from genesis to this one."""
        self.skip: BlockEntry | None = parent.ancestor(_skip_height(self.height)) if parent else None
        self.children = 0
        """How many headers name this one as their parent."""
        self.arrival = NEVER
        """The number of its body, in the order in which bodies came; 0 while it is missing."""
        self.complete = NEVER
        """The number of the body that made the chain up to here complete; 0 while one is missing."""
        self.invalid = False
        """Whether this block, or one before it, breaks a rule."""

    def __repr__(self) -> str:
        return f"<BlockEntry {self.height} {self.hash[::-1].hex()[:16]}>"

    @property
    def has_body(self) -> bool:
        """Whether the body is stored."""
        return self.arrival != NEVER

    def ancestor(self, height: int) -> BlockEntry:
        """Return the block of `height` (0 to this one's) on this block's chain, in logarithmic time.

        Raises:
            ValueError: there is none.
        """
        if not 0 <= height <= self.height:
            raise ValueError(f"a block of height {self.height} has no ancestor of height {height}")
        entry = self
        while entry.height > height:
            if entry.skip is not None and entry.skip.height >= height:
                entry = entry.skip
            elif entry.parent is not None:
                entry = entry.parent
        return entry

    def descends_from(self, other: BlockEntry) -> bool:
        """Whether `other` is this block, or one before it on its chain."""
        return other.height <= self.height and self.ancestor(other.height) is other


def _skip_height(height: int) -> int:
    """Return how far back an entry's long link goes (Bitcoin Core: GetSkipHeight)."""
    if height < 2:
        return 0

    def without_lowest_bit(number: int) -> int:
        return number & (number - 1)

    if height % 2:
        return without_lowest_bit(without_lowest_bit(height - 1)) + 1
    return without_lowest_bit(height)


def find_fork(one: BlockEntry, other: BlockEntry) -> BlockEntry:
    """Return the last block that two chains have in common."""
    height = min(one.height, other.height)
    one, other = one.ancestor(height), other.ancestor(height)
    while one is not other:
        # Where even the long links differ, so does all between: jump. Equal heights link equally far.
        if one.skip is not None and other.skip is not None and one.skip is not other.skip:
            one, other = one.skip, other.skip
        elif one.parent is not None and other.parent is not None:
            one, other = one.parent, other.parent
        else:
            raise ValueError("two chains without a common genesis")
    return one


def path(first: BlockEntry, last: BlockEntry) -> list[BlockEntry]:
    """Return the blocks after `first` up to `last`, its descendant or itself, oldest first."""
    found: list[BlockEntry] = []
    entry = last
    while entry is not first and entry.parent is not None:
        found.append(entry)
        entry = entry.parent
    found.reverse()
    return found


def locator(entry: BlockEntry) -> list[BlockHash]:
    """Return ids of `entry` and of ever sparser ancestors, newest first, genesis last (Bitcoin's locator)."""
    heights: list[int] = []
    height, step = entry.height, 1
    while height > 0:
        heights.append(height)
        if len(heights) >= LOCATOR_DENSE:
            step *= 2
        height -= step
    heights.append(0)
    return [entry.ancestor(height).hash for height in heights]


class BlockIndex:
    """All headers that are known and may matter, as a tree whose root is genesis.

    Read by anybody; changed by the chain manager only.
    """

    def __init__(self, genesis: Header) -> None:
        root = BlockEntry(genesis, None, None)
        self.genesis = root
        self.tip = root
        """The block whose coins are the store's."""
        self.best_header = root
        """The header with the most work that is not invalid; of equals, the first seen."""
        self._entries: dict[BlockHash, BlockEntry] = {root.hash: root}
        self._leaves: dict[BlockHash, BlockEntry] = {root.hash: root}
        self._early_bodies: dict[BlockHash, list[BlockEntry]] = {}
        """Blocks with a body whose parent is not complete, by that parent's id."""
        self.unbacked = 0
        """Headers without a body."""
        root.arrival = root.complete = 1
        self.last_arrival = 1

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[BlockEntry]:
        """Every entry, parents before children."""
        return iter(self._entries.values())

    def get(self, block_hash: BlockHash) -> BlockEntry | None:
        """Return the entry of a block, or None if its header is not known."""
        return self._entries.get(block_hash)

    # The best chain

    def on_best_chain(self, entry: BlockEntry) -> bool:
        """Whether a block is the tip, or before it."""
        return self.tip.descends_from(entry)

    def at(self, height: int) -> BlockEntry | None:
        """Return the block of `height` on the best chain, or None if it is not that long."""
        return self.tip.ancestor(height) if 0 <= height <= self.tip.height else None

    def locate(self, hashes: Sequence[BlockHash]) -> BlockEntry:
        """Return the first block of a locator that is on the best chain; genesis if none is."""
        for block_hash in hashes:
            entry = self._entries.get(block_hash)
            if entry is not None and self.on_best_chain(entry):
                return entry
        return self.genesis

    def leaves(self) -> list[BlockEntry]:
        """Return the last header of each branch, in the order in which they were seen."""
        return list(self._leaves.values())

    def missing_bodies(self, target: BlockEntry, limit: int) -> list[BlockEntry]:
        """Return blocks up to `target` without a body, oldest first, at most `limit` blocks ahead of the complete ones.

        `limit` bounds the window, not the answer: what is far ahead cannot be connected soon.
        """
        complete = self.last_complete(target)
        top = target.ancestor(min(target.height, complete.height + limit))
        return [entry for entry in path(complete, top) if not entry.has_body]

    # Growing

    def add(self, header: Header, parent: BlockEntry, anchor: Anchor | None) -> BlockEntry:
        """Add a checked header that is new, below `parent`."""
        entry = BlockEntry(header, parent, anchor)
        entry.invalid = parent.invalid
        self._entries[entry.hash] = entry
        parent.children += 1
        self._leaves.pop(parent.hash, None)
        self._leaves[entry.hash] = entry
        self.unbacked += 1
        if entry.work > self.best_header.work and not entry.invalid:
            self.best_header = entry
        return entry

    def add_body(self, entry: BlockEntry, arrival: int | None = None) -> list[BlockEntry]:
        """Note that a body is here; return the blocks that this makes complete, parents before children.

        Args:
            arrival: its number where it is known, as at a restart; None for the next one.
        """
        if entry.has_body:
            return []
        self.unbacked -= 1
        entry.arrival = self.last_arrival + 1 if arrival is None else arrival
        self.last_arrival = max(self.last_arrival, entry.arrival)
        parent = entry.parent
        if parent is not None and parent.complete == NEVER:
            self._early_bodies.setdefault(parent.hash, []).append(entry)
            return []
        completed = [entry]
        for done in completed:  # grows while it is walked
            before = done.parent.complete if done.parent else NEVER
            done.complete = max(before, done.arrival)
            completed += self._early_bodies.pop(done.hash, ())
        return completed

    # Choosing

    @staticmethod
    def preference(entry: BlockEntry) -> tuple[int, int, int]:
        """Return what makes one complete block a better tip than another: compare, the greatest wins.

        Most work; then the one that was complete first; then the one whose own body came first.
        """
        return entry.work, -entry.complete, -entry.arrival

    def best_complete(self) -> BlockEntry:
        """Return the block that should be the tip: of all complete and valid ones the preferred."""
        return max((self._last(leaf, _may_be_tip) for leaf in self._leaves.values()), key=self.preference)

    def last_complete(self, entry: BlockEntry) -> BlockEntry:
        """Return the last block on `entry`'s chain up to which all bodies are here."""
        return self._last(entry, lambda block: block.complete != NEVER)

    @staticmethod
    def _last(leaf: BlockEntry, holds: Callable[[BlockEntry], bool]) -> BlockEntry:
        """Return the last block on a chain for which `holds`, where it does for all blocks before that one."""
        if holds(leaf):
            return leaf
        low, high = 0, leaf.height  # it holds for genesis, and not for the leaf
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if holds(leaf.ancestor(middle)) else (low, middle)
        return leaf.ancestor(low)

    # Marking and forgetting

    def mark_invalid(self, bad: BlockEntry) -> None:
        """Mark a block and all that descends from it; the best header is chosen anew."""
        marked: set[BlockHash] = set()
        for leaf in self._leaves.values():
            entry = leaf
            while entry.height >= bad.height and entry.hash not in marked and leaf.descends_from(bad):
                entry.invalid = True
                marked.add(entry.hash)
                if entry.parent is None:
                    break
                entry = entry.parent
        if self.best_header.invalid:
            self._choose_best_header()

    def mark_anew(self, bad: Container[BlockHash]) -> None:
        """Mark exactly the blocks in `bad`, and what descends from them; the best header is chosen anew."""
        for entry in self._entries.values():
            entry.invalid = entry.hash in bad or (entry.parent is not None and entry.parent.invalid)
        self._choose_best_header()

    def first_invalid(self, entry: BlockEntry) -> BlockEntry:
        """Return the first invalid block on the chain of an invalid entry: the one for whose sake all others are."""
        return entry.ancestor(self._last(entry, lambda block: not block.invalid).height + 1)

    def _choose_best_header(self) -> None:
        valid = (self._last(leaf, lambda block: not block.invalid) for leaf in self._leaves.values())
        self.best_header = max(valid, key=lambda entry: entry.work)

    def forget_unbacked(self, keep: Callable[[BlockEntry], bool]) -> list[BlockEntry]:
        """Drop headers that have no body, no child and are not kept, again and again; return them."""
        forgotten: list[BlockEntry] = []
        for leaf in self.leaves():
            entry = leaf
            while entry.parent is not None and not (entry.has_body or entry.children or keep(entry)):
                del self._entries[entry.hash], self._leaves[entry.hash]
                forgotten.append(entry)
                entry = entry.parent
                entry.children -= 1
                if not entry.children:
                    self._leaves[entry.hash] = entry
        self.unbacked -= len(forgotten)
        if forgotten:
            self._choose_best_header()
        return forgotten


def _may_be_tip(entry: BlockEntry) -> bool:
    return entry.complete != NEVER and not entry.invalid
