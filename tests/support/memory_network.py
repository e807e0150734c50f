"""A network inside one process: what real sockets do in good weather, on the running loop's clock, without sockets.

Links carry bytes in order after `latency` seconds, signal back-pressure, and close; datagrams arrive or find nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from p2p import limits
from p2p.transport import Address, DatagramEndpoint, DatagramHandler, Link, LinkHandler, Listener


class MemoryLink:
    """One end of a stream; `other` is the other end."""

    def __init__(self, handler: LinkHandler, remote: Address, latency: float) -> None:
        self.remote = remote
        self.handler = handler
        self.other: MemoryLink = self
        self._latency = latency
        self._wire: deque[bytes] = deque()
        self._inbox: deque[bytes] = deque()
        self._unread = 0
        self._in_flight = 0
        self._reading = True
        self._writer_paused = False
        self._finishing = False
        self._gone = False
        self._aborted = False
        self._loop = asyncio.get_running_loop()

    def write(self, data: bytes) -> None:
        if self._gone or self._aborted or self._finishing or not data:
            return
        self._in_flight += len(data)
        # In line, because timers that are due at the same moment run in any order.
        self._wire.append(bytes(data))
        self._loop.call_later(self._latency, self._carry)
        if self.write_buffer_size() > limits.WRITE_HIGH_WATER and not self._writer_paused:
            self._writer_paused = True
            self._loop.call_soon(self._tell_paused)

    def write_buffer_size(self) -> int:
        return self._in_flight + self.other._unread

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.call_soon(self._deliver)

    def close(self) -> None:
        if not self._finishing and not self._gone:
            self._finishing = True
            self._loop.call_later(self._latency, self._close_if_drained)

    def abort(self, error: Exception | None = None) -> None:
        if not self._gone:
            self._inbox.clear()
            self._aborted = True
            self._loop.call_soon(self._vanish, error)
            self._loop.call_later(self._latency, self.other._vanish, error or ConnectionResetError("reset by peer"))

    def _tell_paused(self) -> None:
        if not self._gone and self._writer_paused:
            self.handler.paused()

    def _carry(self) -> None:
        self.other._arrive(self._wire.popleft())

    def _arrive(self, data: bytes) -> None:
        self.other._in_flight -= len(data)
        if self._gone or self._aborted:
            return
        self._inbox.append(data)
        self._unread += len(data)
        self._deliver()

    def _deliver(self) -> None:
        while self._reading and self._inbox and not self._gone:
            data = self._inbox.popleft()
            self._unread -= len(data)
            self.handler.data_received(data)
        writer = self.other
        if writer._writer_paused and writer.write_buffer_size() <= limits.WRITE_LOW_WATER and not writer._gone:
            writer._writer_paused = False
            writer.handler.writable()
        if writer._finishing:
            writer._close_if_drained()

    def _close_if_drained(self) -> None:
        if not self._gone and not self.write_buffer_size():
            self._loop.call_soon(self._vanish, None)
            self._loop.call_soon(self.other._vanish, None)

    def _vanish(self, error: Exception | None) -> None:
        if not self._gone:
            self._gone = True
            self._inbox.clear()
            self._unread = 0
            self.handler.closed(error)


class _MemoryListener:
    def __init__(self, network: MemoryNetwork, address: Address, factory: Callable[[], LinkHandler]) -> None:
        self.network, self.address, self.factory = network, address, factory

    def close(self) -> None:
        self.network.listeners.pop(self.address, None)

    async def wait_closed(self) -> None:
        await asyncio.sleep(0)


class _MemoryDatagrams:
    def __init__(self, network: MemoryNetwork, address: Address, handler: DatagramHandler) -> None:
        self.network, self.address, self.handler = network, address, handler

    def send(self, data: bytes, to: Address) -> None:
        asyncio.get_running_loop().call_later(self.network.latency, self.network.carry, data, self.address, to)

    def close(self) -> None:
        self.network.endpoints.pop(self.address, None)

    async def wait_closed(self) -> None:
        await asyncio.sleep(0)


class MemoryNetwork:
    """All nodes of a test share one. Hosts need no set-up: an address exists as soon as somebody listens there."""

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self.listeners: dict[Address, _MemoryListener] = {}
        self.endpoints: dict[Address, _MemoryDatagrams] = {}
        self.names: dict[str, str] = {}
        self._next_port = 50_000

    async def connect(self, address: Address, handler: LinkHandler, source_host: str = "127.0.0.1") -> Link:
        await asyncio.sleep(self.latency)
        target = (await self.resolve(address))[0]
        listener = self.listeners.get(target)
        if listener is None:
            raise ConnectionRefusedError(f"nobody listens at {target}")
        near = MemoryLink(handler, target, self.latency)
        far = MemoryLink(listener.factory(), Address(source_host, self._free_port()), self.latency)
        near.other, far.other = far, near
        far.handler.connected(far)
        near.handler.connected(near)
        return near

    async def listen(self, address: Address, handler_factory: Callable[[], LinkHandler]) -> Listener:
        address = Address(address.host, address.port or self._free_port())
        if address in self.listeners:
            raise OSError(f"{address} is taken")
        self.listeners[address] = _MemoryListener(self, address, handler_factory)
        return self.listeners[address]

    async def open_datagram(self, address: Address, handler: DatagramHandler) -> DatagramEndpoint:
        address = Address(address.host, address.port or self._free_port())
        if address in self.endpoints:
            raise OSError(f"{address} is taken")
        self.endpoints[address] = _MemoryDatagrams(self, address, handler)
        return self.endpoints[address]

    async def resolve(self, address: Address) -> tuple[Address, ...]:
        if address.host in self.names:
            return (Address(self.names[address.host], address.port),)
        if not address.host[0].isdigit() and ":" not in address.host:
            raise OSError(f"no such name: {address.host}")
        return (address,)

    def carry(self, data: bytes, source: Address, to: Address) -> None:
        """Deliver a datagram, if anybody is there."""
        endpoint = self.endpoints.get(to)
        if endpoint is not None:
            endpoint.handler.datagram_received(data, source)

    def _free_port(self) -> int:
        self._next_port += 1
        return self._next_port
