"""What was seen of a network, in a file: JSON lines, first a whole view, then only what changed.

D/watch.jsonl     the newest lines; begun anew with a whole view when it is full, and with each `dure watch`
D/watch.jsonl.1   the file before
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from devnet.errors import Misconfigured, Refused
from devnet.watch.state import BlockView, Event, Fate, NetworkView, NodeView, prune

FILE = "watch.jsonl"

VERSION = 1
"""The form of the lines. A program refuses a recording that is newer than it knows."""

MAX_FILE = 16 * 1024 * 1024
"""Bytes of a recording; with the one before, 32 MiB at most."""

TAIL = 256 * 1024
"""Bytes at the end of a recording in which the newest events are looked for."""

LONGEST_LINE = 32 * 1024 * 1024
"""Bytes of a line that are read: the whole view of 64 nodes on branches of their own, with full blocks."""


class Whole(msgspec.Struct, frozen=True, tag="whole"):
    """Everything, so that nothing before it need be known."""

    version: int
    tag: str
    """The network's; no recording holds two networks."""
    at: float
    nodes: tuple[NodeView, ...]
    blocks: tuple[BlockView, ...]
    groups: tuple[tuple[int, ...], ...]
    faults: tuple[str, ...]
    fates: dict[str, Fate]
    events: tuple[Event, ...]


class Change(msgspec.Struct, frozen=True, tag="change", omit_defaults=True):
    """What is another than before. A field that is left out has not changed."""

    at: float
    nodes: tuple[NodeView, ...] = ()
    blocks: tuple[BlockView, ...] = ()
    """New ones, and those of which more is known. What is too old drops out on both sides by the same rule."""
    groups: tuple[tuple[int, ...], ...] | None = None
    faults: tuple[str, ...] | None = None
    fates: dict[str, Fate] | None = None
    events: tuple[Event, ...] = ()


class Moment(msgspec.Struct, frozen=True):
    """One step of a recording."""

    at: float
    """UNIX seconds."""
    view: NetworkView
    events: tuple[Event, ...]


_line_decoder = msgspec.json.Decoder(Whole | Change)


class Recorder:
    """Writes a recording. Only one at a time writes to a file; a second one finds it taken."""

    def __init__(self, path: Path, tag: str, *, max_bytes: int = MAX_FILE) -> None:
        """Args:
        path: the file; what it holds of the same network stays, as `path`.1.
        tag: the network's, in hex.
        max_bytes: when to begin a new file.

        Raises:
            Refused: another program is writing to it.
            Misconfigured: it cannot be written.
        """
        self._path = path
        self._tag = tag
        self._max_bytes = max_bytes
        self._before: NetworkView | None = None
        self._size = 0
        try:
            self._lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Misconfigured(f"{path} cannot be written: {error.strerror}.") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._descriptor = self._open()
        except BlockingIOError:
            os.close(self._lock)
            raise Refused(f"Another program is recording to {path}.") from None
        except OSError as error:
            os.close(self._lock)
            raise Misconfigured(f"{path} cannot be written: {error.strerror}.") from None

    def _open(self) -> int:
        """Begin a new file, and keep the one there was if it is of this network."""
        if self._path.exists():
            if network_of(self._path) == self._tag:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            else:
                self._path.with_name(f"{self._path.name}.1").unlink(missing_ok=True)
        self._before, self._size = None, 0
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, at: float, view: NetworkView, events: Sequence[Event]) -> None:
        """Add one look, unless it showed nothing new.

        Raises:
            Misconfigured: it cannot be written; the disk may be full.
        """
        try:
            if self._size > self._max_bytes:
                fresh = self._open()
                os.close(self._descriptor)
                self._descriptor = fresh
            line = (
                self._whole(at, view, events) if self._before is None else _difference(self._before, at, view, events)
            )
            self._before = view
            if line is not None:
                self._size += os.write(self._descriptor, msgspec.json.encode(line) + b"\n")
        except OSError as error:
            raise Misconfigured(f"{self._path} cannot be written: {error.strerror}.") from None

    def _whole(self, at: float, view: NetworkView, events: Sequence[Event]) -> Whole:
        return Whole(
            version=VERSION,
            tag=self._tag,
            at=at,
            nodes=view.nodes,
            blocks=tuple(view.blocks.values()),
            groups=view.groups,
            faults=view.faults,
            fates=dict(view.fates),
            events=tuple(events),
        )

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
        os.close(self._lock)


def _difference(before: NetworkView, at: float, view: NetworkView, events: Sequence[Event]) -> Change | None:
    """Return what is new; None if nothing is."""
    old = set(before.nodes)
    change = Change(
        at=at,
        nodes=tuple(node for node in view.nodes if node not in old),
        blocks=tuple(block for block in view.blocks.values() if before.blocks.get(block.id) != block),
        groups=view.groups if view.groups != before.groups else None,
        faults=view.faults if view.faults != before.faults else None,
        fates=dict(view.fates) if view.fates != before.fates else None,
        events=tuple(events),
    )
    return change if change != Change(at=at) else None


def applied(view: NetworkView, change: Change) -> NetworkView:
    """Return a view after a change."""
    nodes = {node.id: node for node in (*view.nodes, *change.nodes)}
    blocks = {**view.blocks, **{block.id: block for block in change.blocks}}
    tips = [node.tip for node in nodes.values() if node.tip is not None]
    return NetworkView(
        nodes=tuple(nodes[number] for number in sorted(nodes)),
        blocks=prune(blocks, tips),
        groups=view.groups if change.groups is None else change.groups,
        faults=view.faults if change.faults is None else change.faults,
        fates=view.fates if change.fates is None else change.fates,
    )


def replay(path: Path) -> Iterator[Moment]:
    """Yield what a recording holds, the file before it included, oldest first.

    A line that a crash has cut short ends its file; a whole view follows in the next one.

    Raises:
        Refused: there is no such recording, it is empty, or it is of a newer program.
        Misconfigured: it cannot be read, or is no recording.
    """
    before = path.with_name(f"{path.name}.1")
    found = False
    tag = network_of(before)
    goes_before = tag is not None and (tag == network_of(path) or not path.exists())
    for file in (*([before] if goes_before else []), *([path] if path.exists() or not goes_before else [])):
        for moment in _read_file(file):
            found = True
            yield moment
    if not found:
        raise Refused(f"{path} holds nothing yet.")


def _read_file(path: Path) -> Iterator[Moment]:
    view: NetworkView | None = None
    for number, raw in enumerate(_lines(path), 1):
        try:
            line = _line_decoder.decode(raw)
        except msgspec.MsgspecError as error:
            if not raw.endswith(b"\n"):
                return
            raise Misconfigured(f"{path}, line {number}, is no line of a recording: {error}.") from None
        if isinstance(line, Whole):
            if line.version > VERSION:
                raise Refused(f"{path} was recorded by a newer version of this program.")
            blocks = {block.id: block for block in line.blocks}
            view = NetworkView(line.nodes, blocks, line.groups, line.faults, line.fates)
        elif view is None:
            raise Misconfigured(f"{path} does not begin as a recording does.")
        else:
            view = applied(view, line)
        yield Moment(line.at, view, line.events)


def last_events(path: Path, tag: str) -> list[Event]:
    """Return the newest events of a recording, oldest first; none if there is no recording of the network `tag`."""
    found: list[Event] = []
    with contextlib.suppress(OSError):
        if network_of(path) != tag:
            return found
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            for raw in file.read(TAIL).splitlines()[1 if size > TAIL else 0 :]:
                with contextlib.suppress(msgspec.MsgspecError):
                    found += _line_decoder.decode(raw).events
    return found


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while raw := file.readline(LONGEST_LINE):
                yield raw
    except FileNotFoundError:
        raise Refused(f"There is no recording {path}: `dure watch` makes one while it runs.") from None
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}.") from None


def network_of(path: Path) -> str | None:
    """Return of which network a recording is; None if that cannot be told."""
    with contextlib.suppress(OSError, msgspec.MsgspecError), path.open("rb") as file:
        line = _line_decoder.decode(file.readline(LONGEST_LINE))
        if isinstance(line, Whole):
            return line.tag
    return None
