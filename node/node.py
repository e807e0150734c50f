"""The node: owns the parts of gossip, routes events between them, starts and stops them in order.

    bytes → PeerLink → PeerManager → Node ──┬── Sync         headers and blocks → ChainManager
                                            ├── Relay        transactions       → Mempool
                                            ├── Serving      what peers ask for
                                            └── AddressGossip

What a new tip means goes the other way: the chain manager tells the mempool first, then this node, which tells peers
and whoever waits. The wallet follows the chain on its own (`ChainManager.updates_since`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TypeVarTuple

from structlog.typing import FilteringBoundLogger

from consensus.params import Params
from consensus.slices import Slices
from consensus.types import Block, BlockHash, Transaction, WTxId
from node import gossip_limits as limits
from node.address_gossip import AddressGossip
from node.block_index import BlockEntry
from node.chain import ChainManager
from node.chain_events import BlockResult, TipChanged
from node.clock import Clock
from node.fee_history import FeeHistory
from node.link_faults import LinkFaults
from node.loneliness import Loneliness
from node.mempool import Mempool
from node.mempool_file import MempoolFile
from node.mempool_graph import Entry
from node.outlines import Outlines
from node.packages import PackageOutcome, Refused, accept_package
from node.partition import Partition
from node.peer import Peer
from node.peer_manager import PeerManager
from node.peer_settings import PeerSettings
from node.relay import Relay
from node.serving import Serving
from node.storage.errors import StorageError
from node.storage.files import Files
from node.sync import Sync
from p2p.messages import (
    Addr,
    BlockMessage,
    BlockTransactions,
    GetAddr,
    GetBlockTransactions,
    GetData,
    GetHeaders,
    Headers,
    Inv,
    Item,
    ItemKind,
    Message,
    NotFound,
    Outline,
    TxMessage,
)
from p2p.shaped_network import ShapedNetwork
from p2p.transport import Address, Network

TipCallback = Callable[[TipChanged], None]
TransactionCallback = Callable[[Transaction], None]
_Args = TypeVarTuple("_Args")
_FREE_PORTS = 5
"""Free ports that are tried where any will do."""


class Node:
    """One node of the network, on the running loop. Chain and mempool are handed in; the chain is started before it."""

    def __init__(
        self,
        settings: PeerSettings,
        *,
        params: Params,
        clock: Clock,
        rng: random.Random,
        network: Network,
        chain: ChainManager,
        mempool: Mempool,
        files: Files,
        log: FilteringBoundLogger,
    ) -> None:
        """
        Args:
            settings: how to find, accept and keep peers.
            rng: unpredictable to peers; a seeded one makes a run that can be repeated.
            files: where known addresses, the partition and the conditions of links are kept.

        Raises:
            DamagedError: one of these files is damaged.
        """
        self.params = params
        self.chain = chain
        self.mempool = mempool
        self._log = log
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._tip_callbacks: dict[TipCallback, None] = {}
        self._transaction_callbacks: dict[TransactionCallback, None] = {}
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running = False
        self._stale_timer: asyncio.TimerHandle | None = None
        self._any_port = settings.bind is not None and settings.bind.port == 0
        self.partition = Partition(files)
        self._network = ShapedNetwork(network, rng)
        self.link_faults = LinkFaults(files, self._network)
        self.addresses = AddressGossip(
            settings, params=params, network=self._network, clock=clock, rng=rng, files=files, log=log
        )
        self.peer_manager = PeerManager(
            settings,
            params=params,
            network=self._network,
            clock=clock,
            rng=rng,
            partition=self.partition,
            addresses=self.addresses,
            log=log,
            handler=self,
            height=lambda: chain.tip.height,
        )
        self.outlines = Outlines(chain.read_block, mempool.by_wtxid)
        self._loneliness = Loneliness(
            lambda: len(self.peer_manager.peers),
            lambda: len(self.addresses.table) if not settings.connect and settings.max_outbound else 0,
            tuple(map(str, settings.connect or settings.seeds)),
            log,
        )
        self.sync = Sync(params, chain, self.peer_manager, log, self._spawn, self.outlines)
        self.relay = Relay(
            mempool,
            self.peer_manager,
            rng,
            log,
            spawn=self._spawn,
            on_accepted=self._transaction_entered,
            is_catching_up=lambda: self.sync.is_catching_up,
        )
        self.serving = Serving(chain, self.relay.find_for, self.outlines, self.sync.is_coming, self._fail)
        self.fees = FeeHistory(files, log)
        mempool.listeners.append(self.fees)
        self.mempool_file = MempoolFile(mempool, params, files, clock, log, self._entered)
        chain.tip_listeners.append(self._mempool_follows)
        chain.tip_listeners.append(self._tip_changed)
        chain.header_listeners.append(self.sync.header_due)

    # --- life -------------------------------------------------------------------------------------------------

    @property
    def peers(self) -> list[Peer]:
        """All ready peers, in the order of connecting."""
        return list(self.peer_manager.peers.values())

    @property
    def listens_at(self) -> Address | None:
        """Where peers reach us, with the real port; None if nowhere."""
        return self.peer_manager.listens_at

    async def start(self) -> None:
        """Listen, then dial. The chain runs already.

        Raises:
            OSError: a port is taken, or the host is not one of this machine.
        """
        self._running = True
        self.sync.start()
        for attempt in range(_FREE_PORTS):
            listens_at = await self.peer_manager.listen()
            try:
                await self.addresses.start(listens_at)
                break
            except OSError:
                # A port that was free for TCP may be taken for UDP.
                if not self._any_port or attempt == _FREE_PORTS - 1:
                    raise
                await self.peer_manager.listen_elsewhere()
        self.peer_manager.start()
        self._loneliness.start()
        self.mempool_file.start()
        self._expect_a_tip()

    async def stop(self) -> None:
        """Close peers, finish what is in hand, save what is kept. Chain and store are closed by who made them."""
        self._running = False
        if self._stale_timer is not None:
            self._stale_timer.cancel()
        self._loneliness.stop()
        self.sync.stop()
        self.relay.stop()
        self.serving.stop()
        await self.peer_manager.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.mempool_file.stop()
        await self.fees.save()
        await self.addresses.stop()
        if not self._failure.done():
            self._failure.set_result(None)

    async def wait_stopped(self) -> None:
        """Wait until the node has stopped; raise what made it fail, if something did."""
        await asyncio.shield(self._failure)

    # --- what others hand in and hear -------------------------------------------------------------------------

    async def submit_block(self, block: Block) -> BlockResult:
        """Take a block of our own, or of a user, as `ChainManager.accept_block`; peers hear of a new tip by itself."""
        await self.sync.block_found(block)
        return await self.chain.accept_block(block, wanted=True)

    async def submit_transaction(self, tx: Transaction, max_fee_rate: int = 0) -> Entry:
        """Take a transaction of our own, or of a user, and tell peers.

        Args:
            max_fee_rate: as in `Mempool.accept_together`.

        Raises:
            ConsensusError, NotYet, PolicyError: as `Mempool.accept_together`.
        """
        (entry,) = (await self.mempool.accept_together((tx,), max_fee_rate=max_fee_rate)).entries
        self._entered(entry)
        return entry

    async def submit_each(self, txs: Sequence[Transaction], max_fee_rates: Sequence[int]) -> list[Entry | Refused]:
        """Take transactions of a user in turn, as `submit_transaction` does; return what became of each.

        Args:
            max_fee_rates: of each.
        """
        answers = await self.mempool.accept_each(txs, max_fee_rates)
        for answer in answers:
            if isinstance(answer, Entry):
                self._entered(answer)
        return answers

    async def submit_package(self, txs: Sequence[Transaction], max_fee_rate: int = 0) -> PackageOutcome:
        """Take a child with its parents, of a user, and tell peers of those that are new.

        Args:
            max_fee_rate: as in `Mempool.accept_together`.

        Raises:
            PolicyError: as `packages.accept_package`.
        """
        outcome = await accept_package(self.mempool, txs, max_fee_rate)
        for entry in outcome.new:
            self._entered(entry)
        return outcome

    def announce_again(self, tx: Transaction) -> None:
        """Tell peers once more of a transaction of the mempool, such as a payment of ours that waits for long."""
        self.relay.announce_again(tx.wtxid)

    def on_tip_changed(self, callback: TipCallback) -> Callable[[], None]:
        """Have `callback` called at each new tip, after the mempool has followed; returns what ends that.

        It runs in the chain manager's task: it must not block and not raise. Setting an event is all that most do.
        """
        self._tip_callbacks[callback] = None

        def end() -> None:
            self._tip_callbacks.pop(callback, None)

        return end

    def on_transaction(self, callback: TransactionCallback) -> Callable[[], None]:
        """Have `callback` called at each transaction that enters the mempool; returns what ends that."""
        self._transaction_callbacks[callback] = None

        def end() -> None:
            self._transaction_callbacks.pop(callback, None)

        return end

    def set_partition(self, addresses: Iterable[Address]) -> None:
        """Act from now on as if exactly these addresses could not be reached; kept over restarts.

        Raises:
            PartitionError, StorageError: nothing was changed.
        """
        self.peer_manager.set_partition(addresses)

    def clock_was_set(self) -> None:
        """The clock of this node has jumped: what came too early may be due now, and what followed it was not taken."""
        self.chain.look_again()
        if self._running:
            self.sync.ask_all_for_headers()

    def set_network_active(self, active: bool) -> None:
        """Have no peers from now on, nor look for any; or have them again. Not kept over restarts."""
        self.peer_manager.set_active(active)
        self.addresses.set_quiet(not active)

    # --- events of peers --------------------------------------------------------------------------------------

    def peer_ready(self, peer: Peer) -> None:
        """The handshake is done."""
        if peer.listens_at is not None:
            self._network.peer_listens(peer.remote, peer.listens_at)
        for part in (self.serving, self.sync, self.relay):
            self._run_for(peer, part.peer_ready, peer)

    def peer_gone(self, peer: Peer) -> None:
        """A peer that was ready is not there any more."""
        for part in (self.serving, self.sync, self.relay):
            self._run_for(peer, part.peer_gone, peer)

    def peer_writable(self, peer: Peer) -> None:
        """A peer that was slow to read has caught up."""
        for part in (self.serving, self.relay):
            self._run_for(peer, part.peer_writable, peer)

    def peer_message(self, peer: Peer, message: Message) -> None:
        """The peer said something."""
        if self._running:
            self._run_for(peer, self._route, peer, message)

    def _run_for(self, peer: Peer, handle: Callable[[*_Args], None], *args: *_Args) -> None:
        """Handle an event of a peer. A mistake of ours costs this connection only, and is in the log."""
        try:
            handle(*args)
        except StorageError as error:
            self._fail(error)
        except Exception:  # noqa: BLE001 - logged with its traceback; one peer's event must not end the node
            self._log.exception("event_not_handled", peer=peer.number, handler=handle.__qualname__)
            self.peer_manager.disconnect(peer, "our own mistake")

    def _route(self, peer: Peer, message: Message) -> None:
        match message:
            case Inv(items):
                self._announced(peer, items)
            case TxMessage():
                self.relay.handle_transaction(peer, message)
            case Headers():
                self.sync.handle_headers(peer, message)
            case BlockMessage():
                self.sync.handle_block(peer, message)
            case Outline():
                self.sync.handle_outline(peer, message)
            case BlockTransactions():
                self.sync.handle_block_transactions(peer, message)
            case GetBlockTransactions():
                self.serving.handle_get_block_transactions(peer, message)
            case GetData(items):
                self.serving.handle_get_data(peer, items)
            case GetHeaders():
                self.serving.handle_get_headers(peer, message)
            case NotFound(items):
                self.sync.handle_not_found(peer, _hashes(items, ItemKind.BLOCK))
                self.relay.handle_not_found(peer, _hashes(items, ItemKind.TX))
            case Addr():
                self.addresses.handle_addr(peer, message, self.peers)
            case GetAddr():
                self.addresses.handle_get_addr(peer)
            case _:
                self._log.debug("message_unexpected", peer=peer.number, message=type(message).__name__)

    def _announced(self, peer: Peer, items: Sequence[Item]) -> None:
        self.relay.handle_announced(peer, map(WTxId, _hashes(items, ItemKind.TX)))
        self.sync.handle_announced(peer, _hashes(items, ItemKind.BLOCK))

    # --- events of the chain ----------------------------------------------------------------------------------

    def _mempool_follows(self, change: TipChanged) -> Slices[Mapping[str, object]]:
        return (yield from self.mempool.follow_in_slices(change)).facts()

    def _tip_changed(self, change: TipChanged) -> None:
        """Tell peers at once, then those who wait for a new tip."""
        try:
            if self._running:
                self._announce_tip(change)
                self.relay.tip_changed(change)
                self.sync.tip_changed()
                self.peer_manager.enough_peers()
                self._expect_a_tip()
            for callback in list(self._tip_callbacks):
                callback(change)
        except StorageError as error:
            self._fail(error)
        except Exception:  # noqa: BLE001 - logged with its traceback; the chain has moved on and must not stop
            self._log.exception("tip_not_followed", height=change.new.height)

    def _expect_a_tip(self) -> None:
        """If the tip stays for very long, our peers may be stuck, or keep us from the others: ask, and look further."""
        if self._stale_timer is not None:
            self._stale_timer.cancel()
        wait = max(limits.STALE_TIP_BLOCKS * self.params.spacing, limits.STALE_TIP_LEAST_SECONDS)
        self._stale_timer = asyncio.get_running_loop().call_later(wait, self._tip_is_stale)

    def _tip_is_stale(self) -> None:
        self._log.info("tip_is_stale", height=self.chain.tip.height, peers=len(self.peer_manager.peers))
        self.sync.ask_all_for_headers()
        self.peer_manager.try_another()
        self._expect_a_tip()

    def _announce_tip(self, change: TipChanged) -> None:
        entries = [self.chain.index.get(block.hash) for block in change.connected]
        connected: list[BlockEntry] = [entry for entry in entries if entry is not None]
        if not connected:
            return
        outline: Outline | None = None
        for peer in self.peers:
            announcement = self.serving.announcement(self.sync.best_of(peer), connected)
            if announcement is None or self.sync.was_told(peer, connected[-1]):
                continue
            small = peer.takes_outlines and len(announcement.headers) == 1
            if small and outline is None:
                outline = self.outlines.outline_of(change.connected[-1])
            peer.send(outline if small and outline is not None else announcement)

    def _entered(self, entry: Entry) -> None:
        """A transaction that no peer sent is in the mempool."""
        self.relay.transaction_entered(entry)
        self._transaction_entered(entry.tx)

    def _transaction_entered(self, tx: Transaction) -> None:
        for callback in list(self._transaction_callbacks):
            callback(tx)

    # --- tasks ------------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run something to its end; awaited before the node has stopped. How many run is bounded by who asks."""
        task = asyncio.get_running_loop().create_task(self._guard(work))
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    async def _guard(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except StorageError as error:
            self._fail(error)
        except Exception:  # noqa: BLE001 - logged with its traceback; nobody awaits this work's result
            self._log.exception("work_failed")

    def _fail(self, error: StorageError) -> None:
        """The disk failed: the node cannot do its job. Whoever waits for the end of the node stops it."""
        self._log.error("storage_failed", why=str(error))
        if not self._failure.done():
            self._failure.set_exception(error)
            self._failure.exception()  # whoever waits hears of it; nobody has to


def _hashes(items: Iterable[Item], kind: ItemKind) -> list[BlockHash]:
    return [BlockHash(item.hash) for item in items if item.kind is kind]
