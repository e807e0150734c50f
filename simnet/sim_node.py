"""One node of a simulated network: a machine with a disk and a clock, and the run of the node on it, if any."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from consensus.address import decode_address
from consensus.assets import assets_of_issuances
from consensus.errors import NotYet
from consensus.params import Params
from consensus.pow import next_bits
from consensus.state import SpendContext
from consensus.types import Amount, Asset, AssetId, BlockHash, LockId
from node.chain import ChainClosedError, ChainManager
from node.mempool import Mempool
from node.node import Node
from node.peer_settings import PeerSettings
from node.storage.chain_store import ChainStore
from node.storage.errors import StorageError
from node.storage.schema import TABLES
from node.storage.staged import StagedDatabase
from node.wallet_service import WalletService
from simnet.assembly import Parts, assemble
from simnet.disk import SimDisk
from simnet.errors import NodeDown, SimulationError
from simnet.events import EventLog
from simnet.loop import LoopClock
from simnet.network import HostNetwork, SimNetwork
from wallet.assets.flows import fetch_records
from wallet.assets.making import AssetWish
from wallet.cosigning import finalise
from wallet.errors import PaymentError, WalletError
from wallet.ports import Outside
from wallet.psdt import Psdt
from wallet.results import Payment, Sent
from wallet.store import TABLES as WALLET_TABLES
from wallet.waiting import WaitingTransfer
from wallet.wallet import Wallet


@dataclass(frozen=True, slots=True)
class World:
    """What all nodes of a simulation share."""

    params: Params
    network: SimNetwork
    events: EventLog
    seed: int
    tasks: dict[asyncio.Task[None], None]
    """What goes on beside the story."""
    failures: list[BaseException]
    """What it broke with."""

    def task_done(self, task: asyncio.Task[None]) -> None:
        """Take note of the end of such a task."""
        self.tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures.append(error)


class _Run:
    """One run of a node's program, from its start to its end or its crash."""

    def __init__(
        self,
        network: HostNetwork,
        parts: Parts,
        wallet: WalletService | None,
        rng: random.Random,
        log: FilteringBoundLogger,
    ) -> None:
        self.network = network
        self.parts = parts
        self.wallet = wallet
        self.rng = rng
        self.log = log
        self.watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.parts.chain.start()
        if self.wallet is not None:
            await self.wallet.start()
        await self.parts.node.start()

    async def end(self) -> None:
        """Stop in the daemon's order. Where the disk is dead the parts can only end."""
        if self.watch is not None:
            self.watch.cancel()
            with suppress(asyncio.CancelledError, StorageError):
                await self.watch
        stops = [self.parts.node.stop, self.parts.chain.close]
        if self.wallet is not None:
            stops.insert(1, self.wallet.stop)
        for stop in stops:
            with suppress(StorageError):
                await stop()


class SimNode:
    """A machine in a simulated network.

    Attributes:
        number: 0 and up; `name` is made from it.
        address: where it listens.
        disk, clock: its own; they outlive a run of the node. `clock.jump` sets the calendar wrong.
        crashes, starts: how often that happened.
        failure: why the last run stopped by itself, if it did.
    """

    def __init__(self, number: int, world: World, settings: PeerSettings, *, wallet: bool) -> None:
        if settings.bind is None:
            raise ValueError("a simulated node listens")
        self.number = number
        self.name = f"node{number}"
        self.address = settings.bind
        self.settings = settings
        self.disk = SimDisk(random.Random(f"{world.seed} disk {number}"))
        self.clock = LoopClock(asyncio.get_running_loop())
        self.crashes = self.starts = 0
        self.failure: StorageError | None = None
        self.on_start: list[Callable[[SimNode], None]] = []
        """Called once a run has its parts, before any of them runs: listeners may be attached."""
        self._world = world
        self._has_wallet = wallet
        self._run: _Run | None = None
        self._ending: asyncio.Task[None] | None = None
        self._mining_lock: LockId | None = None

    def __repr__(self) -> str:
        return self.name

    # --- life -------------------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether the node runs."""
        return self._run is not None

    async def start(self, *, reindex: bool = False) -> None:
        """Start the node on what is on its disk.

        Args:
            reindex: rebuild everything from the stored bodies first.

        Raises:
            StorageError: the disk failed, or the machine died on the way. The node is down.
        """
        if self._run is not None:
            raise SimulationError(f"{self.name} runs already")
        await self._ended()
        self.failure = None
        self.starts += 1
        self._world.network.revive(self.host)
        self.disk.on_power_lost = self._power_lost
        network = self._world.network.host(self.host)
        run: _Run | None = None
        try:
            run = self._run = self._make_run(network, reindex=reindex)
            for listener in self.on_start:
                listener(self)
            await run.start()
        except StorageError as error:
            if run is not None and self._run is run:
                self._run = None
                await run.end()
            await self._ended()
            self._world.events.say(self.name, "not_started", why=type(error).__name__)
            raise
        if self._run is run:
            run.watch = asyncio.create_task(self._watch(run), name=f"watch {self.name}")
            self._world.events.say(self.name, "started", height=self.height)

    def _make_run(self, network: HostNetwork, *, reindex: bool) -> _Run:
        world = self._world
        rng = random.Random(f"{world.seed} node {self.number} {self.starts}")
        log = world.events.logger(self.name, lambda: network.is_up)
        parts = assemble(
            world.params,
            self.settings,
            database=self.disk.database("chain", TABLES),
            files=self.disk.files("node"),
            network=network,
            clock=self.clock,
            rng=rng,
            log=log,
            reindex=reindex,
        )
        wallet = self._open_wallet(parts.node, rng, log) if self._has_wallet else None
        return _Run(network, parts, wallet, rng, log)

    def _open_wallet(self, node: Node, rng: random.Random, log: FilteringBoundLogger) -> WalletService:
        files, database = self.disk.files("wallet"), StagedDatabase(self.disk.database("wallet", WALLET_TABLES))
        outside = Outside(files, database, rng, self.clock, log)
        make = Wallet.open if Wallet.exists(files) else Wallet.create
        wallet = make(self._world.params, outside, allow_plain=True)
        return WalletService(wallet, database, node, log, self._wallet_failed)

    async def stop(self) -> None:
        """Stop in order, as after SIGTERM; without effect if it does not run."""
        run, self._run = self._run, None
        if run is not None:
            await run.end()
            run.network.is_up = False
            self._world.events.say(self.name, "stopped")
        await self._ended()

    def crash(self, *, silent: bool = False) -> None:
        """End the run at this very moment: nothing more of it reaches the disk or the network.

        Args:
            silent: as by a power cut: nobody is told until the machine is started again. Else its kernel resets all
                streams.
        """
        run, self._run = self._run, None
        if run is None:
            return
        self.crashes += 1
        run.network.is_up = False
        self.disk.power_off()
        self._world.events.say(self.name, "crashed", silent=silent)
        self._world.network.kill(self.host, silent=silent)
        self._end_later(run)

    def _power_lost(self) -> None:
        """The machine dies within a write: what called it must not get to say anything more."""
        run, self._run = self._run, None
        if run is None:
            return
        self.crashes += 1
        run.network.is_up = False
        self._world.network.silence(self.host)
        self._world.events.say(self.name, "crashed", silent=True, within="a write")
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: self._world.network.kill(self.host, silent=True))
        self._end_later(run)

    def _failed(self, run: _Run, error: StorageError) -> None:
        """Stop the node, as the daemon does when a disk fails."""
        if self._run is run:
            self._run = None
            self.failure = error
            self._world.events.say(self.name, "failed", why=type(error).__name__)
            self._end_later(run)

    def _wallet_failed(self, error: StorageError) -> None:
        if self._run is not None:
            self._failed(self._run, error)

    async def _watch(self, run: _Run) -> None:
        """Stop the node when its disk fails, as the daemon does."""
        node, chain = run.parts.node, run.parts.chain
        waits = [asyncio.create_task(wait) for wait in (node.wait_stopped(), chain.wait_stopped())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            errors = [wait.exception() for wait in waits if wait.done() and not wait.cancelled()]
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        error = next((error for error in errors if error is not None), None)
        if error is not None and not isinstance(error, StorageError):
            raise error
        if isinstance(error, StorageError):
            run.watch = None
            self._failed(run, error)

    def _end_later(self, run: _Run) -> None:
        earlier = self._ending

        async def end() -> None:
            if earlier is not None:
                await earlier
            await run.end()
            run.network.is_up = False

        self._ending = asyncio.create_task(end(), name=f"end {self.name}")

    async def _ended(self) -> None:
        """Wait until nothing of an earlier run is left."""
        while self._ending is not None:
            ending, self._ending = self._ending, None
            await ending

    # --- what runs --------------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """Its IP address."""
        return self.address.host

    @property
    def params(self) -> Params:
        """The network's."""
        return self._world.params

    @property
    def _on(self) -> _Run:
        if self._run is None:
            raise NodeDown(f"{self.name} does not run")
        return self._run

    @property
    def parts(self) -> Parts:
        """The running node's parts."""
        return self._on.parts

    @property
    def rng(self) -> random.Random:
        """The running node's entropy, and here its log: for what else belongs to the same process."""
        return self._on.rng

    @property
    def log(self) -> FilteringBoundLogger:
        """The running node's log."""
        return self._on.log

    @property
    def node(self) -> Node:
        """The running node. This and the next ones raise `NodeDown` if it does not run."""
        return self.parts.node

    @property
    def chain(self) -> ChainManager:
        """The running node's chain."""
        return self.parts.chain

    @property
    def store(self) -> ChainStore:
        """The running node's records."""
        return self.parts.store

    @property
    def mempool(self) -> Mempool:
        """The running node's mempool."""
        return self.parts.mempool

    @property
    def wallet(self) -> WalletService:
        """The running node's wallet."""
        if self._run is None or self._run.wallet is None:
            raise NodeDown(f"{self.name} has no running wallet")
        return self._run.wallet

    @property
    def tip(self) -> BlockHash:
        """The id of its best block."""
        return self.chain.tip.hash

    @property
    def height(self) -> int:
        """Of its best block."""
        return self.chain.tip.height

    @property
    def peers(self) -> int:
        """How many peers are ready."""
        return len(self.node.peers)

    # --- what it does -----------------------------------------------------------------------------------------

    def next_bits(self) -> int:
        """Return the bits of the block that it would mine now."""
        if self._run is None:
            return self._world.params.limit_bits
        tip = self.chain.tip
        return next_bits(self._world.params, tip.anchor, tip.height, tip.times[-1])[0]

    async def mine(self, count: int = 1, to: LockId | None = None) -> BlockHash:
        """Mine blocks with real work on its tip, now; return its tip.

        Raises:
            NotYet: by its clock, they come too early.
        """
        await self.parts.generator.generate(count, to or await self.mining_lock())
        return self.tip

    def mine_later(self) -> None:
        """Mine a block as its miner would; if the node dies over it, or the block is early, there is none."""
        if self._run is not None:
            task = asyncio.create_task(self._mine_one(), name=f"mine {self.name}")
            self._world.tasks[task] = None
            task.add_done_callback(self._world.task_done)

    async def _mine_one(self) -> None:
        with suppress(NotYet, ChainClosedError, StorageError, NodeDown):
            await self.mine()

    async def mining_lock(self) -> LockId:
        """Return where its rewards go: one address of its wallet; without a wallet, a lock that nobody opens."""
        if self._mining_lock is None:
            if self._has_wallet:
                self._mining_lock = await self.new_lock("mining")
            else:
                self._mining_lock = LockId(self.number.to_bytes(32, "big"))
        return self._mining_lock

    async def new_lock(self, label: str = "") -> LockId:
        """Return a lock of its wallet that was never handed out."""
        with self._with_wallet() as service:
            address = await service.ask(lambda wallet: wallet.new_address(label))
        return decode_address(self._world.params, address)

    @contextmanager
    def _with_wallet(self) -> Iterator[WalletService]:
        """Give the wallet; if its disk fails meanwhile the node stops, as the daemon does."""
        run, service = self._run, self.wallet
        try:
            yield service
        except StorageError as error:
            if run is not None:
                self._failed(run, error)
            raise

    async def pay(self, payments: Sequence[tuple[LockId, int]]) -> Sent:
        """Pay out of its wallet; what is returned is acknowledged: durable, and on its way.

        Raises:
            WalletError: there is not enough that may be spent, say.
            ConsensusError, NotYet, PolicyError: the node did not take it; the payment is given up.
            StorageError: the disk failed.
        """
        wanted = [Payment(lock, Amount(amount)) for lock, amount in payments]
        with self._with_wallet() as service:
            await service.current()
            sent = await service.ask(lambda wallet: wallet.send(wanted, service.terms))
            await service.hand_over(sent)
        return sent

    async def make(self, wish: AssetWish, approvers: Sequence[SimNode] = ()) -> Sent:
        """Issue, pay, attest or burn assets out of its wallet; acknowledged, as `pay`.

        Args:
            approvers: whose wallets are asked, in turn, for the approvals that its own cannot give. What lacks one
                nevertheless is forgotten.

        Raises:
            WalletError, ConsensusError, NotYet, PolicyError, StorageError: as `pay`.
        """
        names = [payment.asset for payment in wish.payments] + [burn.id for burn in wish.burns]
        names += assets_of_issuances(wish.issuances)
        with self._with_wallet() as service:
            await service.current()
            records = self.chain.get_assets(dict.fromkeys(names))
            sent = await service.ask(lambda wallet: wallet.assets.make(wish, records, service.terms))
            if isinstance(sent, WaitingTransfer):
                sent = await self._have_approved(service, sent, approvers)
            await service.hand_over(sent)
        return sent

    async def _have_approved(
        self, service: WalletService, waiting: WaitingTransfer, approvers: Sequence[SimNode]
    ) -> Sent:
        """Hand the file of a transfer around, and record what comes of it."""
        psdt = waiting.psdt
        try:
            for approver in approvers:
                psdt = await approver.approve(psdt)
            records = self._records(psdt)
            tx = finalise(self._world.params, psdt, SpendContext(self.height + 1, self.chain.tip.median_time), records)
            if not await service.ask(lambda wallet: wallet.policies.record(tx)):
                raise SimulationError("a wallet does not know its own transfer")
        except (WalletError, NodeDown) as error:
            await self.forget_waiting()
            raise PaymentError(f"not everybody approves of it: {error}") from None
        return Sent(tx, Amount(psdt.fee), Amount(0), 0)

    async def forget_waiting(self) -> None:
        """Have its wallet give up whatever waits for an approval."""
        with self._with_wallet() as service:
            for waiting in list((await service.current()).assets.transfers):
                await service.ask(lambda wallet, txid=waiting.transfer.txid: wallet.assets.transfers.forget(txid))  # type: ignore[misc]

    async def approve(self, psdt: Psdt) -> Psdt:
        """Have its wallet sign whatever a file asks of it.

        Raises:
            NodeDown: it does not run.
            PsdtError, WalletError: the file is wrong, by what this node knows of the chain.
        """
        with self._with_wallet() as service:
            await service.current()
            known = {name: coin.output for name, coin in self.chain.get_coins(psdt.core.inputs).items()}
            records = self._records(psdt)
            return (await service.ask(lambda wallet: wallet.cosigner.sign(psdt, known, records))).psdt

    def _records(self, psdt: Psdt) -> dict[AssetId, Asset | None]:
        """Return the records, by its chain, of all assets that a file is about."""
        return fetch_records(psdt.core, psdt.spent, self.chain.get_assets)
