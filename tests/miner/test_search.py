"""The search finds what there is, tries each nonce once, and keeps to its rate."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from consensus.hashing import hash256
from consensus.pow import check_proof_of_work, target_from_bits
from consensus.types import BlockHash, Header
from miner.search import MAX_CREDIT, SLICE, SLICES_PER_SECOND, Pace, search, skip

EASY, MIDDLE, HARD = 0x207FFFFF, 0x1F00FFFF, 0x1D00FFFF
HEADER = Header(1, BlockHash(bytes(range(32))), bytes(range(32, 64)), 1_800_000_000, EASY, 0)


def place(nonce: int) -> int:
    """Where a nonce stands in the order of the search."""
    return int.from_bytes(nonce.to_bytes(4, "little"), "big")


def nonce_at(number: int) -> int:
    return int.from_bytes((number % 2**32).to_bytes(4, "big"), "little")


def plainly(header: Header, tries: int) -> Header | None:
    """The search, as anybody would write it."""
    target = target_from_bits(header.bits)
    for number in range(place(header.nonce), place(header.nonce) + tries):
        tried = replace(header, nonce=nonce_at(number))
        if int.from_bytes(hash256(tried.encoded), "little") <= target:
            return tried
    return None


@given(
    version=st.integers(0, 2**32 - 1),
    root=st.binary(min_size=32, max_size=32),
    start=st.one_of(st.integers(0, 2**32 - 1), st.integers(65_500, 65_600), st.integers(2**32 - 300, 2**32 - 1)),
    tries=st.integers(0, 600),
    bits=st.sampled_from([EASY, 0x2000FFFF, 0x2100FFFF, 0x20010000]),
)
def test_it_finds_what_a_plain_search_finds(version: int, root: bytes, start: int, tries: int, bits: int) -> None:
    header = Header(version, BlockHash(bytes(32)), root, 7, bits, nonce_at(start))
    found = search(header, tries)
    assert found == plainly(header, tries)
    if found is not None:
        check_proof_of_work(found)


def test_slices_one_after_the_other_try_what_one_long_search_tries() -> None:
    header = replace(HEADER, bits=MIDDLE)
    whole = search(header, 400_000)
    assert whole is not None
    found, tried = None, 0
    while found is None:
        found = search(header, 7_001)
        header = replace(header, nonce=skip(header.nonce, 7_001))
        tried += 7_001
    assert found == whole
    assert tried - 7_001 <= place(whole.nonce) < tried


@given(start=st.integers(0, 2**32 - 1), tries=st.integers(0, 2**33))
def test_skipping_goes_on_where_so_many_tries_end(start: int, tries: int) -> None:
    assert place(skip(nonce_at(start), tries)) == (start + tries) % 2**32


def test_bits_that_name_no_target_find_nothing() -> None:
    assert search(replace(HEADER, bits=0), 100) is None
    assert search(replace(HEADER, bits=0x20800001), 100) is None


def test_ids_on_both_sides_of_a_target_within_one_first_byte_are_told_apart() -> None:
    """A044: the quick look at the highest byte lets through what it must, and decides nothing."""
    bits = 0x2012_8000  # a target of 0x1280..00
    within, beyond = 0, 0
    for nonce in range(4_000):
        header = replace(HEADER, nonce=nonce, bits=bits)
        found = search(header, 1)
        assert found == plainly(header, 1)
        if header.hash[31] == 0x12:
            within, beyond = within + (found is not None), beyond + (found is None)
    assert within > 0
    assert beyond > 0


def test_the_work_of_real_bitcoin_headers_is_found_where_it_is(vectors: Path) -> None:
    """A search that begins some tries before the published nonce ends at it."""
    lines = (vectors / "headers" / "mainnet_alt_headers.hex").read_text().split()
    assert lines
    for line in lines[:40]:
        header = Header.from_bytes(bytes.fromhex(line))
        before = replace(header, nonce=nonce_at(place(header.nonce) - 5))
        assert search(before, 5) is None
        assert search(before, 6) == header


# The rate


class _Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("rate", [1, 7, 1_000, 20_000, 300_000])
@pytest.mark.parametrize("oversleep", [0.0, 0.004, 0.03])
def test_the_rate_is_kept_within_five_percent(rate: int, oversleep: float) -> None:
    """However long the system makes each pause: later ones are shorter. Hashing itself takes time, too."""
    chance = random.Random(rate)
    time = _Time()
    pace = Pace(rate, time)
    began, tried = time.now, 0
    while time.now - began < max(20.0, 30 / rate):
        time.now += pace.slice * 1.2e-6
        pause = pace.pause(pace.slice)
        tried += pace.slice
        time.now += pause + (chance.random() * oversleep if pause else 0.0)
    assert 0.95 * rate <= tried / (time.now - began) <= 1.05 * rate


def test_a_rate_beyond_the_machine_never_rests() -> None:
    time = _Time()
    pace = Pace(10_000_000, time)
    for _ in range(100):
        time.now += pace.slice * 1e-6
        assert pace.pause(pace.slice) == 0.0


def test_a_miner_that_stood_still_does_not_run_ahead_afterwards() -> None:
    time = _Time()
    pace = Pace(1_000, time)
    pace.pause(pace.slice)
    time.now += 3_600.0
    free = 0
    while pace.pause(pace.slice) == 0.0:
        free += pace.slice
    assert free <= MAX_CREDIT * 1_000


def test_slices_are_short() -> None:
    """20 ms at most without a cap, and 50 ms of the rate with one: a new tip never waits longer."""
    time = _Time()
    assert Pace(0, time).slice == SLICE
    assert Pace(0, time).pause(SLICE) == 0.0
    assert Pace(20_000, time).slice == 20_000 // SLICES_PER_SECOND
    assert Pace(3, time).slice == 1
    assert Pace(10**12, time).slice == SLICE
