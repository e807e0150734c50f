"""Headers and blocks that are ahead of this node's clock: not invalid, only early (A049, A191)."""

from __future__ import annotations

from typing import NamedTuple

from consensus.types import Block, BlockHash, Header
from node.chain_limits import MAX_EARLY, MAX_EARLY_BYTES


class EarlyBlock(NamedTuple):
    """One of them."""

    header: Header
    block: Block | None
    """Its body, if that came too."""
    wanted: bool
    """Whether the body was asked for."""


class EarlyBlocks:
    """Keeps the soonest due, within `MAX_EARLY` entries and `MAX_EARLY_BYTES` of bodies."""

    def __init__(self) -> None:
        self._entries: dict[BlockHash, EarlyBlock] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def first_time(self) -> int | None:
        """The time in the header that is due first, UNIX seconds."""
        return min((entry.header.time for entry in self._entries.values()), default=None)

    def keep(self, early: EarlyBlock) -> None:
        """Keep a header, or a block: a body is not lost to a header that comes again alone."""
        known = self._entries.get(early.header.hash)
        if known is None or early.block is not None:
            self._entries[early.header.hash] = early
        while len(self._entries) > MAX_EARLY or self._bytes() > MAX_EARLY_BYTES:
            last = max(self._entries.values(), key=lambda entry: entry.header.time)
            del self._entries[last.header.hash]

    def _bytes(self) -> int:
        return sum(len(entry.block.encoded) for entry in self._entries.values() if entry.block is not None)

    def take_due(self, latest: int) -> list[EarlyBlock]:
        """Remove and return those whose time is `latest` (UNIX seconds) or before, in the order of their times."""
        due = [entry for entry in self._entries.values() if entry.header.time <= latest]
        for entry in due:
            del self._entries[entry.header.hash]
        return sorted(due, key=lambda entry: entry.header.time)
