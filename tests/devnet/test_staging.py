"""One network takes another's place: wherever that is interrupted, one of the two is there, whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devnet import staging
from devnet.staging import Swap

SWAP = Swap(remove=("node0", "node1", "node2"), add=("node0", "node1"))


class Crash(BaseException):
    """The process is gone."""


def lay_out(folder: Path) -> None:
    """An old network of three nodes, a new one of two beside it, and something that belongs to neither."""
    for name in SWAP.remove:
        (folder / name).mkdir()
        (folder / name / "data").write_text("old")
    (folder / "network.json").write_text("old")
    (folder / "letters").write_text("mine")
    place = staging.begin(folder)
    for name in SWAP.add:
        (place / name / "chain").mkdir(parents=True)
        (place / name / "chain" / "data").write_text("new")
    (place / "network.json").write_text("new")


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


OLD = {"letters": "mine", "network.json": "old", **{f"{name}/data": "old" for name in SWAP.remove}}
NEW = {"letters": "mine", "network.json": "new", **{f"{name}/chain/data": "new" for name in SWAP.add}}


def test_the_new_network_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    lay_out(tmp_path)
    staging.commit(tmp_path, SWAP)
    assert contents(tmp_path) == NEW
    staging.roll_forward(tmp_path)
    assert contents(tmp_path) == NEW


def test_what_never_was_complete_is_cleared_away(tmp_path: Path) -> None:
    lay_out(tmp_path)
    staging.roll_forward(tmp_path)
    assert contents(tmp_path) == OLD


def crash_at(number: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the process end just before its `number`-th change of the disk; return a list of those that it did."""
    done: list[int] = []

    def guard(act: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **named: Any) -> Any:
            if len(done) == number:
                raise Crash
            done.append(len(done))
            return act(*arguments, **named)

        return guarded

    monkeypatch.setattr(os, "fsync", guard(os.fsync))
    monkeypatch.setattr(shutil, "rmtree", guard(shutil.rmtree))
    for name in ("rename", "replace", "write_bytes"):
        monkeypatch.setattr(Path, name, guard(getattr(Path, name)))
    return done


@pytest.mark.parametrize("number", range(40))
def test_a_swap_that_ends_anywhere_leaves_one_network_whole(number: int, tmp_path: Path) -> None:
    lay_out(tmp_path)
    committed = False
    with pytest.MonkeyPatch.context() as patch:
        done = crash_at(number, patch)
        try:
            staging.commit(tmp_path, SWAP)
        except Crash:
            committed = (tmp_path / staging.STAGING / "swap.json").exists()
        else:
            assert len(done) <= number
            committed = True
    # And again while that is being finished.
    for again in range(12):
        with pytest.MonkeyPatch.context() as patch:
            crash_at(again, patch)
            try:
                staging.roll_forward(tmp_path)
                break
            except Crash:
                continue
    staging.roll_forward(tmp_path)
    assert contents(tmp_path) == (NEW if committed else OLD)
    assert not (tmp_path / staging.STAGING).exists()


def test_the_crashes_reach_beyond_the_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a swap had more than 40 steps, the test above would look at some of them only."""
    lay_out(tmp_path)
    done = crash_at(1_000, monkeypatch)
    staging.commit(tmp_path, SWAP)
    assert 10 < len(done) < 40
