"""Spend policies: ids, shapes, satisfaction and the two sides of every lock."""

from __future__ import annotations

import sys
from hashlib import sha256
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from consensus.codec import decode_policy, encode
from consensus.errors import ConsensusError, Rule
from consensus.hashing import tagged_hash
from consensus.params import REGTEST
from consensus.policy_text import PolicyTextError, format_policy, parse_policy
from consensus.signatures import public_key, verify_all
from consensus.spend_policy import (
    Leaf,
    check_policy,
    check_revealed,
    check_witness,
    policy_id,
    reveal,
    satisfy,
    walk,
    witness_cost,
)
from consensus.state import SpendContext
from consensus.types import (
    AfterHeight,
    AfterTime,
    Amount,
    AssetId,
    Coin,
    Key,
    LockId,
    Older,
    Opaque,
    OutPoint,
    Output,
    Pays,
    Policy,
    Preimage,
    Threshold,
    Transaction,
    Witness,
)
from consensus.validation import check_spends
from tests.support.rules import SECRETS, core, key, lock, outpoint, pay, spend

PREIMAGE = b"p" * 32
HASHED = Preimage(sha256(PREIMAGE).digest())
OUT = outpoint(7)

leaves = st.one_of(
    st.integers(1, 9).map(key),
    st.builds(Preimage, st.binary(min_size=32, max_size=32)),
    st.builds(AfterHeight, st.integers(0, 2**32 - 1)),
    st.builds(AfterTime, st.integers(0, 2**32 - 1)),
    st.builds(Older, st.integers(1, 2**32 - 1)),
    st.builds(Pays, st.binary(min_size=32, max_size=32)),
)


def thresholds(child: st.SearchStrategy[Policy]) -> st.SearchStrategy[Policy]:
    return st.lists(child, min_size=1, max_size=4).flatmap(
        lambda children: st.builds(Threshold, st.integers(1, len(children)), st.just(tuple(children)))
    )


trees = leaves | thresholds(leaves) | thresholds(leaves | thresholds(leaves))


def rule_of(policy: Policy, satisfactions: tuple[bytes, ...] = ()) -> Rule | None:
    try:
        check_witness(Witness(policy, satisfactions))
    except ConsensusError as error:
        return error.rule
    return None


def shape_of(policy: Policy) -> Rule | None:
    try:
        check_revealed(policy)
    except ConsensusError as error:
        return error.rule
    return None


def spending(
    policy: Policy, outputs: list[Output] | None = None, height: int = 100, time: int = 1_000, born: int = 50
) -> Rule | None:
    """Spend a coin of 100 at `policy`, fully revealed as it stands; say what refuses it."""
    coins = {OUT: Coin(Output(Amount(100), policy_id(policy), None), born, False)}
    tx = spend(coins, outputs or [pay(2, 90)], {policy_id(policy): policy}, {HASHED.hash: PREIMAGE})
    try:
        checks = check_spends(REGTEST, SpendContext(height, time), tx, coins)
    except ConsensusError as error:
        return error.rule
    return None if verify_all(checks) is None else Rule.BAD_SIGNATURE


@given(trees, st.data())
def test_a_policy_has_one_id_whatever_is_revealed(policy: Policy, data: st.DataObject) -> None:
    shown = reveal(policy, lambda leaf: data.draw(st.booleans()))
    if shown is not None:
        assert policy_id(shown) == policy_id(policy)


def test_ids_are_what_the_specification_says() -> None:
    assert policy_id(key(1)) == tagged_hash("dure/policy", b"\x92\x00\xc4\x21" + key(1).key)
    two = Threshold(1, (key(1), Older(144)))
    hidden = (5, 1, ((6, policy_id(key(1))), (6, policy_id(Older(144)))))
    assert policy_id(two) == tagged_hash("dure/policy", encode(hidden))
    assert policy_id(Opaque(lock(1))) == lock(1)


@given(trees)
def test_a_policy_survives_its_text(policy: Policy) -> None:
    assert parse_policy(format_policy(policy)) == policy
    spaced = format_policy(policy).replace("(", " ( ").replace(",", " ,\n")
    assert parse_policy(spaced) == policy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "key",
        "key()",
        "key(02)",
        "lock(1)",
        "older(0)",
        "older(4294967296)",
        "older(1x)",
        "older(-1)",
        "after_height(1) x",
        "threshold(0, [older(1)])",
        "threshold(2, [older(1)])",
        "threshold(1, [])",
        "threshold(1, older(1))",
        f"opaque({'00' * 32})",
        f"key(05{'11' * 32})",
        f"key(02{'ff' * 32})",
        "threshold(1,[" * 5 + "older(1)" + "])" * 5,
        "threshold(1,[" * 5_000,
        f"threshold(1, [{', '.join(['older(1)'] * 17)}])",
        "x" * 10_001,
    ],
    ids=lambda text: text[:24],
)
def test_a_text_that_is_no_policy_is_refused_with_a_sentence(text: str) -> None:
    """A064 A065: thresholds of 0, above n, empty, too deep, too wide; unknown words; refused at creation."""
    with pytest.raises(PolicyTextError):
        parse_policy(text)


def nested(levels: int) -> Policy:
    policy: Policy = Older(1)
    for _ in range(levels - 1):
        policy = Threshold(1, (policy,))
    return policy


def test_a_policy_has_at_most_four_levels() -> None:
    """A064: a lone leaf is one level."""
    assert shape_of(nested(4)) is None
    assert shape_of(nested(5)) is Rule.POLICY_DEPTH


def test_a_policy_has_at_most_64_nodes() -> None:
    """A064: opaque nodes are counted, shared sub-trees each time."""
    hidden = Opaque(LockId(bytes(32)))
    inner = Threshold(1, (Older(1), *[hidden] * 15))
    # The root, three full children of 17 nodes each, and leaves to fill.
    base = (inner, inner, inner)
    assert shape_of(Threshold(3 + 12, (*base, *[Older(2)] * 12))) is None
    wide = (*base, Threshold(1, (Older(1), *[hidden] * 11)))
    assert shape_of(Threshold(4, wide)) is Rule.POLICY_NODES
    assert shape_of(Threshold(4, (*base, Threshold(1, (Older(1), *[hidden] * 10))))) is None


@pytest.mark.parametrize(
    ("k", "n", "valid"), [(0, 2, False), (1, 2, True), (2, 2, True), (3, 2, False), (16, 16, True)]
)
def test_a_threshold_is_between_1_and_n(k: int, n: int, valid: bool) -> None:
    """A065: k of 0 and above n are refused at creation and at spend."""
    policy = Threshold(k, tuple(Older(b + 1) for b in range(n)))
    if valid:
        check_policy(policy)
    else:
        with pytest.raises(ConsensusError) as error:
            check_policy(policy)
        assert error.value.rule is Rule.POLICY_THRESHOLD
        assert shape_of(policy) is Rule.POLICY_THRESHOLD
    assert shape_of(Threshold(1, ())) is Rule.POLICY_THRESHOLD


def test_exactly_k_children_are_revealed() -> None:
    """A038: a branch too many or too few is refused."""
    hidden = Opaque(LockId(bytes(32)))
    assert shape_of(Threshold(1, (Older(1), hidden))) is None
    assert shape_of(Threshold(1, (Older(1), Older(2)))) is Rule.POLICY_REVEALED
    assert shape_of(Threshold(2, (Older(1), hidden))) is Rule.POLICY_REVEALED
    assert shape_of(Threshold(1, (hidden, hidden))) is Rule.POLICY_REVEALED


def test_an_opaque_root_reveals_nothing() -> None:
    assert shape_of(Opaque(lock(1))) is Rule.POLICY_OPAQUE_ROOT


def test_a_key_appears_once_among_revealed_leaves() -> None:
    """A065: the same key twice would count one signature for two."""
    assert shape_of(Threshold(2, (key(1), key(1)))) is Rule.POLICY_DUPLICATE_KEY
    assert shape_of(Threshold(2, (key(1), Threshold(1, (key(1),))))) is Rule.POLICY_DUPLICATE_KEY
    assert shape_of(Threshold(2, (key(1), key(2)))) is None


@pytest.mark.parametrize("prefix", [0, 1, 4, 5, 6, 7, 255])
def test_a_key_is_in_compressed_form(prefix: int) -> None:
    """A037: uncompressed, hybrid and unknown prefixes, and x at or above the prime, before any verify."""
    assert shape_of(Key(bytes([prefix]) + key(1).key[1:])) is Rule.POLICY_KEY
    prime = 2**256 - 2**32 - 977
    assert shape_of(Key(b"\x02" + prime.to_bytes(32, "big"))) is Rule.POLICY_KEY
    assert shape_of(Threshold(1, (Key(b"\x02" + b"\xff" * 32),))) is Rule.POLICY_KEY
    assert shape_of(Key(b"\x02" + (prime - 1).to_bytes(32, "big"))) is None


def test_a_lone_key_is_held_to_its_form_too() -> None:
    """Nearly every witness is one key and one signature, and goes a short way of its own."""
    for bad in (b"\x04" + key(1).key[1:], b"\x02" + b"\xff" * 32):
        with pytest.raises(ConsensusError) as refused:
            check_witness(Witness(Key(bad), (bytes(64),)))
        assert str(refused.value) == f"policy-key: key={bad.hex()}"
    assert check_witness(Witness(key(1), (bytes(64),))) == [(key(1), bytes(64))]


def test_satisfactions_have_their_size() -> None:
    """A036 A066: signatures of 63 and 65 bytes, preimages of 31 and 33."""
    for size in (0, 63, 65, 71):
        assert rule_of(key(1), (bytes(size),)) is Rule.SATISFACTION_SIZE
    for size in (31, 33):
        assert rule_of(HASHED, (bytes(size),)) is Rule.SATISFACTION_SIZE
    assert rule_of(HASHED, (bytes(32),)) is Rule.BAD_PREIMAGE
    assert rule_of(HASHED, (PREIMAGE,)) is None


def test_a_witness_has_at_most_10_000_bytes() -> None:
    """It follows from the bound on nodes: the widest policy, of 59 keys and their signatures, is far below."""
    keys = [Key(public_key(n.to_bytes(32, "big"))) for n in range(1, 60)]
    widest = Threshold(4, tuple(Threshold(len(part), tuple(part)) for part in batched(keys, 15)))
    assert len(check_policy(widest)) == 64
    assert rule_of(widest, (bytes(64),) * 59) is None
    assert witness_cost(widest).size < 7_000


def batched(keys: list[Key], size: int) -> list[list[Key]]:
    return [keys[i : i + size] for i in range(0, len(keys), size)]


def test_a_huge_policy_costs_no_more_than_a_large_one() -> None:
    """A064: 70,000 nodes that share their sub-trees, read from a transaction: the walk ends at the 65th."""
    policy: Policy = Older(1)
    for _ in range(3):
        policy = Threshold(16, (policy,) * 16)
    steps: list[str] = []

    def count(frame: FrameType, event: str, arg: object) -> None:
        steps.append(event)

    for shown in (policy, Threshold(1, (policy,)), Threshold(16, (policy,) * 16)):
        read = decode_policy(encode(shown))
        steps.clear()
        sys.setprofile(count)
        try:
            rule = shape_of(read)
        finally:
            sys.setprofile(None)
        assert rule in {Rule.POLICY_NODES, Rule.POLICY_DEPTH}
        assert 0 < len(steps) < 1_000


def test_the_shape_of_a_policy_is_checked_before_its_id() -> None:
    """A064: an id costs a hash per node, so no policy earns one before its nodes are counted."""
    huge: Policy = Threshold(16, (Threshold(16, (Older(1),) * 16),) * 16)
    coins = {OUT: Coin(pay(1, 100), 1, False)}
    tx = Transaction(core([OUT], [pay(2, 90)]), (Witness(huge, ()),))
    with pytest.raises(ConsensusError) as error:
        check_spends(REGTEST, SpendContext(100, 1_000), tx, coins)
    assert error.value.rule is Rule.POLICY_NODES


def test_satisfactions_stand_in_the_order_of_their_leaves() -> None:
    policy = Threshold(3, (key(2), HASHED, key(1)))
    assert spending(policy) is None
    coins = {OUT: Coin(Output(Amount(100), policy_id(policy), None), 1, False)}
    tx = spend(coins, [pay(2, 90)], {policy_id(policy): policy}, {HASHED.hash: PREIMAGE})
    first, preimage, last = tx.witnesses[0].satisfactions
    swapped = Transaction(tx.core, (Witness(policy, (last, preimage, first)),))
    assert verify_all(check_spends(REGTEST, SpendContext(100, 0), swapped, coins)) == 0


@pytest.mark.parametrize(
    ("leaf", "rule"),
    [(AfterHeight(100), Rule.AFTER_HEIGHT), (AfterTime(1_000), Rule.AFTER_TIME), (Older(50), Rule.OLDER)],
)
def test_time_locks_open_exactly_at_their_bound(leaf: Policy, rule: Rule) -> None:
    """A023 A066: one below is refused; at the bound and above it holds."""
    policy = Threshold(2, (key(1), leaf))
    for step in (-1, 0, 1):
        assert spending(policy, height=100 + step, time=1_000 + step) is (rule if step < 0 else None)


def test_a_lower_height_closes_a_lock_again() -> None:
    """A023: as after a reorg; nothing is remembered."""
    policy = Threshold(2, (key(1), AfterHeight(100)))
    assert [spending(policy, height=h) for h in (100, 99, 100)] == [None, Rule.AFTER_HEIGHT, None]


def test_older_asks_each_coin_at_the_lock() -> None:
    policy = Threshold(2, (key(1), Older(10)))
    made = Output(Amount(10), policy_id(policy), None)
    coins = {outpoint(1): Coin(made, 80, False), outpoint(2): Coin(made, 91, False)}
    tx = spend(coins, [pay(2, 20)], {policy_id(policy): policy})
    check_spends(REGTEST, SpendContext(101, 0), tx, coins)
    with pytest.raises(ConsensusError) as error:
        check_spends(REGTEST, SpendContext(100, 0), tx, coins)
    assert error.value.rule is Rule.OLDER


def test_pays_looks_at_the_output_beside_the_input() -> None:
    policy = Threshold(2, (key(1), Pays(lock(3))))
    assert spending(policy, [pay(3, 100)]) is None
    assert spending(policy, [pay(3, 99)]) is Rule.PAYS
    assert spending(policy, [pay(4, 100)]) is Rule.PAYS
    assert spending(policy, [pay(2, 1), pay(3, 100)]) is Rule.PAYS
    assert spending(policy, [replace(pay(3, 100), asset=AssetId(b"g" * 32))]) is Rule.PAYS
    made = Output(Amount(10), policy_id(policy), None)
    coins = {outpoint(1): Coin(made, 1, False), outpoint(2): Coin(made, 1, False)}
    short = spend(coins, [pay(3, 20)], {policy_id(policy): policy})
    with pytest.raises(ConsensusError) as error:
        check_spends(REGTEST, SpendContext(100, 0), short, coins)
    assert str(error.value) == "pays: place=1, why=no output beside the input"
    low = spend(coins, [pay(3, 10), pay(3, 9)], {policy_id(policy): policy})
    with pytest.raises(ConsensusError) as error:
        check_spends(REGTEST, SpendContext(100, 0), low, coins)
    assert str(error.value) == "pays: place=1, why=another lock or asset, or less"
    whole = spend(coins, [pay(3, 10), pay(3, 10)], {policy_id(policy): policy})
    assert verify_all(check_spends(REGTEST, SpendContext(100, 0), whole, coins)) is None


def test_a_vault_is_one_policy() -> None:
    """The design's own example: the hot key may only start an unvaulting, the cold key may always spend."""
    hot, cold = key(1), key(2)
    unvault = Threshold(1, (Threshold(2, (hot, Older(10))), cold))
    vault = Threshold(1, (Threshold(2, (hot, Pays(policy_id(unvault)))), cold))
    coins = {OUT: Coin(Output(Amount(100), policy_id(vault), None), 1, False)}

    def attempt(known: set[bytes], outputs: list[Output]) -> Rule | None:
        shown = reveal(vault, lambda leaf: not isinstance(leaf, Key) or leaf.key in known)
        assert shown is not None
        try:
            tx = spend(coins, outputs, {policy_id(vault): shown})
            check_spends(REGTEST, SpendContext(100, 0), tx, coins)
        except ConsensusError as error:
            return error.rule
        return None

    assert attempt({hot.key}, [pay(5, 100)]) is Rule.PAYS
    assert attempt({hot.key}, [Output(Amount(100), policy_id(unvault), None)]) is None
    assert attempt({cold.key}, [pay(5, 100)]) is None


@given(trees)
def test_what_can_be_revealed_can_be_satisfied(policy: Policy) -> None:
    def holds(leaf: Leaf) -> bool:
        return not isinstance(leaf, Preimage) and not (isinstance(leaf, Key) and leaf.key not in SECRETS)

    shown = reveal(policy, holds)
    if shown is None:
        return
    keys = [node for node in walk(shown) if isinstance(node, Key)]
    if len(set(keys)) < len(keys):
        assert shape_of(shown) is Rule.POLICY_DUPLICATE_KEY
        return
    witness = satisfy(shown, lambda public: bytes(64), {})
    assert policy_id(witness.policy) == policy_id(policy)
    assert (len(witness.satisfactions), len(encode(witness))) == witness_cost(shown)
    check_witness(witness)


def test_a_policy_that_cannot_be_satisfied_is_not_revealed() -> None:
    assert reveal(Threshold(2, (key(1), key(2))), lambda leaf: leaf == key(1)) is None
    assert reveal(Opaque(lock(1)), lambda leaf: True) is None
    assert reveal(Threshold(1, (key(1), key(2))), lambda leaf: leaf == key(2)) == Threshold(
        1, (Opaque(lock(1)), key(2))
    )


def test_the_way_with_fewest_signatures_is_revealed() -> None:
    """Of ways with as many, the first; preimages and time locks cost no signature."""
    two, one, none = Threshold(2, (key(1), key(2))), Threshold(1, (key(3), key(4))), AfterHeight(1)

    def way(*children: Policy) -> Policy | None:
        return reveal(Threshold(1, children), lambda leaf: True)

    def only(place: int, *children: Policy) -> Policy:
        return Threshold(1, tuple(each if n == place else Opaque(policy_id(each)) for n, each in enumerate(children)))

    shown = Threshold(1, (key(3), Opaque(policy_id(key(4)))))
    assert way(two, one) == Threshold(1, (Opaque(policy_id(two)), shown))
    assert way(one, two) == Threshold(1, (shown, Opaque(policy_id(two))))
    assert way(two, key(5), none) == only(2, two, key(5), none)
    assert way(key(6), key(5)) == only(0, key(6), key(5))
    both = Threshold(2, (none, Preimage(bytes(32))))
    assert way(key(5), both) == only(1, key(5), both)
    assert reveal(Threshold(2, (two, key(5), none)), lambda leaf: True) == Threshold(
        2, (Opaque(policy_id(two)), key(5), none)
    )


@pytest.mark.parametrize(
    ("policy", "signatures"),
    [
        (key(1), 1),
        (Preimage(bytes(32)), 0),
        (AfterHeight(7), 0),
        (Threshold(3, (key(1), Preimage(bytes(32)), key(2), Opaque(lock(3)))), 2),
    ],
)
def test_a_witness_costs_what_it_takes(policy: Policy, signatures: int) -> None:
    given = tuple(
        bytes(64 if isinstance(node, Key) else 32) for node in walk(policy) if isinstance(node, (Key, Preimage))
    )
    assert witness_cost(policy) == (signatures, len(encode(Witness(policy, given))))


def test_a_witness_is_made_of_signatures_and_preimages_in_pre_order() -> None:
    hashes = {sha256(bytes([n]) * 32).digest(): bytes([n]) * 32 for n in (1, 2)}
    first, second = map(Preimage, hashes)
    policy = Threshold(4, (first, key(1), Threshold(1, (second,)), AfterHeight(3)))
    witness = satisfy(policy, lambda public: public + bytes(31), hashes)
    assert witness == Witness(policy, (b"\x01" * 32, key(1).key + bytes(31), b"\x02" * 32))
    with pytest.raises(KeyError):
        satisfy(policy, lambda public: bytes(64), {})


def test_names_of_outpoints_do_not_matter_to_a_policy() -> None:
    assert policy_id(key(1)) == lock(1) != policy_id(key(2))
    assert OutPoint(OUT.txid, 0) == OUT
