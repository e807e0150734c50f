"""What a network looks like between two steps of a plan, as far as the plan decides it: so that each makes sense."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from devnet.errors import Misused
from devnet.folder import VERSION, NetworkRecord, NodeRecord
from devnet.launcher import is_alive, is_paused
from devnet.lines import change_lines, check_conditions
from devnet.plan_steps import (
    Action,
    Agree,
    ChangeLines,
    Heal,
    Mine,
    Partition,
    Process,
    Reorg,
    Send,
    Skew,
)
from devnet.topology import Topology
from p2p.link_conditions import PERFECT


class Expected:
    """A network that is moved from step to step by what each of them would do."""

    def __init__(self, record: NetworkRecord, running: Iterable[int], paused: Iterable[int] = ()) -> None:
        """
        Args:
            record: with the faults that there are at first.
            running: the nodes whose processes run, paused ones too.
        """
        self.record = record
        self._running = set(running)
        self._paused = set(paused)
        self._paid = False

    @classmethod
    def now(cls, record: NetworkRecord) -> Expected:
        """Return how a network of processes stands."""
        return cls(
            record,
            (node.id for node in record.nodes if is_alive(node)),
            (node.id for node in record.nodes if is_paused(node)),
        )

    @property
    def size(self) -> int:
        """How many nodes there are."""
        return len(self.record.nodes)

    @property
    def up(self) -> list[int]:
        """The nodes that answer, ascending."""
        return sorted(self._running - self._paused)

    @property
    def down(self) -> list[int]:
        """The nodes that do not run, ascending."""
        return [node.id for node in self.record.nodes if node.id not in self._running]

    @property
    def paused(self) -> list[int]:
        """The nodes that are paused, ascending."""
        return sorted(self._paused)

    def check_and_apply(self, action: Action) -> None:
        """Take a step.

        Raises:
            Misused: it would be refused by then; the sentence says why.
        """
        match action:
            case Process(verb, nodes):
                for node in nodes:
                    self._process(verb, node)
            case Mine(node):
                self._require_up(node)
            case Send(sender, receiver):
                self._require_up(sender)
                self._require_up(receiver)
                self._paid = True
            case Agree():
                if self.record.partition:
                    raise Misused("the network is cut by then: nodes on two sides do not agree")
            case Reorg():
                self._reorg(action)
            case Partition() | Heal() | ChangeLines() | Skew():
                self._change_faults(action)

    def _require_up(self, node: int) -> None:
        if node in self._paused:
            raise Misused(f"node {node} is paused by then")
        if node not in self._running:
            raise Misused(f"node {node} does not run by then")

    def _process(self, verb: str, node: int) -> None:
        if verb == "start":
            if node in self._running:
                raise Misused(f"node {node} runs already by then")
            self._running.add(node)
            return
        if verb == "resume":
            if node not in self._paused:
                raise Misused(f"node {node} is not paused by then")
            self._paused.discard(node)
            return
        if verb == "pause" or node not in self._running:
            self._require_up(node)
        if verb == "pause":
            self._paused.add(node)
        else:
            self._running.discard(node)
            self._paused.discard(node)

    def _reorg(self, action: Reorg) -> None:
        self._require_unpaused()
        if self.record.partition:
            raise Misused("the network is cut by then: heal it first")
        if len(self.up) < 2:
            raise Misused("it takes two nodes that run")
        if action.node is not None:
            self._require_up(action.node)
        if action.drop_last and not self._paid:
            raise Misused("there is no payment yet that could be dropped: a `send` comes first")

    def _require_unpaused(self) -> None:
        if self._paused:
            raise Misused(f"node {self.paused[0]} is paused by then, and could not be told")
        if not self._running:
            raise Misused("no node runs by then")

    def _change_faults(self, action: Partition | Heal | ChangeLines | Skew) -> None:
        self._require_unpaused()
        match action:
            case Partition(groups):
                self.record = msgspec.structs.replace(self.record, partition=groups)
            case Heal():
                if not self.record.is_disturbed:
                    raise Misused("there is nothing to heal by then")
                self.record = self.record.healed()
            case ChangeLines(lines):
                check_conditions(action.apply(PERFECT))
                self.record = change_lines(self.record, lines, action.apply)
            case Skew(nodes, seconds):
                self.record = self.record.with_skew(nodes, seconds)


def network_of(size: int) -> NetworkRecord:
    """Return the record of a network that is nowhere: whole, and of nodes that all know each other."""
    return NetworkRecord(
        version=VERSION,
        tag="00" * 16,
        topology=Topology.FULL,
        hashrate=0,
        created=0,
        funded=True,
        partition=(),
        nodes=tuple(
            NodeRecord(
                id=node,
                port=0,
                rpc_port=0,
                mines=False,
                dials=tuple(other for other in range(size) if other != node),
                wanted="running",
                process=None,
            )
            for node in range(size)
        ),
    )
