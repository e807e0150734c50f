"""What the wallet needs of the outside world. All of it is handed in, none of it imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol


class Change(NamedTuple):
    """One record to write, or to delete."""

    table: str
    key: bytes
    value: bytes | None
    """None deletes."""


class Database(Protocol):
    """Tables of records, ordered by key."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return a record, or None."""
        ...

    def scan(
        self, table: str, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the records with start <= key < stop, in the order of their keys, or backwards.

        Nobody writes while the wallet reads: it has its database for itself.
        """
        ...

    # Any, because a database of another package names its own class for what `Change` is here.
    def write(self, changes: Iterable[Any]) -> None:
        """Make all changes or none, the later ones winning; they are durable when this returns."""
        ...


class Files(Protocol):
    """Small whole files in one folder, replaced atomically, readable by their owner only (mode 0600)."""

    def read(self, name: str) -> bytes | None:
        """Return the content, or None if there is no such file."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Replace or make the file; when this returns it is durable, and it never is half written."""
        ...


class Clock(Protocol):
    """Tells the time."""

    def time(self) -> int:
        """Return UNIX seconds."""
        ...


class Entropy(Protocol):
    """Randomness: `random.SystemRandom` in the daemon, a seeded `random.Random` in a simulation."""

    def randbytes(self, n: int, /) -> bytes:
        """Return `n` random bytes."""
        ...

    def randrange(self, stop: int, /) -> int:
        """Return a random integer of 0 .. stop - 1."""
        ...

    def shuffle(self, x: list[int], /) -> None:
        """Put a list into random order, in place."""
        ...


class Log(Protocol):
    """A structured log: an event in the past tense, then facts."""

    def info(self, event: str, *args: Any, **facts: Any) -> object:
        """Say what an operator wants to know."""
        ...

    def warning(self, event: str, *args: Any, **facts: Any) -> object:
        """Ask someone to look."""
        ...


class Outside(NamedTuple):
    """All of it, as one wallet holds it: the files and the database are this wallet's alone."""

    files: Files
    database: Database
    entropy: Entropy
    clock: Clock
    log: Log
