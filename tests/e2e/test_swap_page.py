"""docs/swap.md, typed as it stands: swaps on real daemons of two networks, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pages import Terminal, sections, typed_in
from tests.support.repository import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PAGE = ROOT / "docs" / "swap.md"


def test_every_swap_goes_as_the_page_tells_it(tmp_path: Path) -> None:
    told = sections(PAGE)
    # What stands after the stories is about the files, and typed by nobody.
    told.pop("The files")
    assert {"In one transaction", "Across two networks", "When somebody walks away"} <= told.keys()
    terminal = Terminal(tmp_path)
    try:
        for section in told.values():
            for typed in typed_in(section):
                terminal.type(typed)
    finally:
        terminal.down("north", "south")
