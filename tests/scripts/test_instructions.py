"""The hottest functions take no more bytecodes than is written down: a guard that no busy machine can trip."""

from __future__ import annotations

import pytest

from scripts.benchmarks.instructions import SLACK, count, hottest, measured, recorded, version


@pytest.fixture(scope="module")
def counts() -> dict[str, int]:
    return measured()


def test_counting_is_exact_and_repeats() -> None:
    def loop(turns: int) -> int:
        total = 0
        for number in range(turns):
            total += number
        return total

    once, twice = count(lambda: loop(100)), count(lambda: loop(200))
    assert once == count(lambda: loop(100))
    assert twice > 1.8 * once
    assert count(lambda: None) < 40  # the counting itself


@pytest.mark.parametrize("name", sorted(hottest()))
def test_a_hot_function_takes_no_more_than_is_written_down(name: str, counts: dict[str, int]) -> None:
    """If it has to: .venv/bin/python -m scripts.benchmarks.instructions, and say why in the commit."""
    allowed = recorded()[version()][name]
    assert counts[name] <= allowed * SLACK + 5, f"{counts[name]} bytecodes a payment, {allowed} are written down"
    assert counts[name] > 0


def test_what_is_written_down_is_of_these_functions() -> None:
    assert all(set(column) == set(hottest()) for column in recorded().values())
    assert set(recorded()) == {"3.11", "3.12", "3.13"}
