"""How long blocks take, and how many the wallets need."""

from __future__ import annotations

import pytest

from consensus.params import LOCAL
from devnet.funding import PAID_BY_BLOCKS, burst_length
from devnet.mining import burst_seconds


def test_one_block_takes_its_expected_work() -> None:
    assert burst_seconds(200_000, 1, 800_000) == 0.25


def test_the_difficulty_doubles_with_every_half_life_of_blocks_that_come_at_once() -> None:
    blocks = LOCAL.half_life // LOCAL.spacing
    infinitely_fast = [burst_seconds(200_000, n + 1, 1e12) - burst_seconds(200_000, n, 1e12) for n in (0, blocks)]
    assert infinitely_fast[1] == pytest.approx(2 * infinitely_fast[0], rel=1e-3)


def test_at_the_pace_of_the_network_the_difficulty_stays() -> None:
    assert burst_seconds(200_000, 100, 200_000 / LOCAL.spacing) == pytest.approx(500)


def test_the_first_burst_lets_rewards_ripen_and_does_not_grow_with_the_network() -> None:
    assert burst_length(5) == 5 + LOCAL.coinbase_maturity
    assert burst_length(32) == burst_length(PAID_BY_BLOCKS) == PAID_BY_BLOCKS + LOCAL.coinbase_maturity
