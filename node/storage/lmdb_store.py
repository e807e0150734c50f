"""A database on disk, over LMDB: memory-mapped, one writer, each commit synced before it returns.

LMDB runs with its safe defaults: no NOSYNC, NOMETASYNC, MAPASYNC or WRITEMAP (A123). A read transaction
lives only inside one call, so none is ever left open to make the file grow, none stands in the way when the
map is made larger, and none is used after a fork (A130). The one exception is the view that all reads share while
a commit is on its way: LMDB shows what is written a moment before the loop hears of it.

All writes run on one executor. The changes are made while the loop waits, for they are made in memory, and a thread
that competes with a busy loop for Python's lock takes a hundred times as long over them; so many are made in slices,
between which the loop goes round. What waits for the disk, the commit, runs beside the loop.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from pathlib import Path

import lmdb

from node.storage.errors import (
    DamagedError,
    DiskFullError,
    NewerStorageError,
    OtherNetworkError,
    StorageError,
    again,
    from_os_error,
)
from node.storage.executor import INLINE, run_whole, to_the_end
from node.storage.files import sync
from node.storage.folder import FolderLock
from node.storage.store import Change, Database
from node.turns import give_way

INITIAL_MAP_SIZE = 16 * 1024 * 1024
"""Bytes of address space at first; the map doubles when it is full. The file is only as large as its content."""
CHANGES_AT_ONCE = 2_000
"""Changes that are made while the loop waits: a few milliseconds."""
SCAN_PIECE = 512
"""Records that a scan reads in one transaction."""
_FORMAT = "_format"
"""The table of the two records below; it comes before all others and has outlived every version."""
_VERSION_KEY = b"version"
_IDENTITY_KEY = b"identity"
_DATA_FILE = "data.mdb"
_BESIDE = ".new"
"""The folder in which a database is made."""
REMEDY = (
    "move its folder away: a node fetches the chain anew from its peers; a wallet comes back from a backup or its words"
)
Migration = Callable[[Database], Iterable[Change]]
"""What to write to make a database of one version one of the next. All of it fits into memory."""


class LmdbDatabase:
    """Satisfies `Database` with a folder that nobody else may hold meanwhile."""

    def __init__(
        self,
        folder: Path,
        tables: Sequence[str],
        *,
        version: int,
        identity: bytes,
        migrations: Mapping[int, Migration] | None = None,
        executor: Executor = INLINE,
    ) -> None:
        """Open the database in `folder`, or make it.

        Args:
            folder: only this database's; made if need be.
            tables: all that are used; missing ones are made.
            version: of the layout of the records. A folder with a higher one is refused.
            identity: what the content belongs to, such as a genesis id; fixed when the folder is made.
            migrations: for an older version, what takes it to the next one.
            executor: where writes run, one at a time, this database's and nobody else's.

        Raises:
            FolderInUseError, NewerStorageError, OtherNetworkError: nothing was written.
            DamagedError: what stands there is no database.
            StorageError: any other fault of the disk.
        """
        self._executor = executor
        self._view: lmdb.Transaction[bytes] | None = None
        """What all reads see while a commit is on its way."""
        self._changes: lmdb.Transaction[bytes] | None = None
        """Made, and not committed yet. Touched by the executor only."""
        self._failed: StorageError | None = None
        self._lock = FolderLock(folder)
        self._env: lmdb.Environment | None = None
        try:
            with _faults(f"open the database in {folder}"):
                _put_in_place(folder, version, identity)
                self._env = self._open(folder, len(tables))
                stored = self._check_format(folder, version, identity)
                self._tables = {table: self._env.open_db(table.encode("ascii")) for table in (*tables, _FORMAT)}
            self._migrate(folder, stored, version, migrations or {})
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _open(folder: Path, tables: int) -> lmdb.Environment:
        # A map smaller than the file would be refused; larger costs nothing but address space.
        path = folder / _DATA_FILE
        size = path.stat().st_size
        map_size = max(INITIAL_MAP_SIZE, 2 * size)
        # No readahead: lookups are random, and a page that nobody asked for only pushes others out.
        env = lmdb.Environment(str(folder), map_size=map_size, max_dbs=tables + 1, mode=0o600, readahead=False)
        if (env.info()["last_pgno"] + 1) * env.stat()["psize"] > size:
            # To read on would end the process.
            env.close()
            raise DamagedError(f"{path} is cut short: {REMEDY}")
        _keep_from_children(path)
        env.reader_check()  # clears the slots of processes that were killed
        return env

    def _check_format(self, folder: Path, version: int, identity: bytes) -> int:
        """Refuse what is not ours to read, before anything is written; return the version of what is there."""
        env = self._environment
        try:
            table = env.open_db(_FORMAT.encode("ascii"), create=False)
        except lmdb.NotFoundError:
            table = env.open_db(_FORMAT.encode("ascii"))
        with env.begin(table) as txn:
            raw_version, stored_identity = txn.get(_VERSION_KEY), txn.get(_IDENTITY_KEY)
        if raw_version is not None and int.from_bytes(raw_version, "big") > version:
            raise NewerStorageError(
                f"{folder} was written by a newer program (storage version {int.from_bytes(raw_version, 'big')};"
                f" this one knows {version}): run that program, or give another folder"
            )
        if stored_identity is not None and stored_identity != identity:
            raise OtherNetworkError(f"{folder} belongs to another network (another genesis block): give another folder")
        if raw_version is None or stored_identity is None:
            with env.begin(table, write=True) as txn:
                txn.put(_VERSION_KEY, version.to_bytes(4, "big"))
                txn.put(_IDENTITY_KEY, identity)
            return version
        return int.from_bytes(raw_version, "big")

    def _migrate(self, folder: Path, stored: int, version: int, migrations: Mapping[int, Migration]) -> None:
        """Bring an older database up to date: each version is one write, so a kill leaves the old one or the new."""
        while stored < version:
            if stored not in migrations:
                raise StorageError(f"{folder} is of an old version ({stored}) that this program cannot read any more")
            changes = list(migrations[stored](self))
            stored += 1
            self.write([*changes, Change(_FORMAT, _VERSION_KEY, stored.to_bytes(4, "big"))])

    @property
    def _environment(self) -> lmdb.Environment:
        if self._env is None:
            raise StorageError("the database is closed")
        return self._env

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        with _faults("read"), self._reading() as txn:
            return txn.get(key, db=self._tables[table])

    def get_many(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of many keys, in their order; cheapest where `keys` are sorted."""
        with _faults("read"), self._reading() as txn:
            handle = self._tables[table]
            return [txn.get(key, db=handle) for key in keys]

    @contextmanager
    def _reading(self) -> Iterator[lmdb.Transaction[bytes]]:
        if self._view is not None:
            yield self._view
            return
        with self._environment.begin() as txn:
            yield txn

    def scan(
        self, table: str, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the records with start <= key < stop, in the order of their keys, or backwards."""
        while True:
            piece = self._backward(table, start, stop) if reverse else self._forward(table, start, stop)
            yield from piece
            if len(piece) < SCAN_PIECE:
                return
            if reverse:
                stop = piece[-1][0]
            else:
                start = piece[-1][0] + b"\x00"  # the very next key that can exist

    def _forward(self, table: str, start: bytes, stop: bytes | None) -> list[tuple[bytes, bytes]]:
        piece: list[tuple[bytes, bytes]] = []
        with _faults("read"), self._reading() as txn, txn.cursor(self._tables[table]) as cursor:
            found = cursor.set_range(start) if start else cursor.first()
            if not found:
                return piece
            for key, value in cursor.iternext():
                if len(piece) == SCAN_PIECE or (stop is not None and key >= stop):
                    break
                piece.append((key, value))
        return piece

    def _backward(self, table: str, start: bytes, stop: bytes | None) -> list[tuple[bytes, bytes]]:
        piece: list[tuple[bytes, bytes]] = []
        with _faults("read"), self._reading() as txn, txn.cursor(self._tables[table]) as cursor:
            # One before the first key that is too high; where there is none, the last of all.
            found = cursor.prev() if stop is not None and stop and cursor.set_range(stop) else cursor.last()
            if not found or stop == b"":
                return piece
            for key, value in cursor.iterprev():
                if len(piece) == SCAN_PIECE or key < start:
                    break
                piece.append((key, value))
        return piece

    def write(self, changes: Iterable[tuple[str, bytes, bytes | None]], *, clear: Sequence[str] = ()) -> None:
        """Empty the tables in `clear`, then make all changes, the later ones winning: all, or none, and synced."""
        changes = list(changes)
        with self._writing():
            while True:
                try:
                    self._executor.submit(self._change, changes, clear).result()
                    self._executor.submit(self._commit).result()
                    return
                except lmdb.MapFullError:
                    self._grow()

    async def commit(self, changes: Iterable[tuple[str, bytes, bytes | None]]) -> None:
        """Make all changes, the later ones winning: all, or none, and synced; the loop goes on meanwhile."""
        changes = list(changes)
        with self._writing():
            while True:
                try:
                    with self._one_view():
                        if len(changes) <= CHANGES_AT_ONCE:
                            await self._change_and_commit(changes)
                        else:
                            await to_the_end(asyncio.create_task(self._change_and_commit(changes)))
                        return
                except lmdb.MapFullError:
                    self._grow()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One write: none beside another, and none after one that failed.

        Where a sync failed, nobody knows what is on the disk; the same again may "succeed" without it (A127).
        """
        if self._view is not None:
            raise RuntimeError("a database has one writer")
        if self._failed is not None:
            raise again(self._failed)
        try:
            with _faults("write"):
                yield
        except StorageError as error:
            self._failed = error
            raise

    @contextmanager
    def _one_view(self) -> Iterator[None]:
        with self._environment.begin() as view:
            self._view = view
            try:
                yield
            finally:
                self._view = None

    def _grow(self) -> None:
        # Nothing was written. No transaction is open, as this must be.
        self._environment.set_mapsize(2 * self._environment.info()["map_size"])

    async def _change_and_commit(self, changes: list[tuple[str, bytes, bytes | None]]) -> None:
        """Make changes, in slices between which everybody else reads the view, and make them durable."""
        for start in range(0, len(changes), CHANGES_AT_ONCE):
            if start:
                await give_way()
            self._executor.submit(self._change, changes[start : start + CHANGES_AT_ONCE], ()).result()
        await run_whole(self._executor, self._commit)

    def _change(self, changes: list[tuple[str, bytes, bytes | None]], clear: Sequence[str]) -> None:
        """Begin a write with these changes, or add them to the one that was begun; if one fails it is aborted."""
        tables = self._tables
        txn = self._changes = self._changes or self._environment.begin(write=True)
        try:
            for table in clear:
                txn.drop(tables[table], delete=False)
            for table, key, value in changes:
                if value is None:
                    txn.delete(key, db=tables[table])
                else:
                    txn.put(key, value, db=tables[table])
        except BaseException:
            self._changes = None
            txn.abort()
            raise

    def _commit(self) -> None:
        txn, self._changes = self._changes, None
        if txn is not None:
            txn.commit()

    def close(self) -> None:
        """Give the folder back, once what is being written is; a second close does nothing."""
        if self._env is not None:
            self._executor.submit(self._env.close).result()
            self._env = None
        self._lock.release()


def _put_in_place(folder: Path, version: int, identity: bytes) -> None:
    """Make an empty database, where there is none, beside its place: a power cut leaves none there, or a whole one."""
    path, beside = folder / _DATA_FILE, folder / _BESIDE
    if beside.exists():
        shutil.rmtree(beside)
    if path.exists() and path.stat().st_size:
        return
    beside.mkdir(mode=0o700)
    with (
        lmdb.Environment(str(beside), map_size=INITIAL_MAP_SIZE, max_dbs=1, mode=0o600) as env,
        env.begin(write=True) as txn,
    ):
        table = env.open_db(_FORMAT.encode("ascii"), txn=txn)
        txn.put(_VERSION_KEY, version.to_bytes(4, "big"), db=table)
        txn.put(_IDENTITY_KEY, identity, db=table)
    (beside / _DATA_FILE).replace(path)
    sync(folder)
    shutil.rmtree(beside)


def _keep_from_children(path: Path) -> None:
    """Mark LMDB's descriptors, one of which it leaves inheritable, so that no child gets them (A130)."""
    wanted = path.stat()
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # the listing's own descriptor is closed by now
            descriptor = int(name)
            if os.path.samestat(os.fstat(descriptor), wanted):
                os.set_inheritable(descriptor, False)


@contextmanager
def _faults(doing: str) -> Iterator[None]:
    """Turn LMDB's errors and the system's into ours."""
    try:
        yield
    except lmdb.DiskError as error:
        raise DiskFullError(f"cannot {doing}: no space left on the disk") from error
    except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.PageNotFoundError) as error:
        raise DamagedError(f"cannot {doing}: the database is damaged ({error}): {REMEDY}") from error
    except lmdb.Error as error:
        raise StorageError(f"cannot {doing}: {error}") from error
    except OSError as error:
        raise from_os_error(f"cannot {doing}", error) from error
