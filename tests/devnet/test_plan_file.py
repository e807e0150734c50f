"""Plans: what is read, what is drawn, and what is refused, with the line, before the first step."""

from __future__ import annotations

import pytest

from devnet.plan_file import MAX_STEPS, read_plan, schedule
from devnet.plan_model import Expected, network_of
from devnet.plan_steps import Agree, ChangeLines, Mine, Partition, Process, Reorg, Schedule, Send, Skew
from devnet.plan_words import PlanError

MIXED = """
# Cut in two, and a killed node.
seed 7
nodes 5

0s            partition "0 1 | 2 3 4"   # two halves
1s            mine 1 2
1s x5 every 2s  send any any 0.1..2
4s..8s        kill any
20s           start any
21s           heal
22s x2        delay any all 50ms..150ms --jitter 20ms
23s           agree 90s
"""


def plan(text: str, size: int = 5, seed: int = 1) -> Schedule:
    return schedule(read_plan(text), Expected(network_of(size), range(size)), seed)


def test_steps_come_in_the_order_in_which_they_are_due() -> None:
    steps = plan(MIXED).steps
    assert [step.at_ms for step in steps] == sorted(step.at_ms for step in steps)
    assert [step.line for step in steps if step.at_ms in {0, 20_000, 21_000, 23_000}] == [6, 10, 11, 13]
    sends = [step for step in steps if step.line == 8]
    assert [step.at_ms for step in sends] == [1_000, 3_000, 5_000, 7_000, 9_000]
    for step in sends:
        assert isinstance(step.action, Send)
        assert step.action.sender != step.action.receiver
        assert 10_000_000 <= step.action.grain <= 200_000_000
    killed, started = (step.action for step in steps if isinstance(step.action, Process))
    assert isinstance(killed, Process)
    assert started == Process("start", killed.nodes)  # only one node is down by then
    later = [step.action.sender for step in sends if isinstance(step.action, Send) and step.at_ms == 9_000]
    assert later[0] not in killed.nodes


def test_the_same_seed_draws_the_same_and_another_one_does_not() -> None:
    assert plan(MIXED, seed=3) == plan(MIXED, seed=3)
    assert plan(MIXED, seed=3).steps != plan(MIXED, seed=4).steps
    assert read_plan(MIXED).seed == 7


def test_of_steps_at_one_moment_the_order_is_that_of_the_file() -> None:
    assert [step.text for step in plan("1s mine 0 1\n0s mine 1 1\n1s mine 2 1\n").steps] == [
        "mine 1 1", "mine 0 1", "mine 2 1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("partition 0 1 | 2", Partition(((0, 1), (2,), (3, 4)))),
        ("delay 0 1 200ms", ChangeLines(((0, 1), (1, 0)), {"delay_ms": 200, "jitter_ms": 0})),
        ("delay --one-way 0 1 1s --jitter 0.5s", ChangeLines(((0, 1),), {"delay_ms": 1_000, "jitter_ms": 500})),
        ("loss 0 1 10%", ChangeLines(((0, 1), (1, 0)), {"loss_ppm": 100_000})),
        ("bandwidth 1 0 1mbit --one-way", ChangeLines(((1, 0),), {"bits_per_second": 1_000_000})),
        ("bandwidth 0 1 off", ChangeLines(((0, 1), (1, 0)), {"bits_per_second": None})),
        ("skew 3 -90s", Skew((3,), -90)),
        ("skew all +1h", Skew((0, 1, 2, 3, 4), 3_600)),
        ("kill 1 3 1", Process("kill", (1, 3))),
        ("pause 0", Process("pause", (0,))),
        ("mine 2 10", Mine(2, 10)),
        ("send 0 4 12.5", Send(0, 4, 1_250_000_000)),
        ("reorg --depth 3", Reorg(3, False, None)),
        ("reorg --node 2 --depth 1", Reorg(1, False, 2)),
        ("agree", Agree(60_000)),
        ("agree 5s", Agree(5_000)),
    ],
)
def test_each_step_is_read_as_what_it_means(text: str, action: object) -> None:
    assert plan(f"0 {text}").steps[0].action == action


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no step"),
        ("# nothing", "no step"),
        ("seed 1", "no step"),
        ("seed 1\nseed 2\n0s heal", "line 2: seed is set twice"),
        ("seed -1\n0s heal", "line 1: write seed"),
        ("nodes 0\n0s heal", "line 1: write nodes"),
        ("nodes 4\n0s mine 0 1", "for 4 nodes, and this network has 5"),
        ("now heal", "line 1: it begins with a time"),
        ("5 mine 0 1", "line 1: it begins with a time"),
        ("5s", "line 1: after the time comes what is done"),
        ("5s..3s mine 0 1", "line 1: 5s..3s ends before it begins"),
        ("5s x0 mine 0 1", "line 1: x0"),
        ("5s x2 every mine 0 1", "line 1: 'mine' is no duration"),
        ("5s x2 every", "line 1: after `every`"),
        ("31d mine 0 1", "line 1: it is due later than 30 days"),
        ("1d x9999 every 1h mine 0 1", "line 1: it is due later"),
        (f"0s x{MAX_STEPS} mine 0 1\n0s mine 0 1", "at most 10000 steps"),
        ('0s partition "0 | 1', "line 1: it cannot be read"),
        ("0s juggle 1", "line 1: there is no step 'juggle'"),
        ("0s heal 1", "line 1: heal does not take '1'"),
        ("0s mine 0", "line 1: mine needs how many blocks"),
        ("0s mine 0 0", "line 1: '0' is no number of blocks"),
        ("0s mine 0 3..1", "line 1: 3..1 ends before"),
        ("0s mine 5 1", "line 1: This network has no node 5"),
        ("0s mine all 1", "line 1: mine takes one node"),
        ("0s send 0 1 0", "line 1: an amount is more than nothing"),
        ("0s send 0 1 much", "line 1: 'much' is no amount"),
        ("0s delay 0 1 200", "line 1: '200' is no duration"),
        ("0s delay 0 0 1s", "line 1: A line has two ends"),
        ("0s delay 0 1 1s --jitter 2s", "line 1: a jitter is at most"),
        ("0s delay 0 1 1s --jitter", "line 1: --jitter needs a value"),
        ("0s delay 0 1 2m", "line 1: A delay is at most"),
        ("0s loss 0 1 95%", "line 1: At most 90 %"),
        ("0s skew 0 +400d", "line 1: a clock is wrong by at most"),
        ("0s partition 0 | 9", "line 1: This network has no node 9"),
        ("0s reorg", "line 1: reorg needs --depth"),
        ("0s reorg --depth 1001", "line 1: '1001' is no number"),
        ("0s reorg --depth 1 --drop ff", "line 1: --drop takes 'last'"),
        ("0s reorg --depth 1 --drop last", "line 1: there is no payment yet"),
        # what the network will be like by then
        ("0s heal", "line 1: there is nothing to heal by then"),
        ("1s kill 0\n0s kill 0", "line 1: node 0 does not run by then"),
        ("0s kill 0\n1s mine 0 1", "line 2: node 0 does not run by then"),
        ("0s pause 0\n1s send 1 0 1", "line 2: node 0 is paused by then"),
        ("0s start 0", "line 1: node 0 runs already by then"),
        ("0s resume 0", "line 1: node 0 is not paused by then"),
        ("0s start any", "line 1: there is no node by then that start could be for"),
        ("0s pause 0\n1s partition 1", "line 2: node 0 is paused by then"),
        ("0s partition 1\n1s agree", "line 2: the network is cut by then"),
        ("0s partition 1\n1s reorg --depth 1", "line 2: the network is cut by then"),
        ("0s kill 0 1 2 3\n1s reorg --depth 1", "line 2: it takes two nodes"),
        ("0s kill 0 1 2 3 4\n1s partition 1", "line 2: no node runs by then"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(PlanError) as refused:
        plan(text)
    assert words in str(refused.value)


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(PlanError, match="bytes"):
        read_plan("#" * 2_000_000)


def test_any_takes_every_node_that_is_fit_and_no_other() -> None:
    text = "0s kill 2\n1s x200 mine any 1\n2s x100 delay any any 1ms\n"
    steps = plan(text).steps
    assert {step.action.node for step in steps if isinstance(step.action, Mine)} == {0, 1, 3, 4}
    assert len({step.action.lines for step in steps if isinstance(step.action, ChangeLines)}) == 10
    everybody = plan("0s kill any any any any any\n1s start any any any any any").steps
    assert [sorted(step.action.nodes) for step in everybody if isinstance(step.action, Process)] == [
        [0, 1, 2, 3, 4]
    ] * 2
