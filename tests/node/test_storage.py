"""Databases and files: both kinds alike, all or nothing, one owner, refused where they are not ours."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.storage import folder as folder_module
from node.storage.errors import DamagedError, FolderInUseError, NewerStorageError, OtherNetworkError, StorageError
from node.storage.files import DirectoryFiles, Files, MemoryFiles
from node.storage.folder import FolderLock, file_system_of
from node.storage.lmdb_store import INITIAL_MAP_SIZE, SCAN_PIECE, LmdbDatabase
from node.storage.memory_store import MemoryDatabase
from node.storage.store import Change, Database

TABLES = ("one", "two")
Opener = Callable[[], Database]


def open_lmdb(folder: Path, *, version: int = 1, identity: bytes = b"network") -> LmdbDatabase:
    return LmdbDatabase(folder, TABLES, version=version, identity=identity)


@pytest.fixture(params=["memory", "lmdb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    opened: Database = MemoryDatabase(TABLES) if request.param == "memory" else open_lmdb(tmp_path / "db")
    yield opened
    opened.close()


def test_what_was_written_is_read(database: Database) -> None:
    database.write([Change("one", b"b", b"2"), Change("one", b"a", b"1"), Change("two", b"a", b"other")])
    assert database.get("one", b"a") == b"1"
    assert database.get("one", b"c") is None
    assert database.get_many("one", [b"c", b"b", b"a"]) == [None, b"2", b"1"]
    assert list(database.scan("one")) == [(b"a", b"1"), (b"b", b"2")]
    assert list(database.scan("two")) == [(b"a", b"other")]


def test_of_two_changes_to_a_key_the_later_wins(database: Database) -> None:
    database.write([("one", b"a", b"1"), ("one", b"a", None), ("one", b"b", None), ("one", b"b", b"2")])
    assert list(database.scan("one")) == [(b"b", b"2")]
    database.write([("one", b"b", None), ("one", b"never", None)])
    assert list(database.scan("one")) == []


def test_tables_are_emptied_before_the_changes(database: Database) -> None:
    database.write([("one", b"a", b"1"), ("two", b"a", b"1")])
    database.write([("one", b"b", b"2")], clear=["one"])
    assert list(database.scan("one")) == [(b"b", b"2")]
    assert list(database.scan("two")) == [(b"a", b"1")]


def test_a_write_that_fails_changes_nothing(database: Database) -> None:
    database.write([("one", b"a", b"1")])
    with pytest.raises(KeyError):
        database.write([("one", b"a", b"2"), ("unknown", b"a", b"1")], clear=["two"])
    assert list(database.scan("one")) == [(b"a", b"1")]


def test_a_long_scan_yields_everything_once_even_while_others_write(database: Database) -> None:
    keys = [n.to_bytes(2, "big") for n in range(3 * SCAN_PIECE)]
    database.write([("one", key, b"") for key in keys])
    seen: list[bytes] = []
    for key, _ in database.scan("one"):
        seen.append(key)
        if len(seen) % 500 == 0:
            database.write([("two", key, bytes(5_000))])
    assert seen == keys
    assert [key for key, _ in database.scan("one", reverse=True)] == keys[::-1]


@settings(max_examples=30, deadline=None)
@given(
    keys=st.sets(st.binary(min_size=1, max_size=3), max_size=30),
    start=st.binary(max_size=3),
    stop=st.none() | st.binary(max_size=3),
    reverse=st.booleans(),
)
def test_both_kinds_scan_alike(
    tmp_path_factory: pytest.TempPathFactory,
    keys: set[bytes],
    start: bytes,
    stop: bytes | None,
    reverse: bool,
) -> None:
    lmdb, memory = open_lmdb(tmp_path_factory.mktemp("db")), MemoryDatabase(TABLES)
    for each in (lmdb, memory):
        each.write([("one", key, key[::-1]) for key in sorted(keys)])
    found = list(lmdb.scan("one", start, stop, reverse=reverse))
    lmdb.close()
    assert found == list(memory.scan("one", start, stop, reverse=reverse))
    wanted = sorted((key for key in keys if key >= start and (stop is None or key < stop)), reverse=reverse)
    assert [key for key, _ in found] == wanted


# On disk


def test_everything_is_there_after_opening_again(tmp_path: Path) -> None:
    first = open_lmdb(tmp_path / "db")
    first.write([("one", b"a", b"1")])
    first.close()
    first.close()
    with pytest.raises(StorageError, match="closed"):
        first.get("one", b"a")
    again = open_lmdb(tmp_path / "db")
    assert again.get("one", b"a") == b"1"
    again.close()


def test_the_map_grows_with_the_content(tmp_path: Path) -> None:
    database = open_lmdb(tmp_path / "db")
    for n in range(3):  # one write alone is larger than the map was
        database.write([("one", bytes([n, m]), bytes(INITIAL_MAP_SIZE // 20)) for m in range(25)])
    database.close()
    again = open_lmdb(tmp_path / "db")
    assert len(list(again.scan("one"))) == 75
    again.close()


def test_the_file_does_not_grow_by_rewriting(tmp_path: Path) -> None:
    """A130"""
    database = open_lmdb(tmp_path / "db")
    sizes: list[int] = []
    for n in range(60):
        scan = database.scan("one")  # a reader that is never finished
        next(scan, None)
        database.write([("one", bytes([m]), bytes([n]) * 10_000) for m in range(20)])
        sizes.append((tmp_path / "db" / "data.mdb").stat().st_size)
    database.close()
    assert sizes[-1] <= 2 * sizes[4]


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    """A129"""
    database = open_lmdb(tmp_path / "db")
    before = (tmp_path / "db" / "data.mdb").read_bytes()
    with pytest.raises(FolderInUseError):
        open_lmdb(tmp_path / "db")
    code = (
        "import sys\nfrom pathlib import Path\nfrom node.storage.folder import FolderLock\n"
        "from node.storage.errors import FolderInUseError\n"
        f"try: FolderLock(Path({str(tmp_path / 'db')!r}))\nexcept FolderInUseError: sys.exit(69)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 69
    assert (tmp_path / "db" / "data.mdb").read_bytes() == before
    database.close()
    open_lmdb(tmp_path / "db").close()


def test_a_killed_owner_leaves_no_lock(tmp_path: Path) -> None:
    """A129"""
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom node.storage.folder import FolderLock\n"
        f"lock = FolderLock(Path({str(tmp_path)!r}))\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    lock = FolderLock(tmp_path)
    lock.release()
    lock.release()


def test_a_newer_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A131"""
    open_lmdb(tmp_path / "db", version=7).close()
    before = (tmp_path / "db" / "data.mdb").read_bytes()
    with pytest.raises(NewerStorageError, match="storage version 7"):
        LmdbDatabase(tmp_path / "db", (*TABLES, "three"), version=6, identity=b"network")
    assert (tmp_path / "db" / "data.mdb").read_bytes() == before
    open_lmdb(tmp_path / "db", version=7).close()


def test_another_networks_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A132"""
    open_lmdb(tmp_path / "db").close()
    before = (tmp_path / "db" / "data.mdb").read_bytes()
    with pytest.raises(OtherNetworkError):
        open_lmdb(tmp_path / "db", identity=b"another")
    assert (tmp_path / "db" / "data.mdb").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no database", bytes(100_000), os.urandom(50_000)])
def test_a_strange_file_is_a_named_error_or_an_empty_database(tmp_path: Path, content: bytes) -> None:
    """A124"""
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "data.mdb").write_bytes(content)
    if content:
        with pytest.raises(DamagedError):
            open_lmdb(tmp_path / "db")
        assert (tmp_path / "db" / "data.mdb").read_bytes() == content
    else:
        open_lmdb(tmp_path / "db").close()


def test_a_folder_that_cannot_be_made_is_a_named_error(tmp_path: Path) -> None:
    """A132"""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot use the folder"):
        open_lmdb(tmp_path / "file" / "db")


MOUNTS = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:27 / /srv rw,relatime shared:5 - nfs4 server:/srv rw,vers=4.2
31 30 8:1 / /srv/me/disk rw,relatime - xfs /dev/sda1 rw
32 22 0:29 / /mnt/with\040blank rw - cifs //server/share rw
33 22 0:30 / /mnt/over rw - ext4 /dev/vdb rw
34 33 0:31 / /mnt/over rw - fuse.sshfs server: rw
nonsense
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib/dure", "ext4"),
        ("/srv", "nfs4"),
        ("/srv/me/.dure", "nfs4"),
        ("/srv/me/disk/dure", "xfs"),
        ("/srvs", "ext4"),
        ("/mnt/with blank/dure", "cifs"),
        ("/mnt/over/dure", "fuse.sshfs"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_the_last_mount_above_it(folder: str, kind: str) -> None:
    assert file_system_of(Path(folder), MOUNTS) == kind


def test_a_folder_on_a_network_file_system_is_refused_before_anything_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A132"""
    (tmp_path / "mounts").write_text(f"30 22 0:27 / {tmp_path}/far rw - nfs4 server:/home rw\n")
    monkeypatch.setattr(folder_module, "_MOUNTS", tmp_path / "mounts")
    (tmp_path / "link").symlink_to(tmp_path / "far")
    (tmp_path / "far").mkdir()
    for place in ("far", "link"):
        with pytest.raises(StorageError, match=r"network file system \(nfs4\)"):
            FolderLock(tmp_path / place)
    assert not list((tmp_path / "far").iterdir())
    FolderLock(tmp_path / "near").release()


def test_a_folder_may_be_reached_by_a_link_and_is_held_under_both_names(tmp_path: Path) -> None:
    """A129, A132"""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    lock = FolderLock(tmp_path / "link")
    with pytest.raises(FolderInUseError):
        FolderLock(tmp_path / "real")
    lock.release()


def test_no_child_gets_a_descriptor_of_the_database(tmp_path: Path) -> None:
    """A130"""
    database = open_lmdb(tmp_path / "db")
    files = {(entry.stat().st_dev, entry.stat().st_ino) for entry in (tmp_path / "db").iterdir()}
    found = 0
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):
            status = os.fstat(int(name))
            if (status.st_dev, status.st_ino) in files:
                assert not os.get_inheritable(int(name))
                found += 1
    assert found >= 3
    database.close()


def test_nobody_else_may_read_the_database(tmp_path: Path) -> None:
    open_lmdb(tmp_path / "db").close()
    assert stat.S_IMODE((tmp_path / "db").stat().st_mode) == 0o700
    for file in (tmp_path / "db").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


# Files


@pytest.fixture(params=["memory", "directory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return MemoryFiles() if request.param == "memory" else DirectoryFiles(tmp_path / "files")


def test_a_file_is_read_as_it_was_written(files: Files) -> None:
    assert files.read("peers") is None
    files.write("peers", b"one")
    files.write("peers", b"another")
    assert files.read("peers") == b"another"


def test_files_are_private_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    """A134"""
    files = DirectoryFiles(tmp_path)
    (tmp_path / ".peers.new").write_bytes(b"left by a crash")
    files.write("peers", b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["peers"]
    assert stat.S_IMODE((tmp_path / "peers").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["", "../peers", "/etc/passwd", ".hidden", "a/b", "a\0b"])
def test_a_name_that_leads_elsewhere_is_a_mistake_of_ours(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not the name"):
        DirectoryFiles(tmp_path).write(name, b"")


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    """A126"""
    files = DirectoryFiles(tmp_path)
    files.write("peers", b"old")
    (tmp_path / ".peers.new").mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        files.write("peers", b"new")
    assert files.read("peers") == b"old"
    with suppress(OSError):
        (tmp_path / ".peers.new").rmdir()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="cannot read"):
        files.read("folder")
