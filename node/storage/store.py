"""The interface to a database: tables of ordered bytes, and one write that is all or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol


class Change(NamedTuple):
    """One record to be put, or with `value` None to be removed (which may already be so)."""

    table: str
    key: bytes
    value: bytes | None


class Database(Protocol):
    """What the node asks of a disk. One owner at a time; all calls come from one thread, and one writer.

    Keys have 1 to 511 bytes and are ordered as bytes. A table that was not named when the database
    was opened does not exist (`KeyError`).
    """

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        ...

    def get_many(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of many keys, in their order; cheapest where `keys` are sorted."""
        ...

    def scan(
        self, table: str, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the records with start <= key < stop, in the order of their keys, or backwards.

        Read in pieces of some hundreds: what is written meanwhile may be seen or not. Whoever needs one
        moment's view must see to it that nobody writes.
        """
        ...

    def write(self, changes: Iterable[tuple[str, bytes, bytes | None]], *, clear: Sequence[str] = ()) -> None:
        """Empty the tables in `clear`, then make all changes (see `Change`), the later ones winning: all, or none.

        What was written survives a crash and a power cut once this returns. Waits for the disk: for a start, before
        anybody else runs on the loop.

        Raises:
            StorageError: nothing was written, and nothing will be any more: a failed write is never tried again.
        """
        ...

    async def commit(self, changes: Iterable[tuple[str, bytes, bytes | None]]) -> None:
        """Make all changes, as `write`, while the loop goes on; one `commit` at a time, and no `write` meanwhile.

        Until this returns, all reads give what was there before; from then on, what was written. Between its
        return and what its caller does next nobody else runs. A caller that is cancelled meanwhile gets
        `CancelledError` once everything is written.

        Raises:
            StorageError: as `write`.
        """
        ...

    def close(self) -> None:
        """Give the database back. No other method may be called afterwards; a second close does nothing."""
        ...
