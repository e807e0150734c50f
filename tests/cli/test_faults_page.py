"""docs/faults.md: every command in it is one, every plan in it runs, and its tables name what there is."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.main import main
from devnet.plan_words import VERBS
from tests.cli.test_commands import answers
from tests.support.network import fake_network
from tests.support.repository import ROOT

PAGE = (ROOT / "docs" / "faults.md").read_text()
COMMANDS = re.findall(r"^    dure (.+)$", PAGE, re.MULTILINE)
PLANS = re.findall(r"^```plan\n(.+?)^```", PAGE, re.MULTILINE | re.DOTALL)
REAL = ("reorg", "snapshot", "plan")
"""Commands that take more than nodes which answer calls: they are used on real ones in tests/e2e/test_faults.py."""


def test_every_command_on_the_page_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(COMMANDS) > 20
    monkeypatch.setenv("DURE_DIR", str(tmp_path))
    with fake_network(tmp_path, 5, **answers()):
        for line in COMMANDS:
            words = shlex.split(line)
            if words[0] in REAL:
                context = click.Context(main)
                name, command, rest = main.resolve_command(context, words)
                while isinstance(command, click.Group):
                    name, command, rest = command.resolve_command(context, rest)
                assert command is not None
                command.make_context(name, list(rest), parent=context)
            else:
                result = CliRunner().invoke(main, words)
                assert result.exit_code == 0, (line, result.output)


@pytest.mark.parametrize("plan", PLANS)
def test_every_plan_on_the_page_runs(plan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURE_DIR", str(tmp_path / "none"))
    file = tmp_path / "trouble.plan"
    file.write_text(plan)
    result = CliRunner().invoke(main, ["plan", str(file), "--simulate", "--json", "--seed", "7"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["tips"] == 1


def test_the_page_names_every_step_and_no_other() -> None:
    table = PAGE.split("| action | |", 1)[1].split("\n\n", 1)[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`([a-z]+)\b", row.split(" | ")[0])}
    assert named == set(VERBS)
