"""Bad lines and wrong clocks by command: what each node is told, what is printed, what is taken back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cli.test_commands import answers, dure
from tests.support.network import FakeNodes, Refusal, chain_info, fake_network


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNodes]:
    monkeypatch.setenv("DURE_DIR", str(tmp_path / "net"))
    monkeypatch.setenv("DURE_PROGRAM", "scripts/dure")
    with fake_network(tmp_path / "net", 3, **answers()) as nodes:
        yield nodes


def test_delay_tells_both_ends_and_off_takes_it_back(network: FakeNodes) -> None:
    peer = [node.peer_address for node in network.folder.load().nodes]
    told = dure("delay", "0", "1", "200ms", "--jitter", "50ms").stdout
    assert network.calls_of("setlinkconditions") == [
        (0, [{peer[1]: {"delay_ms": 200, "jitter_ms": 50}}]),
        (1, [{peer[0]: {"delay_ms": 200, "jitter_ms": 50}}]),
    ]
    assert "Between nodes 0 and 1, each way: 200 ms (± 50 ms) later." in told
    assert "scripts/dure delay 0 1 off" in told
    network.asked.clear()
    assert "Nothing happens any more" in dure("delay", "0", "1", "off").stdout
    assert network.calls_of("setlinkconditions") == [(0, [{}]), (1, [{}])]
    assert network.folder.load().lines == ()


def test_one_way_tells_the_sender_only(network: FakeNodes) -> None:
    peer = [node.peer_address for node in network.folder.load().nodes]
    dure("bandwidth", "2", "0", "1mbit", "--one-way")
    assert network.calls_of("setlinkconditions") == [(2, [{peer[0]: {"bits_per_second": 1_000_000}}])]


def test_skew_takes_a_minus_and_tells_only_the_nodes_that_are_meant(network: FakeNodes) -> None:
    assert "The clock of node 1 is 90 s behind." in dure("skew", "1", "-90s").stdout
    assert network.calls_of("setclockskew") == [(1, [-90])]
    assert "The clocks of nodes 0 to 2 are 1 h ahead." in dure("skew", "all", "+1h").stdout
    assert "is right." in dure("skew", "0", "off").stdout
    assert [node.skew for node in network.folder.load().nodes] == [0, 3_600, 3_600]


def test_status_shows_every_fault_in_words_and_as_json(network: FakeNodes) -> None:
    for command in ("loss 0 1 10%", "delay 0 1 1s --one-way", "skew 2 -2h", "partition 0"):
        assert dure(*command.split()).exit_code == 0
    shown = dure("status").stdout
    for words in (
        "From node 0 to node 1: 1 s later, 10 % lost.",
        "From node 1 to node 0: 10 % lost.",
        "The clock of node 2 is 2 h behind.",
        "Mend all: scripts/dure heal",
        'Cut into "0 | 1 2"',
    ):
        assert words in shown
    line = {"from": 0, "to": 1, "delay_ms": 1_000, "jitter_ms": 0, "loss_ppm": 100_000, "bits_per_second": None}
    assert json.loads(dure("status", "--json").stdout)["faults"] == {
        "partition": [[0], [1, 2]],
        "lines": [line, {**line, "from": 1, "to": 0, "delay_ms": 0}],
        "clocks": [{"node": 2, "seconds": -7_200}],
    }


def test_lines_that_are_alike_are_told_in_one_sentence_and_of_very_many_sentences_some(tmp_path: Path) -> None:
    with fake_network(tmp_path, 6, **answers()):
        dure("--dir", str(tmp_path), "loss", "all", "all", "1%")
        shown = dure("--dir", str(tmp_path), "status").stdout
        assert (
            "Between nodes 0-1, 0-2, 0-3, 0-4, 0-5, 1-2, 1-3, 1-4, 1-5, 2-3, 2-4, 2-5, … (15 in all), each way" in shown
        )
        for pair in ("0 1", "0 2", "0 3", "0 4", "1 2", "1 3", "1 4", "2 3", "2 4"):
            dure("--dir", str(tmp_path), "delay", *pair.split(), f"{pair.replace(' ', '')}ms")
        assert "And 3 such sentences more" in dure("--dir", str(tmp_path), "status").stdout


def test_what_is_left_is_told_when_something_is_taken_back(network: FakeNodes) -> None:
    dure("loss", "0", "1", "10%")
    dure("delay", "0", "1", "1s")
    said = dure("delay", "0", "1", "off").stdout
    assert said == "What is left:\nBetween nodes 0 and 1, each way: 10 % lost.\nMend all: scripts/dure heal\n"


def test_heal_mends_all_that_is_bad_in_one_go(network: FakeNodes) -> None:
    for command in ("loss 0 1 10%", "skew 2 -2h", "partition 0"):
        dure(*command.split())
    network.asked.clear()
    told = dure("heal").stdout
    for words in ("whole again", "All lines are good again.", "The clock of node 2 is right again."):
        assert words in told
    assert network.calls_of("setpartition") == [(node, [[]]) for node in range(3)]
    assert network.calls_of("setlinkconditions") == [(node, [{}]) for node in range(3)]
    assert network.calls_of("setclockskew") == [(node, [0]) for node in range(3)]
    assert not network.folder.load().is_disturbed
    assert dure("heal").exit_code == 1


def test_heal_mends_what_was_told_by_hand(network: FakeNodes) -> None:
    network.answers["getlinkconditions"] = lambda node, _params: {"127.0.0.1:9": {"loss_ppm": 5}} if node == 1 else {}
    network.answers["getclockskew"] = lambda node, _params: 60 if node == 2 else 0
    healed = json.loads(dure("heal", "--json").stdout)
    assert (healed["lines"], healed["clocks"]) == (1, [2])
    assert network.calls_of("setlinkconditions") == [(node, [{}]) for node in range(3)]


def test_heal_says_how_long_blocks_of_a_clock_that_was_ahead_are_held_back(network: FakeNodes) -> None:
    dure("skew", "0", "+1h")
    ahead = int(time.time()) + 3_600

    def dated(node: int, _params: list[Any]) -> Any:
        if node == 0:
            return msgspec.structs.replace(chain_info(9, "bb", 12), time=ahead)
        return chain_info(7, "aa", 10)

    network.answers["getblockchaininfo"] = dated
    network.answers["getbestblockhash"] = lambda node, _p: "bb" if node == 0 else "aa"
    value = json.loads(dure("heal", "--json").stdout)
    assert 3_400 < value["early"] <= 3_480
    assert not value["one_tip"]


def test_doctor_tells_trouble_on_purpose_from_trouble(network: FakeNodes) -> None:
    network.answers["getblockchaininfo"] = lambda _node, _p: msgspec.structs.replace(
        chain_info(9, "bb", 12), time=int(time.time()) + 3_600
    )
    clock = [check for check in json.loads(dure("doctor", "--json").stdout)["checks"] if "newest block" in str(check)]
    assert [check["verdict"] for check in clock] == ["problem"]
    dure("skew", "0", "+1h")
    dure("loss", "0", "1", "1%")
    checks = json.loads(dure("doctor", "--json").stdout)["checks"]
    clock = [check for check in checks if "newest block" in str(check)]
    assert [check["verdict"] for check in clock] == ["notice"]
    assert {check["name"] for check in checks} >= {"lines", "clocks"}


NONSENSE = (
    "delay 0 1 200", "delay 0 0 1s", "delay 0 3 1s", "delay 0 1 2m", "delay 0 1 1s --jitter 2s",
    "delay 0 1 off --jitter 1s", "loss 0 1 10", "loss 0 1 91%", "bandwidth 0 1 1mb", "bandwidth 0 1 1bit",
    "skew 3 1s", "skew 0 1", "skew 0 +367d",
)  # fmt: skip


def test_what_makes_no_sense_is_a_mistake_of_usage_and_changes_nothing(network: FakeNodes) -> None:
    for command in NONSENSE:
        result = dure(*command.split())
        assert (command, result.exit_code) == (command, 2)
        assert result.stderr.strip()
    assert network.asked == []
    assert not network.folder.load().is_disturbed


def test_conditions_that_one_node_does_not_take_are_undone_on_the_others(network: FakeNodes) -> None:
    def stubborn(node: int, params: list[Any]) -> Any:
        if node == 1 and params != [{}]:
            raise Refusal(-1, "no")

    network.answers["setlinkconditions"] = stubborn
    assert dure("delay", "0", "1", "1s").exit_code == 1
    assert network.calls_of("setlinkconditions")[-2:] == [(0, [{}]), (1, [{}])]
    assert network.folder.load().lines == ()
