"""Snapshots of a whole network: save, load, list, delete."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from cli.context import Commands, Context, common, plural

if TYPE_CHECKING:
    from devnet.archive import Manifest


@click.group(cls=Commands)
def snapshot() -> None:
    """Keep a whole network in a file, and bring it back.

    Its chains, wallets, mempools, settings and faults.
    """


@snapshot.command()
@click.argument("name")
@click.option("--replace", is_flag=True, help="Write over a snapshot of that name.")
@common
def save(context: Context, *, name: str, replace: bool) -> None:
    """Keep the network as it is now under NAME.

    Nodes that run stop for a moment, and go on.
    """
    from devnet.snapshots import save_snapshot

    folder = context.folder
    started = time.monotonic()
    path, manifest = save_snapshot(folder, name, int(time.time()), replace=replace)
    seconds = time.monotonic() - started
    size = path.stat().st_size
    context.emit(
        {"name": name, "path": str(path.absolute()), "bytes": size, "seconds": round(seconds, 3), **_value(manifest)},
        f"Saved {_nodes(manifest)} in {path} ({_size(size)}, {seconds:.1f} s).\n"
        "It holds the keys of the wallets: whoever has the file has the coins.\n"
        f"Come back to it: {folder.hint(f'snapshot load {name}')}\n"
        f"Or beside this one: {folder.hint(f'snapshot load {name} --into OTHER')}",
    )


@snapshot.command()
@click.argument("name", metavar="NAME|FILE")
@click.option("--into", metavar="D", help="Another folder to load it into; this one stays as it is.")
@click.option("--replace", is_flag=True, help="Even if another network is there: it is deleted, coins and all.")
@click.option("--no-start", is_flag=True, help="Leave the nodes stopped.")
@common
def load(context: Context, *, name: str, into: str | None, replace: bool, no_start: bool) -> None:
    """Bring back what was saved as NAME, or in FILE.

    It takes the place of the network in the folder. Ports are chosen anew. Nodes that ran when it was saved are
    started.
    """
    import random

    from cli.network import show_progress
    from devnet.archive import Archive
    from devnet.snapshots import find_snapshot, load_snapshot

    started = time.monotonic()
    archive = Archive(find_snapshot(context.folder, name))
    if into is not None:
        context.given_folder = into
    folder = context.folder
    record = load_snapshot(
        folder,
        archive,
        replace=replace,
        start=not no_start,
        entropy=random.SystemRandom(),
        progress=show_progress(context),
    )
    seconds = time.monotonic() - started
    state, then = (
        ("stopped", f"Start it: {folder.hint('up')}") if no_start else ("up", f"Look: {folder.hint('status')}")
    )
    context.emit(
        {
            "dir": str(folder.path.absolute()),
            "seconds": round(seconds, 3),
            "started": [node.id for node in record.nodes if node.wanted == "running"],
            **_value(archive.manifest),
        },
        f"Loaded {_nodes(archive.manifest)} into {folder.path} in {seconds:.1f} s; it is {state}.\n{then}",
    )


@snapshot.command(name="list")
@common
def list_(context: Context) -> None:
    """Show what was saved."""
    from cli.table import show_table
    from devnet.snapshots import list_snapshots

    folder = context.folder
    listed = list_snapshots(folder)
    value = [
        {"name": one.name, "path": str(one.path.absolute()), "bytes": one.size}
        | ({"fault": one.fault} if one.manifest is None else _value(one.manifest))
        for one in listed
    ]
    rows = [
        [one.name, _size(one.size), *(["[red]damaged", "", ""] if one.manifest is None else _row(one.manifest))]
        for one in listed
    ]

    def show() -> None:
        if not rows:
            click.echo(f"Nothing was saved yet. Save: {folder.hint('snapshot save NAME')}")
            return
        show_table(["name", "size", "saved (UTC)", "nodes", "height"], rows, right={"size", "nodes", "height"})
        for one in listed:
            if one.manifest is None:
                click.echo(one.fault)

    context.emit({"snapshots": value}, show)


@snapshot.command()
@click.argument("name")
@common
def delete(context: Context, *, name: str) -> None:
    """Delete what was saved under NAME."""
    from devnet.snapshots import delete_snapshot

    path = delete_snapshot(context.folder, name)
    context.emit({"name": name, "path": str(path.absolute())}, f"Deleted {path}.")


def _value(manifest: Manifest) -> dict[str, Any]:
    """Return what a snapshot holds as JSON shows it."""
    return {
        "saved": manifest.made,
        "program": manifest.program,
        "tag": manifest.network.tag,
        "nodes": len(manifest.network.nodes),
        "heights": manifest.heights,
    }


def _row(manifest: Manifest) -> list[str]:
    when = datetime.fromtimestamp(manifest.made, UTC)
    return [f"{when:%Y-%m-%d %H:%M:%S}", str(len(manifest.network.nodes)), _height(manifest.heights)]


def _height(heights: Sequence[int | None]) -> str:
    known = sorted({height for height in heights if height is not None})
    if not known:
        return "-"
    return str(known[0]) if len(known) == 1 else f"{known[0]} to {known[-1]}"


def _nodes(manifest: Manifest) -> str:
    """Return "5 nodes at height 42"."""
    height = _height(manifest.heights)
    return plural(len(manifest.network.nodes), "node") + ("" if height == "-" else f" at height {height}")


def _size(size: int) -> str:
    return f"{size / 1024:.0f} KiB" if size < 1024 * 1024 else f"{size / 1024 / 1024:.1f} MiB"


COMMANDS = (snapshot,)
