"""Answers that may be long: made and written to JSON piece by piece, as the caller takes them.

A method returns `array(...)` or `table(...)` where its result has a list or an object of many items, alone or as a
field of a struct. What it puts in is an iterator over what it has looked up already: that runs later, between other
work, so it must not read what others change meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar, cast

import msgspec

from rpc.encoding import encode, to_json

_T = TypeVar("_T")
_MARK = b"\x00"
"""Where a list or object belongs in the text around it. JSON writes no such byte, in no string either."""
ITEMS = 100
"""Items in a piece: a few milliseconds of work."""


class _Many(Generic[_T]):
    def __init__(self, items: Iterable[_T], brackets: bytes) -> None:
        self.items = items
        self.opening, self.closing = brackets[:1], brackets[1:]

    def text(self, item: _T) -> bytes:
        return encode(item)


class _Fields(_Many[tuple[str, _T]]):
    def text(self, item: tuple[str, _T]) -> bytes:
        key, value = item
        return encode(key) + b":" + encode(value)


def array(items: Iterable[_T]) -> list[_T]:
    """Return what stands for a list of these items in a result until it is written: it can be used for nothing else."""
    return cast("list[_T]", _Many(items, b"[]"))


def table(items: Iterable[tuple[str, _T]]) -> dict[str, _T]:
    """Return what stands for an object with these keys and values, likewise."""
    return cast("dict[str, _T]", _Fields(items, b"{}"))


def encode_in_pieces(value: object) -> Iterator[bytes]:
    """Yield the JSON text of a value of `rpc.schema` in which arrays and tables may stand.

    However long it is, each piece is a few milliseconds of work, and the first ends where the first of them begins.
    """
    found: list[_Many[object]] = []

    def stand_in(unknown: object) -> object:
        if isinstance(unknown, _Many):
            found.append(unknown)
            return msgspec.Raw(_MARK)
        return to_json(unknown)

    first, *rest = msgspec.json.Encoder(enc_hook=stand_in, decimal_format="number").encode(value).split(_MARK)
    yield first
    for many, after in zip(found, rest, strict=True):
        yield from _pieces(many)
        yield after


def _pieces(many: _Many[_T]) -> Iterator[bytes]:
    texts: list[bytes] = []
    before = many.opening
    for item in many.items:
        texts.append(many.text(item))
        if len(texts) == ITEMS:
            yield before + b",".join(texts)
            before, texts = b",", []
    if texts or before == many.opening:
        yield before + b",".join(texts)
    yield many.closing
