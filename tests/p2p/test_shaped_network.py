"""A network made worse than it is: bytes come late, in order and whole, and back-pressure works as on any other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from p2p import limits
from p2p.link_conditions import LinkConditions
from p2p.shaped_network import ShapedNetwork
from p2p.tcp import TcpNetwork
from p2p.transport import Address, Link
from simnet.loop import run_virtual
from simnet.network import SimNetwork

HERE = Address("10.0.0.1", 7340)


class End:
    """One end of a link: what came, and when."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.told: list[str] = []
        self.received: list[tuple[float, bytes]] = []
        self.gone: list[Exception | None] = []

    def connected(self, link: Link) -> None:
        self.link = link

    def data_received(self, data: bytes) -> None:
        self.received.append((asyncio.get_running_loop().time(), bytes(data)))

    def paused(self) -> None:
        self.told.append("paused")

    def writable(self) -> None:
        self.told.append("writable")

    def closed(self, error: Exception | None) -> None:
        self.gone.append(error)

    @property
    def data(self) -> bytes:
        return b"".join(data for _, data in self.received)


class Pair:
    """A shaped network around a perfect one, and a link over it from `near` to `far`."""

    def __init__(self) -> None:
        self.inner = SimNetwork()
        self.network = ShapedNetwork(self.inner, random.Random(1))
        self.near, self.far = End(), End()

    async def connect(self) -> Link:
        await self.inner.listen(HERE, lambda: self.far)
        return await self.network.connect(HERE, self.near)


def over_a_pair(story: Callable[[Pair, Link], Awaitable[None]]) -> None:
    async def whole() -> None:
        pair = Pair()
        await story(pair, await pair.connect())

    run_virtual(whole)


def test_without_conditions_bytes_go_through_at_once() -> None:
    async def story(pair: Pair, link: Link) -> None:
        now = asyncio.get_running_loop().time()
        link.write(b"hello")
        await asyncio.sleep(0.001)
        assert pair.far.received == [(now, b"hello")]
        assert link.remote == HERE

    over_a_pair(story)


def test_a_delay_holds_for_links_that_are_open_and_the_order_stays() -> None:
    async def story(pair: Pair, link: Link) -> None:
        now = asyncio.get_running_loop().time()
        pair.network.set_conditions({HERE: LinkConditions(delay_ms=200, jitter_ms=100)})
        sent = [bytes([number]) * 100 for number in range(50)]
        for data in sent:
            link.write(data)
        await asyncio.sleep(1)
        assert pair.far.data == b"".join(sent)
        assert all(0.1 <= when - now <= 0.301 for when, _ in pair.far.received)
        assert pair.far.received[0][0] > now
        # The other direction is the other node's to shape.
        assert pair.far.link is not None
        pair.far.link.write(b"back")
        await asyncio.sleep(0.001)
        assert pair.near.data == b"back"

    over_a_pair(story)


def test_mending_a_line_lets_out_at_once_what_was_held() -> None:
    async def story(pair: Pair, link: Link) -> None:
        pair.network.set_conditions({HERE: LinkConditions(delay_ms=60_000)})
        link.write(b"a" * 100_000)
        link.write(b"b")
        assert link.write_buffer_size() == 100_001
        await asyncio.sleep(1)
        assert pair.far.data == b""
        pair.network.set_conditions({})
        link.write(b"c")
        await asyncio.sleep(0.001)
        assert pair.far.data == b"a" * 100_000 + b"bc"
        assert link.write_buffer_size() == 0

    over_a_pair(story)


def test_a_thin_line_pushes_back_and_lets_go_when_it_has_drained() -> None:
    async def story(pair: Pair, link: Link) -> None:
        pair.network.set_conditions({HERE: LinkConditions(bits_per_second=8 * 64 * 1024)})  # 64 KiB a second
        link.write(bytes(limits.WRITE_HIGH_WATER))
        assert pair.near.told == []
        link.write(b"!")
        assert pair.near.told == ["paused"]
        await asyncio.sleep(2.9)
        assert pair.near.told == ["paused"]
        await asyncio.sleep(1.2)
        assert pair.near.told == ["paused", "writable"]
        assert len(pair.far.data) == limits.WRITE_HIGH_WATER + 1

    over_a_pair(story)


def test_pressure_of_the_network_beneath_is_passed_on_too() -> None:
    async def story(pair: Pair, link: Link) -> None:
        assert pair.far.link is not None
        pair.far.link.pause_reading()
        link.write(bytes(limits.WRITE_HIGH_WATER + 1))
        await asyncio.sleep(0.01)
        assert pair.near.told == ["paused"]
        pair.far.link.resume_reading()
        await asyncio.sleep(0.01)
        assert pair.near.told == ["paused", "writable"]

    over_a_pair(story)


def test_closing_in_order_sends_what_is_queued_first() -> None:
    async def story(pair: Pair, link: Link) -> None:
        pair.network.set_conditions({HERE: LinkConditions(delay_ms=500)})
        link.write(b"last words")
        link.close()
        link.write(b"too late")
        await asyncio.sleep(0.4)
        assert pair.far.gone == []
        await asyncio.sleep(0.2)
        assert pair.far.data == b"last words"
        assert pair.near.gone == pair.far.gone == [None]

    over_a_pair(story)


def test_aborting_drops_what_is_queued() -> None:
    async def story(pair: Pair, link: Link) -> None:
        pair.network.set_conditions({HERE: LinkConditions(delay_ms=500)})
        link.write(b"never")
        link.abort()
        await asyncio.sleep(1)
        assert pair.far.data == b""
        assert len(pair.near.gone) == len(pair.far.gone) == 1
        pair.network.set_conditions({})  # a link that is gone is not touched any more

    over_a_pair(story)


def test_an_inbound_link_is_shaped_once_it_is_known_whose_it_is() -> None:
    peer = Address("10.0.0.9", 7340)

    async def whole() -> None:
        inner = SimNetwork()
        network = ShapedNetwork(inner, random.Random(1))
        network.set_conditions({peer: LinkConditions(delay_ms=300)})
        near, far = End(), End()
        await network.listen(HERE, lambda: near)
        await inner.connect(HERE, far, "10.0.0.9")
        assert near.link is not None
        near.link.write(b"who are you")
        await asyncio.sleep(0.001)
        assert far.data == b"who are you"
        network.peer_listens(near.link.remote, peer)
        near.link.write(b"?")
        await asyncio.sleep(0.2)
        assert far.data == b"who are you"
        await asyncio.sleep(0.2)
        assert far.data == b"who are you?"

    run_virtual(whole)


def test_datagrams_are_delayed_and_lost() -> None:
    there = Address("10.0.0.2", 7340)

    class Box:
        def __init__(self) -> None:
            self.received: list[float] = []

        def datagram_received(self, data: bytes, source: Address) -> None:
            self.received.append(asyncio.get_running_loop().time())

    async def whole() -> None:
        inner = SimNetwork()
        network = ShapedNetwork(inner, random.Random(1))
        box = Box()
        await inner.open_datagram(there, box)
        endpoint = await network.open_datagram(HERE, Box())
        assert endpoint.address == HERE
        endpoint.send(b"x", there)
        await asyncio.sleep(0.001)
        assert len(box.received) == 1
        network.set_conditions({there: LinkConditions(delay_ms=100, loss_ppm=500_000)})
        now = asyncio.get_running_loop().time()
        for _ in range(400):
            endpoint.send(b"x", there)
        await asyncio.sleep(0.2)
        assert 150 < len(box.received) < 250
        assert box.received[1] >= now + 0.1
        endpoint.send(b"x", there)
        endpoint.close()
        await endpoint.wait_closed()
        await asyncio.sleep(0.2)

    run_virtual(whole)


@pytest.mark.parametrize("size", [1, 300_000])
async def test_real_sockets_carry_every_byte_over_a_bad_line(size: int) -> None:
    network = ShapedNetwork(TcpNetwork(), random.Random(1))
    near, far = End(), End()
    listener = await network.listen(Address("127.0.0.1", 0), lambda: far)
    link = await network.connect(listener.address, near)
    network.set_conditions({listener.address: LinkConditions(delay_ms=20, jitter_ms=10, bits_per_second=100_000_000)})
    data = random.Random(2).randbytes(size)
    link.write(data)
    link.close()
    async with asyncio.timeout(30):
        while not far.gone:  # noqa: ASYNC110 - a handler sets no event
            await asyncio.sleep(0.005)
    assert far.data == data
    listener.close()
    await listener.wait_closed()
