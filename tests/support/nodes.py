"""Whole nodes in one process, on a network in memory, and a peer that says what a test tells it to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from consensus.params import REGTEST, Params
from consensus.pow import next_bits, target_from_bits
from consensus.state import ChainState
from consensus.types import Block, Header
from consensus.validation import check_header
from node.chain import ChainManager
from node.clock import Clock
from node.mempool import Mempool
from node.node import Node
from node.peer_settings import PeerSettings
from node.storage.chain_store import ChainStore
from node.storage.files import Files, MemoryFiles
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import TABLES
from node.workers import InlineWorkers
from p2p.connection import PeerConnection
from p2p.events import ConnectionClosed, Event, HandshakeCompleted, MessageReceived
from p2p.framing import ReceiveBudget
from p2p.messages import BlockMessage, GetData, GetHeaders, Headers, Hello, ItemKind, Message
from p2p.peer_link import PeerLink
from p2p.transport import Address, Link, LinkHandler, Network
from tests.support.chain import ChainBuilder, recorder
from tests.support.memory_network import MemoryNetwork
from tests.support.virtual_loop import LoopClock

_M = TypeVar("_M", bound=Message)


class HostNetwork:
    """A memory network as one host sees it: what it dials comes from its own address."""

    def __init__(self, network: MemoryNetwork, host: str) -> None:
        self._network = network
        self._host = host
        self.listen = network.listen
        self.open_datagram = network.open_datagram
        self.resolve = network.resolve

    async def connect(self, address: Address, handler: LinkHandler) -> Link:
        return await self._network.connect(address, handler, self._host)


@dataclass
class RunningNode:
    """A node and what it runs on; `disk` and `files` outlive it."""

    node: Node
    chain: ChainManager
    mempool: Mempool
    disk: MemoryDatabase
    files: MemoryFiles
    entries: list[Mapping[str, Any]]
    address: Address

    async def feed(self, blocks: Iterable[Block]) -> None:
        await asyncio.gather(*(self.chain.accept_block(block, wanted=True) for block in blocks))

    @property
    def height(self) -> int:
        return self.chain.tip.height

    def logged(self, event: str) -> list[Mapping[str, Any]]:
        return [entry for entry in self.entries if entry["event"] == event]

    @property
    def peers(self) -> int:
        return len(self.node.peers)


@dataclass
class World:
    """Nodes that share a network and a clock."""

    network: MemoryNetwork = field(default_factory=lambda: MemoryNetwork(0.01))
    params: Params = REGTEST
    seed: int = 0
    _count: int = 0

    def host(self, number: int) -> Address:
        return Address(f"10.0.{number // 256}.{number % 256}", 7340)

    @asynccontextmanager
    async def node(
        self,
        connect: Sequence[Address] = (),
        *,
        disk: MemoryDatabase | None = None,
        files: Files | None = None,
        address: Address | None = None,
        network: Network | None = None,
        clock: Clock | None = None,
        **settings: Any,
    ) -> AsyncIterator[RunningNode]:
        """A node that runs until the block ends. It dials only `connect`, unless the settings say otherwise."""
        self._count += 1
        address = address or self.host(self._count)
        clock = clock or LoopClock(asyncio.get_running_loop())
        disk = disk or MemoryDatabase(TABLES)
        files = files or MemoryFiles()
        log, entries = recorder()
        workers = InlineWorkers()
        chain = ChainManager(self.params, ChainStore(disk, self.params), workers, clock, log)
        mempool = Mempool(self.params, chain, clock, workers, log)
        chosen: dict[str, Any] = {"bind": address, "connect": tuple(connect), "discovery": False, "max_outbound": 0}
        node = Node(
            PeerSettings(**(chosen | settings)),
            params=self.params,
            clock=clock,
            rng=random.Random(f"{self.seed} {self._count}"),
            network=network or HostNetwork(self.network, address.host),
            chain=chain,
            mempool=mempool,
            files=files,
            log=log,
        )
        await chain.start()
        await node.start()
        try:
            yield RunningNode(node, chain, mempool, disk, files, entries, node.listens_at or address)  # type: ignore[arg-type]
        finally:
            await node.stop()
            await chain.close()
            broken = [entry for entry in entries if entry["log_level"] == "error"]
            if broken:
                raise AssertionError(f"the node logged errors: {broken}")


class FakePeer:
    """The other end of one link, by hand. It answers pings, and else only what `answers` says."""

    def __init__(self, world: World, *, dialled: bool = True, port: int = 0, height: int = 0, nonce: int = 77) -> None:
        hello = Hello(1, world.params.genesis_hash, nonce.to_bytes(8, "big"), "fake", port, height)
        connection = PeerConnection(
            hello, dialled=dialled, budget=ReceiveBudget(), random_bytes=random.Random(nonce).randbytes
        )
        self.link = PeerLink(connection, self._on_event)
        self.received: list[Message] = []
        self.closed: ConnectionClosed | None = None
        self.ready = False
        self.answers: list[Callable[[Message], None]] = []

    def _on_event(self, link: PeerLink, event: Event) -> None:
        match event:
            case HandshakeCompleted():
                self.ready = True
            case MessageReceived(message):
                self.received.append(message)
                for answer in self.answers:
                    answer(message)
            case ConnectionClosed():
                self.closed = event
            case _:
                pass

    def send(self, *messages: Message) -> None:
        for message in messages:
            self.link.send(message)

    def got(self, kind: type[_M]) -> list[_M]:
        return [message for message in self.received if isinstance(message, kind)]

    def serve_headers(self, blocks: Sequence[Block]) -> None:
        """Answer each GetHeaders with those of these blocks that follow what it names."""

        def answer(message: Message) -> None:
            if isinstance(message, GetHeaders):
                hashes: list[bytes] = [block.hash for block in blocks]
                known = next((hashes.index(h) + 1 for h in message.locator if h in hashes), 0)
                headers = tuple(block.header.encoded for block in blocks[known : known + 2000])
                self.send(Headers(headers))

        self.answers.append(answer)

    def serve_blocks(self, raws: Mapping[bytes, bytes]) -> None:
        """Answer each GetData for a block that is in `raws`; say nothing to others."""

        def answer(message: Message) -> None:
            if isinstance(message, GetData):
                for item in message.items:
                    if item.kind is ItemKind.BLOCK and item.hash in raws:
                        self.send(BlockMessage(raws[item.hash]))

        self.answers.append(answer)


async def dial(world: World, node: RunningNode, peer: FakePeer | None = None, host: str = "10.9.9.9") -> FakePeer:
    """Have a fake peer dial a node; returns when the handshake is done, or was refused."""
    peer = peer or FakePeer(world)
    await world.network.connect(node.address, peer.link, host)
    await until(lambda: peer.ready or peer.closed is not None)
    return peer


def honest(world: World, blocks: Sequence[Block], **more: Any) -> FakePeer:
    """A fake peer that has these blocks and serves them."""
    peer = FakePeer(world, **more)
    peer.serve_headers(blocks)
    peer.serve_blocks({block.hash: block.encoded for block in blocks})
    return peer


async def until(true: Callable[[], bool], within: float = 60.0) -> float:
    """Wait, in the loop's time, until something is true; return how long it took."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while not true():
        if loop.time() - begun > within:
            raise AssertionError(f"not true within {within} s")
        await asyncio.sleep(0.01)
    return loop.time() - begun


async def converged(nodes: Sequence[RunningNode], within: float = 60.0) -> float:
    """Wait until all nodes have one tip."""
    return await until(lambda: len({node.chain.tip.hash for node in nodes}) == 1, within)


def new_chain(length: int, params: Params = REGTEST) -> tuple[ChainBuilder, list[Block]]:
    """A chain of empty blocks and its builder."""
    builder = ChainBuilder(params)
    return builder, builder.mine_chain(None, length)


def light_headers(params: Params, state: ChainState, count: int, step: int) -> list[Header]:
    """Valid headers after `state`, `step` seconds apart: far apart, so that their work soon is the least there is."""
    made: list[Header] = []
    for number in range(count):
        bits, _ = next_bits(params, state.anchor, state.height, state.times[-1])
        header = Header(1, state.hash, number.to_bytes(32, "big"), state.times[-1] + step, bits, 0)
        target = target_from_bits(bits)
        while int.from_bytes(header.hash, "little") > target:
            header = Header(1, header.previous, header.merkle_root, header.time, bits, header.nonce + 1)
        state = check_header(params, header, state)
        made.append(header)
    return made
