"""Addresses: published checksums, and every way to mistype one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.address import AddressError, bech32m_decode, bech32m_encode, decode_address, encode_address
from consensus.amounts import format_amount, parse_amount
from consensus.params import LOCAL, MAIN, NETWORKS, REGTEST
from consensus.types import LockId
from tests.support.rules import lock

ADDRESS = encode_address(MAIN, lock(1))
locks = st.binary(min_size=32, max_size=32).map(LockId)


def test_published_bech32m_strings(vectors: Path) -> None:
    """A147: valid and invalid strings of BIP 350; strings of BIP 173 have the old checksum."""
    text = (vectors / "bech32" / "bip-0350_test_vectors.txt").read_text()
    valid, invalid = text.split("===Test vectors for Bech32m===")[1].split("The following string are not valid")
    good = re.findall(r"^\* <tt>(.*)</tt>$", valid, re.MULTILINE)
    bad = re.findall(r"^\* (?:0x(..) \+ )?<tt>(.*?)</tt>:", invalid.split("===")[0], re.MULTILINE)
    assert (len(good), len(bad)) == (7, 14)
    for string in good:
        prefix, symbols = bech32m_decode(string)
        assert bech32m_encode(prefix, symbols) == string.lower()
    for byte, string in bad:
        with pytest.raises(AddressError):
            bech32m_decode((chr(int(byte, 16)) if byte else "") + string)
    old = (vectors / "bech32" / "bip-0173_test_vectors.txt").read_text()
    strings = re.findall(r"^\* <tt>(.*)</tt>$", old.split("===Test vectors===")[-1], re.MULTILINE)
    for string in [each for each in strings if "1" in each][:5]:
        with pytest.raises(AddressError):
            bech32m_decode(string)


@given(locks, st.sampled_from(sorted(NETWORKS)))
def test_an_address_names_its_lock_on_its_own_network_only(name: LockId, network: str) -> None:
    """A147: the same lock elsewhere has another address, which is refused here by name."""
    params = NETWORKS[network]
    address = encode_address(params, name)
    assert len(address) == len(params.address_prefix) + 1 + 53 + 6
    assert decode_address(params, address) == name
    assert decode_address(params, address.upper()) == name
    for other in NETWORKS.values():
        if other is not params:
            with pytest.raises(AddressError, match="not of this network"):
                decode_address(other, address)


@given(st.data())
def test_up_to_four_typos_are_always_found(data: st.DataObject) -> None:
    """A147: the checksum finds any four wrong symbols."""
    symbols = list(ADDRESS)
    first = len("dure1")
    for place in data.draw(st.sets(st.integers(first, len(symbols) - 1), min_size=1, max_size=4)):
        others = [c for c in "qpzry9x8gf2tvdw0s3jn54khce6mua7l" if c != symbols[place]]
        symbols[place] = data.draw(st.sampled_from(others))
    with pytest.raises(AddressError):
        decode_address(MAIN, "".join(symbols))


def test_swaps_case_insertions_and_other_versions_are_refused() -> None:
    """A147: neighbours swapped, mixed case, q inserted before a final p, another version, padding set."""
    for place in range(5, len(ADDRESS) - 1):
        if ADDRESS[place] != ADDRESS[place + 1]:
            swapped = ADDRESS[:place] + ADDRESS[place + 1] + ADDRESS[place] + ADDRESS[place + 2 :]
            with pytest.raises(AddressError):
                decode_address(MAIN, swapped)
    with pytest.raises(AddressError, match="mixes"):
        decode_address(MAIN, ADDRESS[:-1] + ADDRESS[-1].upper() if ADDRESS[-1].isalpha() else "D" + ADDRESS[1:])
    _, symbols = bech32m_decode(ADDRESS)
    for wrong, why in (
        ([0, *symbols], "length"),
        (symbols[:-1], "length"),
        ([*symbols[:-1], symbols[-1] | 1], "length"),
        ([1, *symbols[1:]], "version"),
    ):
        with pytest.raises(AddressError, match=why):
            decode_address(MAIN, bech32m_encode("dure", wrong))
    ends_in_p = next(
        each
        for each in (encode_address(MAIN, LockId(bytes([n // 256, n % 256]) * 16)) for n in range(500))
        if each[-1] == "p"
    )
    with pytest.raises(AddressError):
        decode_address(MAIN, ends_in_p[:-1] + "qp")


MISTAKES = {
    "x" * 91: "the address is too long",
    "dure1\x7f" + ADDRESS[6:]: "the address has a character that no address has",
    " " + ADDRESS: "the address has a character that no address has",
    ADDRESS[:-2] + "qQ": "the address mixes small and capital letters",
    "dure": "the address is too short, or has no prefix",
    "1" + ADDRESS[5:]: "the address is too short, or has no prefix",
    "dure1qqqqq": "the address is too short, or has no prefix",
    ADDRESS.replace("q", "i").replace("z", "b"): "the address has a character that no address has: 'i'",
    "a12uel5l": "the address has an old checksum (bech32, not bech32m)",
    ADDRESS[:-1] + ("q" if ADDRESS[-1] != "q" else "p"): "the address is mistyped: its checksum does not match",
    encode_address(REGTEST, lock(1)): (
        "the address is not of this network: it starts with 'rdure', here they start with 'dure'"
    ),
    bech32m_encode("dure", [0] * 54): "the address has the wrong length",
    bech32m_encode("dure", [0] * 52): "the address has the wrong length",
    bech32m_encode("dure", [0] * 52 + [1]): "the address has the wrong length",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_each_mistake_in_an_address_is_told_as_itself(text: str) -> None:
    """A147"""
    with pytest.raises(AddressError) as refused:
        decode_address(MAIN, text)
    assert str(refused.value) == MISTAKES[text]


@pytest.mark.parametrize("bit", range(8))
def test_every_bit_of_the_version_counts(bit: int) -> None:
    """A147: the first byte of the data is the version, and 0 the only one."""
    number = (1 << bit) << 257 | int.from_bytes(lock(1), "big") << 1
    symbols = [number >> 5 * (52 - place) & 31 for place in range(53)]
    with pytest.raises(AddressError, match=r"^the address is of a version that this program does not know$"):
        decode_address(MAIN, bech32m_encode("dure", symbols))


def test_bech32m_has_every_visible_character_and_90_of_them() -> None:
    """BIP 350: from ! to ~, at most 90 in all, of which at least one before the separator and six after it."""
    for prefix in ("!", "~", "!~1", "a" * 83):
        assert bech32m_decode(bech32m_encode(prefix, [])) == (prefix, [])
    assert len(bech32m_encode("a" * 82, [7])) == 90
    assert bech32m_decode(bech32m_encode("a" * 82, [7])) == ("a" * 82, [7])
    for text in (bech32m_encode("a" * 83, [7]), "\x20" + bech32m_encode("!", [])[1:], bech32m_encode("\x7f", [])):
        with pytest.raises(AddressError):
            bech32m_decode(text)


@pytest.mark.parametrize("text", ["", " ", "dure1", "1", "x" * 200, "dure1é", ADDRESS + " ", "\t" + ADDRESS, "١"])
def test_a_text_that_is_no_address_is_a_sentence(text: str) -> None:
    with pytest.raises(AddressError) as error:
        decode_address(MAIN, text)
    assert str(error.value).startswith("the address")


def test_prefixes_tell_networks_apart() -> None:
    assert encode_address(LOCAL, lock(1)).startswith("ldure1")
    assert encode_address(REGTEST, lock(1)).startswith("rdure1")


@given(st.integers(0, 2**62))
def test_amounts_survive_their_text(grain: int) -> None:
    if grain < 10**19:
        assert parse_amount(format_amount(grain)) == grain
    assert format_amount(-grain - 1) == "-" + format_amount(grain + 1)


@pytest.mark.parametrize(
    ("text", "grain"), [("12.5", 1_250_000_000), ("0", 0), ("0.00000001", 1), ("21000000", 21 * 10**14)]
)
def test_amounts_are_read_exactly(text: str, grain: int) -> None:
    assert parse_amount(text) == grain


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.", ".5", "1e3", "1,5", " 1", "0.000000001", "nan", "٣", "1" * 12])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^not an amount in DURE, such as 12.5: {re.escape(repr(text))}$"):
        parse_amount(text)


def test_only_the_start_of_a_long_text_is_told_again() -> None:
    with pytest.raises(ValueError, match=r"12\.5: 'x{40}'$"):
        parse_amount("x" * 41)
