"""Assets as people see them: exact amounts, and foreign text of which nothing stays hidden."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from consensus.asset_text import Metadata, decode_metadata, encode_metadata, format_units, parse_units, shown
from consensus.types import MAX_INTEGER, MAX_METADATA


@given(st.integers(0, MAX_INTEGER), st.integers(0, 18))
def test_an_amount_survives_its_text(units: int, decimals: int) -> None:
    assert parse_units(format_units(units, decimals), decimals) == units


def test_amounts_are_written_as_people_do() -> None:
    assert format_units(12_345, 2) == "123.45"
    assert format_units(5, 2) == "0.05"
    assert format_units(-5, 2) == "-0.05"
    assert format_units(7, 0) == "7"
    assert [parse_units(text, 2) for text in ("1", "1.5", "0.05", "007")] == [100, 150, 5, 700]


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1.", ".5", "1.234", "1e3", "NaN", "1_000", "１", "9" * 41, " 1", "1,5"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    """A186: also more decimals than the asset has, and digits that are no ASCII."""
    why = "this asset has 2 decimals" if text == "1.234" else "not an amount, such as 12 or 12.5"
    with pytest.raises(ValueError, match=f"^{re.escape(f'{why}: {text[:40]!r}')}$"):
        parse_units(text, 2)


def test_only_the_start_of_a_long_text_is_told_again() -> None:
    for text in ("x" * 41, "1." + "5" * 18 + " " * 21):
        with pytest.raises(ValueError, match=f"^not an amount, such as 12 or 12.5: {re.escape(repr(text[:40]))}$"):
            parse_units(text, 2)
    for text, why in (
        ("1" * 30 + "." + "5" * 18, "this asset has 2 decimals"),
        ("9" * 40 + ".5", "more than there can be of an asset"),
    ):
        with pytest.raises(ValueError, match=f"^{why}: {re.escape(repr(text[:40]))}$"):
            parse_units(text, 2)
    long = "0" * 18 + "9." + "5" * 18 + " "
    with pytest.raises(ValueError, match=r"^not an amount, such as 12 or 12\.5: '0{18}9\.5{18} '$"):
        parse_units(long, 2)
    assert parse_units("0." + "0" * 17 + "1", 18) == 1


@pytest.mark.parametrize("decimals", [-1, 19])
def test_an_asset_has_0_to_18_decimals(decimals: int) -> None:
    with pytest.raises(ValueError, match=r"^an asset has 0 to 18 decimals$"):
        format_units(1, decimals)
    assert (format_units(1, 0), format_units(1, 18)) == ("1", "0." + "0" * 17 + "1")


def test_an_amount_ends_at_the_largest_integer() -> None:
    assert parse_units(str(MAX_INTEGER), 0) == MAX_INTEGER
    with pytest.raises(ValueError, match="more than there can be"):
        parse_units(str(MAX_INTEGER + 1), 0)
    with pytest.raises(ValueError, match="more than there can be"):
        parse_units(str(MAX_INTEGER // 100 + 1), 2)
    with pytest.raises(ValueError, match="more than there can be"):
        parse_units("9" * 40, 0)


def test_metadata_survives_its_encoding() -> None:
    whole = Metadata("Town token", "TOWN", "https://example.org/t", "image/png")
    for metadata in (whole, Metadata(), Metadata(name="두레")):
        assert decode_metadata(encode_metadata(metadata)) == metadata


@pytest.mark.parametrize("raw", [b"", b"\x90", b"\x94\x01\xc0\xc0\xc0", b"\xc1", b"\x94" * 2_000, b"{}", bytes(32)])
def test_bytes_of_another_form_are_no_metadata_and_no_error(raw: bytes) -> None:
    """A034: consensus takes any bytes; what shows them does not break."""
    metadata = decode_metadata(raw)
    assert metadata is None or metadata == Metadata()


def test_metadata_has_room_for_so_much_and_no_more() -> None:
    """A074"""
    fits = Metadata("n" * 64, "t" * 12, "u", "\u00e9" * 69)
    room = MAX_METADATA - len(encode_metadata(fits)) - 1  # of a URI, whose head has three bytes then
    full = replace(fits, uri="\u00e9" * (room - 512) + "u" * (2 * 512 - room))
    assert (len(encode_metadata(full)), len(full.uri or "")) == (MAX_METADATA, 512)
    with pytest.raises(ValueError, match=r"^name, ticker, URI and media type take 1025 bytes; there is room for 1024$"):
        encode_metadata(replace(full, name="n" * 63 + "\u00e9"))
    with pytest.raises(ValueError, match="the name has 65 characters; it may have 64"):
        encode_metadata(Metadata("n" * 65))
    with pytest.raises(ValueError, match="the media type has 129 characters; it may have 128"):
        encode_metadata(Metadata(media_type="m" * 129))
    assert encode_metadata(Metadata("n" * 64, "t" * 12, "u" * 512, "m" * 128))


@pytest.mark.parametrize(
    "hidden",
    [
        "\u202e",
        "\u200b",
        "\x00",
        "\x1b",
        "\u2066",
        "\ufeff",
        "\n",
        "\u2028",
        "\ue000",
        "\u3164",
        "\u115f",
        "\u1160",
        "\uffa0",
        "\u2800",
        "\u034f",
        "\ufe0f",
        "\U000e0100",
        "\u00a0",
        "\u3000",
        "\u17b4",
    ],
)
def test_nothing_hides_in_a_name(hidden: str) -> None:
    """A034, A174: turned direction, no width, controls, other lines, letters that look like none, odd spaces.

    They are shown as what they are, and refused where we write.
    """
    text = f"gold{hidden}coin"
    assert shown(text) == f"gold\\u{{{ord(hidden):x}}}coin"
    with pytest.raises(ValueError, match="cannot be seen"):
        encode_metadata(Metadata(name=text))


def test_marks_above_a_letter_are_seen_and_selectors_of_variants_are_not() -> None:
    assert shown("e\u0301 n\u0303") == "e\u0301 n\u0303"
    assert shown("a\ufe0fb\u180b") == "a\\u{fe0f}b\\u{180b}"


def test_a_name_that_pretends_to_be_escaped_is_told_apart() -> None:
    assert shown("a\\u{200b}") == "a\\u{5c}u{200b}"
    assert shown("한국 für ñ") == "한국 für ñ"
