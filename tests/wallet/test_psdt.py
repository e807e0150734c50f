"""Partially signed transactions as files: what is written is read, and everything else is refused by name."""

from __future__ import annotations

from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from consensus.codec import encode, lock_digest
from consensus.params import LOCAL
from consensus.signatures import sign
from consensus.spend_policy import policy_id, walk
from consensus.state import SpendContext
from consensus.types import (
    Amount,
    AssetId,
    Burn,
    LockId,
    Older,
    Opaque,
    Output,
    Pays,
    Policy,
    Preimage,
    Reissue,
    Threshold,
)
from tests.consensus.test_spend_policy import trees
from tests.support.rules import core, key, outpoint, pay, secret
from tests.support.wallets import PARAMS
from wallet.cosigning import IncompleteError, finalise, lacks
from wallet.psdt import (
    MAGIC,
    MAX_FILE_SIZE,
    VERSION,
    Part,
    PartName,
    Psdt,
    PsdtError,
    PsdtRule,
    SpentCoin,
    new_psdt,
    read_psdt,
    write_psdt,
)
from wallet.psdt_joining import combine, with_policy, with_satisfactions
from wallet.spend_policies.branches import branches_of, keys_of, pays_of

SECRET = b"s" * 32
HASH = sha256(SECRET).digest()
LEFT, RIGHT = Threshold(2, (key(1), key(2))), Threshold(2, (key(3), Preimage(HASH)))
POLICY = Threshold(1, (LEFT, RIGHT))
LOCK = policy_id(POLICY)


def coin_at(policy: Policy, value: int = 1_000, height: int | None = 5) -> SpentCoin:
    return SpentCoin(Output(Amount(value), policy_id(policy), None), height, False)


def unsigned(*coins: SpentCoin) -> Psdt:
    coins = coins or (coin_at(POLICY), coin_at(key(9), 500), coin_at(POLICY, 70, None))
    inputs = [outpoint(number) for number in range(1, len(coins) + 1)]
    return new_psdt(PARAMS, core(inputs, [pay(4, 1_200), pay(5, 300)]), coins)


def signatures(psdt: Psdt, lock: LockId, *numbers: int) -> dict[bytes, bytes]:
    digest = lock_digest(psdt.message, lock)
    return {key(number).key: sign(secret(number), digest) for number in numbers}


def full() -> Psdt:
    psdt = with_policy(with_policy(unsigned(), POLICY), key(9))
    psdt = with_satisfactions(psdt, PartName(LOCK), signatures(psdt, LOCK, 1, 3), {HASH: SECRET})
    return with_satisfactions(psdt, PartName(policy_id(key(9))), signatures(psdt, policy_id(key(9)), 9), {})


RAW = write_psdt(full())


def sealed(body: bytes, head: bytes = MAGIC + bytes([VERSION])) -> bytes:
    """A file around any body, its checksum right."""
    return head + body + sha256(head + body).digest()


def rule_of(raw: bytes) -> PsdtRule | None:
    try:
        read_psdt(PARAMS, raw)
    except PsdtError as error:
        assert str(error).startswith(f"{error.rule}: ")
        return error.rule
    return None


def test_a_file_is_read_as_it_was_written_and_has_one_form() -> None:
    assert read_psdt(PARAMS, RAW) == full()
    assert write_psdt(read_psdt(PARAMS, RAW)) == RAW
    assert read_psdt(PARAMS, write_psdt(unsigned())) == unsigned()
    assert full().fee == 70


def test_every_truncation_is_refused() -> None:
    assert {rule_of(RAW[:size]) for size in range(len(RAW))} == {PsdtRule.SIZE, PsdtRule.CHECKSUM}
    assert rule_of(RAW + b"\0") is PsdtRule.CHECKSUM


def test_every_flipped_bit_is_refused() -> None:
    rules = set()
    for place in range(len(RAW)):
        for bit in range(8):
            rules.add(rule_of(RAW[:place] + bytes([RAW[place] ^ 1 << bit]) + RAW[place + 1 :]))
    assert rules == {PsdtRule.MAGIC, PsdtRule.VERSION, PsdtRule.CHECKSUM}


def test_every_flipped_bit_under_a_new_checksum_is_refused_or_signs_nothing_else() -> None:
    """Whoever alters a file can mend its checksum, but not the signatures in it (A161).

    What is not signed, such as a coin's height, only tells when a branch is due: the rules judge that again.
    """
    body, told = RAW[len(MAGIC) + 1 : -32], full()
    for place in range(len(body)):
        for bit in (0, 3, 7):
            raw = sealed(body[:place] + bytes([body[place] ^ 1 << bit]) + body[place + 1 :])
            try:
                read = read_psdt(PARAMS, raw)
            except PsdtError:
                continue
            assert (read.core, read.spent, read.parts) == (told.core, told.spent, told.parts)


@given(st.binary(max_size=400))
def test_no_bytes_bring_it_down(body: bytes) -> None:
    assert rule_of(sealed(body)) is not None
    assert rule_of(body) is not None


NESTED = b"\x93\x05\x01\x91" * 100_000


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd\xff\xff\xff\xff\x00",
        b"\x94\xc6\xff\xff\xff\xff\x00",
        b"\xdf\xff\xff\xff\xff\x00",
        b"\xdb\xff\xff\xff\xff\x00",
        b"\x91" * 100_000,
        b"\x94\xc4\x20"
        + bytes(32)
        + b"\x96\x01\x90\x90\x90\x90\xc4\x00\x90\x91\x95\xc4\x20"
        + bytes(32)
        + b"\xc0"
        + NESTED,
        b"\x81" * 50_000,
        b"",
    ],
)
def test_a_bomb_is_refused_before_it_goes_off(bomb: bytes) -> None:
    assert rule_of(sealed(bomb)) in {PsdtRule.MALFORMED, PsdtRule.SIZE}


def test_the_size_is_bounded_on_both_sides() -> None:
    padding = MAX_FILE_SIZE - len(sealed(b""))
    assert rule_of(sealed(b"\xc0" * padding)) is PsdtRule.MALFORMED
    assert rule_of(sealed(b"\xc0" * (padding + 1))) is PsdtRule.SIZE
    huge = unsigned(*[coin_at(Older(blocks)) for blocks in range(1, 600)])
    stuffed = tuple([replace(part, preimages=((HASH, SECRET),) * 64) for part in huge.parts])
    with pytest.raises(PsdtError) as refused:
        write_psdt(replace(huge, parts=stuffed))
    assert refused.value.rule is PsdtRule.SIZE


def altered(**fields: object) -> bytes:
    return sealed(encode(replace(full(), **fields)))


def first_part(**fields: object) -> bytes:
    part, *others = full().parts
    return altered(parts=(replace(part, **fields), *others))


def first_coin(**fields: object) -> bytes:
    coin, *others = full().coins
    return altered(coins=(replace(coin, output=replace(coin.output, **fields)), *others))


ASSET = AssetId(bytes(32))
OTHER_WAY = Threshold(1, (RIGHT, LEFT))


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (sealed(RAW[9:-32], b"durepsdx\x02"), PsdtRule.MAGIC),
        (sealed(RAW[9:-32], MAGIC + b"\x01"), PsdtRule.VERSION),
        (sealed(RAW[9:-32], MAGIC + b"\x03"), PsdtRule.VERSION),
        (sealed(RAW[9:-32] + b"\xc0"), PsdtRule.MALFORMED),
        (sealed(b"\xdc\x00\x04" + RAW[10:-32]), PsdtRule.MALFORMED),
        (sealed(encode((*msgspec.structs.astuple(full()), None))), PsdtRule.MALFORMED),
        (sealed(encode(msgspec.structs.astuple(full())[:-1])), PsdtRule.MALFORMED),
        (altered(genesis=LOCAL.genesis_hash), PsdtRule.NETWORK),
        (altered(coins=full().coins[:-1]), PsdtRule.COINS),
        (altered(coins=(), parts=(), core=core([], [pay(1, 1)])), PsdtRule.COINS),
        (altered(parts=full().parts[::-1]), PsdtRule.PARTS),
        (altered(parts=full().parts[:1]), PsdtRule.PARTS),
        (altered(parts=(*full().parts, full().parts[0])), PsdtRule.PARTS),
        (first_part(asset=ASSET), PsdtRule.PARTS),
        (first_coin(asset=ASSET), PsdtRule.BALANCE),
        (altered(core=replace(full().core, outputs=(replace(pay(4, 1_500), asset=ASSET),))), PsdtRule.BALANCE),
        (altered(core=replace(full().core, burns=(Burn(ASSET, Amount(1)),))), PsdtRule.BALANCE),
        (altered(core=replace(full().core, issuances=(Reissue(ASSET, Amount(1)),))), PsdtRule.BALANCE),
        (first_part(policy=OTHER_WAY), PsdtRule.POLICY),
        (first_part(policy=Opaque(LOCK)), PsdtRule.POLICY),
        (first_part(policy=Threshold(3, (LEFT, RIGHT))), PsdtRule.POLICY),
        (first_part(policy=None), PsdtRule.ORDER),
        (first_part(signatures=full().parts[0].signatures[::-1]), PsdtRule.ORDER),
        (first_part(signatures=full().parts[0].signatures[:1] * 2), PsdtRule.ORDER),
        (first_part(preimages=full().parts[0].preimages * 2), PsdtRule.ORDER),
        (first_part(signatures=tuple(signatures(full(), LOCK, 9).items())), PsdtRule.ORDER),
        (first_part(preimages=((sha256(bytes(32)).digest(), bytes(32)),)), PsdtRule.ORDER),
        (first_part(preimages=((HASH, bytes(32)),)), PsdtRule.BAD_PREIMAGE),
        (first_part(signatures=tuple(signatures(full(), policy_id(key(9)), 1).items())), PsdtRule.BAD_SIGNATURE),
        (first_part(signatures=((key(1).key, bytes(64)),)), PsdtRule.BAD_SIGNATURE),
        (first_part(signatures=((key(1).key, bytes(63)),)), PsdtRule.MALFORMED),
        (altered(core=replace(full().core, memo=b"x")), PsdtRule.BAD_SIGNATURE),
        (altered(core=replace(full().core, outputs=(pay(4, 1_201), pay(5, 300)))), PsdtRule.BAD_SIGNATURE),
        (first_coin(value=999), PsdtRule.BAD_SIGNATURE),
    ],
)  # fmt: skip
def test_each_rule_is_broken_by_name(raw: bytes, rule: PsdtRule) -> None:
    assert rule_of(raw) is rule


def test_no_file_is_made_that_makes_or_loses_an_asset() -> None:
    """A161, A154: each asset is in balance for itself, or nobody is asked to sign."""
    (coin, *_), inputs = full().coins, [outpoint(1)]
    with pytest.raises(PsdtError) as refused:
        new_psdt(PARAMS, core(inputs, [pay(1, 1)]), (replace(coin, output=replace(coin.output, asset=ASSET)),))
    assert refused.value.rule is PsdtRule.BALANCE
    with pytest.raises(PsdtError):
        new_psdt(PARAMS, core(inputs, [replace(pay(1, 1), asset=ASSET)]), (coin,))


def test_too_many_signatures_are_refused_before_any_is_verified() -> None:
    keys = [key(n) for n in range(1, 17)]
    policies = [Threshold(1, (*keys[:15], Pays(LockId(n.to_bytes(32, "big"))))) for n in range(70)]
    psdt = unsigned(*map(coin_at, policies))
    for policy in policies:
        psdt = with_policy(psdt, policy)
        psdt = with_satisfactions(psdt, PartName(policy_id(policy)), {each.key: bytes(64) for each in keys[:15]}, {})
    assert rule_of(write_psdt(psdt)) is PsdtRule.SIGNATURES


def test_files_of_one_transaction_are_put_together_in_any_order() -> None:
    bare = unsigned()
    left = Threshold(1, (LEFT, Opaque(policy_id(RIGHT))))
    right = Threshold(1, (Opaque(policy_id(LEFT)), RIGHT))
    one = with_policy(bare, left)
    one = with_satisfactions(one, PartName(LOCK), signatures(one, LOCK, 1), {})
    two = with_policy(bare, right)
    two = with_satisfactions(two, PartName(LOCK), signatures(two, LOCK, 3), {HASH: SECRET})
    three = with_policy(bare, key(9))
    three = with_satisfactions(three, PartName(policy_id(key(9))), signatures(three, policy_id(key(9)), 9), {})
    for files in ([one, two, three], [three, two, one], [bare, two, three, one, one]):
        assert combine(files) == full()
    assert combine([bare]) == bare


def test_files_of_different_transactions_are_not_put_together() -> None:
    for other in (
        replace(unsigned(), core=replace(unsigned().core, memo=b"x")),
        unsigned(coin_at(POLICY), coin_at(key(9), 501), coin_at(POLICY, 70)),
        replace(unsigned(), genesis=LOCAL.genesis_hash),
    ):
        with pytest.raises(PsdtError) as refused:
            combine([unsigned(), other])
        assert refused.value.rule is PsdtRule.DIFFERENT
    with pytest.raises(PsdtError) as refused:
        with_policy(unsigned(), key(7))
    assert refused.value.rule is PsdtRule.POLICY


def test_a_part_may_name_each_kind_of_leaf() -> None:
    for policy in (key(1), Preimage(HASH), Older(3), Pays(LOCK), Threshold(1, (key(1), Opaque(LOCK)))):
        psdt = with_policy(unsigned(coin_at(policy)), policy)
        assert read_psdt(PARAMS, write_psdt(psdt)).parts == (Part(policy_id(policy), None, policy, (), ()),)


@given(trees, st.sets(st.integers(1, 9)), st.booleans(), st.booleans(), st.sampled_from([100, 2**32]))
def test_a_file_is_finished_exactly_when_nothing_is_said_to_be_missing(
    policy: Policy, who: set[int], shown: bool, pays: bool, height: int
) -> None:
    """Whatever is finished the rules accept; whatever is not, lacks something in every branch."""
    lock = policy_id(policy)
    coin = coin_at(policy)
    targets = pays_of(policy) if pays else ()
    outputs = [Output(Amount(1_000), targets[0], None)] if targets else [pay(4, 900)]
    psdt = with_policy(new_psdt(PARAMS, core([outpoint(1)], outputs), (coin,)), policy)
    named = [number for number in who if key(number).key in keys_of(policy)]
    asked = {node.hash for node in walk(policy) if isinstance(node, Preimage)}
    secrets = {HASH: SECRET} if shown and HASH in asked else {}
    psdt = with_satisfactions(psdt, PartName(lock), signatures(psdt, lock, *named), secrets)
    context = SpendContext(height, 2**32)
    complete = any(lack.nothing for lack in lacks(psdt, psdt.parts[0], context))
    try:
        finalise(PARAMS, psdt, context, {})
    except IncompleteError:
        assert not complete or not branches_of(policy).complete
    else:
        assert complete or not branches_of(policy).complete
