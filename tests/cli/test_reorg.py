"""`dure reorg` where it is refused: before anything has changed, with the reason. It is done in tests/e2e."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from cli.reorg import _tell
from devnet.double_spend import DoubleSpend
from devnet.reorg import Reorganized, Returned, UndoneBlock
from rpc.encoding import Dure
from tests.cli.test_commands import answers, dure
from tests.support.network import FakeNodes, Refusal, fake_network


def unknown(_node: int, _params: list[Any]) -> Any:
    raise Refusal(-5, "Invalid or non-wallet transaction id")


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNodes]:
    monkeypatch.setenv("DURE_DIR", str(tmp_path / "net"))
    monkeypatch.setenv("DURE_PROGRAM", "scripts/dure")
    with fake_network(tmp_path / "net", 3, **answers(gettransaction=unknown)) as nodes:
        yield nodes


REFUSED = [
    ("--depth 1001", 2, "1 to 1000 blocks deep"),
    ("--depth 0", 2, "0 is not in the range"),
    ("", 2, "Missing option '--depth'"),
    ("--depth 7", 1, "The chain has 7 blocks: it can be undone 6 deep at most."),
    ("--depth 1 --node 9", 2, "no node 9"),
    ("--depth 1 --drop ff", 2, "'ff' is no id of a transaction"),
    (f"--depth 1 --drop {'ab' * 32}", 1, "No wallet of this network that runs has made the payment abab"),
]


def test_what_cannot_be_done_is_refused_and_nothing_changes(network: FakeNodes) -> None:
    for command, status, words in REFUSED:
        result = dure("reorg", *command.split())
        assert (command, result.exit_code) == (command, status)
        assert words in result.stderr
    assert network.calls_of("setpartition") == []
    assert network.calls_of("generateblock") == []


def test_a_network_that_is_cut_or_whose_nodes_are_paused_or_down_is_refused(network: FakeNodes) -> None:
    dure("partition", "0")
    assert "scripts/dure heal" in dure("reorg", "--depth", "1").stderr
    dure("heal")
    dure("pause", "1")
    assert dure("reorg", "--depth", "1").exit_code == 69
    dure("kill", "1", "2")
    assert "It takes two nodes" in dure("reorg", "--depth", "1").stderr


def test_if_no_block_is_found_the_node_is_joined_again(network: FakeNodes) -> None:
    def refuse(_node: int, _params: list[Any]) -> Any:
        raise Refusal(-1, "no")

    network.answers["getblockhash"] = "cc" * 32
    network.answers["generateblock"] = refuse
    result = dure("reorg", "--depth", "1", "--node", "1")
    assert result.exit_code == 1
    assert "Node 1 refused: no" in result.stderr
    peers = [node.peer_address for node in network.folder.load().nodes]
    assert network.calls_of("setpartition") == [
        (0, [[peers[1]]]), (1, [[peers[0], peers[2]]]), (2, [[peers[1]]]), (0, [[]]), (1, [[]]), (2, [[]]),
    ]  # fmt: skip
    assert network.folder.load().partition == ()


def test_everything_that_happened_is_told() -> None:
    from cli.context import Context

    context = Context()
    context.given_folder = "net"
    dropped, rival, double = ("aa" * 32, "bb" * 32, "cc" * 32)
    done = Reorganized(
        node=2,
        fork_height=10,
        fork="00" * 32,
        branch=("11" * 32, "22" * 32),
        undone=(UndoneBlock(11, "33" * 32, Dure(5_000_000_000)),),
        payments=Returned(waiting=("44" * 32,), confirmed=("55" * 32, "66" * 32), gone=(rival,)),
        double_spend=DoubleSpend(2, dropped, rival, double, "00"),
        seconds=1.25,
    )
    told = _tell(context, done)
    for words in (
        "Node 2 was cut off, and built 2 blocks on block 10.",
        "That is more work than the 1 block that the others had there.",
        "  11  333333333333…  its reward of 50.00000000 DURE is gone",
        f"Dropped: {dropped}.",
        f"one that it descends from is dropped in its place:\n  {rival}.",
        f"  {double}. Whoever was paid has nothing.",
        "Back in the mempool, for the next block: 1 payment (444444444444…).",
        "In a block of the new chain already: 2 payments (555555555555… and 666666666666…).",
        "Gone, for they spent what is gone: 1 payment (bbbbbbbbbbbb…).",
        "logs 0 --dir net",
    ):
        assert words in told
    assert main.commands["reorg"].help
