"""An estimate works from the first block on, says what it rests on, and learns from what it sees."""

from __future__ import annotations

from typing import Any

import pytest

from consensus.types import Coin, Transaction
from node import fee_history, package_selection  # noqa: F401 (what is patched below)
from node.fee_history import (
    BUCKETS,
    DECAY,
    FILE,
    KIND,
    MAX_TARGET,
    VERSION,
    FeeHistory,
    estimate_fee,
)
from node.mempool_graph import Entry
from node.pool_change import DropReason
from node.relay_policy import MIN_FEE_RATE
from node.storage.errors import StorageError
from node.storage.files import MemoryFiles
from node.storage.sealed_file import seal_file
from tests.support.chain import recorder
from tests.support.pool import Pool, forward, silent_log
from tests.support.rules import outpoint, pay

CHEAP, DEAR = 2_000, 50_000
"""Grain per 1,000 virtual bytes."""


def history(files: MemoryFiles | None = None) -> FeeHistory:
    return FeeHistory(files or MemoryFiles(), silent_log())


def entry(n: int, rate: int, height: int) -> Entry:
    tx: Transaction = forward({outpoint(n): Coin(pay(1, 10_000_000), 1, False)}, fee=0)
    size = len(tx.encoded)
    return Entry(tx, rate * size // 1_000 + 1, size, 1, 0, False, height=height)  # type: ignore[arg-type]


class Stream:
    """Payments that come and are mined, one block after the other."""

    def __init__(self, heard: FeeHistory) -> None:
        self.heard = heard
        self.made = 0

    def pay(self, rate: int, came: int, mined: int | None = None, dropped: DropReason | None = None) -> None:
        self.made += 1
        payment = entry(self.made, rate, came)
        self.heard.entered(payment)
        if mined is not None:
            self.heard.confirmed(payment, mined)
        if dropped is not None:
            self.heard.dropped(payment, dropped)


def test_nothing_is_said_before_enough_was_seen() -> None:
    heard = history()
    stream = Stream(heard)
    assert heard.say(1) == (None, 0.0)
    for _ in range(4):
        stream.pay(DEAR, 1, 2)
    assert heard.say(1).rate is None
    stream.pay(DEAR, 1, 2)
    assert heard.say(1).rate is not None


def test_the_lowest_rate_that_was_in_time_is_said_for_each_target() -> None:
    heard = history()
    stream = Stream(heard)
    for height in range(10, 20):
        stream.pay(DEAR, height - 1, height)
        stream.pay(CHEAP, height - 6, height)
    soon, later = heard.say(1).rate, heard.say(6).rate
    assert soon is not None
    assert later is not None
    assert DEAR / 1.15 < soon <= DEAR
    assert CHEAP / 1.15 < later <= CHEAP
    assert heard.say(5).rate == soon


def test_what_was_given_up_or_still_waits_counts_against_its_rate_and_what_was_replaced_does_not() -> None:
    for reason, counts in [(DropReason.TOO_MANY, True), (DropReason.EXPIRED, True), (DropReason.REPLACED, False)]:
        heard = history()
        stream = Stream(heard)
        for height in range(10, 20):
            stream.pay(CHEAP, height - 1, height)
            stream.pay(CHEAP, height - 1, dropped=reason)
        assert (heard.say(1).rate is None) is counts
    heard = history()
    stream = Stream(heard)
    for height in range(10, 20):
        stream.pay(CHEAP, height - 1, height)
        stream.pay(CHEAP, 10)
    assert heard.say(1).rate is None
    assert heard.say(20).rate is not None


def test_what_comes_below_the_highest_block_that_was_seen_counts_as_waiting_since_then() -> None:
    heard = history()
    stream = Stream(heard)
    for height in range(10, 20):
        stream.pay(CHEAP, height - 1, height)
    assert heard.say(1).rate is not None
    for _ in range(10):
        stream.pay(CHEAP, 15)  # the tip was taken back, to 15
    assert heard.say(1).rate is None


def test_what_waits_for_a_parent_or_for_a_child_to_pay_says_nothing() -> None:
    heard = history()
    for n in range(20):
        child, sponsored = entry(n, DEAR, 1), entry(100 + n, DEAR, 1)
        child.ancestor_count = 2
        sponsored.sponsored = True
        for each in (child, sponsored):
            heard.entered(each)
            heard.confirmed(each, 2)
    assert heard.say(1) == (None, 0.0)


def test_old_payments_count_less_and_less_and_never_overflow() -> None:
    heard = history()
    stream = Stream(heard)
    for _ in range(10):
        stream.pay(DEAR, 1, 2)
    stream.pay(DEAR, 70, 71)
    assert heard.say(1).payments == pytest.approx(10 * DECAY**69 + 1)
    for height in range(100, 20_000, 500):
        stream.pay(DEAR, height - 1, height)
    assert heard.say(1).payments < 2


def test_a_payment_that_a_reorg_mines_below_where_it_came_waited_for_one_block() -> None:
    heard = history()
    stream = Stream(heard)
    for _ in range(10):
        stream.pay(DEAR, 10, 9)
    assert heard.say(1).rate is not None


async def test_what_was_seen_is_kept_over_restarts() -> None:
    files = MemoryFiles()
    heard = history(files)
    stream = Stream(heard)
    for height in range(10, 30):
        stream.pay(DEAR, height - 1, height)
        stream.pay(CHEAP, height - 9, height)
        stream.pay(CHEAP, height, dropped=DropReason.EXPIRED)
    await heard.save()
    again = history(files)
    for target in (1, 6, 9, MAX_TARGET):
        assert again.say(target).rate == heard.say(target).rate
        assert again.say(target).payments == pytest.approx(heard.say(target).payments, abs=0.1)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        bytes(5_000),
        seal_file(KIND, VERSION + 1, b"\x90"),
        seal_file(KIND, VERSION, b"\x90"),
        seal_file(KIND, VERSION, b"\xc1"),
        seal_file(KIND, VERSION, b"\xdc\x00\x64" + b"\x92\x80\xcb\x7f\xf0\0\0\0\0\0\0" * 100),
        seal_file(KIND, VERSION, b"\xdc\x00\x64" + b"\x92\x80\xcb\xbf\xf0\0\0\0\0\0\0" * 100),
        b"x" * (fee_history.MAX_FILE_SIZE + 1),
    ],
    ids=["empty", "zeros", "version", "no rows", "no msgpack", "infinite", "negative", "huge"],
)
def test_a_damaged_file_is_passed_over_with_one_warning(raw: bytes) -> None:
    """A134."""
    files = MemoryFiles()
    files.write(FILE, raw)
    log, entries = recorder()
    heard = FeeHistory(files, log)
    assert [line["event"] for line in entries] == ["fees_unreadable"]
    assert heard.say(1) == (None, 0.0)


async def test_a_full_disk_costs_a_warning() -> None:
    class Full(MemoryFiles):
        def write(self, name: str, data: bytes) -> None:
            raise StorageError("no space left")

    log, entries = recorder()
    await FeeHistory(Full(), log).save()
    assert [line["event"] for line in entries] == ["fees_not_saved"]


# What to pay


async def full_pool(count: int, rate: int) -> Pool:
    pool = Pool(0)
    for n in range(1, count + 1):
        place = outpoint(n)
        pool.ledger.coins[place] = Coin(pay(1, 10_000_000), 1, False)
        tx = forward({place: pool.ledger.coins[place]}, fee=0)
        fee = rate * max(len(tx.encoded), 210) // 1_000 + n
        await pool.mempool.accept_transaction(forward({place: pool.ledger.coins[place]}, fee=fee))
    return pool


async def test_with_an_empty_mempool_and_no_history_the_floor_is_enough() -> None:
    pool = Pool(0)
    found = estimate_fee(history(), pool.mempool, 1, conservative=True)
    assert (found.rate, found.blocks) == (MIN_FEE_RATE, 1)
    assert found.basis == (
        "0 transactions wait now, less than the next block holds; "
        "too few payments were seen in blocks to count on them (0)"
    )


async def test_what_waits_beyond_the_next_blocks_must_be_outbid(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = await full_pool(30, 9_000)
    monkeypatch.setattr(fee_history, "MAX_BLOCK_SIZE", 10 * 210)
    soon = estimate_fee(history(), pool.mempool, 1, conservative=True)
    assert 10_000 < soon.rate < 10_300
    assert "more than the next block holds" in soon.basis
    assert estimate_fee(history(), pool.mempool, 4, conservative=True).rate == MIN_FEE_RATE


async def test_history_raises_a_conservative_estimate_and_lowers_an_economical_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = history()
    stream = Stream(heard)
    for height in range(10, 20):
        stream.pay(DEAR, height - 1, height)
        stream.pay(CHEAP, height - 6, height)
    pool = Pool(0)
    careful = estimate_fee(heard, pool.mempool, 1, conservative=True)
    assert DEAR / 1.15 < careful.rate <= DEAR
    assert "came in time" in careful.basis
    assert estimate_fee(heard, pool.mempool, 1, conservative=False).rate == MIN_FEE_RATE
    crowded = await full_pool(30, 90_000)
    monkeypatch.setattr(fee_history, "MAX_BLOCK_SIZE", 10 * 210)
    assert estimate_fee(heard, crowded.mempool, 1, conservative=True).rate > 90_000
    assert DEAR / 1.15 < estimate_fee(heard, crowded.mempool, 1, conservative=False).rate <= DEAR


async def test_beyond_the_longest_target_the_answer_is_the_longest_targets() -> None:
    assert estimate_fee(history(), Pool(0).mempool, 1_008, conservative=True).blocks == MAX_TARGET


async def test_it_hears_of_a_real_mempool(capsys: Any) -> None:
    pool = Pool(12)
    heard = history()
    pool.mempool.listeners.append(heard)
    for n in range(1, 9):
        await pool.mempool.accept_transaction(tx := forward(pool.reward(n), fee=5_000))
        pool.mine([tx])
    assert heard.say(1).rate in BUCKETS
    assert heard._tracked == {}
    assert heard._waiting == {}
