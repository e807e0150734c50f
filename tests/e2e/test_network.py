"""A network of five real daemons, used as a person does: by the dure command.

The tests of this file share the network and follow one another; each leaves it whole and running. Nothing sleeps to let
time pass: what has to become true is asked for until it is, and the deadlines are far longer than any machine needs.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner

from cli.main import main
from devnet.folder import HOST, NetworkFolder, wait_until
from devnet.launcher import is_alive
from devnet.logs import read_logs

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0
"""Seconds for what takes a few."""

T = TypeVar("T")


class Dure:
    """The dure command, in a process of its own, on one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "DURE_PROGRAM": "scripts/dure"}
        self.environment.pop("DURE_DIR", None)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "cli.main", "--dir", str(self.folder), *arguments]

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command; it must end with `status`, and whatever it says is no traceback."""
        done = subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        if status:
            assert done.stderr.strip()
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def ask(self, *arguments: str) -> Any:
        """Run a command that only looks, in this process: what is asked again and again should be quick."""
        result = CliRunner().invoke(main, ["--dir", str(self.folder), "--json", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def nodes(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self.ask("status")["nodes"]
        return nodes

    def events(self, node: int) -> list[str]:
        """Return the names of all events in a node's log."""
        return [line.fields["event"] for line in read_logs(NetworkFolder(self.folder), [node])]

    def wealth(self, node: int) -> float:
        """Return all that a wallet has, confirmed or not, ripe or not."""
        [held] = self.ask("balance", str(node))["balances"]
        return float(held["confirmed"] + held["pending"] + held["immature"])


def eventually(what: str, ask: Callable[[], T | None]) -> T:
    """Ask until the answer is something; that is the answer."""
    answer: T | None = None

    def is_there() -> bool:
        nonlocal answer
        answer = ask()
        return bool(answer)

    assert wait_until(is_there, PATIENCE, step=0.2), f"never: {what}"
    assert answer is not None
    return answer


def one_tip(dure: Dure, numbers: tuple[int, ...] = (0, 1, 2, 3, 4)) -> list[dict[str, Any]]:
    """Wait until these nodes run and have one tip; return the status of all."""

    def ask() -> list[dict[str, Any]] | None:
        nodes = dure.nodes()
        chosen = [nodes[number] for number in numbers]
        agreed = len({node["tip"] for node in chosen}) == 1 and all(node["state"] == "running" for node in chosen)
        return nodes if agreed else None

    return eventually(f"one tip of nodes {numbers}", ask)


def family(pids: set[int]) -> set[int]:
    """Return those of these processes that live, and all that descend from them."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,state="], capture_output=True, text=True, check=True).stdout
    living = (line.split() for line in listed.splitlines() if "Z" not in line.split()[2])
    parents = {int(pid): int(parent) for pid, parent, *_ in living}
    found = {pid for pid in pids if pid in parents}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


@pytest.fixture(scope="module")
def dure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dure]:
    command = Dure(tmp_path_factory.mktemp("network") / "net")
    try:
        command.run("up", "-n", "5", "--miners", "2", "--detach")
        yield command
    finally:
        if (command.folder / "network.json").exists():
            command.run("down")


def test_up_brings_five_connected_nodes_to_one_tip_with_funded_wallets(dure: Dure) -> None:
    one_tip(dure)
    nodes = dure.json("status")["nodes"]
    assert [node["id"] for node in nodes] == [0, 1, 2, 3, 4]
    assert all(node["peers"] == 4 for node in nodes)
    assert all(len(node["tip"]) == 64 and node["height"] >= 15 for node in nodes)
    eventually("every wallet can pay", lambda: all((node["balance"] or 0) > 0 for node in dure.nodes()))
    record = NetworkFolder(dure.folder).load()
    assert [node.id for node in record.nodes if node.mines] == [0, 4]


def test_a_payment_arrives_with_the_next_block(dure: Dure) -> None:
    before = dure.wealth(3)
    paid = dure.json("send", "0", "3", "12.5")
    assert paid["amount"] == 12.5
    dure.run("mine", "1", "1")

    eventually("the wallet of node 3 has seen it", lambda: dure.wealth(3) == before + 12.5)
    eventually("it is confirmed", lambda: dure.ask("rpc", "3", "gettransaction", paid["txid"])["confirmations"] >= 1)
    assert dure.wealth(3) == before + 12.5


def test_what_cannot_be_done_is_a_sentence_and_a_status(dure: Dure) -> None:
    assert "is running" in dure.run("up", status=1).stderr
    refused = dure.run("send", "0", "3", "20000000", status=1).stderr
    assert refused.startswith("Node 0 refused:")
    assert "mistyped" in dure.run("send", "0", "ldure1" + "q" * 59, "1", status=1).stderr
    assert "no node 7" in dure.run("send", "0", "7", "1", status=2).stderr
    dure.run("send", "0", "3", "much", status=2)
    dure.run("juggle", status=2)
    assert "error -8" in dure.run("rpc", "0", "getblockhash", "1000000", status=1).stderr
    assert "There is no network" in dure.run("status", "--dir", str(dure.folder / "other"), status=1).stderr


def test_a_fork_is_resolved_and_no_coin_is_lost_or_doubled(dure: Dure) -> None:
    #   fork ── a1 ...              nodes 0 and 1, while apart
    #      └─── b1 ── b2 ...        nodes 2, 3 and 4
    #   Miners are at work on both sides, so either may win; whoever loses logs the reorg.
    def reorgs() -> list[int]:
        return [dure.events(node).count("reorg_done") for node in range(5)]

    start = max(node["height"] for node in one_tip(dure))
    before = reorgs()  # the burst of the start may have had some
    dure.run("partition", "0 1 | 2 3 4")
    dure.run("mine", "1", "1")
    dure.run("mine", "3", "2")
    left, right = (one_tip(dure, side)[side[0]] for side in ((0, 1), (2, 3, 4)))
    assert left["tip"] != right["tip"]
    assert min(left["height"], right["height"]) > start

    healed = dure.json("heal")
    if healed["undecided"]:
        dure.run("mine", "2", "1")
    one_tip(dure)

    def losers() -> list[int]:
        changed = {node for node, (was, is_) in enumerate(zip(before, reorgs(), strict=True)) if is_ > was}
        return next((list(side) for side in ((0, 1), (2, 3, 4)) if changed >= set(side)), [])

    loser = eventually("a reorg is in every log of the side with less work", losers)[0]
    told = dure.run("logs", str(loser)).stdout
    assert "reorg_done (now on the other branch" in told
    assert "mining rewards were lost" in told

    def same_books() -> list[dict[str, Any]] | None:
        books = [dure.ask("rpc", str(node), "gettxoutsetinfo") for node in range(5)]
        return books if len({book["bestblock"] for book in books}) == 1 else None

    books = eventually("the books of all nodes at one tip", same_books)
    assert len({book["state_hash"] for book in books}) == 1
    assert len({book["total_amount"] for book in books}) == 1
    assert books[0]["total_amount"] == books[0]["supply"] == 50 * books[0]["height"]


def test_a_node_that_was_killed_while_mining_comes_back_and_catches_up(dure: Dure) -> None:
    pids = family({dure.nodes()[4]["pid"]})
    assert len(pids) > 1  # the daemon, and its miner
    dure.run("kill", "4")
    assert not family(pids)
    assert dure.nodes()[4]["state"] == "crashed"
    assert "start 4" in dure.run("send", "4", "0", "1", status=69).stderr
    assert dure.run("doctor", status=1).stdout.count("✗") == 1
    dure.run("mine", "1", "2")
    height = dure.nodes()[1]["height"]
    dure.run("start", "4")
    assert one_tip(dure)[4]["height"] >= height


def test_a_paused_node_falls_silent_and_goes_on(dure: Dure) -> None:
    dure.run("pause", "2")
    assert dure.nodes()[2]["state"] == "paused"
    dure.run("mine", "1", "1")
    height = dure.nodes()[1]["height"]
    dure.run("resume", "2")
    assert one_tip(dure)[2]["height"] >= height


def test_doctor_finds_a_healthy_network_well(dure: Dure) -> None:
    one_tip(dure)
    assert "All is well." in dure.run("doctor").stdout


def test_logs_of_all_nodes_are_in_the_order_of_time(dure: Dure) -> None:
    lines = [json.loads(line) for line in dure.run("logs", "--json").stdout.splitlines()]
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    assert {line["node"] for line in lines} == {0, 1, 2, 3, 4}


def test_down_leaves_no_process_and_up_resumes_what_was(dure: Dure) -> None:
    nodes = one_tip(dure)
    pids = family({node["pid"] for node in nodes})
    wealth = dure.wealth(2)
    dure.run("down")
    assert not family(pids)
    assert [node["state"] for node in dure.nodes()] == ["stopped"] * 5

    record = NetworkFolder(dure.folder).load()
    with socket.socket() as other:
        other.bind((HOST, record.nodes[3].rpc_port))
        other.listen()
        assert f"Port {record.nodes[3].rpc_port}" in dure.run("up", "--detach", status=69).stderr
    settings = dure.folder / "node1" / "dured.toml"
    good = settings.read_text()
    settings.write_text(good + "colour = 1\n")
    assert "colour" in dure.run("up", "--detach", status=78).stderr
    assert not any(map(is_alive, NetworkFolder(dure.folder).load().nodes))

    settings.write_text(good)
    dure.run("up", "--detach")
    again = one_tip(dure)
    assert again[0]["height"] >= nodes[0]["height"]
    assert dure.wealth(2) == wealth  # node 2 mines not: what it had, it has


def up_until(
    dure: Dure, words: str, *arguments: str, ending: signal.Signals = signal.SIGINT
) -> tuple[set[int], str, int]:
    """Start a network without --detach, and press Ctrl-C (or send another signal) when `words` appear.

    Returns:
        The processes that ran then, what was said afterwards, and the exit status.
    """
    with subprocess.Popen(
        dure.command("up", *arguments),
        env=dure.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as up:
        try:
            assert up.stdout is not None
            said: list[str] = []
            while words not in (line := up.stdout.readline()):
                assert line, "".join(said)
                said.append(line)
            record = NetworkFolder(dure.folder).load()
            pids = family({node.process.pid for node in record.nodes if node.process is not None})
            up.send_signal(ending)
            return pids, up.communicate(timeout=PATIENCE)[0], up.wait()
        except BaseException:
            up.kill()
            dure.run("down")
            raise


def test_ctrl_c_ends_a_network_that_was_not_detached_and_fresh_makes_another(tmp_path: Path) -> None:
    dure = Dure(tmp_path / "net")
    pids, said, status = up_until(dure, "Ctrl-C", "-n", "2", "--miners", "0", "--topology", "line")
    assert len(pids) >= 2
    assert not family(pids)
    assert status == 0
    assert "Stopped. Resume it: scripts/dure up --dir" in said
    before = NetworkFolder(dure.folder).load()

    try:
        again = dure.json("up", "--fresh", "-n", "1", "--detach")
        assert again["tag"] != before.tag
        assert len(dure.nodes()) == 1
        assert not (dure.folder / "node1").exists()
    finally:
        dure.run("down")


def test_a_start_that_is_interrupted_leaves_nothing_behind(tmp_path: Path) -> None:
    dure = Dure(tmp_path / "net")
    pids, said, status = up_until(dure, "Finding the first blocks", "-n", "3")
    assert len(pids) >= 3
    assert not family(pids)
    assert status == 130
    assert "Interrupted: the nodes that had been started are stopped again." in said
    assert "Traceback" not in said
    assert "Aborted" not in said
    assert [path.name for path in dure.folder.iterdir()] == [".lock"]


def test_a_start_that_was_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    dure = Dure(tmp_path / "net")
    left, _, status = up_until(dure, "Finding the first blocks", "-n", "2", ending=signal.SIGKILL)
    assert status == -signal.SIGKILL
    tag = NetworkFolder(dure.folder).load().tag
    try:
        assert family(left)
        assert "has nodes 2, not 3" in dure.run("up", "--detach", "-n", "3", status=1).stderr
        assert family(left)
        assert dure.json("up", "--detach")["tag"] == tag
        assert not family(left)
        assert all(node["state"] == "running" for node in dure.nodes())
        eventually("every wallet can pay", lambda: all((node["balance"] or 0) > 0 for node in dure.nodes()))
        assert "is running" in dure.run("up", "--detach", status=1).stderr
    finally:
        dure.run("down")
