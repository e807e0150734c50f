"""The lines between nodes: which are meant, what each node is told, what people are told."""

from __future__ import annotations

import msgspec
import pytest

from devnet.bring_up import expected_peers
from devnet.errors import Misused
from devnet.lines import (
    change_lines,
    conditions_of,
    describe,
    is_hardly_a_line,
    lines_between,
    tell_clocks,
    tell_lines,
    with_delay,
    with_loss,
    with_speed,
)
from p2p.link_conditions import LinkConditions
from tests.support.network import record_of


def test_a_line_goes_both_ways_unless_told_otherwise() -> None:
    assert lines_between("0", "2", 3) == ((0, 2), (2, 0))
    assert lines_between("0", "2", 3, one_way=True) == ((0, 2),)
    assert lines_between("all", "2", 3) == ((0, 2), (1, 2), (2, 0), (2, 1))
    assert len(lines_between("all", "all", 5)) == 20


@pytest.mark.parametrize(("one", "other"), [("0", "0"), ("0", "3"), ("x", "0"), ("-1", "0"), ("0", ""), ("²", "0")])
def test_what_is_no_line_is_refused(one: str, other: str) -> None:
    with pytest.raises(Misused):
        lines_between(one, other, 3)


def test_each_sender_is_told_its_own_lines_and_a_change_leaves_the_rest_of_a_line_as_it_was() -> None:
    record = change_lines(record_of(3), lines_between("0", "1", 3), with_delay(200, 50))
    record = change_lines(record, lines_between("0", "1", 3, one_way=True), with_loss(100_000))
    there, back = record.nodes[1].peer_address, record.nodes[0].peer_address
    assert conditions_of(record, 0) == {there: LinkConditions(delay_ms=200, jitter_ms=50, loss_ppm=100_000)}
    assert conditions_of(record, 1) == {back: LinkConditions(delay_ms=200, jitter_ms=50)}
    assert conditions_of(record, 2) == {}
    record = change_lines(record, lines_between("all", "all", 3), with_delay(0, 0))
    assert conditions_of(record, 0) == {there: LinkConditions(loss_ppm=100_000)}
    assert change_lines(record, lines_between("0", "1", 3), with_loss(0)).lines == ()


@pytest.mark.parametrize("change", [with_delay(60_001, 0), with_loss(900_001), with_speed(999), with_speed(10**13)])
def test_no_line_goes_beyond_its_bounds(change: object) -> None:
    with pytest.raises(Misused):
        change_lines(record_of(2), lines_between("0", "1", 2), change)  # type: ignore[arg-type]


def test_lines_are_told_in_sentences_one_for_both_directions_where_they_are_alike() -> None:
    record = change_lines(record_of(3), lines_between("0", "1", 3), with_delay(200, 50))
    record = change_lines(record, lines_between("2", "1", 3, one_way=True), with_speed(1_000_000))
    assert tell_lines(record.lines) == [
        "Between nodes 0 and 1, each way: 200 ms (± 50 ms) later.",
        "From node 2 to node 1: at most 1 mbit/s.",
    ]
    assert describe(LinkConditions()) == "as good as it is"
    record = change_lines(record_of(5), lines_between("all", "2", 5), with_delay(50, 0))
    record = change_lines(record, lines_between("0", "all", 5, one_way=True), with_loss(10_000))
    assert tell_lines(record.lines) == [
        "Between nodes 1-2, 2-3 and 2-4, each way: 50 ms later.",
        "From node 0 to nodes 1, 3 and 4: 1 % lost.",
        "From node 0 to node 2: 50 ms later, 1 % lost.",
        "From node 2 to node 0: 50 ms later.",
    ]


def test_a_start_does_not_wait_for_connections_that_may_take_very_long() -> None:
    record = record_of(4, partition=((0, 1, 2), (3,)))
    assert [expected_peers(record, node) for node in record.nodes] == [2, 2, 2, 0]
    record = change_lines(record, lines_between("0", "1", 4), with_delay(1_999, 0))
    assert expected_peers(record, record.nodes[0]) == 2
    record = change_lines(record, lines_between("0", "1", 4, one_way=True), with_delay(2_000, 0))
    assert [expected_peers(record, node) for node in record.nodes] == [1, 1, 2, 0]
    assert is_hardly_a_line(LinkConditions(loss_ppm=300_000))
    assert is_hardly_a_line(LinkConditions(bits_per_second=15_999))
    assert not is_hardly_a_line(LinkConditions(loss_ppm=299_999, bits_per_second=16_000))


def test_clocks_are_told_in_sentences() -> None:
    record = record_of(3)
    record = record.with_node(msgspec.structs.replace(record.nodes[1], skew=-90))
    assert tell_clocks(record) == ["The clock of node 1 is 90 s behind."]
