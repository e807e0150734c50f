"""A disk that loses, tears, fills and fails, behind the interfaces of `node.storage`.

A disk outlives the processes that use it. What it holds is a platter, and a cache in front of it: a database appends
each write as one record with a checksum, then syncs. A crash before the sync loses the record, keeps it, or tears it;
who opens the database next finds the whole records and drops a torn one, as any journal does. A file is written beside
the old one, synced, and then renamed over it. So whatever may happen to a write can happen here, and nothing else can:
old or new, never half; and what was acknowledged is there.

    disk = SimDisk(random.Random(1))
    database = disk.database("chain", TABLES)
    disk.fail_call(3)                     the third call from now fails with EIO
    disk.crash_in_call(3)                 the machine dies in the third call from now
    disk.capacity = disk.used + 4_000     and then it is full
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import TypeVar

import msgspec

from node.storage.errors import DiskFullError, StorageError
from node.storage.memory_store import MemoryDatabase

_H = TypeVar("_H", "SimDatabase", "SimFiles")
_RECORD_HEAD = 8
"""Length and CRC-32 before each record of the journal."""


class Torn(Enum):
    """What a crash left of the write that it came into."""

    LOST = "lost"
    """It never left the cache."""
    TORN = "torn"
    """A part of it is on the platter."""
    WHOLE = "whole"
    """All of it is, though nobody was told."""


class PowerLost(StorageError):
    """The machine died in this call; nothing that runs on it hears of it in truth."""


class SimDisk:
    """One machine's disk.

    Attributes:
        capacity: bytes that it holds; None is without bound.
        sync_seconds: how long a commit takes; 0 is at once.
        calls: writes that were asked of it, refused ones included.
        torn: how often a crash left only a part of a write.
        on_power_lost: called when a crash that was ordered happens, before anybody sees an error.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._platters: dict[str, MemoryDatabase] = {}
        self._folders: dict[str, dict[str, bytes]] = {}
        self._handles: list[SimDatabase | SimFiles] = []
        self._fail_at: int | None = None
        self._crash_at: int | None = None
        self.capacity: int | None = None
        self.sync_seconds = 0.0
        self.used = 0
        self.calls = 0
        self.torn = 0
        self.on_power_lost: Callable[[], None] = lambda: None

    def database(self, name: str, tables: Sequence[str]) -> SimDatabase:
        """Open a database, or make it."""
        platter = self._platters.setdefault(name, MemoryDatabase(tables))
        return self._opened(SimDatabase(self, platter))

    def files(self, name: str) -> SimFiles:
        """Open a folder of small files."""
        return self._opened(SimFiles(self, self._folders.setdefault(name, {})))

    def _opened(self, handle: _H) -> _H:
        self._handles.append(handle)
        return handle

    # --- faults -----------------------------------------------------------------------------------------------

    def fail_call(self, number: int) -> None:
        """Have the `number`-th write from now, counted from 1, fail; nothing of it is written."""
        self._fail_at = self.calls + number

    def crash_in_call(self, number: int) -> None:
        """Have the machine die in the `number`-th write from now, counted from 1."""
        self._crash_at = self.calls + number

    def no_faults(self) -> None:
        """Take back what `fail_call` and `crash_in_call` ordered."""
        self._fail_at = self._crash_at = None

    def power_off(self) -> None:
        """Whatever has the disk open is dead: what it still asks for fails, and nothing of it is written."""
        for handle in self._handles:
            handle.power_off()
        self._handles.clear()
        self._fail_at = self._crash_at = None

    # --- for the handles --------------------------------------------------------------------------------------

    def ask(self, size: int) -> Torn | None:
        """Take a write of `size` bytes; return None if it is to be made, or what is left of it as the machine dies.

        Raises:
            StorageError: it is not made.
        """
        self.calls += 1
        if self._fail_at == self.calls:
            raise StorageError("cannot write: Input/output error")
        if self.capacity is not None and self.used + size > self.capacity:
            raise DiskFullError("cannot write: no space left on the disk")
        if self._crash_at == self.calls:
            return self.draw_torn()
        self.used += size
        return None

    def draw_torn(self) -> Torn:
        """Say what happens to a write that a crash comes into."""
        return self._rng.choice((Torn.LOST, Torn.TORN, Torn.WHOLE))

    def die(self) -> PowerLost:
        """The machine dies; return what its process would be told, were it there to be told."""
        self.power_off()
        self.on_power_lost()
        return PowerLost("the machine died in this write")

    def survives(self, record: bytes, left: Torn) -> bool:
        """Whether a journal's last record is found whole after a crash: read back from what reached the platter."""
        if left is Torn.LOST:
            return False
        whole = len(record).to_bytes(4, "big") + zlib.crc32(record).to_bytes(4, "big") + record
        if left is Torn.TORN:
            self.torn += 1
            # What is torn may be any sectors of it: here a part in the middle stays what it was before, zeros.
            start = self._rng.randrange(len(whole))
            stop = self._rng.randrange(start, len(whole)) + 1
            whole = whole[:start] + bytes(stop - start) + whole[stop:]
        size, checksum = int.from_bytes(whole[:4], "big"), int.from_bytes(whole[4:_RECORD_HEAD], "big")
        content = whole[_RECORD_HEAD : _RECORD_HEAD + size]
        return len(content) == size and zlib.crc32(content) == checksum and content == record


class SimDatabase:
    """Satisfies `node.storage.store.Database`, for one run of one process."""

    def __init__(self, disk: SimDisk, platter: MemoryDatabase) -> None:
        self._disk = disk
        self._platter = platter
        self._unsynced: list[tuple[str, bytes, bytes | None]] | None = None
        self.is_dead = False

    def power_off(self) -> None:
        """The machine is dead; what was on its way to the platter is lost, torn, or there."""
        self.is_dead = True
        changes, self._unsynced = self._unsynced, None
        if changes is not None and self._disk.survives(_record(changes), self._disk.draw_torn()):
            self._platter.write(changes)

    def get(self, table: str, key: bytes) -> bytes | None:
        """See `Database.get`."""
        self._check()
        return self._platter.get(table, key)

    def get_many(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Database.get_many`."""
        self._check()
        return self._platter.get_many(table, keys)

    def scan(
        self, table: str, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `Database.scan`."""
        self._check()
        return self._platter.scan(table, start, stop, reverse=reverse)

    def write(self, changes: Iterable[tuple[str, bytes, bytes | None]], *, clear: Sequence[str] = ()) -> None:
        """See `Database.write`."""
        self._check()
        changes = list(changes)
        size = sum(len(key) + len(value or b"") for _, key, value in changes)
        left = self._disk.ask(size)
        if left is None:
            self._platter.write(changes, clear=clear)
            return
        if self._disk.survives(_record(changes, clear), left):
            self._platter.write(changes, clear=clear)
        raise self._disk.die()

    async def commit(self, changes: Iterable[tuple[str, bytes, bytes | None]]) -> None:
        """See `Database.commit`: takes the time of a sync, in which the machine may die."""
        changes = list(changes)
        cancelled: asyncio.CancelledError | None = None
        if self._disk.sync_seconds and not self.is_dead:
            self._unsynced = changes
            try:
                await asyncio.sleep(self._disk.sync_seconds)
            except asyncio.CancelledError as error:
                cancelled = error
            self._unsynced = None
        self.write(changes)
        if cancelled is not None:
            raise cancelled

    def close(self) -> None:
        """See `Database.close`."""

    def _check(self) -> None:
        if self.is_dead:
            raise StorageError("this machine is dead")


class SimFiles:
    """Satisfies `node.storage.files.Files`, for one run of one process."""

    def __init__(self, disk: SimDisk, folder: dict[str, bytes]) -> None:
        self._disk = disk
        self._folder = folder
        self.is_dead = False

    def power_off(self) -> None:
        """The machine is dead."""
        self.is_dead = True

    def read(self, name: str) -> bytes | None:
        """See `Files.read`."""
        if self.is_dead:
            raise StorageError("this machine is dead")
        return self._folder.get(name)

    def size(self, name: str) -> int | None:
        """See `Files.size`."""
        content = self.read(name)
        return None if content is None else len(content)

    def write(self, name: str, data: bytes) -> None:
        """See `Files.write`."""
        if self.is_dead:
            raise StorageError("this machine is dead")
        left = self._disk.ask(len(data))
        # Before the rename the new content is a file of another name, torn or not; after it, it is synced.
        if left in {None, Torn.WHOLE}:
            self._folder[name] = bytes(data)
        if left is not None:
            raise self._disk.die()

    async def save(self, name: str, data: bytes) -> None:
        """See `Files.save`."""
        self.write(name, data)


def _record(changes: list[tuple[str, bytes, bytes | None]], clear: Sequence[str] = ()) -> bytes:
    return msgspec.msgpack.encode((changes, clear))
