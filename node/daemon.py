"""One node with everything that belongs to it in a process: storage, chain, peers, wallet, miner, JSON-RPC.

Started in the order in which the parts need each other, stopped in the other one. See `node.main` for signals and
exit statuses.
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from structlog.typing import FilteringBoundLogger

from consensus.address import AddressError, decode_address
from consensus.params import NETWORKS, Params, local_params
from consensus.types import LockId
from node.api.catalogue import ALL
from node.api.jsonrpc import RpcServer
from node.api.listening import Cookie, access_for, bind
from node.api.method import by_name
from node.api.services import Services
from node.block_template import BlockTemplates
from node.branch_mining import BranchMiner
from node.chain import ChainManager
from node.clock import SystemClock
from node.config import ConfigError, NodeConfig
from node.descriptors import needed, raise_limit, share
from node.gossip_limits import MAX_OUTBOUND
from node.logs import FILE_NAME, FileSink, Logs, TerminalSink
from node.mempool import Mempool
from node.mining import Generator, MinerProcess, miner_command
from node.node import Node
from node.peer_settings import PeerSettings
from node.skewed_clock import SkewedClock
from node.storage.chain_store import ChainStore
from node.storage.errors import StorageError
from node.storage.executor import disk_thread
from node.storage.files import DirectoryFiles
from node.storage.folder import FolderLock
from node.storage.lmdb_store import LmdbDatabase
from node.storage.schema import MIGRATIONS, STORAGE_VERSION, TABLES
from node.version import AGENT, VERSION
from node.wallet_place import Around, WalletPlace
from node.workers import ProcessWorkers
from p2p.tcp import TcpNetwork
from p2p.transport import Address, AddressSyntaxError, parse_address
from rpc.errors import ErrorCode, RpcError
from wallet.errors import WalletError

MINING_ADDRESS_FILE = "mining-address"
_STOP_ORDER = ("miner", "rpc", "peers", "wallet", "chain", "workers")
"""Each part after those that ask it for something."""
_CUT_SHORT = frozenset({"miner", "rpc", "peers"})
"""Parts that wait for others as they stop. Chain and wallet finish the step in hand whatever the haste."""
HASTE_SECONDS = 0.2
"""What a part gets to stop once a second signal has come."""


class Daemon:
    """Everything, made from the settings and not yet running."""

    def __init__(self, config: NodeConfig, stop: Callable[[], None]) -> None:
        """Take hold of the folder, and load what is in it.

        Args:
            stop: asks for the end, as a signal does.

        Raises:
            ConfigError: a setting turned out to be wrong.
            StorageError: the folder is in use, damaged, of another network, or cannot be used at all.
            OSError: the port of JSON-RPC is taken.
        """
        self._undo: list[Callable[[], object]] = []
        """What `close` does, last first."""
        self._stops: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}
        """How to stop each part that was started."""
        self.config = config
        self.params = params_of(config)
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ask_to_stop = stop
        try:
            self._open()
        except BaseException:
            self._close_now()
            raise

    def _open(self) -> None:
        config, folder = self.config, self.config.folder
        lock = FolderLock(folder)
        self._undo.append(lock.release)
        self._logs, self.log = self._open_log(folder)
        self.files = DirectoryFiles(folder, self._disk_thread("files-disk"))
        self.clock = SkewedClock(SystemClock(), self.files)
        self.entropy = random.SystemRandom()
        self._started = self.clock.monotonic()
        self._limit = raise_limit(needed(config.max_connections))
        self._room = share(self._limit, config.max_connections)
        # Before anybody can call: who reads the file finds the secret of this run.
        self.cookie = Cookie(folder)
        self._undo.append(self.cookie.remove)
        rpc_port = self.params.rpc_port if config.rpc_port is None else config.rpc_port
        self._socket = _bind(config.rpc_bind, rpc_port, self._room.backlog)
        self._undo.append(self._socket.close)
        database = LmdbDatabase(
            folder / "chain",
            TABLES,
            version=STORAGE_VERSION,
            migrations=MIGRATIONS,
            identity=self.params.genesis_hash,
            executor=self._disk_thread("chain-disk"),
        )
        self._undo.append(database.close)
        self.store = ChainStore(database, self.params, reindex=config.reindex)
        self.workers = ProcessWorkers(self._logs.logger("node.workers"))
        self.chain = ChainManager(self.params, self.store, self.workers, self.clock, self._logs.logger("node.chain"))
        self.mempool = Mempool(
            self.params,
            self.chain,
            self.clock,
            self.workers,
            self._logs.logger("node.mempool"),
            max_bytes=config.mempool_mb * 1024 * 1024,
        )
        self.node = Node(
            peer_settings(config, self.params, self._room.peers),
            params=self.params,
            clock=self.clock,
            rng=self.entropy,
            network=TcpNetwork(self._room.backlog),
            chain=self.chain,
            mempool=self.mempool,
            files=self.files,
            log=self._logs.logger("node.peers"),
        )
        self.services = self._make_services()
        self.rpc = RpcServer(
            self.services,
            self.services.methods,
            access_for(config, self.cookie),
            self._logs.logger("node.api"),
            self._room.callers,
        )
        if config.wallet:
            self._open_wallet()

    def _open_log(self, folder: Path) -> tuple[Logs, FilteringBoundLogger]:
        try:
            file = FileSink(folder / FILE_NAME)
        except OSError as error:
            raise StorageError(f"cannot write {folder / FILE_NAME}: {error.strerror or error}") from error
        self._undo.append(file.close)
        terminal = [TerminalSink(sys.stderr)] if self.config.log_terminal else []
        logs = Logs(*terminal, file, level=self.config.log_level)
        self._undo.append(logs.capture_standard())
        return logs, logs.logger("node.main")

    def _make_services(self) -> Services:
        templates = BlockTemplates(self.params, self.chain, self.mempool, self.clock)
        self.node.on_tip_changed(lambda _change: templates.on_tip_changed())
        services = Services(
            params=self.params,
            config=self.config,
            clock=self.clock,
            log=self._logs.logger("node.api"),
            store=self.store,
            chain=self.chain,
            mempool=self.mempool,
            node=self.node,
            templates=templates,
            generator=Generator(templates, self.chain, self.workers, self.entropy),
            branches=BranchMiner(self.params, self.chain, self.workers, self.clock, self.entropy),
            wallet=None,
            backups=DirectoryFiles(self.config.folder / "backups", self._disk_thread("backups-disk")),
            fail=self.fail,
            stop=self._ask_to_stop,
            started=self._started,
            version=VERSION,
            agent=AGENT,
            disk_size=lambda: _disk_size(self.config.folder / "chain"),
            mining_lock=self._mining_lock,
            starting="The node is starting",
        )
        services.methods = by_name(ALL, services)
        return services

    def _open_wallet(self) -> None:
        around = Around(
            self.config,
            self.params,
            self.entropy,
            self.clock,
            self._logs.logger("wallet"),
            self._disk_thread("wallet-disk"),
            self.node,
            self.fail,
        )
        self.services.wallet_place = place = WalletPlace(around, partial(setattr, self.services, "wallet"))
        self._undo.append(place.close)

    def _disk_thread(self, name: str) -> Executor:
        """Return a thread of its own for what waits for a disk; it ends after those who use it."""
        executor = disk_thread(name)
        self._undo.append(executor.shutdown)
        return executor

    # Life

    async def start(self) -> None:
        """Start all parts; JSON-RPC says that it is starting until they are.

        Raises:
            ConfigError, StorageError, OSError: as in the constructor.
        """
        config = self.config
        self.log.info("starting", version=VERSION, network=self.params.name, datadir=str(config.folder))
        if self._room.peers < config.max_connections:
            self.log.warning(
                "connections_reduced",
                says=f"{self._limit} files may be open at once: raise that limit (ulimit -n)",
                peers=self._room.peers,
                callers=self._room.callers,
                needed=needed(config.max_connections),
            )
        self._check_mining_address()
        self._stops["workers"] = self.workers.close
        await self.rpc.start(self._socket)
        self._stops["rpc"] = self.rpc.stop
        if self.store.reindexing:
            self.services.starting = "The node is rebuilding its chain from the stored blocks"
            self.log.info("reindex_started")
        self._stops["chain"] = self.chain.close
        await self.chain.start()
        if self.services.wallet_place is not None:
            self._stops["wallet"] = self.services.wallet_place.stop
            await self.services.wallet_place.start()
        self._stops["peers"] = self.node.stop
        await self._start_peers()
        self.services.starting = None
        host, port = self._socket.getsockname()[:2]
        self.log.info(
            "ready",
            height=self.chain.tip.height,
            p2p=str(self.node.listens_at) if self.node.listens_at else None,
            rpc=str(Address(host, port)),
            took_ms=int((self.clock.monotonic() - self._started) * 1000),
        )
        if config.mine:
            self._start_miner(host, port)

    async def _start_peers(self) -> None:
        try:
            await self.node.start()
        except OSError as error:
            port = self.params.p2p_port if self.config.port is None else self.config.port
            raise _port_error(error, "peers", port) from error

    def _start_miner(self, host: str, port: int) -> None:
        # A socket that is bound to all addresses is called at the loopback one.
        at = Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)
        miner = MinerProcess(
            miner_command(f"http://{at}/", self.cookie.path, self.config.hashrate, self.config.mine_address),
            self._logs.logger("miner"),
        )
        miner.start()
        self._stops["miner"] = miner.stop

    def fail(self, error: StorageError) -> None:
        """Take note that the disk failed: the node stops."""
        if not self._failure.done():
            self.log.error("storage_failed", why=str(error))
            self._failure.set_exception(error)

    async def wait_failed(self) -> None:
        """Wait until something fails that a started node cannot do without, and raise it.

        Raises:
            StorageError: the disk failed.
        """
        parts = [
            self._failure,
            asyncio.create_task(self.node.wait_stopped()),
            asyncio.create_task(self.chain.wait_stopped()),
        ]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_EXCEPTION)
            for part in parts:
                if part.done() and not part.cancelled():
                    part.result()
        finally:
            for part in parts[1:]:
                part.cancel()

    async def stop(self, hasten: asyncio.Event) -> None:
        """Stop all parts that were started, in order.

        Args:
            hasten: cut short what only waits for others. The chain and the wallet always finish the step in hand.
        """
        self.log.info("stopping")
        # An exit stack: what goes wrong with one part does not keep the next from stopping.
        async with AsyncExitStack() as stack:
            for part in reversed(_STOP_ORDER):
                if part in self._stops:
                    stack.push_async_callback(_within, self._stops.pop(part), hasten, cut_short=part in _CUT_SHORT)
        self.log.info("stopped", height=self.chain.tip.height)

    async def close(self) -> None:
        """Give back all that the constructor took: files, sockets, the folder."""
        if self._failure.done():
            self._failure.exception()  # told already, or nobody asked
        self._close_now()

    def _close_now(self) -> None:
        while self._undo:
            self._undo.pop()()

    # Where rewards go

    def _check_mining_address(self) -> None:
        if self.config.mine_address is None:
            return
        try:
            decode_address(self.params, self.config.mine_address)
        except AddressError as error:
            raise ConfigError(f"mine_address: {error}") from None

    async def _mining_lock(self) -> LockId:
        """Return where rewards go that nobody named an address for: one address of the wallet, kept over restarts.

        Raises:
            RpcError: there is no wallet.
        """
        if self.config.mine_address is not None:
            return decode_address(self.params, self.config.mine_address)
        if self.services.wallet is None:
            raise RpcError(ErrorCode.WALLET_NOT_FOUND, "This node has no wallet: say which address to mine for")
        service = self.services.wallet
        try:
            lock = decode_address(self.params, (self.files.read(MINING_ADDRESS_FILE) or b"").decode("ascii", "replace"))
        except AddressError:
            lock = None
        if lock is None or not service.wallet.is_mine(lock):
            try:
                address = await service.ask(lambda wallet: wallet.new_address("mining"))
            except WalletError as error:
                raise RpcError(ErrorCode.WALLET_ERROR, str(error)) from None
            lock = decode_address(self.params, address)
            await self.files.save(MINING_ADDRESS_FILE, address.encode("ascii"))
        return lock


def params_of(config: NodeConfig) -> Params:
    """Return the network that the settings name."""
    if config.network == "local" and config.tag is not None:
        return local_params(bytes.fromhex(config.tag))
    return NETWORKS[config.network]


def peer_settings(config: NodeConfig, params: Params, connections: int) -> PeerSettings:
    """Return what gossip reads of the settings.

    Args:
        connections: to peers, that there may be.

    Raises:
        ConfigError: an address is none.
    """
    host = config.bind or ("127.0.0.1" if config.is_private else "0.0.0.0")
    outbound = min(MAX_OUTBOUND, connections)
    return PeerSettings(
        bind=Address(host, params.p2p_port if config.port is None else config.port) if config.listen else None,
        advertise_host=config.advertise,
        connect=_addresses("connect", config.connect, params),
        seeds=_addresses("seed", config.seed, params),
        discovery=config.discovery,
        private_addresses=config.is_private,
        max_outbound=outbound,
        max_inbound=connections - outbound,
        agent=AGENT,
    )


def _addresses(setting: str, texts: tuple[str, ...], params: Params) -> tuple[Address, ...]:
    try:
        return tuple(parse_address(text, params.p2p_port) for text in texts)
    except AddressSyntaxError as error:
        raise ConfigError(f"{setting}: {error}") from None


def _bind(host: str, port: int, backlog: int) -> socket.socket:
    try:
        return bind(host, port, backlog)
    except OSError as error:
        raise _port_error(error, "JSON-RPC", port) from error


def _port_error(error: OSError, what: str, port: int) -> OSError:
    """Return an error that says which port it is about."""
    if error.errno == errno.EADDRINUSE:
        return OSError(error.errno, f"port {port} (for {what}) is taken by another program")
    return OSError(error.errno, f"cannot listen for {what} at port {port}: {error.strerror or error}")


def _disk_size(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.glob("*.mdb"))


async def _within(stop: Callable[[], Coroutine[Any, Any, None]], hasten: asyncio.Event, *, cut_short: bool) -> None:
    """Run `stop` to its end; if it may be cut short, only for a moment longer once there is haste."""
    task = asyncio.create_task(stop())
    hurry = asyncio.create_task(hasten.wait())
    try:
        await asyncio.wait((task, hurry) if cut_short else (task,), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait((task,), timeout=HASTE_SECONDS)
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
    finally:
        hurry.cancel()
    if not task.cancelled():
        task.result()
