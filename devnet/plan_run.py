"""Carrying out a plan on a network of processes: each step when it is due, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from devnet import control
from devnet.calls import Calls
from devnet.double_spend import RpcBooks, depth_of
from devnet.errors import DevnetError, Unavailable
from devnet.faults import format_groups
from devnet.folder import NetworkFolder
from devnet.funding import wait_for_one_tip
from devnet.healing import heal
from devnet.lines import describe_skew
from devnet.mining import mine
from devnet.payments import running, send
from devnet.plan_steps import (
    Action,
    Agree,
    ChangeLines,
    Heal,
    Mine,
    Partition,
    Process,
    Reorg,
    Schedule,
    Send,
    Skew,
    Step,
)
from devnet.reorg import reorganize
from rpc.encoding import Dure


class Done(msgspec.Struct, frozen=True):
    """A step that was carried out."""

    step: Step
    late: float
    """Seconds after it was due that it began: the step before it took that long."""
    seconds: float
    """How long it took."""
    told: str
    """What came of it; empty where there is nothing to say."""


class StepFailed(DevnetError):
    """A step could not be carried out. What was done before it stays done, and nothing after it was begun."""

    def __init__(self, step: Step, left: int, error: DevnetError) -> None:
        """Args:
        step: the step.
        left: how many would have come after it.
        error: why.
        """
        after = f"; {left} after it {'was' if left == 1 else 'were'} not begun" if left else ""
        super().__init__(f"Line {step.line} ({step.text}) failed{after}: {error}")
        self.status = error.status  # type: ignore[misc] # of the error, whichever it is


def carry_out(folder: NetworkFolder, plan: Schedule, report: Callable[[Done], None]) -> None:
    """Do all steps of a plan, each when it is due, or as soon after that as the one before it is done.

    Args:
        report: told of each step when it is done.

    Raises:
        StepFailed: a step was refused, or the nodes did not agree in time.
    """
    runner = _Runner(folder)
    started = time.monotonic()
    for place, step in enumerate(plan.steps):
        due = started + step.at_ms / 1_000
        time.sleep(max(0.0, due - time.monotonic()))
        began = time.monotonic()
        try:
            told = runner.act(step.action)
        except DevnetError as error:
            raise StepFailed(step, len(plan.steps) - place - 1, error) from error
        report(Done(step, round(began - due, 3), round(time.monotonic() - began, 3), told))


class _Runner:
    """Does what the commands do."""

    def __init__(self, folder: NetworkFolder) -> None:
        self._folder = folder
        self._calls = Calls(folder)
        self._last_payment: str | None = None

    def act(self, action: Action) -> str:
        """Do one step; return what came of it."""
        folder = self._folder
        match action:
            case Partition(groups):
                control.partition(folder, format_groups(groups))
            case Heal():
                healed = heal(folder, int(time.time()))
                return f"one tip after {healed.seconds:.1f} s" if healed.one_tip else "not on one tip yet"
            case ChangeLines(lines):
                control.change_lines(folder, lines, action.apply)
            case Skew(nodes, seconds):
                control.skew(folder, nodes, seconds)
                return describe_skew(seconds)
            case Process():
                self._process(action)
            case Mine(node, blocks):
                found = mine(self._calls, folder.load().node(node), blocks)
                return f"block {found[-1][:12]}…"
            case Send(sender, receiver, grain):
                payment = send(self._calls, folder.load(), sender, str(receiver), Dure(grain))
                self._last_payment = payment.txid
                return f"transaction {payment.txid[:12]}…"
            case Reorg():
                return self._reorg(action)
            case Agree(within):
                return self._agree(within / 1_000)
        return ""

    def _process(self, action: Process) -> None:
        acts = {
            "kill": control.kill,
            "stop": control.stop,
            "start": control.start,
            "pause": control.pause,
            "resume": control.resume,
        }
        acts[action.verb](self._folder, action.nodes)

    def _reorg(self, action: Reorg) -> str:
        drop = self._last_payment if action.drop_last else None
        depth = action.depth
        if drop is not None:
            nodes = running(self._folder.load())
            depth = max(depth, depth_of({node.id: RpcBooks(self._calls, node) for node in nodes}, drop))
        done = reorganize(self._folder, depth, drop=drop, node=action.node, report=lambda _done, _wanted: None)
        dropped = f", {drop[:12]}… dropped" if drop is not None else ""
        undone = f"{len(done.undone)} block{'' if len(done.undone) == 1 else 's'}"
        return f"{undone} undone by {len(done.branch)} of node {done.node}{dropped}"

    def _agree(self, seconds: float) -> str:
        started = time.monotonic()
        nodes = running(self._folder.load())
        if not wait_for_one_tip(self._calls, nodes, seconds):
            raise Unavailable(f"the nodes were not on one tip within {seconds:g} s.")
        height = self._calls.call(nodes[0], "getblockcount")
        return f"one tip at height {height} after {time.monotonic() - started:.1f} s"
