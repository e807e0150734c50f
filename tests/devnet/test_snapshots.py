"""Snapshots of networks that do not run: what goes along, what does not, what damage and malice cannot do."""

from __future__ import annotations

import hashlib
import json
import os
import random
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from devnet.archive import CHECKSUM, FORMAT, MANIFEST, Archive
from devnet.bring_up import Progress
from devnet.errors import Misconfigured, Misused, Refused
from devnet.folder import VERSION, NetworkFolder, NetworkRecord
from devnet.lines import change_lines, lines_between, with_delay
from devnet.processes import Process
from devnet.snapshots import delete_snapshot, find_snapshot, list_snapshots, load_snapshot, save_snapshot
from node import link_faults, partition, skewed_clock
from tests.support.network import record_of

SILENT = Progress(lambda _step: None, lambda _done, _wanted: None)
NOW = 1_767_225_600


def network(path: Path, *, tag: str = "00" * 16) -> NetworkFolder:
    """Three nodes that once ran, cut in two, with a bad line and a wrong clock."""
    record = record_of(3, partition=((0,), (1, 2)))
    record = change_lines(msgspec.structs.replace(record, tag=tag), lines_between("0", "1", 3), with_delay(200, 0))
    nodes = tuple(
        msgspec.structs.replace(node, process=Process(1_000_000 + node.id, "long ago"), skew=90 * node.id)
        for node in record.nodes
    )
    record = msgspec.structs.replace(record, nodes=nodes)
    folder = NetworkFolder(path)
    for node in record.nodes:
        place = folder.node_path(node.id)
        for name, content in {
            "dured.toml": f'# in {path}\nport = {node.port}\nmine = true\nmempool_mb = 5\n',
            "chain/data.mdb": f"chain {node.id}", "chain/lock.mdb": "x", "chain/.lock": "",
            "wallet/wallet.keys": f"keys {node.id}", "mempool.dat": "m", ".cookie": "secret", "debug.log": "x",
            "debug.log.1": "x", "output.log": "x", "peers.dat": "x", "partition.json": "[]", "clock_skew.json": "7",
        }.items():  # fmt: skip
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(content)
    folder.save(record)
    return folder


def load(folder: NetworkFolder, path: Path, *, replace: bool = False) -> NetworkRecord:
    return load_snapshot(folder, Archive(path), replace=replace, start=False, entropy=random.Random(1), progress=SILENT)


def files(folder: NetworkFolder) -> dict[str, str]:
    return {
        str(path.relative_to(folder.path)): path.read_text()
        for path in sorted(folder.path.rglob("*"))
        if path.is_file() and path.suffix != ".snapshot" and path.name != ".lock"
    }


def test_a_network_comes_back_in_another_folder_with_ports_of_its_own(tmp_path: Path) -> None:
    source = network(tmp_path / "a")
    path, manifest = save_snapshot(source, "one", NOW)
    assert manifest.heights == (None, None, None)
    target = NetworkFolder(tmp_path / "b")
    record = load(target, path)

    was = source.load()
    assert target.load() == record
    assert {node.port for node in record.nodes}.isdisjoint(node.port for node in was.nodes)
    assert (record.tag, record.partition, record.lines) == (was.tag, was.partition, was.lines)
    assert [node.skew for node in record.nodes] == [0, 90, 180]
    assert all(node.process is None and node.wanted == "stopped" for node in record.nodes)

    here = files(target)
    assert sorted(name for name in here if name.startswith("node1/")) == [
        "node1/chain/data.mdb", "node1/clock_skew.json", "node1/dured.toml", "node1/link_conditions.json",
        "node1/mempool.dat", "node1/partition.json", "node1/wallet/wallet.keys",
    ]  # fmt: skip
    assert (here["node2/chain/data.mdb"], here["node2/wallet/wallet.keys"]) == ("chain 2", "keys 2")
    peers = [node.peer_address for node in record.nodes]
    place = target.node_path(1)
    assert json.loads((place / partition.FILE).read_text()) == [peers[0]]
    assert json.loads((place / link_faults.FILE).read_text()) == {peers[0]: {"delay_ms": 200}}
    assert json.loads((place / skewed_clock.FILE).read_text()) == 90
    settings = here["node1/dured.toml"].splitlines()
    assert {f"port = {record.nodes[1].port}", "mine = true", "mempool_mb = 5", f'tag = "{"00" * 16}"'} <= set(settings)


def test_nothing_of_the_old_place_and_no_process_is_in_the_file(tmp_path: Path) -> None:
    path, _ = save_snapshot(network(tmp_path / "somewhere"), "one", NOW)
    with zipfile.ZipFile(path) as packed:
        everything = b"".join(packed.read(name) for name in packed.namelist())
        assert not any(name.startswith("/") or ".." in name for name in packed.namelist())
    for words in (b"somewhere", b"1000001", b"long ago", b"20002", b"secret"):
        assert words not in everything


def test_what_holds_keys_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    os.umask(0o022)
    path, _ = save_snapshot(network(tmp_path / "a"), "one", NOW)
    target = NetworkFolder(tmp_path / "b")
    load(target, path)
    for secret in (path, target.path / "node0/wallet/wallet.keys", target.path / "node0/chain/data.mdb"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    for place in (path.parent, target.path / "node0", target.path / "node0/wallet"):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_loading_where_the_same_network_is_goes_back_to_what_it_was(tmp_path: Path) -> None:
    folder = network(tmp_path)
    path, _ = save_snapshot(folder, "one", NOW)
    (folder.node_path(0) / "chain/data.mdb").write_text("later")
    (folder.node_path(0) / "later").write_text("later")
    (folder.path / "letters").write_text("mine")
    load(folder, path)
    here = files(folder)
    assert here["node0/chain/data.mdb"] == "chain 0"
    assert "node0/later" not in here
    assert here["letters"] == "mine"
    load(folder, path)  # as often as one likes


def test_another_network_is_replaced_only_if_that_is_said(tmp_path: Path) -> None:
    path, _ = save_snapshot(network(tmp_path / "a"), "one", NOW)
    other = network(tmp_path / "b", tag="11" * 16)
    before = files(other)
    with pytest.raises(Refused, match="--replace"):
        load(other, path)
    assert files(other) == before
    load(other, path, replace=True)
    assert other.load().tag == "00" * 16


def test_the_folder_of_a_node_that_no_network_speaks_of_is_left_alone(tmp_path: Path) -> None:
    path, _ = save_snapshot(network(tmp_path / "a"), "one", NOW)
    target = NetworkFolder(tmp_path / "b")
    (target.path / "node2").mkdir(parents=True)
    (target.path / "node2" / "wallet").write_text("mine")
    with pytest.raises(Misconfigured, match="Move it away"):
        load(target, path)
    assert (target.path / "node2" / "wallet").read_text() == "mine"
    assert not target.exists()


def test_names_are_listed_replaced_and_deleted(tmp_path: Path) -> None:
    folder = network(tmp_path)
    save_snapshot(folder, "one", NOW)
    with pytest.raises(Refused, match="already"):
        save_snapshot(folder, "one", NOW)
    save_snapshot(folder, "one", NOW + 5, replace=True)
    save_snapshot(folder, "a.b-2", NOW)
    (folder.path / "snapshots" / "broken.snapshot").write_bytes(b"PK")
    listed = list_snapshots(folder)
    assert [one.name for one in listed] == ["a.b-2", "broken", "one"]
    assert listed[1].manifest is None
    assert "no snapshot" in listed[1].fault
    assert listed[2].manifest is not None
    assert listed[2].manifest.made == NOW + 5
    for name in ("one", "broken"):
        delete_snapshot(folder, name)
    with pytest.raises(Refused, match=r"there: a\.b-2"):
        delete_snapshot(folder, "one")
    with pytest.raises(Refused, match="no snapshot 'one'"):
        find_snapshot(folder, "one")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", ".hidden", "-x", "a b", "a" * 65, "x.snapshot", "ä"])
def test_what_is_no_name_is_refused(name: str, tmp_path: Path) -> None:
    folder = network(tmp_path)
    before = files(folder)
    with pytest.raises(Misused):
        save_snapshot(folder, name, NOW)
    assert files(folder) == before


def test_a_save_that_fails_half_way_leaves_no_snapshot_and_the_old_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = network(tmp_path)
    path, _ = save_snapshot(folder, "one", NOW)
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Misconfigured, match="No space left"):
        save_snapshot(folder, "one", NOW + 5, replace=True)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_what_a_killed_save_left_behind_is_no_snapshot_and_goes_with_the_next(tmp_path: Path) -> None:
    folder = network(tmp_path)
    (folder.path / "snapshots").mkdir()
    (folder.path / "snapshots" / ".one.snapshot.new").write_bytes(b"half")
    assert list_snapshots(folder) == []
    save_snapshot(folder, "two", NOW)
    assert [path.name for path in (folder.path / "snapshots").iterdir()] == ["two.snapshot"]


def test_a_data_directory_with_a_link_in_it_is_not_packed(tmp_path: Path) -> None:
    folder = network(tmp_path)
    (folder.node_path(0) / "more").symlink_to("/etc/hostname")
    with pytest.raises(Misconfigured, match="no ordinary file"):
        save_snapshot(folder, "one", NOW)


# Damage and malice


def attempt(tmp_path: Path, path: Path) -> NetworkFolder:
    """Load a bad snapshot over a good network, which must stay as it was."""
    target = network(tmp_path / "target")
    before = files(target)
    with pytest.raises((Misconfigured, Refused)):
        load(target, path)
    assert files(target) == before
    assert not (target.path / ".loading").exists()
    return target


@pytest.mark.parametrize("seed", range(60))
def test_a_flipped_bit_is_found_or_harmless_and_never_half_loaded(seed: int, tmp_path: Path) -> None:
    path, _ = save_snapshot(network(tmp_path / "a"), "one", NOW)
    good = NetworkFolder(tmp_path / "good")
    load(good, path)
    raw = bytearray(path.read_bytes())
    rng = random.Random(seed)
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    path.write_bytes(raw)
    target = NetworkFolder(tmp_path / "b")
    try:
        load(target, path)
    except Misconfigured:
        assert not target.exists()
        assert list(target.path.glob("node*")) == []
    else:
        same = {name: text for name, text in files(target).items() if name.endswith((".mdb", ".keys", ".dat"))}
        assert same == {name: text for name, text in files(good).items() if name.endswith((".mdb", ".keys", ".dat"))}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.999])
def test_a_snapshot_that_was_cut_short_is_refused(share: float, tmp_path: Path) -> None:
    path, _ = save_snapshot(network(tmp_path / "a"), "one", NOW)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    attempt(tmp_path, path)


def forged(path: Path, change: Callable[[dict[str, Any]], None], extra: dict[str, bytes] | None = None) -> Path:
    """Write the snapshot anew with another manifest, its checksum right; and with more files."""
    with zipfile.ZipFile(path) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    manifest = json.loads(members[MANIFEST])
    change(manifest)
    members[MANIFEST] = json.dumps(manifest).encode()
    members[CHECKSUM] = hashlib.sha256(members[MANIFEST]).hexdigest().encode()
    with zipfile.ZipFile(path, "w") as packed:
        for name, raw in {**members, **(extra or {})}.items():
            packed.writestr(name, raw)
    return path


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/evil", "node0/../../evil", "node0", "node9/evil", "evil", "node0/.cookie", "node0/a/b/c/d/e",
     "node00000/evil", "node0//evil", "node0/e\\vil", "node0/wallet/wallet.keys"],
)  # fmt: skip
def test_a_file_outside_the_data_directories_or_named_twice_is_refused(name: str, tmp_path: Path) -> None:
    path, _ = save_snapshot(network(tmp_path / "a"), "one", NOW)
    raw = b"evil"
    entry = {"path": name, "size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    if name == "node0/wallet/wallet.keys":
        forged(path, lambda manifest: manifest["files"].append(entry))
    else:
        forged(path, lambda manifest: manifest["files"].append(entry), {name: raw})
    attempt(tmp_path, path)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(settings=[]),
        lambda manifest: manifest.update(heights=[1]),
        lambda manifest: manifest["network"].update(nodes=[]),
        lambda manifest: manifest["network"]["nodes"][1].update(id=5),
        lambda manifest: manifest["files"][0].update(size=manifest["files"][0]["size"] + 1),
        lambda manifest: manifest["files"][0].update(size=0),
        lambda manifest: manifest["files"][0].update(size=10**18),
        lambda manifest: manifest["files"][0].update(size=-1),
        lambda manifest: manifest["files"][0].update(sha256="00" * 32),
        lambda manifest: manifest.update(colour="red"),
    ],
)
def test_a_manifest_that_does_not_describe_what_is_there_is_refused(
    change: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    path, _ = save_snapshot(network(tmp_path / "a"), "one", NOW)
    attempt(tmp_path, forged(path, change))


@pytest.mark.parametrize("field", ["format", "version"])
def test_a_snapshot_of_a_newer_program_is_refused_as_such(field: str, tmp_path: Path) -> None:
    """A131"""

    def newer(manifest: dict[str, Any]) -> None:
        if field == "format":
            manifest.update(format=FORMAT + 1, new=1)
        else:
            manifest["network"].update(version=VERSION + 1, new=1)

    path, _ = save_snapshot(network(tmp_path / "a"), "one", NOW)
    with pytest.raises(Misconfigured, match="newer version"):
        Archive(forged(path, newer))


def test_no_snapshot_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no file"):
        Archive(tmp_path / "none.snapshot")
    with pytest.raises(Misconfigured):
        Archive(tmp_path)
