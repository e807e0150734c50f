"""A stream of bytes to frames and back, within limits.

A frame is the MessagePack value `[number, body]` in the one shortest form:

    92      array of two
    nn      message number, 00..7f
    c4 ss | c5 ss ss | c6 ss ss ss ss      body: bin of so many bytes, big-endian, the shortest header that fits
    ...     the body

The three to seven bytes before the body decide whether it is wanted. They are read by hand because msgpack's Unpacker
compares a length with its limit only after it has all the bytes: it bounds memory by the limit, not by what was wanted.
What passes goes to an Unpacker of its own, so nothing of a large value stays with an idle peer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgpack

from p2p import limits
from p2p.errors import ProtocolError, Violation

_ARRAY_OF_TWO: Final = 0x92
_SIZE_BYTES: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_SMALLEST: Final = {0xC4: 0, 0xC5: 1 << 8, 0xC6: 1 << 16}
_FIRST_BUFFER: Final = 1024
"""What an Unpacker starts with for a value that arrives in pieces, in bytes; it doubles as they come."""


class BudgetExhausted(Exception):
    """There is no room now for another half-received value of this size. Nobody is to blame."""


class ReceiveBudget:
    """One node's room for half-received values, shared by all its connections.

    A value claims its whole size when its header is read, and only if it did not arrive in one piece. Small values
    have a share that large ones cannot take; only a peer that was asked can send a large one.
    """

    def __init__(self, total: int = limits.RECEIVE_BUDGET, small_share: int = limits.SMALL_VALUES_SHARE) -> None:
        """
        Args:
            total: bytes.
            small_share: bytes of it that are for values up to `limits.UNSOLICITED_BODY` alone.
        """
        self._total = total
        self._large_total = total - small_share
        self._small = 0
        self._large = 0

    @property
    def used(self) -> int:
        """Bytes claimed now."""
        return self._small + self._large

    def claim(self, size: int) -> None:
        """Take room for a value of `size` bytes.

        Raises:
            BudgetExhausted: there is not enough left; nothing was taken.
        """
        if size > limits.UNSOLICITED_BODY:
            if self._large + size > self._large_total or self.used + size > self._total:
                raise BudgetExhausted
            self._large += size
        else:
            if self.used + size > self._total:
                raise BudgetExhausted
            self._small += size

    def release(self, size: int) -> None:
        """Give back what `claim(size)` took."""
        if size > limits.UNSOLICITED_BODY:
            self._large -= size
        else:
            self._small -= size


class Frame(NamedTuple):
    """A message as it travels."""

    number: int
    body: bytes


class _Head(NamedTuple):
    """What the bytes before a body say."""

    number: int
    size: int
    """Bytes of the body."""
    length: int
    """Bytes of the head itself."""


def encode_frame(number: int, body: bytes) -> bytes:
    """Return the frame of a message. The body's bound is the sender's to check."""
    size = len(body)
    if size < 1 << 8:
        return bytes((_ARRAY_OF_TWO, number, 0xC4, size)) + body
    if size < 1 << 16:
        return bytes((_ARRAY_OF_TWO, number, 0xC5)) + size.to_bytes(2, "big") + body
    return bytes((_ARRAY_OF_TWO, number, 0xC6)) + size.to_bytes(4, "big") + body


def _read_head(data: memoryview) -> _Head | None:
    """Read the head that `data` begins with; None if it ends within a head that is right so far.

    Raises:
        ProtocolError: `BAD_FRAME`, at the first byte that cannot be.
    """
    have = len(data)
    if have > 0 and data[0] != _ARRAY_OF_TWO:
        raise ProtocolError(Violation.BAD_FRAME, why="not an array of two", byte=f"{data[0]:#04x}")
    if have > 1 and data[1] > limits.MAX_MESSAGE_NUMBER:
        raise ProtocolError(Violation.BAD_FRAME, why="no message number", byte=f"{data[1]:#04x}")
    if have < 3:
        return None
    size_bytes = _SIZE_BYTES.get(data[2])
    if size_bytes is None:
        raise ProtocolError(Violation.BAD_FRAME, why="no bin", number=data[1], byte=f"{data[2]:#04x}")
    length = 3 + size_bytes
    if have < length:
        return None
    size = int.from_bytes(data[3:length], "big")
    if size < _SMALLEST[data[2]]:
        raise ProtocolError(Violation.BAD_FRAME, why="not the shortest form", number=data[1], size=size)
    return _Head(data[1], size, length)


class FrameReader:
    """Takes bytes split anywhere; gives frames, one at a time, so that each may change what the next may be."""

    def __init__(self, budget: ReceiveBudget) -> None:
        """
        Args:
            budget: shared by all connections of the node.
        """
        self._budget = budget
        self._data = memoryview(b"")
        self._value: msgpack.Unpacker | None = None
        self._head = _Head(0, 0, 0)
        self._missing = 0
        self._claimed = 0

    @property
    def unfinished(self) -> int | None:
        """None between two frames; else the size of the begun frame's body, 0 as long as it is unknown."""
        if self._value is not None:
            return self._head.size
        return 0 if self._data else None

    def feed(self, data: bytes) -> None:
        """Take bytes. Call `next_frame` until it returns None before feeding more."""
        # What is left over is less than one head: seven bytes.
        self._data = memoryview(bytes(self._data) + data if self._data else data)

    def next_frame(self, check_head: Callable[[int, int], None]) -> Frame | None:
        """Return the next frame, or None until more bytes come.

        Args:
            check_head: given a number and a body's size before the body is taken; raises `ProtocolError` if it
                is not wanted.

        Raises:
            ProtocolError: the stream is not frames, or `check_head` refused one. Nothing more can be read.
            BudgetExhausted: no room for a value that arrives in pieces.
        """
        if self._value is None:
            self._value = self._open_value(check_head)
            if self._value is None:
                # A copy, so that less than seven bytes do not keep a whole read alive.
                self._data = memoryview(bytes(self._data))
                return None
        part = self._data[: self._missing]
        self._value.feed(part)
        self._missing -= len(part)
        if self._missing:
            self._data = memoryview(b"")
            return None
        self._data = self._data[len(part) :]
        return self._close_value(self._value)

    def discard(self) -> None:
        """Drop what is half received and return its budget; for a connection that ended."""
        self._data = memoryview(b"")
        self._value = None
        self._budget.release(self._claimed)
        self._claimed = 0

    def _open_value(self, check_head: Callable[[int, int], None]) -> msgpack.Unpacker | None:
        head = _read_head(self._data)
        if head is None:
            return None
        check_head(head.number, head.size)
        whole = head.length + head.size
        first_buffer = whole
        if len(self._data) < whole:
            self._budget.claim(head.size)
            self._claimed = head.size
            first_buffer = min(whole, _FIRST_BUFFER)
        self._head = head
        self._missing = whole
        return msgpack.Unpacker(
            None,
            read_size=first_buffer,
            use_list=False,
            max_buffer_size=whole,
            max_array_len=2,
            max_bin_len=head.size,
            max_map_len=0,
            max_str_len=0,
            max_ext_len=0,
        )

    def _close_value(self, value: msgpack.Unpacker) -> Frame:
        self._value = None
        self._budget.release(self._claimed)
        self._claimed = 0
        try:
            number, body = value.unpack()
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise ProtocolError(Violation.BAD_FRAME, why=str(error)) from None
        return Frame(number, body)
