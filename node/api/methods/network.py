"""Peers: who is connected, whom to connect to."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from msgspec import UNSET, Meta

from node.api.method import Area, method
from node.api.parameters import HostPort
from node.api.services import Services
from node.block_index import find_fork
from node.peer import Peer, Role
from node.relay_policy import MIN_FEE_RATE
from p2p.limits import PROTOCOL_VERSION
from p2p.transport import Address, AddressSyntaxError, parse_address
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError

_CONNECTION_TYPES = {
    Role.INBOUND: "inbound",
    Role.OUTBOUND: "outbound-full-relay",
    Role.ADDED: "manual",
}


def read_host_port(services: Services, text: str) -> Address:
    """Return an address as the user typed it; without a port, the network's.

    Raises:
        RpcError: `INVALID_PARAMETER`.
    """
    try:
        return parse_address(text, services.params.p2p_port)
    except AddressSyntaxError as error:
        raise RpcError(ErrorCode.INVALID_PARAMETER, str(error)) from None


@method(Area.NETWORK, reads=True)
async def getpeerinfo(services: Services) -> list[schema.PeerInfo]:
    """Tell all about each peer, in the order of connecting."""
    loop = asyncio.get_running_loop()
    # Peers are timed by the loop's clock; users read UNIX seconds.
    origin = services.clock.time() - loop.time()
    return [_peer(services, peer, origin) for peer in services.node.peers]


def _peer(services: Services, peer: Peer, origin: float) -> schema.PeerInfo:
    connection = peer.link.connection
    hello = peer.hello
    best = services.node.sync.best_of(peer)
    common = -1 if best is None else find_fork(best, services.chain.index.tip).height
    return schema.PeerInfo(
        id=peer.number,
        addr=str(peer.remote),
        listening=UNSET if peer.listens_at is None else str(peer.listens_at),
        lastsend=_moment(connection.last_sent, origin),
        lastrecv=_moment(connection.last_received, origin),
        bytessent=connection.bytes_sent,
        bytesrecv=connection.bytes_received,
        messagessent=connection.messages_sent,
        messagesrecv=connection.messages_received,
        conntime=_moment(peer.since, origin),
        pingtime=UNSET if connection.latency is None else round(connection.latency, 6),
        version=0 if hello is None else hello.version,
        subver="" if hello is None else hello.agent,
        inbound=peer.inbound,
        startingheight=-1 if hello is None else hello.height,
        synced_headers=peer.synced_headers,
        synced_blocks=common,
        inflight=services.node.sync.owed_by(peer),
        misbehaviour=peer.score,
        connection_type=_CONNECTION_TYPES[peer.role],
    )


def _moment(loop_time: float, origin: float) -> int:
    return int(loop_time + origin) if loop_time else 0


@method(Area.NETWORK, reads=True)
async def getconnectioncount(services: Services) -> int:
    """Return how many peers are connected."""
    return len(services.node.peers)


@method(Area.NETWORK, reads=True)
async def getnetworkinfo(services: Services) -> schema.NetworkInfo:
    """Tell what this node is to its peers."""
    node, config = services.node, services.config
    inbound = sum(peer.inbound for peer in node.peers)
    listening = node.listens_at
    local = []
    if listening is not None:
        local = [schema.LocalAddress(address=config.advertise or listening.host, port=listening.port)]
    major, minor, patch = (int(part) for part in services.version.split(".")[:3])
    return schema.NetworkInfo(
        version=10_000 * major + 100 * minor + patch,
        subversion=services.agent,
        protocolversion=PROTOCOL_VERSION,
        localrelay=True,
        timeoffset=0,
        networkactive=node.peer_manager.active,
        connections=len(node.peers),
        connections_in=inbound,
        connections_out=len(node.peers) - inbound,
        relayfee=Dure(MIN_FEE_RATE),
        incrementalfee=Dure(MIN_FEE_RATE),
        localaddresses=local,
        known_addresses=len(node.addresses.table),
        warnings=services.chain.warnings,
    )


@method(Area.NETWORK)
async def setnetworkactive(services: Services, state: bool) -> bool:
    """Switch all traffic with other nodes off or on, and return which it is now. After a restart it is on.

    Off, every peer is disconnected, and none is dialled, accepted or looked for. JSON-RPC goes on.

    Args:
        state: true for on.
    """
    services.node.set_network_active(state)
    return services.node.peer_manager.active


@method(Area.NETWORK)
async def addnode(services: Services, node: HostPort, command: Literal["add", "remove", "onetry"]) -> None:
    """Dial a node: for ever, no more, or once.

    Args:
        node: HOST:PORT; without a port the network's.
        command: add keeps a connection to it for as long as this node runs, remove ends that, onetry dials it once.
    """
    address = read_host_port(services, node)
    manager = services.node.peer_manager
    match command:
        case "add":
            if address in manager.added:
                raise RpcError(ErrorCode.NODE_ALREADY_ADDED, "Error: Node already added")
            try:
                manager.add_node(address)
            except ValueError as error:
                raise RpcError(ErrorCode.INVALID_PARAMETER, str(error)) from None
        case "remove":
            if not manager.remove_node(address):
                raise RpcError(
                    ErrorCode.NODE_NOT_ADDED,
                    "Error: Node could not be removed. It has not been added previously.",
                )
        case "onetry":
            manager.dial_once(address)


@method(Area.NETWORK)
async def disconnectnode(
    services: Services, address: HostPort | None = None, nodeid: Annotated[int, Meta(ge=0)] | None = None
) -> None:
    """Close the connection to a peer, named in one of two ways. One that was added is dialled again.

    Args:
        address: HOST:PORT of the connection, or where the peer listens.
        nodeid: its id in getpeerinfo.
    """
    manager = services.node.peer_manager
    if (address in {None, ""}) == (nodeid is None):
        raise RpcError(ErrorCode.INVALID_PARAMS, "Only one of address and nodeid should be provided.")
    peer = manager.peers.get(nodeid) if nodeid is not None else None
    if address:
        peer = manager.find(read_host_port(services, address))
    if peer is None:
        raise RpcError(ErrorCode.NODE_NOT_CONNECTED, "Node not found in connected nodes")
    manager.disconnect(peer, "disconnectnode")


@method(Area.NETWORK, reads=True)
async def getaddednodeinfo(services: Services, node: HostPort | None = None) -> list[schema.AddedNode]:
    """Tell which nodes were added, by addnode or --connect, and whether they are connected.

    Args:
        node: only this one.
    """
    manager = services.node.peer_manager
    wanted = manager.added
    if node is not None:
        address = read_host_port(services, node)
        if address not in wanted:
            raise RpcError(ErrorCode.NODE_NOT_ADDED, "Error: Node has not been added.")
        wanted = (address,)
    return [schema.AddedNode(addednode=str(each), connected=manager.find(each) is not None) for each in wanted]


METHODS = (getpeerinfo, getconnectioncount, getnetworkinfo, setnetworkactive, addnode, disconnectnode, getaddednodeinfo)
