"""The logs of all nodes as one."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from cli.context import NODE, Context, common

if TYPE_CHECKING:
    from devnet.logs import LogLine

SHOWN_BEFORE = 20
"""Lines of the past with which `logs -f` begins."""

NODE_COLOURS = ("cyan", "magenta", "blue", "green", "yellow", "bright_cyan", "bright_magenta", "bright_blue")
LEVEL_COLOURS = {"debug": "bright_black", "warning": "yellow", "error": "red", "critical": "red"}
FORK_EVENTS = ("fork", "reorg")
"""What the names of those events begin with that tell of a fork: a person should not miss them."""


@click.command()
@click.argument("node", type=NODE, required=False)
@click.option("-f", "--follow", is_flag=True, help="Stay, and show what is written from now on.")
@click.option("-n", "--lines", type=click.IntRange(min=0), help="Only the last so many. [default: all; with -f 20]")
@common
def logs(context: Context, *, node: int | None, follow: bool, lines: int | None) -> None:
    """Show the logs of all nodes, or of one, in the order of time."""
    from collections import deque

    from devnet.bring_up import watch_for_end
    from devnet.logs import LogFollower, read_logs

    folder = context.folder
    record = folder.load()
    nodes = [one.id for one in record.nodes] if node is None else [record.node(node).id]
    follower = LogFollower(folder, nodes) if follow else None
    try:
        past: Iterable[LogLine] = read_logs(folder, nodes)
        last = SHOWN_BEFORE if follow and lines is None else lines
        show_lines(context, past if last is None else deque(past, maxlen=last))
        if follower is not None:
            show_lines(context, follower.follow(watch_for_end(folder)))
            click.echo("No node runs any more.", err=True)
    except KeyboardInterrupt:
        if not follow:
            raise
        click.echo()
    finally:
        if follower is not None:
            follower.close()


def show_lines(context: Context, lines: Iterable[LogLine]) -> None:
    """Print log lines as they come: JSON with the node's number where that was asked for, else for a person."""
    from rpc.encoding import encode

    coloured = sys.stdout.isatty()
    for line in lines:
        if context.json:
            click.echo(encode({"node": line.node, **line.fields}))
        else:
            click.echo(render(line), color=coloured)


def render(line: LogLine) -> str:
    """Return a log line for a person: time of day (UTC), node, event, and what belongs to it."""
    fields = dict(line.fields)
    fields.pop("time", None)
    level = str(fields.pop("level", "info")).lower()
    event = str(fields.pop("event", ""))
    logger = str(fields.pop("logger", "")).removeprefix("node.")
    time_of_day = line.time[11:23] if len(line.time) >= 23 else line.time
    says = str(fields.pop("says", ""))  # a whole sentence, where an event has one
    colour = NODE_COLOURS[line.node % len(NODE_COLOURS)]
    is_fork = event.startswith(FORK_EVENTS)
    head = [
        click.style(time_of_day, dim=True),
        click.style(f"node {line.node}", fg=colour),
        *([click.style(level.upper(), fg=LEVEL_COLOURS.get(level))] if level != "info" else []),
        *([click.style(logger, dim=True)] if logger else []),
        click.style(_printable(event), fg="yellow" if is_fork else LEVEL_COLOURS.get(level), bold=True),
        *([click.style(f"({_printable(says)})", bold=True)] if says else []),
    ]
    return " ".join([*head, *(f"{click.style(name, dim=True)}={_value(value)}" for name, value in fields.items())])


def _value(value: Any) -> str:
    """Return a value as one word where that is possible; text from peers cannot move the cursor."""
    if isinstance(value, str):
        shown = _printable(value)
        return f'"{shown}"' if " " in shown or not shown else shown
    if isinstance(value, list):
        return "[" + ",".join(map(_value, value)) + "]"
    return _printable(str(value))


def _printable(text: str) -> str:
    """Return text with what is no letter, sign or blank replaced: a terminal obeys control characters."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


COMMANDS = (logs,)
