"""The README's tour, as a newcomer types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT


@pytest.mark.e2e
def test_every_command_of_the_tour_works_in_its_order() -> None:
    tour: list[str | Path] = [sys.executable, ROOT / "scripts" / "pictures.py", "--check"]
    done = subprocess.run(tour, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\n") >= 6, "the tour is not where pictures.py looks for it"
