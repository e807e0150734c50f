"""Assets as people see them: amounts with the asset's decimals, and the text that its issuer wrote."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

import msgspec
from msgspec import Meta

from consensus.types import MAX_DECIMALS, MAX_INTEGER, MAX_METADATA, Amount

_AMOUNT = re.compile(r"([0-9]{1,40})(?:\.([0-9]{1,18}))?")
_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"})
"""Categories of characters that show nothing, or change how others are shown: controls, formats (of direction,
without width), private and unassigned ones, lone surrogates, and separators of lines (UAX 44, table 12)."""
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Letters, marks and symbols of other categories that show nothing either: fillers of Hangul and Khmer, the empty
pattern of Braille. Selectors of variants, and spaces but the usual one, are told by category and name, below."""

_LONGEST = {"name": 64, "ticker": 12, "uri": 512, "media_type": 128}
"""Characters."""


class Metadata(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What an issuer says of an asset, by custom; MessagePack of four texts. Nobody checks it."""

    name: Annotated[str, Meta(max_length=_LONGEST["name"])] | None = None
    ticker: Annotated[str, Meta(max_length=_LONGEST["ticker"])] | None = None
    uri: Annotated[str, Meta(max_length=_LONGEST["uri"])] | None = None
    media_type: Annotated[str, Meta(max_length=_LONGEST["media_type"])] | None = None


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Metadata)


def encode_metadata(metadata: Metadata) -> bytes:
    """Return the bytes that a definition holds.

    Raises:
        ValueError: a text is too long, or holds characters that show nothing: nobody would see what he signs.
    """
    raw = _encode(metadata)
    if len(raw) > MAX_METADATA:
        raise ValueError(f"name, ticker, URI and media type take {len(raw)} bytes; there is room for {MAX_METADATA}")
    for text in (metadata.name, metadata.ticker, metadata.uri, metadata.media_type):
        if text is not None and shown(text) != text:
            raise ValueError(f"a character that cannot be seen: {shown(text)}")
    for what, most in _LONGEST.items():
        text = getattr(metadata, what)
        if text is not None and len(text) > most:
            raise ValueError(f"the {what.replace('_', ' ')} has {len(text)} characters; it may have {most}")
    return raw


def decode_metadata(raw: bytes) -> Metadata | None:
    """Read what a definition holds; None where it is not of the customary form. Any bytes are valid there."""
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return None


def shown(text: str) -> str:
    r"""Return a foreign text so that all of it is seen: hidden characters as `\u{hex}` (A174)."""
    return "".join(f"\\u{{{ord(each):x}}}" if _hides(each) or each == "\\" else each for each in text)


def _hides(character: str) -> bool:
    category = unicodedata.category(character)
    return (
        category in _HIDDEN
        or character in _BLANK
        or (category == "Zs" and character != " ")
        or (category == "Mn" and unicodedata.name(character, "").startswith("VARIATION SELECTOR"))
    )


def parse_units(text: str, decimals: int) -> Amount:
    """Read an amount of an asset with `decimals`, exact; return smallest units.

    Raises:
        ValueError: it is no such amount, has more decimals, or is above 2^63 - 1 units.
    """
    match = _AMOUNT.fullmatch(text)
    if not match or not text.isascii():
        raise ValueError(f"not an amount, such as 12 or 12.5: {text[:40]!r}")
    whole, fraction = match[1], match[2] or ""
    if len(fraction) > decimals:
        raise ValueError(f"this asset has {decimals} decimals: {text[:40]!r}")
    units = int(whole) * 10**decimals + int(fraction.ljust(decimals, "0") or "0")
    if units > MAX_INTEGER:
        raise ValueError(f"more than there can be of an asset: {text[:40]!r}")
    return Amount(units)


def format_units(units: int, decimals: int) -> str:
    """Return an amount of smallest units as text, with all of the asset's decimals."""
    if not 0 <= decimals <= MAX_DECIMALS:
        raise ValueError(f"an asset has 0 to {MAX_DECIMALS} decimals")
    sign, digits = ("-" if units < 0 else ""), str(abs(units)).rjust(decimals + 1, "0")
    return sign + (f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits)
