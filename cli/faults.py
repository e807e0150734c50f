"""Trouble on purpose: partition, heal, kill, stop, start, pause, resume. See `cli.lines` for lines and clocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.context import NODE, Context, common, join, name_nodes

if TYPE_CHECKING:
    from devnet.healing import Healed

some_nodes = click.argument(
    "nodes",
    type=NODE,
    nargs=-1,
    required=True,
    metavar="NODE...",
    callback=lambda _context, _parameter, nodes: tuple(dict.fromkeys(nodes)),
)
"""One node or several; a node that is named twice counts once."""


@click.command()
@click.argument("groups", nargs=-1, required=True, metavar='"GROUP | GROUP"')
@common
def partition(context: Context, *, groups: tuple[str, ...]) -> None:
    """Cut the network into groups of nodes, such as "0 1 | 2 3 4". Nodes not named form a group of their own."""
    from devnet.control import partition as cut
    from devnet.faults import format_groups

    folder = context.folder
    parts = cut(folder, " ".join(groups))
    example = folder.hint(f"mine {parts[0][0]} 2")
    context.emit(
        {"groups": parts},
        f'Cut into "{format_groups(parts)}": no block and no payment passes between them.\n'
        f"Let both sides find blocks, such as {example}, and look: {folder.hint('status')}\n"
        f"Join them again: {folder.hint('heal')}",
    )


@click.command()
@common
def heal(context: Context) -> None:
    """Join what was cut, mend all lines, set all clocks right.

    Whoever has less work follows whoever has more.
    """
    import time

    from devnet.healing import heal as join_again

    healed = join_again(context.folder, int(time.time()))
    value = {
        "groups": healed.groups,
        "heights": healed.heights,
        "undecided": healed.undecided,
        "lines": healed.lines,
        "clocks": healed.clocks,
        "early": healed.early,
        "one_tip": healed.one_tip,
        "seconds": healed.seconds,
    }
    context.emit(value, _tell_heal(context, healed))


def _tell_heal(context: Context, healed: Healed) -> str:
    """Return what was found on both sides, who follows whom, and whether they have."""
    sides = [name_nodes(group) for group in healed.groups]
    lines = _tell_mended(healed)
    if len(sides) > 1:
        lines += [f"  {side} came with height {height}" for side, height in zip(sides, healed.heights, strict=True)]
    if healed.undecided:
        equal = join([sides[place] for place in healed.winners])
        finder = healed.groups[healed.winners[0]][0]
        lines.append(
            f"The tips of {equal} have equal work, and each keeps the one it saw first: the next block decides.\n"
            f"Wait for a miner, or find it yourself: {context.folder.hint(f'mine {finder} 1')}"
        )
        return "\n".join(lines)
    if len(sides) > 1 and healed.same_tip:
        lines.append("They had the same tip: nobody has anything to give up.")
    elif len(sides) > 1:
        lines.append(f"The tip of {sides[healed.winners[0]]} has the most work; the others follow it.")
    if healed.early and not healed.one_tip:
        lines.append(
            f"It is dated too far ahead for clocks that are right: in {healed.early} s at most they take all of it, "
            "unless they find more work themselves."
        )
    elif healed.one_tip:
        lines.append(f"All are on one tip after {healed.seconds:.1f} s.")
    else:
        lines.append(f"They are not on one tip yet. Look: {context.folder.hint('status')}")
    loser = next((group[0] for place, group in enumerate(healed.groups) if place not in healed.winners), None)
    if loser is not None and not healed.same_tip:
        lines.append(f"What the others gave up: {context.folder.hint(f'logs {loser}')}")
    return "\n".join(lines)


def _tell_mended(healed: Healed) -> list[str]:
    """Return what was wrong and is not any more."""
    said = ["The network is whole again."] if healed.cut else []
    if healed.lines:
        said.append("All lines are good again.")
    if healed.clocks:
        clocks = "clock" if len(healed.clocks) == 1 else "clocks"
        verb = "is" if len(healed.clocks) == 1 else "are"
        said.append(f"The {clocks} of {name_nodes(healed.clocks)} {verb} right again.")
    return said


@click.command()
@some_nodes
@common
def kill(context: Context, *, nodes: tuple[int, ...]) -> None:
    """Kill nodes as a power cut would (SIGKILL)."""
    from devnet import control

    control.kill(context.folder, nodes)
    _say(
        context,
        nodes,
        f"killed. What it had acknowledged is on disk. Start it again: {_again(context, 'start', nodes)}",
    )


@click.command()
@some_nodes
@common
def stop(context: Context, *, nodes: tuple[int, ...]) -> None:
    """Stop nodes cleanly (SIGTERM)."""
    from devnet import control

    control.stop(context.folder, nodes)
    _say(context, nodes, f"stopped. Start it again: {_again(context, 'start', nodes)}")


@click.command()
@some_nodes
@common
def start(context: Context, *, nodes: tuple[int, ...]) -> None:
    """Start nodes that were stopped or killed; they catch up by themselves."""
    from devnet import control

    control.start(context.folder, nodes)
    _say(context, nodes, f"running. It catches up by itself: {context.folder.hint('status')}")


@click.command()
@some_nodes
@common
def pause(context: Context, *, nodes: tuple[int, ...]) -> None:
    """Halt nodes where they are (SIGSTOP); to the others they fall silent."""
    from devnet import control

    control.pause(context.folder, nodes)
    _say(context, nodes, f"paused. Let it go on: {_again(context, 'resume', nodes)}")


@click.command()
@some_nodes
@common
def resume(context: Context, *, nodes: tuple[int, ...]) -> None:
    """Let paused nodes go on (SIGCONT)."""
    from devnet import control

    control.resume(context.folder, nodes)
    _say(context, nodes, f"going on. Look: {context.folder.hint('status')}")


def _again(context: Context, verb: str, nodes: tuple[int, ...]) -> str:
    """Return the command that undoes what was done to `nodes`."""
    return context.folder.hint(f"{verb} {' '.join(map(str, nodes))}")


def _say(context: Context, nodes: tuple[int, ...], text: str) -> None:
    """Print what became of some nodes."""
    subject = name_nodes(sorted(set(nodes))).capitalize() + (" is" if len(nodes) == 1 else " are")
    if len(nodes) > 1:
        text = text.replace("What it had", "What they had").replace("Start it", "Start them")
        text = text.replace("It catches up by itself", "They catch up by themselves").replace("Let it", "Let them")
    context.emit({"nodes": nodes}, f"{subject} {text}")


COMMANDS = (partition, heal, kill, stop, start, pause, resume)
