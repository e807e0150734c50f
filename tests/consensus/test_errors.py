"""What refusals say: the rule first, then the facts, bytes in hex."""

from __future__ import annotations

import pytest

from consensus.errors import ConsensusError, NotYet, Rule
from consensus.types import OutPoint, TxId


def test_a_refusal_says_its_rule_and_its_facts() -> None:
    error = ConsensusError(Rule.OLDER, born=4, asset=b"\xab\xcd", why="young")
    assert (error.rule, error.facts) == (Rule.OLDER, {"born": 4, "asset": b"\xab\xcd", "why": "young"})
    assert str(error) == "older: born=4, asset=abcd, why=young"
    assert str(ConsensusError(Rule.NO_INPUTS)) == "no-inputs"
    coins = tuple(OutPoint(TxId(bytes(31) + b"\xab"), place) for place in range(5))
    first = "ab" + "00" * 31
    assert str(ConsensusError(Rule.MISSING_COIN, missing=coins[:1])) == f"missing-coin: missing={first}:0"
    assert str(NotYet("missing-coin", missing=coins)).endswith(f"={first}:0 {first}:1 {first}:2 and 2 more")
    assert error.args == (Rule.OLDER, {"born": 4, "asset": b"\xab\xcd", "why": "young"})


def test_what_is_early_says_why_and_blames_no_rule() -> None:
    early = NotYet("time-too-far-ahead", ahead=121, block=b"\x01")
    assert (early.reason, early.facts) == ("time-too-far-ahead", {"ahead": 121, "block": b"\x01"})
    assert str(early) == "time-too-far-ahead: ahead=121, block=01"
    assert str(NotYet("orphan")) == "orphan"
    assert early.args == ("time-too-far-ahead", {"ahead": 121, "block": b"\x01"})
    assert not isinstance(early, ConsensusError)


@pytest.mark.parametrize(
    ("count", "said"), [(0, ""), (1, "00"), (3, "00 01 02"), (4, "00 01 02 and 1 more"), (9, "00 01 02 and 6 more")]
)
def test_of_many_things_the_first_three_are_told(count: int, said: str) -> None:
    error = ConsensusError(Rule.MISSING_COIN, coins=tuple(bytes([n]) for n in range(count)))
    assert str(error) == f"missing-coin: coins={said}"


@pytest.mark.parametrize("rule", Rule)
def test_a_rule_reads_as_its_name(rule: Rule) -> None:
    assert str(rule) == rule.value == rule.name.lower().replace("_", "-")
