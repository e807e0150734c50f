"""Sections "Encoding" and "Hashes" of docs/protocol.md.

A value is an int, bytes, a list of values, or None. The decoder reads the shortest form of each and nothing else.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NoReturn

DEEPEST = 24
LARGEST = 2**63 - 1

UINTS = {0xCC: (1, 128), 0xCD: (2, 2**8), 0xCE: (4, 2**16), 0xCF: (8, 2**32)}
"""By first byte: how many bytes follow, and the first integer that needs so many."""

BINS = {0xC4: (1, 0), 0xC5: (2, 2**8), 0xC6: (4, 2**16)}
ARRAYS = {0xDC: (2, 16), 0xDD: (4, 2**16)}


class Refused(Exception):
    """What was looked at is invalid. `rule` is a name that the page uses."""

    def __init__(self, rule: str, why: str = "") -> None:
        super().__init__(rule, why)
        self.rule = rule


def refuse(rule: str, why: str = "") -> NoReturn:
    """Refuse what is being looked at."""
    raise Refused(rule, why)


def need(condition: bool, rule: str, why: str = "") -> None:
    """Refuse unless `condition` holds."""
    if not condition:
        raise Refused(rule, why)


class _Reader:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0

    def take(self, count: int) -> bytes:
        need(self.at + count <= len(self.raw), "malformed", "cut off")
        self.at += count
        return self.raw[self.at - count : self.at]

    def number(self, first: int, forms: dict[int, tuple[int, int]]) -> int:
        size, least = forms[first]
        number = int.from_bytes(self.take(size), "big")
        need(number >= least, "malformed", "longer than needed")
        return number

    def value(self, depth: int) -> object:
        first = self.take(1)[0]
        if first < 0x80:
            return first
        if first in UINTS:
            number = self.number(first, UINTS)
            need(number <= LARGEST, "malformed", "above 2^63-1")
            return number
        if first in BINS:
            return self.take(self.number(first, BINS))
        if first == 0xC0:
            return None
        if 0x90 <= first < 0xA0:
            return self.array(first - 0x90, depth + 1)
        if first in ARRAYS:
            return self.array(self.number(first, ARRAYS), depth + 1)
        return refuse("malformed", f"no value starts with {first:02x}")

    def array(self, count: int, depth: int) -> list[object]:
        need(depth <= DEEPEST, "malformed", "too deep")
        need(count <= len(self.raw) - self.at, "malformed", "cut off")  # each element has a byte at least
        return [self.value(depth) for _ in range(count)]


def decode(raw: bytes) -> object:
    """Return the one value that `raw` encodes; refuse as `malformed` whatever is not exactly that."""
    reader = _Reader(raw)
    value = reader.value(0)
    need(reader.at == len(raw), "malformed", "bytes left over")
    return value


def _head(number: int, forms: dict[int, tuple[int, int]]) -> bytes:
    first, (size, _) = [form for form in forms.items() if number >= form[1][1]][-1]
    return bytes([first]) + number.to_bytes(size, "big")


def encode(value: object) -> bytes:
    """Return the bytes of a value, in the shortest form."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bytes):
        return _head(len(value), BINS) + value
    if isinstance(value, list):
        head = bytes([0x90 + len(value)]) if len(value) < 16 else _head(len(value), ARRAYS)
        return head + b"".join(encode(element) for element in value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST:
        raise TypeError(f"no encoding for {value!r}")
    return bytes([value]) if value < 128 else _head(value, UINTS)


def hash256(raw: bytes) -> bytes:
    """H of the page."""
    return sha256(sha256(raw).digest()).digest()


def tagged(tag: str, raw: bytes) -> bytes:
    """Return the tagged hash of BIP 340."""
    prefix = sha256(tag.encode("ascii")).digest()
    return sha256(prefix + prefix + raw).digest()


# The types of fields. Each returns what it was given, or refuses it as malformed.


def integer(value: object, least: int = 0, most: int = LARGEST) -> int:
    """Return an integer within its bounds, both included."""
    if not isinstance(value, int) or not least <= value <= most:
        return refuse("malformed", f"{value!r} is no integer of {least} to {most}")
    return value


def binary(value: object, most: int, least: int = 0) -> bytes:
    """Return bytes of a length within its bounds, both included."""
    if not isinstance(value, bytes) or not least <= len(value) <= most:
        return refuse("malformed", f"not bytes of length {least} to {most}")
    return value


def hash32(value: object) -> bytes:
    """Return 32 bytes."""
    return binary(value, 32, 32)


def hash_or_nil(value: object) -> bytes | None:
    """Return 32 bytes or nil."""
    return None if value is None else hash32(value)


def array(value: object, most: int | None = None) -> list[object]:
    """Return an array of at most `most` elements."""
    if not isinstance(value, list) or (most is not None and len(value) > most):
        return refuse("malformed", "not an array of so many elements")
    return value


def struct(value: object, fields: int) -> list[object]:
    """Return an array of exactly `fields` elements."""
    elements = array(value)
    need(len(elements) == fields, "malformed", f"not a struct of {fields} fields")
    return elements


def tag_of(value: object) -> int:
    """Return the tag of a tagged struct."""
    elements = array(value)
    need(len(elements) >= 1, "malformed", "no tag")
    return integer(elements[0])
