"""`doctor`: looks at all that can be wrong with this machine and a network on it, and says what to do."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

import msgspec

from consensus.params import GENESIS_TIME, LOCAL
from devnet.bring_up import expected_peers
from devnet.calls import CallRefused, Calls
from devnet.errors import DevnetError, Unavailable
from devnet.folder import NetworkFolder, NetworkRecord, NodeRecord
from devnet.funding import wait_for_one_tip
from devnet.launcher import daemon_environment, is_alive, is_paused
from devnet.payments import running
from devnet.ports import taken
from devnet.processes import look
from rpc.schema import BlockchainInfo, NetworkInfo

GOOD_BYTES, NEEDED_BYTES = 1 << 30, 200 << 20
"""Free space that is plenty, and that is the least to go on with: a block is at most 4 MiB, and LMDB grows in steps."""

SETTLE_SECONDS = 5.0
"""How long nodes that are not on one tip get to come to one: a block may be on its way right now."""

DAEMON_SECONDS = 30.0
"""How long `dured --version` may take."""


class Verdict(StrEnum):
    """How one check came out."""

    FINE = "fine"
    NOTICE = "notice"
    """Worth knowing; nothing is broken."""
    PROBLEM = "problem"


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""
    """What to do about it."""


def examine(folder: NetworkFolder, now: float) -> Iterator[Check]:
    """Yield one check after the other: this machine first, then the network in `folder` if there is one.

    Args:
        now: UNIX seconds, by this machine's clock.
    """
    yield _check_python()
    yield from _check_packages()
    yield _check_daemon()
    if not folder.is_remote:
        yield _check_disk(folder)
    yield _check_clock(now)
    if not folder.exists():
        yield Check("network", Verdict.NOTICE, f"none in {folder.path}", f"Start one: {folder.hint('up')}")
        return
    try:
        record = folder.load()
    except DevnetError as error:
        yield Check("network", Verdict.PROBLEM, str(error), "See above.")
        return
    if not folder.is_remote:
        yield from _check_processes(folder, record)
        yield _check_ports(record)
    yield from _check_health(folder, record, now)


def _check_python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= (3, 14):
        return Check("python", Verdict.NOTICE, version, "Dure is tested with Python 3.11 to 3.13.")
    return Check("python", Verdict.FINE, f"{version} at {sys.executable}")


def _check_packages() -> Iterator[Check]:
    """Compare what is installed with what the project asks for."""
    try:
        required = importlib.metadata.requires("dure") or []
    except importlib.metadata.PackageNotFoundError:
        yield Check("packages", Verdict.NOTICE, "dure runs from its source, without being installed")
        return
    # What stands under an extra is asked for by somebody else: the pytest plugin by whoever tests with it.
    names = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in required if "extra ==" not in line]
    missing = [name for name in names if not _is_installed(name)]
    if missing:
        advice = "Install what is missing; in a clone: remove .venv and run scripts/dure again."
        yield Check("packages", Verdict.PROBLEM, f"missing: {', '.join(missing)}", advice)
    else:
        yield Check("packages", Verdict.FINE, f"all {len(names)} are installed")


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _check_daemon() -> Check:
    """Let the daemon say its version: so all that it imports can be imported."""
    command = [sys.executable, "-P", "-m", "node.main", "--version"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DAEMON_SECONDS, env=daemon_environment(), check=False
        )
    except subprocess.TimeoutExpired:
        return Check("daemon", Verdict.PROBLEM, f"no answer within {DAEMON_SECONDS:.0f} s", "This machine is too busy.")
    words = (done.stdout + done.stderr).strip().splitlines() or ["no word"]
    if done.returncode:
        advice = "A package is broken; in a clone: remove .venv and run scripts/dure again."
        return Check("daemon", Verdict.PROBLEM, f"does not start: {words[-1]}", advice)
    return Check("daemon", Verdict.FINE, f"starts: {words[-1]}")


def _check_disk(folder: NetworkFolder) -> Check:
    place = folder.path.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{free / (1 << 30):.1f} GiB free at {place}"
    if free < NEEDED_BYTES:
        return Check("disk", Verdict.PROBLEM, found, "Make room: nodes stop when the disk is full.")
    return Check("disk", Verdict.FINE if free >= GOOD_BYTES else Verdict.NOTICE, found)


def _check_clock(now: float) -> Check:
    found = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < GENESIS_TIME:
        return Check("clock", Verdict.PROBLEM, f"{found}, before the first block", "Set this machine's clock.")
    return Check("clock", Verdict.FINE, found)


def _check_processes(folder: NetworkFolder, record: NetworkRecord) -> Iterator[Check]:
    """Compare what should run with what does."""
    alive = [node for node in record.nodes if is_alive(node)]
    if not alive and all(node.wanted == "stopped" for node in record.nodes):
        found = f"{len(record.nodes)} nodes in {folder.path}, all stopped"
        yield Check("network", Verdict.NOTICE, found, f"Resume it: {folder.hint('up')}")
        return
    yield Check("network", Verdict.FINE, f"{len(alive)} of {len(record.nodes)} nodes run in {folder.path}")
    for node in record.nodes:
        if node in alive:
            if is_paused(node):
                resume = f"Let it go on: {folder.hint(f'resume {node.id}')}"
                yield Check(f"node {node.id}", Verdict.NOTICE, "paused", resume)
        elif node.wanted == "running" and node.process is not None:
            other = " (that number belongs to another program now)" if look(node.process.pid) else ""
            log = folder.node_path(node.id) / "debug.log"
            found = f"its process {node.process.pid} is gone{other}: killed, or crashed ({log})"
            again = folder.hint(f"start {node.id}") if alive else folder.hint("up")
            yield Check(f"node {node.id}", Verdict.PROBLEM, found, f"Start it: {again}")


def _check_ports(record: NetworkRecord) -> Check:
    idle = [port for node in record.nodes if not is_alive(node) for port in (node.port, node.rpc_port)]
    if lost := list(taken(idle)):
        found = f"taken by another program: {', '.join(map(str, lost))}"
        return Check("ports", Verdict.PROBLEM, found, "Stop that program, or the nodes of these ports cannot start.")
    first, last = record.nodes[0].port, record.nodes[-1].rpc_port
    return Check("ports", Verdict.FINE, f"{first} to {last}")


def _check_health(folder: NetworkFolder, record: NetworkRecord, now: float) -> Iterator[Check]:
    """Ask the nodes that run."""
    calls = Calls(folder)
    nodes = running(record)
    answers = dict(zip((node.id for node in nodes), calls.of_each(nodes, lambda node: _ask(calls, node)), strict=True))
    for node in nodes:
        answer = answers[node.id]
        if isinstance(answer, str):
            datadir = folder.datadir(node.id)
            advice = "Look at it where it runs."
            if datadir is not None:
                advice = f"Read {datadir}/debug.log; then {folder.hint(f'kill {node.id}')} and start it again."
            yield Check(f"node {node.id}", Verdict.PROBLEM, answer, advice)
        elif not answer.peers and expected_peers(record, node):
            yield Check(f"node {node.id}", Verdict.NOTICE, "it has no peers", "Is anyone it knows running?")
    healthy = [(node, answer) for node in nodes if not isinstance(answer := answers[node.id], str)]
    if not healthy:
        return
    heights = sorted({answer.height for _, answer in healthy})
    span = str(heights[0]) if len(heights) == 1 else f"{heights[0]} to {heights[-1]}"
    yield Check("nodes", Verdict.FINE, f"{len(healthy)} answer, at height {span}")
    groups = record.partition or (tuple(range(len(record.nodes))),)
    if record.partition:
        found = f"cut into {len(groups)} groups"
        yield Check("partition", Verdict.NOTICE, found, f"Join them: {folder.hint('heal')}")
    if record.lines:
        bad = f"{len(record.lines)} of them are bad on purpose"
        yield Check("lines", Verdict.NOTICE, bad, f"Mend them: {folder.hint('heal')}")
    if skewed := [str(node.id) for node in record.nodes if node.skew]:
        wrong = f"set wrong on purpose on node {', '.join(skewed)}"
        yield Check("clocks", Verdict.NOTICE, wrong, f"Set them right: {folder.hint('heal')}")
    for group in groups:
        members = [node for node, _ in healthy if node.id in group]
        if members:
            yield _check_tip(calls, members)
    newest = max(answer.time for _, answer in healthy)
    if newest > now + (LOCAL.max_future_seconds or 0):
        found = f"the newest block is {newest - now:.0f} s ahead of this machine's clock"
        if skewed:
            yield Check(
                "clock", Verdict.NOTICE, found, "A node's clock was set ahead: those that are right wait for it."
            )
        else:
            yield Check("clock", Verdict.PROBLEM, found, "Was the clock set back? Nodes wait until it has caught up.")


class _Answer(NamedTuple):
    """What matters of a node that answers."""

    height: int
    peers: int
    time: int
    """Of its newest block, in UNIX seconds."""


def _ask(calls: Calls, node: NodeRecord) -> _Answer | str:
    """Return what matters of a node, or the sentence that says why it cannot be had."""
    try:
        chain = calls.ask(node, BlockchainInfo, "getblockchaininfo")
        peers = calls.ask(node, NetworkInfo, "getnetworkinfo").connections
    except (Unavailable, CallRefused) as error:
        return str(error)
    return _Answer(chain.blocks, peers, chain.time)


def _check_tip(calls: Calls, nodes: list[NodeRecord]) -> Check:
    who = f"nodes {' '.join(str(node.id) for node in nodes)}" if len(nodes) > 1 else f"node {nodes[0].id}"
    try:
        if wait_for_one_tip(calls, nodes, SETTLE_SECONDS):
            return Check("one tip", Verdict.FINE, who)
    except (Unavailable, CallRefused) as error:
        return Check("one tip", Verdict.PROBLEM, str(error), "Look again.")
    advice = f"Where two branches have equal work, the next block decides: {calls.folder.hint(f'mine {nodes[0].id} 1')}"
    return Check("one tip", Verdict.PROBLEM, f"{who} are on different tips", advice)
