"""A network whose links are worse than they are: delay, jitter, loss and a bound on speed, set while it runs.

It lies around any other network, real or simulated, and shapes what this node sends; what others send they shape
themselves. What goes to peers without conditions passes untouched.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from p2p import limits
from p2p.link_conditions import FLIGHT, PERFECT, Line, LinkConditions
from p2p.transport import Address, DatagramEndpoint, DatagramHandler, Link, LinkHandler, Listener, Network

MAX_DATAGRAMS_UNDER_WAY: Final = 1_024
"""Datagrams that are being delayed; past it they are dropped, as any router does whose queue is full."""


class ShapedNetwork:
    """Satisfies `transport.Network` with another one."""

    def __init__(self, network: Network, rng: random.Random) -> None:
        """
        Args:
            network: carries what comes through.
            rng: draws jitter and loss.
        """
        self._network = network
        self._rng = rng
        self._conditions: dict[Address, LinkConditions] = {}
        self._links: dict[_ShapedLink, None] = {}
        self._datagram_lines: dict[Address, Line] = {}

    # --- what is set ------------------------------------------------------------------------------------------

    @property
    def conditions(self) -> Mapping[Address, LinkConditions]:
        """What holds towards whom, in the order in which it was given; towards all others nothing."""
        return self._conditions

    def set_conditions(self, conditions: Mapping[Address, LinkConditions]) -> None:
        """Send from now on under these conditions, and only these, by the address at which each peer listens.

        What is under way already is sent again under the new ones.
        """
        self._conditions = {address: each for address, each in conditions.items() if not each.are_perfect}
        self._datagram_lines = {}
        for link in list(self._links):
            link.change(self.conditions_for(link.peer))

    def conditions_for(self, address: Address) -> LinkConditions:
        """Return what holds towards a peer that listens at `address`."""
        return self._conditions.get(address, PERFECT)

    def peer_listens(self, remote: Address, address: Address) -> None:
        """The peer at the other end `remote` of a link turned out to be the one that listens at `address`."""
        for link in list(self._links):
            if link.remote == remote:
                link.peer = address
                link.change(self.conditions_for(address))

    # --- transport.Network ------------------------------------------------------------------------------------

    async def connect(self, address: Address, handler: LinkHandler) -> Link:
        """See `transport.Network.connect`."""
        link = self._wrap(handler)
        await self._network.connect(address, link)
        return link

    async def listen(self, address: Address, handler_factory: Callable[[], LinkHandler]) -> Listener:
        """See `transport.Network.listen`."""
        return await self._network.listen(address, lambda: self._wrap(handler_factory()))

    async def open_datagram(self, address: Address, handler: DatagramHandler) -> DatagramEndpoint:
        """See `transport.Network.open_datagram`."""
        return _ShapedDatagrams(await self._network.open_datagram(address, handler), self)

    async def resolve(self, address: Address) -> tuple[Address, ...]:
        """See `transport.Network.resolve`."""
        return await self._network.resolve(address)

    # --- of its own links -------------------------------------------------------------------------------------

    def datagram_line(self, to: Address) -> Line | None:
        """Return the line that datagrams to `to` take; None if nothing happens to them."""
        conditions = self._conditions.get(to)
        if conditions is None:
            return None
        if to not in self._datagram_lines:
            self._datagram_lines[to] = Line(conditions, self._rng)
        return self._datagram_lines[to]

    def line(self, conditions: LinkConditions) -> Line:
        """Return a new line."""
        return Line(conditions, self._rng)

    def opened(self, link: _ShapedLink) -> None:
        """A link is there."""
        self._links[link] = None
        link.change(self.conditions_for(link.peer))

    def gone(self, link: _ShapedLink) -> None:
        """A link is not there any more."""
        self._links.pop(link, None)

    def _wrap(self, handler: LinkHandler) -> _ShapedLink:
        return _ShapedLink(handler, self)


class _ShapedLink:
    """One stream: a `Link` towards its handler, a `LinkHandler` towards the network that carries it."""

    __slots__ = (
        "_closing", "_handler", "_inner_paused", "_line", "_link", "_network", "_queue", "_queued", "_timer",
        "_told_paused", "data_received", "peer", "remote",
    )  # fmt: skip

    def __init__(self, handler: LinkHandler, network: ShapedNetwork) -> None:
        self._handler = handler
        self._network = network
        self._link: Link | None = None
        self._line: Line | None = None
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._inner_paused = False
        self._told_paused = False
        self.remote = Address("", 0)
        self.peer = Address("", 0)
        """Where the peer listens, as far as is known; for an inbound link the handshake tells."""
        self.data_received = handler.data_received

    def change(self, conditions: LinkConditions) -> None:
        """Send under other conditions, which hold for what is queued too."""
        if self._line is None and conditions.are_perfect:
            return
        if self._line is not None and self._line.conditions == conditions:
            return
        waiting = [data for _, data in self._queue]
        self._queue.clear()
        self._queued = 0
        self._line = None if conditions.are_perfect else self._network.line(conditions)
        for data in waiting:
            self._take(data)
        self._settle()

    # --- LinkHandler, towards the network -----------------------------------------------------------------------

    def connected(self, link: Link) -> None:
        self._link = link
        self.remote = self.peer = link.remote
        self._network.opened(self)
        self._handler.connected(self)

    def paused(self) -> None:
        self._inner_paused = True
        self._balance()

    def writable(self) -> None:
        self._inner_paused = False
        self._balance()

    def closed(self, error: Exception | None) -> None:
        self._drop()
        self._network.gone(self)
        self._link = None
        self._handler.closed(error)

    # --- Link, towards the handler ------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._line is None and self._link is not None and not self._closing:
            self._link.write(data)
        elif self._link is not None and not self._closing:
            view = memoryview(data)
            for start in range(0, len(data), FLIGHT):
                self._take(bytes(view[start : start + FLIGHT]))
            self._settle()

    def write_buffer_size(self) -> int:
        return self._queued + (0 if self._link is None else self._link.write_buffer_size())

    def pause_reading(self) -> None:
        if self._link is not None:
            self._link.pause_reading()

    def resume_reading(self) -> None:
        if self._link is not None:
            self._link.resume_reading()

    def close(self) -> None:
        self._closing = True
        self._settle()

    def abort(self) -> None:
        self._closing = True
        self._drop()
        if self._link is not None:
            self._link.abort()

    # --- inside -----------------------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        """Queue a piece until it is due; with nothing in its way it goes at once."""
        if self._link is None:
            return
        if self._line is None:
            self._link.write(data)
            return
        due = self._line.stream_arrival(asyncio.get_running_loop().time(), len(data))
        self._queue.append((due, data))
        self._queued += len(data)

    def _settle(self) -> None:
        """Set the timer for what is due first; where nothing is queued, close if that was asked for."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue:
            self._timer = asyncio.get_running_loop().call_at(self._queue[0][0], self._release)
        elif self._closing and self._link is not None:
            self._link.close()
        self._balance()

    def _release(self) -> None:
        """Let out what is due."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        first = True  # a timer may run a moment before its time
        while self._queue and self._link is not None and (first or self._queue[0][0] <= now):
            _, data = self._queue.popleft()
            self._queued -= len(data)
            self._link.write(data)
            first = False
        self._settle()

    def _balance(self) -> None:
        """Tell the handler when too much is queued, and when it has drained, as `transport.LinkHandler` has it."""
        if self._link is None:
            return
        if not self._told_paused and (self._inner_paused or self._queued > limits.WRITE_HIGH_WATER):
            self._told_paused = True
            self._handler.paused()
        elif self._told_paused and not self._inner_paused and self._queued <= limits.WRITE_LOW_WATER:
            self._told_paused = False
            self._handler.writable()

    def _drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._queue.clear()
        self._queued = 0


class _ShapedDatagrams:
    """A bound port whose datagrams come late, or never."""

    def __init__(self, endpoint: DatagramEndpoint, network: ShapedNetwork) -> None:
        self._endpoint = endpoint
        self._network = network
        self._under_way = 0
        self._closed = False

    @property
    def address(self) -> Address:
        return self._endpoint.address

    def send(self, data: bytes, to: Address) -> None:
        line = self._network.datagram_line(to)
        if line is None:
            self._endpoint.send(data, to)
            return
        loop = asyncio.get_running_loop()
        due = line.datagram_arrival(loop.time(), len(data))
        if due is not None and self._under_way < MAX_DATAGRAMS_UNDER_WAY:
            self._under_way += 1
            loop.call_at(due, self._arrive, data, to)

    def close(self) -> None:
        self._closed = True
        self._endpoint.close()

    async def wait_closed(self) -> None:
        await self._endpoint.wait_closed()

    def _arrive(self, data: bytes, to: Address) -> None:
        self._under_way -= 1
        if not self._closed:
            self._endpoint.send(data, to)
