"""What methods take: types that JSON has no name for, and how each is read. Errors name the parameter."""

from __future__ import annotations

import re
from base64 import b64decode
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from consensus.codec import MAX_BLOCK_SIZE
from consensus.types import MAX_INTEGER, Amount, AssetId
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError

Count = Annotated[int, Meta(ge=0, le=100_000)]
Height = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Seconds = Annotated[int, Meta(ge=0, le=100_000_000)]
MAX_CONF_TARGET = 1_008
"""Blocks (Bitcoin Core's bound, so that its clients find theirs)."""
ConfTarget = Annotated[int, Meta(ge=1, le=MAX_CONF_TARGET)]
EstimateMode = Literal["unset", "economical", "conservative", "UNSET", "ECONOMICAL", "CONSERVATIVE"]
AddressText = Annotated[str, Meta(max_length=256)]
Label = Annotated[str, Meta(max_length=255)]
Units = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
"""Of an asset, in smallest units; or grain, where a method takes either."""
HostPort = Annotated[str, Meta(min_length=1, max_length=300)]


MAX_QUOTED = 300
"""Characters of what is said about a value: it may quote it."""


class HashHex(bytes):
    """The id of a block or transaction: 64 hex digits, reversed as people see them; here 32 bytes as hashed."""


class LockHex(bytes):
    """A hash in byte order: 64 hex digits."""


class Hex(bytes):
    """Bytes in hex."""


class FeeRate(int):
    """A fee rate: in JSON grain per byte, with at most 3 decimals; here grain per 1,000 bytes."""


class Worth:
    """What an output carries: an amount of DURE, or an object of an asset's id and an amount of smallest units."""

    __slots__ = ("amount", "asset")

    def __init__(self, amount: int, asset: AssetId | None) -> None:
        """
        Args:
            amount: grain, if `asset` is None.
        """
        self.amount = Amount(amount)
        self.asset = asset


class BadParameter(ValueError):
    """A parameter that cannot be read. `text` follows the parameter's name in the message."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def read_parameter(name: str, kind: Any, value: object) -> Any:
    """Return a parameter in its type.

    Args:
        value: plain JSON: dict, list, str, int, Decimal, bool, None.

    Raises:
        RpcError: `TYPE_ERROR` if JSON's type is not the right one, else `INVALID_PARAMETER` or what fits better.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=_read_special)
    except msgspec.ValidationError as error:
        cause = error.__cause__
        if isinstance(cause, BadParameter):
            raise RpcError(cause.code, f"{name} {cause.text}") from None
        text = str(error).replace("`", "")[:MAX_QUOTED]
        wrong_type = text.startswith("Expected") and ", got" in text
        code = ErrorCode.TYPE_ERROR if wrong_type else ErrorCode.INVALID_PARAMETER
        raise RpcError(code, f"{name}: {text[:1].lower()}{text[1:]}") from None


def optional_asset(given: LockHex | None) -> AssetId | None:
    """Return the id of an asset that may be left out."""
    return None if given is None else AssetId(bytes(given))


def read_base64(text: str, otherwise: str) -> bytes:
    """Return the bytes of a file that was sent as base64.

    Raises:
        RpcError: `DESERIALIZATION_ERROR`, with the sentence `otherwise`, if it is not base64.
    """
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise RpcError(ErrorCode.DESERIALIZATION_ERROR, otherwise) from None


def _read_special(kind: type, value: object) -> object:
    if kind is Dure:
        return _amount(value)
    if kind is Worth:
        return _worth(value)
    if kind is FeeRate:
        return _fee_rate(value)
    if not isinstance(value, str):
        raise BadParameter(ErrorCode.TYPE_ERROR, "must be a string")
    if kind is Hex:
        return _hex(value)
    raw = _hash(value)
    return HashHex(raw[::-1]) if kind is HashHex else LockHex(raw)


def _amount(value: object) -> Dure:
    try:
        amount = Dure.parse(value)
    except ValueError:
        # Not the value itself: whatever it is, it need not stand in a log.
        raise BadParameter(
            ErrorCode.TYPE_ERROR, "is not an amount: a number of DURE with at most 8 decimals, such as 12.5"
        ) from None
    if amount.grain < 0:
        raise BadParameter(ErrorCode.TYPE_ERROR, "is out of range: an amount is not negative")
    return amount


def _worth(value: object) -> Worth:
    if not isinstance(value, dict):
        worth = Worth(_amount(value).grain, None)
    elif value.keys() == {"asset", "amount"}:
        asset, amount = value["asset"], value["amount"]
        if not isinstance(asset, str):
            raise BadParameter(ErrorCode.TYPE_ERROR, "names no asset: its id is a string")
        if not isinstance(amount, int) or isinstance(amount, bool):
            raise BadParameter(ErrorCode.TYPE_ERROR, "is no amount of an asset: a whole number of smallest units")
        worth = Worth(amount, AssetId(_hash(asset)))
    else:
        raise BadParameter(ErrorCode.TYPE_ERROR, 'is neither an amount of DURE nor {"asset": id, "amount": units}')
    if not 1 <= worth.amount <= MAX_INTEGER:
        raise BadParameter(ErrorCode.TYPE_ERROR, "is out of range: an output is worth something")
    return worth


def _fee_rate(value: object) -> FeeRate:
    text = str(value) if isinstance(value, int | Decimal | str) and not isinstance(value, bool) else ""
    match = re.fullmatch(r"([0-9]{1,9})(?:\.([0-9]{1,3}))?", text)
    if not match:
        raise BadParameter(ErrorCode.TYPE_ERROR, "is not a fee rate: grain per byte, at most 3 decimals")
    return FeeRate(int(match[1]) * 1_000 + int((match[2] or "").ljust(3, "0")))


def _hash(text: str) -> bytes:
    if len(text) != 64:
        raise BadParameter(ErrorCode.INVALID_PARAMETER, f"must be of length 64 (not {len(text)}, for {text[:80]!r})")
    raw = _unhex(text)
    if raw is None:
        raise BadParameter(ErrorCode.INVALID_PARAMETER, f"must be hexadecimal string (not {text!r})")
    return raw


def _hex(text: str) -> Hex:
    if len(text) > 2 * MAX_BLOCK_SIZE:
        raise BadParameter(ErrorCode.DESERIALIZATION_ERROR, f"has more than {2 * MAX_BLOCK_SIZE} hex digits")
    raw = _unhex(text)
    if raw is None:
        raise BadParameter(ErrorCode.DESERIALIZATION_ERROR, "is not hex")
    return Hex(raw)


def _unhex(text: str) -> bytes | None:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    # It passes over blanks; a text without any digit is none either.
    return raw if raw and 2 * len(raw) == len(text) else None
