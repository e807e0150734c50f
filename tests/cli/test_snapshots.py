"""Snapshots by command, of networks that do not run: what is printed, and what is refused with which status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from tests.devnet.test_snapshots import network


def dure(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURE_DIR", str(tmp_path / "net"))
    monkeypatch.setenv("DURE_PROGRAM", "scripts/dure")


def test_what_is_saved_is_listed_loaded_and_deleted(tmp_path: Path) -> None:
    network(tmp_path / "net")
    assert "Nothing was saved yet. Save: scripts/dure snapshot save NAME" in dure("snapshot", "list").stdout
    said = dure("snapshot", "save", "one").stdout
    assert "Saved 3 nodes in " in said
    assert "whoever has the file has the coins" in said
    assert "scripts/dure snapshot load one --into OTHER" in said
    assert dure("snapshot", "save", "one").exit_code == 1
    assert dure("snapshot", "save", "one", "--replace").exit_code == 0

    listed = dure("snapshot", "list").stdout.splitlines()
    assert listed[0].split() == ["name", "size", "saved", "(UTC)", "nodes", "height"]
    assert listed[1].split()[0] == "one"
    [value] = json.loads(dure("snapshot", "list", "--json").stdout)["snapshots"]
    assert (value["name"], value["nodes"], value["heights"]) == ("one", 3, [None, None, None])

    other = str(tmp_path / "other")
    said = dure("snapshot", "load", "one", "--into", other, "--no-start").stdout
    assert said.startswith(f"Loaded 3 nodes into {other} in ")
    assert "it is stopped.\n" in said
    assert f"scripts/dure up --dir {other}" in said
    assert (tmp_path / "other" / "network.json").exists()

    assert dure("snapshot", "delete", "one").stdout.startswith("Deleted ")
    assert dure("snapshot", "delete", "one").exit_code == 1


def test_a_damaged_snapshot_is_listed_as_such_and_not_loaded(tmp_path: Path) -> None:
    network(tmp_path / "net")
    dure("snapshot", "save", "one")
    path = tmp_path / "net" / "snapshots" / "one.snapshot"
    path.write_bytes(path.read_bytes()[:-100])
    assert "damaged" in dure("snapshot", "list").stdout
    [value] = json.loads(dure("snapshot", "list", "--json").stdout)["snapshots"]
    assert "one.snapshot is no snapshot, or damaged" in value["fault"]
    result = dure("snapshot", "load", "one", "--no-start")
    assert result.exit_code == 78
    assert "damaged" in result.stderr


def test_another_network_and_a_name_that_is_none_are_refused(tmp_path: Path) -> None:
    network(tmp_path / "net")
    dure("snapshot", "save", "one")
    network(tmp_path / "other", tag="11" * 16)
    refused = dure("snapshot", "load", "one", "--into", str(tmp_path / "other"), "--no-start")
    assert refused.exit_code == 1
    assert "is another network" in refused.stderr
    assert dure("snapshot", "save", "../one").exit_code == 2
    assert "there: one." in dure("snapshot", "load", "two").stderr
    assert dure("snapshot", "load", str(tmp_path / "none.snapshot")).exit_code == 1


def test_nodes_elsewhere_have_no_snapshots_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DURE_DIR")
    monkeypatch.setenv("DURE_NODE", "http://dure:secret@127.0.0.1:9")
    for command in ("save one", "load one", "list", "delete one"):
        result = dure("snapshot", *command.split())
        assert result.exit_code == 1, command
        assert "elsewhere" in result.stderr
