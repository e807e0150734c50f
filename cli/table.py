"""Tables: drawn by rich on a terminal, plain columns anywhere else."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Collection, Sequence

import click

_MARKUP = re.compile(r"^\[([a-z ]+)\]")
"""A style at the start of a cell, as rich writes it; only our own cells have one."""


def show_table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[str] = (),
    wrapped: Collection[str] = (),
) -> None:
    """Print rows under titles. What we print fits a terminal of 80 columns.

    Args:
        right: titles of columns that are aligned to the right.
        wrapped: titles of columns that may take several lines where the terminal is too narrow.
    """
    if sys.stdout.isatty():
        _show_rich(titles, rows, right, wrapped)
        return
    plain = [list(titles), *([_MARKUP.sub("", cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in plain) for column in range(len(titles))]
    for row in plain:
        cells = [
            cell.rjust(width) if title in right else cell.ljust(width)
            for title, cell, width in zip(titles, row, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _show_rich(
    titles: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str], wrapped: Collection[str]
) -> None:
    """Print the table as rich draws it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), show_edge=False)
    for title in titles:
        table.add_column(title, justify="right" if title in right else "left", no_wrap=title not in wrapped)
    for row in rows:
        styles = [found.group(1) if (found := _MARKUP.match(cell)) else "" for cell in row]
        table.add_row(*(Text(_MARKUP.sub("", cell), style) for cell, style in zip(row, styles, strict=True)))
    Console(width=shutil.get_terminal_size().columns).print(table)
