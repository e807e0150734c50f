"""Cutting a network in parts: what the user types, and whom each node then has to refuse."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from devnet.errors import Misused
from devnet.folder import NetworkRecord
from devnet.units import is_node_number


def parse_groups(text: str, size: int) -> tuple[tuple[int, ...], ...]:
    """Read groups of nodes: "0 1 | 2 3 4". Nodes that are not named form a last group of their own.

    Returns:
        At least two groups, none empty, each in ascending order; every node is in exactly one.

    Raises:
        Misused: a word that is no node of this network, a node named twice, an empty group, or no cut at all.
    """
    groups = [_parse_group(part, size) for part in text.split("|")]
    named: set[int] = set()
    for node in (node for group in groups for node in group):
        if node in named:
            raise Misused(f"Node {node} is named twice in {text!r}: a node can be on one side only.")
        named.add(node)
    if unnamed := [node for node in range(size) if node not in named]:
        groups.append(unnamed)
    if not all(groups):
        raise Misused(f'One of the groups in {text!r} is empty. Write for example: "0 1 | 2 3".')
    if len(groups) < 2:
        raise Misused(f'{text!r} puts every node into one group, which cuts nothing. Write for example: "0 | 1".')
    return tuple(tuple(sorted(group)) for group in groups)


def _parse_group(text: str, size: int) -> list[int]:
    """Read the nodes of one group, with blanks or commas between them."""
    group: list[int] = []
    for word in re.split(r"[\s,]+", text.strip()):
        if word and not is_node_number(word):
            raise Misused(f'{word!r} is no number of a node. Write for example: "0 1 | 2 3".')
        if word and int(word) >= size:
            raise Misused(f"This network has no node {int(word)}: its nodes are 0 to {size - 1}.")
        if word:
            group.append(int(word))
    return group


def find_groups(record: NetworkRecord, refused: Mapping[int, Collection[str]]) -> tuple[tuple[int, ...], ...]:
    """Return the groups that a cut leaves, whoever made it, by whom each node refuses: the reverse of `blocked_peers`.

    Two nodes are in one group if there is a way between them on which nobody refuses anybody.

    Args:
        refused: for each node to be placed the addresses that it refuses.
    """

    def meet(one: int, other: int) -> bool:
        return (
            record.nodes[other].peer_address not in refused[one]
            and record.nodes[one].peer_address not in refused[other]
        )

    left = sorted(refused)
    groups: list[tuple[int, ...]] = []
    while left:
        group = [left.pop(0)]
        for member in group:
            near = [node for node in left if meet(member, node)]
            group += near
            left = [node for node in left if node not in near]
        groups.append(tuple(sorted(group)))
    return tuple(groups)


def format_groups(groups: Sequence[Sequence[int]]) -> str:
    """Write groups as `parse_groups` reads them."""
    return " | ".join(" ".join(map(str, group)) for group in groups)


def group_of(partition: Sequence[tuple[int, ...]], number: int) -> tuple[int, ...] | None:
    """Return the group of a cut that node `number` is in; None if it is in none, or there is no cut."""
    return next((group for group in partition if number in group), None)


def blocked_peers(record: NetworkRecord, number: int) -> list[str]:
    """Return the addresses that node `number` must refuse: everyone outside its group, in the order of the nodes."""
    mine = group_of(record.partition, number)
    if mine is None:
        return []
    return [node.peer_address for node in record.nodes if node.id not in mine]
