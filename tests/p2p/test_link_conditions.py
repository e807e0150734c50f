"""Bad lines as arithmetic: what comes late, by how much, and what never comes."""

from __future__ import annotations

import random

import msgspec
import pytest

from p2p.link_conditions import FLIGHT, MAX_ROUNDS, PERFECT, SEGMENT, Line, LinkConditions


def line(seed: int = 1, **conditions: int) -> Line:
    return Line(LinkConditions(**conditions), random.Random(seed))


def test_a_perfect_line_takes_no_time() -> None:
    assert PERFECT.are_perfect
    assert Line(PERFECT, random.Random(1)).stream_arrival(5.0, FLIGHT) == 5.0


def test_a_delay_is_the_same_for_every_piece_and_every_size() -> None:
    slow = line(delay_ms=200)
    assert [slow.stream_arrival(now, size) for now, size in ((1.0, 1), (1.0, FLIGHT), (7.5, 10))] == [1.2, 1.2, 7.7]


def test_jitter_stays_within_its_bounds_and_never_swaps_pieces_of_a_stream() -> None:
    shaky = line(delay_ms=100, jitter_ms=50)
    alone = [line(seed, delay_ms=100, jitter_ms=50).stream_arrival(0.0, 1) for seed in range(200)]
    assert 0.05 <= min(alone) < 0.06
    assert 0.14 < max(alone) <= 0.15
    together = [shaky.stream_arrival(0.0, 1) for _ in range(200)]
    assert together == sorted(together)


def test_datagrams_may_overtake_each_other() -> None:
    shaky = line(delay_ms=100, jitter_ms=50)
    times = [shaky.datagram_arrival(0.0, 1) or 0.0 for _ in range(50)]
    assert times != sorted(times)


def test_a_bounded_line_sends_one_piece_after_the_other() -> None:
    thin = line(bits_per_second=8_000)  # a byte takes a millisecond
    assert [thin.stream_arrival(0.0, 500), thin.stream_arrival(0.0, 500)] == [0.5, 1.0]
    assert thin.stream_arrival(10.0, 500) == 10.5  # it was idle meanwhile


def test_a_lost_segment_comes_after_it_was_sent_again_and_what_follows_waits_for_it() -> None:
    lossy = line(loss_ppm=100_000, delay_ms=100)
    times = [lossy.stream_arrival(0.0, 100) for _ in range(1_000)]
    assert times == sorted(times)
    waits = [line(seed, loss_ppm=100_000, delay_ms=100).stream_arrival(0.0, 100) for seed in range(5_000)]
    # On time; once more after 200 ms and a round trip of 200 ms; twice more after that and the double.
    assert {round(wait, 6) for wait in waits} >= {0.1, 0.5, 1.3}
    late = sum(wait > 0.2 for wait in waits) / len(waits)
    twice = sum(wait > 0.6 for wait in waits) / len(waits)
    assert 0.08 < late < 0.12
    assert 0.005 < twice < 0.016


def test_a_whole_flight_is_late_if_any_of_its_segments_is_lost() -> None:
    segments = FLIGHT // SEGMENT + 1
    waits = [line(seed, loss_ppm=10_000).stream_arrival(0.0, FLIGHT) for seed in range(3_000)]
    late = sum(wait > 0 for wait in waits) / len(waits)
    assert abs(late - (1 - 0.99**segments)) < 0.03


def test_even_the_worst_line_delivers_in_the_end() -> None:
    class Unlucky(random.Random):
        def random(self) -> float:
            return 1 - 2**-53

    worst = Line(LinkConditions(loss_ppm=900_000), Unlucky())
    assert worst.stream_arrival(0.0, FLIGHT) == sum(min(0.2 * 2**again, 120) for again in range(MAX_ROUNDS - 1))


def test_of_datagrams_the_share_that_is_lost_never_comes() -> None:
    lossy = line(loss_ppm=250_000, delay_ms=10)
    times = [lossy.datagram_arrival(0.0, 100) for _ in range(4_000)]
    assert 0.22 < times.count(None) / len(times) < 0.28
    assert {time for time in times if time is not None} == {0.01}


def test_the_same_seed_is_the_same_line() -> None:
    one, other = (line(7, delay_ms=80, jitter_ms=30, loss_ppm=200_000) for _ in range(2))
    assert [one.stream_arrival(n, 999) for n in range(100)] == [other.stream_arrival(n, 999) for n in range(100)]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"delay_ms": -1}', b'{"delay_ms": 60001}', b'{"delay_ms": 1.5}', b'{"delay_ms": 10, "jitter_ms": 11}',
        b'{"loss_ppm": 900001}', b'{"bits_per_second": 999}', b'{"bits_per_second": 0}', b'{"latency": 1}',
    ],
)  # fmt: skip
def test_conditions_out_of_bounds_are_not_read(raw: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(raw, type=LinkConditions)


def test_conditions_at_their_bounds_are_read() -> None:
    raw = b'{"delay_ms":60000,"jitter_ms":60000,"loss_ppm":900000,"bits_per_second":1000}'
    assert msgspec.json.encode(msgspec.json.decode(raw, type=LinkConditions)) == raw
    assert msgspec.json.encode(PERFECT) == b"{}"
