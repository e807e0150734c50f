from __future__ import annotations

import pytest

from p2p.transport import Address, AddressSyntaxError, normal_host, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:7340", "127.0.0.1", 7340),
        ("[::1]:1", "::1", 1),
        ("[2001:0db8::0001]:65535", "2001:db8::1", 65535),
        ("Seed.Example.:80", "seed.example", 80),
        ("[::ffff:10.0.0.1]:5", "10.0.0.1", 5),
    ],
)
def test_an_address_is_read_into_one_form(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize(
    "text",
    [
        "", ":", ":1", "a", "a:", "a:0", "a:65536", "a:-1", "a:+1", "a:1 1", "::1", "::1:80x", "[::1]", "a b:1",
        "a:\u0663", "x\n:1", "[a:1",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(AddressSyntaxError):
        parse_address(text)


@pytest.mark.parametrize("text", ["node0", "10.0.0.1", "::1", "[::1]"])
def test_a_missing_port_takes_the_default(text: str) -> None:
    assert parse_address(text, 7340) == Address(text.strip("[]"), 7340)


@pytest.mark.parametrize("address", [Address("::1", 5), Address("10.0.0.1", 65535), Address("node0", 1)])
def test_what_is_shown_can_be_typed(address: Address) -> None:
    assert parse_address(str(address)) == address


def test_a_zone_is_no_part_of_an_address() -> None:
    assert normal_host("fe80::1%eth0") == "fe80::1"
