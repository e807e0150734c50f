"""Making, starting and stopping the processes of a network.

Whatever starts a network here ends it again if it cannot be brought up: a network runs whole, or not at all.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from devnet.calls import Calls
from devnet.errors import Misconfigured, Misused, Refused, Unavailable
from devnet.folder import HOST, VERSION, NetworkFolder, NetworkRecord, NodeRecord, wait_until
from devnet.ports import choose_ports, taken
from devnet.processes import Process, exit_status, send_signal, send_to_family, sight, start
from devnet.telling import tell_all
from devnet.topology import MAX_NODES, Topology, default_topology, edges, spread

DEFAULT_NODES = 5
DEFAULT_MINERS = 2
DEFAULT_HASHRATE = 20_000
"""Hashes per second of each miner: two of them find a block every five seconds at `local`'s first difficulty."""

READY_SECONDS = 60.0
"""How long a daemon may take until it answers; it takes about a second, more where many start at once."""

STOP_SECONDS = 20.0
"""How long a daemon may take to stop cleanly before it is killed; it takes well under a second."""

Report = Callable[[str], None]
"""Told what is being done, a sentence or less at a time."""


class Plan(msgspec.Struct, frozen=True):
    """What a user asked of `up`; None where they left it open."""

    size: int | None = None
    topology: Topology | None = None
    miners: int | None = None
    hashrate: int | None = None


def new_network(folder: NetworkFolder, plan: Plan, entropy: random.Random, now: int) -> NetworkRecord:
    """Make the folder of a network, with every setting in place; nothing is started yet. The caller holds the lock.

    Args:
        entropy: draws the network's tag and where its ports are.
        now: UNIX seconds.

    Raises:
        Misused: numbers that make no network.
        Unavailable: no free ports.
        Misconfigured: the folder is not writable, or holds nodes that no network.json speaks of.
    """
    size = DEFAULT_NODES if plan.size is None else plan.size
    miners = min(DEFAULT_MINERS, size) if plan.miners is None else plan.miners
    if not 1 <= size <= MAX_NODES:
        raise Misused(f"A network on one machine has 1 to {MAX_NODES} nodes, not {size}.")
    if not 0 <= miners <= size:
        raise Misused(f"{miners} miners are more than the {size} nodes they would run on.")
    tag = entropy.randbytes(16)
    topology = default_topology(size) if plan.topology is None else plan.topology
    dials: dict[int, list[int]] = {node: [] for node in range(size)}
    for low, high in edges(topology, size, tag):
        dials[low].append(high)
        dials[high].append(low)
    mining = spread(miners, size)
    record = NetworkRecord(
        version=VERSION,
        tag=tag.hex(),
        topology=topology,
        hashrate=DEFAULT_HASHRATE if plan.hashrate is None else plan.hashrate,
        created=now,
        funded=False,
        partition=(),
        nodes=tuple(
            NodeRecord(
                id=node,
                port=port,
                rpc_port=rpc_port,
                mines=node in mining,
                dials=tuple(dials[node]),
                wanted="stopped",
                process=None,
            )
            for node, (port, rpc_port) in enumerate(choose_ports(size, entropy))
        ),
    )
    for node in record.nodes:
        if folder.node_path(node.id).exists():
            raise Misconfigured(
                f"{folder.node_path(node.id)} is there, but no network.json that speaks of it. "
                f"Move it away, or use another folder: {folder.program} up --dir OTHER"
            )
    folder.save(record)
    write_settings(folder, record)
    return record


def write_settings(
    folder: NetworkFolder, record: NetworkRecord, chosen: Sequence[Mapping[str, object]] | None = None
) -> None:
    """Write each node's dured.toml: all that makes these daemons a network is in there, and can be read and changed.

    Args:
        chosen: for each node, settings that go before the usual ones, but not before what makes it part of the network.
    """
    for node in record.nodes:
        settings: dict[str, object] = {
            "discovery": False,
            "mine": node.mines,
            "hashrate": record.hashrate,
            "log_terminal": False,  # nobody looks: output.log is for what a log cannot hold, such as a crash
        }
        settings |= {} if chosen is None else chosen[node.id]
        settings |= {
            "network": "local",
            "tag": record.tag,
            "bind": HOST,
            "port": node.port,
            "rpc_bind": HOST,
            "rpc_port": node.rpc_port,
            "connect": [record.nodes[other].peer_address for other in node.dials],
        }
        path = folder.node_path(node.id)
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            (path / "dured.toml").write_text(
                f"# Node {node.id} of its network, as the dure command set it up.\n"
                + "".join(f"{name} = {msgspec.json.encode(value).decode()}\n" for name, value in settings.items())
            )
        except OSError as error:
            raise Misconfigured(f"{path} cannot be written: {error.strerror}.") from None


def check_matches(folder: NetworkFolder, record: NetworkRecord, plan: Plan) -> None:
    """Refuse a plan that asks for another network than the one that is here.

    Raises:
        Refused: one of the numbers given differs.
    """
    here = {
        "nodes": (len(record.nodes), plan.size),
        "topology": (str(record.topology), plan.topology and str(plan.topology)),
        "miners": (sum(node.mines for node in record.nodes), plan.miners),
        "hashrate": (record.hashrate, plan.hashrate),
    }
    for name, (is_, asked) in here.items():
        if asked is not None and asked != is_:
            raise Refused(
                f"The network in {folder.path} has {name} {is_}, not {asked}. Resume it as it is: {folder.hint('up')}; "
                f"or delete it and start anew: {folder.hint('up')} --fresh"
            )


def is_alive(node: NodeRecord) -> bool:
    """Tell whether the node's daemon runs, paused or not; one that is out of sight is taken to run."""
    return node.elsewhere or (node.process is not None and sight(node.process) is not None)


def is_paused(node: NodeRecord) -> bool:
    """Tell whether the node's daemon is paused (SIGSTOP)."""
    seen = sight(node.process) if node.process is not None else None
    return seen is not None and seen.paused


def start_nodes(folder: NetworkFolder, record: NetworkRecord, numbers: Sequence[int], calls: Calls) -> NetworkRecord:
    """Start the daemons of some nodes, all at once, and return when all of them answer. The caller holds the lock.

    If one of them does not come up, all of them are stopped again.

    Raises:
        Unavailable: a port is taken, or a daemon ended or did not answer in time.
        Misconfigured: a daemon refused its settings, or a node's folder is gone.
    """
    for number in numbers:
        if not folder.node_path(number).is_dir():
            raise Misconfigured(
                f"{folder.node_path(number)} is gone: the coins of node {number} were in there. Put it back, "
                f"or delete the network and start anew: {folder.hint('up')} --fresh"
            )
    for number in numbers:
        node = record.node(number)
        for port in taken((node.port, node.rpc_port)):
            raise Unavailable(f"Port {port} of node {number} is taken by another program. Stop that one first.")
    try:
        for number in numbers:
            record = _start_node(folder, record, number)
        _wait_ready(folder, [record.node(number) for number in numbers], calls)
        for number in numbers:  # the network may have been cut or healed while it was down
            tell_all(calls, record, number)
    except BaseException:
        stop_nodes(folder, record, numbers)
        raise
    return record


def _start_node(folder: NetworkFolder, record: NetworkRecord, number: int) -> NetworkRecord:
    """Start one daemon; the record has it before it begins, so that none ever runs which no record knows."""

    def note(process: Process) -> None:
        nonlocal record
        record = record.with_node(msgspec.structs.replace(record.node(number), wanted="running", process=process))
        folder.save(record)

    start(
        [sys.executable, "-P", "-m", "node.main", "--datadir", folder.node_path(number).absolute()],
        output=folder.node_path(number) / "output.log",
        environment=daemon_environment(),
        note=note,
    )
    return record


def daemon_environment() -> dict[str, str]:
    """Return the daemon's environment: ours, without settings for daemons, and the place our own packages are in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DURED_")}
    places = [str(Path(__file__).resolve().parent.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, places))}


def _wait_ready(folder: NetworkFolder, nodes: Sequence[NodeRecord], calls: Calls) -> None:
    """Wait until every one of `nodes` answers, for at most `READY_SECONDS`."""
    deadline = time.monotonic() + READY_SECONDS
    waiting = list(nodes)
    while waiting:
        for node in waiting:
            if not is_alive(node):
                raise _explain_end(folder, node)
        waiting = [node for node in waiting if not calls.answers(node)]
        if waiting and time.monotonic() > deadline:
            slow = waiting[0].id
            raise Unavailable(
                f"Node {slow} did not answer within {READY_SECONDS:.0f} s. "
                f"Its log: {folder.node_path(slow) / 'debug.log'}"
            )
        if waiting:
            time.sleep(0.03)


def _explain_end(folder: NetworkFolder, node: NodeRecord) -> Unavailable | Misconfigured:
    """Return an error that says why a daemon ended as it started, in the daemon's own last words."""
    status = exit_status(node.process) if node.process is not None else None
    output = folder.node_path(node.id) / "output.log"
    try:
        words = [line for line in output.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        words = []
    last = words[-1].strip() if words else f"exit status {status}, and no word of why"
    kind = Misconfigured if status == Misconfigured.status else Unavailable
    return kind(f"Node {node.id} did not start: {last}")


def stop_nodes(folder: NetworkFolder, record: NetworkRecord, numbers: Iterable[int]) -> tuple[NetworkRecord, list[int]]:
    """Stop some nodes cleanly, all at once; one that does not end within `STOP_SECONDS` is killed.

    The caller holds the lock. A paused node is let go on first, for only then can it stop.

    Returns:
        The record, and those that had to be killed.
    """
    nodes = [record.node(number) for number in numbers]
    for node in nodes:
        record = record.with_node(msgspec.structs.replace(node, wanted="stopped"))
        if node.process is not None:
            if is_paused(node):
                send_to_family(node.process, signal.SIGCONT)
            send_signal(node.process, signal.SIGTERM)
    folder.save(record)
    wait_until(lambda: not any(map(is_alive, nodes)), STOP_SECONDS)
    killed = [node for node in nodes if is_alive(node)]
    for node in killed:
        kill_node(node)
    return record, [node.id for node in killed]


def kill_node(node: NodeRecord) -> bool:
    """Kill a node's daemon, its miner and its workers (SIGKILL), and wait until it is gone; tell whether it ran."""
    ran = node.process is not None and send_to_family(node.process, signal.SIGKILL)
    wait_until(lambda: not is_alive(node), STOP_SECONDS)
    return ran
