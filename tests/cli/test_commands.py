"""The dure command against nodes that answer as they are told: what it prints, asks, and how it ends."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from cli.main import main
from consensus.address import encode_address
from consensus.params import LOCAL, REGTEST
from consensus.types import LockId
from devnet.processes import sight
from rpc.encoding import Dure
from rpc.schema import Policies, RememberedPolicy
from tests.support.network import FakeNodes, Refusal, balances_of, chain_info, fake_network, record_of, save_network

TIP = "00" * 4 + "ab" * 28
ADDRESS = encode_address(LOCAL, LockId(bytes(range(32))))


def policies_of(*names: str) -> Policies:
    none: Any = {"keys": [], "branches": [], "coins": []}
    nothing: Any = {"assets": [], "confirmed": Dure(0), "pending": Dure(0), "immature": Dure(0)}
    known = [RememberedPolicy(name=name, address=ADDRESS, policy="", **none, **nothing) for name in names]
    return Policies(policies=known, withdrawals=[])


def dure(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def answers(**more: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "getblockcount": 7,
        "getblockchaininfo": chain_info(7, TIP),
        "getbestblockhash": TIP,
        "getpartition": [],
        "getlinkconditions": {},
        "getclockskew": 0,
        "getbalances": lambda node, _params: balances_of(f"{10 * node}", immature="50"),
        "getnewaddress": lambda node, _params: f"address of {node}",
        "sendtoaddress": "ff" * 32,
        "listpolicies": lambda node, _params: policies_of("board") if node == 2 else policies_of(),
        "getmempoolinfo": {
            "loaded": True, "size": 2, "bytes": 0, "usage": 0, "total_fee": 0, "maxmempool": 0, "mempoolminfee": 0,
            "minrelaytxfee": 0, "incrementalrelayfee": 0,
        },
        "getnetworkinfo": {
            "version": 0, "subversion": "", "protocolversion": 1, "localrelay": True, "timeoffset": 0,
            "networkactive": True, "connections": 2, "connections_in": 1, "connections_out": 1, "relayfee": 0,
            "incrementalfee": 0, "localaddresses": [], "known_addresses": 0, "warnings": [],
        },
    }  # fmt: skip
    return usual | more


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNodes]:
    monkeypatch.delenv("DURE_NODE", raising=False)
    monkeypatch.setenv("DURE_DIR", str(tmp_path / "net"))
    monkeypatch.setenv("DURE_PROGRAM", "scripts/dure")
    with fake_network(tmp_path / "net", 3, **answers()) as nodes:
        yield nodes


# Where there is nothing


@pytest.mark.parametrize("command", ["status", "balance", "logs", "down", "heal", "send 0 1 1", "fund 0", "mine 0 1"])
def test_without_a_network_each_command_says_how_to_start_one(command: str, tmp_path: Path) -> None:
    result = dure(*command.split(), "--dir", str(tmp_path / "none"))
    assert result.exit_code == 1
    assert "There is no network" in result.stderr
    assert f"up --dir {tmp_path / 'none'}" in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "command", ["status", "balance", "send 0 1 1", "heal", 'partition "0"', "mine 1 1", "rpc 1 help"]
)
def test_a_damaged_record_is_a_sentence_and_status_78(command: str, tmp_path: Path) -> None:
    (tmp_path / "network.json").write_text("{")
    result = dure("--dir", str(tmp_path), *command.split())
    assert result.exit_code == 78
    assert "is damaged" in result.stderr


def test_a_stopped_network_says_how_to_resume_it(tmp_path: Path) -> None:
    save_network(tmp_path, record_of(3))
    for command, status in (
        ("send 0 1 1", 69),
        ("balance", 69),
        ("kill 1", 69),
        ("partition 0", 69),
        ("rpc 0 help", 69),
    ):
        result = dure("--dir", str(tmp_path), *command.split())
        assert (command, result.exit_code) == (command, status)
        assert "stopped. " in result.stderr
    result = dure("--dir", str(tmp_path), "status", "--json")
    assert [node["state"] for node in json.loads(result.stdout)["nodes"]] == ["stopped"] * 3


# Status


def test_status_gives_exactly_the_promised_fields(network: FakeNodes) -> None:
    result = dure("status", "--json")
    assert result.exit_code == 0
    nodes = json.loads(result.stdout)["nodes"]
    assert list(nodes[2]) == [
        "id", "state", "height", "tip", "peers", "mempool", "balance", "rpc_url", "datadir", "pid",
    ]  # fmt: skip
    assert [node["id"] for node in nodes] == [0, 1, 2]
    assert (nodes[2]["state"], nodes[2]["height"], nodes[2]["tip"]) == ("running", 7, TIP)
    assert (nodes[2]["peers"], nodes[2]["mempool"], nodes[2]["balance"]) == (2, 2, 20)
    assert '"balance": 20.00000000' in result.stdout
    assert nodes[2]["datadir"] == str(network.folder.path / "node2")


@pytest.mark.parametrize("place", ["before", "after"])
def test_json_and_dir_are_taken_before_and_after_the_command(
    place: str, network: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DURE_DIR")
    options = ["--dir", str(network.folder.path), "--json"]
    result = dure(*options, "status") if place == "before" else dure("status", *options)
    assert len(json.loads(result.stdout)["nodes"]) == 3


def test_status_is_a_plain_table_where_there_is_no_terminal(network: FakeNodes) -> None:
    lines = dure("status").stdout.splitlines()
    assert lines[0].split() == ["node", "state", "height", "tip", "peers", "mempool", "balance", "mines"]
    assert lines[1].split()[:4] == ["0", "running", "7", TIP[:12] + "…"]
    assert lines[-1] == "All running nodes are on one tip."
    assert "[" not in "".join(lines)


def test_a_node_that_does_not_answer_is_starting_and_one_that_was_killed_crashed(network: FakeNodes) -> None:
    network.answers["getblockchaininfo"] = _refuse_on(1, -28, "starting")
    assert dure("kill", "2").exit_code == 0
    nodes = json.loads(dure("status", "--json").stdout)["nodes"]
    assert [node["state"] for node in nodes] == ["running", "starting", "crashed"]
    assert (nodes[1]["height"], nodes[1]["balance"]) == (None, None)
    assert nodes[1]["pid"] is not None
    assert nodes[2]["pid"] is None


def _refuse_on(which: int, code: int, message: str) -> Any:
    def answer(node: int, _params: list[Any]) -> Any:
        if node == which:
            raise Refusal(code, message)
        return chain_info(7, TIP)

    return answer


# Coins


def test_send_pays_a_new_address_of_the_other_node_and_says_what_comes_next(network: FakeNodes) -> None:
    result = dure("send", "0", "2", "12.5")
    assert result.exit_code == 0
    assert network.calls_of("sendtoaddress") == [(0, ["address of 2", "12.50000000"])]
    assert "ff" * 32 in result.stdout
    assert "The next block confirms it" in result.stdout
    assert "scripts/dure balance" in result.stdout


def test_send_as_json_gives_the_txid_and_the_amount_exactly(network: FakeNodes) -> None:
    result = dure("--json", "send", "0", "2", "0.00000001")
    assert json.loads(result.stdout)["txid"] == "ff" * 32
    assert '"amount": 0.00000001' in result.stdout


def test_send_takes_an_address_of_this_network(network: FakeNodes) -> None:
    assert dure("send", "1", ADDRESS, "1").exit_code == 0
    assert network.calls_of("sendtoaddress") == [(1, [ADDRESS, "1.00000000"])]


@pytest.mark.parametrize(
    ("to", "words"),
    [
        (ADDRESS[:-1] + ("q" if ADDRESS[-1] != "q" else "p"), "mistyped"),
        (encode_address(REGTEST, LockId(bytes(32))), "not of this network"),
    ],
)
def test_a_mistyped_address_is_refused_before_any_node_is_asked(network: FakeNodes, to: str, words: str) -> None:
    """A147: a mistyped address, or one of another network, is named as such; nothing is paid."""
    result = dure("send", "0", to, "1")
    assert result.exit_code == 1
    assert words in result.stderr
    assert network.asked == []


@pytest.mark.parametrize("to", ["nobody", "-", "board2"])
def test_a_name_that_no_wallet_knows_is_no_recipient(network: FakeNodes, to: str) -> None:
    result = dure("send", "0", to, "1")
    assert result.exit_code == 1
    assert "neither a node of this network, nor a policy that a wallet knows, nor an address" in result.stderr
    assert network.calls_of("sendtoaddress") == []


def test_send_pays_to_a_policy_by_its_name(network: FakeNodes) -> None:
    assert dure("send", "1", "board", "1").exit_code == 0
    assert network.calls_of("sendtoaddress") == [(1, [ADDRESS, "1.00000000"])]


def test_a_refusal_of_the_wallet_is_passed_on_in_its_own_words(network: FakeNodes) -> None:
    def poor(_node: int, _params: list[Any]) -> Any:
        raise Refusal(-6, "Insufficient funds: the wallet can spend 0.00000000 DURE.")

    network.answers["sendtoaddress"] = poor
    result = dure("send", "0", "1", "999")
    assert result.exit_code == 1
    assert result.stderr == "Node 0 refused: Insufficient funds: the wallet can spend 0.00000000 DURE.\n"


@pytest.mark.parametrize("amount", ["0", "-1", "1e3", "0.000000001", "NaN", "twelve", "1,5", "", "٣"])
def test_what_is_no_amount_is_a_mistake_of_usage(network: FakeNodes, amount: str) -> None:
    result = dure("send", "0", "1", "--", amount)
    assert result.exit_code == 2
    assert network.asked == []


@pytest.mark.parametrize(
    "command", ["send 3 0 1", "send 0 3 1", "fund 3", "mine 3 1", "kill 0 3", "rpc 3 help", "logs 3"]
)
def test_a_node_that_is_not_there_is_a_mistake_of_usage(network: FakeNodes, command: str) -> None:
    result = dure(*command.split())
    assert result.exit_code == 2
    assert "no node 3" in result.stderr
    assert network.asked == []
    assert dure("status").stdout.count("running") == 3 + 1


def test_fund_takes_from_the_fullest_other_wallet(network: FakeNodes) -> None:
    assert dure("fund", "2").exit_code == 0
    assert network.calls_of("sendtoaddress") == [(1, ["address of 2", "10.00000000"])]
    result = dure("fund", "2", "10.00000001")
    assert result.exit_code == 1
    assert "scripts/dure mine 2 1" in result.stderr
    assert len(network.calls_of("sendtoaddress")) == 1


def test_balance_shows_each_wallet_exactly(network: FakeNodes) -> None:
    lines = dure("balance").stdout.splitlines()
    assert lines[0].split() == ["node", "confirmed", "pending", "immature"]
    assert lines[2].split() == ["1", "10.00000000", "0.00000000", "50.00000000"]
    one = json.loads(dure("balance", "2", "--json").stdout)["balances"]
    assert one == [{"node": 2, "confirmed": 20, "pending": 0, "immature": 50, "at_policies": 0, "alarms": []}]


def test_a_paused_node_is_not_waited_for(network: FakeNodes) -> None:
    assert dure("pause", "1").exit_code == 0
    started = time.monotonic()
    for command in ("send 1 0 1", "send 0 1 1", "mine 1 1", "balance 1", "rpc 1 help", "partition 0", "pause 1"):
        result = dure(*command.split())
        assert (command, result.exit_code) == (command, 69)
        assert "Node 1 is paused. Let it go on: scripts/dure resume 1" in result.stderr
    assert time.monotonic() - started < 20
    assert [line.split()[0] for line in dure("balance").stdout.splitlines()[1:]] == ["0", "2"]
    assert dure("start", "1").exit_code == 1
    assert dure("resume", "1").exit_code == 0
    assert dure("resume", "1").exit_code == 1


# Mining


def test_mine_finds_blocks_one_by_one_and_goes_on_after_a_search_without_luck(network: FakeNodes) -> None:
    found = iter([["b1"], [], ["b2"], ["b3"]])
    network.answers["generatetoaddress"] = lambda _node, _params: next(found)
    result = dure("mine", "1", "3", "--json")
    assert json.loads(result.stdout) == {"blocks": ["b1", "b2", "b3"]}
    assert network.calls_of("generatetoaddress") == [(1, [1, "address of 1"])] * 4
    assert result.stderr == ""


def test_above_twenty_blocks_an_estimate_comes_first(network: FakeNodes) -> None:
    network.answers["generatetoaddress"] = lambda _node, _params: ["b"]
    assert "will take about" not in dure("mine", "0", "20").stderr
    assert "21 blocks will take about" in dure("mine", "0", "21").stderr
    for absurd in ("0", "99999999999999999999"):
        assert dure("mine", "0", absurd).exit_code == 2


# Trouble on purpose


def test_partition_tells_each_node_whom_to_refuse_and_heal_takes_it_back(network: FakeNodes) -> None:
    peer = [node.peer_address for node in network.folder.load().nodes]
    assert dure("partition", "0 | 1").exit_code == 0
    assert network.calls_of("setpartition") == [
        (0, [[peer[1], peer[2]]]), (1, [[peer[0], peer[2]]]), (2, [[peer[0], peer[1]]]),
    ]  # fmt: skip
    assert 'Cut into "0 | 1 | 2"' in dure("status").stdout
    network.asked.clear()
    result = dure("heal")
    assert network.calls_of("setpartition") == [(node, [[]]) for node in range(3)]
    assert "All are on one tip" in result.stdout
    assert "next block decides" not in result.stdout
    assert dure("heal").exit_code == 1


def test_heal_joins_what_was_cut_by_hand(network: FakeNodes) -> None:
    peer = [node.peer_address for node in network.folder.load().nodes]
    network.answers["getpartition"] = lambda node, _params: [peer[0]] if node == 2 else []
    network.answers["getblockchaininfo"] = lambda node, _params: chain_info(
        9 if node == 0 else 7, "aa" if node == 0 else "bb"
    )
    result = dure("heal", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["groups"] == [[0, 1, 2]]  # node 1 stands between those that do not speak
    assert "The network is whole again." in dure("heal").stdout
    network.answers["getpartition"] = lambda node, _params: peer[1:] if node == 0 else []
    result = dure("heal")
    assert "node 0 came with height 9" in result.stdout
    assert "nodes 1 and 2 came with height 7" in result.stdout
    assert network.calls_of("setpartition") == [(node, [[]]) for node in range(3)] * 3


def test_heal_says_who_follows_whom(network: FakeNodes) -> None:
    dure("partition", "0 | 1 2")
    network.answers["getblockchaininfo"] = lambda node, _p: (
        chain_info(7, "aa", 10) if node == 0 else chain_info(9, "bb", 12)
    )
    told = dure("heal").stdout
    assert "node 0 came with height 7" in told
    assert "The tip of nodes 1 and 2 has the most work" in told
    assert "scripts/dure logs 0" in told


def test_heal_names_no_winner_where_the_sides_have_the_same_tip(network: FakeNodes) -> None:
    dure("partition", "0 | 1 2")
    network.answers["getblockchaininfo"] = lambda _node, _p: chain_info(7, "aa", 10)
    told = dure("heal").stdout
    assert "They had the same tip" in told
    assert "has the most work" not in told
    assert "gave up" not in told
    assert "All are on one tip" in told


def test_heal_says_that_the_next_block_decides_where_both_sides_have_equal_work(network: FakeNodes) -> None:
    dure("partition", "0 | 1 2")
    network.answers["getblockchaininfo"] = lambda node, _p: chain_info(7, "aa" if node == 0 else "bb", 10)
    network.answers["getbestblockhash"] = lambda node, _p: "aa" if node == 0 else "bb"
    told = dure("heal").stdout
    assert "have equal work" in told
    assert "the next block decides" in told
    assert "scripts/dure mine 0 1" in told


def test_a_node_that_is_named_twice_counts_once(network: FakeNodes) -> None:
    assert "Node 1 is paused" in dure("pause", "1", "1").stdout
    assert "Node 1 is going on" in dure("resume", "1", "1").stdout


@pytest.mark.parametrize("cut", ["0 | 3", "0 1 | 1", "0 1 2", "0 || 1", "a | b"])
def test_a_cut_that_is_none_changes_nothing(network: FakeNodes, cut: str) -> None:
    assert dure("partition", cut).exit_code == 2
    assert network.asked == []
    assert network.folder.load().partition == ()


def test_a_cut_that_one_node_does_not_take_is_undone_on_the_others(network: FakeNodes) -> None:
    def stubborn(node: int, params: list[Any]) -> Any:
        if node == 1 and params != [[]]:
            raise Refusal(-1, "no")

    network.answers["setpartition"] = stubborn
    assert dure("partition", "0 | 1 2").exit_code == 1
    assert network.calls_of("setpartition")[-2:] == [(0, [[]]), (1, [[]])]
    assert network.folder.load().partition == ()


def test_kill_ends_the_process_and_down_ends_the_rest(network: FakeNodes) -> None:
    processes = [node.process for node in network.folder.load().nodes]
    result = dure("kill", "0", "1")
    assert "Nodes 0 and 1 are killed" in result.stdout
    assert "scripts/dure start 0 1" in result.stdout
    assert [process is not None and sight(process) is None for process in processes] == [True, True, False]
    assert dure("kill", "0").exit_code == 69
    assert dure("pause", "2").exit_code == 0
    assert dure("down").exit_code == 0
    assert all(process is not None and sight(process) is None for process in processes)
    assert dure("down").exit_code == 0


def test_a_second_up_in_the_same_folder_is_refused_and_disturbs_nothing(network: FakeNodes) -> None:
    before = network.folder.record_path.read_bytes()
    for arguments in (["up"], ["up", "--fresh"], ["up", "-n", "9", "--detach"]):
        result = dure(*arguments)
        assert result.exit_code == 1
        assert "is running" in result.stderr
    assert network.folder.record_path.read_bytes() == before
    assert dure("status").stdout.count("running") == 3 + 1


def test_a_folder_of_a_node_that_is_gone_is_named_and_nothing_starts(tmp_path: Path) -> None:
    folder = save_network(tmp_path, record_of(3))
    shutil.rmtree(folder.node_path(1))
    for command in ("up", "start 1"):
        result = dure(*command.split(), "--dir", str(tmp_path))
        assert result.exit_code == 78
        assert "node1 is gone" in result.stderr
        assert "--fresh" in result.stderr
    assert [node["state"] for node in json.loads(dure("status", "--json", "--dir", str(tmp_path)).stdout)["nodes"]] == [
        "stopped"
    ] * 3


def test_ctrl_c_ends_a_command_with_one_word_and_status_130(network: FakeNodes) -> None:
    def press(_node: int, _params: list[Any]) -> Any:
        # To the very thread that waits for this answer: sent to the process it may interrupt another one's system call.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(5)

    network.answers["generatetoaddress"] = press
    # A shell that starts tests in the background has them ignore the signal, and the command would never end.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = dure("mine", "0", "1")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "\nInterrupted.\n")


def test_a_resumed_network_must_be_the_one_that_was_asked_for(tmp_path: Path) -> None:
    save_network(tmp_path, record_of(3))
    for option, value in (("-n", "4"), ("--miners", "2"), ("--topology", "line"), ("--hashrate", "1")):
        result = dure("up", option, value, "--dir", str(tmp_path))
        assert result.exit_code == 1
        assert "--fresh" in result.stderr


@pytest.mark.parametrize("arguments", [["-n", "0"], ["-n", "65"], ["-n", "2", "--miners", "3"], ["--topology", "cube"]])
def test_numbers_that_make_no_network_are_a_mistake_of_usage_and_leave_nothing(
    arguments: list[str], tmp_path: Path
) -> None:
    assert dure("up", *arguments, "--dir", str(tmp_path / "net")).exit_code == 2
    assert not (tmp_path / "net" / "network.json").exists()


# Any method


def test_rpc_passes_json_as_json_and_text_as_text(network: FakeNodes) -> None:
    network.answers["echo"] = lambda _node, params: params
    result = dure("rpc", "1", "echo", "12.50", "true", '["a"]', "00ab", "-5", ADDRESS, "null")
    assert network.calls_of("echo") == [(1, [12.5, True, ["a"], "00ab", -5, ADDRESS, None])]
    assert json.loads(result.stdout) == [12.5, True, ["a"], "00ab", -5, ADDRESS, None]


def test_rpc_prints_text_bare_and_nothing_for_null(network: FakeNodes) -> None:
    assert dure("rpc", "0", "getbestblockhash").stdout == TIP + "\n"
    assert dure("rpc", "0", "getbestblockhash", "--json").stdout == f'"{TIP}"\n'
    assert dure("rpc", "0", "setpartition", "[]").stdout == ""


def test_rpc_errors_have_their_code_and_status_1(network: FakeNodes) -> None:
    network.answers["getblockchaininfo"] = _refuse_on(0, -8, "Block height out of range")
    result = dure("rpc", "0", "getblockchaininfo")
    assert result.exit_code == 1
    assert result.stderr == "Node 0 refused getblockchaininfo (error -8): Block height out of range\n"


# Logs and the rest


def test_logs_are_merged_printed_and_end(network: FakeNodes) -> None:
    for node, second in ((0, 2), (1, 1), (2, 3)):
        line = {
            "time": f"2026-01-31T12:00:0{second}.123Z", "level": "info", "logger": "node.chain",
            "event": "block_connected", "height": second, "note": "two words \u001b[2J",
        }  # fmt: skip
        (network.folder.node_path(node) / "debug.log").write_text(json.dumps(line) + "\n")
    lines = dure("logs").stdout.splitlines()
    assert lines[0].startswith("12:00:01.123 node 1 chain block_connected height=1")
    assert [line.split()[2] for line in lines] == ["1", "0", "2"]
    assert '"two words \ufffd[2J"' in lines[0]  # no control character of a peer reaches the terminal
    assert dure("logs", "2").stdout.count("\n") == 1
    assert json.loads(dure("logs", "-n", "1", "--json").stdout)["node"] == 2


def test_doctor_finds_a_killed_node_and_says_what_to_do(network: FakeNodes) -> None:
    dure("kill", "2")
    result = dure("doctor", "--json")
    assert result.exit_code == 1
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["node 2"]["verdict"] == "problem"
    assert "scripts/dure start 2" in checks["node 2"]["advice"]
    assert {"python", "packages", "daemon", "disk", "clock", "network", "ports", "nodes", "one tip"} <= set(checks)


def test_doctor_misses_what_the_program_needs_and_nothing_that_only_an_extra_asks_for(
    network: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def packages(*required: str) -> tuple[str, str]:
        monkeypatch.setattr(importlib.metadata, "requires", lambda _name: list(required))
        checks = {check["name"]: check for check in json.loads(dure("doctor", "--json").stdout)["checks"]}
        return checks["packages"]["verdict"], checks["packages"]["found"]

    extra = "nobody-has-this>=8.4; extra == 'testing'"
    assert packages("msgspec>=0.19", extra) == ("fine", "all 1 are installed")
    assert packages("msgspec>=0.19", "nor-this<2", extra) == ("problem", "missing: nor-this")


def test_usage_names_the_command_as_it_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURE_PROGRAM", "scripts/dure")
    assert "Try 'scripts/dure send --help' for help." in dure("send", "0").stderr
    assert dure("policy", "--help").stdout.startswith("Usage: scripts/dure policy ")
    monkeypatch.delenv("DURE_PROGRAM")
    assert "Usage: dure send" in CliRunner().invoke(main, ["send", "0"], prog_name="dure").stderr


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    heavy = ["aiohttp", "coincurve", "cryptography", "devnet", "lmdb", "msgspec", "node", "rich", "rpc"]
    program = f"import sys, cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_command_takes_dir_and_json_and_explains_itself() -> None:
    commands = list(main.commands.items())
    for name, command in commands:
        assert command.help, name
        if isinstance(command, click.Group):
            commands += [(f"{name} {part}", each) for part, each in command.commands.items()]
            continue
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--dir", "--json"} <= options, name
    assert "policy make multisig" in dict(commands)
