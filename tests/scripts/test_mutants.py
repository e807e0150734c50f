"""`scripts/mutants`: what it calls changed, how it counts, and the record of the last campaign."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from scripts.mutants_campaign import (
    RECORD,
    ROOT,
    WANTED,
    Record,
    Score,
    Survivor,
    campaign,
    function_of,
    judge,
    mutable,
    pattern_of,
    scores,
    sources,
    tally,
)
from tests.support.repository import PACKAGES, PROJECT

KINDS = {"equivalent", "turns"}


def test_the_record_explains_every_survivor() -> None:
    record = Record(RECORD)
    mutants = sum(score.mutants for score in record.functions.values())
    killed = sum(score.killed for score in record.functions.values())
    assert mutants - killed == len(record.reasons)
    assert {kind for kind, _ in record.reasons.values()} <= KINDS
    assert all(why.endswith(".") for _, why in record.reasons.values())
    assert judge(record, record.functions, list(record.reasons)) == []


def test_a_function_has_changed_when_its_source_has_but_not_by_its_docstring(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "consensus", tmp_path / "consensus", ignore=shutil.ignore_patterns("__pycache__"))
    before = sources(tmp_path)
    assert before == sources(ROOT)
    path = tmp_path / "consensus" / "subsidy.py"
    text = path.read_text()
    path.write_text(text.replace("Return what a block of `height`", "Tell what a block of `height`"))
    assert sources(tmp_path) == before
    path.write_text(text.replace("halvings >= LAST_HALVING", "halvings > LAST_HALVING"))
    after = sources(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"consensus.subsidy.block_subsidy"}
    assert before.keys() == after.keys() >= {"consensus.policy_text._Parser.end", "consensus.types.Header.from_bytes"}


def test_mutants_belong_to_their_functions() -> None:
    assert function_of("consensus.pow.x_next_bits__mutmut_3") == "consensus.pow.next_bits"
    assert function_of("consensus.policy_text.xǁ_Parserǁ_peek__mutmut_12") == "consensus.policy_text._Parser._peek"
    assert pattern_of("consensus.pow.next_bits") == "consensus.pow.x_next_bits__mutmut_*"
    assert pattern_of("consensus.policy_text._Parser._peek") == "consensus.policy_text.xǁ_Parserǁ_peek__mutmut_*"
    names = [
        "consensus.subsidy.block_subsidy",
        "consensus.state.ChainState.median_time",
        "consensus.amounts.parse_amount",
    ]
    assert mutable(ROOT, names) == [names[0], names[2]]
    assert set(names) <= sources(ROOT).keys()
    verdicts = {f"consensus.pow.x_next_bits__mutmut_{n}": code for n, code in enumerate([1, 36, 0, 33, None])}
    assert scores(verdicts, {"consensus.pow.next_bits": "abc"}) == {"consensus.pow.next_bits": Score("abc", 5, 2)}
    assert tally(verdicts) == "5 mutants: 2 killed, 2 survived, 1 to be tried"


def test_a_survivor_without_a_reason_and_a_low_share_are_told(tmp_path: Path) -> None:
    path = tmp_path / "mutants.json"
    alive = [Survivor("consensus.pow.next_bits", f"- {n}\n+ {n + 1}") for n in range(3)]
    functions = {"consensus.pow.next_bits": Score("abc", 60, 57)}
    Record(path).write(functions, alive)
    record = Record(path)
    assert record.functions == functions
    assert len(judge(record, functions, alive)) == 3
    stored = json.loads(path.read_text())
    for entry in stored["survivors"]:
        entry |= {"kind": "wording", "why": "It is told otherwise."}
    path.write_text(json.dumps(stored))
    assert judge(Record(path), functions, alive) == []
    Record(path).write(functions, alive)  # keeps the reasons
    low = {"consensus.pow.next_bits": Score("abc", 60, 56)}
    assert [line.partition(";")[0] for line in judge(Record(path), low, alive)] == ["93.3% killed"]
    assert WANTED == 0.95


def test_in_a_clean_clone_nothing_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.mutants_campaign.RECORD", tmp_path / "mutants.json")
    Record(tmp_path / "mutants.json").write({name: Score(source, 0, 0) for name, source in sources(ROOT).items()}, [])
    campaign(tmp_path / "work", 1, 1, changed=True, write=False)
    assert "no function of consensus/ has changed since the last campaign" in capsys.readouterr().out
    assert not (tmp_path / "work").exists()


def test_the_copy_that_is_mutated_has_all_that_tests_need() -> None:
    settings = PROJECT["tool"]["mutmut"]
    assert set(PACKAGES) <= {*settings["source_paths"], *settings["also_copy"]}
