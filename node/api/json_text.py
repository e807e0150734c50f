"""JSON from strangers: strict UTF-8, bounded depth and numbers, no key twice, and no number as a binary fraction.

The standard library's parser does the work, for it can be told what to make of keys and numbers. What it is too
generous with is refused around it (A169).
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from consensus.slices import Slices, whole

MAX_DEPTH = 32
"""Arrays and objects within each other; no method takes more than five."""
MAX_CONTAINERS = 20_000
"""Arrays and objects in one body: a batch of the largest size with parameters in each call."""
MAX_NUMBER = 100
"""Characters of a number: the largest amount has 22. So no number costs quadratic time (CVE-2020-10735)."""

LONG_BODY = 256 * 1024
"""Bytes that are read in one go."""

# A text without an end is taken to the end of the body, and nothing is ever looked at again: linear (A204).
_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+"?)*+([\[\]{}]|\Z)', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class JsonError(ValueError):
    """The text is not JSON that this node reads. The message says what is wrong, never what stood there."""


def parse_json(body: bytes) -> Any:
    """Return what a body holds: dicts, lists, str, int, Decimal, bool, None.

    Raises:
        JsonError: it is not JSON, or breaks a bound.
    """
    return whole(parse_json_in_slices(body))


def parse_json_in_slices(body: bytes) -> Slices[Any]:
    """Do `parse_json`, in slices: each step over a long body is one."""
    long = len(body) > LONG_BODY
    yield from _check_structure(body)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise JsonError("the body is not UTF-8") from None
    if long:
        yield
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise JsonError(f"the body is not JSON: {error.msg} (character {error.pos})") from None
    if long:
        yield
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode("utf-8")
        except UnicodeEncodeError:
            raise JsonError("a text holds half a surrogate pair") from None
    return value


def _check_structure(body: bytes) -> Slices[None]:
    """Bound depth and size before anything is built. Linear: each byte is looked at once."""
    depth = containers = 0
    looked = 0
    for match in _BRACKET.finditer(body):
        if match.end() > looked + LONG_BODY:
            looked = match.end()
            yield
        match match[1]:
            case b"[" | b"{":
                depth += 1
                containers += 1
                if depth > MAX_DEPTH:
                    raise JsonError(f"arrays and objects are nested deeper than {MAX_DEPTH}")
                if containers > MAX_CONTAINERS:
                    raise JsonError(f"more than {MAX_CONTAINERS} arrays and objects")
            case b"]" | b"}":
                depth -= 1
            case _:
                pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise JsonError("an object has a key twice")
    return found


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER:
        raise JsonError(f"a number has more than {MAX_NUMBER} characters")
    return int(text)


def _fraction(text: str) -> Decimal:
    if len(text) > MAX_NUMBER:
        raise JsonError(f"a number has more than {MAX_NUMBER} characters")
    try:
        return Decimal(text)
    except InvalidOperation:
        raise JsonError("a number has an exponent beyond all bounds") from None


def _constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is not JSON")


_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)
