"""Transactions that came before their parents: a small waiting room, with a quota for each peer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from consensus.types import Block, OutPoint, Transaction, TxId, WTxId

MAX_ORPHANS = 500
"""Transactions that wait, all peers together; with `MAX_ORPHAN_SIZE`, at most 25 MB encoded."""
MAX_ORPHANS_PER_PEER = 50
"""Of one peer: a peer that floods displaces only its own."""
MAX_ORPHAN_SIZE = 50_000
"""Bytes: what is larger is cheaper to ask for again than to keep."""
MAX_PARENTS = 24
"""Parents that one orphan may wait for: with more it could not enter the mempool, whose chains hold 25."""
ORPHAN_SECONDS = 5 * 60
"""A parent that has not come after so long does not come (Bitcoin Core: ORPHAN_TX_EXPIRE_TIME is 20 min)."""

_Key = TypeVar("_Key")


@dataclass(slots=True, eq=False)
class _Orphan:
    tx: Transaction
    peer: int
    expires: float
    missing: dict[TxId, None]
    """Parents that have not come. Empty once: then it is handed out, so each is tried once, whatever its chain."""


class OrphanPool:
    """Orphans by wtxid, and who waits for which parent. Keeps at most a known number, of each peer and in all.

    An orphan is tried again only when its last missing parent has come, so a chain of n that
    arrives in reverse costs n tries and not n². Times are those of a monotonic clock, in seconds.
    """

    def __init__(self) -> None:
        self._orphans: dict[WTxId, _Orphan] = {}
        self._waiting: dict[TxId, dict[WTxId, None]] = {}
        self._spenders: dict[OutPoint, dict[WTxId, None]] = {}
        self._of_peer: dict[int, dict[WTxId, None]] = {}

    def __len__(self) -> int:
        return len(self._orphans)

    def __contains__(self, wtxid: WTxId) -> bool:
        return wtxid in self._orphans

    def add(self, tx: Transaction, peer: int, missing: Iterable[OutPoint], now: float) -> tuple[TxId, ...]:
        """Keep a transaction until its parents come; return the txids of the parents to ask for.

        Args:
            peer: who sent it, and counts it against his quota.
            missing: the outpoints that `NotYet` named.

        Empty if it is not kept: too large, or with too many missing parents. A peer's oldest
        goes when his quota is full; the oldest of the peer with the most, when the room is.
        """
        parents = dict.fromkeys(outpoint.txid for outpoint in missing)
        if len(tx.encoded) > MAX_ORPHAN_SIZE or len(parents) > MAX_PARENTS:
            return ()
        if tx.wtxid in self._orphans:
            return tuple(parents)
        self.expire(now)
        own = self._of_peer.get(peer, {})
        if len(own) >= MAX_ORPHANS_PER_PEER:
            self.remove(next(iter(own)))
        elif len(self._orphans) >= MAX_ORPHANS:
            greediest = max(self._of_peer.values(), key=len)
            self.remove(next(iter(greediest)))
        self._orphans[tx.wtxid] = _Orphan(tx, peer, now + ORPHAN_SECONDS, parents)
        self._of_peer.setdefault(peer, {})[tx.wtxid] = None
        for txid in parents:
            self._waiting.setdefault(txid, {})[tx.wtxid] = None
        for outpoint in tx.core.inputs:
            self._spenders.setdefault(outpoint, {})[tx.wtxid] = None
        return tuple(parents)

    def parent_arrived(self, txid: TxId) -> list[tuple[Transaction, int]]:
        """Take out those that waited for `txid` only; return each with the peer that sent it, oldest first.

        Call it when a transaction has entered the mempool, and go on with each that then enters.
        """
        ready: list[tuple[Transaction, int]] = []
        for wtxid in tuple(self._waiting.get(txid, ())):
            orphan = self._orphans[wtxid]
            orphan.missing.pop(txid, None)
            _forget(self._waiting, txid, wtxid)
            if not orphan.missing:
                self.remove(wtxid)
                ready.append((orphan.tx, orphan.peer))
        return ready

    def lacking_only(self, txid: TxId, peer: int) -> list[Transaction]:
        """Return what a peer sent that waits for `txid` and nothing else, newest first; it stays here."""
        waiting = (self._orphans[wtxid] for wtxid in self._waiting.get(txid, ()))
        return [orphan.tx for orphan in waiting if orphan.peer == peer and len(orphan.missing) == 1][::-1]

    def block_connected(self, block: Block) -> list[tuple[Transaction, int]]:
        """Drop what the block holds or conflicts with; return what waited for its transactions only."""
        if not self._orphans:
            return []  # nearly always, and a full block is many to ask for
        for tx in block.transactions[1:]:
            for outpoint in tx.core.inputs:
                for wtxid in tuple(self._spenders.get(outpoint, ())):
                    self.remove(wtxid)
        ready: list[tuple[Transaction, int]] = []
        for tx in block.transactions:
            ready += self.parent_arrived(tx.txid)
        return ready

    def forget_peer(self, peer: int) -> None:
        """Drop all that a peer sent: it has gone."""
        for wtxid in tuple(self._of_peer.get(peer, ())):
            self.remove(wtxid)

    def expire(self, now: float) -> None:
        """Drop what has waited too long."""
        while self._orphans:
            wtxid, oldest = next(iter(self._orphans.items()))
            if oldest.expires > now:
                return
            self.remove(wtxid)

    def remove(self, wtxid: WTxId) -> None:
        """Drop one, if it is here."""
        orphan = self._orphans.pop(wtxid, None)
        if orphan is None:
            return
        for txid in orphan.missing:
            _forget(self._waiting, txid, wtxid)
        for outpoint in orphan.tx.core.inputs:
            _forget(self._spenders, outpoint, wtxid)
        own = self._of_peer[orphan.peer]
        del own[wtxid]
        if not own:
            del self._of_peer[orphan.peer]


def _forget(index: dict[_Key, dict[WTxId, None]], key: _Key, wtxid: WTxId) -> None:
    """Take `wtxid` out of the list of `key`; leave no empty list behind."""
    waiting = index.get(key)
    if waiting is not None:
        waiting.pop(wtxid, None)
        if not waiting:
            del index[key]
