"""Disturbing a running network, and mending it: stop, kill, start, pause, resume, partition, heal."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

import msgspec

from devnet.calls import Calls
from devnet.errors import DevnetError, Refused
from devnet.faults import blocked_peers, parse_groups
from devnet.folder import NetworkFolder, NetworkRecord, wait_until
from devnet.funding import wait_for_one_tip
from devnet.launcher import is_alive, is_paused, kill_node, start_nodes, stop_nodes
from devnet.payments import running
from devnet.processes import send_to_family
from devnet.status import require_network_up, require_running
from rpc.schema import BlockchainInfo

SIGNAL_SECONDS = 5.0
"""How long the system may take to stop or continue a process."""

HEAL_SECONDS = 15.0
"""How long `heal` waits for the side with less work to follow; it takes well under three seconds."""


class Healed(msgspec.Struct, frozen=True):
    """How the sides of a network stood when it was healed."""

    groups: tuple[tuple[int, ...], ...]
    """The sides, each with the nodes of it that run; only those with a node that runs."""
    heights: tuple[int, ...]
    """The height of each side's best tip."""
    tips: tuple[str, ...]
    """The id of each side's best tip."""
    winners: tuple[int, ...]
    """Places in `groups` of the sides with the most work: more than one if several tips are equal."""
    one_tip: bool
    """Whether all running nodes were on one tip when this was written."""
    seconds: float
    """How long that took."""

    @property
    def same_tip(self) -> bool:
        """Whether all sides had the same tip, so that there is nobody to follow."""
        return len(set(self.tips)) == 1

    @property
    def undecided(self) -> bool:
        """Whether different tips have equal work, so that the next block decides."""
        return len(self.winners) > 1


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
        _apply(folder, record, msgspec.structs.replace(record, partition=groups))
        return groups


def _apply(folder: NetworkFolder, before: NetworkRecord, after: NetworkRecord) -> None:
    """Tell every running node whom to refuse from now on; if one does not take it, all go back to what was."""
    calls = Calls(folder)
    told: list[int] = []
    for node in after.nodes:
        if is_paused(node):
            require_running(folder, node)
    try:
        for node in running(after):
            told.append(node.id)
            calls.call(node, "setpartition", blocked_peers(after, node.id))
        folder.save(after)
    except BaseException:
        for number in told:
            _try_call(calls, before, number)
        raise


def _try_call(calls: Calls, record: NetworkRecord, number: int) -> None:
    """Put one node back; it may be the very one that does not answer."""
    try:
        calls.call(record.node(number), "setpartition", blocked_peers(record, number))
    except DevnetError:
        return


def heal(folder: NetworkFolder) -> Healed:
    """Join what was cut, and wait until the sides with less work have followed the one with the most.

    Where several sides have equal work there is nothing to wait for: the next block decides.

    Raises:
        Refused: the network is not cut.
        Unavailable: a node is paused or does not answer; then nothing is joined.
    """
    with folder.locked():
        record = folder.load()
        if not record.partition:
            raise Refused("The network is whole: there is nothing to heal.")
        require_network_up(folder, record)
        calls = Calls(folder)
        for node in record.nodes:
            if is_paused(node):
                require_running(folder, node)
        nodes = running(record)
        chains = dict(
            zip(
                (node.id for node in nodes),
                calls.of_each(nodes, lambda node: calls.ask(node, BlockchainInfo, "getblockchaininfo")),
                strict=True,
            )
        )
        started = time.monotonic()
        _apply(folder, record, msgspec.structs.replace(record, partition=()))
    groups = tuple(alive for group in record.partition if (alive := tuple(n for n in group if n in chains)))
    best = [max((chains[number] for number in group), key=lambda chain: int(chain.chainwork, 16)) for group in groups]
    most = max(int(chain.chainwork, 16) for chain in best)
    winners = [place for place, chain in enumerate(best) if int(chain.chainwork, 16) == most]
    if len({best[place].bestblockhash for place in winners}) == 1:
        winners = winners[:1]  # they are on one tip already
    one_tip = wait_for_one_tip(calls, nodes, HEAL_SECONDS if len(winners) == 1 else 0.0)
    return Healed(
        groups=groups,
        heights=tuple(chain.blocks for chain in best),
        tips=tuple(chain.bestblockhash for chain in best),
        winners=tuple(winners),
        one_tip=one_tip,
        seconds=round(time.monotonic() - started, 3),
    )
