"""The pages of docs/assets/, typed as they stand: stories on real daemons, through the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.pages import Terminal, sections, typed_in
from tests.support.repository import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PAGES = ROOT / "docs" / "assets"
STORIES = {"token.md", "share.md", "stablecoin.md", "art.md"}


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """The network that the first page starts, for all of them."""
    terminal = Terminal(tmp_path_factory.mktemp("assets"))
    try:
        for typed in typed_in(sections(PAGES / "README.md")["The network of these pages"]):
            terminal.type(typed)
        yield terminal
    finally:
        terminal.down()


def test_every_page_is_a_story_that_is_told_on_the_first() -> None:
    told = {page.name for page in PAGES.glob("*.md")} - {"README.md"}
    assert told == STORIES
    assert all(f"]({page})" in (PAGES / "README.md").read_text() for page in told)


@pytest.mark.parametrize("page", sorted(STORIES))
def test_a_story_goes_as_its_page_tells_it(terminal: Terminal, page: str) -> None:
    """A068, A070, A208: each shows who is refused what, and by which words."""
    story = list(typed_in((PAGES / page).read_text()))
    assert any(typed.refused for typed in story)
    for typed in story:
        terminal.type(typed)
