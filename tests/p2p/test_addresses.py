from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p import limits
from p2p.address_manager import AddressFileError, AddressManager, KnownAddress
from p2p.address_rules import address_group, from_peer_address, may_learn, pack_host, to_peer_address, unpack_host
from p2p.transport import Address

NOW = 1_800_000_000
KEY = bytes(range(32))
SOURCE = Address("8.8.8.8", 7340)


def manager(*, private_allowed: bool = False, seed: int = 1) -> AddressManager:
    return AddressManager(KEY, random.Random(seed), private_allowed=private_allowed)


def known(host: str, port: int = 7340, seen: int = NOW) -> KnownAddress:
    return KnownAddress(Address(host, port), seen)


def public(number: int) -> Address:
    """A different group for each number."""
    return Address(f"{11 + number % 80}.{number // 80 % 250}.{number % 251}.7", 7340)


# --- rules ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "127.0.0.1", "169.254.1.1", "100.64.0.1",
        "198.18.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "::1", "fc00::1", "fd12::1", "fe80::1", "2001:db8::1",
    ],
)  # fmt: skip
def test_a_private_address_is_learned_on_private_networks_only(host: str) -> None:
    """A108: private addresses."""
    assert not may_learn(Address(host, 7340), private_allowed=False)
    assert may_learn(Address(host, 7340), private_allowed=True)


@pytest.mark.parametrize(
    "address",
    [
        Address("224.0.0.1", 7340), Address("239.255.255.255", 7340), Address("255.255.255.255", 7340),
        Address("0.0.0.0", 7340), Address("0.1.2.3", 7340), Address("240.0.0.1", 7340), Address("::", 7340),
        Address("ff02::1", 7340), Address("8.8.8.8", 0), Address("8.8.8.8", 65536), Address("8.8.8.8", -1),
        Address("::ffff:8.8.8.8", 7340), Address("2001:4860:0::8888", 7340), Address("seed.example", 7340),
        Address("", 7340), Address("8.8.8.08", 7340),
    ],
)  # fmt: skip
@pytest.mark.parametrize("private_allowed", [False, True])
def test_what_no_node_can_have_is_never_learned(address: Address, private_allowed: bool) -> None:
    """A108: multicast, port 0, mapped IPv4, a second spelling of an address."""
    assert not may_learn(address, private_allowed=private_allowed)


@pytest.mark.parametrize("host", ["64:ff9b::808:808", "2001::1", "2002:808:808::1", "4000::1"])
def test_one_ipv4_address_has_no_second_name_in_ipv6(host: str) -> None:
    """A108: IPv4 addresses inside tunnels."""
    assert not may_learn(Address(host, 7340), private_allowed=False)


@pytest.mark.parametrize("port", [1, 22, 25, 80, 443, 1023])
def test_no_peer_sends_us_to_a_service_port(port: int) -> None:
    """A118: discovery makes us open TCP to a victim's port 22."""
    assert not may_learn(Address("8.8.8.8", port), private_allowed=True)
    assert may_learn(Address("8.8.8.8", limits.MIN_LEARNED_PORT), private_allowed=False)


def test_groups_are_networks_in_public_and_nodes_in_private() -> None:
    assert address_group(Address("8.8.8.8", 1)) == address_group(Address("8.8.1.1", 2))
    assert address_group(Address("8.8.8.8", 1)) != address_group(Address("8.9.8.8", 1))
    assert address_group(Address("2a00:1:2::1", 1)) == address_group(Address("2a00:1:3::1", 1))
    assert address_group(Address("127.0.0.1", 1)) != address_group(Address("127.0.0.1", 2))


@given(st.ip_addresses(), st.integers(0, 65535), st.integers(0, 2**40))
def test_an_address_survives_the_wire(ip: object, port: int, seen: int) -> None:
    address = Address(unpack_host(pack_host(str(ip))), port)
    travelled = to_peer_address(address, seen)
    assert from_peer_address(travelled) == address
    assert travelled.seen == min(seen, 2**32 - 1)


# --- the table --------------------------------------------------------------------------------------------------


def test_what_was_told_is_known_and_can_be_dialled() -> None:
    table = manager()
    assert table.add([known("8.8.4.4"), known("9.9.9.9")], SOURCE, NOW) == 2
    assert {table.select(NOW) for _ in range(50)} == {Address("8.8.4.4", 7340), Address("9.9.9.9", 7340)}
    assert table.select(NOW, exclude={Address("8.8.4.4", 7340), Address("9.9.9.9", 7340)}) is None
    assert manager().select(NOW) is None


def test_our_own_address_is_dropped_and_never_learned_again() -> None:
    """A081, A108: own address."""
    table = manager()
    table.add([known("8.8.4.4")], SOURCE, NOW)
    table.add_own(Address("8.8.4.4", 7340))
    assert len(table) == 0
    assert table.add([known("8.8.4.4")], SOURCE, NOW) == 0
    table.mark_good(Address("8.8.4.4", 7340), NOW)
    assert len(table) == 0


def test_an_address_from_the_future_is_dropped_and_never_replaces_better_data() -> None:
    """A108: far-future times; never overwrite better data."""
    table = manager()
    assert table.add([known("8.8.4.4", seen=NOW + limits.SEEN_AHEAD_SECONDS + 1)], SOURCE, NOW) == 0
    assert table.add([known("8.8.4.4", seen=NOW + limits.SEEN_AHEAD_SECONDS)], SOURCE, NOW) == 1
    table.add([known("8.8.4.4", seen=NOW - 1000)], Address("9.9.9.9", 7340), NOW)
    assert table.sample(1, NOW) == [known("8.8.4.4", seen=NOW + limits.SEEN_AHEAD_SECONDS)]


def test_a_host_has_few_ports_in_public() -> None:
    """A118: attempts per target limited: a liar names every port of a victim."""
    table = manager()
    table.add([known("8.8.4.4", port) for port in range(1024, 20_000)], SOURCE, NOW)
    assert 1 <= len(table) <= limits.MAX_PORTS_PER_HOST


def test_a_hundred_nodes_of_one_machine_are_all_known() -> None:
    table = manager(private_allowed=True)
    told = [known("127.0.0.1", 20_000 + number) for number in range(100)]
    table.add(told, Address("127.0.0.1", 20_000), NOW)
    # A few collide at their first place; anybody else who tells them has another place for them.
    for number in range(5):
        table.add(told, Address("127.0.0.1", 20_001 + number), NOW)
    assert len(table) == 100


def test_a_table_stays_within_its_bounds_under_a_flood() -> None:
    """A107, A119: a million addresses would do no more than 60,000: every place is taken once."""
    table = manager()
    rng = random.Random(5)
    for _ in range(60):
        source = Address(f"{rng.randrange(11, 90)}.{rng.randrange(256)}.1.1", 7340)
        batch = [known(f"{rng.randrange(11, 90)}.{rng.randrange(256)}.{rng.randrange(256)}.1") for _ in range(1000)]
        table.add(batch, source, NOW)
    assert 8_000 < len(table) <= limits.NEW_BUCKETS * limits.BUCKET_SIZE


def test_one_source_group_fills_a_bounded_part_of_the_table() -> None:
    """A109: at most 64 new buckets for a source group."""
    table = manager()
    rng = random.Random(6)
    for _ in range(40):
        batch = [known(f"{rng.randrange(11, 90)}.{rng.randrange(256)}.{rng.randrange(256)}.1") for _ in range(1000)]
        table.add(batch, Address(f"66.66.{rng.randrange(256)}.1", 7340), NOW)
    assert len(table._new) <= limits.NEW_BUCKETS_PER_SOURCE_GROUP


def test_one_group_of_addresses_fills_few_tried_buckets() -> None:
    """A109: at most 8 tried buckets for a group."""
    table = manager()
    for number in range(4000):
        table.mark_good(Address(f"66.66.{number // 256}.{number % 256}", 7340), NOW)
    assert 0 < table.tried_count <= limits.TRIED_BUCKETS_PER_GROUP * limits.BUCKET_SIZE
    assert len(table._tried) <= limits.TRIED_BUCKETS_PER_GROUP


def test_an_attacker_of_one_network_gets_few_of_our_dials() -> None:
    """A109: bucket first, then address: numbers do not buy chances."""
    table = manager()
    for number in range(200):
        table.add([KnownAddress(public(number), NOW)], public(number + 1000), NOW)
    for number in range(20_000):
        table.add([known(f"66.66.{number // 256}.{number % 256}")], Address("66.67.1.1", 7340), NOW)
    hits = sum(str(table.select(NOW)).startswith("66.66.") for _ in range(2000))
    assert hits < 200


def test_a_tried_address_is_not_pushed_out_while_it_works() -> None:
    """A110: test before evict, in its simplest form: one that worked lately stays."""
    table = manager()
    first = [Address(f"66.66.{number // 256}.{number % 256}", 7340) for number in range(4000)]
    for address in first:
        table.mark_good(address, NOW)
    stayed = [address for address in first if address in table and table._known[address].tried]
    for number in range(4000):
        table.mark_good(Address(f"66.66.{128 + number // 256}.{number % 256}", 7340), NOW + 60)
    assert all(table._known[address].tried for address in stayed)
    for number in range(4000):
        table.mark_good(
            Address(f"66.66.{200 + number // 256}.{number % 256}", 7340), NOW + limits.STAY_TRIED_SECONDS + 61
        )
    assert not all(address in table and table._known[address].tried for address in stayed)


def test_a_failed_address_waits_longer_each_time() -> None:
    """A085: back-off, at most ten minutes."""
    table = manager()
    address = Address("8.8.4.4", 7340)
    table.add([known("8.8.4.4")], SOURCE, NOW)
    now, waits = NOW, []
    for _ in range(12):
        table.mark_attempt(address, now)
        begun = now
        while table.select(now) is None:
            now += 1
        waits.append(now - begun)
    assert waits[:4] == [4, 8, 16, 32]
    assert waits[-1] == limits.RETRY_CAP_SECONDS
    table.mark_good(address, now)
    assert table.select(now) == address


def test_an_attempt_in_the_future_proves_nothing() -> None:
    """A192: a clock set back does not keep us from dialling."""
    table = manager()
    table.add([known("8.8.4.4")], SOURCE, NOW)
    table.mark_attempt(Address("8.8.4.4", 7340), NOW + 10**6)
    assert table.select(NOW) == Address("8.8.4.4", 7340)


def test_an_address_that_never_answered_gives_its_place_and_is_not_told_on() -> None:
    table = manager()
    table.add([known("8.8.4.4")], SOURCE, NOW)
    assert table.sample(10, NOW) == [known("8.8.4.4")]
    for _ in range(limits.MAX_FAILED_ATTEMPTS):
        table.mark_attempt(Address("8.8.4.4", 7340), NOW)
    assert table.sample(10, NOW) == []
    table.mark_good(Address("8.8.4.4", 7340), NOW)
    assert table.sample(10, NOW + limits.FORGET_SECONDS) == [known("8.8.4.4")]
    assert table.sample(10, NOW + limits.FORGET_SECONDS + 1) == []


def test_of_a_large_table_a_quarter_is_told() -> None:
    table = manager()
    for number in range(2000):
        table.add([KnownAddress(public(number), NOW)], public(number + 5000), NOW)
    assert len(table.sample(1000, NOW)) == len(table) // 4
    assert len(table.sample(10, NOW)) == 10


@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(0, 300), st.sampled_from("agrfo")), max_size=60))
def test_the_table_is_consistent_and_repeatable_after_any_history(seed: int, history: list[tuple[int, str]]) -> None:
    tables = [manager(seed=seed), manager(seed=seed)]
    for table in tables:
        for number, what in history:
            address = public(number)
            if what == "a":
                table.add([KnownAddress(address, NOW)], public(number + 7), NOW)
            elif what == "g":
                table.mark_good(address, NOW + number)
            elif what == "r":
                table.mark_attempt(address, NOW + number)
            elif what == "f":
                table.forget(address)
            elif number % 10 == 0:
                table.add_own(address)
    first, second = tables
    assert first.dump() == second.dump()
    assert [first.select(NOW + 10**6) for _ in range(5)] == [second.select(NOW + 10**6) for _ in range(5)]
    placed = [a for half in (first._new, first._tried) for bucket in half.values() for a in bucket.values()]
    assert sorted(placed) == sorted(first._known)
    assert sum(first._per_host.values()) == len(first)
    assert first.tried_count == sum(entry.tried for entry in first._known.values())


# --- keeping ----------------------------------------------------------------------------------------------------


def test_a_table_survives_a_restart() -> None:
    table = manager()
    for number in range(300):
        table.add([KnownAddress(public(number), NOW - number)], public(number + 999), NOW)
    for number in range(0, 300, 3):
        table.mark_attempt(public(number), NOW)
        table.mark_good(public(number), NOW)
    again = AddressManager.restore(table.dump(), random.Random(9), private_allowed=False)
    assert again.dump() == table.dump()
    assert again.tried_count == table.tried_count > 0


def test_a_damaged_table_is_refused_by_name() -> None:
    """A111: damaged file; A125: one flipped bit anywhere."""
    table = manager()
    table.add([known("8.8.4.4"), known("9.9.9.9")], SOURCE, NOW)
    raw = table.dump()
    for place in range(len(raw)):
        for damaged in (raw[:place], raw[:place] + bytes((raw[place] ^ 1,)) + raw[place + 1 :]):
            with pytest.raises(AddressFileError):
                AddressManager.restore(damaged, random.Random(1), private_allowed=False)


def test_a_saved_private_address_does_not_enter_a_public_table() -> None:
    table = manager(private_allowed=True)
    table.add([known("10.0.0.1")], SOURCE, NOW)
    assert len(AddressManager.restore(table.dump(), random.Random(1), private_allowed=False)) == 0
