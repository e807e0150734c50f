"""Policies taken apart into branches, told in sentences, and checked for what would lose coins."""

from __future__ import annotations

import pytest
from hypothesis import given

from consensus.policy_text import parse_policy
from consensus.spend_policy import check_revealed
from consensus.types import AfterHeight, AfterTime, LockId, Older, Opaque, Policy, Threshold
from tests.consensus.test_spend_policy import trees
from tests.support.rules import key
from wallet.errors import WalletError
from wallet.spend_policies.branches import MAX_BRANCHES, Branch, KeyGroup, branches_of
from wallet.spend_policies.revealing import reveal_distinct
from wallet.spend_policies.templates import Made, escrow, hashlock, inheritance, multisig, vault, vesting
from wallet.spend_policies.traps import LOOKS_LIKE_A_TIME, Trap, find_traps
from wallet.spend_policies.words import Now, branch_sentence, duration_text

A, B, C = (key(n).key for n in (1, 2, 3))
NAMES = {A: "Ann", B: "Bob", C: "Cem"}
NOW = Now(height=100, median_time=1_800_000_000, spacing=60)


def told(made: Made | Policy, now: Now | None = NOW) -> list[str]:
    policies = [part.policy for part in made.parts] if isinstance(made, Made) else [made]
    roles = made.roles if isinstance(made, Made) else {}
    names = NAMES | roles
    return [
        branch_sentence(branch, names.__getitem__, lambda lock: f"lock {lock.hex()[:4]}", now)
        for policy in policies
        for branch in branches_of(policy).all
    ]


def test_each_template_is_told_in_one_plain_sentence_a_branch() -> None:
    assert told(multisig(2, [A, B, C])) == ["Any 2 of Ann, Bob and Cem can spend at any time."]
    assert told(multisig(1, [A, B])) == ["Either of Ann and Bob can spend at any time."]
    assert told(multisig(2, [A, B])) == ["Ann and Bob can spend together at any time."]
    assert told(escrow(A, B, C, 144)) == [
        "Any 2 of the buyer, the seller and the arbiter can spend at any time.",
        "The buyer can spend once a coin is 144 blocks old, about 2 hours.",
    ]
    assert told(inheritance(A, B, 52_560)) == [
        "The owner can spend at any time.",
        "The heir can spend once a coin is 52,560 blocks old, about 36 days.",
    ]
    inside, cold, out, cold_again = told(vault(A, B, 10))
    assert inside.startswith("The hot key can spend, but only whole coins, to lock ")
    assert inside.endswith(", their fee paid by another coin.")
    assert cold == cold_again == "The cold key can spend at any time."
    assert out == "The hot key can spend once a coin is 10 blocks old, about 10 minutes."
    assert told(hashlock(A, B, b"\xab" * 32, AfterHeight(200))) == [
        "The receiver can spend showing the secret whose SHA-256 is ababababab….",
        "The payer can spend from block 200 on (in 99 blocks, about 99 minutes).",
    ]
    assert told(vesting(A, [AfterHeight(101), AfterTime(1_800_086_400)], B)) == [
        "The owner can spend from block 101 on (now: the next block will do).",
        "Who granted it can spend at any time.",
        "The owner can spend from 2027-01-16 08:00 UTC on (in about 24 hours by the chain's clock).",
        "Who granted it can spend at any time.",
    ]


def test_without_a_chain_the_sentences_say_no_distance() -> None:
    policy = Threshold(2, (key(1), AfterHeight(200), Older(5)))
    assert told(policy, None)[0] == "Ann can spend from block 200 on."
    assert told(Threshold(2, (key(1), AfterTime(0)))) == ["Ann can spend at any time."]
    passed = Threshold(2, (key(1), AfterTime(1_700_000_000)))
    assert told(passed) == ["Ann can spend from 2023-11-14 22:13 UTC on (now: the chain's clock is past it)."]


@pytest.mark.parametrize(("height", "words"), [(101, "now"), (102, "in 1 block, about 60 seconds"), (222, "2 hours")])
def test_a_height_is_told_from_the_next_block(height: int, words: str) -> None:
    assert words in told(Threshold(2, (key(1), AfterHeight(height))))[0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 seconds"), (1, "1 second"), (119, "119 seconds"), (120, "2 minutes"), (7_199, "120 minutes"),
     (7_200, "2 hours"), (172_800, "2 days"), (63_115_200, "2 years")],
)  # fmt: skip
def test_a_duration_is_told_in_its_largest_unit(seconds: int, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_threshold_of_keys_and_others_keeps_its_keys_together() -> None:
    policy = Threshold(2, (key(1), key(2), Threshold(2, (key(3), Older(5)))))
    assert branches_of(policy).all == (
        Branch(groups=(KeyGroup(1, (A,)), KeyGroup(1, (B,)))),
        Branch(groups=(KeyGroup(1, (A, B)), KeyGroup(1, (C,))), older=5),
    )


def test_a_hidden_branch_is_told_as_hidden() -> None:
    policy = Threshold(1, (key(1), Opaque(LockId(b"\xcd" * 32))))
    assert "hidden" in told(policy)[1]
    assert [finding.trap for finding in find_traps(policy)] == [Trap.HIDDEN]


@given(trees)
def test_each_branch_can_be_revealed_or_a_trap_says_why_not(policy: Policy) -> None:
    twice = Trap.KEY_TWICE in {finding.trap for finding in find_traps(policy)}
    for branch in branches_of(policy).all:
        shown = reveal_distinct(policy, branch.asks_for)
        if not twice:
            assert shown is not None
        if shown is not None:
            check_revealed(shown)


def test_a_key_that_stands_in_two_places_signs_in_one() -> None:
    policy = Threshold(2, (Threshold(1, (key(1), key(2))), Threshold(1, (key(1), key(2)))))
    assert find_traps(policy) == []
    shown = reveal_distinct(policy, lambda leaf: True)
    assert shown is not None
    assert check_revealed(shown) == [key(1), key(2)]
    assert reveal_distinct(policy, lambda leaf: leaf == key(1)) is None
    maze = Threshold(8, tuple([Threshold(1, (key(1), key(2))) for _ in range(16)]))
    assert reveal_distinct(maze, lambda leaf: True) is None


def traps(text: str, now: Now | None = NOW) -> list[tuple[Trap, bool]]:
    text = text.replace("A", f"key({A.hex()})").replace("B", f"key({B.hex()})").replace("C", f"key({C.hex()})")
    return [(finding.trap, finding.fatal) for finding in find_traps(parse_policy(text), now)]


NO_POINT = f"key(02{'00' * 31}05)"
HASH = f"preimage({'ab' * 32})"
TO = f"pays({'12' * 32})"
AND = "threshold(2, [{}, {}])".format
OR = "threshold(1, [{}, {}])".format


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A", []),
        (NO_POINT, [(Trap.NOT_A_POINT, True)]),
        (OR("A", NO_POINT), [(Trap.NOT_A_POINT, True)]),
        (AND("A", "A"), [(Trap.KEY_TWICE, True)] * 2),
        (OR("A", "A"), [(Trap.KEY_TWICE, True)]),
        (AND("A", AND("A", "older(5)")), [(Trap.KEY_TWICE, True)]),
        (AND(OR("A", "B"), OR("A", "B")), []),
        (AND("A", OR("A", "B")), []),
        (OR(AND("A", "older(5)"), AND("A", HASH)), []),
        ("older(5)", [(Trap.NO_SIGNATURE, True)]),
        (HASH, [(Trap.NO_SIGNATURE, True)]),
        (OR("A", TO), [(Trap.NO_SIGNATURE, True)]),
        (AND("A", TO), []),
        (f"threshold(3, [A, {TO}, pays({'34' * 32})])", [(Trap.TWO_DESTINATIONS, True)]),
        (OR("A", AND("A", "older(5)")), [(Trap.POINTLESS, False)]),
        (OR(AND("A", "older(5)"), AND("A", "older(6)")), [(Trap.POINTLESS, False)]),
        (OR("threshold(2, [A, B, C])", AND("A", "B")), [(Trap.POINTLESS, False)]),
        (OR("threshold(2, [A, B, C])", "A"), []),
        (AND("A", f"after_height({LOOKS_LIKE_A_TIME - 1})"), [(Trap.FAR_AWAY, False)]),
        (AND("A", f"after_height({LOOKS_LIKE_A_TIME})"), [(Trap.HEIGHT_OR_TIME, False)]),
        (AND("A", f"after_time({LOOKS_LIKE_A_TIME - 1})"), [(Trap.HEIGHT_OR_TIME, False)]),
        (AND("A", f"after_time({LOOKS_LIKE_A_TIME})"), []),
        (AND("A", "older(100000000)"), [(Trap.FAR_AWAY, False)]),
    ],
)
def test_a_trap_is_found_by_name_and_nothing_else_is(text: str, found: list[tuple[Trap, bool]]) -> None:
    """A065."""
    assert traps(text) == found


def test_a_policy_of_millions_of_branches_is_looked_at_in_part() -> None:
    """A064."""
    wide = Threshold(8, tuple([Threshold(2, (key(1), Older(n))) for n in range(1, 17)]))
    branches = branches_of(wide)
    assert (len(branches.all) <= MAX_BRANCHES, branches.complete) == (True, False)
    assert Trap.MANY_BRANCHES in {finding.trap for finding in find_traps(wide)}


@pytest.mark.parametrize(("k", "n"), [(0, 2), (3, 2), (1, 17), (1, 0)])
def test_a_multisig_that_cannot_be_is_refused(k: int, n: int) -> None:
    with pytest.raises(WalletError):
        multisig(k, [key(number).key for number in range(1, n + 1)])
    with pytest.raises(WalletError):
        vesting(A, [])
