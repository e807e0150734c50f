"""The simulated disk: old or new, never half, and what was acknowledged is there."""

from __future__ import annotations

import asyncio
import random

import pytest

from node.storage.errors import DiskFullError, StorageError
from simnet.disk import PowerLost, SimDisk
from simnet.loop import run_virtual

TABLES = ("one",)


def test_what_was_acknowledged_outlives_the_process() -> None:
    disk = SimDisk(random.Random(1))
    database, files = disk.database("chain", TABLES), disk.files("node")
    database.write([("one", b"a", b"1")])
    files.write("peers", b"some")
    disk.power_off()
    assert disk.database("chain", TABLES).get("one", b"a") == b"1"
    assert disk.files("node").read("peers") == b"some"
    with pytest.raises(StorageError):
        database.get("one", b"a")
    with pytest.raises(StorageError):
        database.write([("one", b"a", b"2")])
    with pytest.raises(StorageError):
        files.write("peers", b"other")


@pytest.mark.parametrize("kind", ["database", "file"])
def test_a_crash_within_a_write_leaves_the_old_or_the_new_and_each_happens(kind: str) -> None:
    """A121, A123"""
    seen: dict[bytes | None, int] = {}
    torn = 0
    for seed in range(60):
        disk = SimDisk(random.Random(seed))
        database, files = disk.database("chain", TABLES), disk.files("node")
        database.write([("one", b"a", b"old"), ("one", b"b", b"old")])
        files.write("file", b"old")
        dead: list[int] = []
        disk.on_power_lost = lambda dead=dead, seed=seed: dead.append(seed)  # type: ignore[misc]
        disk.crash_in_call(1)
        with pytest.raises(PowerLost):
            if kind == "file":
                files.write("file", b"new")
            else:
                database.write([("one", b"a", b"new"), ("one", b"b", b"new")])
        assert dead == [seed]
        database, files = disk.database("chain", TABLES), disk.files("node")
        found = database.get("one", b"a")
        assert found == database.get("one", b"b")
        found = files.read("file") if kind == "file" else found
        seen[found] = seen.get(found, 0) + 1
        torn += disk.torn
    assert min(seen[b"old"], seen[b"new"]) > 10
    assert sum(seen.values()) == 60
    assert torn > 10 or kind == "file"


def test_the_nth_call_fails_and_the_next_does_not() -> None:
    """A127"""
    disk = SimDisk(random.Random(1))
    database = disk.database("chain", TABLES)
    disk.fail_call(2)
    database.write([("one", b"a", b"1")])
    with pytest.raises(StorageError, match="Input/output"):
        database.write([("one", b"a", b"2")])
    assert database.get("one", b"a") == b"1"
    database.write([("one", b"a", b"3")])
    assert database.get("one", b"a") == b"3"


def test_a_full_disk_takes_nothing_until_there_is_room() -> None:
    """A126"""
    disk = SimDisk(random.Random(1))
    database, files = disk.database("chain", TABLES), disk.files("node")
    disk.capacity = 10
    database.write([("one", b"key", b"1234567")])
    with pytest.raises(DiskFullError):
        database.write([("one", b"k", b"")])
    with pytest.raises(DiskFullError):
        files.write("file", b"1")
    assert database.get("one", b"k") is None
    disk.capacity = None
    database.write([("one", b"k", b"")])
    assert database.get("one", b"k") == b""


def test_a_slow_disk_shows_the_old_content_until_the_commit_has_ended() -> None:
    """A128: on the virtual clock; who is cancelled meanwhile has written all the same."""

    async def story() -> None:
        disk = SimDisk(random.Random(1))
        disk.sync_seconds = 5.0
        database, loop = disk.database("chain", TABLES), asyncio.get_running_loop()
        for value, cancelled in ((b"1", False), (b"2", True)):
            old, began = database.get("one", b"a"), loop.time()
            committing = asyncio.create_task(database.commit([("one", b"a", value)]))
            await asyncio.sleep(2)
            assert (committing.done(), database.get("one", b"a")) == (False, old)
            if cancelled:
                committing.cancel()
            await asyncio.wait([committing])
            assert database.get("one", b"a") == value
            assert committing.cancelled() is cancelled
            assert cancelled or loop.time() == began + 5

    run_virtual(story)
