"""The screen of `dure watch`: what a person sees, at the widths and heights that terminals have."""

from __future__ import annotations

from io import StringIO

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

from cli.watch_screen import Picture, draw
from devnet.status import NodeState
from devnet.watch.state import Event, NetworkView
from tests.support.watching import START, Blocks, line

EVENTS = [Event(START + second, "block", f"Node 0 found block {second}.") for second in range(40)]


def shown(view: NetworkView, width: int = 80, height: int = 24, events: list[Event] | None = None) -> list[str]:
    """Return the lines of the screen as a terminal without colours gets them."""
    picture = Picture(view, EVENTS if events is None else events, "local/12345678", START + 45, "q leaves.")
    lines = draw(picture, width, height)
    written = StringIO()
    console = Console(file=written, width=width, color_system=None, force_terminal=False)
    for one in lines:
        console.print(one)
    found = written.getvalue().splitlines()
    assert len(found) == len(lines), "no line is so long that it was broken"
    return [text.rstrip() for text in found]


def many(size: int, blocks: Blocks, *, apart: int = 0) -> NetworkView:
    """Return a network of `size` nodes on "b9", the last `apart` of them on "x2"."""
    blocks.add(line(10), finder=0)
    blocks.add("b5: x0 x1 x2", finder=size - 1)
    return blocks.view(*("b9" if node < size - apart else "x2" for node in range(size)))


def test_a_healthy_network_of_five() -> None:
    blocks = Blocks()
    blocks.add(line(8), finder=0)
    blocks.add("b7: b8", finder=4, txids=("t1", "t2"))
    blocks.add("b8: b9", finder=0)
    view = blocks.view(*["b9"] * 5)
    assert shown(view) == [
        "local/12345678  5 nodes  height 9  one tip  0 s old  20 H/s             00:00:45",
        "node  state        height  on    tip       peers mempool        balance    power",
        "   0  ● running         9  A     6239fffff     4       0    12.50000000  20 kH/s",
        "   1  ● running         9  A     6239fffff     4       1    13.50000000",
        "   2  ● running         9  A     6239fffff     4       2    14.50000000",
        "   3  ● running         9  A     6239fffff     4       3    15.50000000",
        "   4  ● running         9  A     6239fffff     4       4    16.50000000",
        "── blocks, by height ───────────────────────────────────────────────────────────",
        "    0   1   2   3   4   5   6   7     8   9",
        "A ─n0──n0──n0──n0──n0──n0──n0──n0──n4+2──n0  nodes 0 to 4",
        "── events ──────────────────────────────────────────────────────────────────────",
        *[f"00:00:{second} Node 0 found block {second}." for second in range(28, 40)],
        "q leaves.",
    ]


def test_a_cut_network_shows_its_branches_and_what_is_at_stake() -> None:
    blocks = Blocks()
    blocks.add(line(6), finder=0)
    blocks.add("b5: b6 b7 b8", finder=4)
    blocks.add("b5: x6 x7", finder=1, txids=("t1",))
    view = blocks.view("x7", "x7", "b8", "b8", "b7", groups=((0, 1), (2, 3, 4)))
    lines = shown(view)
    assert "2 branches" in lines[0]
    assert "cut: 0,1 | 2-4" in lines[0]
    assert [text.split()[4] for text in lines[2:7]] == ["B", "B", "A", "A", "A-1"]
    tree = lines[9:12]
    assert tree[0].endswith("n0──n4────n4──n4  nodes 2 and 3; node 4 is 1 behind")
    assert tree[1].startswith("B")
    assert tree[1].rstrip().endswith("└──n1──n1+1")
    assert tree[1].index("└") == tree[0].index("n0──n4────n4") + 1, "it leaves below the block that both share"
    assert "nodes 0 and 1, at stake: 2 rewards of 100 DURE, 1 payment" in " ".join(tree)


def test_a_losing_branch_that_everybody_has_left_says_what_was_lost() -> None:
    blocks = Blocks()
    blocks.add(line(10), finder=0)
    blocks.add("b5: x0 x1", finder=1, txids=("again", "never"))
    view = blocks.view("b9", "b9", fates={"again": "waits", "never": "gone"})
    text = " ".join(shown(view, width=120))
    assert "lost: 2 rewards of 100 DURE, 1 payment waits again, 1 payment gone" in text
    assert "one tip" in text


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("height", [20, 24, 40, 60])
@pytest.mark.parametrize("size", [1, 5, 8, 32, 64])
def test_it_fits_every_screen(width: int, height: int, size: int) -> None:
    blocks = Blocks()
    view = many(size, blocks, apart=size // 3)
    lines = shown(view, width, height)
    assert len(lines) == height
    assert max(map(cell_len, lines)) <= width
    assert lines[-1] == "q leaves."
    assert any("Node 0 found" in text for text in lines), "some events are always seen"
    assert any(text.startswith("A ─n0") for text in lines), "and so is the best branch"


def test_thirty_two_nodes_are_all_seen_on_eighty_columns() -> None:
    blocks = Blocks()
    view = many(32, blocks, apart=8)
    lines = shown(view, 80, 24)
    table = lines[2:18]
    seen = sorted(int(text[start : start + 2]) for text in table for start in (0, 41))
    assert seen == list(range(32))
    assert table[0].split()[:8] == ["0●", "9", "A", "6239f", "4", "0", "12.50", "20"]
    assert len({text[19:20] for text in table}) == 1, "columns are columns"


def test_of_more_nodes_than_fit_those_that_agree_are_counted() -> None:
    blocks = Blocks()
    view = many(64, blocks)
    odd = msgspec.structs.replace(view.nodes[63], state=NodeState.CRASHED, tip=None, height=None)
    view = msgspec.structs.replace(view, nodes=(*view.nodes[:63], odd))
    lines = shown(view, 80, 24)
    assert any("63✗" in text for text in lines), "the one that is down is what one wants to see"
    assert any("more on A" in text for text in lines)


def test_a_node_that_is_down_shows_nothing_it_has_not_told() -> None:
    blocks = Blocks()
    blocks.add("g a")
    lines = shown(blocks.view("a", None))
    assert lines[3].split() == ["1", "✗", "crashed", "-", "-", "-", "-", "-"]


def test_a_long_sentence_takes_several_lines_and_the_newest_is_always_seen() -> None:
    blocks = Blocks()
    blocks.add("g a")
    long = Event(START, "reorg", "Node 1 left 2 blocks. " * 8 + "The end.")
    lines = shown(blocks.view("a"), events=[*EVENTS, long])
    assert lines[-2].strip().endswith("The end.")
    assert all(text.startswith(" " * 9) for text in lines[-3:-1])
    assert any("found block 39" in text for text in lines)
    endless = Event(START, "warning", "word " * 1_000)
    lines = shown(blocks.view("a"), events=[*EVENTS, endless])
    assert lines[7].startswith("00:00:00 word word"), "of one that is longer than the screen its beginning"


def test_an_empty_network_is_drawn_too() -> None:
    assert len(shown(NetworkView())) == 24


def test_more_branches_than_fit_are_counted() -> None:
    blocks = Blocks()
    blocks.add(line(5), finder=0)
    for number in range(12):
        blocks.add(f"b2: s{number}", finder=1)
    assert any("more" in text for text in shown(blocks.view("b4"), height=40))


def test_a_branch_that_left_before_what_is_shown_is_named_all_the_same() -> None:
    blocks = Blocks()
    blocks.add(line(60), finder=0)
    blocks.add("b3: x0", finder=1)
    text = "\n".join(shown(blocks.view("b59", "x0")))
    assert "2 branches" in text
    assert "node 1, at stake: 1 reward of 50 DURE" in text
