"""JSON as nodes speak it: amounts are numbers with eight decimals, and never pass through a binary fraction."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from consensus.amounts import format_amount, parse_amount

_T = TypeVar("_T")


class Dure:
    """An amount of DURE, exact: in JSON a number with eight decimals, here a whole number of grain."""

    __slots__ = ("grain",)

    def __init__(self, grain: int) -> None:
        """
        Args:
            grain: 100,000,000 of them are one DURE; may be negative, where money goes out.
        """
        self.grain = grain

    @classmethod
    def parse(cls, value: object) -> Dure:
        """Read what JSON held: an int or a Decimal (a number), or a text.

        Raises:
            ValueError: it is none of these, has more than eight decimals, or is beyond any supply.
        """
        if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
            # Not a TypeError: to the caller it is one more text that is no amount.
            raise ValueError("an amount is a number of DURE, such as 12.5")  # noqa: TRY004
        text = value if isinstance(value, str) else _plain(value)
        if text.startswith("-"):
            return cls(-parse_amount(text[1:]))
        return cls(parse_amount(text))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dure) and self.grain == other.grain

    def __hash__(self) -> int:
        return hash(self.grain)

    def __str__(self) -> str:
        return format_amount(self.grain)

    def __repr__(self) -> str:
        return f"Dure({format_amount(self.grain)})"

    def __float__(self) -> float:
        """For display only."""
        return self.grain / 100_000_000


def _plain(number: int | Decimal) -> str:
    """Write a JSON number without an exponent, or as it is if that would be long."""
    if isinstance(number, int):
        return str(number)
    exponent = number.as_tuple().exponent
    if not number.is_finite() or not isinstance(exponent, int) or abs(exponent) > 32 or number.adjusted() > 32:
        return str(number)
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def to_json(value: object) -> object:
    """Turn a value that JSON has no form for into one that it has.

    Raises:
        NotImplementedError: for a type that is not ours.
    """
    if isinstance(value, Dure):
        return msgspec.Raw(str(value).encode("ascii"))
    raise NotImplementedError(f"no JSON form of {type(value).__name__}")


def from_json(kind: type, value: object) -> object:
    """Read a value of one of our types from what JSON held.

    Raises:
        ValueError: it is no such value.
        NotImplementedError: for a type that is not ours.
    """
    if kind is Dure:
        return Dure.parse(value)
    raise NotImplementedError(f"no JSON form of {kind.__name__}")


_encoder = msgspec.json.Encoder(enc_hook=to_json, decimal_format="number")


def encode(value: object) -> bytes:
    """Return the JSON text of a value of `rpc.schema`, or of plain lists, dicts, numbers and strings."""
    return _encoder.encode(value)


def decode(raw: bytes | msgspec.Raw, kind: type[_T]) -> _T:
    """Read JSON as a type of `rpc.schema`. Fields that this program does not know are passed over.

    Raises:
        msgspec.MsgspecError: the text is not JSON, or not of this type.
    """
    return msgspec.json.Decoder(kind, dec_hook=from_json, float_hook=Decimal).decode(raw)


def decode_any(raw: bytes | msgspec.Raw) -> Any:
    """Read JSON as plain values; numbers with a point become `Decimal`, exactly as written.

    Raises:
        msgspec.MsgspecError: the text is not JSON.
    """
    return msgspec.json.Decoder(float_hook=Decimal).decode(raw)
