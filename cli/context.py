"""What every command shares: its options, its errors as sentences, and its output as text or JSON."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from devnet.calls import Calls
    from devnet.folder import NetworkFolder

DEFAULT_FOLDER = ".dure"

INTERRUPTED = 130
"""Exit status after Ctrl-C, as a shell gives it to any program: 128 + SIGINT."""

FOLDER_HELP = "The network's folder. [default: the nodes in $DURE_NODE; else $DURE_DIR, or .dure]"


class Context:
    """The options that every command takes, wherever the user put them, and what follows from them."""

    def __init__(self) -> None:
        self.given_folder: str | None = None
        """The folder as the user typed it; None if it is $DURE_DIR or the default."""
        self.json = False

    @property
    def program(self) -> str:
        """How the user calls this command: hints have to work when they are pasted."""
        return os.environ.get("DURE_PROGRAM") or "dure"

    @property
    def folder(self) -> NetworkFolder:
        """The network: that of a folder, or the nodes elsewhere that $DURE_NODE names; --dir goes before both."""
        from devnet.folder import NetworkFolder

        if self.given_folder is None and (nodes := os.environ.get("DURE_NODE")):
            from devnet.remote import PASSWORD_VARIABLE, RemoteNetwork

            return RemoteNetwork(nodes, os.environ.get(PASSWORD_VARIABLE), self.program)
        path = self.given_folder or os.environ.get("DURE_DIR") or DEFAULT_FOLDER
        return NetworkFolder(Path(path).expanduser(), self.program, self.given_folder)

    @property
    def calls(self) -> Calls:
        """JSON-RPC to the nodes of that network."""
        from devnet.calls import Calls

        return Calls(self.folder)

    def show_bar(self, found: int, wanted: int) -> None:
        """Show how many of the wanted blocks are found: a bar on standard error, where there is a terminal for it."""
        if not self.json and sys.stderr.isatty():
            click.echo(f"\r  {'█' * found}{'·' * (wanted - found)} {found} of {wanted}", err=True, nl=found == wanted)

    def ask(self, question: str, nothing_done: str) -> None:
        """Ask the user whether to go on; where JSON was asked for there is nobody to ask.

        Args:
            nothing_done: said where the answer is no, up to how it is done without a question.

        Raises:
            Refused: the user does not want it.
        """
        from devnet.errors import Refused

        if self.json or not click.confirm(question, err=True):
            raise Refused(f"{nothing_done} without being asked: --yes")

    def emit(self, value: Any, text: str | Callable[[], None]) -> None:
        """Print what a command has to say: `value` as JSON where that was asked for, else `text`."""
        if self.json:
            print_json(value)
        elif callable(text):
            text()
        else:
            click.echo(text)

    def note(self, text: str) -> None:
        """Print a remark for a person; nothing where JSON was asked for."""
        if not self.json:
            click.echo(text)


def print_json(value: Any) -> None:
    """Print a value as JSON, on several lines."""
    import msgspec

    from rpc.encoding import encode

    click.echo(msgspec.json.format(encode(value), indent=2).decode())


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --dir and --json, which may stand before or after its name, and hand it the `Context`."""

    @click.pass_context
    def run(click_context: click.Context, /, folder_: str | None, json_: bool, **options: Any) -> Any:
        context = click_context.ensure_object(Context)
        if folder_ is not None:
            context.given_folder = folder_
        context.json = context.json or json_
        return command(context, **options)

    named = functools.update_wrapper(run, command)
    named = click.option("--json", "json_", is_flag=True, help="Print JSON.")(named)
    return click.option("--dir", "folder_", metavar="D", help=FOLDER_HELP)(named)


@contextmanager
def every_end_is_ctrl_c() -> Iterator[None]:
    """Let a closed terminal or a `kill` end the command as Ctrl-C does, so that all is put in order first."""
    import signal

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Commands(click.Group):
    """A group of commands whose errors are sentences with an exit status, in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands in the order of a user's first hour, not of the alphabet."""
        return list(self.commands)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Begin under the name by which the user calls us: the usage has to work when it is pasted, too."""
        if parent is None:
            info_name = os.environ.get("DURE_PROGRAM") or info_name
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        from devnet.errors import DevnetError

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except DevnetError as error:
            click.echo(str(error), err=True)
            raise click.exceptions.Exit(error.status) from error


def plural(count: int, noun: str) -> str:
    """Return "1 block", "2 blocks"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def join(items: list[str]) -> str:
    """Return "1", "1 and 2", "1, 2 and 3"."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def name_nodes(numbers: Sequence[int]) -> str:
    """Return "node 1", "nodes 1 and 3", "nodes 0 to 7"; the numbers ascend."""
    if len(numbers) == 1:
        return f"node {numbers[0]}"
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"nodes {numbers[0]} to {numbers[-1]}"
    return f"nodes {join(list(map(str, numbers)))}"


NODE = click.IntRange(min=0)
"""The number of a node; whether there is one is seen once the network is known."""
FILE = click.Path(path_type=Path, dir_okay=False)
"""A file to be read or written; whether that can be done is seen then."""
