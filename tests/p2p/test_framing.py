from __future__ import annotations

import bz2
import gzip
import lzma
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p import limits
from p2p.errors import ProtocolError, Violation
from p2p.framing import BudgetExhausted, Frame, FrameReader, ReceiveBudget, encode_frame

numbers = st.integers(0, limits.MAX_MESSAGE_NUMBER)
sizes = st.sampled_from([0, 1, 31, 32, 255, 256, 257, 65535, 65536, 65537]) | st.integers(0, 2000)


def reader(budget: ReceiveBudget | None = None) -> FrameReader:
    return FrameReader(budget or ReceiveBudget())


def below(bound: int) -> Callable[[int, int], None]:
    def check_head(number: int, size: int) -> None:
        if size > bound:
            raise ProtocolError(Violation.TOO_LARGE, number=number, size=size)

    return check_head


def read(source: FrameReader, data: bytes, bound: int = 1 << 20) -> list[Frame]:
    source.feed(data)
    frames = []
    while (frame := source.next_frame(below(bound))) is not None:
        frames.append(frame)
    return frames


def refusal(data: bytes, bound: int = 1 << 20) -> Violation:
    with pytest.raises(ProtocolError) as refused:
        read(reader(), data, bound)
    return refused.value.violation


@given(st.lists(st.tuples(numbers, sizes), max_size=6), st.lists(st.integers(0, 200_000), max_size=20))
def test_frames_arrive_the_same_however_the_stream_is_split(content: list[tuple[int, int]], cuts: list[int]) -> None:
    """A087: byte-stream split anywhere, coalesced frames."""
    frames = [Frame(number, bytes((number,)) * size) for number, size in content]
    stream = b"".join(encode_frame(*frame) for frame in frames)
    source, got = reader(), []
    at = 0
    for cut in [*sorted(cut for cut in cuts if cut < len(stream)), len(stream)]:
        got += read(source, stream[at:cut])
        at = cut
    assert got == frames
    assert source.unfinished is None


@pytest.mark.parametrize("size", [0, 5, 255, 256, 300])
def test_a_frame_is_the_same_split_at_every_offset(size: int) -> None:
    """A087: every single offset of a small stream."""
    stream = encode_frame(3, b"x" * size) + encode_frame(4, b"") + encode_frame(5, b"yz")
    expected = [Frame(3, b"x" * size), Frame(4, b""), Frame(5, b"yz")]
    for cut in range(len(stream) + 1):
        source = reader()
        assert read(source, stream[:cut]) + read(source, stream[cut:]) == expected
    source = reader()
    assert [frame for byte in stream for frame in read(source, bytes((byte,)))] == expected


@given(st.binary(max_size=300))
def test_any_bytes_give_frames_or_a_named_refusal(data: bytes) -> None:
    """A077: garbage. Whatever is read encodes to what was sent: one value, one encoding."""
    source = reader()
    source.feed(data)
    read_back = b""
    try:
        while (frame := source.next_frame(below(1 << 20))) is not None:
            read_back += encode_frame(*frame)
    except ProtocolError as error:
        assert error.violation in {Violation.BAD_FRAME, Violation.TOO_LARGE}
    assert data.startswith(read_back)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80", b"\x81", b"\xde", b"\xc0", b"\x07", b"\xcb", b"\xca", b"\xa0", b"\xd9", b"\xc7", b"\xd4",  # no array
        b"\x90", b"\x91", b"\x93", b"\xdc\x00\x02", b"\xdd",  # another array, and two in a longer form
        b"\x92\x80", b"\x92\xc4", b"\x92\xcc\x05", b"\x92\xff", b"\x92\xcb", b"\x92\x92",  # no message number
        b"\x92\x05\x80", b"\x92\x05\xa0", b"\x92\x05\xc0", b"\x92\x05\x92", b"\x92\x05\xd9", b"\x92\x05\xc7",  # no bin
        b"\x92\x05\xc5\x00\x05", b"\x92\x05\xc5\x00\xff", b"\x92\x05\xc6\x00\x00\xff\xff",  # a longer bin header
        b"GET / HTTP/1.1", b"\x16\x03\x01", b"\xff" * 64,
    ],
)  # fmt: skip
def test_what_is_not_a_frame_is_refused_at_the_first_wrong_byte(data: bytes) -> None:
    """A076: map, float, bare int, array of 1 or 3. A030: length bombs have no header that passes."""
    assert refusal(data) is Violation.BAD_FRAME


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress, bz2.compress, lzma.compress])
def test_nothing_is_ever_expanded(compress: Callable[[bytes], bytes]) -> None:
    """A086: the wire knows no compression; a megabyte of zeros in a thousand bytes is garbage, or stays what it is."""
    bomb = compress(bytes(1 << 20))
    assert refusal(bomb) is Violation.BAD_FRAME
    source = reader()
    small = compress(encode_frame(5, bytes(100)))
    source.feed(encode_frame(5, small))
    assert source.next_frame(below(1 << 20)) == (5, small)


@pytest.mark.parametrize("size", [101, 256, 65536, 2**32 - 1])
def test_a_body_past_its_bound_is_refused_on_its_header_alone(size: int) -> None:
    """A076: bin header of limit + 1 and of 2^32 - 1."""
    head = encode_frame(5, b"x" * min(size, 70000))[: 4 if size < 256 else 5 if size < 65536 else 7]
    if size == 2**32 - 1:
        head = b"\x92\x05\xc6\xff\xff\xff\xff"
    assert refusal(head, bound=100) is Violation.TOO_LARGE
    assert read(reader(), encode_frame(5, b"x" * 100), bound=100) == [Frame(5, b"x" * 100)]


def test_memory_stays_with_what_arrived_not_with_what_was_announced() -> None:
    """A076: the largest announced block, one byte of it arrived: memory rises under 1 MiB."""
    head = b"\x92\x1a\xc6" + limits.MAX_BLOCK_BODY.to_bytes(4, "big")
    budget = ReceiveBudget()
    source = reader(budget)
    tracemalloc.start()
    try:
        assert read(source, head + b"x", limits.MAX_BLOCK_BODY) == []
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        # And it is no more than twice what arrived, as it grows.
        for _ in range(15):
            read(source, b"x" * 65536)
        assert tracemalloc.get_traced_memory()[1] < (3 << 20)
    finally:
        tracemalloc.stop()
    assert budget.used == limits.MAX_BLOCK_BODY


def test_half_received_values_share_one_budget() -> None:
    """A076: 100 half-received messages stay within the node's one budget."""
    budget = ReceiveBudget()
    size = limits.MAX_BLOCK_BODY
    readers = [reader(budget) for _ in range(100)]
    refused = 0
    for source in readers:
        try:
            read(source, b"\x92\x1a\xc6" + size.to_bytes(4, "big") + b"x", size)
        except BudgetExhausted:
            refused += 1
    assert budget.used == (100 - refused) * size <= limits.RECEIVE_BUDGET - limits.SMALL_VALUES_SHARE
    assert refused == 88
    # Small values still have their share.
    assert read(reader(budget), b"\x92\x05\xc5\xff\xff" + b"x") == []
    for source in readers:
        source.discard()
    assert budget.used == 65535


def test_a_value_that_arrives_whole_needs_no_budget() -> None:
    budget = ReceiveBudget(total=0, small_share=0)
    assert read(reader(budget), encode_frame(5, b"x" * 1000)) == [Frame(5, b"x" * 1000)]
    with pytest.raises(BudgetExhausted):
        read(reader(budget), encode_frame(5, b"x" * 1000)[:-1])


def test_a_finished_value_returns_its_budget_exactly() -> None:
    budget = ReceiveBudget()
    source = reader(budget)
    for size in (0, 1, 300, 65536, 65537, 200_000):
        whole = encode_frame(5, b"x" * size)
        assert read(source, whole[:-1] if size else whole[:3]) == []
        assert read(source, whole[-1:] if size else whole[3:]) == [Frame(5, b"x" * size)]
        assert budget.used == 0


def test_small_and_large_values_cannot_pass_the_total_together() -> None:
    budget = ReceiveBudget(total=400_000, small_share=100_000)
    budget.claim(300_000)
    with pytest.raises(BudgetExhausted):
        budget.claim(65537)
    budget.claim(65536)
    with pytest.raises(BudgetExhausted):
        budget.claim(65536)
    budget.claim(400_000 - 365_536)
    assert budget.used == 400_000
