"""Which bodies to ask of whom: in parallel, within windows, and of somebody else when one does not come.

It asks for the bodies of every branch that has at least the tip's work, whoever announced it: side branches are
treated alike. It sends nothing and reads no clock; `now` is the loop's time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from consensus.types import BlockHash
from node import gossip_limits as limits
from node.block_index import BlockEntry, BlockIndex


@dataclass(slots=True, eq=False)
class _Source:
    """A peer, as far as bodies go."""

    best: BlockEntry | None = None
    """The header with the most work that it is known to have."""
    asked: dict[BlockHash, float] = field(default_factory=dict)
    """Bodies it owes, and since when."""
    lacks: dict[BlockHash, None] = field(default_factory=dict)
    """Bodies that it said it does not have; at most `BLOCK_WINDOW`."""
    last_body: float = 0.0


@dataclass(slots=True, eq=False)
class _Plan:
    """The bodies of one branch that are to be asked for next, oldest first."""

    target: BlockEntry
    entries: list[BlockEntry] = field(default_factory=list)
    cursor: int = 0
    """Everything before it is here, or asked for."""
    complete: int = -1
    """Height up to which all bodies were here when the plan was made."""
    stale: bool = True


class BlockDownload:
    """Bodies on their way, by peer and by block."""

    def __init__(self, index: BlockIndex, now: float = 0.0) -> None:
        self._index = index
        self._sources: dict[int, _Source] = {}
        self._asked: dict[BlockHash, dict[int, float]] = {}
        """Whom a body was asked of, and when."""
        self._plans: list[_Plan] = []
        self._in_work: dict[BlockHash, int] = {}
        self.bytes_in_work = 0
        self.last_body = now
        """When the newest body that was wanted came; at first, when waiting for them began."""

    def __len__(self) -> int:
        """Return how many blocks are on their way."""
        return len(self._asked)

    # --- peers ------------------------------------------------------------------------------------------------

    def add_peer(self, peer: int) -> None:
        """A peer is ready."""
        self._sources[peer] = _Source()

    def remove_peer(self, peer: int) -> None:
        """A peer is gone; what it owes is to be asked of others."""
        source = self._sources.pop(peer, None)
        if source is not None:
            for block_hash in source.asked:
                self._forget(block_hash, peer)

    def best_of(self, peer: int) -> BlockEntry | None:
        """Return the header with the most work that a peer is known to have."""
        return self._sources[peer].best

    def peer_has(self, peer: int, entry: BlockEntry) -> None:
        """Note that a peer has a block and all before it: it announced it, or sent its header."""
        source = self._sources[peer]
        best = source.best
        if best is None or entry.work >= best.work or best.invalid or self._is_gone(best):
            source.best = entry

    def owes(self, peer: int) -> int:
        """Return how many bodies a peer was asked for that have not come."""
        return len(self._sources[peer].asked)

    # --- asking -----------------------------------------------------------------------------------------------

    def next_for(self, peer: int, now: float) -> list[BlockEntry]:
        """Return the bodies to ask a peer for now, oldest first. They count as asked for."""
        source = self._sources[peer]
        if source.best is None or source.best.complete:
            return []  # nearly always: each peer tells of a block, and one of them brings it
        room = limits.BLOCKS_PER_PEER - len(source.asked)
        # Asked for in batches: a message for each body would be as many messages as bodies.
        if room < limits.BLOCKS_PER_PEER // 2 or self._is_busy():
            return []
        plan = self._plan_of(source)
        if plan is None:
            return []
        chosen: list[BlockEntry] = []
        for entry in self._open_entries(plan, source.best.height):
            if entry.hash in source.lacks:
                continue
            chosen.append(entry)
            if len(chosen) == room:
                break
        for entry in chosen:
            self.ask(peer, entry, now)
        return chosen

    def _open_entries(self, plan: _Plan, height: int) -> Iterable[BlockEntry]:
        """Give the entries up to `height` that nobody was asked for; what stands first is skipped for good."""
        at = plan.cursor
        while at < len(plan.entries) and plan.entries[at].height <= height:
            entry = plan.entries[at]
            at += 1
            if not self.is_open(entry):
                if at == plan.cursor + 1:
                    plan.cursor = at
                continue
            yield entry

    def is_open(self, entry: BlockEntry) -> bool:
        """Tell whether a body is missing, and neither asked for nor being put together or judged."""
        return not entry.has_body and entry.hash not in self._asked and entry.hash not in self._in_work

    @contextmanager
    def reserved(self, block_hash: BlockHash) -> Iterator[None]:
        """Ask nobody for a body meanwhile: it may be put together from what is here."""
        self._in_work[block_hash] = self._in_work.get(block_hash, 0) + 1
        try:
            yield
        finally:
            self._release(block_hash)
            # A plan that was followed meanwhile has passed over it.
            self._renew_all()

    def ask(self, peer: int, entry: BlockEntry, now: float) -> None:
        """Count a body as asked of a peer, of which it or parts of it are asked for."""
        self._sources[peer].asked[entry.hash] = now
        self._asked.setdefault(entry.hash, {})[peer] = now

    def _is_busy(self) -> bool:
        return len(self._in_work) >= limits.BLOCKS_IN_WORK or self.bytes_in_work >= limits.BLOCK_BYTES_IN_WORK

    def _plan_of(self, source: _Source) -> _Plan | None:
        """Return the plan of the branch that a source's best header is on, brought up to date."""
        best = source.best
        if best is None or self._is_gone(best) or best.invalid or best.work < self._index.tip.work or best.complete:
            return None
        plan = next((plan for plan in self._plans if self._covers(plan, best)), None)
        if plan is None:
            plan = _Plan(best)
            self._plans = [other for other in self._plans if self._is_alive(other)]
            self._plans.append(plan)
        elif best.height > plan.target.height:
            plan.target, plan.stale = best, True
        if plan.stale or plan.cursor >= len(plan.entries):
            self._renew(plan)
        return plan

    def _covers(self, plan: _Plan, best: BlockEntry) -> bool:
        if not self._is_alive(plan):
            return False
        return plan.target.descends_from(best) or best.descends_from(plan.target)

    def _is_alive(self, plan: _Plan) -> bool:
        target = plan.target
        return not (target.invalid or target.complete or self._is_gone(target))

    def _is_gone(self, entry: BlockEntry) -> bool:
        """Whether the index has forgotten a header, for want of room."""
        return self._index.get(entry.hash) is not entry

    def _renew(self, plan: _Plan) -> None:
        """Make the plan anew, if the window has moved enough to be worth it."""
        complete = self._index.last_complete(plan.target).height
        if not plan.stale and complete < plan.complete + limits.BLOCK_WINDOW // 8:
            return
        plan.entries = self._index.missing_bodies(plan.target, limits.BLOCK_WINDOW)
        plan.cursor, plan.complete, plan.stale = 0, complete, False

    # --- what comes, and what does not ------------------------------------------------------------------------

    def received(self, peer: int, block_hash: BlockHash, size: int, now: float) -> bool:
        """A body came, and is handed to the chain manager; return whether this peer was asked for it.

        Whoever else was asked for it still is: this one may turn out to be mutated (A097).
        """
        source = self._sources[peer]
        solicited = block_hash in source.asked
        if solicited:
            source.last_body = self.last_body = now
            self._forget(block_hash, peer, lost=False)
        self._in_work[block_hash] = self._in_work.get(block_hash, 0) + 1
        self.bytes_in_work += size
        return solicited

    def not_wanted(self, peer: int, block_hash: BlockHash) -> None:
        """A body came that is here already, or that nobody wants any more."""
        self._forget(block_hash, peer, lost=False)

    def judged(self, block_hash: BlockHash, size: int, *, stored: bool) -> None:
        """The chain manager has answered; if the body is stored, or never will be, nobody owes it any more."""
        self._release(block_hash)
        self.bytes_in_work -= size
        if stored:
            for peer in list(self._asked.get(block_hash, ())):
                self._forget(block_hash, peer, lost=False)
        else:
            self._renew_all()

    def _release(self, block_hash: BlockHash) -> None:
        left = self._in_work.get(block_hash, 0) - 1
        if left > 0:
            self._in_work[block_hash] = left
        else:
            self._in_work.pop(block_hash, None)

    def is_in_work(self, block_hash: BlockHash) -> bool:
        """Tell whether a body is being judged by the chain manager."""
        return block_hash in self._in_work

    def not_found(self, peer: int, block_hash: BlockHash) -> bool:
        """A peer does not have a body; return whether it was asked for it."""
        source = self._sources[peer]
        if block_hash not in source.asked:
            return False
        if len(source.lacks) < limits.BLOCK_WINDOW:
            source.lacks[block_hash] = None
        self._forget(block_hash, peer)
        return True

    def late(self, now: float) -> list[tuple[int, BlockEntry]]:
        """Return bodies to be asked of one more peer each, and of whom. They count as asked for.

        Only the first missing body of a branch holds everything up, and those of a peer that delivers nothing.
        """
        found: list[tuple[int, BlockEntry]] = []
        for block_hash, asked in list(self._asked.items()):
            entry = self._index.get(block_hash)
            if entry is None:
                for peer in list(asked):
                    self._forget(block_hash, peer)
                continue
            if len(asked) >= limits.MAX_SOURCES or now - max(asked.values()) < limits.SECOND_SOURCE_SECONDS:
                continue
            first = entry.parent is not None and entry.parent.complete
            if not first and any(self._is_delivering(peer, now) for peer in asked):
                continue
            other = self._other_source(entry, now)
            if other is not None:
                self.ask(other, entry, now)
                found.append((other, entry))
        return found

    def stalled(self, now: float) -> list[int]:
        """Return the peers that owe bodies and have delivered none for `BODY_STALL_SECONDS`."""
        stalled = []
        for peer, source in self._sources.items():
            if source.asked:
                waiting_since = max(source.last_body, next(iter(source.asked.values())))
                if now - waiting_since >= limits.BODY_STALL_SECONDS:
                    stalled.append(peer)
        return stalled

    def _is_delivering(self, peer: int, now: float) -> bool:
        return now - self._sources[peer].last_body < limits.SECOND_SOURCE_SECONDS

    def _other_source(self, entry: BlockEntry, now: float) -> int | None:
        """Return the least loaded peer that has a block and was not asked for it; who delivers comes first."""
        asked = self._asked[entry.hash]
        fit = [
            ((not self._is_delivering(peer, now), len(source.asked), place), peer)
            for place, (peer, source) in enumerate(self._sources.items())
            if peer not in asked
            and entry.hash not in source.lacks
            and len(source.asked) < 2 * limits.BLOCKS_PER_PEER
            and source.best is not None
            and source.best.descends_from(entry)
        ]
        return min(fit)[1] if fit else None

    def _forget(self, block_hash: BlockHash, peer: int, *, lost: bool = True) -> None:
        """A peer owes a body no more; if it is lost, others may have to be asked."""
        source = self._sources.get(peer)
        if source is not None:
            source.asked.pop(block_hash, None)
        asked = self._asked.get(block_hash)
        if asked is not None:
            asked.pop(peer, None)
            if not asked:
                del self._asked[block_hash]
                if lost:
                    self._renew_all()

    def _renew_all(self) -> None:
        for plan in self._plans:
            plan.stale = True
