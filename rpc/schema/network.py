"""What nodes answer about their peers."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from rpc.encoding import Dure
from rpc.schema.base import Result


class PeerInfo(Result, frozen=True, kw_only=True):
    """One peer (getpeerinfo)."""

    id: int
    """The `peer=` of the log."""
    addr: str
    """The other end of the connection."""
    listening: str | UnsetType = UNSET
    """Where it can be dialled, if it told us."""
    services: str = "0000000000000000"
    lastsend: int
    lastrecv: int
    bytessent: int
    bytesrecv: int
    messagessent: int
    """Those of the connection itself, such as pings, included."""
    messagesrecv: int
    conntime: int
    pingtime: float | UnsetType = UNSET
    """Seconds."""
    version: int
    subver: str
    """What it calls its program: its own words."""
    inbound: bool
    startingheight: int
    synced_headers: int
    synced_blocks: int
    inflight: int
    """How many blocks it was asked for that have not come."""
    misbehaviour: int
    """Its score; it is disconnected at 100."""
    connection_type: str


class AddedNode(Result, frozen=True, kw_only=True):
    """One node that was added (getaddednodeinfo)."""

    addednode: str
    connected: bool


class LocalAddress(Result, frozen=True, kw_only=True):
    """Where others reach this node."""

    address: str
    port: int
    score: int = 1


class NetworkInfo(Result, frozen=True, kw_only=True):
    """getnetworkinfo."""

    version: int
    """10,000 for each major, 100 for each minor version, 1 for each patch."""
    subversion: str
    protocolversion: int
    localrelay: bool
    timeoffset: int
    networkactive: bool
    connections: int
    connections_in: int
    connections_out: int
    relayfee: Dure
    incrementalfee: Dure
    localaddresses: list[LocalAddress]
    known_addresses: int
    """How many addresses of other nodes are remembered."""
    warnings: list[str]
