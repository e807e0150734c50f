"""One peer, as the node sees it: who it is, how to talk to it, and what it did. Each part keeps the rest itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from p2p.connection import State
from p2p.limits import OUTLINE_VERSION
from p2p.messages import Hello, Message
from p2p.peer_link import PeerLink
from p2p.transport import Address


class Role(StrEnum):
    """Why there is a connection."""

    INBOUND = "inbound"
    """The peer dialled us."""
    OUTBOUND = "outbound"
    """We chose it among the known addresses."""
    ADDED = "added"
    """The operator named it (`--connect`, addnode): dialled again for ever, and never evicted."""


@dataclass(eq=False, slots=True)
class Peer:
    """A connection that exists, ready or not yet."""

    number: int
    """1 and up in the order of connecting, never used again in a run; logs say `peer=7`."""
    role: Role
    link: PeerLink
    dialled: Address | None
    """What we dialled; None for an inbound peer."""
    since: float
    """When the link came up, in the loop's time."""
    hello: Hello | None = None
    """The peer's, once the handshake is done."""
    listens_at: Address | None = None
    """Where others reach it: its own port at the host that we see. None before the handshake, or if it listens nowhere.
    By this address it is partitioned off, and added or dialled."""
    score: int = 0
    """Misbehaviour; at `DISCOURAGE_SCORE` it is dropped."""
    fault: str = ""
    """What it was dropped for, once it was."""
    last_block: float | None = None
    """When it last was first to give us a valid block, in the loop's time."""
    last_transaction: float | None = None
    """When it last was first to give us a transaction that entered the mempool, in the loop's time."""
    synced_headers: int = -1
    """Height of the best header that it is known to have; -1 if none is. Kept by `sync`, for display."""
    discouraged: bool = False
    """It comes from a discouraged host: first to go when slots are short."""
    _holders: dict[str, None] = field(default_factory=dict)
    """Who does not want it to be read for now."""

    @property
    def inbound(self) -> bool:
        """Whether it dialled us."""
        return self.role is Role.INBOUND

    @property
    def ready(self) -> bool:
        """Whether messages may be sent to it."""
        return self.link.connection.state is State.READY

    @property
    def takes_outlines(self) -> bool:
        """Whether it speaks a version of the protocol in which blocks are told by their outlines."""
        return self.ready and self.hello is not None and self.hello.version >= OUTLINE_VERSION

    @property
    def remote(self) -> Address:
        """The other end of the link; where we dialled, as long as there is none."""
        return self.link.remote or self.dialled or Address("", 0)

    def hold_reading(self, part: str) -> None:
        """Have nothing more read from it until `part`, and whoever else held it, has released it."""
        self._holders[part] = None
        self.link.hold_reading()

    def release_reading(self, part: str) -> None:
        """Undo `hold_reading` of the same part."""
        self._holders.pop(part, None)
        if not self._holders:
            self.link.release_reading()

    def send(self, *messages: Message) -> None:
        """Send messages if the peer is ready; what comes after the end is dropped."""
        for message in messages:
            if self.ready:
                self.link.send(message)
