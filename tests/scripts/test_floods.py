"""`scripts/floods`: a short one against a real daemon, and how a long one is judged."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from scripts.floods_campaign import FLOODS, JUDGED_FROM, PEERS_EACH, Sample, growth, judge
from tests.support.repository import ROOT

EVERYBODY = Counter(dict.fromkeys(FLOODS, PEERS_EACH))


@pytest.mark.e2e
def test_a_daemon_that_is_flooded_answers_and_stays_within_its_memory() -> None:
    """A197: all floods at once for a quarter of a minute, in 512 MiB; a day of them is `scripts/floods`."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.floods_campaign", "--seconds", "15"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "connections in 0.00 h: at most" in done.stdout


def straight(start: float, an_hour: float, hours: int) -> list[Sample]:
    """Memory that grows by so many MiB an hour, after an hour of warming up from nothing."""
    warm = [Sample(60.0 * minute, start * minute / 60) for minute in range(hours * 6)]
    return warm + [Sample(60.0 * m, start + an_hour * m / 60) for m in range(hours * 6, hours * 60)]


def test_growth_is_reckoned_after_the_warming_up() -> None:
    assert growth(straight(100, 0, 24)) == 0
    assert growth(straight(100, 2, 24)) == pytest.approx(2 / 1.07, rel=0.1)
    assert growth([]) == 0


@pytest.mark.parametrize(
    ("samples", "seconds", "words"),
    [
        (straight(100, 0, 2), JUDGED_FROM, ""),
        (straight(100, 5, 2), JUDGED_FROM, "grew by more than"),
        (straight(100, 5, 2), JUDGED_FROM - 1, ""),
        (straight(600, 0, 2), JUDGED_FROM, "more than 512 MiB"),
    ],
)
def test_what_it_must_not_do_is_named(
    samples: list[Sample], seconds: float, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(samples, EVERYBODY, seconds, 512, []) == (1 if words else 0)
    assert words in capsys.readouterr().out


def test_a_daemon_that_died_or_was_never_flooded_has_not_passed() -> None:
    assert judge(straight(100, 0, 1), EVERYBODY, 60, 512, ["it has died"]) == 1
    assert judge(straight(100, 0, 1), Counter(), 60, 512, []) == 1
