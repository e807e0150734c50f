"""The simulated network: what arrives, when, and what never does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from p2p import limits
from p2p.transport import Address, Link
from simnet.conditions import Conditions
from simnet.loop import run_virtual
from simnet.network import SimNetwork

ONE, TWO, THREE = "10.0.0.1", "10.0.0.2", "10.0.0.3"
HERE = Address(TWO, 7340)


class End:
    """One end of a link, or of a way for datagrams: what came, and when."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.data = b""
        self.at: list[float] = []
        self.told: list[str] = []
        self.gone: list[Exception | None] = []
        self.datagrams: list[bytes] = []

    def connected(self, link: Link) -> None:
        self.link = link

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.at.append(asyncio.get_running_loop().time())

    def paused(self) -> None:
        self.told.append("paused")

    def writable(self) -> None:
        self.told.append("writable")

    def closed(self, error: Exception | None) -> None:
        self.gone.append(error)

    def datagram_received(self, data: bytes, source: Address) -> None:
        self.datagrams.append(data)


class Pair:
    def __init__(self, conditions: Conditions) -> None:
        self.network = SimNetwork(random.Random(1), conditions)
        self.near, self.far = End(), End()

    async def connect(self) -> Link:
        await self.network.listen(HERE, lambda: self.far)
        return await self.network.host(ONE).connect(HERE, self.near)


Story = Callable[[Pair, Link], Awaitable[None]]


def over(story: Story, **conditions: float) -> None:
    async def whole() -> None:
        pair = Pair(Conditions(**{"latency": 0.0} | conditions))
        await story(pair, await pair.connect())

    run_virtual(whole)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_bytes_take_the_latency_of_the_way() -> None:
    async def story(pair: Pair, link: Link) -> None:
        began = now()
        link.write(b"hello")
        await asyncio.sleep(1)
        assert pair.far.data == b"hello"
        assert pair.far.at == [began + 0.25]

    over(story, latency=0.25)


def test_one_way_may_be_worse_than_the_others_until_all_are_alike_again() -> None:
    async def story(pair: Pair, link: Link) -> None:
        network = pair.network
        network.set_conditions(Conditions(latency=2.0), [ONE], [TWO])
        assert network.conditions(ONE, TWO) == network.conditions(TWO, ONE) == Conditions(latency=2.0)
        assert network.conditions(ONE, THREE) == Conditions(latency=0.25)
        began = now()
        link.write(b"slow")
        await asyncio.sleep(5)
        network.set_conditions(Conditions(latency=0.5))
        again = now()
        link.write(b"fast")
        await asyncio.sleep(5)
        assert pair.far.at == [began + 2.0, again + 0.5]

    over(story, latency=0.25)


def test_bandwidth_spreads_what_is_written_at_once() -> None:
    async def story(pair: Pair, link: Link) -> None:
        began = now()
        for _ in range(3):
            link.write(bytes(1_000))
        await asyncio.sleep(10)
        assert [at - began for at in pair.far.at] == pytest.approx([1.0, 2.0, 3.0])

    over(story, bandwidth=1_000)


def test_a_stream_keeps_order_and_content_whatever_the_way_does() -> None:
    async def story(pair: Pair, link: Link) -> None:
        sent = b"".join(bytes((n % 256,)) * 3 for n in range(500))
        for place in range(0, len(sent), 3):
            link.write(sent[place : place + 3])
            await asyncio.sleep(0.001)
        await asyncio.sleep(60)
        assert pair.far.data == sent
        assert pair.far.at == sorted(pair.far.at)

    over(story, latency=0.01, jitter=0.5, loss=0.2, reorder=0.5, duplicate=0.5)


def test_a_stream_sees_loss_as_delay_and_total_loss_as_a_reset() -> None:
    async def story(pair: Pair, link: Link) -> None:
        pair.network.set_conditions(Conditions(loss=1.0))
        link.write(b"into the void")
        await asyncio.sleep(120)
        assert pair.far.data == b""
        assert isinstance(pair.near.gone[0], TimeoutError)

    over(story)


def test_datagrams_are_lost_doubled_and_overtaken() -> None:
    async def whole() -> None:
        network = SimNetwork(random.Random(1), Conditions(loss=0.2, duplicate=0.2, reorder=0.5))
        near, far = End(), End()
        sender = await network.open_datagram(Address(ONE, 1), near)
        await network.open_datagram(Address(TWO, 1), far)
        for number in range(1_000):
            sender.send(number.to_bytes(2, "big"), Address(TWO, 1))
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        numbers = [int.from_bytes(data, "big") for data in far.datagrams]
        assert 750 <= len(set(numbers)) <= 850
        assert network.datagrams_lost == 1_000 - len(set(numbers))
        assert 100 <= len(numbers) - len(set(numbers)) <= 250
        assert numbers != sorted(numbers)

    run_virtual(whole)


def test_a_partition_keeps_bytes_until_it_heals() -> None:
    async def story(pair: Pair, link: Link) -> None:
        pair.network.partition([ONE], [TWO])
        link.write(b"late")
        await asyncio.sleep(30)
        assert pair.far.data == b""
        healed = now()
        pair.network.heal()
        await asyncio.sleep(1)
        assert pair.far.data == b"late"
        assert pair.far.at[0] - healed == pytest.approx(0.2)

    over(story)


def test_nobody_connects_over_a_cut_way() -> None:
    async def story(pair: Pair, link: Link) -> None:
        for cut in ((ONE, TWO), (TWO, ONE)):
            pair.network.cut([cut[0]], [cut[1]])
            began = now()
            with pytest.raises(TimeoutError):
                await pair.network.host(ONE).connect(HERE, End())
            assert now() - began == pytest.approx(limits.CONNECT_SECONDS)
            pair.network.heal()

    over(story)


def test_a_way_cut_in_one_direction_carries_the_other() -> None:
    async def story(pair: Pair, link: Link) -> None:
        pair.network.cut([TWO], [ONE])
        link.write(b"heard")
        assert pair.far.link is not None
        pair.far.link.write(b"not heard")
        await asyncio.sleep(1)
        assert (pair.far.data, pair.near.data) == (b"heard", b"")
        # Nobody told us that it arrived.
        assert link.write_buffer_size() == 5
        pair.network.heal()
        await asyncio.sleep(1)
        assert pair.near.data == b"not heard"
        assert link.write_buffer_size() == 0

    over(story)


def test_over_a_bridge_only_its_host_sees_both_halves() -> None:
    network = SimNetwork()
    network.bridge([ONE, THREE], [TWO, THREE], over=THREE)
    assert network.is_cut(ONE, TWO)
    assert network.is_cut(TWO, ONE)
    assert not any(network.is_cut(*way) for way in ((ONE, THREE), (THREE, ONE), (TWO, THREE), (THREE, TWO)))


def test_what_is_held_comes_whole_when_it_is_released_datagrams_too() -> None:
    async def story(pair: Pair, link: Link) -> None:
        far = End()
        sender = await pair.network.open_datagram(Address(ONE, 1), End())
        await pair.network.open_datagram(Address(TWO, 1), far)
        pair.network.hold([ONE], [TWO])
        link.write(b"wait")
        sender.send(b"too", Address(TWO, 1))
        dial = asyncio.create_task(pair.network.host(ONE).connect(HERE, End()))
        await asyncio.sleep(5)
        assert (pair.far.data, far.datagrams, dial.done()) == (b"", [], False)
        pair.network.release()
        await asyncio.sleep(1)
        assert (pair.far.data, far.datagrams, dial.done()) == (b"wait", [b"too"], True)

    over(story)


def test_a_killed_host_resets_its_streams_and_a_silent_one_only_once_it_is_back() -> None:
    async def story(pair: Pair, link: Link) -> None:
        pair.network.kill(TWO, silent=True)
        await asyncio.sleep(100)
        assert pair.near.gone == []
        with pytest.raises(TimeoutError):
            await pair.network.host(ONE).connect(HERE, End())
        pair.network.revive(TWO)
        await asyncio.sleep(1)
        assert isinstance(pair.near.gone[0], ConnectionResetError)
        with pytest.raises(ConnectionRefusedError):
            await pair.network.host(ONE).connect(HERE, End())
        assert pair.network.open_links == 0

    over(story)


def test_a_slow_reader_fills_the_writers_buffer() -> None:
    async def story(pair: Pair, link: Link) -> None:
        assert pair.far.link is not None
        pair.far.link.pause_reading()
        link.write(bytes(limits.WRITE_HIGH_WATER + 1))
        await asyncio.sleep(1)
        assert pair.near.told == ["paused"]
        pair.far.link.resume_reading()
        await asyncio.sleep(1)
        assert pair.near.told == ["paused", "writable"]

    over(story)


def test_closing_sends_what_is_queued_and_aborting_drops_it() -> None:
    async def story(pair: Pair, link: Link) -> None:
        link.write(b"last words")
        link.close()
        link.write(b"and more")
        await asyncio.sleep(5)
        assert pair.far.data == b"last words"
        assert (pair.near.gone, pair.far.gone) == ([None], [None])
        near, far = End(), End()
        await pair.network.listen(Address(THREE, 1), lambda: far)
        other = await pair.network.host(ONE).connect(Address(THREE, 1), near)
        other.write(b"never sent")
        other.abort()
        await asyncio.sleep(5)
        assert (far.data, near.gone) == (b"", [None])
        assert isinstance(far.gone[0], ConnectionResetError)
        assert pair.network.open_links == 0

    over(story, latency=1.0)
