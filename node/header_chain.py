"""The gate for headers: rules, our clock, and the bounds on what we keep."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from consensus.errors import ConsensusError, Rule
from consensus.params import Params
from consensus.state import ChainState
from consensus.types import BlockHash, Header
from consensus.validation import check_header
from node.block_index import NEVER, BlockEntry, BlockIndex
from node.chain_events import HeaderResult, HeaderStatus
from node.chain_limits import LOW_WORK_MARGIN, MAX_UNBACKED_HEADERS, STATES_KEPT
from node.clock import Clock
from node.early_blocks import EarlyBlock, EarlyBlocks
from node.storage.chain_store import ChainStore, Step
from node.storage.errors import DamagedError
from node.storage.schema import SET_ASIDE, StoredHeader


class HeaderChain:
    """All known headers, in memory and on disk.

    New headers are written with the next block, or by `flush`: a header that a crash loses is asked
    for again. Headers come and go while a step is being written: they are of the next one.
    """

    def __init__(self, params: Params, store: ChainStore, clock: Clock) -> None:
        """Load the tree.

        Raises:
            DamagedError: a record is not what was written.
        """
        self._params = params
        self._store = store
        self._clock = clock
        self.index = BlockIndex(params.genesis.header)
        self.early = EarlyBlocks()
        self.errors: dict[BlockHash, ConsensusError] = {}
        """Why a block is marked invalid; for the first bad one of a branch. Each has cost its miner real work."""
        self.set_aside: dict[BlockHash, BlockEntry] = {}
        """Blocks that break no rule, and that the operator does not want. Marked invalid, but nobody's fault."""
        self._states: OrderedDict[BlockHash, ChainState] = OrderedDict()
        self._unwritten: dict[BlockHash, Header] = {}
        self._in_flight: dict[BlockHash, Header] = {}
        """Headers that are being written."""
        self._new_bodies: dict[BlockHash, Header] = {}
        """Headers whose bodies are on their way to the disk: with the next step, and not before it."""
        self._dropped: dict[BlockHash, int] = {}
        """Heights of headers that were forgotten, and may still be on disk."""
        self._load()

    # From and to the disk

    def _load(self) -> None:
        index = self.index
        for stored in self._store.headers():
            if stored.height == 0:
                continue
            parent = index.get(stored.header.previous)
            if parent is None or parent.height + 1 != stored.height:
                raise DamagedError(f"the header before height {stored.height} is missing: start with --reindex")
            # Neighbours share one anchor object: a chain has few.
            anchor = parent.anchor if parent.anchor == stored.anchor else stored.anchor
            entry = index.add(stored.header, parent, anchor)
            if stored.arrival:
                index.add_body(entry, stored.arrival)
        for block_hash, rule in self._store.invalid_marks():
            bad = index.get(block_hash)
            if bad is not None:
                index.mark_invalid(bad)
                if rule == SET_ASIDE:
                    self.set_aside[block_hash] = bad
                else:
                    self.errors[block_hash] = ConsensusError(Rule(rule))
        height, tip_hash = self._store.read_tip()
        tip = index.get(tip_hash)
        # The way off a branch that was set aside may take several steps: it goes on from here.
        is_bad = tip is not None and tip.invalid and not self.is_set_aside(tip)
        if tip is None or tip.height != height or not tip.complete or is_bad:
            raise DamagedError(f"the tip of height {height} is not among the stored blocks: start with --reindex")
        index.tip = tip
        self._forget_low_work()

    def _forget_low_work(self) -> None:
        """Drop what a flood of headers may have left, now that the tip has outgrown it (A052)."""
        least = self.least_work()
        step = Step()
        for entry in self.index.forget_unbacked(keep=lambda entry: entry.work >= least or entry.hash in self.set_aside):
            step.forget_header(entry.height, entry.hash)
        if step.changes:
            self._store.write(step)

    def note_body(self, entry: BlockEntry, header: Header) -> None:
        """Have the next step, which holds the body, write the record of its header again."""
        self._new_bodies[entry.hash] = header

    def add_to(self, step: Step) -> None:
        """Put all that is new or forgotten into the step that holds the new bodies; then comes `written`."""
        self._add_headers(step)
        for block_hash, header in self._new_bodies.items():
            entry = self.index.get(block_hash)
            if entry is not None:
                step.put_header(StoredHeader(entry.height, header, entry.arrival, entry.anchor))

    def _add_headers(self, step: Step) -> None:
        for block_hash, height in self._dropped.items():
            step.forget_header(height, block_hash)
        for block_hash, header in self._unwritten.items():
            entry = self.index.get(block_hash)
            if entry is not None:
                # A record must not speak of a body that is not on disk yet.
                arrival = NEVER if block_hash in self._new_bodies else entry.arrival
                step.put_header(StoredHeader(entry.height, header, arrival, entry.anchor))
        self._dropped = {}
        self._in_flight, self._unwritten = self._unwritten, {}

    def written(self) -> None:
        """Note that the step is on disk."""
        self._in_flight.clear()
        self._new_bodies.clear()

    @property
    def overdue(self) -> bool:
        """Whether so many headers wait for a step, after a long run of them, that they should be written now."""
        return len(self._unwritten) > 4 * LOW_WORK_MARGIN

    async def flush(self) -> None:
        """Write all new headers now, but no word of bodies that wait for their step. For the writer, between steps."""
        step = Step()
        self._add_headers(step)
        if step.changes:
            await self._store.commit(step)
        self._in_flight.clear()

    def read(self, entry: BlockEntry) -> Header:
        """Return the 80 bytes of an entry."""
        for waiting in (self._unwritten, self._in_flight, self._new_bodies):
            header = waiting.get(entry.hash)
            if header is not None:
                return header
        return self._store.read_header(entry.height, entry.hash)

    # States

    def state_of(self, entry: BlockEntry) -> ChainState:
        """Return what the validity of a child of `entry` depends on."""
        state = self._states.get(entry.hash)
        if state is None:
            times: list[int] = []
            before: BlockEntry | None = entry
            while before is not None and len(times) < 11:
                times.append(before.time)
                before = before.parent
            state = ChainState(entry.height, entry.hash, tuple(reversed(times)), entry.work, entry.anchor)
            self._keep(state)
        return state

    def _keep(self, state: ChainState) -> None:
        self._states[state.hash] = state
        if len(self._states) > STATES_KEPT:
            self._states.popitem(last=False)

    # The gate

    def least_work(self) -> int:
        """Return the work below which a chain is too light to be stored (see `LOW_WORK_MARGIN`)."""
        tip = self.index.tip
        of_one_block = tip.work - (tip.parent.work if tip.parent else 0)
        return tip.work - LOW_WORK_MARGIN * of_one_block

    def latest_time(self) -> int | None:
        """Return the highest time that a header may have by our clock today; None where any may."""
        ahead = self._params.max_future_seconds
        return None if ahead is None else self._clock.time() + ahead

    def refusal(self, entry: BlockEntry) -> ConsensusError:
        """Return why an invalid entry is so."""
        error = self.errors.get(entry.hash)
        if error is None:
            return ConsensusError(Rule.INVALID_PARENT, height=entry.height)
        # Another one, as it may be raised: what is kept would gather the frames that it came through each time.
        return ConsensusError(error.rule, **error.facts)

    def is_set_aside(self, entry: BlockEntry) -> bool:
        """Whether it is by the operator's choice that a block counts as invalid."""
        return entry.invalid and self.index.first_invalid(entry).hash in self.set_aside

    def accept(self, headers: Sequence[Header], *, wanted: bool = False, backed: bool = False) -> HeaderResult:
        """Take a run of headers, each the parent of the next, into the tree.

        Args:
            wanted: take them however little work they have: we asked for them, or the operator gave them.
            backed: their bodies are at hand.

        Raises:
            ConsensusError: one of them breaks a rule, or descends from a block that does. Those before it
                were taken, if they have enough work.
        """
        known: BlockEntry | None = None
        for place, header in enumerate(headers):
            entry = self.index.get(header.hash)
            if entry is None:
                return self._accept_new(headers[place:], wanted=wanted, backed=backed)
            if entry.invalid:
                if self.is_set_aside(entry):
                    return HeaderResult(HeaderStatus.SET_ASIDE, None, 0)
                raise self.refusal(entry)
            known = entry
        return HeaderResult(HeaderStatus.KNOWN, known, 0)

    def _accept_new(self, headers: Sequence[Header], *, wanted: bool, backed: bool) -> HeaderResult:
        parent = self.index.get(headers[0].previous)
        if parent is None:
            return HeaderResult(HeaderStatus.ORPHAN, None, 0)
        if parent.invalid:
            if self.is_set_aside(parent):
                return HeaderResult(HeaderStatus.SET_ASIDE, None, 0)
            raise ConsensusError(Rule.INVALID_PARENT, height=parent.height + 1)
        states, refused, early = self._check(headers, self.state_of(parent))
        status = HeaderStatus.ADDED
        if states and not wanted and states[-1].work < self.least_work():
            status = HeaderStatus.LOW_WORK
        elif states and not backed and not self._make_room(parent, len(states)):
            status = HeaderStatus.FULL
        else:
            for header, state in zip(headers, states, strict=False):
                parent = self.index.add(header, parent, state.anchor)
                self._unwritten[header.hash] = header
                self._dropped.pop(header.hash, None)
                self._keep(state)
        if refused is not None:
            try:
                raise refused
            finally:
                del refused  # whose traceback has this frame: a circle would be left to the collector
        if status is not HeaderStatus.ADDED:
            return HeaderResult(status, None, 0)
        if early is not None:
            self.early.keep(EarlyBlock(early, None, wanted))
            return HeaderResult(HeaderStatus.EARLY, parent, len(states))
        return HeaderResult(HeaderStatus.ADDED, parent, len(states))

    def _check(
        self, headers: Sequence[Header], state: ChainState
    ) -> tuple[list[ChainState], ConsensusError | None, Header | None]:
        """Return the states of those that pass, and either the error or the early header that ends the run."""
        latest = self.latest_time()
        states: list[ChainState] = []
        for header in headers:
            try:
                state = check_header(self._params, header, state)
            except ConsensusError as error:
                return states, error, None
            if latest is not None and header.time > latest:
                return states, None, header
            states.append(state)
        return states, None, None

    def _make_room(self, parent: BlockEntry, count: int) -> bool:
        """Whether `count` more headers may wait for their bodies; what is off the best branch makes way."""
        index = self.index
        if index.unbacked + count > MAX_UNBACKED_HEADERS:
            best = index.best_header
            for entry in index.forget_unbacked(
                keep=lambda entry: best.descends_from(entry) or entry is parent or entry.hash in self.set_aside
            ):
                self._drop(entry)
        return index.unbacked + count <= MAX_UNBACKED_HEADERS

    def forget_unbacked(self) -> int:
        """Drop every header without a body: nobody delivers them. Return how many; they may come again."""
        forgotten = self.index.forget_unbacked(keep=lambda entry: entry.hash in self.set_aside)
        for entry in forgotten:
            self._drop(entry)
        return len(forgotten)

    def _drop(self, entry: BlockEntry) -> None:
        if self._unwritten.pop(entry.hash, None) is None or entry.hash in self._in_flight:
            self._dropped[entry.hash] = entry.height
        self._states.pop(entry.hash, None)
