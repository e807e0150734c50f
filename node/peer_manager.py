"""Links to peers: who gets a slot, who loses it, who is punished. What peers say is for others to judge."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from consensus.params import Params
from node import gossip_limits as limits
from node.address_gossip import AddressGossip
from node.clock import Clock
from node.dialer import Dialer
from node.discouraged import Discouraged
from node.eviction import choose_eviction
from node.node_link import BLAMELESS, NodeLink, candidate_of, is_same_node, reason_of
from node.partition import Partition
from node.peer import Peer, Role
from node.peer_settings import PeerSettings
from p2p.address_rules import address_group
from p2p.connection import PeerConnection
from p2p.events import (
    CloseReason,
    ConnectionClosed,
    Event,
    HandshakeCompleted,
    LatencyMeasured,
    MessageIgnored,
    MessageReceived,
)
from p2p.framing import ReceiveBudget
from p2p.limits import CLOSE_SECONDS, PROTOCOL_VERSION
from p2p.messages import Hello, Message
from p2p.peer_link import PeerLink
from p2p.rate import TokenBucket
from p2p.transport import Address, Listener, Network

_HEALING_TRIES: Final = 8
"""Dials of a peer that we were cut from, once it may be dialled again: 25 s, for nodes heal one after the other."""
_LOG_RATE: Final = 1.0
_LOG_BURST: Final = 100.0
"""Connections logged at INFO: all of a quiet node's; of a flood one a second (A138)."""


class PeerHandler(Protocol):
    """Who is told of peers. Called from the loop's callbacks: nothing here may block."""

    def peer_ready(self, peer: Peer) -> None:
        """The handshake is done: messages may flow."""

    def peer_message(self, peer: Peer, message: Message) -> None:
        """The peer said something."""

    def peer_writable(self, peer: Peer) -> None:
        """A peer that was slow to read has caught up."""

    def peer_gone(self, peer: Peer) -> None:
        """The end, once, of a peer that was ready."""


class PeerManager:
    """All connections of a node, inbound and outbound."""

    def __init__(
        self,
        settings: PeerSettings,
        *,
        params: Params,
        network: Network,
        clock: Clock,
        rng: random.Random,
        partition: Partition,
        addresses: AddressGossip,
        log: FilteringBoundLogger,
        handler: PeerHandler,
        height: Callable[[], int],
    ) -> None:
        """
        Args:
            rng: unpredictable to peers; draws nonces, jitter, and whom to dial.
            partition: whom to act as if we could not reach.
            handler: told of peers and their messages.
            height: of our best chain, for `Hello`.
        """
        self._settings = settings
        self._params = params
        self._network = network
        self._rng = rng
        self._partition = partition
        self._addresses = addresses
        self._log = log
        self._handler = handler
        self._height = height
        self._loop = asyncio.get_running_loop()
        self._nonce = rng.randbytes(8)
        self._budget = ReceiveBudget()
        self._discouraged = Discouraged()
        self._listener: Listener | None = None
        self._links: dict[NodeLink, None] = {}
        self._by_address: dict[Address, Peer] = {}
        self._cut: dict[Address, None] = {}
        self._last_number = 0
        self._running = False
        self.active = True
        """Whether peers are wanted at all, see `set_active`."""
        self._all_closed = asyncio.Event()
        self._extra_outbound = 0
        self._log_bucket = TokenBucket(_LOG_RATE, _LOG_BURST, self._loop.time())
        self.peers: dict[int, Peer] = {}
        """Ready peers by number, in the order of connecting."""
        self._dialer = Dialer(
            addresses.table, self, clock, rng, self._connect, choose=not settings.connect and settings.max_outbound > 0
        )

    # --- running ----------------------------------------------------------------------------------------------

    @property
    def listens_at(self) -> Address | None:
        """Where peers reach us, with the real port; None if we do not listen."""
        return self._listener.address if self._listener is not None else None

    @property
    def half_received(self) -> int:
        """Bytes of messages that have come in part, over all links."""
        return self._budget.used

    @property
    def added(self) -> tuple[Address, ...]:
        """Addresses that the operator wants dialled for ever."""
        return self._dialer.wanted

    async def listen(self) -> Address | None:
        """Begin to accept peers; return where.

        Raises:
            OSError: the port is taken, or the host is not one of this machine.
        """
        self._running = True
        if self._settings.bind is not None:
            self._listener = await self._network.listen(self._settings.bind, self._accept)
        return self.listens_at

    async def listen_elsewhere(self) -> None:
        """Close the listener, to listen again: the port that was found is of no use."""
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()
            self._listener = None

    def start(self) -> None:
        """Begin to dial."""
        self._addresses.on_learned = self._dialer.learned
        for address in self._settings.connect or self._settings.add:
            self._dialer.want(address)
        self._dialer.start()

    async def stop(self) -> None:
        """Close everything in order; returns when no link is open."""
        self._running = False
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()
        await self._dialer.stop()
        for link in list(self._links):
            link.close(CloseReason.LOCAL, "stopping")
        if self._links:
            # Each link cuts itself after CLOSE_SECONDS; one second more for the network to say so.
            try:
                async with asyncio.timeout(CLOSE_SECONDS + 1):
                    await self._all_closed.wait()
            except TimeoutError:
                self._log.warning("links_left_open", count=len(self._links))

    # --- what others ask for ----------------------------------------------------------------------------------

    def add_node(self, address: Address) -> None:
        """Dial an address for ever (addnode "add").

        Raises:
            ValueError: too many were added.
        """
        self._dialer.want(address)

    def remove_node(self, address: Address) -> bool:
        """Dial it no more (addnode "remove"); an open link stays. Returns whether it had been added."""
        return self._dialer.forget(address)

    def dial_once(self, address: Address) -> None:
        """Dial an address now, once (addnode "onetry")."""
        self._dialer.want(address, Role.ADDED, tries=1)

    def find(self, address: Address) -> Peer | None:
        """Return the peer at an address: the one it was dialled by, the one it listens at, or the link's other end."""
        known = self._by_address.get(address)
        if known is not None:
            return known
        return next((peer for peer in self.peers.values() if peer.remote == address), None)

    def disconnect(self, peer: Peer, reason: str) -> None:
        """Close a connection in order; blames nobody."""
        peer.link.close(CloseReason.LOCAL, reason)

    def punish(self, peer: Peer, points: int, reason: str) -> None:
        """Count misbehaviour; at `DISCOURAGE_SCORE` the peer is dropped and its host discouraged.

        Some of it is found out when a peer has gone already: its host may come again.
        """
        if peer.hello is None or peer.score >= limits.DISCOURAGE_SCORE:
            return
        peer.score += points
        self._log.debug("peer_misbehaved", peer=peer.number, score=peer.score, reason=reason)
        if peer.score >= limits.DISCOURAGE_SCORE:
            peer.fault = reason
            self._discourage(peer)
            peer.link.close(CloseReason.LOCAL, reason)

    def try_another(self) -> None:
        """Our peers have had nothing new for long: connect to one more, in place of the last that was tried so."""
        if self._extra_outbound:
            self._drop_extra()
        self._extra_outbound = 1
        self._dialer.learned()

    def enough_peers(self) -> None:
        """There is something new: the outbound peer that has gone longest without a block of use to us may go."""
        if self._extra_outbound:
            self._extra_outbound = 0
            self._drop_extra()

    def _drop_extra(self) -> None:
        outbound = [peer for peer in self.peers.values() if peer.role is Role.OUTBOUND]
        if len(outbound) > self._settings.max_outbound:
            useless = min(outbound, key=lambda peer: (peer.last_block or 0.0, -peer.number))
            self.disconnect(useless, "one more than needed")

    def set_partition(self, addresses: Iterable[Address]) -> None:
        """Cut ourselves off from these addresses and from no others; whoever is reachable again is dialled at once.

        Raises:
            PartitionError, StorageError: nothing was changed.
        """
        cut, healed = self._partition.replace(addresses)
        for peer in list(self.peers.values()):
            if self._is_blocked(peer):
                for address in self._names_of(peer):
                    self._cut[address] = None
                self.disconnect(peer, "partitioned")
        if cut or healed:
            self._log.info("partition_changed", blocked=len(self._partition.blocked), cut=len(cut), healed=len(healed))
        for address in healed:
            if self._cut.pop(address, address) is None:
                self._dialer.want(address, Role.OUTBOUND, _HEALING_TRIES)
        if healed:
            self._dialer.hurry()

    def set_active(self, active: bool) -> None:
        """Close all links, open and accept none; or go back to work."""
        if active == self.active:
            return
        self.active = active
        self._log.info("network_switched", on=active, closing=0 if active else len(self.peers))
        if active:
            self._dialer.hurry()
            return
        for link in list(self._links):
            link.close(CloseReason.LOCAL, "the network is switched off")

    # --- dialer.Slots -----------------------------------------------------------------------------------------

    def is_taken(self, address: Address) -> bool:
        """Whether there is a link to this address."""
        return address in self._by_address

    def may_dial(self, address: Address) -> bool:
        """Whether it is not partitioned off, and the network is on."""
        return self.active and address not in self._partition

    def is_suspect(self, address: Address) -> bool:
        """Whether its host is discouraged."""
        return self._discouraged.contains(address, self._loop.time())

    def outbound_groups(self) -> list[bytes]:
        """Return the groups of the outbound peers."""
        outbound = (link.dialled for link in self._links if link.role is Role.OUTBOUND)
        return [address_group(address) for address in outbound if address is not None]

    def free_outbound(self) -> int:
        """Return how many outbound slots are free."""
        outbound = sum(link.role is Role.OUTBOUND for link in self._links)
        return self._settings.max_outbound + self._extra_outbound - outbound

    # --- links ------------------------------------------------------------------------------------------------

    async def _connect(self, address: Address, role: Role) -> None:
        await self._network.connect(address, self._new_link(address, role))

    def _accept(self) -> NodeLink:
        return self._new_link(None, Role.INBOUND)

    def _new_link(self, dialled: Address | None, role: Role) -> NodeLink:
        listening = self.listens_at
        hello = Hello(
            PROTOCOL_VERSION,
            self._params.genesis_hash,
            self._nonce,
            self._settings.agent,
            listening.port if listening is not None else 0,
            self._height(),
        )
        connection = PeerConnection(
            hello,
            dialled=dialled is not None,
            budget=self._budget,
            random_bytes=self._rng.randbytes,
            ping_seconds=self._settings.ping_seconds,
        )
        return NodeLink(
            connection,
            dialled,
            role,
            on_event=self._on_event,
            admit=self._admit,
            on_closed=self._link_closed,
        )

    def _admit(self, link: NodeLink, remote: Address) -> Peer | None:
        """Give a link a slot, or None."""
        if not self._running or not self.active:
            return None
        now = self._loop.time()
        suspect = self._discouraged.contains(remote, now)
        if link.role is Role.INBOUND and not self._make_room(remote, suspect=suspect):
            self._log.debug("peer_refused", address=str(remote), reason="no slot")
            return None
        self._last_number += 1
        peer = Peer(self._last_number, link.role, link, link.dialled, now, discouraged=suspect)
        self._links[link] = None
        if link.dialled is not None:
            self._by_address.setdefault(link.dialled, peer)
        return peer

    def _make_room(self, remote: Address, *, suspect: bool) -> bool:
        """Say whether one more inbound link from `remote` fits, evicting another if need be."""
        inbound = [link.peer for link in self._links if link.role is Role.INBOUND and link.peer is not None]
        if suspect and len(inbound) * limits.DISCOURAGED_SHARE >= self._settings.max_inbound:
            return False
        same_host = sum(peer.remote.host == remote.host for peer in inbound)
        if same_host >= limits.MAX_INBOUND_PER_HOST and not self._settings.private_addresses:
            return False
        # Links that we closed may take seconds to be gone; only so many may be on their way out.
        if len(inbound) >= self._settings.max_inbound + limits.MAX_CLOSING:
            return False
        staying = [peer for peer in inbound if not peer.link.connection.is_closed]
        if len(staying) < self._settings.max_inbound:
            return True
        number = choose_eviction([candidate_of(peer) for peer in staying])
        for peer in staying:
            if peer.number == number:
                self.disconnect(peer, "evicted")
                return True
        return False

    def _link_closed(self, link: NodeLink) -> None:
        """The network is done with a link."""
        if self._links.pop(link, link) is None and not self._links and not self._running:
            self._all_closed.set()
        if link.peer is not None and self._running:
            self._release(link.peer)

    def _release(self, peer: Peer) -> None:
        """Free the addresses of a peer that is gone, and let the dialer go on."""
        names = self._names_of(peer)
        for address in names:
            del self._by_address[address]
        held = self._loop.time() - peer.since
        for address in names:
            self._dialer.lost(address, held)
        if not self.peers:
            self._addresses.lonely()

    def _names_of(self, peer: Peer) -> list[Address]:
        return [address for address, known in self._by_address.items() if known is peer]

    # --- events -----------------------------------------------------------------------------------------------

    def _on_event(self, link: PeerLink, event: Event) -> None:
        peer = link.peer if isinstance(link, NodeLink) else None
        if peer is None:
            return
        match event:
            case MessageReceived(message):
                self._handler.peer_message(peer, message)
            case HandshakeCompleted(hello):
                self._handshake_done(peer, hello)
            case ConnectionClosed():
                self._ended(peer, event)
            case MessageIgnored(number, size):
                self._log.debug("message_ignored", peer=peer.number, number=number, size=size)
            case LatencyMeasured():
                pass

    def _handshake_done(self, peer: Peer, hello: Hello) -> None:
        peer.hello = hello
        port = peer.dialled.port if peer.dialled is not None else hello.port
        peer.listens_at = Address(peer.remote.host, port) if port else None
        if self._is_blocked(peer):
            self.disconnect(peer, "partitioned")
            return
        twin = next((other for other in self.peers.values() if is_same_node(other, peer)), None)
        if twin is not None and (twin.dialled is not None or peer.dialled is not None):
            loser = self._choose_duplicate(twin, peer)
            self._forward_names(loser, peer if loser is twin else twin)
            self.disconnect(loser, "connected twice")
            if loser is peer:
                return
        self.peers[peer.number] = peer
        if peer.listens_at is not None:
            self._by_address.setdefault(peer.listens_at, peer)
        if peer.dialled is not None:
            self._dialer.connected(peer.dialled)
        peer.link.on_writable = lambda: self._handler.peer_writable(peer)
        self._say(
            "peer_connected",
            peer=peer.number,
            address=str(peer.listens_at or peer.remote),
            direction=peer.role.value,
            agent=hello.agent,
            height=hello.height,
        )
        self._addresses.peer_ready(peer, self._own_address())
        self._handler.peer_ready(peer)

    def _own_address(self) -> Address | None:
        host, listening = self._settings.advertise_host, self.listens_at
        return Address(host, listening.port) if host is not None and listening is not None else None

    def _choose_duplicate(self, one: Peer, other: Peer) -> Peer:
        """Return which of two links to the same node is to close: both ends choose the same.

        Of two that we dialled the newer; else the one that the node with the greater nonce dialled.
        """
        if one.dialled is not None and other.dialled is not None:
            return other
        theirs = one.hello.nonce if one.hello is not None else b""
        we_stay = self._nonce < theirs
        ours = one if one.dialled is not None else other
        return (other if ours is one else one) if we_stay else ours

    def _forward_names(self, loser: Peer, winner: Peer) -> None:
        """All addresses of the closed link lead to the other one now, so that none of them is dialled again."""
        for address in self._names_of(loser):
            self._by_address[address] = winner

    def _ended(self, peer: Peer, event: ConnectionClosed) -> None:
        was_ready = self.peers.pop(peer.number, None) is not None
        reason = peer.fault or reason_of(event)
        if event.reason is CloseReason.SELF and peer.dialled is not None:
            self._addresses.table.add_own(Address(peer.remote.host, peer.dialled.port))
            self._dialer.forget(peer.dialled)
        if event.error is not None and event.error.violation not in BLAMELESS:
            self._discourage(peer)
        if was_ready:
            self._say("peer_disconnected", peer=peer.number, address=str(peer.listens_at or peer.remote), reason=reason)
            self._addresses.peer_gone(peer)
            self._handler.peer_gone(peer)
        else:
            self._log.debug("peer_not_ready", peer=peer.number, address=str(peer.remote), reason=reason)

    def _discourage(self, peer: Peer) -> None:
        self._discouraged.add(peer.listens_at or peer.remote, self._loop.time())

    def _is_blocked(self, peer: Peer) -> bool:
        if peer.dialled in self._partition or peer.listens_at in self._partition:
            return True
        return peer.hello is not None and Address(peer.remote.host, peer.hello.port) in self._partition

    def _say(self, event: str, **facts: object) -> None:
        """Log what an operator wants to see once per peer, but not at an attacker's pace."""
        if self._log_bucket.take(self._loop.time()):
            self._log.info(event, **facts)
        else:
            self._log.debug(event, **facts)
