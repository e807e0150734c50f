"""LMDB and small files on a disk that is recorded, cut off, full or broken: see `tests/support/disk_shim.c`.

Each test runs one story of `tests/support/disk_story.py` in a process of its own, and judges what is left.
"""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import environment
from tests.support.disk_log import Call, Crashable, read_log
from tests.support.repository import ROOT

pytestmark = pytest.mark.slow
STORIES = ("chain", "wallet", "files", "migration")
SEED = "1"


def run(how: str, story: str, folder: Path, *more: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.support.disk_story", how, story, str(folder), *map(str, more)],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )


def lazily(shim: Path, folder: Path) -> dict[str, str]:
    """The environment of a run that looks at files only: nothing waits for the disk of this machine."""
    return {"LD_PRELOAD": str(shim), "DISK_SHIM_FOLDER": str(folder), "DISK_SHIM_LAZY": "1"}


def found(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    assert done.returncode == 0, done.stderr[-3_000:]
    counts: Any = json.loads(done.stdout or "{}")
    return {str(name): int(count) for name, count in counts.items()}


def recorded(story: str, folder: Path, shim: Path) -> tuple[Path, Path]:
    """Tell a story on a disk that is recorded; return its folder and the record."""
    told, log = folder / "told", folder / "log"
    told.mkdir()
    found(run("tell", story, told, LD_PRELOAD=str(shim), DISK_SHIM_FOLDER=str(told), DISK_SHIM_LOG=str(log)))
    return told, log


@pytest.mark.parametrize("story", STORIES)
def test_what_was_acknowledged_survives_a_kill_and_a_power_cut_after_every_call(
    story: str, tmp_path: Path, disk_shim: Path
) -> None:
    """A121, A122, A123, A124, A131, A134, A142, A143: what was not synced is lost, torn or reordered."""
    told, log = recorded(story, tmp_path, disk_shim)
    counts = found(run("replay", story, told, log, SEED, 3, **lazily(disk_shim, tmp_path)))
    assert counts["states"] > 40
    assert counts["calls"] == len(list(read_log(log)))


@pytest.mark.parametrize("story", ["chain", "wallet"])
def test_without_its_syncs_a_power_cut_would_be_noticed(story: str, tmp_path: Path, disk_shim: Path) -> None:
    """A123: the same record, less the syncs: as LMDB writes with NOSYNC, and so that the test above can fail."""
    told, log = recorded(story, tmp_path, disk_shim)
    raw, lazy, at = log.read_bytes(), bytearray(), 0
    for call in read_log(log):
        size = 24 + len(str(call.path)) + len(str(call.other) if call.op == "r" else "") + len(call.data)
        if call.op != "s":
            lazy += raw[at : at + 1] + b"\0" + raw[at + 2 : at + size]
        at += size
    log.write_bytes(lazy)
    done = run("replay", story, told, log, SEED, 3, **lazily(disk_shim, tmp_path))
    assert done.returncode == 1
    assert "Wrong" in done.stderr


@pytest.mark.parametrize(("error", "ways"), [(errno.EIO, "once"), (errno.ENOSPC, "on")])
@pytest.mark.parametrize("story", STORIES)
def test_whichever_call_fails_it_is_said_and_the_next_start_is_right(
    story: str, error: int, ways: str, tmp_path: Path, disk_shim: Path
) -> None:
    """A126, A127, A131, A142: every write, sync, rename, truncation and creation; a full disk stays full."""
    place = tmp_path / "fail"
    place.mkdir()
    counts = found(run("fail", story, place, error, ways, **lazily(disk_shim, place)))
    assert counts["calls"] >= 15
    assert counts["refused"] == counts["calls"]


@pytest.mark.parametrize("story", ["chain", "wallet"])
def test_a_read_that_fails_is_said_and_the_next_start_is_right(story: str, tmp_path: Path, disk_shim: Path) -> None:
    """A127"""
    place = tmp_path / "read"
    place.mkdir()
    counts = found(run("read", story, place, **lazily(disk_shim, tmp_path)))
    assert counts["reads"] >= 2


@pytest.mark.parametrize("story", ["chain", "wallet"])
def test_damaged_files_are_noticed_or_harmless(story: str, tmp_path: Path, disk_shim: Path) -> None:
    """A124, A125, A139: cut at every page, and single bits flipped, in each file; never a wrong coin or balance."""
    told = tmp_path / "told"
    told.mkdir()
    counts = found(run("damage", story, told, SEED, 60, **lazily(disk_shim, tmp_path)))
    assert counts["named"] > 10
    assert counts["harmless"] > 10


def test_the_record_is_replayed_as_a_disk_may_behave(tmp_path: Path) -> None:
    """What a power cut leaves: by the rules of files, written out."""
    folder, nowhere = Path("/d"), Path()

    def after(*calls: tuple[str, bool, str, str, int, bytes]) -> tuple[dict[str, bytes], dict[str, bytes]]:
        disk = Crashable(folder)
        for op, durable, path, other, offset, data in calls:
            disk.apply(Call(op, durable, Path(path), Path(other) if other else nowhere, offset, data))
        states = []
        for name in ("killed", "cut"):
            place = tmp_path / f"{len(list(tmp_path.iterdir()))}"
            place.mkdir()
            disk.killed(place) if name == "killed" else disk.cut(place, None)
            states.append({file.name: file.read_bytes() for file in place.iterdir()})
        return states[0], states[1]

    made = ("c", False, "/d/a", "", 0, b"")
    wrote = ("w", False, "/d/a", "", 2, b"xy")
    synced, named = ("s", False, "/d/a", "", 0, b""), ("s", False, "/d", "", 0, b"")
    renamed = ("r", False, "/d/a", "/d/b", 0, b"")
    assert after(made, wrote) == ({"a": b"\0\0xy"}, {})
    assert after(made, wrote, synced) == ({"a": b"\0\0xy"}, {})
    assert after(made, wrote, named) == ({"a": b"\0\0xy"}, {"a": b""})
    assert after(made, wrote, synced, named) == ({"a": b"\0\0xy"}, {"a": b"\0\0xy"})
    assert after(made, synced, named, wrote) == ({"a": b"\0\0xy"}, {"a": b""})
    assert after(made, named, ("w", True, "/d/a", "", 0, b"z")) == ({"a": b"z"}, {"a": b"z"})
    assert after(made, wrote, synced, named, renamed) == ({"b": b"\0\0xy"}, {"a": b"\0\0xy"})
    assert after(made, wrote, synced, named, renamed, named) == ({"b": b"\0\0xy"}, {"b": b"\0\0xy"})
    assert after(made, wrote, synced, named, ("t", False, "/d/a", "", 3, b"")) == ({"a": b"\0\0x"}, {"a": b"\0\0xy"})
    assert after(made, named, ("u", False, "/d/a", "", 0, b""), named) == ({}, {})
