"""What an operator chooses about peers: the part of the configuration that gossip reads."""

from __future__ import annotations

from dataclasses import dataclass

from node import gossip_limits
from p2p.limits import PING_SECONDS
from p2p.transport import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSettings:
    """How a node finds, accepts and keeps peers. No rule ever sees it."""

    bind: Address | None
    """Where to listen for peers; port 0 takes a free one. None: nowhere, and `Hello` says so."""
    advertise_host: str | None = None
    """The IP address under which others reach us, told to peers. None: they see it by themselves."""
    connect: tuple[Address, ...] = ()
    """If given, these are dialled and nobody else; addresses are neither asked for nor discovered."""
    add: tuple[Address, ...] = ()
    """Dialled for ever, beside those that we choose."""
    seeds: tuple[Address, ...] = ()
    """Known nodes to begin with: dialled, and asked by discovery."""
    discovery: bool = True
    """Whether to find nodes by UDP on the port where we listen."""
    private_addresses: bool = True
    """Whether loopback and private addresses are learned and told: on networks of one machine or house."""
    max_outbound: int = gossip_limits.MAX_OUTBOUND
    max_inbound: int = gossip_limits.MAX_INBOUND
    ping_seconds: float = PING_SECONDS
    """Between two pings: a dead peer is noticed by the next one. Simulations of thousands of links ping less."""
    agent: str = "dure"
    """Our program and version, as told to peers: printable ASCII, at most 64 characters."""
