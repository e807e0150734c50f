"""Transactions between peers: announced by inventory, fetched, checked, passed on.

Announcements wait a little, at random, so that several travel together and the first to tell is not always the origin.
What comes is checked in turn, one of each peer after the other, so that nobody's flood delays another's payment.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field

from structlog.typing import FilteringBoundLogger

from consensus.codec import decode_transaction, display_hash
from consensus.errors import ConsensusError, NotYet
from consensus.types import OutPoint, Transaction, TxId, WTxId
from node import gossip_limits as limits
from node.chain_events import TipChanged
from node.header_sync import Control
from node.mempool import Mempool
from node.mempool_graph import Entry
from node.orphans import OrphanPool
from node.peer import Peer
from node.relay_policy import TOO_LITTLE, PolicyError
from node.tx_requests import TxRequests
from p2p.limits import MAX_INVENTORY
from p2p.messages import GetData, Inv, Item, ItemKind, TxMessage


@dataclass(slots=True, eq=False)
class _Listener:
    """A peer, as far as transactions go."""

    peer: Peer
    known: dict[WTxId, None] = field(default_factory=dict)
    """What it has, oldest first; at most `MAX_KNOWN_PER_PEER`."""
    to_announce: dict[WTxId, None] = field(default_factory=dict)
    """What it is to be told, in the order of coming; at most `MAX_TO_ANNOUNCE`."""
    timer: asyncio.TimerHandle | None = None
    arrived: deque[Transaction] = field(default_factory=deque)
    """What it sent and is not checked yet; reading pauses at `MAX_TX_IN_WORK_PER_PEER`."""
    parents_asked: dict[TxId, None] = field(default_factory=dict)
    """Parents of orphans that it was asked for; at most `MAX_KNOWN_PER_PEER`."""
    held: bool = False
    told_up_to: int = 0
    """Sequence of the newest transaction that it was told of: it is given none that is newer (A105)."""

    def note(self, wtxid: WTxId) -> None:
        """The peer has this transaction."""
        self.known.pop(wtxid, None)
        if len(self.known) >= limits.MAX_KNOWN_PER_PEER:
            del self.known[next(iter(self.known))]
        self.known[wtxid] = None
        self.to_announce.pop(wtxid, None)


class Relay:
    """Passes transactions on."""

    def __init__(
        self,
        mempool: Mempool,
        control: Control,
        rng: random.Random,
        log: FilteringBoundLogger,
        *,
        spawn: Callable[[Coroutine[None, None, None]], None],
        on_accepted: Callable[[Transaction], None],
        is_catching_up: Callable[[], bool],
    ) -> None:
        """
        Args:
            control: drops peers.
            rng: draws the waits before announcements.
            spawn: runs a coroutine to its end, and awaits it before the node stops.
            on_accepted: told of each transaction that has entered the mempool from a peer.
            is_catching_up: whether the chain lacks so much that no transaction can be judged yet.
        """
        self._mempool = mempool
        self._control = control
        self._rng = rng
        self._log = log
        self._spawn = spawn
        self._on_accepted = on_accepted
        self._is_catching_up = is_catching_up
        self._loop = asyncio.get_running_loop()
        self._listeners: dict[int, _Listener] = {}
        self._requests = TxRequests()
        self._orphans = OrphanPool()
        self._early: dict[WTxId, None] = {}
        self._request_timer: asyncio.TimerHandle | None = None
        self._working = False
        self._stopped = False

    # --- running ----------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Announce and check nothing more."""
        self._stopped = True
        if self._request_timer is not None:
            self._request_timer.cancel()
        for listener in self._listeners.values():
            if listener.timer is not None:
                listener.timer.cancel()

    @property
    def orphans(self) -> int:
        """How many transactions wait for their parents."""
        return len(self._orphans)

    @property
    def requested(self) -> int:
        """How many transactions were announced and are wanted."""
        return len(self._requests)

    def peer_ready(self, peer: Peer) -> None:
        """Tell a new peer what is in the mempool, and listen to it."""
        listener = self._listeners[peer.number] = _Listener(peer)
        self._requests.add_peer(peer.number)
        for entry in self._mempool:
            self._plan(listener, entry.tx.wtxid)

    def peer_gone(self, peer: Peer) -> None:
        """Ask others for what it was asked for."""
        listener = self._listeners.pop(peer.number, None)
        if listener is None:
            return
        if listener.timer is not None:
            listener.timer.cancel()
        self._requests.remove_peer(peer.number)
        self._orphans.forget_peer(peer.number)
        self._ask_all()

    def peer_writable(self, peer: Peer) -> None:
        """A slow peer has caught up: tell it what waited."""
        listener = self._listeners.get(peer.number)
        if listener is not None and listener.to_announce:
            self._arm(listener)

    # --- telling ----------------------------------------------------------------------------------------------

    def announce(self, wtxid: WTxId) -> None:
        """Tell all peers, soon, of a transaction that has entered the mempool."""
        for listener in self._listeners.values():
            if wtxid not in listener.known:
                self._plan(listener, wtxid)

    def announce_again(self, wtxid: WTxId) -> None:
        """Tell all peers of a transaction, known to them or not: they may have had no use for it then."""
        for listener in self._listeners.values():
            self._plan(listener, wtxid)

    def _plan(self, listener: _Listener, wtxid: WTxId) -> None:
        if self._stopped:
            return
        if len(listener.to_announce) >= limits.MAX_TO_ANNOUNCE:
            del listener.to_announce[next(iter(listener.to_announce))]
        listener.to_announce[wtxid] = None
        self._arm(listener)

    def _arm(self, listener: _Listener) -> None:
        if listener.timer is None:
            wait = min(self._rng.expovariate(1 / limits.ANNOUNCE_MEAN_SECONDS), limits.ANNOUNCE_CAP_SECONDS)
            listener.timer = self._loop.call_later(wait, self._tell, listener)

    def _tell(self, listener: _Listener) -> None:
        listener.timer = None
        if not listener.peer.link.is_writable:
            return  # until `peer_writable`
        batch = list(listener.to_announce)[:MAX_INVENTORY]
        items: list[Item] = []
        for wtxid in batch:
            del listener.to_announce[wtxid]
            tx = self._mempool.by_wtxid(wtxid)
            entry = None if tx is None else self._mempool.entry(tx.txid)
            if entry is not None:
                listener.note(wtxid)
                listener.told_up_to = max(listener.told_up_to, entry.sequence)
                items.append(Item(ItemKind.TX, wtxid))
        if items:
            listener.peer.send(Inv(tuple(items)))
        if listener.to_announce:
            self._arm(listener)

    def find_for(self, peer: Peer, kind: ItemKind, item_hash: bytes) -> Transaction | None:
        """Return a transaction that a peer asks for, unless it could not know yet that it is here."""
        listener = self._listeners.get(peer.number)
        if listener is None:
            return None
        if kind is ItemKind.TX_BY_TXID:
            tx = self._mempool.get(TxId(item_hash))
        else:
            tx = self._mempool.by_wtxid(WTxId(item_hash))
        entry = None if tx is None else self._mempool.entry(tx.txid)
        if tx is None or entry is None:
            return None
        # After a reorg what he was told of may have entered anew, later than he was told.
        if entry.sequence > listener.told_up_to and tx.wtxid not in listener.known:
            return None
        listener.note(entry.tx.wtxid)
        return entry.tx

    # --- hearing ----------------------------------------------------------------------------------------------

    def handle_announced(self, peer: Peer, wtxids: Iterable[WTxId]) -> None:
        """A peer has transactions: ask for those that we lack."""
        listener = self._listeners.get(peer.number)
        if listener is None:
            return
        for wtxid in wtxids:
            listener.note(wtxid)
            if self._wants(wtxid):
                self._requests.announced(peer.number, wtxid)
        self._ask(listener)

    def handle_not_found(self, peer: Peer, hashes: Iterable[bytes]) -> None:
        """A peer does not have transactions that it was asked for: ask others."""
        for item_hash in hashes:
            for other in self._requests.not_found(peer.number, WTxId(item_hash)):
                self._ask(self._listeners[other])

    def handle_transaction(self, peer: Peer, message: TxMessage) -> None:
        """Take a transaction, asked for or not; it is checked in its turn."""
        listener = self._listeners.get(peer.number)
        if listener is None:
            return
        try:
            tx = decode_transaction(message.raw)
        except ConsensusError as error:
            self._control.punish(peer, 100, f"a transaction that cannot be read: {error}")
            return
        listener.note(tx.wtxid)
        listener.parents_asked.pop(tx.txid, None)
        self._requests.settled(tx.wtxid)
        if self._wants(tx.wtxid) or self._may_be_paid_for(listener, tx):
            self._queue(listener, tx)
        self._ask(listener)

    def _wants(self, wtxid: WTxId) -> bool:
        return self._mempool.wants(wtxid) and wtxid not in self._orphans and wtxid not in self._early

    def _may_be_paid_for(self, listener: _Listener, tx: Transaction) -> bool:
        """Whether a transaction that paid too little comes again for a child that waits for it."""
        return self._mempool.lacks_a_sponsor(tx.wtxid) and bool(self._sponsors(listener, tx))

    def _sponsors(self, listener: _Listener, tx: Transaction) -> list[Transaction]:
        return self._orphans.lacking_only(tx.txid, listener.peer.number)[: limits.MAX_SPONSORS_TRIED]

    def _ask(self, listener: _Listener) -> None:
        if self._stopped or len(listener.arrived) >= limits.MAX_TX_IN_WORK_PER_PEER:
            return
        if self._is_catching_up():
            self._arm_requests(limits.CATCHING_UP_SECONDS)
            return
        wtxids = self._requests.next_for(listener.peer.number, self._loop.time(), self._wants)
        if wtxids:
            listener.peer.send(GetData(tuple(Item(ItemKind.TX, wtxid) for wtxid in wtxids)))
        self._arm_requests()

    def _ask_all(self) -> None:
        for listener in list(self._listeners.values()):
            self._ask(listener)

    def _arm_requests(self, wait: float | None = None) -> None:
        """Have `_expire` called when a request is due, or after `wait` seconds."""
        due = self._requests.next_timer() if wait is None else self._loop.time() + wait
        if due is not None and self._request_timer is None and not self._stopped:
            self._request_timer = self._loop.call_at(due, self._expire)

    def _expire(self) -> None:
        self._request_timer = None
        self._requests.expire(self._loop.time())
        self._ask_all()
        self._arm_requests()

    # --- checking ---------------------------------------------------------------------------------------------

    def _queue(self, listener: _Listener, tx: Transaction) -> None:
        listener.arrived.append(tx)
        if len(listener.arrived) >= limits.MAX_TX_IN_WORK_PER_PEER and not listener.held:
            listener.held = True
            listener.peer.hold_reading("relay")
        if not self._working and not self._stopped:
            self._working = True
            self._spawn(self._work())

    async def _work(self) -> None:
        """Check what has arrived, one transaction of each peer in turn."""
        try:
            while not self._stopped and any(listener.arrived for listener in self._listeners.values()):
                for listener in list(self._listeners.values()):
                    if listener.arrived:
                        await self._check(listener, listener.arrived.popleft())
                        self._release(listener)
                        await asyncio.sleep(0)  # few signatures are verified without any
        finally:
            self._working = False

    def _release(self, listener: _Listener) -> None:
        if listener.held and len(listener.arrived) <= limits.MAX_TX_IN_WORK_PER_PEER // 2:
            listener.held = False
            listener.peer.release_reading("relay")
            self._ask(listener)

    async def _check(self, listener: _Listener, tx: Transaction) -> None:
        if self._mempool.by_wtxid(tx.wtxid) is not None:
            return
        try:
            await self._take(listener, tx)
        except PolicyError as error:
            if error.reason in TOO_LITTLE:
                await self._check_with_sponsor(listener, tx)
            self._refused(listener, tx, error)
        except NotYet as error:
            self._came_early(listener, tx, error)

    async def _take(self, listener: _Listener, *txs: Transaction) -> None:
        """Put transactions of one peer, judged together, into the mempool; punish him for an invalid one.

        Raises:
            NotYet, PolicyError: none of them is taken now.
        """
        try:
            taken = await self._mempool.accept_together(txs)
        except ConsensusError as error:
            self._control.punish(listener.peer, 100, f"an invalid transaction: {error}")
            return
        listener.peer.last_transaction = self._loop.time()
        for tx in txs:
            self._orphans.remove(tx.wtxid)
        for entry in taken.entries:
            self._entered(entry)

    async def _check_with_sponsor(self, listener: _Listener, parent: Transaction) -> None:
        """Try a transaction that pays too little with a child of it that the same peer sent before."""
        for child in self._sponsors(listener, parent):
            try:
                await self._take(listener, parent, child)
            except (NotYet, PolicyError) as error:
                self._refused(listener, child, error)
            else:
                return

    def _refused(self, listener: _Listener, tx: Transaction, error: NotYet | PolicyError) -> None:
        if tx.txid not in self._mempool:
            number = listener.peer.number
            self._log.debug("transaction_refused", peer=number, txid=display_hash(tx.txid), reason=str(error))

    def _came_early(self, listener: _Listener, tx: Transaction, error: NotYet) -> None:
        """Keep a transaction whose parents are missing, and ask for them; forget one that is early otherwise."""
        missing = error.facts.get("missing")
        if isinstance(missing, tuple):
            outpoints = [outpoint for outpoint in missing if isinstance(outpoint, OutPoint)]
            parents = self._orphans.add(tx, listener.peer.number, outpoints, self._loop.time())
            if parents:
                self._ask_parents(listener, parents)
                return
        if len(self._early) >= limits.MAX_RECENTLY_EARLY:
            del self._early[next(iter(self._early))]
        self._early[tx.wtxid] = None
        self._log.debug("transaction_early", peer=listener.peer.number, txid=display_hash(tx.txid), reason=str(error))

    def _ask_parents(self, listener: _Listener, parents: Iterable[TxId]) -> None:
        new = [txid for txid in parents if txid not in listener.parents_asked]
        room = limits.MAX_KNOWN_PER_PEER - len(listener.parents_asked)
        listener.parents_asked.update(dict.fromkeys(new[:room]))
        if new[:room]:
            listener.peer.send(GetData(tuple(Item(ItemKind.TX_BY_TXID, txid) for txid in new[:room])))

    def _entered(self, entry: Entry) -> None:
        """A transaction is in the mempool: pass it on, and try those that waited for it."""
        self.announce(entry.tx.wtxid)
        self._on_accepted(entry.tx)
        self._retry(self._orphans.parent_arrived(entry.tx.txid))

    def _retry(self, ready: Iterable[tuple[Transaction, int]]) -> None:
        for tx, number in ready:
            listener = self._listeners.get(number)
            if listener is not None:
                self._queue(listener, tx)

    def transaction_entered(self, entry: Entry) -> None:
        """A transaction of our own, or of a user, is in the mempool, perhaps not for the first time."""
        self.announce_again(entry.tx.wtxid)
        self._retry(self._orphans.parent_arrived(entry.tx.txid))

    def tip_changed(self, change: TipChanged) -> None:
        """What was early may not be any more; what a reorg brought back is told again, and whatever descends from it.

        Whoever was on the other branch already had no coins for any of it when he was told, and has forgotten it since.
        """
        self._early.clear()
        for block in change.connected:
            self._retry(self._orphans.block_connected(block))
        again: dict[WTxId, None] = {}
        for block in change.disconnected:
            for tx in block.transactions[1:]:
                if self._mempool.by_wtxid(tx.wtxid) is not None:
                    again[tx.wtxid] = None
                    again.update((entry.tx.wtxid, None) for entry in self._mempool.descendants(tx.txid))
        for wtxid in list(again)[-limits.MAX_TO_ANNOUNCE :]:  # of more, each would put out one before it
            self.announce_again(wtxid)
