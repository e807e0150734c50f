from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p import limits
from p2p.discovery import AddressesFound, Discovery, DiscoveryCore
from p2p.transport import Address
from simnet.network import SimNetwork

MAGIC = b"dure"
ASKER = Address("10.0.0.1", 7340)
SERVER = Address("10.0.0.2", 7340)
KNOWN = [Address(f"10.0.1.{number}", 7340) for number in range(1, 101)]
QUERY = 31


def core(
    known: Sequence[Address] = (), *, seed: int = 1, port: int = 7340, private: bool = True, now: float = 0.0
) -> DiscoveryCore:
    return DiscoveryCore(
        magic=MAGIC,
        port=port,
        secret=bytes((seed,)) * 32,
        rng=random.Random(seed),
        sample=lambda count: known[:count],
        private_allowed=private,
        now=now,
    )


def query(token: bytes = b"token---", cookie: bytes = bytes(16), port: int = 7340) -> bytes:
    return MAGIC + b"\x01" + token + cookie + port.to_bytes(2, "big")


def answer(token: bytes, addresses: Sequence[tuple[bytes, int]] = ()) -> bytes:
    return MAGIC + b"\x03" + token + b"".join(host + port.to_bytes(2, "big") for host, port in addresses)


def ask(server: DiscoveryCore, datagram: bytes, source: Address = ASKER, now: float = 0.0) -> bytes | None:
    """What the server says to one datagram; at most one datagram, and to its source."""
    server.receive(datagram, source, now)
    sent = server.datagrams_to_send()
    if not sent:
        return None
    ((reply, target),) = sent
    assert target == source
    return reply


def asked_with(asker: DiscoveryCore, target: Address = SERVER, now: float = 0.0) -> bytes:
    """Make the asker ask its one seed; return the token it drew."""
    asker.add_seeds([target])
    asker.handle_timer(now)
    ((datagram, to),) = asker.datagrams_to_send()
    assert to == target
    return datagram[5:13]


def test_a_lookup_proves_its_address_and_gets_addresses() -> None:
    asker, server = core(seed=1), core(KNOWN, seed=2)
    asker.add_seeds([SERVER])
    asker.handle_timer(0.0)
    sizes = []
    for _ in range(2):
        ((datagram, _),) = asker.datagrams_to_send()
        reply = ask(server, datagram)
        assert reply is not None
        sizes.append((len(datagram), len(reply)))
        asker.receive(reply, SERVER, 0.1)
    assert sizes == [(31, 29), (31, 13 + 18 * limits.DISCOVERY_ADDRESSES)]
    assert asker.found() == [AddressesFound(tuple(KNOWN[: limits.DISCOVERY_ADDRESSES]), SERVER)]
    assert server.found() == [AddressesFound((ASKER,), ASKER)]
    assert asker.datagrams_to_send() == []


def test_the_largest_answer_fits_into_a_datagram() -> None:
    assert 13 + 18 * limits.DISCOVERY_ADDRESSES <= limits.MAX_DATAGRAM


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.integers(0, 65535))
def test_no_answer_is_larger_than_its_question_before_the_cookie(cookie: bytes, token: bytes, port: int) -> None:
    """A116: spoofed query: answer no larger than the query until the source has echoed a cookie."""
    server = core(KNOWN)
    question = query(token, cookie, port)
    reply = ask(server, question)
    assert reply is not None
    assert len(reply) < len(question)
    assert server.found() == []


def test_a_cookie_is_good_for_one_source_and_one_or_two_minutes() -> None:
    """A117: replayed cookies."""
    server = core(KNOWN)
    challenge = ask(server, query(), now=30.0)
    assert challenge is not None
    cookie = challenge[13:]

    def is_answered(source: Address, now: float) -> bool:
        reply = ask(server, query(cookie=cookie), source, now)
        assert reply is not None
        return reply[4] == 3

    assert is_answered(ASKER, 30.0)
    assert is_answered(ASKER, 119.9)
    assert not is_answered(ASKER, 120.0)
    assert not is_answered(ASKER._replace(port=7341), 30.0)
    assert not is_answered(Address("10.0.0.9", 7340), 30.0)


def test_cookies_of_another_run_are_worth_nothing() -> None:
    challenge = ask(core(KNOWN, seed=1), query())
    assert challenge is not None
    reply = ask(core(KNOWN, seed=2), query(cookie=challenge[13:]))
    assert reply is not None
    assert reply[4] == 2


def test_an_answer_nobody_asked_for_is_ignored() -> None:
    """A117: spoofed replies: wrong token, wrong source, no challenge, twice."""
    asker = core()
    token = asked_with(asker)
    told = answer(token, [(bytes(10) + b"\xff\xff\x0a\x00\x01\x01", 7340)])
    asker.receive(told, SERVER, 0.1)  # skips the challenge
    asker.receive(MAGIC + b"\x02" + token + bytes(16), ASKER, 0.1)  # not whom we asked
    asker.receive(MAGIC + b"\x02" + b"x" * 8 + bytes(16), SERVER, 0.1)  # not what we asked
    assert asker.datagrams_to_send() == []
    asker.receive(MAGIC + b"\x02" + token + bytes(16), SERVER, 0.1)
    asker.receive(MAGIC + b"\x02" + token + bytes(16), SERVER, 0.1)  # a second challenge
    assert len(asker.datagrams_to_send()) == 1
    asker.receive(told, ASKER, 0.1)
    assert asker.found() == []
    asker.receive(told, SERVER, 0.1)
    asker.receive(told, SERVER, 0.1)
    assert asker.found() == [AddressesFound((KNOWN[0],), SERVER)]
    assert asker.dropped == 6


def test_an_answer_that_comes_too_late_is_ignored() -> None:
    asker = core()
    token = asked_with(asker)
    asker.handle_timer(limits.DISCOVERY_WAIT_SECONDS)
    asker.receive(MAGIC + b"\x02" + token + bytes(16), SERVER, limits.DISCOVERY_WAIT_SECONDS)
    assert all(datagram[5:13] != token for datagram, _ in asker.datagrams_to_send())


def test_addresses_that_may_not_be_learned_are_left_out() -> None:
    """A118: discovery makes us open TCP to a victim: internal addresses, port 22, multicast."""

    def mapped(*parts: int) -> bytes:
        return bytes(10) + b"\xff\xff" + bytes(parts)

    asker = core(private=False)
    target = Address("8.8.8.8", 7340)
    token = asked_with(asker, target)
    asker.receive(MAGIC + b"\x02" + token + bytes(16), target, 0.0)
    hosts = [(mapped(10, 0, 0, 1), 7340), (mapped(127, 0, 0, 1), 7340), (mapped(224, 0, 0, 1), 7340)]
    hosts += [(mapped(9, 9, 9, 9), 22), (mapped(9, 9, 9, 9), 0), (mapped(9, 9, 9, 9), 7340), (bytes(16), 7340)]
    asker.receive(answer(token, hosts), target, 0.0)
    assert asker.found() == [AddressesFound((Address("9.9.9.9", 7340),), target)]


def test_an_asker_that_does_not_listen_is_answered_but_not_told_on() -> None:
    server = core(KNOWN)
    challenge = ask(server, query(port=0))
    assert challenge is not None
    reply = ask(server, query(cookie=challenge[13:], port=0))
    assert reply is not None
    assert reply[4] == 3
    assert server.found() == []


@pytest.mark.parametrize(
    "datagram",
    [
        b"", b"\x00", MAGIC, MAGIC + b"\x01", query()[:-1], query() + b"\x00", b"evil" + query()[4:], bytes(65_507),
        MAGIC + b"\x00" + query()[5:], MAGIC + b"\x04" + query()[5:],
        MAGIC + b"\x02" + bytes(24), MAGIC + b"\x03" + bytes(8),
        query() * 40,
    ],
)  # fmt: skip
def test_what_is_no_datagram_of_this_network_is_dropped_in_silence(datagram: bytes) -> None:
    """A119: empty, 65,507 bytes, truncated; another network's magic."""
    server = core(KNOWN)
    assert ask(server, datagram) is None
    assert server.dropped == 1
    assert server.found() == []


@given(st.lists(st.binary(max_size=80) | st.binary(max_size=60).map(MAGIC.__add__), max_size=50))
def test_random_datagrams_raise_nothing_and_leave_nothing(datagrams: list[bytes]) -> None:
    """A119: random datagrams: no exception, no growth."""
    server = core()
    token = asked_with(server)
    for datagram in datagrams:
        server.receive(datagram, SERVER, 0.0)
        for _, target in server.datagrams_to_send():
            assert target == SERVER
    assert set(server._questions) <= {token}
    assert len(server._sources) <= 1


def test_one_source_is_heard_at_its_rate() -> None:
    """A116: rate per source."""
    server = core(KNOWN)
    heard = sum(ask(server, query(), now=0.0) is not None for _ in range(1000))
    assert heard == limits.DISCOVERY_BURST
    assert ask(server, query(), Address("10.0.0.9", 7340), 0.0) is not None
    assert ask(server, query(), now=0.4) is None
    assert ask(server, query(), now=0.5) is not None
    assert server.dropped == 981


def test_all_sources_together_are_heard_at_one_rate_and_remembered_within_a_bound() -> None:
    """A116: rate in total: forged sources."""
    server = core(KNOWN, private=False)
    heard = 0
    for number in range(5000):
        source = Address(f"20.{number // 250}.{number % 250}.1", 7340)
        heard += ask(server, query(), source, 0.0) is not None
    assert heard == limits.DISCOVERY_TOTAL_BURST
    assert len(server._sources) == limits.DISCOVERY_SOURCES


def test_changing_the_port_does_not_evade_the_rate_in_public() -> None:
    server = core(KNOWN, private=False)
    heard = sum(ask(server, query(), Address("8.8.8.8", port)) is not None for port in range(2000, 3000))
    assert heard == limits.DISCOVERY_BURST


def test_a_flood_does_not_keep_us_from_hearing_those_we_asked() -> None:
    asker = core(seed=1)
    token = asked_with(asker)
    for _ in range(1000):
        asker.receive(query(), SERVER, 0.0)
    asker.datagrams_to_send()
    asker.receive(MAGIC + b"\x02" + token + bytes(16), SERVER, 0.0)
    assert len(asker.datagrams_to_send()) == 1


def test_lookups_are_frequent_at_first_and_rare_later() -> None:
    asker = core()
    asker.add_seeds([SERVER])
    times: list[float] = []
    now = 0.0
    while now < 40:
        now = asker.next_timer()
        asker.handle_timer(now)
        if asker.datagrams_to_send():
            times.append(now)
    gaps = [round(later - earlier, 2) for earlier, later in itertools.pairwise(times)]
    assert gaps[:5] == [0.25, 0.5, 1.0, 2.0, limits.DISCOVERY_ALONE_SECONDS]
    asker._answered = True
    asker.handle_timer(asker.next_timer() + 100)
    asker.hurry(1000.0)
    assert asker.next_timer() <= 1000.0 + limits.DISCOVERY_FIRST_SECONDS


def test_open_questions_are_bounded() -> None:
    asker = core(KNOWN)
    asker.add_seeds(KNOWN * 2)
    for _ in range(1000):
        asker.hurry(0.0)
        asker.handle_timer(limits.DISCOVERY_FIRST_SECONDS)
    assert len(asker._questions) <= 64
    assert len(asker._seeds) == limits.MAX_SEEDS


class _Node:
    """A node that knows what it was told."""

    def __init__(self, network: SimNetwork, number: int, seeds: Sequence[Address]) -> None:
        self.address = Address(f"10.0.0.{number}", 7340)
        self.known: dict[Address, None] = {}
        self.on_change: Callable[[], None] = lambda: None
        self.core = core(seed=number, now=asyncio.get_running_loop().time())
        self.core._sample = lambda count: list(self.known)[-count:]
        self.discovery = Discovery(self.core, network.host(self.address.host), seeds, self.found)

    def found(self, found: AddressesFound) -> None:
        self.known.update(dict.fromkeys(one for one in found.addresses if one != self.address))
        self.on_change()


async def test_from_one_known_node_all_find_each_other() -> None:
    """Five nodes know only the name of the first; the name comes up late."""
    network = SimNetwork()
    done = asyncio.Event()
    nodes = [_Node(network, number, [Address("first", 7340)] if number > 1 else []) for number in range(1, 6)]
    for node in nodes:
        node.on_change = lambda: done.set() if all(len(node.known) == 4 for node in nodes) else None
    network.names["first"] = "10.0.0.1"
    async with asyncio.timeout(30):
        for node in nodes:
            assert await node.discovery.start(node.address) == node.address
        await done.wait()
    for node in nodes:
        await node.discovery.stop()
    assert network.bound == []


async def test_a_name_nobody_knows_stops_nothing() -> None:
    network = SimNetwork()
    node = _Node(network, 1, [Address("nowhere", 7340)])
    await node.discovery.start(node.address)
    await asyncio.sleep(0)
    node.discovery.hurry()
    await node.discovery.stop()
    await node.discovery.stop()


async def test_a_quiet_node_sends_and_hears_nothing() -> None:
    network = SimNetwork()
    one, other = _Node(network, 1, []), _Node(network, 2, [Address("10.0.0.1", 7340)])
    heard = asyncio.Event()
    other.on_change = heard.set
    one.known[Address("10.0.0.9", 7340)] = None
    one.discovery.set_quiet(True)
    for node in (one, other):
        await node.discovery.start(node.address)
    for _ in range(20):
        other.discovery.hurry()
        await asyncio.sleep(0)
    assert list(one.known) == [Address("10.0.0.9", 7340)]
    assert list(other.known) == []
    one.discovery.set_quiet(False)
    async with asyncio.timeout(30):
        await heard.wait()
    for node in (one, other):
        await node.discovery.stop()
