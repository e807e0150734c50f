"""A network inside one process, on the running loop's clock: hosts, ways between them, and all that breaks those.

    network = SimNetwork(random.Random(1), Conditions(latency=0.05))
    network.host("10.0.0.1")                  what one node is handed as its network
    network.partition(["10.0.0.1"], ["10.0.0.2", "10.0.0.3"])        symmetric
    network.cut(["10.0.0.1"], ["10.0.0.2"])                          one way
    network.bridge([...], [...], over="10.0.0.9")                    two halves that only one host sees both of
    network.hold(["10.0.0.1"], ["10.0.0.2"]); network.release()      nothing is lost, everything waits
    network.heal()                                                   all ways are open again

An address exists as soon as somebody listens there.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from p2p import limits
from p2p.transport import Address, DatagramEndpoint, DatagramHandler, Link, LinkHandler, Listener
from simnet.conditions import REORDER_SECONDS, RETRANSMIT_SECONDS, Conditions
from simnet.link import SimLink

MAX_HELD_DATAGRAMS = 1_000
"""Datagrams that wait on ways that are held; more are lost, as in any buffer."""


class SimNetwork:
    """All hosts of one simulation share one.

    Attributes:
        names: what a resolver knows: a name, and the IP address of its host.
        datagrams_lost: how often that happened.
    """

    def __init__(self, rng: random.Random | None = None, conditions: Conditions | None = None) -> None:
        """
        Args:
            rng: draws jitter, loss, duplication and order.
            conditions: of every way that `set_conditions` does not name.
        """
        self._rng = rng or random.Random(0)
        self._default = conditions or Conditions(latency=0.0)
        self._special: dict[tuple[str, str], Conditions] = {}
        self._cut: dict[tuple[str, str], None] = {}
        self._held: dict[tuple[str, str], None] = {}
        self._dead: dict[str, None] = {}
        self._links: dict[SimLink, None] = {}
        self._listeners: dict[Address, _SimListener] = {}
        self._endpoints: dict[Address, _SimDatagrams] = {}
        self._waiting: deque[tuple[bytes, Address, Address]] = deque()
        self._opened = asyncio.Event()
        self._next_port = 50_000
        self.names: dict[str, str] = {}
        self.datagrams_lost = 0

    def host(self, host: str) -> HostNetwork:
        """Return the network as one host sees it."""
        return HostNetwork(self, host)

    # --- ways -------------------------------------------------------------------------------------------------

    def conditions(self, source: str, target: str) -> Conditions:
        """Return how good the way from one host to another is."""
        return self._special.get((source, target), self._default)

    def set_conditions(
        self, conditions: Conditions, sources: Iterable[str] | None = None, targets: Iterable[str] | None = None
    ) -> None:
        """Make ways better or worse, for what is sent from now on.

        Args:
            sources, targets: the ways from each of those to each of these, and back; all ways if neither is given.
        """
        if sources is None or targets is None:
            self._default = conditions
            self._special.clear()
        else:
            targets = list(targets)
            for source in sources:
                for target in targets:
                    self._special[source, target] = self._special[target, source] = conditions
        for link in self._links:
            link.set_conditions(self.conditions(link.here, link.there))

    def cut(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        """Let nothing pass from any of `sources` to any of `targets`; the way back stays open."""
        targets = list(targets)
        self._cut.update({(source, target): None for source in sources for target in targets if source != target})
        self._refresh()

    def partition(self, *groups: Iterable[str]) -> None:
        """Keep hosts of different groups from each other, both ways. Hosts in no group see everybody."""
        parts = [list(group) for group in groups]
        for place, part in enumerate(parts):
            for other in parts[:place] + parts[place + 1 :]:
                self._cut.update({(source, target): None for source in part for target in other})
        self._refresh()

    def bridge(self, left: Iterable[str], right: Iterable[str], over: str) -> None:
        """Keep two groups from each other, but for one host that sees both."""
        self.partition([host for host in left if host != over], [host for host in right if host != over])

    def heal(self) -> None:
        """Open all ways that were cut."""
        self._cut.clear()
        self._refresh()

    def hold(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        """Keep back what is sent between these and those, both ways, until `release`. Nothing is lost."""
        targets = list(targets)
        for source in sources:
            for target in targets:
                if source != target:
                    self._held[source, target] = self._held[target, source] = None
        self._refresh()

    def release(self, sources: Iterable[str] | None = None) -> None:
        """Let go what is held: on the ways of `sources`, or everywhere."""
        hosts = None if sources is None else dict.fromkeys(sources)
        if hosts is None:
            self._held.clear()
        else:
            self._held = {way: None for way in self._held if way[0] not in hosts and way[1] not in hosts}
        self._refresh()

    def is_cut(self, source: str, target: str) -> bool:
        """Whether nothing gets from one host to another, and what is sent is lost."""
        return (source, target) in self._cut or source in self._dead or target in self._dead

    def is_blocked(self, source: str, target: str) -> bool:
        """Whether nothing gets from one host to another now."""
        return (source, target) in self._held or self.is_cut(source, target)

    def _refresh(self) -> None:
        """Tell the links which ways are open now, and let go what was held."""
        for link in list(self._links):
            blocked = self.is_blocked(link.here, link.there)
            if blocked:
                link.blocked = True
            elif link.blocked:
                link.unblock(RETRANSMIT_SECONDS)
        self._opened.set()
        self._opened = asyncio.Event()
        waiting, self._waiting = self._waiting, deque()
        for data, source, to in waiting:
            self._carry(data, source, to)

    # --- hosts ------------------------------------------------------------------------------------------------

    def kill(self, host: str, *, silent: bool = False) -> None:
        """End whatever runs on a host, at once: its links, listeners and ports are gone, and hear nothing more.

        Args:
            silent: the whole machine is gone, so nobody is told, until `revive`. Else its kernel resets all streams.
        """
        for address in [address for address in self._listeners if address.host == host]:
            del self._listeners[address]
        for address in [address for address in self._endpoints if address.host == host]:
            del self._endpoints[address]
        if silent:
            self.silence(host)
        for link in [link for link in self._links if link.here == host]:
            link.reset(ConnectionAbortedError("killed"))
            link.vanish(ConnectionAbortedError("killed"))

    def silence(self, host: str) -> None:
        """Let nothing in or out of a host; nobody is told, on neither side."""
        self._dead[host] = None
        self._refresh()

    def revive(self, host: str) -> None:
        """A machine that was gone is there again; what is sent to its old streams is answered with a reset."""
        self._dead.pop(host, None)
        self._refresh()

    @property
    def bound(self) -> list[Address]:
        """Where somebody listens, or receives datagrams: none should be left at the end."""
        return [*self._listeners, *self._endpoints]

    @property
    def open_links(self) -> int:
        """How many ends of streams are open: none should be left at the end."""
        return sum(not link.is_gone for link in self._links)

    # --- for HostNetwork --------------------------------------------------------------------------------------

    async def connect(self, address: Address, handler: LinkHandler, source: str = "127.0.0.1") -> Link:
        """See `p2p.transport.Network.connect`."""
        target = (await self.resolve(address))[0]
        async with asyncio.timeout(limits.CONNECT_SECONDS):
            await self._round_trip(source, target.host)
        listener = self._listeners.get(target)
        if listener is None:
            raise ConnectionRefusedError(f"nobody listens at {target}")
        near = self._new_link(handler, source, target)
        far = self._new_link(listener.factory(), target.host, Address(source, self.free_port()))
        near.other, far.other = far, near
        far.handler.connected(far)
        near.handler.connected(near)
        return near

    async def _round_trip(self, source: str, target: str) -> None:
        """Wait as long as a handshake takes; while a way is cut or held, that is until it is open."""
        there, back = self.conditions(source, target), self.conditions(target, source)
        delay = there.delay(self._rng) + back.delay(self._rng)
        wait = RETRANSMIT_SECONDS
        while self._is_lost(there, source, target) or self._is_lost(back, target, source):
            await asyncio.sleep(wait)
            wait *= 2
        await asyncio.sleep(delay)
        while self.is_blocked(source, target) or self.is_blocked(target, source):
            await self._opened.wait()

    def _is_lost(self, conditions: Conditions, source: str, target: str) -> bool:
        return self.is_cut(source, target) or (conditions.loss > 0 and self._rng.random() < conditions.loss)

    def _new_link(self, handler: LinkHandler, here: str, remote: Address) -> SimLink:
        link = SimLink(handler, here, remote, self.conditions(here, remote.host), self._rng, self._link_gone)
        self._links[link] = None
        return link

    def _link_gone(self, link: SimLink) -> None:
        if link.other.is_gone:
            self._links.pop(link, None)
            self._links.pop(link.other, None)

    async def listen(self, address: Address, handler_factory: Callable[[], LinkHandler]) -> Listener:
        """See `p2p.transport.Network.listen`."""
        address = Address(address.host, address.port or self.free_port())
        if address in self._listeners:
            raise OSError(f"{address} is taken")
        self._listeners[address] = listener = _SimListener(address, handler_factory, self._listeners)
        return listener

    async def open_datagram(self, address: Address, handler: DatagramHandler) -> DatagramEndpoint:
        """See `p2p.transport.Network.open_datagram`."""
        address = Address(address.host, address.port or self.free_port())
        if address in self._endpoints:
            raise OSError(f"{address} is taken")
        self._endpoints[address] = endpoint = _SimDatagrams(self, address, handler, self._endpoints)
        return endpoint

    async def resolve(self, address: Address) -> tuple[Address, ...]:
        """See `p2p.transport.Network.resolve`."""
        if address.host in self.names:
            return (Address(self.names[address.host], address.port),)
        if not address.host[:1].isdigit() and ":" not in address.host:
            raise OSError(f"no such name: {address.host}")
        return (address,)

    def send_datagram(self, data: bytes, source: Address, to: Address) -> None:
        """Send one datagram, or lose it."""
        conditions = self.conditions(source.host, to.host)
        if self._is_lost(conditions, source.host, to.host):
            self.datagrams_lost += 1
            return
        copies = 2 if conditions.duplicate and self._rng.random() < conditions.duplicate else 1
        for _ in range(copies):
            delay = conditions.delay(self._rng)
            if conditions.reorder and self._rng.random() < conditions.reorder:
                delay += REORDER_SECONDS * self._rng.random()
            asyncio.get_running_loop().call_later(delay, self._carry, data, source, to)

    def _carry(self, data: bytes, source: Address, to: Address) -> None:
        """A datagram arrives, if anybody is there."""
        if (source.host, to.host) in self._held:
            if len(self._waiting) < MAX_HELD_DATAGRAMS:
                self._waiting.append((data, source, to))
            return
        endpoint = self._endpoints.get(to)
        if endpoint is not None and not self.is_cut(source.host, to.host):
            endpoint.handler.datagram_received(data, source)

    def free_port(self) -> int:
        """Return a port that nobody was ever given."""
        self._next_port += 1
        return self._next_port


class HostNetwork:
    """The network as one host sees it; satisfies `p2p.transport.Network`. What it dials comes from its own address."""

    def __init__(self, network: SimNetwork, host: str) -> None:
        self._network = network
        self.host = host
        self.resolve = network.resolve
        self.is_up = True
        """False once what used it was killed: what still runs of it can reach nobody."""

    async def connect(self, address: Address, handler: LinkHandler) -> Link:
        """See `p2p.transport.Network.connect`."""
        self._check_up()
        return await self._network.connect(address, handler, self.host)

    async def listen(self, address: Address, handler_factory: Callable[[], LinkHandler]) -> Listener:
        """See `p2p.transport.Network.listen`."""
        self._check_up()
        return await self._network.listen(address, handler_factory)

    async def open_datagram(self, address: Address, handler: DatagramHandler) -> DatagramEndpoint:
        """See `p2p.transport.Network.open_datagram`."""
        self._check_up()
        return await self._network.open_datagram(address, handler)

    def _check_up(self) -> None:
        if not self.is_up:
            raise OSError("the network is down")


class _SimListener:
    def __init__(
        self, address: Address, factory: Callable[[], LinkHandler], listeners: dict[Address, _SimListener]
    ) -> None:
        self.address, self.factory, self._listeners = address, factory, listeners

    def close(self) -> None:
        if self._listeners.get(self.address) is self:
            del self._listeners[self.address]

    async def wait_closed(self) -> None:
        await asyncio.sleep(0)


class _SimDatagrams:
    def __init__(
        self, network: SimNetwork, address: Address, handler: DatagramHandler, endpoints: dict[Address, _SimDatagrams]
    ) -> None:
        self.address, self.handler, self._endpoints = address, handler, endpoints
        self.send = partial(self._send, network)

    def _send(self, network: SimNetwork, data: bytes, to: Address) -> None:
        if self._endpoints.get(self.address) is self:
            network.send_datagram(bytes(data), self.address, to)

    def close(self) -> None:
        if self._endpoints.get(self.address) is self:
            del self._endpoints[self.address]

    async def wait_closed(self) -> None:
        await asyncio.sleep(0)
