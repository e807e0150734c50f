"""Trouble by command on a network of three real daemons: bad lines, wrong clocks, reorganizations, snapshots.

The tests share the network and follow one another; each leaves it whole. No node mines by itself. What takes long is
only ever bounded from below: a slow machine fails nothing.
"""

from __future__ import annotations

import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devnet.archive import Archive
from devnet.calls import Calls
from devnet.folder import NetworkFolder, wait_until
from devnet.funding import GIFT, come_to_one_tip, pay_the_others
from devnet.status import spendable
from tests.e2e.test_network import PATIENCE, Dure, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def dure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dure]:
    command = Dure(tmp_path_factory.mktemp("faults") / "net")
    try:
        command.run("up", "-n", "3", "--miners", "0", "--detach")
        yield command
    finally:
        if (command.folder / "network.json").exists():
            command.run("down")


def on_one_tip(dure: Dure) -> list[dict[str, Any]]:
    def ask() -> list[dict[str, Any]] | None:
        nodes = dure.nodes()
        running = all(node["state"] == "running" for node in nodes)
        return nodes if running and len({node["tip"] for node in nodes}) == 1 else None

    return eventually("one tip", ask)


def height(dure: Dure, node: int) -> int:
    return int(dure.ask("rpc", str(node), "getblockcount"))


def test_a_block_takes_at_least_as_long_as_the_lines_make_it_and_a_killed_node_comes_back_behind_them(
    dure: Dure,
) -> None:
    on_one_tip(dure)
    dure.run("delay", "0", "all", "500ms", "--jitter", "50ms")
    dure.run("kill", "1")
    dure.run("start", "1")
    peer = f"127.0.0.1:{NetworkFolder(dure.folder).load().nodes[0].port}"
    assert dure.ask("rpc", "1", "getlinkconditions") == {peer: {"delay_ms": 500, "jitter_ms": 50}}
    eventually("node 1 is connected again", lambda: dure.nodes()[1]["peers"] == 2)
    before = height(dure, 1)
    began = time.monotonic()
    dure.run("mine", "0", "1")
    eventually("it is there", lambda: height(dure, 1) > before)
    assert time.monotonic() - began >= 0.45  # one way at least; three where the header comes first
    assert [line["from"] for line in dure.json("status")["faults"]["lines"]] == [0, 0, 1, 2]
    assert dure.json("heal")["lines"] == 4


def test_a_tie_of_the_first_blocks_is_decided_though_no_node_mines(dure: Dure) -> None:
    dure.run("partition", "0 | 1 2")
    dure.run("mine", "0", "1")
    dure.run("mine", "1", "1")
    before = height(dure, 0)
    assert dure.json("heal")["undecided"]
    folder = NetworkFolder(dure.folder)
    calls = Calls(folder)
    nodes = folder.load().nodes
    come_to_one_tip(calls, nodes, calls.call(nodes[0], "getnewaddress"))
    assert [node["height"] for node in on_one_tip(dure)] == [before + 1] * 3


def test_a_wallet_without_coins_is_paid_by_another_though_no_node_mines(dure: Dure) -> None:
    folder = NetworkFolder(dure.folder)
    calls = Calls(folder)
    nodes = folder.load().nodes
    addresses = [str(calls.call(node, "getnewaddress")) for node in nodes]
    calls.call(nodes[2], "sendall", [addresses[0]])
    assert spendable(calls, nodes[2]).grain == 0
    pay_the_others(calls, nodes, addresses)
    # One of its rewards may have come of age as well.
    received = [entry for entry in dure.ask("rpc", "2", "listtransactions") if entry["amount"] == float(GIFT)]
    assert [entry["confirmations"] >= 1 for entry in received] == [True]
    on_one_tip(dure)


def test_a_network_of_lossy_and_thin_lines_agrees_in_the_end(dure: Dure) -> None:
    dure.run("loss", "all", "all", "10%")
    dure.run("bandwidth", "all", "all", "1mbit")
    dure.run("mine", "2", "2")
    on_one_tip(dure)
    dure.run("heal")


def test_a_clock_that_is_behind_takes_no_new_block_until_it_is_right_again(dure: Dure) -> None:
    dure.run("skew", "2", "-10m")
    before = height(dure, 2)
    dure.run("mine", "0", "3")
    eventually("node 1 has them", lambda: height(dure, 1) == before + 3)
    assert height(dure, 2) == before
    dure.run("heal")
    on_one_tip(dure)
    assert height(dure, 2) == before + 3


def test_a_reorganization_brings_payments_back_and_keeps_one_out_for_good(dure: Dure) -> None:
    start = on_one_tip(dure)[0]["height"]
    wealth = dure.wealth(1)
    kept = dure.json("send", "0", "1", "2")["txid"]
    eventually("node 2 has heard of it", lambda: kept in dure.ask("rpc", "2", "getrawmempool"))
    dropped = dure.json("send", "2", "1", "3")["txid"]
    eventually("node 1 has both", lambda: len(dure.ask("rpc", "1", "getrawmempool")) == 2)
    dure.run("mine", "1", "1")
    on_one_tip(dure)
    assert "1 to 1000 blocks" in dure.run("reorg", "--depth", "5000", status=2).stderr
    assert "deep at most" in dure.run("reorg", "--depth", str(start + 1), status=1).stderr
    assert "No wallet" in dure.run("reorg", "--depth", "1", "--drop", "00" * 32, status=1).stderr

    told = dure.json("reorg", "--depth", "1", "--drop", dropped)
    assert (told["node"], told["fork_height"], len(told["undone"])) == (2, start, 1)
    assert told["payments"] == {"waiting": [kept], "confirmed": [], "gone": []}
    assert told["double_spend"]["dropped"] == dropped
    nodes = on_one_tip(dure)
    assert nodes[0]["height"] == start + len(told["branch"])
    for node in range(3):
        assert dure.ask("rpc", str(node), "getblockhash", str(start + 1)) == told["branch"][0]
    dure.run("mine", "0", "1")
    on_one_tip(dure)

    def settled() -> bool:
        return float(dure.wealth(1)) == wealth + 2  # the reward of the undone block is gone, and so is what was dropped

    eventually("the kept payment has arrived and the dropped one has not", settled)
    found = dure.ask("rpc", "2", "gettransaction", dropped)
    assert found["state"] == "conflicted"
    assert found["walletconflicts"] == [told["double_spend"]["txid"]]
    assert dure.ask("rpc", "0", "gettransaction", kept)["confirmations"] == 1


def test_a_deeper_one_says_in_sentences_what_happened(dure: Dure) -> None:
    on_one_tip(dure)
    said = dure.run("reorg", "--depth", "3", "--node", "1").stdout
    assert said.startswith("Node 1 was cut off, and built ")
    assert "Undone, 3 blocks deep:" in said
    on_one_tip(dure)
    assert dure.json("status")["faults"] == {"partition": [], "lines": [], "clocks": []}


def test_a_plan_is_checked_whole_and_then_carried_out_step_by_step(dure: Dure, tmp_path: Path) -> None:
    file = tmp_path / "trouble.plan"
    file.write_text("0s mine 0 1\n1s kill 1\n2s kill 1\n")
    before = height(dure, 0)
    assert f"{file}: line 3: node 1 does not run by then." in dure.run("plan", str(file), status=2).stderr
    assert height(dure, 0) == before

    file.write_text(
        """
        seed 5
        0s              delay all all 5ms..20ms
        0s x2           send any any 0.1..0.5
        0s..1s          kill 1
        1s              partition "0 | 1 2"
        1s              mine 0 1
        1s              start 1
        1s              mine any 3
        1s              heal
        1s              mine any 1
        1s              agree 60s
        1s              reorg --depth 1
        """
    )
    planned = [step["text"] for step in dure.json("plan", str(file), "--check")["steps"]]
    done = dure.json("plan", str(file))
    assert done["seed"] == 5
    assert [step["step"]["text"] for step in done["steps"]] == planned
    assert done["steps"][-1]["told"].startswith("1 block undone")
    on_one_tip(dure)

    file.write_text("0s partition 2\n0s mine 0 1\n0s send 0 1 20000000\n0s heal\n")
    failed = dure.run("plan", str(file), status=1).stderr
    assert failed.startswith("Line 3 (send 0 1 20000000.00000000) failed; 1 after it was not begun: Node 0 refused:")
    dure.run("heal")
    on_one_tip(dure)


def books(dure: Dure) -> list[str]:
    return [str(dure.ask("rpc", str(node), "gettxoutsetinfo")["state_hash"]) for node in range(3)]


def test_a_snapshot_comes_back_beside_the_network_and_in_its_place(dure: Dure, tmp_path: Path) -> None:
    dure.run("mine", "0", "1")  # what waits for a block is in it
    on_one_tip(dure)
    dure.run("skew", "1", "+30s")
    dure.run("delay", "0", "1", "50ms")
    dure.run("partition", "0 1 | 2")
    address = dure.ask("rpc", "1", "getnewaddress")
    waiting = dure.json("send", "0", "1", "0.25")["txid"]
    eventually("node 1 has heard of it", lambda: dure.ask("rpc", "1", "getrawmempool") == [waiting])
    before, wealth = books(dure), [dure.wealth(node) for node in range(3)]
    saved = dure.json("snapshot", "save", "one")
    assert stat.S_IMODE(Path(saved["path"]).stat().st_mode) == 0o600
    assert [node["state"] for node in dure.nodes()] == ["running"] * 3

    other = Dure(tmp_path / "other")
    try:
        dure.run("snapshot", "load", "one", "--into", str(other.folder))
        assert books(other) == before
        assert [other.ask("rpc", str(node), "getrawmempool") for node in range(3)] == [[waiting], [waiting], []]
        assert [other.wealth(node) for node in range(3)] == wealth
        assert other.ask("rpc", "1", "getaddressinfo", address)["ismine"]
        assert other.ask("rpc", "1", "getclockskew") == 30
        record = NetworkFolder(other.folder).load()
        assert other.ask("rpc", "2", "getpartition") == [record.nodes[0].peer_address, record.nodes[1].peer_address]
        other.run("heal")
        other.run("mine", "2", "1")
        on_one_tip(other)
        assert books(dure) == before  # the two know nothing of each other
    finally:
        other.run("down")

    dure.run("mine", "0", "1")
    dure.run("snapshot", "load", "one")
    assert books(dure) == before
    assert dure.json("status")["faults"]["partition"] == [[0, 1], [2]]
    dure.run("heal")
    on_one_tip(dure)


def test_a_save_that_is_killed_leaves_no_snapshot_and_a_network_that_goes_on(dure: Dure) -> None:
    with subprocess.Popen(
        dure.command("snapshot", "save", "two"), env=dure.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as saving:

        def is_at_it() -> bool:
            return saving.poll() is not None or any(node["state"] != "running" for node in dure.nodes())

        assert wait_until(is_at_it, PATIENCE)
        saving.kill()
    for listed in dure.json("snapshot", "list")["snapshots"]:
        Archive(Path(listed["path"]))  # whole, whichever it is
    states = {node["id"]: node["state"] for node in dure.nodes()}
    down = [str(node) for node, state in states.items() if state != "running"]
    if len(down) == len(states):
        dure.run("up", "--detach")
    elif down:
        dure.run("start", *down)
    on_one_tip(dure)
