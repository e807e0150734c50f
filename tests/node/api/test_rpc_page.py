"""docs/rpc.md lists every method as it is."""

from __future__ import annotations

from node.api.catalogue import ALL
from scripts.rpc_page import PAGE, table, with_table


def test_the_page_has_a_line_for_every_method() -> None:
    assert table() in PAGE.read_text(), "run .venv/bin/python -m scripts.rpc_page"
    for method in ALL:
        assert f"| `{method.usage}` | {method.summary} |" in PAGE.read_text()


def test_writing_the_table_leaves_the_words_around_it() -> None:
    page = PAGE.read_text()
    assert with_table(page) == page
    assert with_table(page.replace("getblockcount", "nosuchmethod", 1)).count("nosuchmethod") == 1
