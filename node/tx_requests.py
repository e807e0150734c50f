"""Which announced transactions to ask of whom. Sends nothing, reads no clock; `now` is the loop's time.

A transaction is asked of its first announcer; if it does not come in `TX_REQUEST_SECONDS`, of the next. So a peer that
announces first and never delivers delays a transaction once, and cannot jam it (A093, CVE-2024-55563).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from consensus.types import WTxId
from node import gossip_limits as limits


@dataclass(slots=True, eq=False)
class _Announced:
    """A transaction that we want."""

    announcers: dict[int, None] = field(default_factory=dict)
    """Peers that have it and were not asked yet, in the order of announcing."""
    asked: int | None = None
    deadline: float = 0.0


@dataclass(slots=True, eq=False)
class _Announcer:
    announced: dict[WTxId, None] = field(default_factory=dict)
    """What it announced and has not delivered, oldest first; at most `MAX_TX_ANNOUNCED_PER_PEER`."""
    asked: int = 0


class TxRequests:
    """Announcements and open requests, by transaction and by peer."""

    def __init__(self) -> None:
        self._wanted: dict[WTxId, _Announced] = {}
        self._peers: dict[int, _Announcer] = {}
        self._deadlines: OrderedDict[WTxId, float] = OrderedDict()
        """Of open requests. All wait equally long, so the first asked is the first due."""

    def __len__(self) -> int:
        """Return how many transactions are wanted."""
        return len(self._wanted)

    def add_peer(self, peer: int) -> None:
        """A peer is ready."""
        self._peers[peer] = _Announcer()

    def remove_peer(self, peer: int) -> None:
        """A peer is gone: what it was asked for is asked of others."""
        announcer = self._peers.pop(peer, None)
        if announcer is not None:
            for wtxid in announcer.announced:
                self._drop(wtxid, peer)

    def announced(self, peer: int, wtxid: WTxId) -> None:
        """A peer has a transaction that we want. Past its bound the announcement is ignored (A089)."""
        announcer = self._peers[peer]
        if wtxid in announcer.announced or len(announcer.announced) >= limits.MAX_TX_ANNOUNCED_PER_PEER:
            return
        announcer.announced[wtxid] = None
        self._wanted.setdefault(wtxid, _Announced()).announcers[peer] = None

    def next_for(self, peer: int, now: float, wants: Callable[[WTxId], bool]) -> list[WTxId]:
        """Return what to ask of a peer now. It counts as asked.

        Args:
            wants: whether a transaction is still lacking; if not, it is forgotten.
        """
        announcer = self._peers[peer]
        chosen: list[WTxId] = []
        room = limits.MAX_TX_ASKED_PER_PEER - announcer.asked
        for wtxid in list(announcer.announced) if room > 0 else ():
            wanted = self._wanted[wtxid]
            if wanted.asked is not None or peer not in wanted.announcers:
                continue
            if not wants(wtxid):
                self.settled(wtxid)
                continue
            del wanted.announcers[peer]
            wanted.asked, wanted.deadline = peer, now + limits.TX_REQUEST_SECONDS
            self._deadlines[wtxid] = wanted.deadline
            announcer.asked += 1
            chosen.append(wtxid)
            if len(chosen) == room:
                break
        return chosen

    def settled(self, wtxid: WTxId) -> None:
        """A transaction came, from whomever, or is no longer wanted."""
        wanted = self._wanted.pop(wtxid, None)
        if wanted is None:
            return
        self._deadlines.pop(wtxid, None)
        if wanted.asked is not None:
            announcer = self._peers.get(wanted.asked)
            if announcer is not None:
                announcer.asked -= 1
                announcer.announced.pop(wtxid, None)
        for peer in wanted.announcers:
            self._peers[peer].announced.pop(wtxid, None)

    def not_found(self, peer: int, wtxid: WTxId) -> list[int]:
        """A peer does not have it after all; return who can be asked instead."""
        wanted = self._wanted.get(wtxid)
        if wanted is None or wanted.asked != peer:
            return []
        announcer = self._peers[peer]
        announcer.announced.pop(wtxid, None)
        return self._drop(wtxid, peer)

    def expire(self, now: float) -> None:
        """Give up on requests that are due: others may be asked instead."""
        while self._deadlines:
            wtxid, deadline = next(iter(self._deadlines.items()))
            if deadline > now:
                break
            asked = self._wanted[wtxid].asked
            if asked is None:
                del self._deadlines[wtxid]
                continue
            self._peers[asked].announced.pop(wtxid, None)
            self._drop(wtxid, asked)

    def next_timer(self) -> float | None:
        """When `expire` wants to be called; None for never."""
        return next(iter(self._deadlines.values()), None)

    def _drop(self, wtxid: WTxId, peer: int) -> list[int]:
        """A peer is no source of a transaction any more; return the others."""
        wanted = self._wanted.get(wtxid)
        if wanted is None:
            return []
        wanted.announcers.pop(peer, None)
        if wanted.asked == peer:
            wanted.asked = None
            del self._deadlines[wtxid]
            announcer = self._peers.get(peer)
            if announcer is not None:
                announcer.asked -= 1
        if wanted.asked is None and not wanted.announcers:
            del self._wanted[wtxid]
            return []
        return list(wanted.announcers)
