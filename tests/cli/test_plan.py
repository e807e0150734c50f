"""Plans by command, under simnet: whole networks in virtual time, from the same files as those of processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from tests.support.repository import ROOT

WILD = """
nodes 6
0s x12 every 1s     send any any 0.1..2
0s                  delay all all 10ms..200ms --jitter 5ms
1s                  loss any any 1%..20%
1s                  bandwidth any any 64kbit..1mbit --one-way
2s                  skew any -10m..+3m
3s..6s              kill any
4s                  pause any
8s                  resume any
9s                  partition "0 1 2 | 3 4 5"
10s                 mine any 1..3
10s                 mine any 2..4
20s                 start any
30s                 heal
30s                 mine any 1
31s                 agree 2m
160s                send any any 0.5
160s                reorg --depth 1..4 --drop last
161s                stop any
162s                agree 2m
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DURE_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("DURE_PROGRAM", "scripts/dure")
    return tmp_path / "trouble.plan"


def dure(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def simulated(file: Path, *more: str) -> Any:
    result = dure("plan", str(file), "--simulate", "--json", *more)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("seed", range(3))
def test_a_wild_plan_ends_in_agreement_whatever_is_drawn(seed: int, file: Path) -> None:
    file.write_text(WILD)
    result = simulated(file, "--seed", str(seed))
    assert len(result["steps"]) == 30
    assert result["tips"] == 1
    assert len(result["heights"]) == 5


def test_the_same_file_and_seed_give_the_same_history_to_the_byte(file: Path) -> None:
    file.write_text(
        "seed 3\nnodes 4\n0s x5 every 1s send any any 0.1..2\n1s loss all all 5%\n3s kill any\n9s start any\n"
    )
    digests = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "cli.main", "plan", str(file), "--simulate", "--json"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.append(json.loads(done.stdout)["digest"])
    assert digests[0] == digests[1]
    assert simulated(file, "--seed", "4")["digest"] != digests[0]


def test_a_payment_that_a_reorganization_drops_never_comes_back(file: Path) -> None:
    file.write_text("0s send 1 2 3\n0s mine 0 1\n10s reorg --depth 1 --drop last\n11s mine 0 2\n12s agree\n")
    told = [step["told"] for step in simulated(file, "--seed", "1")["steps"]]
    assert told[2].endswith("dropped")
    assert told[0].removeprefix("transaction ") in told[2]


def test_a_payment_out_of_the_change_of_another_is_dropped_with_it(file: Path) -> None:
    file.write_text(
        "0s send 1 2 3\n0s send 1 2 1\n0s mine 0 1\n10s reorg --depth 1 --drop last\n11s mine 0 2\n12s agree\n"
    )
    result = simulated(file, "--seed", "1")
    assert result["steps"][3]["told"].endswith("dropped")
    assert result["tips"] == 1


def test_what_was_done_and_how_to_repeat_it_is_told(file: Path) -> None:
    file.write_text("nodes 3\n0s mine 0 2\n2s kill 1\n")
    # By another seed somebody may just have found a block that the others have not heard of.
    said = dure("plan", str(file), "--simulate", "--seed", "5").stdout
    assert "3 steps" not in said
    assert said.startswith("2 steps in 2 s, from seed 5")
    assert "     2.0 s  kill 1\n" in said
    assert "All nodes that run are on one tip, at height " in said
    assert f"scripts/dure plan {file} --seed 5 --simulate" in said
    drawn = dure("plan", str(file), "--simulate").stdout.split("from seed ")[1].split(":")[0]
    assert drawn.isdigit()


def test_a_step_that_fails_says_which_and_what_was_not_begun(file: Path) -> None:
    file.write_text("0s send 0 1 20000000\n1s mine 0 1\n")
    result = dure("plan", str(file), "--simulate")
    assert result.exit_code == 1
    # Not at its very beginning: a server of an earlier test may still have something to say there.
    assert "Line 1 (send 0 1 20000000.00000000) failed; 1 after it was not begun: The payer refused:" in result.stderr
    file.write_text("0s skew 0 +1h\n0s mine 0 3\n1s agree 5s\n")
    # By another seed the others may find two blocks meanwhile, which outweigh those: dated so late, they are light.
    result = dure("plan", str(file), "--simulate", "--seed", "1")
    assert result.exit_code == 69
    assert "not on one tip within 5 s" in result.stderr


def test_a_plan_is_only_shown_with_check(file: Path) -> None:
    file.write_text("nodes 3\n1s..2s mine any 1\n")
    said = dure("plan", str(file), "--simulate", "--check", "--seed", "1").stdout
    assert len(said.splitlines()) == 2
    assert "done" not in said


@pytest.mark.parametrize(
    ("text", "words"), [(None, "cannot be read"), ("\xff", "UTF-8"), ("0s juggle", "line 1: there is no step")]
)
def test_a_file_that_is_no_plan_is_named(text: str | None, words: str, file: Path) -> None:
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    result = dure("plan", str(file), "--simulate")
    assert result.exit_code == 2
    assert str(file) in result.stderr
    assert words in result.stderr


def test_without_a_network_a_plan_for_processes_says_how_to_start_one(file: Path) -> None:
    file.write_text("0s mine 0 1\n")
    result = dure("plan", str(file))
    assert result.exit_code == 1
    assert "There is no network" in result.stderr
