"""One link of the peer manager: it asks for a slot before it speaks, and tells when all is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from node.eviction import Candidate
from node.peer import Peer, Role
from p2p.address_rules import address_group
from p2p.connection import PeerConnection
from p2p.errors import Violation
from p2p.events import ConnectionClosed, Event
from p2p.peer_link import PeerLink
from p2p.transport import Address, Link

BLAMELESS: Final = frozenset(
    {
        Violation.HANDSHAKE_TIMEOUT,
        Violation.FRAME_TIMEOUT,
        Violation.NO_PONG,
        Violation.WRONG_NETWORK,
        Violation.OLD_VERSION,
    }
)
"""Ends a connection without discouraging the host: a slow, silent or differently configured peer is no attacker."""


class NodeLink(PeerLink):
    """A link from before its slot until the network is done with it."""

    def __init__(
        self,
        connection: PeerConnection,
        dialled: Address | None,
        role: Role,
        *,
        on_event: Callable[[PeerLink, Event], None],
        admit: Callable[[NodeLink, Address], Peer | None],
        on_closed: Callable[[NodeLink], None],
    ) -> None:
        super().__init__(connection, on_event)
        self.dialled = dialled
        self.role = role
        self.peer: Peer | None = None
        self._admit = admit
        self._on_closed = on_closed

    def connected(self, link: Link) -> None:
        """Take the link, if there is a slot."""
        self.peer = self._admit(self, link.remote)
        if self.peer is None:
            link.abort()
        else:
            super().connected(link)

    def closed(self, error: Exception | None) -> None:
        """The link is gone."""
        super().closed(error)
        self._on_closed(self)
        self.peer = None  # which has this link: a circle would be left to the collector


def is_same_node(one: Peer, other: Peer) -> bool:
    """Whether two links lead to one run of one node. The host is compared too: anybody may repeat a nonce he saw."""
    if one.hello is None or other.hello is None:
        return False
    return one.hello.nonce == other.hello.nonce and one.remote.host == other.remote.host


def candidate_of(peer: Peer) -> Candidate:
    """Return what eviction looks at of an inbound peer."""
    return Candidate(
        number=peer.number,
        group=address_group(peer.remote),
        since=peer.since,
        latency=peer.link.connection.latency,
        last_block=peer.last_block,
        last_transaction=peer.last_transaction,
        discouraged=peer.discouraged,
    )


def reason_of(event: ConnectionClosed) -> str:
    """The words for the log: never the peer's own."""
    if event.error is not None:
        return str(event.error)
    return event.detail or event.reason.value
