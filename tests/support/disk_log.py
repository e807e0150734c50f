"""What `disk_shim.c` recorded, and what a crash could have left of it.

Only what is forced upon a disk is on it. Data is there once its file was synced, or was written through a descriptor
opened for that; a name is there once its folder was synced. Of all else a power cut leaves anything: each sector of
each write is there or not, in any order; names come in their order, but only so far. A process that is killed loses
nothing that it wrote.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

_HEAD = struct.Struct("<BBHHHQQ")
SECTOR = 512


def build_shim(compiler: str, folder: Path) -> Path:
    """Compile the shim; return the library that LD_PRELOAD takes."""
    library = folder / "disk_shim.so"
    source = Path(__file__).with_name("disk_shim.c")
    flags = ("-shared", "-fPIC", "-O1", "-Wall", "-Werror")
    subprocess.run([compiler, *flags, "-o", str(library), str(source), "-ldl", "-lpthread"], check=True)
    return library


class Call(NamedTuple):
    """A call that changed something."""

    op: str
    """w write, t truncate, c create, r rename, u unlink, s sync, m msync: see the shim."""
    durable: bool
    path: Path
    other: Path
    offset: int
    data: bytes


def read_log(path: Path) -> Iterator[Call]:
    """Every call, in order."""
    raw, at = path.read_bytes(), 0
    while at < len(raw):
        op, durable, name, other, _, offset, size = _HEAD.unpack_from(raw, at)
        ends = [at + _HEAD.size]
        for length in (name, other, size):
            ends.append(ends[-1] + length)
        pieces = [raw[start:stop] for start, stop in pairwise(ends)]
        yield Call(chr(op), bool(durable), Path(pieces[0].decode()), Path(pieces[1].decode()), offset, pieces[2])
        at = ends[-1]


class _File:
    """The content of one file: what is on the disk, and what is on its way."""

    def __init__(self) -> None:
        self.safe = b""
        self.pending: list[tuple[int, bytes | None]] = []
        """Writes; or with None truncations, to a size."""

    def sync(self) -> None:
        self.safe = self.content(None)
        self.pending.clear()

    def content(self, rng: Random | None) -> bytes:
        """With all that is on its way; with `rng` each sector of it only perhaps."""
        content = bytearray(self.safe)
        for offset, data in self.pending:
            if data is None:
                if rng is None or rng.random() < 0.5:
                    del content[offset:]
                    content += bytes(offset - len(content))
            elif rng is None:
                _put(content, offset, data)
            else:
                for start, piece in _sectors(offset, data):
                    if rng.random() < 0.5:
                        _put(content, start, piece)
        return bytes(content)


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content += bytes(offset - len(content))
    content[offset : offset + len(data)] = data


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        size = SECTOR - (offset + at) % SECTOR
        yield offset + at, data[at : at + size]
        at += size


class _Naming(NamedTuple):
    """A change of names: a file gets one, in place of another or of none; or loses it."""

    old: Path | None
    new: Path | None
    file: _File

    def made_in(self, folder: Path) -> bool:
        """Whether a sync of this folder makes it last."""
        place = self.new or self.old
        return place is not None and place.parent == folder

    def make(self, names: dict[Path, _File]) -> None:
        if self.old is not None:
            names.pop(self.old, None)
        if self.new is not None:
            names[self.new] = self.file


class Crashable:
    """A folder as it is after so many of the recorded calls."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[Path, _File] = {}
        self._safe: dict[Path, _File] = {}
        self._unsynced: list[_Naming] = []

    def apply(self, call: Call) -> None:
        """Take the next call."""
        match call.op:
            case "c":
                self._name(_Naming(None, call.path, _File()))
            case "r":
                self._name(_Naming(call.path, call.other, self._names[call.path]))
            case "u":
                self._name(_Naming(call.path, None, self._names[call.path]))
            case "t":
                self._names[call.path].pending.append((call.offset, None))
            case "w" if call.durable:
                # Alone: it does not take what was written before along.
                file = self._names[call.path]
                safe = bytearray(file.safe)
                _put(safe, call.offset, call.data)
                file.safe = bytes(safe)
            case "w":
                self._names[call.path].pending.append((call.offset, call.data))
            case "s" if call.path in self._names:
                self._names[call.path].sync()
            case "s":
                for naming in self._unsynced:
                    if naming.made_in(call.path):
                        naming.make(self._safe)
                self._unsynced = [naming for naming in self._unsynced if not naming.made_in(call.path)]
            case _:
                raise ValueError(f"nothing of ours may be written by {call}")

    def _name(self, naming: _Naming) -> None:
        naming.make(self._names)
        self._unsynced.append(naming)

    def killed(self, into: Path) -> None:
        """Write what a process that is killed leaves."""
        self._write(into, {path: file.content(None) for path, file in self._names.items()})

    def cut(self, into: Path, rng: Random | None) -> None:
        """Write what a power cut leaves: with `rng` some of what was on its way, else nothing of it."""
        names = dict(self._safe)
        for naming in self._unsynced[: rng.randrange(len(self._unsynced) + 1) if rng else 0]:
            naming.make(names)
        self._write(into, {path: file.content(rng) if rng else file.safe for path, file in names.items()})

    def _write(self, into: Path, contents: dict[Path, bytes]) -> None:
        for path, content in contents.items():
            place = into / path.relative_to(self._folder)
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            place.write_bytes(content)
