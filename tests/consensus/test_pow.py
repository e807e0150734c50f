"""Work, targets and difficulty against published data, and at the edges of their integers."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.codec import decode_header
from consensus.errors import ConsensusError, Rule
from consensus.params import LOCAL, MAIN, NETWORKS, REGTEST, Params, local_params, sim_params
from consensus.pow import (
    Anchor,
    asert_target,
    bits_from_target,
    check_proof_of_work,
    next_bits,
    target_from_bits,
    work_of_bits,
)
from consensus.state import ChainState, genesis_state
from consensus.types import Header
from consensus.validation import check_header
from tests.support.rules import find_nonce, mine

LIMIT = target_from_bits(0x1D00FFFF)


def rule_of(header: Header, parent: ChainState) -> Rule | None:
    try:
        check_header(REGTEST, header, parent)
    except ConsensusError as error:
        return error.rule
    return None


@pytest.mark.parametrize("run", [f"run{n:02d}" for n in range(1, 13)])
def test_asert_gives_the_published_targets(vectors: Path, run: str) -> None:
    """A046: 14,000 lines, across the 32-bit and 64-bit limits, clamped as published."""
    text = (vectors / "asert" / run).read_text()
    facts = {
        name: int(value, 0) for name, value in re.findall(r"## +([a-zA-Z ]+): (0x[0-9a-f]+|\d+)$", text, re.MULTILINE)
    }
    reference = facts["anchor parent time"] + 600
    anchor_target = target_from_bits(facts["anchor nBits"])
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    assert lines
    for _, height, time, bits in lines:
        exact = asert_target(anchor_target, int(time) - reference, int(height) - facts["anchor height"], 600, 172_800)
        assert bits_from_target(min(exact, LIMIT)) == int(bits, 16)


def test_asert_truncates_toward_zero() -> None:
    """A046: one second early is a step of 0 at a long half-life, where a floor would be a step of -1."""
    target = 1 << 200
    assert asert_target(target, -1, 0, 600, 65536 * 2) == target
    assert asert_target(target, 1, 0, 600, 65536 * 2) == target
    assert asert_target(target, -2, 0, 600, 65536 * 2) < target


def test_asert_at_absurd_distances_stays_exact_and_bounded() -> None:
    """A046: differences of 2^31, 2^63 and beyond, both ways."""
    for far in (2**31, 2**32, 2**63, 2**80):
        assert asert_target(LIMIT, -far, 0, 60, 172_800) >= 1
        assert asert_target(LIMIT, far, 0, 60, 172_800) > LIMIT
        assert asert_target(LIMIT, 0, far, 60, 172_800) >= 1
        assert asert_target(LIMIT, 0, -far, 60, 172_800) > LIMIT
        assert asert_target(LIMIT, 60 * far, far, 60, 172_800) == LIMIT
        assert asert_target(LIMIT, -60 * far, -far, 60, 172_800) == LIMIT
    for halvings in (1, 17, 223, 300):
        assert asert_target(LIMIT, halvings * 172_800, 0, 60, 172_800) == LIMIT << halvings
        assert asert_target(LIMIT, -halvings * 172_800, 0, 60, 172_800) == max(1, LIMIT >> halvings)
    assert asert_target(LIMIT, -(2**63), 0, 60, 172_800) == 1


def test_asert_is_exact_up_to_512_doublings_past_its_factor() -> None:
    """Above that every target is past every limit, and is said to be 2^512 whatever it was measured from."""
    for anchor in (1, LIMIT):
        assert asert_target(anchor, 16 + 512, 0, 60, 1) == anchor << 16 + 512
        for doublings in (16 + 513, 10_000, 2**70):
            assert asert_target(anchor, doublings, 0, 60, 1) == 1 << 512
    assert asert_target(1 << 40, -40, 0, 60, 1) == asert_target(1 << 40, -41, 0, 60, 1) == 1


def test_the_anchor_moves_when_the_target_reaches_the_limit() -> None:
    """A network that slept for a night does not owe blocks: the next target is measured from the limit."""
    limit = target_from_bits(LOCAL.limit_bits)
    anchor = Anchor(1, 1_000_000, LOCAL.start_bits)
    bits, same = next_bits(LOCAL, anchor, 1, 1_000_000)
    assert (bits, same) == (LOCAL.start_bits, anchor)
    asleep = 1_000_000 + 12 * 3600
    bits, moved = next_bits(LOCAL, anchor, 2, asleep)
    assert (bits, moved) == (LOCAL.limit_bits, Anchor(2, asleep, LOCAL.limit_bits))
    on_time, _ = next_bits(LOCAL, moved, 3, asleep + LOCAL.spacing)
    assert target_from_bits(on_time) == limit
    early, unmoved = next_bits(LOCAL, moved, 3, asleep)
    assert target_from_bits(early) < limit
    assert unmoved == moved


def test_a_target_at_the_limit_to_the_unit_keeps_its_anchor() -> None:
    anchor = Anchor(1, 1_000_000, LOCAL.limit_bits)
    bits, kept = next_bits(LOCAL, anchor, 5, 1_000_000 + 4 * LOCAL.spacing)
    assert (bits, kept) == (LOCAL.limit_bits, anchor)


def test_regtest_never_retargets() -> None:
    state = genesis_state(REGTEST)
    for _ in range(20):
        block = mine(REGTEST, state, time=state.times[-1] + 10_000)
        state = check_header(REGTEST, block.header, state)
        assert block.header.bits == REGTEST.start_bits
        assert state.anchor is None


def test_published_headers_have_the_work_they_claim(vectors: Path) -> None:
    """A044 A045: real Bitcoin headers pass, linked, and none passes with its nonce changed."""
    text = (vectors / "headers" / "mainnet_alt_headers.hex").read_text().split()
    raw = bytes.fromhex("".join(text))
    headers = [decode_header(raw[i : i + 80]) for i in range(0, len(raw), 80)]
    assert len(headers) == 2017
    real = (vectors / "headers" / "blockheaders-mainnet-1-11.txt").read_text().split()
    for before, header in itertools.pairwise(headers):
        assert header.previous == before.hash
    assert headers[2016].bits == 0x1C3FFFC0
    for header in headers[1:] + [decode_header(bytes.fromhex(line)) for line in real]:
        check_proof_of_work(header)
        assert bits_from_target(target_from_bits(header.bits)) == header.bits
        other = Header(header.version, header.previous, header.merkle_root, header.time, header.bits, header.nonce ^ 1)
        with pytest.raises(ConsensusError) as error:
            check_proof_of_work(other)
        assert error.value.rule is Rule.HIGH_HASH


def test_a_hash_equal_to_the_target_passes_and_one_above_fails() -> None:
    """A044: the boundary itself, by choosing bits whose exact target is just at or below the hash."""
    header = find_nonce(Header(1, REGTEST.genesis_hash, bytes(32), 5, 0x207FFFFF, 0))
    value = int.from_bytes(header.hash, "little")
    # No header hashes to a chosen value, so the comparison is checked against the rounded target.
    at_most = bits_from_target(value)
    assert target_from_bits(at_most) <= value
    assert target_from_bits(at_most + 1) > value


def test_the_work_comparison_is_at_or_below() -> None:
    """A044: a target equal to the hash is enough."""

    class Fixed(Header, frozen=True, dict=True):
        pass

    target = target_from_bits(0x1D00FFFF)
    for value, passes in ((target, True), (target - 1, True), (target + 1, False)):
        header = Fixed(1, REGTEST.genesis_hash, bytes(32), 5, 0x1D00FFFF, 0)
        header.__dict__["hash"] = value.to_bytes(32, "little")
        if passes:
            check_proof_of_work(header)
        else:
            with pytest.raises(ConsensusError) as error:
                check_proof_of_work(header)
            assert error.value.rule is Rule.HIGH_HASH


@pytest.mark.parametrize(
    "bits", [0, 0x01003456, 0x04800001, 0x1D80FFFF, 0xFF123456, 0x23000100, 0x1D0000FF, 0x00000001]
)
def test_compact_forms_that_stand_for_no_target_are_refused(bits: int) -> None:
    """A045: zero, negative, overflowing and longer than needed."""
    assert target_from_bits(bits) == 0
    with pytest.raises(ConsensusError) as error:
        check_proof_of_work(Header(1, REGTEST.genesis_hash, bytes(32), 5, bits, 0))
    assert error.value.rule is Rule.BAD_BITS


@given(st.integers(1, 2**256 - 1))
def test_compact_form_rounds_down_and_is_stable(target: int) -> None:
    """A045: never above the target, within its 15 top bits, and its own round trip."""
    bits = bits_from_target(target)
    rounded = target_from_bits(bits)
    assert 0 < rounded <= target < rounded + (rounded >> 15) + 1
    assert bits_from_target(rounded) == bits


def test_work_is_the_expected_number_of_hashes() -> None:
    assert work_of_bits(0x207FFFFF) == 2
    assert work_of_bits(0x1D00FFFF) == 4_295_032_833
    assert round(work_of_bits(LOCAL.start_bits), -3) == 200_000


@pytest.mark.parametrize("difference", [-1, 1])
def test_bits_must_be_exactly_those_demanded(difference: int) -> None:
    """A044: one off in either direction is refused, even with more work."""
    state = genesis_state(REGTEST)
    good = mine(REGTEST, state).header
    bad = Header(1, good.previous, good.merkle_root, good.time, good.bits + difference, good.nonce)
    assert rule_of(bad, state) is Rule.BAD_BITS


def test_a_header_must_be_above_the_median_time() -> None:
    """A049: the median itself is too old, one second more is enough."""
    state = genesis_state(REGTEST)
    for n in range(12):
        state = check_header(REGTEST, mine(REGTEST, state, time=state.times[-1] + n + 1).header, state)
    assert len(state.times) == 11
    assert state.median_time == sorted(state.times)[5]
    assert rule_of(mine(REGTEST, state, time=state.median_time).header, state) is Rule.TIME_TOO_OLD
    assert rule_of(mine(REGTEST, state, time=state.median_time + 1).header, state) is None


def test_the_median_of_few_blocks_is_the_upper_one() -> None:
    """A049: sorted(times)[n // 2], genesis included."""
    state = genesis_state(REGTEST)
    start = state.median_time
    state = check_header(REGTEST, mine(REGTEST, state, time=start + 100).header, state)
    assert state.median_time == start + 100


def test_no_time_breaks_the_rules_before_2106() -> None:
    """A050: 2^31 and 2^32 - 1 are times like others; 2^32 does not fit a header, and the chain ends there."""
    state = genesis_state(REGTEST)
    for time in (2**31 - 1, 2**31, 2**32 - 1):
        state = check_header(REGTEST, mine(REGTEST, state, time=time).header, state)
    assert state.times[-1] == 2**32 - 1
    bits, _ = next_bits(LOCAL, Anchor(1, 0, LOCAL.start_bits), 2, 2**32 - 1)
    assert bits == LOCAL.limit_bits


def test_a_header_names_its_parent() -> None:
    """A051: previous = itself, or any block but the parent, is refused."""
    state = genesis_state(REGTEST)
    good = mine(REGTEST, state)
    after = check_header(REGTEST, good.header, state)
    assert rule_of(good.header, after) is Rule.BAD_PREVIOUS
    with pytest.raises(ConsensusError) as refused:
        check_header(REGTEST, good.header, after)
    assert str(refused.value) == f"bad-previous: previous={REGTEST.genesis_hash[::-1].hex()}"


@pytest.mark.parametrize("params", [REGTEST, sim_params(60, 0x207FFFFF, 0x207FFFFF)], ids=["regtest", "sim"])
def test_a_header_adds_itself_to_the_state(params: Params) -> None:
    """Its height, id, time and work; block 1 is the first anchor where targets move."""
    parent = genesis_state(params)
    for height in (1, 2, 3):
        header = mine(params, parent).header
        state = check_header(params, header, parent)
        assert (state.height, state.hash, state.work) == (height, header.hash, 2 * (height + 1))
        assert state.times == (*parent.times, header.time)
        if not params.retarget:
            assert state.anchor is None
        elif height == 1:
            assert state.anchor == Anchor(1, header.time, params.start_bits)
        parent = state


def test_a_target_has_at_most_256_bits() -> None:
    assert target_from_bits(0x2100FFFF) == 0xFFFF << 240
    for bits in (0x21010000, 0x2101FFFF, 0x21020000, 0x217FFFFF, 0x22000100, 0x220000FF, 0x230000FF, 0x24000001):
        assert target_from_bits(bits) == 0


@pytest.mark.parametrize("bits", [0, 0x207FFFFF | 0x800000, 0x21010000, 0x2300FFFF])
def test_bits_without_a_target_are_told_in_hex(bits: int) -> None:
    with pytest.raises(ConsensusError) as refused:
        check_proof_of_work(Header(1, REGTEST.genesis_hash, bytes(32), 0, bits, 0))
    assert str(refused.value) == f"bad-bits: bits={bits:08x}"


def test_a_second_genesis_is_no_block() -> None:
    """A051: the genesis block, offered as a block, builds on nothing."""
    state = genesis_state(REGTEST)
    assert rule_of(REGTEST.genesis.header, state) is Rule.BAD_PREVIOUS


def _mined(params_spacing: int, moves: list[tuple[float, int]]) -> tuple[int, int]:
    """Play (hash rate share at work, seconds added to the honest stamp) per block; return (work, last stamp)."""
    params = sim_params(params_spacing, 0x1E53E2D6, 0x1F014F8B)
    rng, now, work = random.Random(5), 0.0, 0
    anchor: Anchor | None = Anchor(1, 0, params.start_bits)
    time = 0
    rate = work_of_bits(params.start_bits) / params_spacing
    for height, (share, shift) in enumerate(moves, start=1):
        bits, anchor = next_bits(params, anchor, height, time)
        work += work_of_bits(bits)
        now += rng.expovariate(1.0) * work_of_bits(bits) / (rate * share)
        time = int(now) + shift
    return len(moves), int(now)


@pytest.mark.parametrize("share", [0.3, 0.45])
@pytest.mark.parametrize("pattern", ["future", "oscillating"])
def test_stamping_blocks_ahead_gains_next_to_nothing(share: float, pattern: str) -> None:
    """A047: a miner who stamps his blocks 2 minutes ahead, always or by turns, gains under 2 % of blocks.

    ASERT looks at the last stamp alone, so a lie lasts one block and is paid back by the next.
    """
    blocks, rng = 4_000, random.Random(7)
    honest = [(1.0, 0)] * blocks
    lies = [(1.0, 120 if rng.random() < share and (pattern == "future" or n % 2) else 0) for n in range(blocks)]
    _, plain = _mined(60, honest)
    _, gamed = _mined(60, lies)
    assert abs(plain - gamed) / plain < 0.02


def _branches(tree: dict[str, Any], before: list[int]) -> Iterator[list[int]]:
    times = before + [decode_header(bytes.fromhex(raw)).time for raw in tree["block_headers"]]
    for extension in tree.get("extensions", []):
        yield from _branches(extension, times)
    if not tree.get("extensions"):
        yield times


def test_published_timewarps_gain_nothing_here(vectors: Path) -> None:
    """A048: the stamps of each published timewarp and Murch-Zawy chain, under our difficulty rule.

    Those chains bend a retarget that looks at the ends of a period. Here the target after n blocks
    is the one of the clock at the last stamp, however the stamps before it were bent: no gain lasts.
    """
    params = sim_params(600, 0x1A00FFFF, 0x1D00FFFF)
    tree = json.loads((vectors / "cleanup" / "bip54_timestamps.json").read_text())
    branches = list(_branches(tree, []))
    assert len(branches) == 9
    for times in branches:
        anchor = start = Anchor(1, times[1], params.start_bits)
        bits = params.start_bits
        for height, time in enumerate(times[1:], start=1):
            exact = asert_target(
                target_from_bits(anchor.bits), time - anchor.time, height - anchor.height, 600, params.half_life
            )
            bits, moved = next_bits(params, anchor, height, time)
            assert moved is not None
            if exact <= LIMIT:
                assert (bits, moved) == (bits_from_target(exact), anchor)
            anchor = moved
        honest, _ = next_bits(params, start, len(times) - 1, times[-1])
        # Only a chain that claimed to have slept is measured from a later anchor, and then by no more than that.
        assert work_of_bits(bits) >= work_of_bits(honest) or anchor == start


def test_networks_have_their_own_genesis() -> None:
    """A062: nothing but the tag or the network tells two chains apart, and no two are the same."""
    ids = {params.genesis_hash for params in NETWORKS.values()}
    ids |= {local_params(bytes([n]) * 16).genesis_hash for n in range(1, 5)}
    assert len(ids) == len(NETWORKS) + 4
    with pytest.raises(ValueError, match="16 bytes"):
        local_params(b"short")


def test_rules_of_a_test_network_cannot_be_switched_on() -> None:
    """A062: parameters are values that nothing can change; main retargets and bounds the future."""
    for params in NETWORKS.values():
        for name in params.__struct_fields__:
            with pytest.raises(AttributeError):
                setattr(params, name, getattr(REGTEST, name))
    assert MAIN.retarget
    assert MAIN.max_future_seconds == 120
    assert not REGTEST.retarget
