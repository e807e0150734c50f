"""A small database in which no damage goes unseen: for the wallet, whose records nobody else can give back.

Each value carries the CRC-32 of its table, key and content. That finds a flipped bit in a record. What it cannot find
is a record that is gone, or one of another day: LMDB has no checksums, so a flipped bit in its own pages may hide
records or bring old ones back, and so may a copy that was made while the file was written to. So the sum of the hashes
of all records is kept too, changed with every write and compared at every start, which reads all records once.

    value     content | crc (4)
    sums      "records": the sum modulo 2^128 of BLAKE2b-128 of every value's table, key and value (16)
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain, islice

from consensus.slices import Slices, whole
from node.storage.errors import DamagedError
from node.storage.executor import to_the_end
from node.storage.store import Change, Database
from node.turns import in_turns

SUMS = "sums"
"""The table that the database below must have besides the caller's."""
SEALED_AT_ONCE = 500
"""Records of a large write that are sealed in a slice: each is looked up, and hashed as it was and as it will be."""
GATHERED_AT_ONCE = 5_000
"""Records of a large write that are looked through in a slice, as of two changes of one record the later one wins."""
_SUM_KEY = b"records"
_CRC_SIZE = 4
_MODULUS = 2**128


class SealedDatabase:
    """Satisfies `Database` over another one, which nobody else writes to."""

    def __init__(self, database: Database, tables: Sequence[str], advice: str) -> None:
        """Check all that is there.

        Args:
            advice: what its owner can do where it is damaged.

        Raises:
            DamagedError: not everything that was written is there, or something else is.
        """
        self._database = database
        self._advice = advice
        self._sum = 0
        for table in tables:
            for key, sealed in database.scan(table):
                self._opened(table, key, sealed)
                self._sum += _hash(table, key, sealed)
        self._sum %= _MODULUS
        if int.from_bytes(database.get(SUMS, _SUM_KEY) or b"", "big") != self._sum:
            raise DamagedError(f"the database is damaged: records are missing, or of another time: {advice}")

    def _opened(self, table: str, key: bytes, sealed: bytes) -> bytes:
        content = sealed[:-_CRC_SIZE]
        if _seal(table, key, content) != sealed:
            raise DamagedError(f"a record in the table {table} is damaged (key {key.hex()}): {self._advice}")
        return content

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        sealed = self._database.get(table, key)
        return None if sealed is None else self._opened(table, key, sealed)

    def get_many(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of many keys, in their order."""
        return [
            None if sealed is None else self._opened(table, key, sealed)
            for key, sealed in zip(keys, self._database.get_many(table, keys), strict=True)
        ]

    def scan(
        self, table: str, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the records with start <= key < stop, in the order of their keys, or backwards."""
        for key, sealed in self._database.scan(table, start, stop, reverse=reverse):
            yield key, self._opened(table, key, sealed)

    def write(self, changes: Iterable[tuple[str, bytes, bytes | None]], *, clear: Sequence[str] = ()) -> None:
        """Make all changes, the later ones winning: all, or none. Tables are not emptied as a whole here."""
        if clear:
            raise ValueError("its tables are never emptied")
        sealed, total = whole(self._sealed(changes))
        self._database.write(sealed)
        self._sum = total

    async def commit(self, changes: Iterable[tuple[str, bytes, bytes | None]]) -> None:
        """Make all changes, as `write`, while the loop goes on; nobody may change the iterable meanwhile."""
        rest = iter(changes)
        first = list(islice(rest, SEALED_AT_ONCE + 1))
        if len(first) <= SEALED_AT_ONCE:
            await self._commit(first)
        else:
            await to_the_end(asyncio.create_task(self._commit(chain(first, rest))))

    async def _commit(self, changes: Iterable[tuple[str, bytes, bytes | None]]) -> None:
        sealed, total = await in_turns(self._sealed(changes))
        # Where the write fails, or its caller is cancelled once it is done, this is never asked again, or is right.
        self._sum = total
        await self._database.commit(sealed)

    def _sealed(self, changes: Iterable[tuple[str, bytes, bytes | None]]) -> Slices[tuple[list[Change], int]]:
        """Return what is to be written for these changes, and the sum after them; nobody writes meanwhile."""
        total = self._sum
        last: dict[tuple[str, bytes], bytes | None] = {}
        for place, (table, key, content) in enumerate(changes, 1):
            last[table, key] = content
            if place % GATHERED_AT_ONCE == 0:
                yield
        sealed: list[Change] = []
        for place, ((table, key), content) in enumerate(last.items()):
            if place and place % SEALED_AT_ONCE == 0:
                yield
            before = self._database.get(table, key)
            value = None if content is None else _seal(table, key, content)
            if before is not None:
                total -= _hash(table, key, before)
            if value is not None:
                total += _hash(table, key, value)
            sealed.append(Change(table, key, value))
        total %= _MODULUS
        return [*sealed, Change(SUMS, _SUM_KEY, total.to_bytes(16, "big"))], total

    def close(self) -> None:
        """Give the database back."""
        self._database.close()


def seal_all(database: Database, tables: Sequence[str]) -> list[Change]:
    """Return the changes that make a database of bare values a sealed one."""
    total = 0
    changes: list[Change] = []
    for table in tables:
        for key, content in database.scan(table):
            value = _seal(table, key, content)
            total += _hash(table, key, value)
            changes.append(Change(table, key, value))
    return [*changes, Change(SUMS, _SUM_KEY, (total % _MODULUS).to_bytes(16, "big"))]


def _seal(table: str, key: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(content, zlib.crc32(key, zlib.crc32(table.encode("ascii") + b"\0")))
    return content + crc.to_bytes(_CRC_SIZE, "big")


def _hash(table: str, key: bytes, value: bytes) -> int:
    head = table.encode("ascii") + b"\0" + len(key).to_bytes(2, "big") + key
    return int.from_bytes(blake2b(head + value, digest_size=16).digest(), "big")
