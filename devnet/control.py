"""Disturbing a running network: stop, kill, start, pause, resume, partition, bad lines, wrong clocks."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

import msgspec

from devnet import lines
from devnet.calls import Calls
from devnet.errors import DevnetError, Misused, Refused
from devnet.faults import parse_groups
from devnet.folder import LineRecord, NetworkFolder, NetworkRecord, wait_until
from devnet.launcher import is_alive, is_paused, kill_node, start_nodes, stop_nodes
from devnet.lines import Pair
from devnet.payments import running
from devnet.processes import send_to_family
from devnet.status import require_network_up, require_running, require_unpaused
from devnet.telling import tell_all, tell_changes
from node.skewed_clock import MAX_SKEW
from p2p.link_conditions import LinkConditions

SIGNAL_SECONDS = 5.0
"""How long the system may take to stop or continue a process."""


def bring_down(folder: NetworkFolder) -> list[int]:
    """Stop all nodes of a network cleanly; its data stay.

    Returns:
        Those that did not stop in time and were killed.

    Raises:
        Refused: there is no network in the folder.
    """
    with folder.locked():
        record = folder.load()
        _, killed = stop_nodes(folder, record, range(len(record.nodes)))
        return killed


def kill(folder: NetworkFolder, numbers: Sequence[int]) -> None:
    """Kill nodes as a power cut would (SIGKILL).

    Raises:
        Misused: there is no such node.
        Unavailable: one of them does not run; then none is killed.
    """
    with folder.locked():
        nodes = [folder.load().node(number) for number in numbers]
        for node in nodes:
            if not is_alive(node):
                require_running(folder, node)
        for node in nodes:
            kill_node(node)


def start(folder: NetworkFolder, numbers: Sequence[int]) -> None:
    """Start nodes that were stopped or killed, with the data they had.

    Raises:
        Misused: there is no such node.
        Refused: one of them runs already; then none is started.
        Unavailable: one of them does not come up.
    """
    with folder.locked():
        record = folder.load()
        for number in numbers:
            if is_paused(record.node(number)):
                raise Refused(f"Node {number} is paused. Let it go on: {folder.hint(f'resume {number}')}")
            if is_alive(record.node(number)):
                raise Refused(f"Node {number} is running already.")
        start_nodes(folder, record, list(dict.fromkeys(numbers)), Calls(folder))


def stop(folder: NetworkFolder, numbers: Sequence[int]) -> None:
    """Stop nodes cleanly (SIGTERM).

    Raises:
        Misused: there is no such node.
        Unavailable: one of them does not run; then none is stopped.
    """
    with folder.locked():
        record = folder.load()
        for number in numbers:
            if not is_alive(record.node(number)):
                require_running(folder, record.node(number))
        stop_nodes(folder, record, numbers)


def pause(folder: NetworkFolder, numbers: Sequence[int]) -> None:
    """Halt nodes where they are (SIGSTOP), their miners too; to their peers they fall silent.

    Raises:
        Misused: there is no such node.
        Unavailable: one of them does not run, or is paused already; then none is paused.
    """
    with folder.locked():
        record = folder.load()
        for number in numbers:
            require_running(folder, record.node(number))
        _signal_all(record, numbers, signal.SIGSTOP, paused=True)


def resume(folder: NetworkFolder, numbers: Sequence[int]) -> None:
    """Let paused nodes go on (SIGCONT).

    Raises:
        Misused: there is no such node.
        Refused: one of them is not paused; then none goes on.
        Unavailable: one of them does not run.
    """
    with folder.locked():
        record = folder.load()
        for number in numbers:
            node = record.node(number)
            if not is_paused(node):
                require_running(folder, node)
                raise Refused(f"Node {number} is not paused.")
        _signal_all(record, numbers, signal.SIGCONT, paused=False)


def _signal_all(record: NetworkRecord, numbers: Sequence[int], number: signal.Signals, *, paused: bool) -> None:
    """Signal nodes and all that they started, and wait until the system shows it."""
    nodes = [record.node(node) for node in numbers]
    for node in nodes:
        if node.process is not None:
            send_to_family(node.process, number)
    wait_until(lambda: all(is_paused(node) == paused for node in nodes), SIGNAL_SECONDS)


def partition(folder: NetworkFolder, text: str) -> tuple[tuple[int, ...], ...]:
    """Cut a network into groups that refuse each other; nodes that are down join theirs when they start.

    Returns:
        The groups, the one of unnamed nodes last.

    Raises:
        Misused: `text` is no cut of this network.
        Unavailable: a node is paused or does not answer; then nothing is cut.
    """
    with folder.locked():
        record = folder.load()
        groups = parse_groups(text, len(record.nodes))
        require_network_up(folder, record)
        bring_faults(folder, record, msgspec.structs.replace(record, partition=groups))
        return groups


def change_lines(
    folder: NetworkFolder, pairs: Sequence[Pair], change: Callable[[LinkConditions], LinkConditions]
) -> tuple[LineRecord, ...]:
    """Change what some lines do to what they carry; nodes that are down hear of it when they start.

    Returns:
        Those of the lines on which something happens now.

    Raises:
        Misused: there is no such line, or what comes out is none.
        Unavailable: a node is paused or does not answer; then no line is changed.
    """
    with folder.locked():
        record = folder.load()
        require_network_up(folder, record)
        changed = lines.change_lines(record, pairs, change)
        bring_faults(folder, record, changed)
        return tuple(line for line in changed.lines if (line.source, line.target) in set(pairs))


def skew(folder: NetworkFolder, numbers: Sequence[int], seconds: int) -> None:
    """Set the clocks of some nodes ahead by so many seconds (behind if negative, right if 0).

    Raises:
        Misused: there is no such node, or no node takes so much.
        Unavailable: a node is paused or does not answer; then no clock is changed.
    """
    if abs(seconds) > MAX_SKEW:
        raise Misused(f"A clock is wrong by at most {MAX_SKEW // 86_400} days.")
    with folder.locked():
        record = folder.load()
        require_network_up(folder, record)
        bring_faults(folder, record, record.with_skew(numbers, seconds))


def bring_faults(
    folder: NetworkFolder, before: NetworkRecord, after: NetworkRecord, *, only_changes: bool = True
) -> None:
    """Bring all running nodes from the faults of one record to those of another, and remember these.

    The caller holds the lock. If one node does not take them, all go back to what was.

    Args:
        only_changes: leave alone what is the same in both records, whatever the nodes were told by others.
    """
    calls = Calls(folder)
    told: list[int] = []
    require_unpaused(folder, after)
    try:
        for node in running(after):
            told.append(node.id)
            if only_changes:
                tell_changes(calls, before, after, node.id)
            else:
                tell_all(calls, after, node.id)
        folder.save(after)
    except BaseException:
        for number in told:
            _try_to_put_back(calls, before, number)
        raise


def _try_to_put_back(calls: Calls, record: NetworkRecord, number: int) -> None:
    """Put one node back; it may be the very one that does not answer."""
    try:
        tell_all(calls, record, number)
    except DevnetError:
        return
