"""docs/policies.md, typed as it stands: six stories on real daemons, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pages import Terminal, sections, typed_in
from tests.support.repository import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

STORIES = {"Two of three", "An escrow with an arbiter", "A vault that catches a thief", "An inheritance",
           "A hash lock, and a refund after a time", "Vesting"}  # fmt: skip


def test_every_story_goes_as_the_page_tells_it(tmp_path: Path) -> None:
    told = sections(ROOT / "docs" / "policies.md")
    assert told.keys() >= STORIES
    terminal = Terminal(tmp_path)
    try:
        for section in told.values():
            for typed in typed_in(section):
                terminal.type(typed)
    finally:
        terminal.down()
