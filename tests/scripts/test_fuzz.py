"""`scripts/fuzz`: campaigns add up, and what they find can be repeated."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from scripts.fuzz_campaign import Progress, differential, main, repeated
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


@pytest.mark.parametrize("arguments", [["differential", "--minutes", "0"], ["differential", "--repeat", "nothing"], []])
def test_a_command_that_makes_no_sense_is_refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["scripts/fuzz", *arguments])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2
