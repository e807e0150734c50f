"""Whole nodes in one process, on a network in memory, and a peer that says what a test tells it to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

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
from node.storage.files import Files, MemoryFiles
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import TABLES
from p2p.transport import Address, Network
from simnet.assembly import assemble
from simnet.conditions import Conditions
from simnet.loop import LoopClock
from simnet.network import SimNetwork
from simnet.scripted_peer import ScriptedPeer
from tests.support.chain import ChainBuilder, recorder
from tests.support.watch import watch


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

    network: SimNetwork = field(default_factory=lambda: SimNetwork(conditions=Conditions(latency=0.01)))
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
        chosen: dict[str, Any] = {"bind": address, "connect": tuple(connect), "discovery": False, "max_outbound": 0}
        parts = assemble(
            self.params,
            PeerSettings(**(chosen | settings)),
            database=disk,
            files=files,
            network=network or self.network.host(address.host),
            clock=clock,
            rng=random.Random(f"{self.seed} {self._count}"),
            log=log,
        )
        watch(parts.chain, parts.store, self.params)
        node, chain, mempool = parts.node, parts.chain, parts.mempool
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


class FakePeer(ScriptedPeer):
    """The other end of one link, by hand. It answers pings, and else only what `answers` says."""

    def __init__(self, world: World, **more: Any) -> None:
        super().__init__(world.params, **more)


async def dial(world: World, node: RunningNode, peer: FakePeer | None = None, host: str = "10.9.9.9") -> FakePeer:
    """Have a fake peer dial a node; returns when the handshake is done, or was refused."""
    peer = peer or FakePeer(world)
    await world.network.host(host).connect(node.address, peer.link)
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
