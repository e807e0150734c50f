"""Spend policies as people write them: `threshold(2, [key(02..), key(03..), older(144)])`."""

from __future__ import annotations

import re
from typing import NoReturn

from consensus.errors import ConsensusError
from consensus.spend_policy import MAX_POLICY_DEPTH, check_policy
from consensus.types import (
    MAX_UINT32,
    AfterHeight,
    AfterTime,
    Key,
    LockId,
    Older,
    Opaque,
    Pays,
    Policy,
    Preimage,
    Threshold,
)

MAX_TEXT = 10_000
"""Characters: twice what the largest policy takes."""

_NAMES: dict[type[Policy], str] = {
    Key: "key",
    Preimage: "preimage",
    AfterHeight: "after_height",
    AfterTime: "after_time",
    Older: "older",
    Opaque: "opaque",
    Pays: "pays",
}
_TOKEN = re.compile(r"\s*([a-z_]+|[0-9a-fA-F]+|[(),\[\]])")


class PolicyTextError(ValueError):
    """The text is no policy; the message says what was expected, and where."""


def format_policy(policy: Policy) -> str:
    """Return the text of a policy; `parse_policy` reads it back."""
    match policy:
        case Threshold(k, children):
            return f"threshold({k}, [{', '.join(format_policy(child) for child in children)}])"
        case Key(value) | Preimage(value) | Opaque(value) | Pays(value):
            return f"{_NAMES[type(policy)]}({value.hex()})"
        case AfterHeight(number) | AfterTime(number) | Older(number):
            return f"{_NAMES[type(policy)]}({number})"


def parse_policy(text: str) -> Policy:
    """Read a policy. Space between the parts is free; hex is in byte order.

    Raises:
        PolicyTextError: if the text is no policy, or one that could never be spent.
    """
    if len(text) > MAX_TEXT:
        raise PolicyTextError(f"a policy has at most {MAX_TEXT} characters, this one {len(text)}")
    parser = _Parser(text)
    policy = parser.policy(1)
    parser.end()
    try:
        check_policy(policy)
    except ConsensusError as error:
        raise PolicyTextError(f"such a policy could not be spent: {error}") from None
    if type(policy) is Opaque:
        raise PolicyTextError("a policy that is opaque as a whole could not be spent")
    return policy


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def _fail(self, expected: str) -> NoReturn:
        found = self._text[self._place : self._place + 20].strip() or "the end"
        raise PolicyTextError(f"expected {expected} at character {self._place + 1}, found {found!r}")

    def _peek(self) -> str:
        match = _TOKEN.match(self._text, self._place)
        return match[1] if match else ""

    def _take(self, expected: str) -> None:
        if self._peek() != expected:
            self._fail(repr(expected))
        self._skip()

    def _skip(self) -> None:
        match = _TOKEN.match(self._text, self._place)
        if match:
            self._place = match.end()

    def end(self) -> None:
        if self._text[self._place :].strip():
            self._fail("nothing more")

    def policy(self, depth: int) -> Policy:
        if depth > MAX_POLICY_DEPTH:
            self._fail(f"at most {MAX_POLICY_DEPTH} levels")
        name = self._peek()
        if name != "threshold" and name not in _NAMES.values():
            self._fail("threshold, " + ", ".join(_NAMES.values()))
        self._skip()
        self._take("(")
        policy = self._threshold(depth) if name == "threshold" else self._leaf(name)
        self._take(")")
        return policy

    def _threshold(self, depth: int) -> Policy:
        k = self._number(0)
        self._take(",")
        self._take("[")
        children = [self.policy(depth + 1)]
        while self._peek() == ",":
            self._skip()
            children.append(self.policy(depth + 1))
        self._take("]")
        return Threshold(k, tuple(children))

    def _leaf(self, name: str) -> Policy:
        match name:
            case "key":
                return Key(self._hex(33))
            case "preimage":
                return Preimage(self._hex(32))
            case "opaque":
                return Opaque(LockId(self._hex(32)))
            case "pays":
                return Pays(LockId(self._hex(32)))
            case "after_height":
                return AfterHeight(self._number(0))
            case "after_time":
                return AfterTime(self._number(0))
            case _:
                return Older(self._number(1))

    def _number(self, least: int) -> int:
        match = re.compile(r"\s*([0-9]{1,10})(?![0-9a-zA-Z_])").match(self._text, self._place)
        if not match or not least <= int(match[1]) <= MAX_UINT32:
            self._fail(f"a number from {least} to {MAX_UINT32}")
        self._place = match.end()
        return int(match[1])

    def _hex(self, size: int) -> bytes:
        match = re.compile(rf"\s*([0-9a-fA-F]{{{2 * size}}})(?![0-9a-zA-Z_])").match(self._text, self._place)
        if not match:
            self._fail(f"{size} bytes in hex")
        self._place = match.end()
        return bytes.fromhex(match[1])
