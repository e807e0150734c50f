"""The dure command with $DURE_NODE: every command talks to those nodes, or says in a sentence why it cannot."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from tests.cli.test_commands import TIP, answers
from tests.support.network import FakeNodes, fake_network, record_of, save_network


def dure(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNodes]:
    """Two nodes that are known by their URLs alone."""
    with fake_network(tmp_path / "elsewhere", 2, **answers()) as nodes:
        ports = [node.rpc_port for node in nodes.folder.load().nodes]
        monkeypatch.setenv("DURE_NODE", " ".join(f"http://dure:local-only@127.0.0.1:{port}" for port in ports))
        monkeypatch.delenv("DURE_DIR", raising=False)
        monkeypatch.chdir(tmp_path)
        yield nodes


def test_status_shows_them(remote: FakeNodes) -> None:
    nodes = json.loads(dure("status", "--json").stdout)["nodes"]
    assert [(node["state"], node["height"], node["tip"]) for node in nodes] == [("running", 7, TIP)] * 2
    assert [(node["datadir"], node["pid"]) for node in nodes] == [(None, None)] * 2
    assert "local-only" not in dure("status", "--json").stdout


def test_one_that_does_not_answer_is_unreachable(remote: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURE_NODE", os.environ["DURE_NODE"] + " http://dure:local-only@127.0.0.1:1")
    nodes = json.loads(dure("status", "--json").stdout)["nodes"]
    assert [node["state"] for node in nodes] == ["running", "running", "unreachable"]
    monkeypatch.setenv("DURE_NODE", "http://dure:local-only@127.0.0.1:1")
    assert "None of the nodes that $DURE_NODE names answers." in dure("status").stdout
    result = dure("rpc", "0", "getblockcount")
    assert (result.exit_code, "does not answer" in result.stderr) == (69, True)


def test_coins_move_between_them(remote: FakeNodes) -> None:
    assert dure("send", "0", "1", "2.5").exit_code == 0
    assert remote.calls_of("sendtoaddress") == [(0, ["address of 1", "2.50000000"])]
    assert dure("send", "1", "whatever the node says of it", "1").exit_code == 0
    assert dure("fund", "0", "5").exit_code == 0
    assert remote.calls_of("sendtoaddress")[-1] == (1, ["address of 0", "5.00000000"])
    assert len(json.loads(dure("balance", "--json").stdout)["balances"]) == 2


def test_blocks_are_found_and_methods_called(remote: FakeNodes) -> None:
    remote.answers["generatetoaddress"] = ["b1"]
    assert dure("mine", "1", "1").exit_code == 0
    assert remote.calls_of("generatetoaddress") == [(1, [1, "address of 1"])]
    assert dure("rpc", "1", "getbestblockhash").stdout == TIP + "\n"


def test_doctor_looks_at_them(remote: FakeNodes) -> None:
    checks = {check["name"]: check for check in json.loads(dure("doctor", "--json").stdout)["checks"]}
    assert checks["nodes"]["found"] == "2 answer, at height 7"
    assert {"disk", "ports", "network"}.isdisjoint(checks)


@pytest.mark.parametrize(
    "command",
    [
        "up", "up --detach --fresh", "down", "kill 0", "stop 0", "start 0", "pause 0", "resume 0", "partition 0",
        "heal", "logs", "logs -f 1",
    ],
)  # fmt: skip
def test_what_needs_processes_or_folders_says_so_and_does_nothing(remote: FakeNodes, command: str) -> None:
    result = dure(*command.split())
    assert result.exit_code == 1
    assert "$DURE_NODE names nodes that run elsewhere" in result.stderr
    assert remote.asked == []
    assert not Path(".dure").exists()


def test_a_folder_that_is_named_goes_first(remote: FakeNodes, tmp_path: Path) -> None:
    save_network(tmp_path / "here", record_of(1))
    assert '"stopped"' in dure("status", "--json", "--dir", str(tmp_path / "here")).stdout
    assert remote.asked == []


def test_a_variable_that_names_no_node_is_a_sentence_and_status_78(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURE_NODE", "127.0.0.1:1")
    result = dure("status")
    assert result.exit_code == 78
    assert "Write it as http://dure:PASSWORD@HOST:PORT" in result.stderr
