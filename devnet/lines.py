"""The lines between nodes: which of them a command means, how they are remembered, and how they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from devnet.errors import Misused
from devnet.folder import LineRecord, NetworkRecord
from devnet.units import format_duration, format_seconds, format_share, format_speed, is_node_number
from p2p.link_conditions import (
    MAX_BITS_PER_SECOND,
    MAX_DELAY_MS,
    MAX_LOSS_PPM,
    MIN_BITS_PER_SECOND,
    PERFECT,
    LinkConditions,
)

EVERYBODY = "all"
"""What stands for every node."""

Pair = tuple[int, int]
"""One direction of a line: from whom, to whom."""


def parse_nodes(text: str, size: int) -> tuple[int, ...]:
    """Read a node's number, or "all".

    Raises:
        Misused: it is neither, or this network has no such node.
    """
    if text.strip() == EVERYBODY:
        return tuple(range(size))
    if not is_node_number(text):
        raise Misused(f"{text[:40]!r} is neither the number of a node nor {EVERYBODY!r}.")
    if int(text) >= size:
        last = "its only node is 0" if size == 1 else f"its nodes are 0 to {size - 1}"
        raise Misused(f"This network has no node {int(text)}: {last}.")
    return (int(text),)


def lines_between(one: str, other: str, size: int, *, one_way: bool = False) -> tuple[Pair, ...]:
    """Return the lines that a command names by their two ends, each a node or "all"; a line to oneself is none.

    Args:
        one_way: only from the first end to the second.

    Raises:
        Misused: an end is no node, or both are the same one.
    """
    ends = parse_nodes(one, size), parse_nodes(other, size)
    pairs = {(source, target) for source in ends[0] for target in ends[1] if source != target}
    if not one_way:
        pairs |= {(target, source) for source, target in pairs}
    if not pairs:
        raise Misused("A line has two ends: name two nodes.")
    return tuple(sorted(pairs))


def check_conditions(conditions: LinkConditions) -> None:
    """Refuse what no line can be.

    Raises:
        Misused: the sentence says what is out of bounds.
    """
    if conditions.delay_ms > MAX_DELAY_MS:
        raise Misused(f"A delay is at most {format_duration(MAX_DELAY_MS)}; to cut a line off, use partition.")
    if conditions.loss_ppm > MAX_LOSS_PPM:
        raise Misused(
            f"At most {format_share(MAX_LOSS_PPM)} of a line's segments are lost; to cut it off, use partition."
        )
    speed = conditions.bits_per_second
    if speed is not None and not MIN_BITS_PER_SECOND <= speed <= MAX_BITS_PER_SECOND:
        bounds = f"{format_speed(MIN_BITS_PER_SECOND)} and {format_speed(MAX_BITS_PER_SECOND)}"
        raise Misused(f"The speed of a line is between {bounds}.")


SLOW_DELAY_MS = 2_000
SLOW_LOSS_PPM = 300_000
SLOW_BITS_PER_SECOND = 16_000


def is_hardly_a_line(conditions: LinkConditions) -> bool:
    """Tell whether a handshake over a line may take many seconds, or fail."""
    slow = conditions.bits_per_second is not None and conditions.bits_per_second < SLOW_BITS_PER_SECOND
    return conditions.delay_ms >= SLOW_DELAY_MS or conditions.loss_ppm >= SLOW_LOSS_PPM or slow


def with_delay(delay_ms: int, jitter_ms: int) -> Callable[[LinkConditions], LinkConditions]:
    """Return what gives a line this delay, and leaves all else about it as it is.

    Raises:
        Misused: more jitter than delay.
    """
    if jitter_ms > delay_ms:
        raise Misused(
            f"A jitter of {format_duration(jitter_ms)} is more than the delay that it varies "
            f"({format_duration(delay_ms)}): nothing arrives before it was sent."
        )
    return lambda line: msgspec.structs.replace(line, delay_ms=delay_ms, jitter_ms=jitter_ms)


def with_loss(millionths: int) -> Callable[[LinkConditions], LinkConditions]:
    """Return what makes a line lose so much, and leaves all else about it as it is."""
    return lambda line: msgspec.structs.replace(line, loss_ppm=millionths)


def with_speed(bits_per_second: int | None) -> Callable[[LinkConditions], LinkConditions]:
    """Return what bounds a line's speed, and leaves all else about it as it is."""
    return lambda line: msgspec.structs.replace(line, bits_per_second=bits_per_second)


def change_lines(
    record: NetworkRecord, pairs: Iterable[Pair], change: Callable[[LinkConditions], LinkConditions]
) -> NetworkRecord:
    """Return the record with these lines changed; those that nothing happens on are not remembered.

    Raises:
        Misused: what comes out is no line.
    """
    lines = {(line.source, line.target): line.conditions for line in record.lines}
    for pair in pairs:
        lines[pair] = change(lines.get(pair, PERFECT))
        check_conditions(lines[pair])
    kept = tuple(
        LineRecord(source, target, conditions)
        for (source, target), conditions in sorted(lines.items())
        if not conditions.are_perfect
    )
    return msgspec.structs.replace(record, lines=kept)


def conditions_of(record: NetworkRecord, number: int) -> dict[str, LinkConditions]:
    """Return the bad lines that start at node `number`, by the address of who is at their other end."""
    return {record.node(line.target).peer_address: line.conditions for line in record.lines if line.source == number}


# In words


def describe(conditions: LinkConditions) -> str:
    """Return "200 ms (± 50 ms) later, 10 % lost, at most 1 mbit/s"; "as good as it is" for a perfect line."""
    words = []
    if conditions.delay_ms:
        swing = f" (± {format_duration(conditions.jitter_ms)})" if conditions.jitter_ms else ""
        words.append(f"{format_duration(conditions.delay_ms)}{swing} later")
    if conditions.loss_ppm:
        words.append(f"{format_share(conditions.loss_ppm)} lost")
    if conditions.bits_per_second is not None:
        words.append(f"at most {format_speed(conditions.bits_per_second)}")
    return ", ".join(words) or "as good as it is"


def tell_lines(lines: Sequence[LineRecord]) -> list[str]:
    """Return sentences about bad lines: one for all that are alike, and for both directions where these are alike."""
    known = {(line.source, line.target): line.conditions for line in lines}
    both: dict[LinkConditions, list[str]] = {}
    one_way: dict[tuple[int, LinkConditions], list[str]] = {}
    for (source, target), conditions in known.items():
        if known.get((target, source)) != conditions:
            one_way.setdefault((source, conditions), []).append(str(target))
        elif source < target:
            both.setdefault(conditions, []).append(f"{source}-{target}")
    said = []
    for conditions, pairs in both.items():
        ends = f"nodes {pairs[0].replace('-', ' and ')}" if len(pairs) == 1 else f"nodes {_some(pairs)}"
        said.append(f"Between {ends}, each way: {describe(conditions)}.")
    for (source, conditions), targets in one_way.items():
        said.append(
            f"From node {source} to node{'s' if len(targets) > 1 else ''} {_some(targets)}: {describe(conditions)}."
        )
    return said


MAX_NAMED = 12
"""Lines that one sentence names."""


def _some(names: Sequence[str]) -> str:
    """Return "1", "1 and 2", "1, 2 and 3"; of very many the first, and how many there are."""
    if len(names) > MAX_NAMED:
        return f"{', '.join(names[:MAX_NAMED])}, … ({len(names)} in all)"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def tell_clocks(record: NetworkRecord) -> list[str]:
    """Return a sentence for each clock that is wrong."""
    return [f"The clock of node {node.id} is {describe_skew(node.skew)}." for node in record.nodes if node.skew]


def describe_skew(seconds: int) -> str:
    """Return "90 s ahead", "2 min behind" or "right"."""
    if not seconds:
        return "right"
    return f"{format_seconds(abs(seconds))} {'ahead' if seconds > 0 else 'behind'}"
