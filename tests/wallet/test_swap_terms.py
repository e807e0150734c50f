"""The file that two who swap across networks agree by: one form, and nothing in it can be changed unseen."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest
from msgspec.structs import replace

from consensus.signatures import public_key, sign
from consensus.types import Amount, AssetId, BlockHash
from wallet.swaps.errors import SwapError, SwapRule
from wallet.swaps.frame import MAX_SWAP_SIZE, FileKind, write_frame
from wallet.swaps.terms import MIN_GRAIN, Leg, Terms, accept, margin_of, propose, read_terms, write_terms

ANN, BOB, EVE = (bytes([n]) * 32 for n in (1, 2, 3))
ANNS, BOBS, EVES = map(public_key, (ANN, BOB, EVE))
SPARE = public_key(bytes([4]) * 32)
FIRST = Leg(BlockHash(b"N" * 32), 5, AssetId(b"a" * 32), Amount(100), ANNS, None, 2_000_000_000)
SECOND = Leg(BlockHash(b"S" * 32), 10, None, Amount(MIN_GRAIN), None, ANNS, 2_000_000_000 - 360)
DIGEST = sha256(bytes(32)).digest()


def signer(key: bytes) -> Callable[[bytes], bytes]:
    return lambda digest: sign(key, digest)


def proposal(first: Leg = FIRST, second: Leg = SECOND) -> Terms:
    return propose(first, second, DIGEST, signer(ANN))


def accepted() -> Terms:
    return accept(proposal(), BOBS, BOBS, signer(BOB))


def rule_of(raw: bytes) -> SwapRule:
    with pytest.raises(SwapError) as refused:
        read_terms(raw)
    assert str(refused.value).startswith(f"{refused.value.rule}: ")
    return refused.value.rule


def resealed(raw: bytes) -> bytes:
    """A file that was changed, with a checksum that fits."""
    return raw[:-32] + sha256(raw[:-32]).digest()


@pytest.mark.parametrize("terms", [proposal(), accepted()])
def test_a_file_is_read_as_it_was_written(terms: Terms) -> None:
    assert read_terms(write_terms(terms)) == terms


def test_a_file_that_is_none_is_refused_by_name() -> None:
    raw = write_terms(accepted())
    assert rule_of(b"") is SwapRule.SIZE
    assert rule_of(raw + bytes(MAX_SWAP_SIZE + 1 - len(raw))) is SwapRule.SIZE
    assert rule_of(b"durepsdt" + raw[8:]) is SwapRule.MAGIC
    assert rule_of(resealed(raw[:8] + b"\x02" + raw[9:])) is SwapRule.VERSION
    assert rule_of(resealed(raw[:9] + b"\x07" + raw[10:])) is SwapRule.VERSION
    assert rule_of(raw[:-1] + bytes([raw[-1] ^ 1])) is SwapRule.CHECKSUM
    assert rule_of(resealed(raw[:10] + b"\xc0" + raw[-32:])) is SwapRule.MALFORMED
    # The array's length in three bytes instead of one: the same values, another file.
    assert rule_of(resealed(raw[:10] + b"\xdc\x00\x05" + raw[11:])) is SwapRule.MALFORMED
    assert rule_of(write_frame(FileKind.OFFER, accepted())) is SwapRule.MALFORMED


@pytest.mark.parametrize("place", range(10, 700, 23))
def test_a_bit_that_flips_on_the_way_is_noticed_and_so_is_one_that_was_flipped_with_care(place: int) -> None:
    raw = write_terms(accepted())
    place = min(place, len(raw) - 33)
    flipped = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
    assert rule_of(flipped) is SwapRule.CHECKSUM
    assert rule_of(resealed(flipped)) in {SwapRule.SIGNATURE, SwapRule.MALFORMED, SwapRule.TERMS, SwapRule.TIMES}


CHANGES: list[Callable[[Terms], Terms]] = [
    lambda terms: replace(terms, first=replace(terms.first, amount=Amount(99))),
    lambda terms: replace(terms, first=replace(terms.first, asset=AssetId(b"b" * 32))),
    lambda terms: replace(terms, first=replace(terms.first, asset=None, amount=Amount(MIN_GRAIN))),
    lambda terms: replace(terms, first=replace(terms.first, refund_at=terms.first.refund_at + 1)),
    lambda terms: replace(terms, first=replace(terms.first, genesis=BlockHash(b"X" * 32))),
    lambda terms: replace(terms, first=replace(terms.first, spacing=4)),
    lambda terms: replace(terms, first=replace(terms.first, payer=EVES)),
    lambda terms: replace(terms, second=replace(terms.second, amount=Amount(MIN_GRAIN + 1))),
    lambda terms: replace(terms, second=replace(terms.second, refund_at=terms.second.refund_at - 1)),
    lambda terms: replace(terms, second=replace(terms.second, receiver=EVES)),
    lambda terms: replace(terms, digest=sha256(b"another").digest()),
]
TAKERS_CHANGES: list[Callable[[Terms], Terms]] = [
    lambda terms: replace(terms, first=replace(terms.first, receiver=EVES)),
    lambda terms: replace(terms, second=replace(terms.second, payer=EVES)),
]


@pytest.mark.parametrize("change", CHANGES)
def test_whoever_changes_a_proposal_on_its_way_is_found_out(change: Callable[[Terms], Terms]) -> None:
    """Amount, asset, network, pace, times, keys, hash: also after it was accepted."""
    for terms in (proposal(), accepted()):
        assert rule_of(write_terms(change(terms))) is SwapRule.SIGNATURE


@pytest.mark.parametrize("change", TAKERS_CHANGES)
def test_whoever_changes_the_takers_keys_is_found_out(change: Callable[[Terms], Terms]) -> None:
    assert rule_of(write_terms(change(accepted()))) is SwapRule.SIGNATURE


def test_the_second_lock_ends_well_before_the_first_to_the_second() -> None:
    """The taker needs that time, if the proposer claims at the last moment."""
    assert margin_of(5, 10) == 360
    assert proposal().margin == 360
    with pytest.raises(SwapError) as refused:
        proposal(second=replace(SECOND, refund_at=SECOND.refund_at + 1))
    assert refused.value.rule is SwapRule.TIMES
    forged = replace(proposal(), second=replace(SECOND, refund_at=SECOND.refund_at + 1))
    assert rule_of(write_terms(forged)) is SwapRule.TIMES


def test_terms_that_make_no_sense_are_not_signed() -> None:
    for first, second in (
        (replace(FIRST, genesis=SECOND.genesis), SECOND),
        (replace(FIRST, payer=None), SECOND),
        (FIRST, replace(SECOND, receiver=None)),
        (replace(FIRST, receiver=BOBS), SECOND),
        (FIRST, replace(SECOND, amount=Amount(MIN_GRAIN - 1))),
    ):
        with pytest.raises(SwapError) as refused:
            proposal(first, second)
        assert refused.value.rule is SwapRule.TERMS


def test_nobody_swaps_with_himself_and_nothing_is_accepted_twice() -> None:
    with pytest.raises(SwapError) as refused:
        accept(proposal(), ANNS, BOBS, signer(BOB))
    assert refused.value.rule is SwapRule.TERMS
    with pytest.raises(SwapError) as refused:
        accept(accepted(), SPARE, SPARE, signer(EVE))
    assert refused.value.rule is SwapRule.NOT_ACCEPTED
