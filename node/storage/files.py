"""Small whole files: a reader sees the old content or the new, never half of it (A134, A142)."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import Executor
from pathlib import Path
from typing import Protocol

from node.storage.errors import DamagedError, StorageError, from_os_error
from node.storage.executor import INLINE, run_whole


class Files(Protocol):
    """A flat folder of small files, each written as a whole, readable by nobody else."""

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, or None if there is none."""
        ...

    def size(self, name: str) -> int | None:
        """Return how many bytes a file has, or None if there is none: before reading what should be small."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Replace a file's content, or make it: all or nothing, and durable once this returns.

        Raises:
            StorageError: the old content stands.
        """
        ...

    async def save(self, name: str, data: bytes) -> None:
        """As `write`, while the loop goes on. Of two for the same file the later call wins."""
        ...


def read_small(files: Files, name: str, most: int) -> bytes | None:
    """Return the content of a file that should be small, or None if there is none; too large, it is not read.

    Raises:
        DamagedError: it has more than `most` bytes.
        StorageError: the disk failed.
    """
    if (files.size(name) or 0) > most:
        raise DamagedError(f"it has more than {most} bytes")
    return files.read(name)


def sync(path: Path) -> None:
    """Have what is at a path survive a power cut: of a file its content, of a folder the names in it.

    Raises:
        OSError: the disk failed.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder of ours (mode 0700), and those that it lies in, if need be; they survive a power cut.

    Raises:
        OSError: it cannot be made.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(PermissionError):  # a folder that may be written to, and not be read
        sync(folder.parent)


class DirectoryFiles:
    """Satisfies `Files` with a folder: temporary file, fsync, rename, fsync of the folder; mode 0600."""

    def __init__(self, folder: Path, executor: Executor = INLINE) -> None:
        """Take a folder, which is made when it is needed, and where `save` runs: one call at a time."""
        self._folder = folder
        self._executor = executor

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, or None if there is none."""
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read {self._path(name)}: {error.strerror or error}") from error

    def size(self, name: str) -> int | None:
        """Return how many bytes a file has, or None if there is none."""
        try:
            return self._path(name).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read {self._path(name)}: {error.strerror or error}") from error

    def write(self, name: str, data: bytes) -> None:
        """Replace a file's content, or make it: all or nothing, and durable once this returns."""
        path = self._path(name)
        # Left behind by a crash it is simply written over: its name is never read.
        temporary = path.with_name(f".{name}.new")
        try:
            make_folder(self._folder)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), 0o600)  # also where the temporary file was there before
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync(self._folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise from_os_error(f"cannot write {path}", error) from error

    async def save(self, name: str, data: bytes) -> None:
        """As `write`, while the loop goes on."""
        await run_whole(self._executor, lambda: self.write(name, data))

    def _path(self, name: str) -> Path:
        if not name or name.startswith(".") or "/" in name or "\0" in name:
            raise ValueError(f"not the name of a file of ours: {name!r}")
        return self._folder / name


class MemoryFiles:
    """Satisfies `Files` in memory: for tests and simulated nodes, whose restart reuses the same object."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, or None if there is none."""
        return self._contents.get(name)

    def size(self, name: str) -> int | None:
        """Return how many bytes a file has, or None if there is none."""
        return len(self._contents[name]) if name in self._contents else None

    def write(self, name: str, data: bytes) -> None:
        """Replace a file's content, or make it."""
        self._contents[name] = bytes(data)

    async def save(self, name: str, data: bytes) -> None:
        """As `write`: this disk takes no time."""
        self.write(name, data)
