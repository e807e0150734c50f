"""What the nodes of a network are doing, as far as can be seen from outside."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from devnet.calls import CallRefused, Calls
from devnet.errors import Unavailable
from devnet.folder import NetworkFolder, NetworkRecord, NodeRecord
from devnet.launcher import is_alive, is_paused
from rpc.encoding import Dure
from rpc.schema import Balances, BlockchainInfo, MempoolInfo, NetworkInfo

STATUS_SECONDS = 5.0
"""How long a node may take to tell its status; one that needs longer is shown as starting."""


class NodeState(StrEnum):
    """What a node is doing."""

    STARTING = "starting"
    """Its process runs, and does not answer (yet)."""
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    """It was stopped by a command, or never started."""
    CRASHED = "crashed"
    """It should run and does not: it was killed, or ended by itself."""
    UNREACHABLE = "unreachable"
    """It runs elsewhere, if at all, and does not answer."""


class NodeStatus(msgspec.Struct, frozen=True):
    """One line of `dure status`. What only a running node can tell is None while it does not run."""

    id: int
    state: NodeState
    height: int | None
    tip: str | None
    """The id of its best block, all 64 digits."""
    peers: int | None
    mempool: int | None
    """Transactions that wait for a block."""
    balance: Dure | None
    """DURE that its wallet can spend now."""
    rpc_url: str
    datadir: str | None
    """None for a node that runs elsewhere."""
    pid: int | None


def node_state(node: NodeRecord) -> NodeState:
    """Return what the node's process alone tells; `STARTING` stands for any that runs and may or may not answer."""
    if not is_alive(node):
        return NodeState.CRASHED if node.wanted == "running" else NodeState.STOPPED
    return NodeState.PAUSED if is_paused(node) else NodeState.STARTING


def network_status(folder: NetworkFolder, record: NetworkRecord, calls: Calls) -> list[NodeStatus]:
    """Ask all nodes at once what they are doing."""
    return calls.of_each(record.nodes, lambda node: _ask(folder, node, calls))


def _ask(folder: NetworkFolder, node: NodeRecord, calls: Calls) -> NodeStatus:
    """Ask one node; never raises, for a node that does not answer has a status too."""
    state = node_state(node)
    chain = None
    peers = mempool = balance = None
    if state is NodeState.STARTING:
        try:
            chain = calls.ask(node, BlockchainInfo, "getblockchaininfo", timeout=STATUS_SECONDS)
            peers = calls.ask(node, NetworkInfo, "getnetworkinfo", timeout=STATUS_SECONDS).connections
            mempool = calls.ask(node, MempoolInfo, "getmempoolinfo", timeout=STATUS_SECONDS).size
            balance = spendable(calls, node)
            state = NodeState.RUNNING
        except (Unavailable, CallRefused):
            # it may have ended meanwhile
            chain, state = None, NodeState.UNREACHABLE if node.elsewhere else node_state(node)
    return NodeStatus(
        id=node.id,
        state=state,
        height=chain.blocks if chain else None,
        tip=chain.bestblockhash if chain else None,
        peers=peers if chain else None,
        mempool=mempool if chain else None,
        balance=balance if chain else None,
        rpc_url=node.rpc_url,
        datadir=folder.datadir(node.id),
        pid=node.process.pid if node.process is not None and is_alive(node) else None,
    )


def spendable(calls: Calls, node: NodeRecord, timeout: float = STATUS_SECONDS) -> Dure:
    """Return the DURE that a node's wallet can spend now."""
    return calls.ask(node, Balances, "getbalances", timeout=timeout).mine.trusted


def require_running(folder: NetworkFolder, node: NodeRecord) -> None:
    """Refuse to go on with a node that does not run.

    Raises:
        Unavailable: it is stopped, paused, or has crashed; the sentence says how to change that.
    """
    match node_state(node):
        case NodeState.PAUSED:
            raise Unavailable(f"Node {node.id} is paused. Let it go on: {folder.hint(f'resume {node.id}')}")
        case NodeState.STOPPED:
            raise Unavailable(f"Node {node.id} is stopped. Start it: {folder.hint(f'start {node.id}')}")
        case NodeState.CRASHED:
            raise Unavailable(
                f"Node {node.id} is down: it was killed or has crashed. Start it: {folder.hint(f'start {node.id}')}"
            )
        case _:
            return


def require_unpaused(folder: NetworkFolder, record: NetworkRecord) -> None:
    """Refuse to go on with a network of which a node could not be told anything.

    Raises:
        Unavailable: a node is paused.
    """
    for node in record.nodes:
        if is_paused(node):
            require_running(folder, node)


def require_network_up(folder: NetworkFolder, record: NetworkRecord) -> None:
    """Refuse to go on with a network of which nothing runs.

    Raises:
        Unavailable: no node runs.
    """
    if not any(map(is_alive, record.nodes)):
        raise Unavailable(f"The network in {folder.path} is stopped. Resume it: {folder.hint('up')}")
