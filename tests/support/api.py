"""A node with its JSON-RPC on a real socket, everything under it in memory."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from consensus.params import REGTEST, Params
from consensus.types import LockId
from node.api.access import Access, Login, Role
from node.api.catalogue import ALL
from node.api.jsonrpc import RpcServer
from node.api.listening import bind
from node.api.method import by_name
from node.api.services import Services
from node.branch_mining import BranchMiner
from node.clock import SystemClock
from node.config import NodeConfig
from node.descriptors import MAX_CALLERS
from node.peer_settings import PeerSettings
from node.skewed_clock import SkewedClock
from node.storage.files import MemoryFiles
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import TABLES
from node.storage.staged import StagedDatabase
from node.wallet_service import WalletService
from node.workers import InlineWorkers
from p2p.transport import Address
from rpc.client import Credentials, RpcClient
from rpc.errors import RpcError
from simnet.assembly import assemble
from simnet.network import SimNetwork
from tests.support.chain import recorder
from tests.support.watch import watch
from wallet.ports import Outside
from wallet.store import TABLES as WALLET_TABLES
from wallet.wallet import Wallet

OWNER = Credentials("alice", "correct horse")
READER = Credentials("bob", "battery staple")


@dataclass
class Api:
    """A node that answers calls."""

    services: Services
    server: RpcServer
    address: Address
    client: RpcClient
    entries: list[Mapping[str, Any]]
    stops: list[bool] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.address}/"

    def reader(self) -> RpcClient:
        return RpcClient(self.url, READER)

    def logged(self, event: str) -> list[Mapping[str, Any]]:
        return [entry for entry in self.entries if entry["event"] == event]

    async def calls_running(self, count: int) -> None:
        """Wait until so many calls are being answered; they come and go by themselves."""
        await until(lambda: len(self.services.running_calls) == count)

    async def mine(self, count: int, address: str | None = None) -> list[str]:
        address = address or await self.client.call("getnewaddress")
        return await self.client.call("generatetoaddress", count, address, result=list[str])

    async def raw(self, request: bytes) -> bytes:
        """Send bytes as they are, and return the answer."""
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            writer.write(request)
            async with asyncio.timeout(30):
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
                )
                return head + await reader.readexactly(length)
        finally:
            writer.close()
            await writer.wait_closed()

    async def post(
        self, body: bytes | object, credentials: Credentials | None = OWNER, path: str = "/", **headers: str
    ) -> tuple[int, Any]:
        """Post a body and return the status, and the answer: JSON if it is, else text.

        Headers by name, `_` for `-`; one that is "" is left out.
        """
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Host": str(self.address), "Content-Length": str(len(raw)), "Content-Type": "application/json"}
        if credentials is not None:
            fields["Authorization"] = credentials.header
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
        answer = await self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)
        head, _, content = answer.partition(b"\r\n\r\n")
        assert b"access-control" not in head.lower(), "no page may read an answer"
        status = int(head.split(b" ", 2)[1])
        try:
            return status, json.loads(content)
        except ValueError:
            return status, content.decode()


async def refused(api: Api, method: str, *params: object) -> RpcError:
    """Make a call that the node has to refuse; return how it did."""
    with pytest.raises(RpcError) as refusal:
        await api.client.call(method, *params)
    return refusal.value


async def until(condition: Callable[[], object]) -> None:
    """Wait for what other tasks of this loop do, for as long as any machine may need."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.001)


async def _mining_lock() -> LockId:
    return LockId(REGTEST.genesis_hash)


@asynccontextmanager
async def running_api(
    params: Params = REGTEST, *, wallet: bool = True, seed: int = 1, max_callers: int = MAX_CALLERS, **settings: Any
) -> AsyncIterator[Api]:
    """A node that answers until the block ends. Its wallet is not encrypted."""
    log, entries = recorder()
    files = MemoryFiles()
    clock, rng = SkewedClock(SystemClock(), files), random.Random(seed)
    parts = assemble(
        params,
        PeerSettings(bind=Address("10.0.0.1", 7340), discovery=False, max_outbound=0),
        database=MemoryDatabase(TABLES),
        files=files,
        network=SimNetwork().host("127.0.0.1"),
        clock=clock,
        rng=rng,
        log=log,
    )
    watch(parts.chain, parts.store, params)
    node = parts.node
    stops: list[bool] = []
    failures: list[Exception] = []
    services = Services(
        params=params,
        config=NodeConfig(network=params.name, **settings),  # type: ignore[arg-type]
        clock=clock,
        log=log,
        **parts._asdict(),
        branches=BranchMiner(params, parts.chain, InlineWorkers(), clock, rng),
        wallet=None,
        backups=MemoryFiles(),
        fail=failures.append,
        stop=lambda: stops.append(True),
        started=clock.monotonic(),
        version="1.2.3",
        agent="/test:1.2.3/",
        disk_size=lambda: 0,
        mining_lock=_mining_lock,
    )
    services.methods = by_name(ALL, services)
    await parts.chain.start()
    await node.start()
    if wallet:
        database = StagedDatabase(MemoryDatabase(WALLET_TABLES))
        made = Wallet.create(params, Outside(MemoryFiles(), database, rng, clock, log), allow_plain=True)
        services.wallet = WalletService(made, database, node, log, failures.append)
        await services.wallet.start()
    access = Access([Login(*OWNER, Role.OWNER), Login(*READER, Role.READER)], hosts=["node.example"])
    server = RpcServer(services, services.methods, access, log, max_callers)
    listening = bind("127.0.0.1", 0)
    await server.start(listening)
    address = Address(*listening.getsockname()[:2])
    client = RpcClient(f"http://{address}/", OWNER)
    try:
        yield Api(services, server, address, client, entries, stops, failures)
    finally:
        await client.close()
        await server.stop()
        if services.wallet is not None:
            await services.wallet.stop()
        await node.stop()
        await parts.chain.close()
        listening.close()
        broken = [entry for entry in entries if entry["log_level"] == "error"]
        if broken:
            raise AssertionError(f"the node logged errors: {broken}")
