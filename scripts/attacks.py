"""Which tests stand behind each entry of docs/attacks.md: `scripts/attacks [--missing] [NUMBER | RANGE ...]`.

A test covers an entry if its docstring starts with a number (`A017: ...`) and names it, there or further on. Tests are
read, not run: whether they hold is what `scripts/test` says.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ENTRY = re.compile(r"^- A(\d{3}) (.+)$", re.MULTILINE)
NAMED = re.compile(r"\bA(\d{3})(?:-A(\d{3}))?\b")
"""`A017`, or `A017-A020` for all four."""


class Case(NamedTuple):
    """A test function, by where it stands."""

    path: str
    line: int
    name: str
    entries: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.name}"


def entries(root: Path) -> dict[int, str]:
    """Return the title of each entry of the list, by its number; raise ValueError for a number given twice."""
    found: dict[int, str] = {}
    for number, title in ENTRY.findall((root / "docs" / "attacks.md").read_text()):
        if int(number) in found:
            raise ValueError(f"A{number} stands twice in docs/attacks.md")
        found[int(number)] = title
    return found


def cases(root: Path) -> Iterator[Case]:
    """Yield every test that names an entry, by file and line."""
    for path in sorted((root / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                text = ast.get_docstring(node) or ""
                if NAMED.match(text):
                    ranges = (range(int(first), int(last or first) + 1) for first, last in NAMED.findall(text))
                    named = tuple(dict.fromkeys(number for each in ranges for number in each))
                    yield Case(path.relative_to(root).as_posix(), node.lineno, node.name, named)


def numbers(text: str) -> range:
    """Read `17`, `A017` or `1-51`; both ends belong to a range."""
    match = re.fullmatch(r"A?(\d{1,3})(?:-A?(\d{1,3}))?", text)
    if match is None or (match[2] and int(match[2]) < int(match[1])):
        raise argparse.ArgumentTypeError(f"{text} is neither a number nor a range such as 1-51")
    return range(int(match[1]), int(match[2] or match[1]) + 1)


def chosen(listed: Iterable[int], ranges: list[range]) -> list[int]:
    """Return which of the listed numbers are asked for, in order; all if no range is given."""
    return sorted(number for number in listed if not ranges or any(number in each for each in ranges))


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Print the entries asked for with their tests; return 1 if one has none, 2 if one is not in the list."""
    parser = argparse.ArgumentParser(
        prog="scripts/attacks", description="The tests behind each entry of docs/attacks.md."
    )
    parser.add_argument("--missing", action="store_true", help="print only the entries that no test names")
    parser.add_argument("ranges", nargs="*", type=numbers, metavar="RANGE", help="17, A017 or 1-51; all by default")
    asked = parser.parse_args(arguments)
    listed, named = entries(root), list(cases(root))
    wrong = sorted({number for test in named for number in test.entries} - listed.keys())
    wrong += sorted({number for each in asked.ranges for number in (each[0], each[-1])} - listed.keys())
    for number in wrong:
        print(f"A{number:03} is not in docs/attacks.md.", file=sys.stderr)
    if wrong:
        return 2
    missing = 0
    for number in chosen(listed, asked.ranges):
        behind = [test for test in named if number in test.entries]
        missing += not behind
        if behind and asked.missing:
            continue
        print(f"A{number:03} {listed[number]}" + ("" if behind else ": missing"))
        for test in behind:
            print(f"    {test}")
    print(f"{missing} missing of {len(chosen(listed, asked.ranges))}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
