"""`dure watch` as it is typed: in a pipe, once, from a recording; and on a terminal of its own."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from cli.main import main
from cli.watch import Pace, play
from cli.watch_output import Output
from devnet.folder import NetworkFolder
from devnet.watch.recording import FILE, Recorder, replay
from devnet.watch.state import Event
from tests.cli.test_commands import TIP, answers
from tests.support.network import FakeNodes, fake_network, record_of, save_network
from tests.support.terminal import Terminal
from tests.support.watching import Blocks

DURE = (sys.executable, "-P", "-m", "cli.main")


def dure(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNodes]:
    monkeypatch.delenv("DURE_NODE", raising=False)
    monkeypatch.setenv("DURE_DIR", str(tmp_path / "net"))
    monkeypatch.setenv("COLUMNS", "80")
    with fake_network(tmp_path / "net", 3, **answers()) as nodes:
        yield nodes


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stopped network with a recording of three looks, an hour apart from the fourth."""
    monkeypatch.delenv("DURE_NODE", raising=False)
    monkeypatch.setenv("DURE_DIR", str(tmp_path / "net"))
    record = record_of(2)
    folder = save_network(tmp_path / "net", record)
    blocks = Blocks()
    blocks.add("g a")
    recorder = Recorder(folder.path / FILE, record.tag)
    for at, name in ((0, "b"), (1, "c"), (2, "d"), (3_600, "e")):
        blocks.add(f"{'abcde'['bcde'.index(name)]}: {name}", finder=0)
        recorder.write(at, blocks.view(name, name), [Event(at, "block", f"Node 0 found {name}.")])
    recorder.close()
    return folder.path / FILE


def test_once_draws_one_picture(network: FakeNodes) -> None:
    result = dure("watch", "--once")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("local/00000000  3 nodes")
    assert [line.split()[1:4] for line in lines[2:5]] == [["●", "running", "7"]] * 3
    assert max(map(len, lines)) <= 80
    assert lines[-1].endswith("Here are 3 nodes. At height 7, all on one tip.")


def test_once_as_json_is_the_view(network: FakeNodes) -> None:
    seen = json.loads(dure("watch", "--once", "--json").stdout)
    assert [node["tip"] for node in seen["nodes"]] == [TIP] * 3
    assert seen["events"][0]["kind"] == "network"


def test_looking_records_and_the_recording_plays(network: FakeNodes) -> None:
    assert dure("watch", "--once").exit_code == 0
    assert (network.folder.path / FILE).exists()
    played = dure("watch", "--replay", "--speed", "1000")
    assert played.exit_code == 0
    assert played.stdout.endswith(" Here are 3 nodes. At height 7, all on one tip.\n")


def test_another_file_may_be_recorded_to(network: FakeNodes, tmp_path: Path) -> None:
    assert dure("watch", "--once", "--record", str(tmp_path / "mine")).exit_code == 0
    assert not (network.folder.path / FILE).exists()
    assert "3 nodes" in dure("watch", "--replay", str(tmp_path / "mine"), "--once").stdout
    result = dure("watch", "--record", str(tmp_path / "no" / "folder"))
    assert (result.exit_code, "cannot be written" in result.stderr) == (78, True)


def test_a_second_watch_looks_without_recording(network: FakeNodes) -> None:
    recorder = Recorder(network.folder.path / FILE, network.folder.load().tag)
    try:
        assert dure("watch", "--once").exit_code == 0
        assert dure("watch", "--once", "--record", str(network.folder.path / FILE)).exit_code == 1
    finally:
        recorder.close()


def test_a_replay_tells_all_events_at_its_speed(recording: Path) -> None:
    result = dure("watch", "--replay", "--speed", "1000")
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["b.", "c.", "d.", "e."]


class Waits(Output):
    """An output that waits for nothing, and adds up for how long it was asked to."""

    def __init__(self, keys: str = "") -> None:
        super().__init__(as_json=False)
        self.seconds = 0.0
        self._keys = list(keys)

    def wait(self, seconds: float) -> str:
        self.seconds += seconds
        return self._keys.pop(0) if self._keys else ""


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 62.0), (4.0, 15.5), (0.5, 124.0)])
def test_a_moment_lasts_as_long_as_it_did_and_a_gap_a_minute(recording: Path, speed: float, seconds: float) -> None:
    shown = Waits()
    play(shown, replay(recording), deque(), Pace(speed))
    assert shown.seconds == pytest.approx(seconds)


def test_keys_leave_a_replay(recording: Path) -> None:
    shown = Waits("q")
    play(shown, replay(recording), deque(), Pace(1.0))
    assert shown.seconds == 1.0


def test_the_recording_of_an_earlier_network_is_not_taken_for_this_one(recording: Path) -> None:
    (recording.parent / "network.json").unlink()
    NetworkFolder(recording.parent).save(msgspec.structs.replace(record_of(2), tag="11" * 16))
    result = dure("watch", "--replay", "--once")
    assert (result.exit_code, "was here before" in result.stderr) == (1, True)
    assert dure("watch", "--replay", str(recording), "--once").exit_code == 0


def test_a_replay_once_is_its_end(recording: Path) -> None:
    assert "height 5" in dure("watch", "--replay", "--once").stdout


def test_a_replay_as_json_has_a_line_for_each_moment(recording: Path) -> None:
    lines = dure("watch", "--replay", "--speed", "60000", "--json").stdout.splitlines()
    assert [json.loads(line)["at"] for line in lines] == [0, 1, 2, 3600]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("watch", 69, "is stopped"),
        ("watch --replay nowhere", 1, "There is no recording nowhere"),
        ("watch --replay --record x", 2, "do not go together"),
        ("watch --replay --speed 0", 2, "not in the range"),
        ("watch --replay --speed nan", 2, "speed"),
    ],
)
def test_what_cannot_be_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, status: int, words: str
) -> None:
    monkeypatch.delenv("DURE_NODE", raising=False)
    save_network(tmp_path / "net", record_of(2))
    result = dure(*arguments.split(), "--dir", str(tmp_path / "net"))
    assert (result.exit_code, words in result.stderr) == (status, True), result.stderr


def test_nodes_elsewhere_are_watched_too(network: FakeNodes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ports = [node.rpc_port for node in network.folder.load().nodes]
    monkeypatch.setenv("DURE_NODE", " ".join(f"http://dure:local-only@127.0.0.1:{port}" for port in ports))
    monkeypatch.chdir(tmp_path)
    result = dure("watch", "--once")
    assert result.stdout.startswith("nodes elsewhere  3 nodes")
    assert list(tmp_path.glob("*.jsonl*")) == []
    assert dure("watch", "--replay").exit_code == 1


@pytest.mark.parametrize("way", ["q", "Ctrl-C"])
def test_on_a_terminal_it_takes_the_screen_and_gives_it_back(network: FakeNodes, way: str) -> None:
    terminal = Terminal(*DURE, "watch")
    try:
        terminal.until("\x1b[?1049h")
        terminal.until("q leaves the view; the nodes go on.")
        if way == "q":
            terminal.press("q")
        else:
            terminal.interrupt()
        terminal.until("\x1b[?1049l")
        assert terminal.ended() == 0
        assert "Traceback" not in terminal.seen
    finally:
        terminal.close()


def test_a_replay_is_halted_and_hastened_by_keys(recording: Path) -> None:
    terminal = Terminal(*DURE, "watch", "--replay", "--speed", "0.02")
    try:
        terminal.until("replay 0.02x")
        terminal.press(" ")
        terminal.until("Halted.")
        terminal.press("+")
        terminal.until("replay 0.04x")
        terminal.press(" " + "+" * 20)
        terminal.until("This is the end")
        terminal.press("q")
        assert terminal.ended() == 0
    finally:
        terminal.close()
