"""What was seen can be seen again: recordings are whole, bounded, and forgive a crash."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from devnet.errors import Misconfigured, Refused
from devnet.watch.recording import Moment, Recorder, last_events, replay
from devnet.watch.state import KEPT, Event, NetworkView, prune
from tests.support.watching import Blocks

TAG = "ab" * 16


def story(rounds: int = 4) -> list[Moment]:
    """Return a network that is cut, forks, and heals, again and again, look by look."""
    blocks = Blocks()
    blocks.add("g b0")
    tip = "b0"
    moments: list[Moment] = []

    def look(view: NetworkView, *said: str) -> None:
        at = 1000.0 + len(moments)
        tips = [node.tip for node in view.nodes if node.tip is not None]
        kept = msgspec.structs.replace(view, blocks=prune(view.blocks, tips))
        moments.append(Moment(at, kept, tuple(Event(at, "block", text) for text in said)))

    look(blocks.view(tip, tip, tip), "Here are 3 nodes.")
    for number in range(1, rounds + 1):
        blocks.add(f"{tip}: x{number}", finder=0, txids=(f"t{number}",))
        look(blocks.view(f"x{number}", tip, tip, groups=((0,), (1, 2)), faults=("A line is bad.",)), "Cut.")
        blocks.add(f"{tip}: b{number}", finder=1, work=150)
        tip = f"b{number}"
        look(blocks.view(f"x{number}", tip, tip, groups=((0,), (1, 2)), faults=("A line is bad.",)))
        look(blocks.view(tip, tip, None, fates={f"t{number}": "waits"}), "Healed.", "Node 2 is down.")
    return moments


def record(path: Path, moments: list[Moment], tag: str = TAG, max_bytes: int = 1 << 24) -> None:
    recorder = Recorder(path, tag, max_bytes=max_bytes)
    for moment in moments:
        recorder.write(moment.at, moment.view, moment.events)
    recorder.close()


def test_a_replay_is_the_run(tmp_path: Path) -> None:
    moments = story(2 * KEPT)
    record(tmp_path / "run", moments)
    assert list(replay(tmp_path / "run")) == moments


def test_what_is_as_before_takes_no_line(tmp_path: Path) -> None:
    first = story()[0]
    still = Moment(first.at + 1, first.view, ())
    record(tmp_path / "run", [first, still, still])
    assert (tmp_path / "run").read_bytes().count(b"\n") == 1


def test_a_full_file_makes_place_for_a_whole_view(tmp_path: Path) -> None:
    moments = story(40)
    record(tmp_path / "run", moments, max_bytes=20_000)
    assert (tmp_path / "run.1").exists()
    assert (tmp_path / "run").stat().st_size < 60_000
    played = list(replay(tmp_path / "run"))
    assert played == moments[-len(played) :]


def test_another_watch_goes_on_and_another_network_begins_anew(tmp_path: Path) -> None:
    first, second = story(1), story(2)
    record(tmp_path / "run", first)
    record(tmp_path / "run", second)
    assert list(replay(tmp_path / "run")) == [*first, *second]
    record(tmp_path / "run", first, tag="cd" * 16)
    assert list(replay(tmp_path / "run")) == first
    assert not (tmp_path / "run.1").exists()


def test_only_one_program_records_to_a_file(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run", TAG)
    try:
        with pytest.raises(Refused, match="Another program is recording"):
            Recorder(tmp_path / "run", TAG)
    finally:
        recorder.close()
    Recorder(tmp_path / "run", TAG).close()


def test_a_line_that_a_crash_cut_short_ends_the_replay(tmp_path: Path) -> None:
    moments = story(2)
    record(tmp_path / "run", moments)
    raw = (tmp_path / "run").read_bytes()
    for cut in range(len(raw) - 200, len(raw) - 1):
        (tmp_path / "run").write_bytes(raw[:cut])
        played = list(replay(tmp_path / "run"))
        assert played == moments[: len(played)]
        assert len(played) >= 1


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"", Refused),
        (b"no JSON\n", Misconfigured),
        (b'{"type":"change","at":1.0}\n', Misconfigured),
        (b'{"type":"whole","at":1.0}\n', Misconfigured),
        (b"[" * 100_000 + b"\n", Misconfigured),
    ],
)
def test_what_is_no_recording_is_a_sentence(tmp_path: Path, raw: bytes, kind: type[Exception]) -> None:
    (tmp_path / "run").write_bytes(raw)
    with pytest.raises(kind):
        list(replay(tmp_path / "run"))
    assert last_events(tmp_path / "run", TAG) == []


def test_a_recording_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    record(tmp_path / "run", story(1))
    raw = (tmp_path / "run").read_bytes().replace(b'"version":1', b'"version":2', 1)
    (tmp_path / "run").write_bytes(raw)
    with pytest.raises(Refused, match="newer version"):
        list(replay(tmp_path / "run"))


def test_where_nothing_was_recorded_the_way_to_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="`dure watch` makes one"):
        list(replay(tmp_path / "run"))


def test_the_last_events_are_those_of_the_same_network(tmp_path: Path) -> None:
    moments = story(400)
    record(tmp_path / "run", moments)
    every = [event for moment in moments for event in moment.events]
    found = last_events(tmp_path / "run", TAG)
    assert 100 < len(found) <= len(every)
    assert found == every[-len(found) :]
    assert last_events(tmp_path / "run", "cd" * 16) == []
    assert last_events(tmp_path / "none", TAG) == []
