"""Bad lines and wrong clocks: delay, loss, bandwidth, skew."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from cli.context import Context, common, name_nodes

if TYPE_CHECKING:
    from p2p.link_conditions import LinkConditions

OFF = "off"

ONE_WAY_HELP = "Only what A sends to B."


def _line(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the two ends of a line, and --one-way."""
    command = click.option("--one-way", is_flag=True, help=ONE_WAY_HELP)(command)
    command = click.argument("other", metavar="B")(command)
    return click.argument("one", metavar="A")(command)


@click.command()
@_line
@click.argument("duration", metavar="DURATION|off")
@click.option("--jitter", metavar="DURATION", help="By how much it is longer or shorter, evenly drawn. [default: 0ms]")
@common
def delay(context: Context, *, one: str, other: str, one_way: bool, duration: str, jitter: str | None) -> None:
    """Let what A and B send each other arrive later, such as 200ms.

    Each way so much; a round trip takes twice that. A and B are nodes, and either may be "all".
    """
    from devnet.errors import Misused
    from devnet.lines import with_delay
    from devnet.units import parse_duration

    if duration == OFF and jitter is not None:
        raise Misused("Without a delay there is nothing that a jitter could vary.")
    late = 0 if duration == OFF else parse_duration(duration)
    swing = 0 if jitter is None else parse_duration(jitter)
    _change(context, one, other, with_delay(late, swing), one_way=one_way, undo="delay", is_off=duration == OFF)


@click.command()
@_line
@click.argument("share", metavar="SHARE|off")
@common
def loss(context: Context, *, one: str, other: str, one_way: bool, share: str) -> None:
    """Lose a share of what A and B send each other, such as 10%.

    A and B are nodes, and either may be "all". Nothing is missing in the end, for a stream repairs itself: what is
    lost comes late, with all that follows it, after 200 ms and a round trip, and twice that each time it is lost
    again, as TCP does it. Lost datagrams stay lost.
    """
    from devnet.lines import with_loss
    from devnet.units import parse_share

    lost = 0 if share == OFF else parse_share(share)
    _change(context, one, other, with_loss(lost), one_way=one_way, undo="loss", is_off=share == OFF)


@click.command()
@_line
@click.argument("speed", metavar="SPEED|off")
@common
def bandwidth(context: Context, *, one: str, other: str, one_way: bool, speed: str) -> None:
    """Bound how fast A and B send to each other, such as 1mbit.

    So many bits a second each way. A and B are nodes, and either may be "all".
    """
    from devnet.lines import with_speed
    from devnet.units import parse_speed

    bound = None if speed == OFF else parse_speed(speed)
    _change(context, one, other, with_speed(bound), one_way=one_way, undo="bandwidth", is_off=speed == OFF)


def _change(
    context: Context,
    one: str,
    other: str,
    change: Callable[[LinkConditions], LinkConditions],
    *,
    one_way: bool,
    undo: str,
    is_off: bool,
) -> None:
    """Change some lines, and say what they do now."""
    from devnet.control import change_lines
    from devnet.lines import lines_between, tell_lines

    folder = context.folder
    pairs = lines_between(one, other, len(folder.load().nodes), one_way=one_way)
    bad = change_lines(folder, pairs, change)
    ends = f"{one} {other}" + (" --one-way" if one_way else "")
    if not bad:
        text = "Nothing happens any more to what they send."
    elif is_off:
        text = "\n".join(["What is left:", *tell_lines(bad), f"Mend all: {folder.hint('heal')}"])
    else:
        text = "\n".join(tell_lines(bad)) + f"\nTake it back: {folder.hint(f'{undo} {ends} {OFF}')}, or all: "
        text += folder.hint("heal")
    context.emit({"lines": [line_value(line) for line in bad]}, text)


def line_value(line: Any) -> dict[str, object]:
    """Return a bad line as JSON shows it."""
    conditions = line.conditions
    return {
        "from": line.source,
        "to": line.target,
        "delay_ms": conditions.delay_ms,
        "jitter_ms": conditions.jitter_ms,
        "loss_ppm": conditions.loss_ppm,
        "bits_per_second": conditions.bits_per_second,
    }


# A skew may begin with a minus, and then it is no option: -h must not be one either.
@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.argument("node")
@click.argument("amount", metavar="SKEW|off")
@common
def skew(context: Context, *, node: str, amount: str) -> None:
    """Set a node's clock ahead or behind, such as +90s or -2m.

    Counted from the clock of this machine; of one node or "all". Others hold back a block that is dated more than
    two minutes ahead of their own clock until it is due.
    """
    from devnet import control
    from devnet.lines import describe_skew, parse_nodes
    from devnet.units import parse_skew

    folder = context.folder
    seconds = 0 if amount == OFF else parse_skew(amount)
    numbers = parse_nodes(node, len(folder.load().nodes))
    control.skew(folder, numbers, seconds)
    clocks = "clock" if len(numbers) == 1 else "clocks"
    verb = "is" if len(numbers) == 1 else "are"
    text = f"The {clocks} of {name_nodes(numbers)} {verb} {describe_skew(seconds)}."
    if seconds:
        text += f"\nSet right again: {folder.hint(f'skew {node} {OFF}')}, or mend all: {folder.hint('heal')}"
    context.emit({"nodes": numbers, "seconds": seconds}, text)


COMMANDS = (delay, loss, bandwidth, skew)
