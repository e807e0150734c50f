"""`dure watch` over a real network: what happens is told as it happens, recorded, and told again by a replay."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from devnet.folder import NetworkFolder, wait_until
from devnet.launcher import is_alive
from tests.e2e.test_network import Dure, one_tip
from tests.support.repository import ROOT
from tests.support.terminal import Terminal

pytestmark = pytest.mark.e2e

PATIENCE = 120.0


@pytest.fixture
def dure(tmp_path: Path) -> Iterator[Dure]:
    command = Dure(tmp_path / "net")
    try:
        command.run("up", "-n", "4", "--miners", "0", "--detach")
        yield command
    finally:
        if (command.folder / "network.json").exists():
            command.run("down")


class Told:
    """What a `dure watch` in a pipe has written so far."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def until(self, *sentences: str) -> None:
        """Wait until all of these were told, each after the one before."""

        def is_told() -> bool:
            at = 0
            text = self._path.read_text()
            for sentence in sentences:
                at = text.find(sentence, at)
                if at < 0:
                    return False
            return True

        assert wait_until(is_told, PATIENCE, step=0.1), f"{sentences} not in:\n{self._path.read_text()}"


def follow(dure: Dure, output: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(dure.command("watch"), env=dure.environment, stdout=output, stderr=output)


def test_a_fork_is_told_as_it_opens_and_heals_and_again_by_a_replay(dure: Dure, tmp_path: Path) -> None:
    told = Told(tmp_path / "told")
    with (tmp_path / "told").open("wb") as output:
        watch = follow(dure, output)
        try:
            told.until("Here are 4 nodes. At height")
            dure.run("partition", "0 1 | 2 3")
            told.until("The network is cut into 0 1 | 2 3")
            dure.run("send", "0", "1", "1.5")
            told.until("Node 0 made payment")
            dure.run("mine", "0", "2")
            dure.run("mine", "3", "4")
            told.until("There are 2 branches since block")
            seen = dure.json("watch", "--once")
            assert len({node["tip"] for node in seen["nodes"]}) == 2
            cut_at = seen["nodes"][0]["height"] - 2
            assert {block["finder"] for block in seen["blocks"] if block["height"] > cut_at} == {0, 3}
            dure.run("heal")
            told.until(
                "The network is whole again.", "left 2 blocks after block", "1 payment waits for a block again",
                "All are on one branch again",
            )  # fmt: skip
            dure.run("kill", "2")
            told.until("Node 2 is down: it was killed")
            dure.run("start", "2")
            one_tip(dure, (0, 1, 2, 3))
            told.until("Node 2 is down", "Node 2 runs at height")
            dure.run("down")
            told.until("No node runs any more.")
            assert watch.wait(PATIENCE) == 0
        finally:
            watch.kill()
            watch.wait()
    lines = (tmp_path / "told").read_text().splitlines()
    assert all(line[:9].replace(":", "").strip().isdigit() for line in lines[:-1])
    replayed = dure.run("watch", "--replay", "--speed", "5000").stdout.splitlines()
    assert replayed == lines[:-1], "what was told live is what is told again"
    assert "lost: 2 rewards" in dure.run("watch", "--replay", "--once").stdout


def test_ctrl_c_ends_the_view_of_a_pipe_too_and_no_node(dure: Dure, tmp_path: Path) -> None:
    told = Told(tmp_path / "told")
    with (tmp_path / "told").open("wb") as output:
        watch = follow(dure, output)
        try:
            told.until("Here are 4 nodes.")
            watch.send_signal(signal.SIGINT)
            assert watch.wait(PATIENCE) == 0
        finally:
            watch.kill()
            watch.wait()
    assert "Traceback" not in (tmp_path / "told").read_text()
    assert [node["state"] for node in dure.nodes()] == ["running"] * 4


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="scripts/up would make an environment of its own")
def test_scripts_up_on_a_terminal_shows_the_view_and_leaves_the_network(tmp_path: Path) -> None:
    folder = NetworkFolder(tmp_path / "net")
    terminal = Terminal(ROOT / "scripts" / "up", "-n", "2", "--dir", str(folder.path))
    try:
        terminal.until("q leaves the view; the nodes go on.")
        terminal.interrupt()
        terminal.until("You left the view; the network goes on.")
        assert terminal.ended() == 0
        assert all(is_alive(node) for node in folder.load().nodes)
        recorded = (folder.path / "watch.jsonl").read_bytes().splitlines()
        assert json.loads(recorded[0])["type"] == "whole"
    finally:
        terminal.close()
        Dure(folder.path).run("down")
