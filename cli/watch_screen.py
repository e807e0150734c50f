"""The screen of `dure watch`, as lines of text: what is given goes in, lines come out, nothing else happens.

It fits any terminal from 80 columns and 20 lines on; what does not fit is left out and counted. Every branch has a
letter and a colour, so that the table of nodes, the tree and a terminal without colours say the same.
"""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text

from consensus.amounts import format_amount
from consensus.types import GRAIN_PER_DURE
from devnet.status import NodeState
from devnet.watch.state import BlockView, Event, NetworkView, NodeView
from devnet.watch.story import count, name
from devnet.watch.tree import Branch, branches, hash_power

LEAST_WIDTH, LEAST_HEIGHT = 60, 12
"""Smaller terminals are treated as if they had this."""

MAX_BRANCHES = 8
"""Branches that are drawn; more are counted."""

EVENTS = 3
"""Lines that events get at least, where nodes and branches would take all."""

LABEL = 30
"""Columns on the right of the tree for who stands where."""

WIDE_LABEL = 48
"""The same on a screen of 110 columns and more."""

BRANCH_STYLES = ("green", "magenta", "cyan", "yellow", "blue", "bright_red", "bright_magenta", "bright_cyan")
STATES = {
    NodeState.RUNNING: ("●", "green"),
    NodeState.STARTING: ("◌", "yellow"),
    NodeState.PAUSED: ("=", "yellow"),
    NodeState.STOPPED: ("○", "bright_black"),
    NodeState.CRASHED: ("✗", "red"),
    NodeState.UNREACHABLE: ("?", "red"),
}
EVENT_STYLES = {"fork": "yellow", "reorg": "bold yellow", "network": "bold", "warning": "red", "payment": "cyan"}


class Picture(NamedTuple):
    """All that is on the screen."""

    view: NetworkView
    events: Sequence[Event]
    """Oldest first."""
    title: str
    """What is watched."""
    now: float
    """UNIX seconds."""
    foot: str
    """What the user may do."""


def draw(picture: Picture, width: int, height: int) -> list[Text]:
    """Return at most `height` lines of at most `width` columns."""
    width, height = max(width, LEAST_WIDTH), max(height, LEAST_HEIGHT)
    tree = branches(picture.view)
    letters = _letters(tree)
    trunk = _tree(tree, width)
    nodes = picture.view.nodes
    # Where not all nodes would be seen, events give up lines first, and then the rules between the parts.
    left = height - 2 - len(trunk)
    rooms = {True: left - 2 - EVENTS, False: left - 1}
    ruled = next((ruled for ruled, room in rooms.items() if _lines_needed(len(nodes), width) <= room), True)
    table = _nodes(nodes, letters, width, max(2, rooms[ruled]))
    rules = [[_rule("blocks, by height", width)], [_rule("events", width)]] if ruled else [[], []]
    lines = [_head(picture, tree, width), *table, *rules[0], *trunk, *rules[1]]
    lines += _newest(picture.events, width, max(0, height - 1 - len(lines)))
    lines = lines[: height - 1]
    lines += [Text()] * (height - 1 - len(lines))
    return [_fit(line, width) for line in (*lines, Text(picture.foot, style="dim"))]


def _fit(text: Text, width: int) -> Text:
    """Return a line cut to the width; nothing ever wraps."""
    line = text.copy()
    line.no_wrap = True
    line.truncate(width, overflow="ellipsis")
    return line


def _rule(title: str, width: int) -> Text:
    return Text(f"── {title} {'─' * max(0, width - len(title) - 4)}", style="dim")


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(at))


# Head


def _head(picture: Picture, tree: Sequence[Branch], width: int) -> Text:
    """Say how the network is, in one line."""
    view = picture.view
    up = [node for node in view.nodes if node.height is not None]
    all_ = count(len(view.nodes), "node")
    said = [(picture.title, "bold"), (all_ if len(up) == len(view.nodes) else f"{len(up)} of {all_}", "")]
    if tree:
        said += [(f"height {tree[0].tip.height}", ""), _unity(tree)]
    if view.groups:
        said.append((f"cut: {' | '.join(_short(group) for group in view.groups)}", "bold red"))
    if view.faults:
        said.append((count(len(view.faults), "fault"), "red"))
    if tree:
        said.append((_age(picture.now - tree[0].tip.time), ""))
    if tree and (power := hash_power(tree[0])):
        said.append((_rate(power), ""))
    clock = _clock(picture.now)
    text = Text()
    for words, style in said:  # the most important first: what does not fit is left out
        if text.cell_len + len(words) + 2 + len(clock) <= width:
            text.append(words, style=style).append("  ")
    return text.append(" " * (width - text.cell_len - len(clock))).append(clock, style="dim")


def _unity(tree: Sequence[Branch]) -> tuple[str, str]:
    """Say whether the nodes agree, and in which style."""
    occupied = [branch for branch in tree if branch.nodes]
    if len(occupied) > 1:
        return f"{len(occupied)} branches", "bold yellow"
    return ("one branch" if any(branch.behind for branch in occupied) else "one tip"), "green"


def _short(numbers: Sequence[int]) -> str:
    """Return "0-4,7"."""
    return name(numbers).partition(" ")[2].replace(" to ", "-").replace(" and ", ",").replace(", ", ",")


def _age(seconds: float) -> str:
    """Return how old the newest block is. A block may be dated a little ahead."""
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f} s old"
    return f"{seconds / 60:.0f} min old" if seconds < 7200 else f"{seconds / 3600:.0f} h old"


def _rate(rate: float) -> str:
    """Return hashes per second as people write them."""
    for unit in ("H/s", "kH/s", "MH/s", "GH/s"):
        if rate < 1000:
            return f"{rate:.3g} {unit}"
        rate /= 1000
    return f"{rate:,.0f} TH/s"


# Nodes


def _letters(tree: Sequence[Branch]) -> dict[int, tuple[str, int, str]]:
    """Return for each node the letter of its branch, how many blocks behind its tip it is, and the branch's colour."""
    found: dict[int, tuple[str, int, str]] = {}
    for place, branch in enumerate(tree):
        letter, style = _letter(place)
        for node in branch.standing:
            found[node] = (letter, 0, style)
        for node, behind in branch.behind:
            found[node] = (letter, behind, style)
    return found


def _letter(place: int) -> tuple[str, str]:
    letter = chr(ord("A") + place) if place < 26 else "…"
    return letter, BRANCH_STYLES[place % len(BRANCH_STYLES)]


def _columns(width: int) -> int:
    """Return how many nodes stand beside each other in the compact table."""
    return max(1, (width + 2) // (_COMPACT + 2))


def _lines_needed(size: int, width: int) -> int:
    """Return how many lines the table takes at least, its head included."""
    return 1 + math.ceil(size / _columns(width))


def _nodes(nodes: Sequence[NodeView], letters: dict[int, tuple[str, int, str]], width: int, room: int) -> list[Text]:
    """Return the table of nodes: in full if there is room, else in as many columns as fit."""
    if len(nodes) + 1 <= room:
        return [_WIDE_HEAD, *(_wide(node, letters) for node in nodes)]
    columns = _columns(width)
    rows = min(math.ceil(len(nodes) / columns), room - 1)
    shown = list(nodes)
    left_out = len(nodes) - rows * columns
    if left_out > 0:
        # Those that agree and run are the ones that may be missed.
        shown.sort(key=lambda node: (letters.get(node.id, ("", 1, ""))[:2] == ("A", 0), node.id))
        shown = sorted(shown[: rows * columns - 1], key=lambda node: node.id)
    lines = [Text("  ").join([_COMPACT_HEAD] * min(columns, math.ceil(len(shown) / rows)))]
    for row in range(rows):
        line = Text("  ").join([_compact(node, letters) for node in shown[row::rows]])
        lines.append(line)
    if left_out > 0:
        lines[-1] = Text("  ").join([lines[-1], Text(f"… and {left_out + 1} more on A", style="dim")])
    return lines


_WIDE_HEAD = Text(
    f"{'node':<5} {'state':<12} {'height':>6}  {'on':<5} {'tip':<9} {'peers':>5} {'mempool':>7}"
    f" {'balance':>14} {'power':>8}",
    style="bold",
)
_COMPACT = 39
_COMPACT_HEAD = Text(
    f"{'nd':<3}{'height':>6} {'on':<4} {'tip':<5}{'pr':>3}{'mem':>4}{'balance':>8}{'kH':>4}", style="bold"
)


def _cell(value: object) -> str:
    return "-" if value is None else str(value)


def _on(node: NodeView, letters: dict[int, tuple[str, int, str]]) -> tuple[str, str]:
    """Return the letter of a node's branch with how far behind it is, such as "A-2", and its style."""
    if node.id not in letters:
        return ("", "") if node.tip is None else ("?", "dim")
    letter, behind, style = letters[node.id]
    return (f"{letter}-{behind}" if behind else letter), style


def _tip(node: NodeView, digits: int) -> str:
    """Return the digits of a tip that tell it from others: ids begin with zeros."""
    return "-" if node.tip is None else node.tip.lstrip("0")[:digits]


def _wide(node: NodeView, letters: dict[int, tuple[str, int, str]]) -> Text:
    mark, style = STATES[node.state]
    on, branch_style = _on(node, letters)
    power = "" if node.hashrate is None else "max" if node.hashrate == 0 else _rate(node.hashrate)
    balance = "-" if node.balance is None else format_amount(node.balance)
    line = Text(f"{node.id:>4} ")
    line.append(f" {mark} {node.state:<11}", style=style)
    line.append(f"{_cell(node.height):>6}  ")
    line.append(f"{on:<5} {_tip(node, 9):<9}", style=branch_style)
    line.append(f" {_cell(node.peers):>5} {_cell(node.mempool):>7} {balance:>14} {power:>8}")
    return line


def _compact(node: NodeView, letters: dict[int, tuple[str, int, str]]) -> Text:
    mark, style = STATES[node.state]
    on, branch_style = _on(node, letters)
    line = Text(f"{node.id:>2}")
    line.append(mark, style=style)
    line.append(f"{_cell(node.height):>6} ")
    line.append(f"{on[:4]:<4} ", style=branch_style)
    line.append(f"{_tip(node, 5):<5}", style=branch_style)
    power = "" if node.hashrate is None else "max" if node.hashrate == 0 else f"{node.hashrate / 1000:.3g}"
    line.append(f"{_cell(node.peers):>3}{_few(node.mempool):>4}{_brief(node.balance):>8}{power:>4}")
    return line


def _few(number: int | None) -> str:
    """Return a number in three columns."""
    return _cell(number) if number is None or number < 1000 else f"{min(number // 1000, 99)}k"


def _brief(grain: int | None) -> str:
    """Return an amount of DURE in seven columns."""
    if grain is None:
        return "-"
    amount = grain / GRAIN_PER_DURE
    if amount < 10_000:
        return f"{amount:.2f}"
    return f"{amount:.0f}" if amount < 1_000_000 else f"{amount / 1_000_000:.1f}M"


# The tree


def _tree(tree: Sequence[Branch], width: int) -> list[Text]:
    """Return the last blocks, a line for each branch: time runs to the right, a column is a height.

    A block is shown by who found it, n4 for node 4, and by how many payments it holds if it holds any: n4+2.
    """
    if not tree:
        return [Text("  none known yet", style="dim")]
    label = WIDE_LABEL if width >= 110 else LABEL
    # A branch that left before what can be shown is seen by its last blocks only.
    top = max(branch.tip.height for branch in tree)
    cells = {block.id: _block(block) for branch in tree for block in branch.blocks}
    shown: dict[int, int] = {}
    room = width - 2 - label
    height = top
    while height >= 0:
        at = [len(cells[block.id]) for branch in tree for block in branch.blocks if block.height == height]
        needed = max([len(str(height)), *at]) + 2
        if not at or room < needed:
            break
        shown[height] = needed
        room -= needed
        height -= 1
    heights = sorted(shown)
    head = Text("  " + "".join(f"{height:>{shown[height] - 1}} " for height in heights), style="dim")
    visible = [(place, branch) for place, branch in enumerate(tree) if branch.tip.height >= heights[0] or branch.nodes]
    lines = [head]
    for place, branch in visible[:MAX_BRANCHES]:
        lines += _branch_lines(place, branch, heights, shown, cells, width)
    if len(visible) > MAX_BRANCHES:
        lines.append(
            Text(f"  … and {count(len(visible) - MAX_BRANCHES, 'branch').replace('branchs', 'branches')} more")
        )
    return lines


def _block(block: BlockView) -> str:
    who = f"n{block.finder}" if block.finder is not None else "··"
    return f"{who}+{block.payments}" if block.payments else who


def _branch_lines(
    place: int,
    branch: Branch,
    heights: Sequence[int],
    widths: dict[int, int],
    cells: dict[str, str],
    width: int,
) -> list[Text]:
    """Return the line of one branch, and a second one if what is to be said of it does not fit beside it."""
    letter, style = _letter(place)
    dead = not branch.nodes and place > 0
    style = "bright_black" if dead else style
    own = {block.height: block for block in branch.blocks}
    first = branch.blocks[0].height
    line = Text(f"{letter} ", style=f"bold {style}")
    for height in heights:
        block, columns = own.get(height), widths[height]
        if block is not None:
            line.append(cells[block.id].rjust(columns - 1, "─"), style=style)
            line.append("─" if height + 1 in own else " ", style=style)
        elif height == first - 1 and branch.leaves_at is not None:
            line.append(" " * (columns - 2) + "└─", style=style)
        else:
            line.append(" " * columns)
    said = _said(branch, style, is_best=place == 0)
    if line.cell_len + 1 + said.cell_len <= width:
        return [Text.assemble(line, " ", said)]
    indent = "   "
    return [line, Text.assemble(indent, said)]


def _said(branch: Branch, style: str, *, is_best: bool) -> Text:
    """Say who stands on a branch, and what is lost with it."""
    parts = []
    if branch.standing:
        parts.append(name(branch.standing))
    for blocks in sorted({behind for _, behind in branch.behind}):
        late = [node for node, behind in branch.behind if behind == blocks]
        parts.append(f"{name(late)} {'is' if len(late) == 1 else 'are'} {blocks} behind")
    said = Text("; ".join(parts), style=style)
    if is_best:
        return said
    said.append(f"{', ' if parts else ''}{'at stake' if branch.nodes else 'lost'}: ", style="yellow")
    said.append(", ".join(_losses(branch)))
    return said


def _losses(branch: Branch) -> list[str]:
    loss = branch.lost
    lost = [f"{count(loss.rewards, 'reward')} of {_brief(loss.amount).removesuffix('.00')} DURE"]
    if branch.nodes and loss.payments:
        lost.append(count(loss.payments, "payment"))
    elif loss.payments:
        if loss.waiting:
            lost.append(f"{count(loss.waiting, 'payment')} {'waits' if loss.waiting == 1 else 'wait'} again")
        if loss.gone:
            lost.append(f"{count(loss.gone, 'payment')} gone")
    return lost


# Events


def _newest(events: Sequence[Event], width: int, room: int) -> list[Text]:
    """Return as many of the newest events as fit, oldest first; a long sentence takes several lines."""
    found: list[Text] = []
    for event in reversed(events):
        lines = _event(event, width)
        if found and len(found) + len(lines) > room:
            break
        found = [*lines, *found]
    return found[:room]


def _event(event: Event, width: int) -> list[Text]:
    style = EVENT_STYLES.get(event.kind, "")
    clock = f"{_clock(event.at)} "
    pieces = textwrap.wrap(event.text, max(20, width - len(clock))) or [""]
    first = Text.assemble((clock, "dim"), (pieces[0], style))
    return [first, *(Text(" " * len(clock) + piece, style=style) for piece in pieces[1:])]
