"""Addresses of other nodes: learned from peers and by discovery, told on, and kept over restarts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable

from structlog.typing import FilteringBoundLogger

from consensus.params import Params
from node import gossip_limits as limits
from node.clock import Clock
from node.peer import Peer
from node.peer_settings import PeerSettings
from node.storage.errors import StorageError
from node.storage.files import Files, read_small
from p2p.address_manager import AddressFileError, AddressManager, KnownAddress
from p2p.address_rules import from_peer_address, parse_host, to_peer_address
from p2p.discovery import AddressesFound, Discovery, DiscoveryCore
from p2p.limits import MAX_ADDRESSES
from p2p.messages import Addr, GetAddr
from p2p.transport import Address, Network

FILE = "peers.dat"


class AddressGossip:
    """Owns the address table: what goes in, what is told to whom, when it is saved."""

    def __init__(
        self,
        settings: PeerSettings,
        *,
        params: Params,
        network: Network,
        clock: Clock,
        rng: random.Random,
        files: Files,
        log: FilteringBoundLogger,
    ) -> None:
        self._settings = settings
        self._params = params
        self._network = network
        self._clock = clock
        self._rng = rng
        self._files = files
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._discovery: Discovery | None = None
        self._seeding: asyncio.Task[None] | None = None
        self._save_timer: asyncio.TimerHandle | None = None
        self._saving: asyncio.Task[None] | None = None
        self._saved = b""
        self._answered: set[int] = set()  # only asked for membership
        self.on_learned: Callable[[], None] = lambda: None
        """Called when an address has come that was not known."""
        self.table = self._load()

    # --- running ----------------------------------------------------------------------------------------------

    async def start(self, listens_at: Address | None) -> None:
        """Begin to look for nodes, where the settings say so.

        Args:
            listens_at: where we listen for peers; None if nowhere.

        Raises:
            OSError: the UDP port of discovery is taken.
        """
        if not self._settings.connect:
            if self._settings.discovery and listens_at is not None:
                await self._start_discovery(listens_at)
            if self._settings.seeds:
                self._seeding = self._loop.create_task(self._add_seeds(), name="seeds")
        self._save_timer = self._loop.call_later(limits.SAVE_ADDRESSES_SECONDS, self._save_again)

    async def _start_discovery(self, listens_at: Address) -> None:
        core = DiscoveryCore(
            magic=self._params.magic,
            port=listens_at.port,
            secret=self._rng.randbytes(32),
            rng=self._rng,
            sample=self._sample_addresses,
            private_allowed=self._settings.private_addresses,
            now=self._loop.time(),
        )
        discovery = Discovery(core, self._network, self._settings.seeds, self._on_found)
        await discovery.start(listens_at)
        self._discovery = discovery

    async def stop(self) -> None:
        """Save the table and end."""
        if self._save_timer is not None:
            self._save_timer.cancel()
            self._save_timer = None
        if self._seeding is not None:
            self._seeding.cancel()
            await asyncio.gather(self._seeding, return_exceptions=True)
        if self._discovery is not None:
            await self._discovery.stop()
        if self._saving is not None:
            await self._saving
        await self._save()

    def lonely(self) -> None:
        """The node lacks peers: look harder."""
        if self._discovery is not None:
            self._discovery.hurry()

    def set_quiet(self, quiet: bool) -> None:
        """Look for no nodes and answer nobody who does, or do so again."""
        if self._discovery is not None:
            self._discovery.set_quiet(quiet)

    # --- with peers -------------------------------------------------------------------------------------------

    def peer_ready(self, peer: Peer, own: Address | None) -> None:
        """Learn where a new peer listens; ask it for others, and tell it where we are.

        Args:
            own: where we listen, as far as we know it.
        """
        now = self._clock.time()
        if self._settings.connect:
            return
        if peer.dialled is not None:
            reached = Address(peer.remote.host, peer.dialled.port)
            self.table.mark_good(reached, now)
            peer.send(GetAddr())
            if own is not None and parse_host(own.host) is not None:
                peer.send(Addr((to_peer_address(own, now),)))
        elif peer.listens_at is not None and self.table.add([KnownAddress(peer.listens_at, now)], peer.listens_at, now):
            self.on_learned()

    def peer_gone(self, peer: Peer) -> None:
        """Forget what was noted of a peer."""
        self._answered.discard(peer.number)

    def handle_get_addr(self, peer: Peer) -> None:
        """Answer once, and only a peer that dialled us: else our table could be read by whoever we dial (A105)."""
        if not peer.inbound or peer.number in self._answered or self._settings.connect:
            return
        self._answered.add(peer.number)
        told = self.table.sample(MAX_ADDRESSES, self._clock.time())
        if told:
            peer.send(Addr(tuple(to_peer_address(one.address, one.seen) for one in told)))

    def handle_addr(self, peer: Peer, message: Addr, others: Iterable[Peer]) -> None:
        """Learn addresses, and pass on the few that are news to a few others."""
        if self._settings.connect:
            return
        now = self._clock.time()
        told = [KnownAddress(from_peer_address(one), one.seen) for one in message.addresses]
        news = [one for one in told if one.address not in self.table]
        added = self.table.add(told, peer.listens_at or peer.remote, now)
        if not added:
            return
        self.on_learned()
        if len(told) > limits.RELAY_ADDRESSES_AT_MOST:
            return
        fresh = [
            to_peer_address(one.address, one.seen)
            for one in news
            if one.address in self.table and one.seen >= now - limits.FRESH_ADDRESS_SECONDS
        ]
        listeners = [other for other in others if other is not peer and other.ready]
        for other in self._rng.sample(listeners, min(limits.RELAY_ADDRESS_TO, len(listeners))) if fresh else ():
            other.send(Addr(tuple(fresh)))

    # --- inside -----------------------------------------------------------------------------------------------

    def _load(self) -> AddressManager:
        private = self._settings.private_addresses
        try:
            raw = read_small(self._files, FILE, limits.MAX_ADDRESS_FILE)
            if raw is not None:
                return AddressManager.restore(raw, self._rng, private_allowed=private)
        except (StorageError, AddressFileError) as error:
            self._log.warning("addresses_unreadable", file=FILE, why=str(error))
        return AddressManager(self._rng.randbytes(32), self._rng, private_allowed=private)

    async def _save(self) -> None:
        """Write the table, if it has changed. A node can do without it."""
        raw = self.table.dump()
        if raw == self._saved:
            return
        try:
            await self._files.save(FILE, raw)
        except StorageError as error:
            self._log.warning("addresses_not_saved", why=str(error))
        else:
            self._saved = raw

    def _save_again(self) -> None:
        self._saving = self._loop.create_task(self._save(), name="save addresses")
        self._save_timer = self._loop.call_later(limits.SAVE_ADDRESSES_SECONDS, self._save_again)

    def _sample_addresses(self, count: int) -> list[Address]:
        return [one.address for one in self.table.sample(count, self._clock.time())]

    def _on_found(self, found: AddressesFound) -> None:
        now = self._clock.time()
        # Whoever answers by UDP vouches for nothing: told as of now, so that it is tried, but only as heard of.
        if self.table.add([KnownAddress(address, now) for address in found.addresses], found.source, now):
            self.on_learned()

    async def _add_seeds(self) -> None:
        """Put the seeds into the table; names are looked up until they are known."""
        waiting = list(self._settings.seeds)
        while waiting:
            unknown = []
            for seed in waiting:
                try:
                    found = await self._network.resolve(seed)
                except OSError:
                    unknown.append(seed)
                    continue
                now = self._clock.time()
                if self.table.add([KnownAddress(address, now) for address in found], seed, now):
                    self.on_learned()
            waiting = unknown
            if waiting:
                await asyncio.sleep(limits.SEED_RETRY_SECONDS)
