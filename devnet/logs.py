"""The nodes' logs as one story: lines of all nodes, in the order of their times.

A daemon writes JSON lines to `debug.log` in its data directory, oldest first, and begins a new file when that one is
full; the one before is then `debug.log.1` (node/logs.py).
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from devnet.folder import NetworkFolder

MAX_LINE = 65_536
"""Bytes of a line that are read; what is longer is cut, so that a damaged file cannot fill the memory."""

POLL_SECONDS = 0.15
"""How often a followed log is looked at; also how long lines are held back, so that those of others can go first."""


class LogLine(NamedTuple):
    """One line of one node's log."""

    time: str
    """ISO 8601, UTC; as text it sorts by time. A line that says no time has that of the one before."""
    node: int
    fields: dict[str, Any]
    """All that the line says, in its order; of a line that is not JSON, its text as `event`."""


_decoder = msgspec.json.Decoder(dict[str, Any])


class _Reader:
    """Reads the complete lines of a growing file, and goes on in the new one when it is exchanged for another."""

    def __init__(self, path: Path, node: int) -> None:
        self.path = path
        self.node = node
        self._file: BinaryIO | None = None
        self._rest = b""
        self._time = ""

    def skip_to_end(self) -> None:
        """Leave out what is in the file already."""
        if self._open() and self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def lines(self) -> Iterator[LogLine]:
        """Yield the lines that were completed since the last time."""
        while self._open() and self._file is not None:
            was_exchanged = self._was_exchanged()  # asked first: nothing is written to the old file after that
            while piece := self._file.readline(MAX_LINE):
                self._rest += piece
                if self._rest.endswith(b"\n") or len(self._rest) >= MAX_LINE:
                    raw, self._rest = self._rest, b""
                    yield self._parse(raw)
            if not was_exchanged:
                return
            self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file, self._rest = None, b""

    def _open(self) -> bool:
        """Open the file unless it is open; tell whether there is one."""
        if self._file is None:
            try:
                self._file = self.path.open("rb")
            except OSError:
                return False
        return True

    def _was_exchanged(self) -> bool:
        """Tell whether there is another file of this name by now, with something in it."""
        if self._file is None:
            return False
        try:
            there, ours = self.path.stat(), os.fstat(self._file.fileno())
        except OSError:
            return False
        if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            return True
        if there.st_size < self._file.tell():  # cut to nothing in place
            self._file.seek(0)
        return False

    def _parse(self, raw: bytes) -> LogLine:
        """Read one line; whatever it is, it is shown."""
        try:
            fields = _decoder.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            fields = {"event": raw.decode(errors="replace").rstrip()}
        self._time = str(fields.get("time", self._time))
        return LogLine(self._time, self.node, fields)


def _log_path(folder: NetworkFolder, node: int) -> Path:
    """Return where a node's log is."""
    return folder.node_path(node) / "debug.log"


def _read_file(path: Path, node: int) -> Iterator[LogLine]:
    """Yield the lines of one file as it is now."""
    reader = _Reader(path, node)
    try:
        yield from reader.lines()
    finally:
        reader.close()


def _read_node(folder: NetworkFolder, node: int) -> Iterator[LogLine]:
    """Yield all lines of one node, oldest first."""
    path = _log_path(folder, node)
    for file in (path.with_name(f"{path.name}.1"), path):
        yield from _read_file(file, node)


def read_logs(folder: NetworkFolder, nodes: Iterable[int]) -> Iterator[LogLine]:
    """Yield all lines of `nodes` in the order of their times, without holding them in memory."""
    return heapq.merge(*(_read_node(folder, node) for node in nodes), key=lambda line: line.time)


class LogFollower:
    """Follows the logs of several nodes at once, from the moment it is made."""

    def __init__(self, folder: NetworkFolder, nodes: Sequence[int], *, from_start: bool = False) -> None:
        """Args:
        folder: the network.
        nodes: whose logs.
        from_start: begin with what is in the files already.
        """
        self._readers = [_Reader(_log_path(folder, node), node) for node in nodes]
        if not from_start:
            for reader in self._readers:
                reader.skip_to_end()

    def new_lines(self) -> list[LogLine]:
        """Return what was written since the last time, in the order of the times."""
        return sorted((line for reader in self._readers for line in reader.lines()), key=lambda line: line.time)

    def follow(self, is_over: Callable[[], bool]) -> Iterator[LogLine]:
        """Yield lines as they are written until `is_over` holds; what was written until then is yielded too."""
        over = False
        while not over:
            over = is_over()
            yield from self.new_lines()
            if not over:
                time.sleep(POLL_SECONDS)

    def close(self) -> None:
        """Close the files."""
        for reader in self._readers:
            reader.close()
