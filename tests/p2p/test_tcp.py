"""Real sockets on 127.0.0.1, by asyncio and by uvloop."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from p2p import limits
from p2p.connection import PeerConnection
from p2p.discovery import AddressesFound, Discovery, DiscoveryCore
from p2p.events import ConnectionClosed, Event, HandshakeCompleted
from p2p.framing import ReceiveBudget
from p2p.messages import BlockMessage, GetData, Item, ItemKind
from p2p.peer_link import PeerLink
from p2p.tcp import TcpNetwork
from p2p.transport import Address, Link
from tests.support.peers import hello, messages

LOOPBACK = Address("127.0.0.1", 0)
BLOCK = Item(ItemKind.BLOCK, bytes(32))
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]

Story = Callable[[], Coroutine[Any, Any, None]]


def on_each_loop(story: Story) -> Callable[..., None]:
    """Run a story in a loop of each kind, and see that it leaves no task behind."""

    async def whole() -> None:
        async with asyncio.timeout(60):
            await story()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left

    @pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
    def run(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(whole())

    run.__doc__ = story.__doc__
    return run


class Recorder:
    """A link handler that only notes."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.data = b""
        self.is_paused = False
        self.ended = asyncio.Event()
        self.changed = asyncio.Event()

    def connected(self, link: Link) -> None:
        self.link = link
        self.changed.set()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.changed.set()

    def paused(self) -> None:
        self.is_paused = True
        self.changed.set()

    def writable(self) -> None:
        self.is_paused = False
        self.changed.set()

    def closed(self, error: Exception | None) -> None:
        self.ended.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()


async def open_pair(network: TcpNetwork) -> tuple[Recorder, Recorder]:
    far = Recorder()
    listener = await network.listen(LOOPBACK, lambda: far)
    near = Recorder()
    link = await network.connect(listener.address, near)
    assert link is near.link
    await far.until(lambda: far.link is not None)
    assert link.remote == listener.address
    listener.close()
    await listener.wait_closed()
    return near, far


@on_each_loop
async def test_bytes_arrive_in_order_and_a_close_is_seen() -> None:
    near, far = await open_pair(TcpNetwork())
    assert near.link is not None
    for number in range(100):
        near.link.write(bytes((number,)) * 1000)
    near.link.close()
    near.link.write(b"never sent")
    await far.ended.wait()
    await near.ended.wait()
    assert far.data == b"".join(bytes((number,)) * 1000 for number in range(100))


@on_each_loop
async def test_a_full_buffer_is_signalled_and_so_is_its_draining() -> None:
    near, far = await open_pair(TcpNetwork())
    assert near.link is not None
    assert far.link is not None
    far.link.pause_reading()
    far.link.pause_reading()
    written = 0
    while not near.is_paused:
        near.link.write(bytes(limits.WRITE_HIGH_WATER))
        written += limits.WRITE_HIGH_WATER
        assert written < 1 << 30, "no system takes so much that nobody reads"
        await asyncio.sleep(0)
    assert near.link.write_buffer_size() > limits.WRITE_LOW_WATER
    far.link.resume_reading()
    far.link.resume_reading()
    await near.until(lambda: not near.is_paused)
    await far.until(lambda: len(far.data) == written)
    near.link.abort()
    near.link.pause_reading()
    near.link.resume_reading()
    await near.ended.wait()
    await far.ended.wait()


@on_each_loop
async def test_nobody_there_is_an_os_error() -> None:
    """A085: a dial that fails leaves nothing behind."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = Address(*taken.getsockname())
        recorder = Recorder()
        with pytest.raises(OSError, match=r".+"):
            await TcpNetwork().connect(nobody, recorder)
    assert recorder.link is None


@on_each_loop
async def test_a_taken_port_is_an_os_error() -> None:
    network = TcpNetwork()
    listener = await network.listen(LOOPBACK, Recorder)
    endpoint = await network.open_datagram(listener.address, Datagrams())  # UDP has its own ports
    with pytest.raises(OSError, match=r".+"):
        await network.listen(listener.address, Recorder)
    with pytest.raises(OSError, match=r".+"):
        await network.open_datagram(listener.address, Datagrams())
    endpoint.close()
    await endpoint.wait_closed()
    listener.close()
    await listener.wait_closed()
    again = await network.listen(listener.address, Recorder)
    again.close()
    await again.wait_closed()


@on_each_loop
async def test_localhost_has_an_address() -> None:
    found = await TcpNetwork().resolve(Address("localhost", 7340))
    assert set(found) <= {Address("127.0.0.1", 7340), Address("::1", 7340)}
    assert await TcpNetwork().resolve(Address("::1", 1)) == (Address("::1", 1),)


async def test_a_name_server_that_does_not_answer_holds_up_names_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A203: two look-ups at a time wait in the loop's threads, however many names are to be looked up."""
    looking, most, answered = 0, 0, asyncio.Event()

    async def slow(host: str, port: int, **_how: object) -> list[tuple[Any, ...]]:
        nonlocal looking, most
        looking += 1
        most = max(most, looking)
        await answered.wait()
        looking -= 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    network = TcpNetwork()
    listener = await network.listen(LOOPBACK, Recorder)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", slow)
    names = [asyncio.create_task(network.resolve(Address(f"host{n}.example", 1))) for n in range(50)]
    await asyncio.sleep(0)
    monkeypatch.undo()  # asyncio asks for an address, too
    link = await network.connect(listener.address, Recorder())
    link.abort()
    assert most == limits.PARALLEL_LOOKUPS
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", slow)
    answered.set()
    assert await asyncio.gather(*names) == [(Address("127.0.0.1", 1),)] * 50
    assert most == limits.PARALLEL_LOOKUPS
    listener.close()
    await listener.wait_closed()


class Datagrams:
    def __init__(self) -> None:
        self.received: list[tuple[bytes, Address]] = []
        self.changed = asyncio.Event()

    def datagram_received(self, data: bytes, source: Address) -> None:
        self.received.append((data, source))
        self.changed.set()


@on_each_loop
async def test_datagrams_arrive_with_their_source_and_nobody_there_harms_nothing() -> None:
    network = TcpNetwork()
    near_handler, far_handler = Datagrams(), Datagrams()
    near = await network.open_datagram(LOOPBACK, near_handler)
    far = await network.open_datagram(LOOPBACK, far_handler)
    gone = await network.open_datagram(LOOPBACK, Datagrams())
    gone.close()
    await gone.wait_closed()
    near.send(b"into the void", gone.address)
    near.send(b"unroutable family", Address("2001:db8::1", 1))
    near.send(b"", far.address)
    near.send(b"hello", far.address)
    while not any(data == b"hello" for data, _ in far_handler.received):
        far_handler.changed.clear()
        await far_handler.changed.wait()
    assert far_handler.received[-1] == (b"hello", near.address)
    for number in range(limits.DATAGRAM_QUEUE * 2):
        near.send(number.to_bytes(4, "big"), gone.address)
    for endpoint in (near, far):
        endpoint.close()
        endpoint.send(b"late", near.address)
        await endpoint.wait_closed()


class Peer:
    def __init__(self, nonce: int, *, dialled: bool) -> None:
        self.events: list[Event] = []
        self.changed = asyncio.Event()
        connection = PeerConnection(
            hello(nonce), dialled=dialled, budget=ReceiveBudget(), random_bytes=random.Random(nonce).randbytes
        )
        self.link = PeerLink(connection, self._take)

    def _take(self, _link: PeerLink, event: Event) -> None:
        self.events.append(event)
        self.changed.set()

    async def until(self, kind: type[Event], count: int = 1) -> None:
        while sum(isinstance(event, kind) for event in self.events) < count:
            self.changed.clear()
            await self.changed.wait()


@on_each_loop
async def test_two_nodes_shake_hands_and_carry_the_largest_block() -> None:
    network = TcpNetwork()
    far = Peer(2, dialled=False)
    listener = await network.listen(LOOPBACK, lambda: far.link)
    near = Peer(1, dialled=True)
    await network.connect(listener.address, near.link)
    await near.until(HandshakeCompleted)
    await far.until(HandshakeCompleted)
    block = BlockMessage(random.Random(1).randbytes(limits.MAX_BLOCK_BODY))
    near.link.send(GetData((BLOCK,)))
    while not messages(far.events):
        far.changed.clear()
        await far.changed.wait()
    far.link.send(block)
    while block not in messages(near.events):
        near.changed.clear()
        await near.changed.wait()
    near.link.close()
    await near.until(ConnectionClosed)
    await far.until(ConnectionClosed)
    listener.close()
    await listener.wait_closed()


@on_each_loop
async def test_a_hundred_reconnects_leave_no_descriptor_behind() -> None:
    """A085: flaps; no task or descriptor leak."""
    network = TcpNetwork()
    accepted: list[Recorder] = []

    def accept() -> Recorder:
        accepted.append(Recorder())
        return accepted[-1]

    listener = await network.listen(LOOPBACK, accept)
    for number in range(100):
        near = Recorder()
        link = await network.connect(listener.address, near)
        link.write(b"half a fra")
        if number % 2:
            link.abort()
        else:
            link.close()
        await near.ended.wait()
        await accepted[-1].ended.wait()
    assert len(accepted) == 100
    listener.close()
    await listener.wait_closed()


@on_each_loop
async def test_nodes_find_each_other_over_udp() -> None:
    network = TcpNetwork()
    found: list[AddressesFound] = []
    done = asyncio.Event()
    third = Address("127.0.0.3", 7340)

    def core(seed: int, sample: list[Address]) -> DiscoveryCore:
        return DiscoveryCore(
            magic=b"dure",
            port=7340,
            secret=bytes((seed,)) * 32,
            rng=random.Random(seed),
            sample=lambda count: sample[:count],
            private_allowed=True,
            now=asyncio.get_running_loop().time(),
        )

    def note(event: AddressesFound) -> None:
        found.append(event)
        done.set()

    server = Discovery(core(1, [third]), network, [], lambda _event: None)
    bound = await server.start(LOOPBACK)
    asker = Discovery(core(2, []), network, [Address("localhost", bound.port)], note)
    await asker.start(LOOPBACK)
    await done.wait()
    assert found[0] == AddressesFound((third,), bound)
    await asker.stop()
    await server.stop()
