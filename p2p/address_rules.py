"""Which addresses a node takes from others, how they travel, and which of them belong to one owner."""

from __future__ import annotations

import functools
import ipaddress
from typing import Final

from p2p import limits
from p2p.messages import PeerAddress
from p2p.transport import Address

_MAPPED: Final = bytes(10) + b"\xff\xff"

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address
_Ranges = dict[int, tuple[tuple[int, int], ...]]


def _ranges(*texts: str) -> _Ranges:
    """Return, by IP version, the first and last address of each network, as numbers."""
    networks = [ipaddress.ip_network(text) for text in texts]
    return {
        version: tuple((int(one[0]), int(one[-1])) for one in networks if one.version == version) for version in (4, 6)
    }


# Written out, because what `ipaddress` calls global changed between Python versions.
_NEVER: Final = _ranges("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8")
"""Nobody listens there: "this" network, multicast, reserved and broadcast."""
_PRIVATE: Final = _ranges(
    "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "::1/128", "fc00::/7", "fe80::/10", "2001:db8::/32",
)  # fmt: skip
"""Loopback, link-local, private and documentation ranges: of use within one machine, house or laboratory only."""
_TUNNELS: Final = _ranges("64:ff9b::/96", "2001::/32", "2002::/16")
"""NAT64, Teredo and 6to4: one IPv4 address under very many names."""
_GLOBAL_IPV6: Final = _ranges("2000::/3")


@functools.lru_cache(maxsize=4096)
def parse_host(host: str) -> _IP | None:
    """Return the IP address, IPv4 mapped into IPv6 as IPv4; None for a name, and for an address with a zone."""
    if "%" in host:
        return None
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, ipaddress.IPv6Address) else parsed


def _within(parsed: _IP, ranges: _Ranges) -> bool:
    number = int(parsed)
    return any(first <= number <= last for first, last in ranges[parsed.version])


def is_private(host: str) -> bool:
    """Say whether `host` is of use within one machine, house or laboratory only."""
    parsed = parse_host(host)
    return parsed is not None and _within(parsed, _PRIVATE)


def may_learn(address: Address, *, private_allowed: bool) -> bool:
    """Say whether an address that somebody told us may be remembered, dialled and told on.

    Args:
        private_allowed: True on networks for one machine or house (`local`, `regtest`), where private and loopback
            addresses are the usual ones.
    """
    parsed = parse_host(address.host)
    if parsed is None or str(parsed) != address.host or not limits.MIN_LEARNED_PORT <= address.port <= 65535:
        return False
    if _within(parsed, _NEVER):
        return False
    if _within(parsed, _PRIVATE):
        return private_allowed
    if isinstance(parsed, ipaddress.IPv6Address):
        return _within(parsed, _GLOBAL_IPV6) and not _within(parsed, _TUNNELS)
    return True


def address_group(address: Address) -> bytes:
    """Return the owner an address counts for: whoever has one address of a group is likely to have many.

    IPv4 by /16 and IPv6 by /32, as Bitcoin Core. A private address is its own group, port included: those of one house
    or machine all share their first bytes, and no stranger can send from them.
    """
    parsed = parse_host(address.host)
    if parsed is None:
        return b"name:" + address.host.encode()[:64]
    if _within(parsed, _PRIVATE):
        return parsed.packed + address.port.to_bytes(2, "big")
    return parsed.packed[:2] if parsed.version == 4 else parsed.packed[:4]


def pack_host(host: str) -> bytes:
    """Return the 16 bytes by which an IP address travels.

    Raises:
        ValueError: `host` is a name.
    """
    parsed = parse_host(host)
    if parsed is None:
        raise ValueError(f"{host!r} is no IP address")
    return _MAPPED + parsed.packed if parsed.version == 4 else parsed.packed


def unpack_host(raw: bytes) -> str:
    """Return the text of the 16 bytes by which an IP address travels."""
    if raw.startswith(_MAPPED):
        return str(ipaddress.IPv4Address(raw[12:]))
    return str(ipaddress.IPv6Address(raw))


def to_peer_address(address: Address, seen: int) -> PeerAddress:
    """Return an address as it travels in `Addr`.

    Args:
        address: an IP address with a port.
        seen: UNIX seconds.
    """
    return PeerAddress(pack_host(address.host), address.port, max(0, min(seen, 2**32 - 1)))


def from_peer_address(told: PeerAddress) -> Address:
    """Return the address that a peer told."""
    return Address(unpack_host(told.host), told.port)
