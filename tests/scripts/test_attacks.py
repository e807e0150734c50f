"""`scripts/attacks`: the list, the tests that name its entries, and what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.attacks import ROOT, cases, entries, main

LIST = "# Attacks\n\n- A001 One\n- A002 Two\n\n## More\n\n- A003 Three\n"
MODULE = '''
def helper() -> None:
    """A003: no test, so that it covers nothing."""


def test_one() -> None:
    """A001: as it is; and A002 beside it."""


async def test_two() -> None:
    """A001-A002."""


def test_three() -> None:
    """Unlike A003, this is about something else."""
'''


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small project: three entries, of which the last has no test."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "attacks.md").write_text(LIST)
    (tmp_path / "tests" / "area").mkdir(parents=True)
    (tmp_path / "tests" / "area" / "test_things.py").write_text(MODULE)
    return tmp_path


def test_each_entry_is_shown_with_its_tests(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], root) == 1
    assert capsys.readouterr().out == (
        "A001 One\n    tests/area/test_things.py:6 test_one\n    tests/area/test_things.py:10 test_two\n"
        "A002 Two\n    tests/area/test_things.py:6 test_one\n    tests/area/test_things.py:10 test_two\n"
        "A003 Three: missing\n"
        "1 missing of 3\n"
    )


@pytest.mark.parametrize("asked", [["1-2"], ["1", "A002"], ["A001-A002"]])
def test_a_range_that_is_covered_ends_with_0(root: Path, asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--missing", *asked], root) == 0
    assert capsys.readouterr().out == "0 missing of 2\n"


def test_only_what_is_missing_is_shown_on_demand(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--missing", "2-3"], root) == 1
    assert capsys.readouterr().out == "A003 Three: missing\n1 missing of 2\n"


@pytest.mark.parametrize("asked", ["4", "1-4", "0", "three", "3-1"])
def test_a_number_outside_the_list_is_refused(root: Path, asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: int | str | None = main([asked], root)
    except SystemExit as wrong:
        status = wrong.code
    assert status == 2
    assert capsys.readouterr().out == ""


def test_a_test_that_names_an_entry_outside_the_list_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "docs" / "attacks.md").write_text(LIST.replace("- A002 Two\n", ""))
    assert main([], root) == 2
    assert capsys.readouterr().err == "A002 is not in docs/attacks.md.\n"


def test_a_number_given_twice_is_refused(root: Path) -> None:
    (root / "docs" / "attacks.md").write_text(LIST + "- A001 Again\n")
    with pytest.raises(ValueError, match="A001 stands twice"):
        main([], root)


def test_our_list_has_no_gap_and_our_tests_name_nothing_outside_it() -> None:
    listed = entries(ROOT)
    assert list(listed) == list(range(1, len(listed) + 1))
    assert len(listed) >= 207
    named = {number for test in cases(ROOT) for number in test.entries}
    assert named <= listed.keys()
