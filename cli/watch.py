"""A network live on the screen, or a recorded one again at any speed."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from cli.context import Context, common

if TYPE_CHECKING:
    from cli.watch_output import Output
    from cli.watch_screen import Picture
    from devnet.folder import NetworkFolder, NetworkRecord
    from devnet.watch.live import LiveWatch
    from devnet.watch.recording import Moment
    from devnet.watch.state import Event

MAX_EVENTS = 200
"""Events that are kept for the screen: more than the tallest one shows."""

ONCE_EVENTS = 12
"""Events below a picture that is drawn once."""

TICK_SECONDS = 1.0
"""How often the clock on the screen moves when nothing else does."""

LONGEST_GAP = 60.0
"""Seconds of a recording in which nothing was seen are shortened to this: nobody watched meanwhile."""

MIN_SPEED, MAX_SPEED = 1 / 64, 65_536.0
"""The slowest and the fastest replay."""

HOME = ""
"""What `--replay` without a file means: what was recorded in the network's folder."""


@click.command()
@click.option("--replay", metavar="[FILE]", is_flag=False, flag_value=HOME, help="Play a recording instead.")
@click.option(
    "--speed", type=click.FloatRange(MIN_SPEED, MAX_SPEED), default=1.0, help="How fast to play it. [default: 1]"
)
@click.option("--record", metavar="FILE", type=click.Path(path_type=Path), help="Record here. [default: D/watch.jsonl]")
@click.option("--once", is_flag=True, help="Draw one picture, and end.")
@common
def watch(context: Context, *, replay: str | None, speed: float, record: Path | None, once: bool) -> None:
    """Follow the network on the screen: nodes, the last blocks with their branches, and what happens, in sentences.

    It is recorded meanwhile, and --replay plays that again. In a pipe only the sentences are written. Ctrl-C or q
    leaves the view, and the nodes go on.
    """
    if math.isnan(speed):  # which no range keeps out
        raise click.BadParameter("it must be a number.", param_hint="--speed")
    if replay is None:
        _watch_live(context, record, once=once)
        return
    if record is not None:
        raise click.UsageError("What is replayed is recorded already: --replay and --record do not go together.")
    _watch_recorded(context, Path(replay) if replay != HOME else None, speed, once=once)


# Live


def _watch_live(context: Context, file: Path | None, *, once: bool) -> None:
    from devnet.status import require_network_up
    from devnet.watch.live import LiveWatch

    folder = context.folder
    record = folder.load()
    require_network_up(folder, record)
    live = LiveWatch(folder, record, file)
    try:
        _follow(context, folder, record, live, once=once)
    finally:
        live.close()


def _follow(context: Context, folder: NetworkFolder, record: NetworkRecord, live: LiveWatch, *, once: bool) -> None:
    """Show one look after the other until the user leaves, or no node runs any more."""
    from cli.watch_output import draw_once, output
    from devnet.bring_up import watch_for_end
    from devnet.watch.live import LOOK_SECONDS

    title = f"local/{record.tag[:8]}" if record.tag else _elsewhere(record)
    events = deque(live.past, maxlen=MAX_EVENTS)
    if once:
        moment = live.look()
        told = list(events) or moment.events  # the first look sums up, for those who saw nothing before
        draw_once(context, moment, _picture(moment, told[-ONCE_EVENTS:], title))
        return
    is_over = _never if folder.is_remote else watch_for_end(folder)
    with output(context) as shown:
        while not is_over():
            began = time.monotonic()
            moment = live.look()
            events.extend(moment.events)
            shown.show(moment, _picture(moment, events, title, f"q leaves the view; the nodes go on. {live.note}"))
            if "q" in shown.wait(LOOK_SECONDS - (time.monotonic() - began)):
                return
    if is_over():
        click.echo("No node runs any more.", err=True)


def _elsewhere(record: NetworkRecord) -> str:
    """Return what nodes are called of which only their URLs are known."""
    first, *others = record.nodes
    return "nodes elsewhere" if others else f"{first.host}:{first.rpc_port}"


def _never() -> bool:
    """Tell that nodes elsewhere may always come back."""
    return False


def _picture(moment: Moment, events: Iterable[Event], title: str, foot: str = "", now: float | None = None) -> Picture:
    from cli.watch_screen import Picture

    return Picture(moment.view, list(events), title, moment.at if now is None else now, foot)


# Replay


class Pace(NamedTuple):
    """How a replay goes on."""

    speed: float
    halted: bool = False
    ended: bool = False

    def obey(self, keys: str) -> Pace:
        """Return how it goes on after some keys."""
        pace = self
        for key in keys:
            match key:
                case "q":
                    pace = pace._replace(ended=True)
                case " ":
                    pace = pace._replace(halted=not pace.halted)
                case "+" | "=":
                    pace = pace._replace(speed=min(pace.speed * 2, MAX_SPEED))
                case "-":
                    pace = pace._replace(speed=max(pace.speed / 2, MIN_SPEED))
                case _:
                    pass
        return pace

    @property
    def title(self) -> str:
        """What stands above it."""
        return f"replay {self.speed:g}x"

    @property
    def foot(self) -> str:
        """What stands below it."""
        return f"{'Halted. ' if self.halted else ''}q leaves; space halts and goes on; + and - change the speed."


def _watch_recorded(context: Context, file: Path | None, speed: float, *, once: bool) -> None:
    from cli.watch_output import draw_once, output
    from devnet.errors import Refused
    from devnet.watch.recording import FILE, network_of, replay

    if file is None:
        folder = context.folder
        if folder.is_remote:
            raise Refused("Nodes elsewhere have no folder with a recording. Name the file: --replay FILE")
        tag = folder.load().tag
        file = folder.path / FILE
        if file.exists() and network_of(file) not in {tag, None}:
            raise Refused(f"{file} is of the network that was here before. Watch this one first; or name the file.")
    moments = replay(file)
    events: deque[Event] = deque(maxlen=MAX_EVENTS)
    if not once:
        with output(context) as shown:
            play(shown, moments, events, Pace(speed))
        return
    last = None
    for last in moments:
        events.extend(last.events)
    if last is not None:
        draw_once(context, last, _picture(last, list(events)[-ONCE_EVENTS:], f"replay of {file.name}"))


def play(shown: Output, moments: Iterable[Moment], events: deque[Event], pace: Pace) -> None:
    """Show one moment after the other, each for as long as it lasted, divided by the speed."""
    moment: Moment | None = None
    for following in moments:
        if moment is not None:
            pace = _hold(shown, moment, following.at, events, pace)
            if pace.ended:
                return
        moment = following
        events.extend(moment.events)
        shown.show(moment, _picture(moment, events, pace.title, pace.foot))
    if moment is not None:
        shown.show(
            moment, _picture(moment, events, pace.title, "This is the end of the recording. q leaves."), last=True
        )
        shown.wait_for_end()


def _hold(shown: Output, moment: Moment, until: float, events: deque[Event], pace: Pace) -> Pace:
    """Keep a moment on the screen until the next one is due, and do what is asked by keys."""
    left = min(max(0.0, until - moment.at), LONGEST_GAP)
    while (left > 0 or pace.halted) and not pace.ended:
        step = TICK_SECONDS if pace.halted else min(left / pace.speed, TICK_SECONDS)
        began = time.monotonic()
        keys = shown.wait(step)
        if not pace.halted:
            left -= pace.speed * (min(time.monotonic() - began, step) if keys else step)
        pace = pace.obey(keys)
        if left > 0 or pace.halted:
            shown.show(moment, _picture(moment, events, pace.title, pace.foot, now=until - max(0.0, left)))
    return pace


COMMANDS = (watch,)
