"""What happened, as sentences."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from devnet.logs import LogLine
from devnet.status import NodeState
from devnet.watch.state import NetworkView
from devnet.watch.story import MAX_BLOCK_SENTENCES, coins, name, tell, tell_line
from tests.support.watching import Blocks, line


def said(before: NetworkView | None, after: NetworkView) -> list[str]:
    return [event.text for event in tell(before, after, 1.0)]


def test_nodes_are_named_as_people_do() -> None:
    assert name([1]) == "node 1"
    assert name([1, 3]) == "nodes 1 and 3"
    assert name([0, 1, 2, 5, 7, 8]) == "nodes 0 to 2, 5, 7 and 8"


def test_amounts_have_no_zeros_that_say_nothing() -> None:
    assert [coins(5_000_000_000), coins(1_250_000_000), coins(1)] == ["50 DURE", "12.5 DURE", "0.00000001 DURE"]


def test_the_first_look_is_summed_up() -> None:
    blocks = Blocks()
    blocks.add("g a")
    assert said(None, blocks.view("a", "a")) == ["Here are 2 nodes. At height 1, all on one tip."]
    assert said(None, blocks.view("a")) == ["Here is 1 node. At height 1."]
    assert said(None, blocks.view("a", "g", None)) == ["Here are 3 nodes, of which 2 answer. They are on 2 tips."]


def test_nothing_new_is_no_event() -> None:
    blocks = Blocks()
    blocks.add("g a")
    assert said(blocks.view("a", "a"), blocks.view("a", "a")) == []


def test_a_block_is_told_with_its_finder_and_payments() -> None:
    blocks = Blocks()
    blocks.add("g a")
    before = blocks.view("a", "a")
    blocks.add("a: b", finder=1, txids=("t1", "t2"))
    blocks.add("b: c")
    assert said(before, blocks.view("c", "c")) == [
        "Node 1 found block 2 with 2 payments.",
        "Somebody found block 3.",
    ]


def test_many_blocks_at_once_share_a_sentence() -> None:
    blocks = Blocks()
    blocks.add("g a")
    before = blocks.view("a")
    blocks.add("a: " + line(MAX_BLOCK_SENTENCES + 1), finder=0)
    assert said(before, blocks.view(f"b{MAX_BLOCK_SENTENCES}")) == ["7 blocks were found by node 0, up to height 8."]


def test_a_fork_a_reorg_and_its_end_are_told() -> None:
    blocks = Blocks()
    blocks.add("g a")
    whole = blocks.view("a", "a", "a")
    blocks.add("a: x y", finder=0, txids=("again", "never", "both"))
    blocks.add("a: b", finder=2)
    apart = blocks.view("y", "y", "b")
    assert (
        said(whole, apart)[-1] == "There are 2 branches since block 1: nodes 0 and 1 at height 3, node 2 at height 2."
    )
    blocks.add("b: c d", finder=2, txids=("both",))
    still = blocks.view("y", "y", "d")
    assert [text for text in said(apart, still) if "branch" in text] == []
    healed = blocks.view("d", "d", "d", fates={"again": "waits", "never": "gone"})
    left, together = said(still, healed)
    assert left == (
        "Nodes 0 and 1 left 2 blocks after block 1 for 3 with more work: 100 DURE of rewards are lost, "
        "1 payment waits for a block again, 1 payment is gone."
    )
    assert together == "All are on one branch again, at height 4."


def test_who_has_not_come_to_the_fork_is_on_neither_side() -> None:
    blocks = Blocks()
    blocks.add("g a")
    whole = blocks.view("a", "a", "a")
    blocks.add("a: x y")
    blocks.add("a: b")
    apart = blocks.view("y", "a", "b")
    assert said(whole, apart)[-1] == "There are 2 branches since block 1: node 0 at height 3, node 2 at height 2."
    assert "branches" not in " ".join(said(whole, blocks.view("y", "a", "a")))


def test_a_node_that_is_behind_makes_no_fork() -> None:
    blocks = Blocks()
    blocks.add("g a b c")
    assert said(blocks.view("b", "a"), blocks.view("c", "a")) == []


def test_a_node_that_goes_back_joins_nothing() -> None:
    blocks = Blocks()
    blocks.add("g a b c")
    assert said(blocks.view("c", "c"), blocks.view("c", "a")) == ["Node 1 went back 2 blocks, to block 1."]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (NodeState.CRASHED, "Node 1 is down: it was killed, or ended by itself."),
        (NodeState.STOPPED, "Node 1 was stopped."),
        (NodeState.PAUSED, "Node 1 was paused."),
        (NodeState.STARTING, "Node 1 is starting."),
        (NodeState.UNREACHABLE, "Node 1 does not answer."),
    ],
)
def test_nodes_come_and_go(state: NodeState, words: str) -> None:
    blocks = Blocks()
    blocks.add("g a")
    up = blocks.view("a", "a")
    gone = msgspec.structs.replace(up.nodes[1], state=state, tip=None, height=None)
    down = msgspec.structs.replace(up, nodes=(up.nodes[0], gone))
    assert said(up, down) == [words]
    assert said(down, up) == ["Node 1 runs at height 1."]


def test_several_that_go_at_once_share_a_sentence() -> None:
    blocks = Blocks()
    blocks.add("g a")
    assert said(blocks.view("a", "a", "a"), blocks.view("a", None, None)) == [
        "Nodes 1 and 2 are down: they were killed, or ended by themselves."
    ]


def test_cuts_and_faults_are_told_when_they_change() -> None:
    blocks = Blocks()
    blocks.add("g a")
    whole = blocks.view("a", "a", "a")
    cut = blocks.view("a", "a", "a", groups=((0,), (1, 2)), faults=("The clock of node 1 is 90 s ahead.",))
    assert said(whole, cut) == [
        "The network is cut into 0 | 1 2: nothing passes between these.",
        "The clock of node 1 is 90 s ahead.",
    ]
    assert said(cut, whole) == ["The network is whole again.", "All lines and clocks are right again."]


def log(**fields: Any) -> LogLine:
    return LogLine("2026-01-31T12:00:00.500Z", 3, fields)


def test_what_only_a_log_knows_is_told_from_it() -> None:
    made = tell_line(log(event="payment_made", level="info", txid="ab" * 32, fee=243))
    assert made is not None
    assert made.text == "Node 3 made payment abababababab…, for a fee of 0.00000243 DURE; it waits for a block."
    assert made.at == 1_769_860_800.5
    refused = tell_line(log(event="block_refused", level="warning", height=7, why="bad-merkle-root"))
    assert refused is not None
    assert refused.text == "Node 3 refused block 7: bad-merkle-root."
    trouble = tell_line(log(event="storage_failed", level="error", why="no space\u001b[2J left"))
    assert trouble is not None
    assert trouble.text == "Node 3 error: storage failed (no space\ufffd[2J left)."
    alarm = tell_line(log(event="vault_withdrawal_seen", level="warning", vault="savings", amount="20.00000000"))
    assert alarm is not None
    assert alarm.text.startswith("Node 3 sees 20.00000000 DURE leave the vault savings: ")
    assert tell_line(log(event="block_connected", level="info", height=7)) is None
