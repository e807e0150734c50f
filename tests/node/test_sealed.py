"""The wallet's database under its seal: it is read as it was written, or not at all."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from consensus.params import REGTEST
from node.storage.errors import DamagedError, NewerStorageError, StorageError
from node.storage.lmdb_store import LmdbDatabase
from node.storage.memory_store import MemoryDatabase
from node.storage.sealed import SEALED_AT_ONCE, SUMS, SealedDatabase
from node.wallet_opening import STORAGE_VERSION, open_wallet_database
from wallet.store import TABLES as WALLET_TABLES

TABLES = ("one", "two")


def opened(below: MemoryDatabase) -> SealedDatabase:
    return SealedDatabase(below, TABLES, "call for help")


def filled() -> tuple[MemoryDatabase, SealedDatabase]:
    below = MemoryDatabase((*TABLES, SUMS))
    database = opened(below)
    database.write([(table, bytes([n]), bytes([n]) * n) for n in range(10) for table in TABLES])
    return below, database


async def test_a_sealed_database_is_like_any_other_and_opens_again_after_every_write() -> None:
    below, model, random = MemoryDatabase((*TABLES, SUMS)), MemoryDatabase(TABLES), Random(1)
    database = opened(below)
    for turn in range(100):
        changes = [
            (random.choice(TABLES), bytes([random.randrange(9)]), random.choice([None, bytes([turn])]))
            for _ in range(random.randrange(6))
        ]
        model.write(changes)
        if turn % 2:
            database.write(changes)
        else:
            await database.commit(changes)
        for reader in (database, opened(below)):
            for table in TABLES:
                assert list(reader.scan(table, reverse=True)) == list(model.scan(table, reverse=True))
                keys = [bytes([n]) for n in range(9)]
                assert reader.get_many(table, keys) == [reader.get(table, key) for key in keys]
                assert reader.get_many(table, keys) == model.get_many(table, keys)
    with pytest.raises(ValueError, match="never emptied"):
        database.write([], clear=TABLES)


def test_a_flipped_bit_in_any_record_is_noticed_when_it_is_read_and_at_the_next_start() -> None:
    """A125"""
    for table in TABLES:
        for n in range(10):
            below, database = filled()
            value = bytearray(below.get(table, bytes([n])) or b"")
            value[Random(n).randrange(len(value))] ^= 1 << n % 8
            below.write([(table, bytes([n]), bytes(value))])
            for reading in (
                lambda: database.get(table, bytes([n])),  # noqa: B023 - run at once
                lambda: database.get_many(table, [bytes([n])]),  # noqa: B023
                lambda: list(database.scan(table)),  # noqa: B023
                lambda: opened(below),  # noqa: B023
            ):
                with pytest.raises(DamagedError, match="call for help"):
                    reading()


def test_a_record_that_is_gone_moved_added_or_of_another_time_is_noticed_at_the_next_start() -> None:
    """A125, A133: each of them has a checksum that holds."""
    below, database = filled()
    old = below.get("one", b"\x05")
    total = below.get(SUMS, b"records")
    database.write([("one", b"\x05", b"new")])
    for damage in (
        [("one", b"\x05", old)],
        [("one", b"\x06", None)],
        [("two", b"\x77", below.get("two", b"\x07"))],
        [("two", b"\x05", below.get("one", b"\x05"))],
        [(SUMS, b"records", total)],
        [(SUMS, b"records", None)],
    ):
        copy = MemoryDatabase((*TABLES, SUMS))
        for table in (*TABLES, SUMS):
            copy.write([(table, key, value) for key, value in below.scan(table)])
        opened(copy)
        copy.write(damage)
        with pytest.raises(DamagedError, match="call for help"):
            opened(copy)


def test_a_wallet_of_the_first_version_gets_its_seals_and_the_old_program_is_refused_then(tmp_path: Path) -> None:
    """A131"""
    old = LmdbDatabase(tmp_path, WALLET_TABLES, version=1, identity=REGTEST.genesis_hash)
    old.write([(table, b"key", b"value of " + table.encode()) for table in WALLET_TABLES])
    old.close()
    for _ in range(2):
        database = open_wallet_database(tmp_path, REGTEST)
        assert [database.get(table, b"key") for table in WALLET_TABLES] == [
            b"value of " + table.encode() for table in WALLET_TABLES
        ]
        database.close()
    before = (tmp_path / "data.mdb").read_bytes()
    with pytest.raises(NewerStorageError, match=f"version {STORAGE_VERSION}"):
        LmdbDatabase(tmp_path, WALLET_TABLES, version=1, identity=REGTEST.genesis_hash)
    assert (tmp_path / "data.mdb").read_bytes() == before


def test_a_version_that_nobody_can_migrate_is_refused(tmp_path: Path) -> None:
    """A131"""
    LmdbDatabase(tmp_path, ("one",), version=1, identity=b"").close()
    with pytest.raises(StorageError, match=r"old version \(1\)"):
        LmdbDatabase(tmp_path, ("one",), version=3, identity=b"", migrations={2: lambda _: ()})
    LmdbDatabase(tmp_path, ("one",), version=1, identity=b"").close()


@pytest.mark.parametrize("turns", [0, 1, 5, 20, 1_000])
async def test_a_large_write_is_sealed_in_slices_and_whole_though_its_caller_goes_away(turns: int) -> None:
    below, database = filled()
    changes = [("one", n.to_bytes(4, "big"), b"new") for n in range(5 * SEALED_AT_ONCE)]
    writing = asyncio.create_task(database.commit(changes))
    for _ in range(turns):
        await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])
    assert writing.cancelled() == (turns < 1_000)
    written = sum(1 for _ in opened(below).scan("one"))
    assert written == (10 if turns == 0 else 10 + len(changes))
    await database.commit([("two", b"last", b"1")])
    assert opened(below).get("two", b"last") == b"1"
