"""The log: readable by people and programs, whatever stands in it, and bounded."""

from __future__ import annotations

import io
import json
import logging
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from node.logs import MAX_PER_WINDOW, MAX_VALUE, WINDOW_SECONDS, FileSink, Logs, TerminalSink, format_line, json_line

HEAD = {"time": "2026-01-31T12:00:00.123Z", "logger": "node.chain", "event": "block_connected"}


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []

    def write(self, level: str, facts: Mapping[str, Any]) -> None:
        self.events.append((level, facts))


class Time:
    now = 1767225600.25

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Iterator[FileSink]:
    sink = FileSink(tmp_path / "debug.log", max_bytes=2_000)
    yield sink
    sink.close()


def test_a_line_reads_as_documented() -> None:
    line = format_line("info", {**HEAD, "height": 1042, "hash": "0000a3f1…", "txs": 17, "took_ms": 12})
    assert line == (
        "2026-01-31T12:00:00.123Z INFO node.chain block_connected height=1042 hash=0000a3f1… txs=17 took_ms=12"
    )


def test_the_same_line_is_json_in_the_file(tmp_path: Path, file: FileSink) -> None:
    out, clock = io.StringIO(), Time()
    log = Logs(TerminalSink(out), file, now=clock).logger("node.chain")
    log.info("block_connected", height=7, hash=b"\x01\x02", rate=1.5, none=None, many=["a", "b"])
    assert json.loads((tmp_path / "debug.log").read_text()) == {
        "time": "2026-01-01T00:00:00.250Z",
        "level": "info",
        "logger": "node.chain",
        "event": "block_connected",
        "height": 7,
        "hash": "0102",
        "rate": 1.5,
        "none": None,
        "many": ["a", "b"],
    }
    assert "height=7 hash=0102 rate=1.500 none=None many=[a, b]" in out.getvalue()


@pytest.mark.parametrize("value", ["a\nb", "\x1b[31mred", "\u202eturned", "\u200b", "\x00", "\r", "\ud800", "a\u2028b"])
def test_nothing_in_a_value_ends_a_line_or_moves_the_cursor(value: str) -> None:
    """A082, A138, A174: peers choose their names."""
    for line in (
        format_line("info", {**HEAD, "agent": value, "list": [value]}),
        json_line("info", {**HEAD, "a": value}),
    ):
        assert line.isprintable()
    line = json_line("info", {**HEAD, "agent": "\u202e"})
    assert json.loads(line)["agent"] == "\u202e"


def test_a_value_with_blanks_is_quoted_and_a_long_one_cut() -> None:
    assert format_line("info", {**HEAD, "why": "no such thing"}).endswith('why="no such thing"')
    assert format_line("info", {**HEAD, "why": ""}).endswith('why=""')
    assert len(format_line("info", {**HEAD, "why": "x" * 100_000})) < MAX_VALUE + 200


def test_what_is_below_the_level_is_not_written() -> None:
    kept = Kept()
    log = Logs(kept, level="warning").logger("x")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert [facts["event"] for _, facts in kept.events] == ["c", "d"]


def test_a_traceback_is_in_the_log() -> None:
    kept, out = Kept(), io.StringIO()
    log = Logs(kept, TerminalSink(out)).logger("x")
    try:
        raise KeyError("here")
    except KeyError:
        log.exception("failed", peer=7)
    level, facts = kept.events[0]
    assert (level, facts["peer"]) == ("error", 7)
    assert "KeyError: 'here'" in facts["traceback"]
    assert "KeyError: 'here'" in out.getvalue()


def test_the_file_is_its_owners_and_begins_anew_when_full(tmp_path: Path, file: FileSink) -> None:
    """A138, A150: 4,000 bytes of log at most, however much is said."""
    log = Logs(file).logger("x")
    for number in range(200):
        log.info("said", number=number)
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["debug.log", "debug.log.1"]
    assert all(path.stat().st_size <= 2_000 for path in files)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    lines = [json.loads(line) for path in reversed(files) for line in path.read_text().splitlines()]
    numbers = [line["number"] for line in lines]
    assert numbers == list(range(numbers[0], 200))


def test_the_file_goes_on_after_a_restart(tmp_path: Path, file: FileSink) -> None:
    Logs(file).logger("x").info("first")
    again = FileSink(tmp_path / "debug.log", max_bytes=2_000)
    Logs(again).logger("x").info("second")
    again.close()
    events = [json.loads(line)["event"] for line in (tmp_path / "debug.log").read_text().splitlines()]
    assert events == ["first", "second"]


def test_a_flood_of_one_event_is_counted_and_other_events_are_not_lost() -> None:
    """A138: a peer that makes us say something ten thousand times."""
    kept, clock = Kept(), Time()
    log = Logs(kept, now=clock).logger("x")
    for _ in range(MAX_PER_WINDOW + 500):
        log.info("flood")
    log.info("other")
    assert len(kept.events) == MAX_PER_WINDOW + 1
    clock.now += WINDOW_SECONDS
    log.info("flood")
    assert [facts["event"] for _, facts in kept.events[-2:]] == ["log_lines_dropped", "flood"]
    assert kept.events[-2][1]["count"] == 500


def test_a_terminal_that_is_gone_stops_nothing() -> None:
    gone = io.StringIO()
    gone.close()
    kept = Kept()
    Logs(TerminalSink(gone, colour=False), kept).logger("x").info("said")
    assert len(kept.events) == 1


def test_colour_is_for_terminals() -> None:
    out = io.StringIO()
    Logs(TerminalSink(out, colour=True)).logger("x").warning("said")
    assert re.search(r" \x1b\[33mWARNING\x1b\[0m x said", out.getvalue())
    out = io.StringIO()
    Logs(TerminalSink(out)).logger("x").warning("said")
    assert "\x1b" not in out.getvalue()


def test_libraries_warnings_are_taken_in() -> None:
    kept = Kept()
    undo = Logs(kept).capture_standard()
    logging.getLogger("aiohttp.server").warning("odd %s", "thing")
    logging.getLogger("aiohttp.server").info("nothing")
    undo()
    logging.getLogger("aiohttp.server").error("after")
    assert [(facts["logger"], facts["text"]) for _, facts in kept.events] == [("aiohttp.server", "odd thing")]
