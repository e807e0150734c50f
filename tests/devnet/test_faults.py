"""Cutting a network: what is understood, and what is refused with a reason."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from devnet.errors import Misused
from devnet.faults import blocked_peers, find_groups, format_groups, parse_groups
from tests.support.network import record_of


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("0 1 | 2 3 4", ((0, 1), (2, 3, 4))),
        ("1 0|4,3 , 2", ((0, 1), (2, 3, 4))),
        ("0 1", ((0, 1), (2, 3, 4))),  # the unnamed are a group of their own
        ("0|1", ((0,), (1,), (2, 3, 4))),
        ("  2  ", ((2,), (0, 1, 3, 4))),
    ],
)
def test_groups_are_read_and_the_unnamed_form_one_of_their_own(text: str, groups: tuple[tuple[int, ...], ...]) -> None:
    assert parse_groups(text, 5) == groups
    assert parse_groups(format_groups(groups), 5) == groups


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 1 | 5", "no node 5"),
        ("0 1 | 1 2", "Node 1 is named twice"),
        ("0 0 | 1", "Node 0 is named twice"),
        ("0 1 2 3 4", "cuts nothing"),
        ("0 | | 1", "empty"),
        ("|", "empty"),
        ("", "empty"),
        ("0 | one", "'one' is no number"),
        ("0 | -1", "'-1' is no number"),
        ("0 | ²", "is no number"),
        ("0 | " + "9" * 5000, "is no number"),
    ],
)
def test_what_is_no_cut_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(Misused, match=words):
        parse_groups(text, 5)


def test_a_node_refuses_all_outside_its_group_and_only_those() -> None:
    whole = record_of(5)
    cut = record_of(5, partition=((0, 1), (2, 3, 4)))
    assert blocked_peers(whole, 0) == []
    assert blocked_peers(cut, 0) == [whole.nodes[other].peer_address for other in (2, 3, 4)]
    assert blocked_peers(cut, 3) == [whole.nodes[other].peer_address for other in (0, 1)]


@pytest.mark.parametrize("text", ["0 1 | 2 3 4", "0 | 1 | 2 3 4", "1 3 | 0 2 4"])
def test_the_groups_of_a_cut_are_found_in_what_the_nodes_refuse(text: str) -> None:
    record = record_of(5)
    groups = tuple(sorted(parse_groups(text, 5)))
    cut = replace(record, partition=groups)
    refused = {node: blocked_peers(cut, node) for node in range(5)}
    assert find_groups(record, refused) == groups
    del refused[4]  # a node that does not run
    assert find_groups(record, refused) == tuple(tuple(node for node in group if node != 4) for group in groups)


def test_nodes_that_refuse_each_other_are_in_one_group_if_a_third_speaks_with_both() -> None:
    record = record_of(3)
    assert find_groups(record, {0: [record.nodes[2].peer_address], 1: [], 2: []}) == ((0, 1, 2),)
    assert find_groups(record, {0: [], 1: [], 2: []}) == ((0, 1, 2),)
