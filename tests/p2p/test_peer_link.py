"""The shell around a connection, over an in-memory network and a loop whose time is ours."""

from __future__ import annotations

import asyncio
import random

import pytest

from p2p import limits
from p2p.connection import PeerConnection
from p2p.events import CloseReason, ConnectionClosed, Event, HandshakeCompleted
from p2p.framing import ReceiveBudget
from p2p.messages import BlockMessage, GetAddr, GetData, Inv, Item, ItemKind
from p2p.peer_link import PeerLink
from p2p.transport import Address, Network
from simnet.network import SimNetwork
from tests.support.peers import closing, hello, messages

HERE = Address("10.0.0.1", 7340)


class Peer:
    """A link, what happened on it, and a way to wait for more."""

    def __init__(self, nonce: int, *, dialled: bool) -> None:
        self.events: list[Event] = []
        self._more = asyncio.Event()
        self.link = PeerLink(
            PeerConnection(
                hello(nonce), dialled=dialled, budget=ReceiveBudget(), random_bytes=random.Random(nonce).randbytes
            ),
            self._take,
        )

    def _take(self, link: PeerLink, event: Event) -> None:
        assert link is self.link
        self.events.append(event)
        self._more.set()

    async def until(self, kind: type[Event]) -> None:
        async with asyncio.timeout(30):
            while not any(isinstance(event, kind) for event in self.events):
                self._more.clear()
                await self._more.wait()


async def connected(network: Network) -> tuple[Peer, Peer]:
    accepted: list[Peer] = []

    def accept() -> PeerLink:
        accepted.append(Peer(2, dialled=False))
        return accepted[-1].link

    listener = await network.listen(HERE, accept)
    dialled = Peer(1, dialled=True)
    await network.connect(HERE, dialled.link)
    await dialled.until(HandshakeCompleted)
    await accepted[0].until(HandshakeCompleted)
    listener.close()
    await listener.wait_closed()
    return dialled, accepted[0]


def is_served(peer: Peer) -> bool:
    return peer.link.is_writable


async def settle() -> None:
    """Let everything that is due now run; the in-memory network needs a few turns of the loop for it."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_two_links_shake_hands_and_talk() -> None:
    near, far = await connected(SimNetwork().host("10.0.0.2"))
    near.link.send(GetAddr())
    await settle()
    assert messages(far.events) == [GetAddr()]
    assert near.link.remote == HERE
    near.link.close(detail="done")
    await near.until(ConnectionClosed)
    await far.until(ConnectionClosed)
    assert closing(near.events).reason is CloseReason.LOCAL
    assert closing(far.events).reason is CloseReason.LOST


async def test_what_was_said_before_closing_still_arrives() -> None:
    near, far = await connected(SimNetwork().host("10.0.0.2"))
    near.link.send(GetAddr())
    near.link.close()
    await far.until(ConnectionClosed)
    assert messages(far.events) == [GetAddr()]


async def test_an_event_handler_may_send_and_close() -> None:
    near, far = await connected(SimNetwork().host("10.0.0.2"))
    heard: list[Event] = []

    def answer(link: PeerLink, event: Event) -> None:
        heard.append(event)
        if not isinstance(event, ConnectionClosed):
            link.send(Inv((Item(ItemKind.TX, bytes(32)),)))
            link.close()

    far.link._on_event = answer
    near.link.send(GetAddr())
    near.link.send(GetAddr())
    await near.until(ConnectionClosed)
    assert len(messages(near.events)) == 1
    assert [type(event).__name__ for event in heard] == ["MessageReceived", "ConnectionClosed"]


async def test_a_slow_reader_is_still_heard_and_served_again_when_it_reads() -> None:
    """A083: slow reader."""
    near, far = await connected(SimNetwork().host("10.0.0.2"))
    caught_up = asyncio.Event()
    far.link.on_writable = caught_up.set
    near.link.hold_reading()
    far.link.send(BlockMessage(bytes(limits.UNSOLICITED_BODY)))
    await settle()
    assert is_served(far)
    for _ in range(5):
        far.link.send(BlockMessage(bytes(limits.UNSOLICITED_BODY)))
    await settle()
    assert not is_served(far)
    near.link.send(GetAddr())
    await settle()
    assert messages(far.events) == [GetAddr()]  # if neither side listened, both would wait for ever
    near.link.release_reading()
    async with asyncio.timeout(30):
        await caught_up.wait()
    await settle()
    assert is_served(far)
    assert messages(far.events) == [GetAddr()]
    assert len(messages(near.events)) == 6
    near.link.close()
    await far.until(ConnectionClosed)


async def test_two_that_are_both_full_still_hear_each_other() -> None:
    """A084"""
    near, far = await connected(SimNetwork().host("10.0.0.2"))
    for link in (near.link, far.link):
        link.paused()
    for link in (near.link, far.link):
        link.send(BlockMessage(b"late, but it comes"))
    await settle()
    for peer in (near, far):
        assert len(messages(peer.events)) == 1
        assert not is_served(peer)
        peer.link.writable()
    near.link.close()
    await far.until(ConnectionClosed)


async def test_a_reader_that_stays_slow_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A083: a peer that never reads."""
    monkeypatch.setattr(limits, "SEND_STALL_SECONDS", 0.0)
    near, far = await connected(SimNetwork().host("10.0.0.2"))
    near.link.hold_reading()
    for _ in range(5):
        far.link.send(BlockMessage(bytes(limits.UNSOLICITED_BODY)))
    await far.until(ConnectionClosed)
    assert closing(far.events).reason is CloseReason.SLOW_READER
    await near.until(ConnectionClosed)


async def test_a_buffer_past_its_bound_cuts_the_link_at_once() -> None:
    """A083: send buffer bounded, whatever the node does."""
    near, far = await connected(SimNetwork().host("10.0.0.2"))
    near.link.hold_reading()
    near.link.connection.send(GetData((Item(ItemKind.BLOCK, bytes(32)),) * 10))
    for _ in range(10):
        far.link.send(BlockMessage(bytes(limits.MAX_BLOCK_BODY)))
    await far.until(ConnectionClosed)
    assert closing(far.events).reason is CloseReason.SLOW_READER
    assert far.link.connection.bytes_sent <= limits.MAX_WRITE_BUFFER + limits.MAX_BLOCK_BODY + 1000
    await near.until(ConnectionClosed)


async def test_a_deadline_runs_by_the_loops_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A078: a handshake never begun."""
    monkeypatch.setattr(limits, "HANDSHAKE_SECONDS", 0.0)

    class Silent:
        def connected(self, link: object) -> None: ...
        def data_received(self, data: bytes) -> None: ...
        def paused(self) -> None: ...
        def writable(self) -> None: ...
        def closed(self, error: Exception | None) -> None: ...

    network = SimNetwork().host("10.0.0.2")
    accepted = Peer(2, dialled=False)
    await network.listen(HERE, lambda: accepted.link)
    await network.connect(HERE, Silent())
    await accepted.until(ConnectionClosed)
    assert closing(accepted.events).reason is CloseReason.VIOLATION


async def test_no_timer_outlives_its_link() -> None:
    """A085: no leak."""
    near, far = await connected(SimNetwork().host("10.0.0.2"))
    near.link.close()
    await near.until(ConnectionClosed)
    await far.until(ConnectionClosed)
    await settle()
    for peer in (near, far):
        assert peer.link._timer is None
        assert peer.link._stall is None
        assert peer.link._link is None


async def test_a_link_refused_before_it_was_taken_delivers_nothing() -> None:
    peer = Peer(2, dialled=False)
    peer.link.data_received(b"\x00")
    peer.link.closed(None)
    assert closing(peer.events).reason is CloseReason.LOST
