"""Who is dropped when every inbound slot is taken, and who is remembered as bad."""

from __future__ import annotations

import random

from node.discouraged import Discouraged
from node.eviction import (
    PROTECTED_BY_BLOCKS,
    PROTECTED_BY_LATENCY,
    PROTECTED_BY_TRANSACTIONS,
    Candidate,
    choose_eviction,
)
from node.gossip_limits import DISCOURAGE_SECONDS
from p2p.transport import Address


def attackers(count: int, *, group: bytes = b"one", since: float = 100.0) -> list[Candidate]:
    return [Candidate(number, group, since + number) for number in range(count)]


def test_of_a_crowd_without_merits_the_newest_goes() -> None:
    assert choose_eviction(attackers(20)) == 19


def test_the_most_crowded_group_loses_one() -> None:
    lone = Candidate(900, b"another", 999.0)  # the newest of all, but alone
    assert choose_eviction([*attackers(20), lone]) == 19


def test_a_discouraged_peer_goes_before_all_others() -> None:
    bad = Candidate(900, b"another", 1.0, latency=0.0001, last_block=1e9, discouraged=True)
    assert choose_eviction([*attackers(20), bad]) == 900


def test_what_an_attacker_cannot_cheaply_have_protects() -> None:
    """A112"""
    crowd = attackers(200, since=0.0)
    for merit in ({"latency": 0.001}, {"last_block": 5_000.0}, {"last_transaction": 5_000.0}):
        honest = Candidate(900, b"one", 1_000.0, **merit)  # type: ignore[arg-type]
        for _ in range(50):
            assert choose_eviction([*crowd, honest]) != 900


def test_honest_peers_survive_an_attacker_who_is_first_in_one_thing() -> None:
    """A112: attackers with the best latency displace by latency, and by nothing else."""
    rng = random.Random(7)
    for _ in range(100):
        crowd = [Candidate(n, b"one", rng.uniform(500, 900), latency=rng.uniform(0, 0.001)) for n in range(200)]
        honest = Candidate(900, b"two", 100.0, latency=0.2, last_block=400.0)
        assert choose_eviction([*crowd, honest]) not in {None, 900}


def test_if_all_are_protected_the_newcomer_is_refused() -> None:
    few = [Candidate(n, b"one", 1.0, latency=0.1) for n in range(PROTECTED_BY_LATENCY)]
    few += [Candidate(100 + n, b"one", 1.0, last_block=1.0) for n in range(PROTECTED_BY_BLOCKS)]
    few += [Candidate(200 + n, b"one", 1.0, last_transaction=1.0) for n in range(PROTECTED_BY_TRANSACTIONS)]
    assert choose_eviction(few) is None
    assert choose_eviction([]) is None


def test_a_million_bad_hosts_leave_a_table_of_two_thousand() -> None:
    """A101, CVE-2020-14198"""
    table = Discouraged(limit=2_000)
    for number in range(20_000):
        table.add(Address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1), 0.0)
    assert len(table) == 2_000
    assert table.contains(Address("10.0.78.31", 9), 1.0)
    assert not table.contains(Address("10.0.0.1", 1), 1.0)


def test_a_host_is_forgiven_after_a_day_and_not_before() -> None:
    table = Discouraged()
    host = Address("8.8.8.8", 1)
    table.add(host, 50.0)
    assert table.contains(Address("8.8.8.8", 77), 50.0 + DISCOURAGE_SECONDS - 1)
    assert not table.contains(host, 50.0 + DISCOURAGE_SECONDS)
    assert len(table) == 0


def test_on_loopback_a_port_stands_for_itself() -> None:
    """A101"""
    table = Discouraged()
    table.add(Address("127.0.0.1", 7000), 0.0)
    assert table.contains(Address("127.0.0.1", 7000), 1.0)
    assert not table.contains(Address("127.0.0.1", 7001), 1.0)
