"""docs/policies.md, typed as it stands: six stories on real daemons, through the command line."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.repository import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PAGE = ROOT / "docs" / "policies.md"


class Typed(NamedTuple):
    """A command of the page, and lines that it has to print, in their order among others."""

    command: str
    shown: tuple[str, ...]

    @property
    def status(self) -> int:
        return int(bool(self.shown) and re.match(r"Node \d+ refused: ", self.shown[0]) is not None)


def sections() -> Iterator[tuple[str, list[Typed]]]:
    """The commands below each heading."""
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE):
        found: list[Typed] = []
        for line in section.splitlines():
            if line.startswith("    $ "):
                found.append(Typed(line.removeprefix("    $ "), ()))
            elif line.startswith("    ") and found:
                found[-1] = found[-1]._replace(shown=(*found[-1].shown, line.strip()))
        yield section.splitlines()[0], found


def run(folder: Path, typed: Typed) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DURE_DIR": "net", "DURE_PROGRAM": "dure"}
    program, *arguments = shlex.split(typed.command)
    assert program == "dure"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli.main", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == typed.status, f"$ {typed.command}\n{done.stdout}"
    printed = iter(" ".join(line.split()) for line in done.stdout.splitlines())
    for wanted in typed.shown:
        pattern = ".*".join(map(re.escape, " ".join(wanted.split()).split("…"))) + ("" if wanted.endswith("…") else "$")
        # What is told of a longer line may stop at its end; what is shown whole ends where the line does.
        assert any(re.match(pattern, line) for line in printed), f"$ {typed.command}\nwants {wanted}\n{done.stdout}"


def test_every_story_goes_as_the_page_tells_it(tmp_path: Path) -> None:
    told = dict(sections())
    assert {"Two of three", "An escrow with an arbiter", "A vault that catches a thief", "An inheritance",
            "A hash lock, and a refund after a time", "Vesting"} <= told.keys()  # fmt: skip
    try:
        for commands in told.values():
            for typed in commands:
                run(tmp_path, typed)
    finally:
        subprocess.run(
            [sys.executable, "-P", "-m", "cli.main", "--dir", "net", "down"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, timeout=120, check=False,
        )  # fmt: skip
