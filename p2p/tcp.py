"""Real sockets for `transport.Network`: streams by asyncio or uvloop, datagrams by asyncio-dgram. Decides nothing."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from typing import cast

import asyncio_dgram

from p2p import limits
from p2p.transport import (
    Address,
    DatagramEndpoint,
    DatagramHandler,
    Link,
    LinkHandler,
    Listener,
    normal_host,
)


class TcpNetwork:
    """The network of this machine. One may serve any number of nodes in one loop."""

    def __init__(self, backlog: int = limits.LISTEN_BACKLOG) -> None:
        """Args:
        backlog: connections that the system may keep ready for a listener.
        """
        self._backlog = backlog
        self._lookups = asyncio.Semaphore(limits.PARALLEL_LOOKUPS)

    async def connect(self, address: Address, handler: LinkHandler) -> Link:
        """See `transport.Network.connect`."""
        async with asyncio.timeout(limits.CONNECT_SECONDS):
            target = (await self.resolve(address))[0]
            loop = asyncio.get_running_loop()
            _, link = await loop.create_connection(lambda: _TcpLink(handler), target.host, target.port)
        return link

    async def listen(self, address: Address, handler_factory: Callable[[], LinkHandler]) -> Listener:
        """See `transport.Network.listen`."""
        server = await asyncio.get_running_loop().create_server(
            lambda: _TcpLink(handler_factory()), address.host, address.port, backlog=self._backlog
        )
        return _TcpListener(server)

    async def open_datagram(self, address: Address, handler: DatagramHandler) -> DatagramEndpoint:
        """See `transport.Network.open_datagram`."""
        # Bound here, not by the loop: where the port is taken uvloop would leave a half-made transport behind.
        target = (await self.resolve(address))[0]
        bound = socket.socket(socket.AF_INET6 if ":" in target.host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            bound.setblocking(False)
            bound.bind(target)
            stream = await asyncio_dgram.from_socket(bound)
        except BaseException:
            bound.close()
            raise
        return _UdpEndpoint(cast("asyncio_dgram.DatagramServer", stream), handler)

    async def resolve(self, address: Address) -> tuple[Address, ...]:
        """See `transport.Network.resolve`."""
        try:
            ipaddress.ip_address(address.host)
        except ValueError:
            pass
        else:
            return (address,)
        async with self._lookups:
            found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        hosts = dict.fromkeys(normal_host(str(entry[4][0])) for entry in found)
        if not hosts:
            raise OSError(f"{address.host} has no address")
        return tuple(Address(host, address.port) for host in list(hosts)[: limits.MAX_RESOLVED])


class _TcpLink(asyncio.Protocol):
    """One stream: an asyncio protocol towards the loop, a `Link` towards its handler."""

    def __init__(self, handler: LinkHandler) -> None:
        self._handler = handler
        self._transport: asyncio.Transport | None = None
        self._reading = True
        self.remote = Address("", 0)

    # --- asyncio.Protocol -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        host, port = (transport.get_extra_info("peername") or ("", 0))[:2]
        self.remote = Address(normal_host(host), port)
        connected = transport.get_extra_info("socket")
        if connected is not None:
            # A message is written whole; holding it back for another would only add latency.
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.set_write_buffer_limits(limits.WRITE_HIGH_WATER, limits.WRITE_LOW_WATER)
        self._handler.connected(self)

    def data_received(self, data: bytes) -> None:
        self._handler.data_received(data)

    def pause_writing(self) -> None:
        self._handler.paused()

    def resume_writing(self) -> None:
        self._handler.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        self._handler.closed(exc)

    # --- Link -------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def write_buffer_size(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        if self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _TcpListener:
    def __init__(self, server: asyncio.Server) -> None:
        self._server = server
        self.address = _bound_address(server.sockets[0].getsockname())

    def close(self) -> None:
        self._server.close()

    async def wait_closed(self) -> None:
        # Not Server.wait_closed: since Python 3.12 it waits for every open link too. The socket itself is closed by
        # asyncio at once, and by uvloop in the loop's next turn.
        await asyncio.sleep(0)
        await asyncio.sleep(0)


class _UdpEndpoint:
    """A bound port. One task reads and awaits nothing else; another writes, from a bounded queue."""

    def __init__(self, stream: asyncio_dgram.DatagramServer, handler: DatagramHandler) -> None:
        self._stream = stream
        self._handler = handler
        self._queue: asyncio.Queue[tuple[bytes, Address]] = asyncio.Queue(limits.DATAGRAM_QUEUE)
        self.address = _bound_address(stream.sockname)
        self._is_ipv6 = ":" in self.address.host
        self._reader = asyncio.create_task(self._read(), name="datagram-reader")
        self._writer = asyncio.create_task(self._write(), name="datagram-writer")

    def send(self, data: bytes, to: Address) -> None:
        if not self._queue.full():
            self._queue.put_nowait((data, to))

    def close(self) -> None:
        self._reader.cancel()
        self._writer.cancel()
        self._stream.close()

    async def wait_closed(self) -> None:
        await asyncio.gather(self._reader, self._writer, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            try:
                data, raw_source = await self._stream.recv()
            except asyncio_dgram.TransportClosed:
                return
            except OSError:
                continue  # the late echo of something sent: its receiver is not there
            host, port = cast("tuple[str, int]", raw_source)[:2]
            self._handler.datagram_received(data, Address(normal_host(host), port))

    async def _write(self) -> None:
        while True:
            data, to = await self._queue.get()
            host = f"::ffff:{to.host}" if self._is_ipv6 and ":" not in to.host else to.host
            try:
                await self._stream.send(data, (host, to.port))
            except asyncio_dgram.TransportClosed:
                return
            except (OSError, ValueError):
                continue  # no route, or a family this socket does not speak: as good as lost


def _bound_address(name: tuple[str, int]) -> Address:
    return Address(name[0], name[1])
