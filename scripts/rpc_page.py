"""Write the table of methods in docs/rpc.md: `.venv/bin/python -m scripts.rpc_page`, after any change of a method."""

from __future__ import annotations

import sys
from pathlib import Path

from node.api.catalogue import ALL
from node.api.method import Area, Method

PAGE = Path(__file__).resolve().parent.parent / "docs" / "rpc.md"
BEGIN, END = "<!-- the table is made by scripts/rpc_page.py -->\n", "<!-- end of the table -->\n"


def table() -> str:
    """Return the methods by area, one line each, in the order of `help`."""
    lines: list[str] = []
    for area in Area:
        methods = sorted((each for each in ALL if each.area is area), key=lambda each: each.name)
        if methods:
            lines += ["", f"### {area}", "", "| call | | |", "|---|---|---|", *map(_row, methods)]
    return "\n".join([*lines, "", ""])


def _row(method: Method) -> str:
    marks = {
        "reads": method.reads,
        "waits": method.waits,
        "wallet": method.needs_wallet,
        "own networks": method.private,
    }
    told = ", ".join(mark for mark, holds in marks.items() if holds)
    return f"| `{method.usage}` | {method.summary} | {told} |"


def with_table(page: str) -> str:
    """Return the page with the table as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


def main() -> int:
    """Write the page anew."""
    page = PAGE.read_text()
    PAGE.write_text(with_table(page))
    print("unchanged" if with_table(page) == page else f"wrote {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
