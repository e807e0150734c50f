"""One file that holds a whole network: what `dure snapshot` writes and reads.

It is a ZIP archive:

manifest.json      `Manifest`: what the network is, and every file with its size and SHA-256
manifest.sha256    the SHA-256 of manifest.json in hex
node<N>/...        files of data directories, by their paths in the network's folder

No path in it is absolute and no process is named, so that it can be copied to any machine: its databases are LMDB's,
which are alike on all 64-bit little-endian ones. The checksums find damage; they are no signature. The keys of the
wallets are in it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from devnet.errors import Misconfigured, Refused
from devnet.folder import VERSION, NetworkRecord
from node.storage.files import sync

FORMAT: Final = 1
"""The layout of the archive. A program refuses one that is newer than it knows."""
SUFFIX: Final = ".snapshot"
MANIFEST: Final = "manifest.json"
CHECKSUM: Final = "manifest.sha256"

MAX_MANIFEST: Final = 32 * 1024 * 1024
"""Bytes: a hundred thousand files are described in less."""
PIECE: Final = 1024 * 1024
COMPRESSION: Final = 1
"""The quickest of zlib's: databases are mostly half empty pages, which any level makes small."""

_PATH = re.compile(r"node([0-9]{1,3})(/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}){1,4}")


class ArchivedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a data directory."""

    path: str
    size: Annotated[int, Meta(ge=0)]
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an archive holds."""

    format: int
    name: str
    made: int
    """UNIX seconds."""
    program: str
    """The version of the program that made it."""
    network: NetworkRecord
    """Without ports and processes; a node that ran has `wanted` "running"."""
    heights: tuple[int | None, ...]
    """Of each node's best block; None where it did not run."""
    settings: tuple[dict[str, Any], ...]
    """What each node's dured.toml says, without ports and addresses."""
    files: tuple[ArchivedFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files, unpacked."""
        return sum(file.size for file in self.files)


class _RecordVersion(msgspec.Struct):
    """The one field that every record of a network has."""

    version: int


class _Versions(msgspec.Struct):
    """What every layout has."""

    format: int
    network: _RecordVersion


class Archive:
    """An archive that is there: its manifest is read and checked, its files when they are unpacked."""

    def __init__(self, path: Path) -> None:
        """Read the manifest.

        Raises:
            Refused: there is no such file.
            Misconfigured: it is no snapshot, damaged, or of a newer program.
        """
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                raw = _read_small(archive, MANIFEST)
                checksum = _read_small(archive, CHECKSUM)
        except FileNotFoundError:
            raise Refused(f"There is no file {path}.") from None
        except (OSError, zipfile.BadZipFile, KeyError, zlib.error, EOFError, ValueError, NotImplementedError) as error:
            raise Misconfigured(f"{path} is no snapshot, or damaged: {_words(error)}") from None
        if hashlib.sha256(raw).hexdigest().encode() != checksum.strip():
            raise Misconfigured(f"{path} is damaged: its list of contents is not what was written.")
        self.manifest = self._decode(raw)

    def _decode(self, raw: bytes) -> Manifest:
        try:
            versions = msgspec.json.decode(raw, type=_Versions)
            if versions.format > FORMAT or versions.network.version > VERSION:
                raise Misconfigured(
                    f"{self.path} was written by a newer version of this program (format {versions.format}, layout "
                    f"{versions.network.version}; this one knows {FORMAT} and {VERSION}). Use that version."
                )
            manifest = msgspec.json.decode(raw, type=Manifest)
        except msgspec.MsgspecError as error:
            raise Misconfigured(f"{self.path} is no snapshot as this program knows them: {error}.") from None
        size = len(manifest.network.nodes)
        if [node.id for node in manifest.network.nodes] != list(range(size)) or not size:
            raise Misconfigured(f"{self.path} is no snapshot: its nodes are not numbered from 0.")
        if len(manifest.settings) != size or len(manifest.heights) != size:
            raise Misconfigured(f"{self.path} is no snapshot: it does not describe each of its nodes.")
        seen: set[str] = set()
        for file in manifest.files:
            match = _PATH.fullmatch(file.path)
            if match is None or int(match[1]) >= size or file.path in seen:
                raise Misconfigured(f"{self.path} is no snapshot: it has a file at {file.path[:80]!r}.")
            seen.add(file.path)
        return manifest

    def unpack(self, into: Path) -> None:
        """Write all files below a folder, each checked against its checksum; readable by their owner alone.

        Raises:
            Misconfigured: a file is damaged, or there is no room; what was written until then stays.
        """
        free = shutil.disk_usage(into).free
        if self.manifest.size > free:
            raise Misconfigured(
                f"{into.parent} has room for {free} bytes, and the snapshot needs {self.manifest.size}."
            )
        try:
            with zipfile.ZipFile(self.path) as archive:
                for file in self.manifest.files:
                    target = into / file.path
                    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    if not _unpack_one(archive, file, target):
                        raise Misconfigured(f"{self.path} is damaged: {file.path} is not what was written.")
        except (zipfile.BadZipFile, KeyError, zlib.error, EOFError, ValueError, NotImplementedError) as error:
            raise Misconfigured(f"{self.path} is damaged: {_words(error)}") from None
        except OSError as error:
            raise Misconfigured(f"The snapshot cannot be unpacked in {into.parent}: {error.strerror}.") from None


def _words(error: Exception) -> str:
    """Return what the library says, as the end of a sentence."""
    return f"{str(error).rstrip('.') or type(error).__name__}."


def _read_small(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        raw = file.read(MAX_MANIFEST + 1)
    if len(raw) > MAX_MANIFEST:
        raise ValueError(f"{name} has more than {MAX_MANIFEST} bytes")
    return raw


def _unpack_one(archive: zipfile.ZipFile, file: ArchivedFile, target: Path) -> bool:
    """Write one file; tell whether it is the one that was packed. Reads no more than that one had, and a byte."""
    digest, left = hashlib.sha256(), file.size + 1
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as written, archive.open(file.path) as packed:
        while left and (piece := packed.read(min(PIECE, left))):
            digest.update(piece)
            written.write(piece)
            left -= len(piece)
    return left == 1 and digest.hexdigest() == file.sha256


class ArchiveWriter:
    """Makes an archive: files first, then the manifest; under its name once all of it is on disk."""

    def __init__(self, path: Path) -> None:
        """Begin an archive that will be at `path`; readable by its owner alone.

        Raises:
            OSError: it cannot be written there.
        """
        self._path = path
        self._temporary = path.with_name(f".{path.name}.new")
        self._files: list[ArchivedFile] = []
        descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._zip = zipfile.ZipFile(self._file, "w", compression=zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION)

    def add(self, path: str, source: Path) -> None:
        """Pack one file.

        Raises:
            ValueError: a name that no data directory has.
            OSError: it cannot be read, or the archive not be written.
        """
        if _PATH.fullmatch(path) is None:
            raise ValueError(f"{path!r} is no name of a file of a node")
        digest, size = hashlib.sha256(), 0
        with source.open("rb") as file, self._zip.open(path, "w", force_zip64=True) as packed:
            while piece := file.read(PIECE):
                digest.update(piece)
                size += len(piece)
                packed.write(piece)
        self._files.append(ArchivedFile(path, size, digest.hexdigest()))

    def finish(self, manifest: Manifest) -> Manifest:
        """Write the manifest, with the files that were added; from now on the archive is there.

        Raises:
            OSError: it cannot be written; then it is not there.
        """
        manifest = msgspec.structs.replace(manifest, files=tuple(self._files))
        raw = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        self._zip.writestr(MANIFEST, raw)
        self._zip.writestr(CHECKSUM, hashlib.sha256(raw).hexdigest() + "\n")
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.replace(self._path)
        sync(self._path.parent)
        return manifest

    def abandon(self) -> None:
        """Leave nothing of it behind; after `finish` this does nothing."""
        with suppress(OSError, ValueError):  # it may be the very disk that failed
            self._zip.close()
        with suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)


def clear_unfinished(folder: Path) -> None:
    """Delete what a `finish` that never came left behind. Nobody else writes there meanwhile."""
    for path in folder.glob(f".*{SUFFIX}.new"):
        path.unlink(missing_ok=True)


def archives(folder: Path) -> Iterator[Path]:
    """Yield the archives of a folder in the order of their names."""
    yield from sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))
