"""The inputs that fuzzing led to, tried again: everything holds, in bounded memory and steps."""

from __future__ import annotations

import sys
import tracemalloc
from types import FrameType

import pytest

from tests.fuzzing import targets
from tests.fuzzing.corpora import FOLDER, corpus
from tests.fuzzing.targets import TARGETS, Broken

CASES = [(target, raw) for target in TARGETS for raw in corpus(target)]
MOST_STEPS = 40_000
"""Lines of our code for one input, both implementations counted; the worst that is kept takes a tenth of it."""
MOST_MEMORY = 1 << 20
"""Bytes at a time."""


@pytest.mark.parametrize(("target", "raw"), CASES, ids=lambda part: part if isinstance(part, str) else part.hex()[:24])
def test_a_kept_input_holds_what_every_input_must(target: str, raw: bytes) -> None:
    """A077, A035: garbage, cut and changed encodings, texts that are no policy."""
    steps = 0

    def count(frame: FrameType, event: str, argument: object) -> object:
        nonlocal steps
        steps += 1
        return count

    TARGETS[target](raw)  # what is loaded or kept at first use is none of the input's
    tracemalloc.start()
    try:
        TARGETS[target](raw)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    sys.settrace(count)  # type: ignore[arg-type]
    try:
        TARGETS[target](raw)
    finally:
        sys.settrace(None)
    assert peak < MOST_MEMORY
    assert steps < MOST_STEPS


@pytest.mark.parametrize("target", TARGETS)
def test_a_corpus_is_small_and_reaches_both_ends(target: str) -> None:
    inputs = corpus(target)
    assert len(set(inputs)) == len(inputs) > 20
    assert sum(map(len, inputs)) <= 8_000
    assert sorted(path.stem for path in FOLDER.glob("*.txt")) == sorted(TARGETS)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("codec", "encode"),
        ("codec", "decode_transaction"),
        ("codec", "check_body"),
        ("framing", "encode_frame"),
        ("framing", "decode_body"),
        ("policy", "format_policy"),
        ("policy", "decode_policy"),
        ("policy", "policy_id"),
    ],
)
def test_a_fault_does_not_pass_unnoticed(target: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part is made to give nothing at all, and some input that is kept shows it."""
    monkeypatch.setattr(targets, name, lambda *arguments: b"" if name.startswith("encode") else None)
    noticed = 0
    for raw in corpus(target):
        try:
            TARGETS[target](raw)
        except (Broken, AttributeError, TypeError):
            noticed += 1
    assert noticed
