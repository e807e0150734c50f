"""Policies as people write them: what can be written, and how a mistake is told, with its place."""

from __future__ import annotations

import pytest

from consensus.policy_text import MAX_TEXT, PolicyTextError, format_policy, parse_policy
from consensus.types import (
    AfterHeight,
    AfterTime,
    Key,
    LockId,
    Older,
    Opaque,
    Pays,
    Policy,
    Preimage,
    Threshold,
)
from tests.support.rules import key

KEY = key(1).key.hex()
HASH = "ab" * 32
NAMES = "threshold, key, preimage, after_height, after_time, older, opaque, pays"

WRITTEN: dict[str, Policy] = {
    f"key({KEY})": key(1),
    f"preimage({HASH})": Preimage(b"\xab" * 32),
    f"pays({HASH})": Pays(LockId(b"\xab" * 32)),
    "after_height(0)": AfterHeight(0),
    "after_height(4294967295)": AfterHeight(2**32 - 1),
    "after_time(0)": AfterTime(0),
    "after_time(4294967295)": AfterTime(2**32 - 1),
    "older(1)": Older(1),
    "older(4294967295)": Older(2**32 - 1),
    f"threshold(1, [older(2), opaque({HASH})])": Threshold(1, (Older(2), Opaque(LockId(b"\xab" * 32)))),
    "threshold(2, [older(1), older(2), older(3)])": Threshold(2, (Older(1), Older(2), Older(3))),
    "threshold(1, [threshold(1, [threshold(1, [older(1)])])])": Threshold(
        1, (Threshold(1, (Threshold(1, (Older(1),)),)),)
    ),
}

MISTAKES = {
    "": f"expected {NAMES} at character 1, found 'the end'",
    "kez(00)": f"expected {NAMES} at character 1, found 'kez(00)'",
    "key": "expected '(' at character 4, found 'the end'",
    "older[1]": "expected '(' at character 6, found '[1]'",
    "older(1": "expected ')' at character 8, found 'the end'",
    "older(1) older(2)": "expected nothing more at character 9, found 'older(2)'",
    "older(0)": "expected a number from 1 to 4294967295 at character 7, found '0)'",
    "older(4294967296)": "expected a number from 1 to 4294967295 at character 7, found '4294967296)'",
    "older(-1)": "expected a number from 1 to 4294967295 at character 7, found '-1)'",
    "older(1x)": "expected a number from 1 to 4294967295 at character 7, found '1x)'",
    "older(1Z)": "expected a number from 1 to 4294967295 at character 7, found '1Z)'",
    "older(1_0)": "expected a number from 1 to 4294967295 at character 7, found '1_0)'",
    "after_time(4294967296)": "expected a number from 0 to 4294967295 at character 12, found '4294967296)'",
    "after_height(12345678901)": "expected a number from 0 to 4294967295 at character 14, found '12345678901)'",
    "key(0102)": "expected 33 bytes in hex at character 5, found '0102)'",
    f"key({KEY}00)": f"expected 33 bytes in hex at character 5, found '{KEY[:20]}'",
    f"key({KEY}z)": f"expected 33 bytes in hex at character 5, found '{KEY[:20]}'",
    f"key({KEY}Z)": f"expected 33 bytes in hex at character 5, found '{KEY[:20]}'",
    "preimage(00)": "expected 32 bytes in hex at character 10, found '00)'",
    f"opaque({KEY})": f"expected 32 bytes in hex at character 8, found '{KEY[:20]}'",
    f"pays({KEY})": f"expected 32 bytes in hex at character 6, found '{KEY[:20]}'",
    "threshold(1 [older(1)])": "expected ',' at character 12, found '[older(1)])'",
    "threshold(1, older(1))": "expected '[' at character 13, found 'older(1))'",
    "threshold(1, [])": f"expected {NAMES} at character 15, found '])'",
    "threshold(1, [older(1) older(2)])": "expected ']' at character 23, found 'older(2)])'",
    "threshold(1, [older(1)]": "expected ')' at character 24, found 'the end'",
    "threshold(1, [threshold(1, [threshold(1, [threshold(1, [older(1)])])])])": (
        "expected at most 4 levels at character 57, found 'older(1)])])])])'"
    ),
    "threshold(1, [older(1), threshold(1, [older(1), threshold(1, [older(1), threshold(1, [older(1)])])])])": (
        "expected at most 4 levels at character 87, found 'older(1)])])])])'"
    ),
    "threshold(0, [older(1)])": "such a policy could not be spent: policy-threshold: k=0, n=1",
    "threshold(2, [older(1)])": "such a policy could not be spent: policy-threshold: k=2, n=1",
    f"opaque({HASH})": "a policy that is opaque as a whole could not be spent",
    f"key(04{KEY[2:]})": f"such a policy could not be spent: policy-key: key=04{KEY[2:]}",
}


@pytest.mark.parametrize("text", WRITTEN)
def test_a_policy_is_written_and_read(text: str) -> None:
    assert parse_policy(text) == WRITTEN[text]
    assert format_policy(WRITTEN[text]) == text
    for space in (" ", "\n", "\t "):
        loose = space + "".join(f"{space}{part}{space}" if part in "()[]," else part for part in text) + space
        assert parse_policy(loose) == WRITTEN[text]


def test_hex_may_be_in_capitals() -> None:
    assert parse_policy(f"key({KEY.upper()})") == key(1)
    assert parse_policy(f"preimage({HASH.upper()})") == Preimage(b"\xab" * 32)


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: text[:40])
def test_a_mistake_is_told_with_its_place(text: str) -> None:
    with pytest.raises(PolicyTextError) as refused:
        parse_policy(text)
    assert str(refused.value) == MISTAKES[text]


def test_a_text_has_so_many_characters_and_no_more() -> None:
    assert parse_policy("older(1)".ljust(MAX_TEXT)) == Older(1)
    with pytest.raises(PolicyTextError) as refused:
        parse_policy("older(1)".ljust(MAX_TEXT + 1))
    assert str(refused.value) == "a policy has at most 10000 characters, this one 10001"


def test_a_policy_of_sixteen_children_is_written_and_of_seventeen_is_not() -> None:
    children = [Older(n) for n in range(1, 18)]
    text = f"threshold(3, [{', '.join(map(format_policy, children[:16]))}])"
    assert parse_policy(text) == Threshold(3, tuple(children[:16]))
    with pytest.raises(PolicyTextError, match=r"could not be spent: policy-threshold: k=3, n=17$"):
        parse_policy(text[:-2] + ", older(17)])")


def test_a_key_outside_of_the_field_is_no_key() -> None:
    prime = 2**256 - 2**32 - 977
    assert parse_policy(f"key(02{prime - 1:064x})") == Key(b"\x02" + (prime - 1).to_bytes(32, "big"))
    with pytest.raises(PolicyTextError, match="policy-key"):
        parse_policy(f"key(02{prime:064x})")
