"""What JSON a node reads from strangers."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from pathlib import Path

import pytest

from node.api.json_text import MAX_CONTAINERS, MAX_DEPTH, MAX_NUMBER, JsonError, parse_json

REFUSED_ON_PURPOSE = {"y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"}
"""Valid JSON, and refused: of a key that stands there twice, two programs may take two different ones."""


def test_the_published_documents_are_read_or_refused_as_their_names_say(vectors: Path) -> None:
    """A169: what must parse does, what must not does not, and what may either way does so without any other error."""
    wrong = []
    for line in (vectors / "json" / "jsontestsuite.jsonl").read_text().splitlines():
        document = json.loads(line)
        name = document["name"]
        try:
            parse_json(base64.b64decode(document["base64"]))
        except JsonError:
            if name.startswith("y_") and name not in REFUSED_ON_PURPOSE:
                wrong.append(name)
        else:
            if name.startswith("n_") or name in REFUSED_ON_PURPOSE:
                wrong.append(name)
    assert wrong == []


def test_numbers_are_exact() -> None:
    assert parse_json(b"[0.1, 1e-8, 100000000000000001, -0]") == [
        Decimal("0.1"),
        Decimal("1E-8"),
        100000000000000001,
        0,
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'[{"":' * 50_000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b"[" + b"[]," * MAX_CONTAINERS + b"[]]",
        b"9" * 10_000,
        b"0." + b"9" * MAX_NUMBER,
        b"[1e99999999999999999999]",
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b'"\\ud800"',
        b'{"\\udc00\\ud800":1}',
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'"' + b'\\"' * 100_000,
        b"",
        b"{} {}",
        b'"\x00"',
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_too_deep_too_long_or_ambiguous_is_refused(body: bytes) -> None:
    """A169: no recursion, no quadratic time, no key that two programs read differently."""
    with pytest.raises(JsonError) as refused:
        parse_json(body)
    assert len(str(refused.value)) < 200


def test_the_bounds_themselves_are_allowed() -> None:
    assert parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert parse_json(b"9" * MAX_NUMBER) == int("9" * MAX_NUMBER)
    assert parse_json(b'"\\ud83d\\ude00 [[[["') == "😀 [[[["
