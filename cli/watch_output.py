"""Where `dure watch` shows what it sees: the whole terminal, or lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from cli.context import Context, every_end_is_ctrl_c

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from cli.keys import Keys
    from cli.watch_screen import Picture
    from devnet.watch.recording import Moment
    from devnet.watch.state import Event

FRAME_SECONDS = 0.1
"""The terminal is drawn no more often than this, however fast a replay is."""

TALL = 500
"""Lines of a screen on which everything has room."""


class Output:
    """Where moments are shown, in a pipe: each event as a line, or each moment as JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._last: Moment | None = None

    def show(self, moment: Moment, picture: Picture, *, last: bool = False) -> None:
        """Show a moment, once however often it is given.

        Args:
            moment: what is to be told.
            picture: the same for a screen.
            last: nothing follows.
        """
        del picture, last
        if self._last is not None and (moment is self._last or (not moment.events and moment.view == self._last.view)):
            return
        self._last = moment
        if self._as_json:
            click.echo(json_line(moment))
        else:
            for event in moment.events:
                click.echo(event_line(event))
        sys.stdout.flush()

    def wait(self, seconds: float) -> str:
        """Wait; return the keys that were pressed meanwhile."""
        time.sleep(max(0.0, seconds))
        return ""

    def wait_for_end(self) -> None:
        """Return when the user has seen enough."""


class Screen(Output):
    """The whole terminal."""

    def __init__(self, console: Console, live: Live, keys: Keys) -> None:
        super().__init__(as_json=False)
        self._console, self._live, self._keys = console, live, keys
        self._drawn = 0.0

    def show(self, moment: Moment, picture: Picture, *, last: bool = False) -> None:
        """Draw the picture, unless one was drawn just now and others follow."""
        from rich.console import Group

        from cli.watch_screen import draw

        del moment
        if not last and time.monotonic() - self._drawn < FRAME_SECONDS:
            return
        size = self._console.size
        self._live.update(Group(*draw(picture, size.width, size.height)), refresh=True)
        self._drawn = time.monotonic()

    def wait(self, seconds: float) -> str:
        """Wait for keys, or until the time is over."""
        return self._keys.wait(seconds)

    def wait_for_end(self) -> None:
        """Wait for a q."""
        while "q" not in self.wait(60.0):
            pass


@contextmanager
def output(context: Context) -> Iterator[Output]:
    """Take the terminal over, and give it back as it was; in a pipe, write lines.

    Ctrl-C, a closed terminal, and a pipe that nobody reads any more are the usual ways to leave.
    """
    try:
        if context.json or not sys.stdout.isatty():
            yield Output(as_json=context.json)
            return
        from rich.console import Console
        from rich.live import Live

        from cli.keys import Keys

        console = Console()
        with every_end_is_ctrl_c(), Keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
            yield Screen(console, live, keys)
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        with suppress(OSError):  # or Python would complain at its end that the rest cannot be written
            sys.stdout.close()


def draw_once(context: Context, moment: Moment, picture: Picture) -> None:
    """Print one picture, as wide as the terminal and as tall as it needs to be."""
    import shutil

    from rich.console import Console

    from cli.watch_screen import draw

    if context.json:
        click.echo(json_line(moment))
        return
    width = shutil.get_terminal_size().columns
    console = Console(width=width)
    lines = draw(picture, width, TALL)
    while lines and not lines[-1].plain.strip():
        lines.pop()
    for line in lines:
        console.print(line, no_wrap=True, crop=True)


def event_line(event: Event) -> str:
    """Return an event as a line: time of day (UTC), then its sentence."""
    return f"{time.strftime('%H:%M:%S', time.gmtime(event.at))} {event.text}"


def json_line(moment: Moment) -> bytes:
    """Return a moment as one line of JSON."""
    import msgspec

    view = msgspec.structs.asdict(moment.view)
    blocks: Sequence[object] = list(moment.view.blocks.values())
    return msgspec.json.encode({"at": moment.at, "events": moment.events, **view, "blocks": blocks})
