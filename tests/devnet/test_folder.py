"""A network's folder: written whole, read with care, changed by one at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec
import pytest

from devnet import folder as folder_module
from devnet.errors import Misconfigured, Misused, Refused, Unavailable
from devnet.folder import VERSION, NetworkFolder
from tests.support.network import record_of, save_network


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = record_of(5, partition=((0, 1), (2, 3, 4)))
    assert save_network(tmp_path, record).load() == record
    assert not list(tmp_path.glob("*.new"))


def test_a_folder_without_a_network_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="scripts/dure up"):
        NetworkFolder(tmp_path / "none", "scripts/dure").load()


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"version": 1}', b"\xff", b'{"version": "1"}'])
def test_a_damaged_record_is_refused_and_left_alone(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "network.json").write_bytes(raw)
    with pytest.raises(Misconfigured, match="damaged"):
        NetworkFolder(tmp_path).load()
    assert (tmp_path / "network.json").read_bytes() == raw


def test_a_record_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    """A131: an older program neither reads nor changes what a newer one wrote."""
    (tmp_path / "network.json").write_text(f'{{"version": {VERSION + 1}, "something": "new"}}')
    with pytest.raises(Misconfigured, match="newer version"):
        NetworkFolder(tmp_path).load()


def test_a_record_of_the_first_layout_is_taken_up(tmp_path: Path) -> None:
    record = record_of(2, partition=((0,), (1,)))
    folder = save_network(tmp_path, record)
    raw = msgspec.json.decode(folder.record_path.read_bytes())
    raw["version"] = 1
    del raw["lines"]
    for node in raw["nodes"]:
        del node["skew"]
    folder.record_path.write_bytes(msgspec.json.encode(raw))
    assert folder.load() == record


def test_a_node_that_is_not_there_is_named() -> None:
    assert record_of(3).node(2).id == 2
    with pytest.raises(Misused, match=r"no node 3\. Its nodes are 0 to 2\."):
        record_of(3).node(3)
    with pytest.raises(Misused, match=r"Its only node is 0\."):
        record_of(1).node(-1)


def test_two_commands_cannot_change_a_network_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_network(tmp_path, record_of(1))
    monkeypatch.setattr(folder_module, "LOCK_SECONDS", 0.0)
    other = os.open(tmp_path / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(Unavailable, match="Another command"), folder.locked():
        pytest.fail("two had the lock")
    os.close(other)
    with folder.locked():
        pass


def test_a_folder_is_busy_while_a_command_changes_it(tmp_path: Path) -> None:
    folder = NetworkFolder(tmp_path / "net")
    assert not folder.is_busy()
    with folder.locked(create=True):
        assert NetworkFolder(tmp_path / "net").is_busy()
    assert not folder.is_busy()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="cannot be used"), NetworkFolder(tmp_path / "file").locked(create=True):
        pytest.fail("made")


def test_removing_a_network_leaves_what_else_is_in_the_folder(tmp_path: Path) -> None:
    record = record_of(2)
    folder = save_network(tmp_path, record)
    (tmp_path / "letters").mkdir()
    (tmp_path / "node7").mkdir()
    folder.remove(record)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letters", "node7"]


def test_one_node_is_exchanged_and_the_others_stay() -> None:
    record = record_of(3)
    changed = record.with_node(msgspec.structs.replace(record.nodes[1], wanted="running"))
    assert [node.wanted for node in changed.nodes] == ["stopped", "running", "stopped"]
