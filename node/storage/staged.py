"""A database whose writes are gathered while one caller works, and then made in one commit.

For the wallet, whose methods write in their course and know no event loop: what they read is what they wrote,
and the disk is waited for once, off the loop, when they have returned.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from node.storage.errors import StorageError, again
from node.storage.store import Change, Database


class StagedDatabase:
    """Satisfies `Database` over another one, which nobody else writes to.

    Outside of `gathering` a write goes straight through: at a start, when the loop has nothing else to do.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._staged: dict[tuple[str, bytes], bytes | None] = {}
        """What is gathered, or on its way to the disk: seen by every read."""
        self._gathering = False
        self._failed: StorageError | None = None

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        if (table, key) in self._staged:
            return self._staged[table, key]
        return self._database.get(table, key)

    def get_many(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of many keys, in their order."""
        if self._staged:
            return [self.get(table, key) for key in keys]
        return self._database.get_many(table, keys)

    def scan(
        self, table: str, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the records with start <= key < stop, in the order of their keys, or backwards."""
        stored = self._database.scan(table, start, stop, reverse=reverse)
        if not self._staged:
            yield from stored
            return
        staged = {
            key: value
            for (name, key), value in self._staged.items()
            if name == table and key >= start and (stop is None or key < stop)
        }
        kept = ((key, value) for key, value in stored if key not in staged)
        put = [(key, value) for key, value in staged.items() if value is not None]
        yield from heapq.merge(kept, sorted(put, reverse=reverse), key=_key, reverse=reverse)

    def write(self, changes: Iterable[tuple[str, bytes, bytes | None]], *, clear: Sequence[str] = ()) -> None:
        """Make all changes: part of what is being gathered, else durable when this returns."""
        if not self._gathering:
            if self._staged:
                raise RuntimeError("a database has one writer")
            self._database.write(changes, clear=clear)
            return
        if clear:
            raise ValueError("tables are emptied outside of a step only")
        self._staged |= {(table, key): value for table, key, value in changes}

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Gather what is written inside; `settle` makes it durable. What raised half way has written what it wrote.

        Raises:
            StorageError: the disk failed before.
        """
        if self._failed is not None:
            raise again(self._failed)
        if self._gathering or self._staged:
            raise RuntimeError("a database has one writer")
        self._gathering = True
        try:
            yield
        finally:
            self._gathering = False

    async def settle(self) -> None:
        """Commit what was gathered: durable when this returns, or is cancelled. Nobody gathers before it has ended.

        Raises:
            StorageError: nothing of it is written, and nothing will be any more.
        """
        if not self._staged:
            return
        try:
            await self.commit(Change(table, key, value) for (table, key), value in self._staged.items())
        except StorageError as error:
            self._failed = error
            raise
        finally:
            self._staged.clear()

    async def commit(self, changes: Iterable[tuple[str, bytes, bytes | None]]) -> None:
        """Make all changes, straight through."""
        await self._database.commit(changes)

    def close(self) -> None:
        """Give the database back."""
        self._database.close()


def _key(record: tuple[bytes, bytes]) -> bytes:
    return record[0]
