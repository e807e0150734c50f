"""A network as a whole: up, status, down."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from cli.context import INTERRUPTED, Context, common, every_end_is_ctrl_c, join, plural

if TYPE_CHECKING:
    from devnet.bring_up import Progress
    from devnet.folder import NetworkFolder, NetworkRecord
    from devnet.status import NodeStatus

TOPOLOGIES = ("line", "ring", "star", "full", "random")
"""As in devnet.topology, written here so that `dure --help` need not import it."""


@click.command()
@click.option("-n", "--nodes", type=click.IntRange(min=1), help="Nodes. [default: 5]")
@click.option(
    "--topology", type=click.Choice(TOPOLOGIES), help="Who knows whom. [default: full; from 9 nodes on random]"
)
@click.option("--miners", type=click.IntRange(min=0), help="Nodes that mine, evenly spread. [default: 2]")
@click.option("--hashrate", type=click.IntRange(min=1), help="Hashes per second of each miner. [default: 20000]")
@click.option("--detach", is_flag=True, help="Come back when the network is up, and leave it running.")
@click.option("--fresh", is_flag=True, help="Delete the network that is in the folder, coins and all, and start anew.")
@common
def up(
    context: Context,
    *,
    nodes: int | None,
    topology: str | None,
    miners: int | None,
    hashrate: int | None,
    detach: bool,
    fresh: bool,
) -> None:
    """Start a network of nodes, or resume the one in the folder.

    Without --detach the command stays, shows what the nodes log, and ends the network with Ctrl-C.
    """
    import random
    import time

    from devnet.bring_up import bring_up
    from devnet.launcher import Plan
    from devnet.topology import Topology

    folder = context.folder
    started = time.monotonic()
    plan = Plan(nodes, Topology(topology) if topology else None, miners, hashrate)
    with every_end_is_ctrl_c():
        try:
            record = bring_up(
                folder,
                plan,
                fresh=fresh,
                entropy=random.SystemRandom(),
                now=int(time.time()),
                progress=show_progress(context),
            )
        except KeyboardInterrupt:
            click.echo("\nInterrupted: the nodes that had been started are stopped again.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        seconds = time.monotonic() - started

        def show() -> None:
            context.emit(_describe(folder, record), lambda: _show_network(folder, record, seconds))

        if detach:
            show()
            _suggest(context, folder, len(record.nodes))
        else:
            _stay(context, folder, record, show)


def _suggest(context: Context, folder: NetworkFolder, size: int) -> None:
    """Say what one may do with a network that runs."""
    context.note(f"\nWatch it: {folder.hint('watch')}")
    if size > 1:
        context.note(f"Pay:      {folder.hint(f'send 0 {min(3, size - 1)} 12.5')}")
    context.note(f"End it:   {folder.hint('down')}")


def show_progress(context: Context) -> Progress:
    """Show steps as they begin, on standard error; the blocks as a bar where there is a terminal for it."""
    from devnet.bring_up import Progress

    shown = 0

    def step(text: str) -> None:
        if not context.json:
            click.echo(f"{text} …", err=True)

    def blocks(found: int, wanted: int) -> None:
        nonlocal shown
        if found > shown:
            shown = found
            context.show_bar(found, wanted)

    return Progress(step, blocks)


def _describe(folder: NetworkFolder, record: NetworkRecord) -> dict[str, object]:
    """Return a network as JSON shows it."""
    return {
        "dir": str(folder.path.absolute()),
        "tag": record.tag,
        "topology": record.topology,
        "hashrate": record.hashrate,
        "nodes": [
            {
                "id": node.id,
                "port": node.port,
                "rpc_url": node.rpc_url,
                "mines": node.mines,
                "peers": node.dials,
                "datadir": str(folder.node_path(node.id).absolute()),
                "pid": node.process.pid if node.process else None,
            }
            for node in record.nodes
        ],
    }


def _show_network(folder: NetworkFolder, record: NetworkRecord, seconds: float) -> None:
    """Print who is where."""
    from cli.table import show_table

    rows = [
        [
            str(node.id),
            node.peer_address,
            node.rpc_url,
            "all others" if len(node.dials) == len(record.nodes) - 1 > 1 else " ".join(map(str, node.dials)),
            f"{record.hashrate / 1000:g} kH/s" if node.mines else "",
        ]
        for node in record.nodes
    ]
    show_table(["node", "peers reach it at", "JSON-RPC", "connected to", "mines"], rows, wrapped=["connected to"])
    count = plural(len(record.nodes), "node")
    click.echo(f"{count} of network local/{record.tag[:8]} up in {seconds:.1f} s, in {folder.path}.")


def _stay(context: Context, folder: NetworkFolder, record: NetworkRecord, show: Callable[[], None]) -> None:
    """Show the network and then its logs until Ctrl-C, and then end it; or until somebody else has ended it."""
    try:
        show()
        context.note("\nCtrl-C ends the network; its data stay.\n")
        _follow(context, folder, record)
        context.note("The network was stopped.")
    except (KeyboardInterrupt, BrokenPipeError):
        from devnet.control import bring_down

        click.echo("\nStopping the nodes …", err=True)
        bring_down(folder)
        click.echo(f"Stopped. Resume it: {folder.hint('up')}", err=True)


def _follow(context: Context, folder: NetworkFolder, record: NetworkRecord) -> None:
    """Show the logs until the network has ended."""
    from cli.logs import show_lines
    from devnet.bring_up import watch_for_end
    from devnet.logs import LogFollower

    follower = LogFollower(folder, range(len(record.nodes)))
    try:
        show_lines(context, follower.follow(watch_for_end(folder)))
    finally:
        follower.close()


@click.command()
@common
def status(context: Context) -> None:
    """Show what every node is doing."""
    from devnet.status import network_status

    folder = context.folder
    record = folder.load()
    nodes = network_status(folder, record, context.calls)
    context.emit({"nodes": nodes, "faults": _faults(record)}, lambda: _show_status(folder, record, nodes))


def _faults(record: NetworkRecord) -> dict[str, object]:
    """Return what is wrong with a network on purpose, as JSON shows it."""
    from cli.lines import line_value

    return {
        "partition": record.partition,
        "lines": [line_value(line) for line in record.lines],
        "clocks": [{"node": node.id, "seconds": node.skew} for node in record.nodes if node.skew],
    }


def _show_status(folder: NetworkFolder, record: NetworkRecord, nodes: list[NodeStatus]) -> None:
    """Print the table, and what it means for the network."""
    from cli.table import show_table
    from devnet.faults import format_groups

    def cell(value: object) -> str:
        return "-" if value is None else str(value)

    styles = {"running": "green", "paused": "yellow", "starting": "yellow", "stopped": "dim"}
    rows = [
        [
            str(node.id),
            f"[{styles.get(node.state, 'red')}]{node.state}",
            cell(node.height),
            cell(node.tip and f"{node.tip[:12]}…"),
            cell(node.peers),
            cell(node.mempool),
            cell(node.balance),
            "yes" if record.nodes[node.id].mines else "",
        ]
        for node in nodes
    ]
    show_table(
        ["node", "state", "height", "tip", "peers", "mempool", "balance", "mines"],
        rows,
        right={"height", "peers", "mempool", "balance"},
    )
    tips = {node.tip for node in nodes if node.tip is not None}
    if record.partition:
        click.echo(f'Cut into "{format_groups(record.partition)}". Join them: {folder.hint("heal")}')
    _tell_faults(folder, record)
    if len(tips) == 1:
        click.echo("All running nodes are on one tip.")
    elif tips:
        click.echo(f"The running nodes are on {len(tips)} different tips.")
    elif folder.is_remote:
        click.echo("None of the nodes that $DURE_NODE names answers.")
    elif not any(node.pid for node in nodes):
        click.echo(f"The network is stopped. Resume it: {folder.hint('up')}")


MAX_LINES_TOLD = 8
"""Sentences about lines, should they all differ."""


def _tell_faults(folder: NetworkFolder, record: NetworkRecord) -> None:
    """Print which lines are bad and which clocks are wrong."""
    from devnet.lines import tell_clocks, tell_lines

    said = tell_lines(record.lines)
    if len(said) > MAX_LINES_TOLD:
        rest = len(said) - MAX_LINES_TOLD + 1
        said = [
            *said[: MAX_LINES_TOLD - 1],
            f"And {rest} such sentences more; all lines: {folder.hint('status --json')}",
        ]
    said += tell_clocks(record)
    if said:
        click.echo("\n".join(said) + f"\nMend all: {folder.hint('heal')}")


@click.command()
@common
def down(context: Context) -> None:
    """Stop all nodes cleanly; their data stay."""
    from devnet.control import bring_down

    folder = context.folder
    killed = bring_down(folder)
    if killed:
        click.echo(f"Had to be killed, for they did not stop in time: {join(list(map(str, killed)))}.", err=True)
    context.emit({"killed": killed}, f"The network in {folder.path} is stopped. Resume it: {folder.hint('up')}")


COMMANDS = (up, status, down)
