"""Snapshots: a whole network in a file, at rest when it was taken, and brought back here or anywhere else.

D/snapshots/NAME.snapshot   see `devnet.archive`

Left out is what belongs to one place or one run: ports, processes, locks, cookies, logs, and the addresses of peers,
which nodes of such a network have from their settings. All else in a data directory is taken along, whatever it is.
"""

from __future__ import annotations

import os
import random
import re
import signal
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from devnet import staging
from devnet.archive import FORMAT, SUFFIX, Archive, ArchiveWriter, Manifest, archives, clear_unfinished
from devnet.bring_up import Progress, start_network
from devnet.calls import Calls
from devnet.errors import DevnetError, Misconfigured, Misused, Refused
from devnet.faults import blocked_peers
from devnet.folder import NetworkFolder, NetworkRecord, NodeRecord
from devnet.launcher import is_alive, is_paused, start_nodes, stop_nodes, write_settings
from devnet.lines import conditions_of
from devnet.ports import choose_ports
from devnet.processes import send_to_family
from node import address_gossip, link_faults, partition, skewed_clock
from node.storage.files import DirectoryFiles
from node.version import VERSION
from p2p.transport import parse_address
from rpc.schema import BlockchainInfo

FOLDER: Final = "snapshots"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_OF_ONE_PLACE: Final = frozenset({
    "dured.toml",  # kept in the manifest, without ports
    "output.log", "debug.log", "lock.mdb", address_gossip.FILE,
    partition.FILE, link_faults.FILE, skewed_clock.FILE,  # from the record, which names nodes instead of ports
})  # fmt: skip
_ADDRESSES: Final = ("bind", "port", "rpc_bind", "rpc_port", "connect")
"""Settings that are another in every place."""


class Listed(NamedTuple):
    """One file in the folder of snapshots."""

    name: str
    path: Path
    size: int
    """Bytes of the file."""
    manifest: Manifest | None
    """None if it cannot be read."""
    fault: str
    """Why not."""


def _place(folder: NetworkFolder) -> Path:
    """Return where snapshots are.

    Raises:
        Refused: the network is not in a folder here.
    """
    return folder.node_path(0).parent / FOLDER


def snapshot_path(folder: NetworkFolder, name: str) -> Path:
    """Return where the snapshot of a name is, or would be.

    Raises:
        Misused: no snapshot can have that name.
    """
    if _NAME.fullmatch(name) is None or name.endswith(SUFFIX):
        raise Misused(
            f"{name[:80]!r} is no name for a snapshot: letters, digits, dots, dashes and underscores, at most 64, and "
            "a letter or digit first."
        )
    return _place(folder) / f"{name}{SUFFIX}"


def find_snapshot(folder: NetworkFolder, name: str) -> Path:
    """Return where a snapshot is: of that name in this folder, or at that path.

    Raises:
        Misused: neither a name nor the path of such a file.
        Refused: there is none.
    """
    if "/" in name or name.endswith(SUFFIX):
        return Path(name).expanduser()
    path = snapshot_path(folder, name)
    if not path.exists():
        known = ", ".join(listed.name for listed in list_snapshots(folder)) or "none"
        raise Refused(f"There is no snapshot {name!r} in {path.parent}; there: {known}.")
    return path


def list_snapshots(folder: NetworkFolder) -> list[Listed]:
    """Return all snapshots of a folder, in the order of their names."""
    found = []
    for path in archives(_place(folder)):
        size, manifest, fault = path.stat().st_size, None, ""
        try:
            manifest = Archive(path).manifest
        except DevnetError as error:
            fault = str(error)
        found.append(Listed(path.name.removesuffix(SUFFIX), path, size, manifest, fault))
    return found


def delete_snapshot(folder: NetworkFolder, name: str) -> Path:
    """Delete a snapshot of this folder; return where it was.

    Raises:
        Misused, Refused: there is none of that name.
        Misconfigured: it cannot be deleted.
    """
    path = snapshot_path(folder, name)
    find_snapshot(folder, name)
    try:
        path.unlink()
    except OSError as error:
        raise Misconfigured(f"{path} cannot be deleted: {error.strerror}.") from None
    return path


# Saving


def save_snapshot(folder: NetworkFolder, name: str, now: int, *, replace: bool = False) -> tuple[Path, Manifest]:
    """Stop the nodes that run, pack all of them, and start them again.

    A node that has stopped has all on disk: chain, wallet and mempool of one moment, and nobody is half way through a
    message to another. A network that does not run is packed as it lies there.

    Args:
        now: UNIX seconds.
        replace: write over a snapshot of that name.

    Returns:
        Where it is, and what is in it.

    Raises:
        Misused: a bad name.
        Refused: there is a snapshot of that name already.
        Misconfigured: it cannot be written. Nothing of it is left, and the nodes run again.
        Unavailable: a node did not start again.
    """
    path = snapshot_path(folder, name)
    with folder.locked():
        if path.exists() and not replace:
            raise Refused(f"There is a snapshot {name!r} already. Use another name, or --replace.")
        record = folder.load()
        alive = [node for node in record.nodes if is_alive(node)]
        paused = [node for node in alive if is_paused(node)]
        manifest = _describe(folder, record, name, now, alive)
        try:
            stop_nodes(folder, record, [node.id for node in alive])
            manifest = _pack(folder, path, manifest)
        finally:
            if alive:
                started = start_nodes(folder, folder.load(), [node.id for node in alive], Calls(folder))
                for node in paused:
                    _pause(started.node(node.id))
        return path, manifest


def _pause(node: NodeRecord) -> None:
    if node.process is not None:
        send_to_family(node.process, signal.SIGSTOP)


def _describe(folder: NetworkFolder, record: NetworkRecord, name: str, now: int, alive: list[NodeRecord]) -> Manifest:
    """Return the manifest of a network, its files yet to come."""
    calls = Calls(folder)
    running = {node.id for node in alive}
    nodes = tuple(
        msgspec.structs.replace(
            node, port=0, rpc_port=0, process=None, wanted="running" if node.id in running else "stopped"
        )
        for node in record.nodes
    )
    asked = [node for node in alive if not is_paused(node)]
    infos = calls.of_each(asked, lambda node: calls.ask(node, BlockchainInfo, "getblockchaininfo"))
    heights = {node.id: info.blocks for node, info in zip(asked, infos, strict=True)}
    return Manifest(
        format=FORMAT,
        name=name,
        made=now,
        program=VERSION,
        network=msgspec.structs.replace(record, nodes=nodes),
        heights=tuple(heights.get(node.id) for node in record.nodes),
        settings=tuple(_read_settings(folder.node_path(node.id) / "dured.toml") for node in record.nodes),
        files=(),
    )


def _read_settings(path: Path) -> dict[str, Any]:
    """Return what a node's settings say, but for where it is.

    Raises:
        Misconfigured: they cannot be read.
    """
    try:
        settings = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}.") from None
    return {name: value for name, value in settings.items() if name not in _ADDRESSES}


def _pack(folder: NetworkFolder, path: Path, manifest: Manifest) -> Manifest:
    """Write the archive, whole or not at all."""
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        clear_unfinished(path.parent)
        writer = ArchiveWriter(path)
        try:
            for node in manifest.network.nodes:
                for name, source in _files_of(folder.node_path(node.id)):
                    writer.add(f"node{node.id}/{name}", source)
            return writer.finish(manifest)
        finally:
            writer.abandon()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Misconfigured(f"The snapshot cannot be written to {path}: {why}.") from None


def _files_of(place: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a data directory that go along, by their paths in it, in the order of these.

    Raises:
        ValueError: there is something that is no file.
    """
    for folder, folders, names in os.walk(place):
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if name.startswith((".", "debug.log.")) or name in _OF_ONE_PLACE:
                continue
            if not path.is_file() or path.is_symlink():
                raise ValueError(f"{path} is no ordinary file")
            yield path.relative_to(place).as_posix(), path


# Loading


def load_snapshot(
    folder: NetworkFolder,
    archive: Archive,
    *,
    replace: bool,
    start: bool,
    entropy: random.Random,
    progress: Progress,
) -> NetworkRecord:
    """Put the network of a snapshot into a folder, on ports of its own, in the place of the one that is there.

    All is unpacked and checked before the network that is there is touched. From then on the new one wins, whatever
    interrupts this: see `devnet.staging`.

    Args:
        replace: even if the network that is there is another one.
        start: start the nodes that ran when the snapshot was taken; all of them if none did.
        entropy: draws where the ports are.

    Raises:
        Refused: another network is there.
        Misconfigured: the snapshot is damaged, there is no room, or a node's folder is there that no network speaks of.
            What was there is as it was.
        Unavailable: no free ports; or, when all is in place, a node does not start.
    """
    with folder.locked(create=True):
        there = folder.load() if folder.exists() else None
        if there is not None and there.tag != archive.manifest.network.tag and not replace:
            raise Refused(
                f"In {folder.path} is another network than that of the snapshot. Load it into another folder "
                f"(--into OTHER), or delete the one that is there, coins and all: --replace"
            )
        _check_room(folder, there, len(archive.manifest.network.nodes))
        progress.step("Unpacking")
        record = _stage(folder, archive, entropy)
        if there is not None and any(map(is_alive, there.nodes)):
            progress.step("Stopping the nodes that run")
            stop_nodes(folder, there, [node.id for node in there.nodes])
        old = () if there is None else tuple(f"node{node.id}" for node in there.nodes)
        new = tuple(f"node{node.id}" for node in record.nodes)
        _guarded(folder, lambda: staging.commit(folder.path, staging.Swap(remove=old, add=new)))
        if start:
            record = _start(folder, record, archive.manifest, progress)
        return record


def _check_room(folder: NetworkFolder, there: NetworkRecord | None, size: int) -> None:
    """Refuse to delete the folder of a node that the network which is replaced does not have."""
    known = set() if there is None else {node.id for node in there.nodes}
    for number in range(size):
        if number not in known and folder.node_path(number).exists():
            raise Misconfigured(
                f"{folder.node_path(number)} is there, but no network.json that speaks of it. Move it away, or load "
                "into another folder: --into OTHER"
            )


def _start(folder: NetworkFolder, record: NetworkRecord, manifest: Manifest, progress: Progress) -> NetworkRecord:
    """Start the nodes that ran."""
    ran = [node.id for node in manifest.network.nodes if node.wanted == "running"]
    if ran and len(ran) < len(record.nodes):
        progress.step(f"Starting {len(ran)} of {len(record.nodes)} nodes")
        return start_nodes(folder, record, ran, Calls(folder))
    return start_network(folder, record, progress)


def _stage(folder: NetworkFolder, archive: Archive, entropy: random.Random) -> NetworkRecord:
    """Make the whole network in the staging place; return its record."""
    manifest = archive.manifest
    ports = choose_ports(len(manifest.network.nodes), entropy)
    nodes = tuple(
        msgspec.structs.replace(node, port=port, rpc_port=rpc_port, wanted="stopped", process=None)
        for node, (port, rpc_port) in zip(manifest.network.nodes, ports, strict=True)
    )
    record = msgspec.structs.replace(manifest.network, nodes=nodes)
    place = _guarded(folder, lambda: staging.begin(folder.path))
    try:
        archive.unpack(place)
        staged = NetworkFolder(place, folder.program)
        write_settings(staged, record, manifest.settings)
        for node in record.nodes:
            _keep_faults(record, node.id, DirectoryFiles(place / f"node{node.id}"))
        staged.save(record)
    except BaseException:
        _guarded(folder, lambda: staging.roll_forward(folder.path))  # which clears it away
        raise
    return record


def _keep_faults(record: NetworkRecord, number: int, files: DirectoryFiles) -> None:
    """Let a node be in the trouble it was in from its first moment on, by the ports it has now."""
    partition.write_partition(files, map(parse_address, blocked_peers(record, number)))
    conditions = conditions_of(record, number)
    link_faults.write_conditions(files, {parse_address(text): each for text, each in conditions.items()})
    skewed_clock.write_skew(files, record.node(number).skew)


def _guarded(folder: NetworkFolder, act: Callable[[], Any]) -> Any:
    """Do something on the disk whose errors are sentences."""
    try:
        return act()
    except OSError as error:
        raise Misconfigured(f"The network in {folder.path} cannot be replaced: {error.strerror}.") from None
