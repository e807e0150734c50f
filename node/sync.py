"""Getting from the chain that we have to the one with the most work: headers first, then the bodies it lacks.

Nothing is decided after an `await` that was looked at before it: others ran meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable

from structlog.typing import FilteringBoundLogger

from consensus.codec import decode_block_in_slices
from consensus.errors import ConsensusError
from consensus.hashing import hash256
from consensus.params import Params
from consensus.types import HEADER_SIZE, Block, BlockHash, Header
from consensus.validation import check_body_in_slices
from node import gossip_limits as limits
from node.block_download import BlockDownload
from node.block_index import BlockEntry
from node.chain import ChainClosedError, ChainManager
from node.chain_events import BlockResult, BlockStatus
from node.header_sync import Control, HeaderSync
from node.outlines import BadOutlineError, Outlines
from node.peer import Peer
from node.turns import in_turns
from p2p.messages import BlockMessage, BlockTransactions, GetData, Headers, Item, ItemKind, Outline

_BLOCK_HEAD = b"\x92\xc4" + bytes((HEADER_SIZE,))
"""How an encoded block begins: an array of two, whose first is bin(80)."""


class Sync:
    """Follows the best chain that any peer has."""

    def __init__(
        self,
        params: Params,
        chain: ChainManager,
        control: Control,
        log: FilteringBoundLogger,
        spawn: Callable[[Coroutine[None, None, None]], None],
        outlines: Outlines,
    ) -> None:
        """
        Args:
            control: drops peers.
            spawn: runs a coroutine to its end, and awaits it before the node stops.
            outlines: puts blocks together.
        """
        self._outlines = outlines
        self._told: dict[int, BlockHash] = {}
        """The newest block whose outline each peer was told before it was the tip."""
        self._chain = chain
        self._control = control
        self._log = log
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._reading = asyncio.Lock()
        """One body is read at a time, in the order of coming: so the first can be connected while the next is read."""
        self._peers: dict[int, Peer] = {}
        self._download = BlockDownload(chain.index)
        self._headers = HeaderSync(
            params, chain, control, log, on_header=self._peer_has, last_body=lambda: self._download.last_body
        )
        self._tick: asyncio.TimerHandle | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin with the chain as it is now: a reindex has given it another index."""
        self._download = BlockDownload(self._chain.index, self._loop.time())

    def stop(self) -> None:
        """Ask for nothing more."""
        self._stopped = True
        if self._tick is not None:
            self._tick.cancel()

    @property
    def is_catching_up(self) -> bool:
        """Whether many blocks are still to come, and do come."""
        index = self._chain.index
        behind = index.best_header.height - index.tip.height
        silence = self._loop.time() - self._download.last_body
        return behind > limits.CATCHING_UP_BLOCKS and silence < limits.CATCHING_UP_SECONDS

    @property
    def blocks_on_their_way(self) -> int:
        """How many bodies were asked for and have not come."""
        return len(self._download)

    def is_coming(self, block_hash: BlockHash) -> bool:
        """Tell whether a block is here, and just being connected."""
        return self._download.is_in_work(block_hash)

    def owed_by(self, peer: Peer) -> int:
        """Return how many bodies a peer was asked for that have not come."""
        return self._download.owes(peer.number) if peer.number in self._peers else 0

    def best_of(self, peer: Peer) -> BlockEntry | None:
        """Return the header with the most work that a peer is known to have."""
        return self._download.best_of(peer.number) if peer.number in self._peers else None

    # --- events -----------------------------------------------------------------------------------------------

    def peer_ready(self, peer: Peer) -> None:
        """Learn what a new peer has."""
        self._peers[peer.number] = peer
        self._download.add_peer(peer.number)
        self._headers.peer_ready(peer)

    def peer_gone(self, peer: Peer) -> None:
        """Ask others for what it owed."""
        if self._peers.pop(peer.number, None) is not None:
            self._download.remove_peer(peer.number)
            self._outlines.forget_peer(peer.number)
            self._told.pop(peer.number, None)
            self._headers.peer_gone(peer)
            self._ask_all()

    def tip_changed(self) -> None:
        """The window has moved on."""
        self._headers.go_on()
        self._ask_all()

    def ask_all_for_headers(self) -> None:
        """There was nothing new for long: somebody may have forgotten to tell us."""
        self._headers.ask_all()

    def header_due(self, entry: BlockEntry) -> None:
        """A header that had come early is in the index now; whoever has its parent is likely to have it."""
        for peer in list(self._peers.values()):
            best = self._download.best_of(peer.number)
            if best is not None and best is entry.parent:
                self._headers.ask(peer)

    def handle_headers(self, peer: Peer, message: Headers) -> None:
        """Take headers, asked for or announced."""
        self._headers.handle_headers(peer, message)

    def handle_announced(self, peer: Peer, hashes: Iterable[BlockHash]) -> None:
        """A peer says by inventory that it has blocks: ask for the headers of those that we do not know."""
        for block_hash in hashes:
            entry = self._chain.index.get(block_hash)
            if entry is None:
                self._headers.ask(peer)
            else:
                self._peer_has(peer, entry)

    def handle_not_found(self, peer: Peer, hashes: Iterable[BlockHash]) -> None:
        """A peer does not have bodies that it was asked for."""
        for block_hash in hashes:
            self._download.not_found(peer.number, block_hash)
        self._ask_all()

    def handle_block(self, peer: Peer, message: BlockMessage) -> None:
        """Take a body, if it is one that we lack and whose header we know (A099)."""
        raw = message.raw
        if peer.number not in self._peers:
            return
        if raw[: len(_BLOCK_HEAD)] != _BLOCK_HEAD:
            self._control.punish(peer, 100, "a block that is none")
            return
        block_hash = BlockHash(hash256(raw[len(_BLOCK_HEAD) : len(_BLOCK_HEAD) + HEADER_SIZE]))
        entry = self._chain.index.get(block_hash)
        if entry is None or entry.has_body or entry.invalid:
            self._download.not_wanted(peer.number, block_hash)
            self._ask(peer)
            return
        wanted = self._download.received(peer.number, block_hash, len(raw), self._loop.time())
        self._spawn(self._read(peer, block_hash, raw, wanted=wanted))
        self._ask(peer)

    # --- outlines ---------------------------------------------------------------------------------------------

    def handle_outline(self, peer: Peer, message: Outline) -> None:
        """A peer tells of a block by its transactions: most of them may be here already."""
        if peer.number not in self._peers:
            return
        block_hash = Header.from_bytes(message.header).hash
        with self._download.reserved(block_hash):
            self._headers.handle_headers(peer, Headers((message.header,)))
        entry = self._chain.index.get(block_hash)
        if entry is None or entry.invalid or self.is_catching_up or not self._download.is_open(entry):
            self._ask(peer)
            return
        try:
            made = self._outlines.begin(peer.number, entry, message)
        except BadOutlineError as error:
            self._control.punish(peer, 100, str(error))
            self._ask_all()
            return
        if isinstance(made, Block):
            self._take(peer, entry, made)
            return
        self._download.ask(peer.number, entry, self._loop.time())
        peer.send(made)
        self._watch()

    def handle_block_transactions(self, peer: Peer, message: BlockTransactions) -> None:
        """What was missing of a block."""
        if peer.number not in self._peers:
            return
        block_hash = BlockHash(message.block)
        try:
            block = self._outlines.complete(peer.number, message)
        except BadOutlineError as error:
            self._control.punish(peer, 100, str(error))
            return
        entry = self._chain.index.get(block_hash)
        if block is None or entry is None or entry.has_body or entry.invalid:
            self._download.not_found(peer.number, block_hash)
            self._ask_all()
            return
        self._take(peer, entry, block)

    async def block_found(self, block: Block) -> None:
        """A block of our own: tell of it while it is being connected."""
        try:
            await in_turns(check_body_in_slices(block))
            entry = self._chain.accept_headers((block.header,), wanted=True).entry
        except ConsensusError:
            return  # whoever hands it to the chain manager hears why
        if entry is not None and not entry.has_body:
            self._tell(entry, block)

    def was_told(self, peer: Peer, tip: BlockEntry) -> bool:
        """Tell whether a peer knows of a block because we told it before the block was the tip."""
        return self._told.get(peer.number) == tip.hash

    def _tell(self, entry: BlockEntry, block: Block) -> None:
        """Pass on the outline of a block that would be the next tip: its work is real, whatever else is wrong."""
        outline = self._outlines.outline_of(block) if entry.parent is self._chain.index.tip else None
        if outline is None:
            return
        self._outlines.remember(block)
        for peer in self._peers.values():
            best = self._download.best_of(peer.number)
            if peer.takes_outlines and (best is None or not best.descends_from(entry)):
                self._told[peer.number] = block.hash
                peer.send(outline)

    # --- inside -----------------------------------------------------------------------------------------------

    async def _read(self, peer: Peer, block_hash: BlockHash, raw: bytes, *, wanted: bool) -> None:
        """Read a body that came whole, and hand it on; its sender is to blame if it is invalid."""
        block: Block | None = None
        try:
            async with self._reading:
                block = await in_turns(decode_block_in_slices(raw))
        except ConsensusError as error:
            self._control.punish(peer, 100, f"a block that cannot be read: {error}")
        finally:
            if block is None:
                self._download.judged(block_hash, len(raw), stored=False)
        if block is None:
            self._ask_all()
        else:
            await self._accept(peer, block, len(raw), wanted=wanted, blame=True)

    def _take(self, peer: Peer, entry: BlockEntry, block: Block) -> None:
        """Hand a body on that was put together here; before that, tell others of it."""
        size = _size_of(block)
        wanted = self._download.received(peer.number, block.hash, size, self._loop.time())
        self._tell(entry, block)
        self._spawn(self._accept(peer, block, size, wanted=wanted, blame=False))

    async def _accept(self, peer: Peer, block: Block, size: int, *, wanted: bool, blame: bool) -> None:
        """Hand a body on to the chain manager.

        Args:
            blame: whether its sender is to blame if it is invalid.
        """
        status: BlockStatus | None = None
        try:
            result = await self._chain.accept_block(block, wanted=wanted)
            status = result.status
            self._judge(peer, result, blame=blame)
        except ChainClosedError:
            return
        finally:
            self._download.judged(block.hash, size, stored=status is not BlockStatus.MUTATED)
        self._ask_all()

    def _judge(self, peer: Peer, result: BlockResult, *, blame: bool) -> None:
        """Reward or punish whoever sent a block."""
        match result.status:
            case BlockStatus.CONNECTED | BlockStatus.SIDE_BRANCH:
                peer.last_block = self._loop.time()
            case BlockStatus.MUTATED:
                self._control.punish(peer, 100, f"a body that is not its header's: {result.error}")
            case BlockStatus.INVALID if blame:
                self._control.punish(peer, 100, f"an invalid block: {result.error}")
            case _:
                pass

    def _peer_has(self, peer: Peer, entry: BlockEntry) -> None:
        self._download.peer_has(peer.number, entry)
        best = self._download.best_of(peer.number)
        peer.synced_headers = best.height if best is not None else -1
        self._ask(peer)

    def _ask_all(self) -> None:
        for peer in list(self._peers.values()):
            self._ask(peer)

    def _ask(self, peer: Peer) -> None:
        """Ask a peer for the bodies that are its turn."""
        if self._stopped or peer.number not in self._peers:
            return
        self._send(peer, self._download.next_for(peer.number, self._loop.time()))

    def _send(self, peer: Peer, entries: list[BlockEntry]) -> None:
        if not entries:
            return
        peer.send(GetData(tuple(Item(ItemKind.BLOCK, entry.hash) for entry in entries)))
        self._watch()

    def _watch(self) -> None:
        """Have `_look` called soon: something is asked for."""
        if self._tick is None and not self._stopped:
            self._tick = self._loop.call_later(limits.DOWNLOAD_TICK_SECONDS, self._look)

    def _look(self) -> None:
        """Look for bodies that are late, and for peers that deliver none."""
        self._tick = None
        now = self._loop.time()
        for number in self._download.stalled(now):
            self._control.disconnect(self._peers[number], "owes blocks and delivers none")
        for number, entry in self._download.late(now):
            self._log.debug("block_asked_again", peer=number, height=entry.height)
            self._send(self._peers[number], [entry])
        if len(self._download):
            self._watch()


def _size_of(block: Block) -> int:
    """Return about how many bytes a block takes: its transactions'."""
    return HEADER_SIZE + sum([len(tx.encoded) for tx in block.transactions])
