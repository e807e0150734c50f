"""Headers first: which headers to ask of whom, and what to make of those that come.

Every peer is asked once when it is ready, so that we learn what it has. A long chain is then fetched from one peer at a
time, the leader; the others go on when it has ended. A new block is announced by its header, unasked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from consensus.errors import ConsensusError
from consensus.params import Params
from consensus.types import BlockHash, Header
from node import gossip_limits as limits
from node.block_index import BlockEntry, locator
from node.chain import ChainManager
from node.chain_events import HeaderStatus
from node.chain_limits import MAX_UNBACKED_HEADERS
from node.peer import Peer, Role
from node.presync import Count, Presync
from p2p.limits import MAX_HEADERS
from p2p.messages import GetHeaders, Headers

_NO_STOP = bytes(32)


class Control(Protocol):
    """What gossip asks of the peer manager."""

    def punish(self, peer: Peer, points: int, reason: str) -> None:
        """Count misbehaviour; at 100 points the peer is dropped."""

    def disconnect(self, peer: Peer, reason: str) -> None:
        """Close a connection; blames nobody."""


@dataclass(slots=True, eq=False)
class _Source:
    """A peer, as far as headers go."""

    peer: Peer
    timeout: asyncio.TimerHandle | None = None
    """Runs while an answer is due."""
    more: bool = False
    """It has headers that we did not ask for yet."""
    unconnecting: int = 0
    """Announcements in a row that did not connect."""
    presync: Presync | None = None
    early: asyncio.TimerHandle | None = None
    """Asks again for headers that were ahead of our clock."""


class HeaderSync:
    """Asks for headers, and hands those that come to the chain manager."""

    def __init__(
        self,
        params: Params,
        chain: ChainManager,
        control: Control,
        log: FilteringBoundLogger,
        *,
        on_header: Callable[[Peer, BlockEntry], None],
        last_body: Callable[[], float],
    ) -> None:
        """
        Args:
            on_header: told of the last header of each message that was taken, and of whom it came from.
            last_body: when the newest body came, in the loop's time.
        """
        self._params = params
        self._chain = chain
        self._control = control
        self._log = log
        self._on_header = on_header
        self._last_body = last_body
        self._loop = asyncio.get_running_loop()
        self._sources: dict[int, _Source] = {}
        self._leader: _Source | None = None

    # --- peers ------------------------------------------------------------------------------------------------

    def peer_ready(self, peer: Peer) -> None:
        """Learn what a new peer has."""
        source = self._sources[peer.number] = _Source(peer)
        self._ask_from_best(source)

    def peer_gone(self, peer: Peer) -> None:
        """Forget a peer; if it was the leader, another goes on."""
        source = self._sources.pop(peer.number, None)
        if source is None:
            return
        for timer in (source.timeout, source.early):
            if timer is not None:
                timer.cancel()
        if source is self._leader:
            self._leader = None
        self.go_on()

    def ask(self, peer: Peer) -> None:
        """Ask a peer for what we lack, if it is not asked already: it seems to have something new."""
        source = self._sources.get(peer.number)
        if source is not None and source.timeout is None and source.presync is None:
            self._ask_from_best(source)

    def ask_all(self) -> None:
        """Ask every peer for what it may have and we lack."""
        for source in list(self._sources.values()):
            self.ask(source.peer)

    def go_on(self) -> None:
        """Have another peer lead, if there is none and somebody has more headers, and room for them."""
        waiting = next((source for source in self._sources.values() if source.more and source.timeout is None), None)
        if self._leader is not None or waiting is None:
            return
        if self._chain.index.unbacked + MAX_HEADERS > MAX_UNBACKED_HEADERS and not self._forget_headers():
            return
        waiting.more = False
        self._leader = waiting
        self._ask_from_best(waiting)

    # --- what comes -------------------------------------------------------------------------------------------

    def handle_headers(self, peer: Peer, message: Headers) -> None:
        """Take headers, asked for or announced."""
        source = self._sources.get(peer.number)
        if source is None:
            return
        headers = [Header.from_bytes(raw) for raw in message.headers]
        if source.presync is not None and headers and headers[0].previous != source.presync.wanted_after:
            return  # a new block, announced while a long branch is weighed: it comes with that branch
        answered = source.timeout is not None
        if source.timeout is not None:
            source.timeout.cancel()
            source.timeout = None
        if any(child.previous != parent.hash for parent, child in pairwise(headers)):
            self._control.punish(peer, 100, "headers that are no chain")
            return
        try:
            self._take(source, headers, answered=answered)
        except ConsensusError as error:
            self._control.punish(peer, 100, f"invalid header: {error}")
        if source is self._leader and source.timeout is None:
            self._leader = None
        self.go_on()

    def _take(self, source: _Source, headers: Sequence[Header], *, answered: bool) -> None:
        if source.presync is not None:
            self._take_presync(source, source.presync, headers)
            return
        if not headers:
            return
        invalid = self._first_invalid(headers)
        if invalid is not None:
            source.unconnecting = 0
            # A known invalid block is not judged again. Nobody who dialled us is blamed: his rules may be older (A102);
            # nor is anybody for a branch that our operator has set aside.
            if source.peer.role is Role.OUTBOUND and not self._chain.is_set_aside(invalid):
                self._control.disconnect(source.peer, "on an invalid chain")
            return
        full = len(headers) == MAX_HEADERS
        result = self._chain.accept_headers(headers)
        match result.status:
            case HeaderStatus.ADDED | HeaderStatus.KNOWN:
                self._taken(source, result.entry)
                if full:
                    self._ask_for_more(source, answered=answered)
            case HeaderStatus.ORPHAN:
                self._not_connected(source)
            case HeaderStatus.EARLY:
                self._taken(source, result.entry)
                self._ask_when_due(source, headers[-1])
            case HeaderStatus.LOW_WORK:
                source.unconnecting = 0
                if full and answered:
                    self._begin_presync(source, headers)
            case HeaderStatus.SET_ASIDE:
                source.unconnecting = 0
            case HeaderStatus.FULL:
                self._index_full(source)

    def _taken(self, source: _Source, entry: BlockEntry | None) -> None:
        source.unconnecting = 0
        if entry is not None:
            self._on_header(source.peer, entry)

    def _ask_for_more(self, source: _Source, *, answered: bool) -> None:
        if answered and self._leader in {None, source}:
            self._leader = source
            self._ask_from_best(source)
        else:
            source.more = True

    def _not_connected(self, source: _Source) -> None:
        source.unconnecting += 1
        if source.unconnecting > limits.MAX_UNCONNECTING:
            self._control.punish(source.peer, 100, "headers that do not connect")
        elif source.timeout is None:
            self._ask_from_best(source)

    def _index_full(self, source: _Source) -> None:
        """Wait until bodies have come."""
        source.more = True

    def _forget_headers(self) -> bool:
        """If no body has come for long, what is in the index is not worth its room; everybody is asked anew."""
        if self._loop.time() - self._last_body() < limits.BODY_STALL_SECONDS:
            return False
        forgotten = self._chain.forget_headers()
        self._log.warning("headers_forgotten", count=forgotten, why="nobody delivers their bodies")
        for source in self._sources.values():
            source.more = True
        return True

    def _first_invalid(self, headers: Sequence[Header]) -> BlockEntry | None:
        """Return the first of the headers that is known to be invalid, or the parent of them all if that is."""
        index = self._chain.index
        parent = index.get(headers[0].previous)
        if parent is not None and parent.invalid:
            return parent
        for header in headers:
            entry = index.get(header.hash)
            if entry is None or entry.invalid:
                return entry
        return None

    def _ask_when_due(self, source: _Source, header: Header) -> None:
        """The chain manager keeps the first early header; those after it are asked for again."""
        if source.early is None:
            latest = self._chain.latest_time()
            wait = max(1, header.time - latest) if latest is not None else 1
            source.early = self._loop.call_later(wait, self._early_is_due, source)

    def _early_is_due(self, source: _Source) -> None:
        source.early = None
        self.ask(source.peer)

    # --- long branches that part from ours far back -----------------------------------------------------------

    def _begin_presync(self, source: _Source, headers: Sequence[Header]) -> None:
        index = self._chain.index
        new = next((place for place, header in enumerate(headers) if index.get(header.hash) is None), None)
        fork = None if new is None else index.get(headers[new].previous)
        if new is None or fork is None:
            return
        source.presync = Presync(self._params, self._chain.state_of(fork))
        # A leader may not hold up the others with a branch that may come to nothing.
        if self._leader is source:
            self._leader = None
        self._take_presync(source, source.presync, headers[new:], full=True)

    def _take_presync(
        self, source: _Source, presync: Presync, headers: Sequence[Header], *, full: bool | None = None
    ) -> None:
        if not presync.enough:
            full = len(headers) == MAX_HEADERS if full is None else full
            goal, latest = self._chain.least_work(), self._chain.latest_time()
            match presync.count(headers, goal, latest, full=full):
                case Count.MORE | Count.ENOUGH:
                    self._ask(source, [presync.wanted_after])
                case Count.LIGHT:
                    self._log.debug("branch_too_light", peer=source.peer.number, headers=presync.counted)
                    source.presync = None
            return
        counted = presync.take(headers)
        if counted is None:
            # The peer has moved to another branch meanwhile; or it showed us one and gives another.
            source.presync = None
            self._control.punish(source.peer, 20, "other headers than before")
            return
        if presync.done:
            source.presync = None
        result = self._chain.accept_headers(counted, wanted=True)
        self._taken(source, result.entry)
        if source.presync is not None:
            self._ask(source, [presync.wanted_after])
        elif result.status is HeaderStatus.FULL:
            self._index_full(source)
        elif result.entry is not None:
            self._ask(source, [result.entry.hash])

    # --- asking -----------------------------------------------------------------------------------------------

    def _ask_from_best(self, source: _Source) -> None:
        """Ask for what follows our best header: from its parent, so that the answer shows whether the peer has it."""
        best = self._chain.index.best_header
        self._ask(source, locator(best.parent or best))

    def _ask(self, source: _Source, hashes: list[BlockHash]) -> None:
        source.peer.send(GetHeaders(tuple(hashes), _NO_STOP))
        if source.timeout is not None:
            source.timeout.cancel()
        source.timeout = self._loop.call_later(limits.HEADERS_SECONDS, self._no_answer, source)

    def _no_answer(self, source: _Source) -> None:
        source.timeout = None
        source.presync = None
        if source is self._leader:
            self._leader = None
        if source.peer.role is Role.OUTBOUND:
            self._control.disconnect(source.peer, "no headers in time")
        self.go_on()
