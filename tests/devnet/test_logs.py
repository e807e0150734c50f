"""Logs of many nodes become one story."""

from __future__ import annotations

import json
from pathlib import Path

from devnet.folder import NetworkFolder
from devnet.logs import MAX_LINE, LogFollower, read_logs
from tests.support.network import record_of, save_network


def write(folder: NetworkFolder, node: int, *lines: tuple[str, str], file: str = "debug.log") -> None:
    with (folder.node_path(node) / file).open("a") as log:
        for time, event in lines:
            log.write(json.dumps({"time": time, "event": event}) + "\n")


def events(folder: NetworkFolder, *nodes: int) -> list[tuple[int, str]]:
    return [(line.node, line.fields["event"]) for line in read_logs(folder, nodes)]


def test_lines_of_all_nodes_come_in_the_order_of_their_times(tmp_path: Path) -> None:
    folder = save_network(tmp_path, record_of(3))
    write(folder, 0, ("2026-01-01T00:00:01.000Z", "a"), ("2026-01-01T00:00:04.000Z", "d"))
    write(folder, 1, ("2026-01-01T00:00:02.000Z", "b"), ("2026-01-01T00:00:03.000Z", "c"))
    assert events(folder, 0, 1, 2) == [(0, "a"), (1, "b"), (1, "c"), (0, "d")]
    assert events(folder, 1) == [(1, "b"), (1, "c")]


def test_the_full_file_of_before_comes_first(tmp_path: Path) -> None:
    folder = save_network(tmp_path, record_of(1))
    write(folder, 0, ("3", "now"))
    write(folder, 0, ("2", "before"), file="debug.log.1")
    assert [event for _, event in events(folder, 0)] == ["before", "now"]


def test_whatever_stands_in_a_log_is_shown_beside_the_line_before(tmp_path: Path) -> None:
    folder = save_network(tmp_path, record_of(2))
    write(folder, 0, ("1", "first"))
    with (folder.node_path(0) / "debug.log").open("ab") as log:
        log.write(b"no JSON \xff at all\n" + b"x" * (MAX_LINE + 5) + b"\nhalf a li")
    write(folder, 1, ("2", "second"))
    shown = events(folder, 0, 1)
    assert [len(event) for _, event in shown] == [5, len("no JSON ? at all"), MAX_LINE, 5, 6]


def test_a_follower_sees_only_whole_new_lines_and_survives_a_new_file(tmp_path: Path) -> None:
    folder = save_network(tmp_path, record_of(2))
    path = folder.node_path(0) / "debug.log"
    write(folder, 0, ("1", "old"))
    follower = LogFollower(folder, [0, 1])
    try:
        assert follower.new_lines() == []
        write(folder, 1, ("3", "later"))  # its log did not exist before
        write(folder, 0, ("2", "sooner"))
        assert [line.fields["event"] for line in follower.new_lines()] == ["sooner", "later"]
        with path.open("a") as log:
            log.write('{"time": "4", "event": "wr')
        assert follower.new_lines() == []
        with path.open("a") as log:
            log.write('itten"}\n')
        assert [line.fields["event"] for line in follower.new_lines()] == ["written"]
        write(folder, 0, ("5", "last of the file"))
        path.rename(path.with_name("debug.log.1"))
        write(folder, 0, ("6", "first of the next"))
        assert [line.fields["event"] for line in follower.new_lines()] == ["last of the file", "first of the next"]
    finally:
        follower.close()


def test_following_ends_after_what_was_written_last(tmp_path: Path) -> None:
    folder = save_network(tmp_path, record_of(1))
    write(folder, 0, ("1", "only"))
    follower = LogFollower(folder, [0], from_start=True)
    assert [line.fields["event"] for line in follower.follow(lambda: True)] == ["only"]
    follower.close()
