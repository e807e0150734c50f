"""`up`: from nothing, or from a stopped folder, to a network whose nodes are connected and whose wallets have coins."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import msgspec

from devnet.calls import Calls
from devnet.errors import Refused, Unavailable
from devnet.faults import blocked_peers
from devnet.folder import NetworkFolder, NetworkRecord, NodeRecord, wait_until
from devnet.funding import fund_wallets
from devnet.launcher import (
    Plan,
    check_matches,
    is_alive,
    new_network,
    start_nodes,
    stop_nodes,
    write_settings,
)
from devnet.lines import is_hardly_a_line
from rpc.schema import NetworkInfo

CONNECT_SECONDS = 30.0
"""How long nodes that all answer may take to be connected as their topology says; it takes about a second."""


class Progress(msgspec.Struct, frozen=True):
    """Whom to tell what is being done."""

    step: Callable[[str], None]
    """A step begins; in a few words."""
    blocks: Callable[[int, int], None]
    """So many of so many first blocks are found."""


def bring_up(
    folder: NetworkFolder, plan: Plan, *, fresh: bool, entropy: random.Random, now: int, progress: Progress
) -> NetworkRecord:
    """Start the network of a folder, or make one and start it. If that fails, nothing runs, and no new network is left.

    A start that was killed before the wallets had coins is taken up again.

    Args:
        plan: what to make; what it says about a network that is there must be true of it.
        fresh: delete a network that is there, with all its coins, and make a new one.
        entropy: draws a new network's tag and ports.
        now: UNIX seconds.

    Raises:
        DevnetError: with the reason.
    """
    with folder.locked(create=True):
        record = folder.load() if folder.exists() else None
        if record is not None and record.funded and any(map(is_alive, record.nodes)):
            raise Refused(
                f"A network is running in {folder.path} already. Look at it: {folder.hint('status')}; "
                f"end it: {folder.hint('down')}; or use another folder: {folder.program} up --dir OTHER"
            )
        if record is not None and not fresh:
            check_matches(folder, record, plan)
        if record is not None and any(map(is_alive, record.nodes)):
            # We hold the lock and the wallets have no coins yet: an earlier `up` was killed half way.
            progress.step("Ending what an interrupted start has left")
            record, _ = stop_nodes(folder, record, range(len(record.nodes)))
        if record is not None and not fresh:
            if not record.funded:
                write_settings(folder, record)  # it may have been killed before they were written
            return start_network(folder, record, progress)
        if record is not None:
            folder.remove(record)
        record = new_network(folder, plan, entropy, now)
        try:
            return start_network(folder, record, progress)
        except BaseException:
            folder.remove(record)
            raise


def start_network(folder: NetworkFolder, record: NetworkRecord, progress: Progress) -> NetworkRecord:
    """Start all nodes, wait until they are connected, and fund the wallets if that was not done before.

    The caller holds the lock. If it cannot be done, nothing runs.

    Raises:
        DevnetError: with the reason.
    """
    calls = Calls(folder)
    everyone = range(len(record.nodes))
    progress.step(f"Starting {len(record.nodes)} nodes")
    record = start_nodes(folder, record, everyone, calls)
    try:
        progress.step("Connecting them")
        wait_until_connected(folder, record, calls)
        if not record.funded:
            progress.step("Finding the first blocks, so that every wallet has coins")
            fund_wallets(record, calls, progress.blocks)
            record = msgspec.structs.replace(record, funded=True)
            folder.save(record)
    except BaseException:
        stop_nodes(folder, record, everyone)
        raise
    return record


def wait_until_connected(folder: NetworkFolder, record: NetworkRecord, calls: Calls) -> None:
    """Wait until each node has all the connections that its place in the network gives it.

    Raises:
        Unavailable: that does not happen.
    """
    waiting: list[NodeRecord] = list(record.nodes)

    def is_done() -> bool:
        counts = calls.of_each(waiting, lambda node: calls.ask(node, NetworkInfo, "getnetworkinfo").connections)
        waiting[:] = [node for node, peers in zip(waiting, counts, strict=True) if peers < expected_peers(record, node)]
        return not waiting

    if not wait_until(is_done, CONNECT_SECONDS):
        missing = ", ".join(str(node.id) for node in waiting)
        raise Unavailable(
            f"Node {missing} did not find its peers within {CONNECT_SECONDS:.0f} s. "
            f"Its log: {folder.node_path(waiting[0].id) / 'debug.log'}"
        )


def expected_peers(record: NetworkRecord, node: NodeRecord) -> int:
    """Return how many connections a node has when all nodes run: its links, without those that nothing gets over.

    That is where a partition cuts them, or where a line is so bad that it may take a long time to say hello.
    """
    cut = set(blocked_peers(record, node.id))
    slow = {frozenset((line.source, line.target)) for line in record.lines if is_hardly_a_line(line.conditions)}
    return sum(
        record.nodes[other].peer_address not in cut and frozenset((node.id, other)) not in slow for other in node.dials
    )


def watch_for_end(folder: NetworkFolder) -> Callable[[], bool]:
    """Return a function that tells whether the network has been stopped; it looks at most twice a second."""
    next_look = 0.0
    is_over = False

    def ask() -> bool:
        nonlocal next_look, is_over
        if time.monotonic() >= next_look and not is_over:
            next_look = time.monotonic() + 0.5
            is_over = not folder.exists() or not any(map(is_alive, folder.load().nodes))
            is_over = is_over and not folder.is_busy()  # a snapshot stops the nodes for a moment
        return is_over

    return ask
