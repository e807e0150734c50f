"""A database in memory: for tests and simulated nodes, whose crash and restart reuse the same object."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence


class MemoryDatabase:
    """Satisfies `Database`. What was written stays, even over `close`: that is what a disk does."""

    def __init__(self, tables: Sequence[str]) -> None:
        self._values: dict[str, dict[bytes, bytes]] = {table: {} for table in tables}
        self._keys: dict[str, list[bytes]] = {table: [] for table in tables}
        """The same keys, sorted."""
        self.writes = 0
        """How many writes have been made: tests count commits."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        return self._values[table].get(key)

    def get_many(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of many keys, in their order."""
        values = self._values[table]
        return [values.get(key) for key in keys]

    def scan(
        self, table: str, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the records with start <= key < stop, as they are when the scan begins."""
        keys, values = self._keys[table], self._values[table]
        first = bisect_left(keys, start)
        last = len(keys) if stop is None else bisect_left(keys, stop)
        chosen = keys[first:last]
        yield from [(key, values[key]) for key in (reversed(chosen) if reverse else chosen)]

    def write(self, changes: Iterable[tuple[str, bytes, bytes | None]], *, clear: Sequence[str] = ()) -> None:
        """Empty the tables in `clear`, then make all changes, the later ones winning: all, or none."""
        changes = list(changes)
        for table, _, _ in changes:
            self._values[table]  # an unknown table raises before anything is changed
        for table in clear:
            self._values[table].clear()
            self._keys[table].clear()
        for table, key, value in changes:
            values, keys = self._values[table], self._keys[table]
            if value is None:
                if values.pop(key, None) is not None:
                    del keys[bisect_left(keys, key)]
                continue
            if key not in values:
                insort(keys, key)
            values[key] = value
        self.writes += 1

    async def commit(self, changes: Iterable[tuple[str, bytes, bytes | None]]) -> None:
        """Make all changes, at once: this disk takes no time."""
        self.write(changes)

    def close(self) -> None:
        """Do nothing: another opening finds everything again."""
