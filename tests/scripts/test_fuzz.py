"""`scripts/fuzz`: campaigns add up, and what they find can be repeated."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from scripts import fuzz_guided
from scripts.fuzz_campaign import Progress, differential, main, repeated
from tests.fuzzing.corpora import corpus
from tests.fuzzing.targets import TARGETS
from tests.reference.differential import Case, Disagreement


def told(folder: Path) -> dict[str, object]:
    stored: dict[str, object] = json.loads((folder / "progress.json").read_text())
    return stored


def test_a_campaign_goes_on_where_the_last_one_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "campaign"
    assert differential(1e-6, Progress(folder, 7)) == 0
    assert (told(folder)["next_seed"], told(folder)["stories"]) == (8, 1)
    assert differential(1e-6, Progress(folder, None)) == 0
    assert (told(folder)["next_seed"], told(folder)["stories"]) == (9, 2)
    shown = capsys.readouterr().out
    assert "from seed 8, for" in shown
    assert shown.endswith("no disagreement\n")


def test_a_disagreement_is_told_with_the_command_that_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def disagree(seed: int) -> Counter[str]:
        raise Disagreement([Case("header", bytes(80)), Case("transaction", b"\x90")], "accept", "malformed")

    monkeypatch.setattr("scripts.fuzz_campaign.tell", disagree)
    assert differential(1, Progress(tmp_path, 5)) == 1
    path = tmp_path / "disagreement-5.json"
    shown = capsys.readouterr().out
    assert "consensus says accept, reference malformed" in shown
    assert f"scripts/fuzz differential --repeat {path}" in shown
    # These bytes are no cause for disagreement, so that repeating them says so.
    assert repeated(path) == 0


def test_a_guided_campaign_adds_up_what_was_said(tmp_path: Path) -> None:
    whole = "#2 INITED\n#512\tpulse\nDone 900 runs in 31 second(s)\nstat::number_of_executed_units: 900\n"
    assert fuzz_guided.add_up(tmp_path, whole, 31.0) == (900, 31.0)
    assert fuzz_guided.add_up(tmp_path, "#2 INITED\n#512\tpulse\nKeyboardInterrupt: stopping.\n", 9.04) == (1_412, 40.0)
    assert fuzz_guided.add_up(tmp_path, "it never began", 0.0) == (1_412, 40.0)


def test_where_there_is_no_atheris_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.fuzz_guided.find_spec", lambda name: None)
    assert fuzz_guided.campaign("codec", 1, tmp_path) == 78
    assert "Linux on x86-64" in capsys.readouterr().out


def test_the_smallest_inputs_that_reach_everything_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "corpora"
    kept.mkdir()
    (kept / "policy.txt").write_text("# why\n")
    monkeypatch.setattr("tests.fuzzing.corpora.FOLDER", kept)
    monkeypatch.setattr("scripts.fuzz_guided.FOLDER", kept)
    monkeypatch.setattr("scripts.fuzz_guided.ROOT", tmp_path)
    (tmp_path / "corpus").mkdir()
    for n, raw in enumerate([b"older(1)", b"older(2)", b"older(17)", b"", b"("]):
        (tmp_path / "corpus" / str(n)).write_bytes(raw)
    reached = {b"": {1}, b"(": {1}, b"older(1)": {1, 2}, b"older(2)": {1, 2}, b"older(17)": {1, 2, 3}}
    monkeypatch.setattr("scripts.fuzz_guided.edges", lambda target, raw: reached[raw])
    assert fuzz_guided.keep("policy", tmp_path) == 0
    assert corpus("policy") == [b"", b"older(1)", b"older(17)"]
    assert (kept / "policy.txt").read_text().startswith("# why\n")


def test_what_an_input_reaches_is_told_by_its_steps() -> None:
    one, other = (fuzz_guided.edges(TARGETS["policy"], raw) for raw in (b"older(1)", b"older(x)"))
    assert one - other
    assert other - one
    assert one == fuzz_guided.edges(TARGETS["policy"], b"older(2)")


@pytest.mark.parametrize(
    "arguments",
    [["differential", "--minutes", "0"], ["differential", "--repeat", "nothing"], ["codec", "--repeat", "nothing"], []],
)
def test_a_command_that_makes_no_sense_is_refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["scripts/fuzz", *arguments])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2
