"""Hosts whose peers misbehaved: not dialled, and first to go. Never more than a known number (A101)."""

from __future__ import annotations

from node.gossip_limits import DISCOURAGE_SECONDS, MAX_DISCOURAGED
from p2p.address_rules import parse_host
from p2p.transport import Address


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine: where many nodes share one address, none is judged by it."""
    parsed = parse_host(host)
    return parsed is not None and parsed.is_loopback


class Discouraged:
    """A bounded table of hosts. On loopback, and there only, a host with its port stands for itself."""

    def __init__(self, limit: int = MAX_DISCOURAGED) -> None:
        self._limit = limit
        self._until: dict[Address, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def add(self, address: Address, now: float) -> None:
        """Discourage a host; `now` is the loop's time. The oldest makes room."""
        key = _key(address)
        self._until.pop(key, None)
        if len(self._until) >= self._limit:
            del self._until[next(iter(self._until))]
        self._until[key] = now + DISCOURAGE_SECONDS

    def contains(self, address: Address, now: float) -> bool:
        """Tell whether a host is discouraged at `now`."""
        key = _key(address)
        until = self._until.get(key)
        if until is not None and until <= now:
            del self._until[key]
            until = None
        return until is not None


def _key(address: Address) -> Address:
    return address if is_loopback(address.host) else Address(address.host, 0)
