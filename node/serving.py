"""Answering peers: headers after a locator, bodies and transactions by hash. Each peer gets its share and no more.

Answers go out only as fast as the peer reads them, bodies within an upload rate (A091). While a peer has more in line
than `MAX_WANTED_BY_PEER`, nothing more is read from it: what it asks for costs it waiting, and us a bounded queue.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from consensus.types import BlockHash, Transaction
from node import gossip_limits as limits
from node.block_index import BlockEntry
from node.chain import ChainManager
from node.outlines import Outlines
from node.peer import Peer
from node.storage.errors import StorageError
from p2p.limits import MAX_HEADERS
from p2p.messages import BlockMessage, GetBlockTransactions, GetHeaders, Headers, Item, ItemKind, NotFound, TxMessage
from p2p.rate import TokenBucket

FindTransaction = Callable[[Peer, ItemKind, bytes], Transaction | None]


@dataclass(slots=True, eq=False)
class _Asker:
    """A peer, as far as it asks."""

    peer: Peer
    headers: TokenBucket
    upload: TokenBucket
    locators: deque[GetHeaders] = field(default_factory=deque)
    """Asked for headers; answered before anything in `wanted`."""
    wanted: deque[Item | GetBlockTransactions] = field(default_factory=deque)
    missing: list[Item] = field(default_factory=list)
    """Of `wanted`: what we do not have, to be told together."""
    turn: asyncio.Handle | None = None
    held: bool = False

    @property
    def waiting(self) -> int:
        """How many answers it waits for."""
        return len(self.locators) + len(self.wanted)


class Serving:
    """Gives peers what they ask for."""

    def __init__(
        self,
        chain: ChainManager,
        find_transaction: FindTransaction,
        outlines: Outlines,
        is_coming: Callable[[BlockHash], bool],
        fail: Callable[[StorageError], None],
    ) -> None:
        """
        Args:
            find_transaction: returns a transaction that a peer may be given, by wtxid or txid.
            outlines: answers for parts of blocks.
            is_coming: tells of a block whether it is just being connected.
            fail: told that the disk failed.
        """
        self._outlines = outlines
        self._is_coming = is_coming
        self._fail = fail
        self._chain = chain
        self._find_transaction = find_transaction
        self._loop = asyncio.get_running_loop()
        self._askers: dict[int, _Asker] = {}
        self._raw_blocks: OrderedDict[BlockHash, bytes] = OrderedDict()
        self.blocks_served = 0

    def peer_ready(self, peer: Peer) -> None:
        """Serve a new peer."""
        now = self._loop.time()
        headers = TokenBucket(limits.HEADERS_RATE, limits.HEADERS_BURST, now)
        upload = TokenBucket(limits.UPLOAD_RATE, limits.UPLOAD_BURST, now)
        self._askers[peer.number] = _Asker(peer, headers, upload)

    def peer_gone(self, peer: Peer) -> None:
        """Forget what it asked for."""
        asker = self._askers.pop(peer.number, None)
        if asker is not None and asker.turn is not None:
            asker.turn.cancel()

    def peer_writable(self, peer: Peer) -> None:
        """A slow peer has caught up: go on."""
        asker = self._askers.get(peer.number)
        if asker is not None:
            self._plan(asker)

    def stop(self) -> None:
        """Serve nobody."""
        for asker in list(self._askers.values()):
            self.peer_gone(asker.peer)

    # --- headers ----------------------------------------------------------------------------------------------

    def handle_get_headers(self, peer: Peer, message: GetHeaders) -> None:
        """Answer with the headers of our best chain after the newest block of the locator on it."""
        asker = self._askers.get(peer.number)
        if asker is not None:
            asker.locators.append(message)
            self._hold(asker)
            self._plan(asker)

    def _give_headers(self, asker: _Asker, message: GetHeaders) -> bool:
        """Send headers; False if the peer has had its share for now."""
        index = self._chain.index
        start = index.locate([BlockHash(raw) for raw in message.locator])
        stop = index.get(BlockHash(message.stop))
        last = min(index.tip.height, start.height + MAX_HEADERS)
        if stop is not None and index.on_best_chain(stop):
            last = min(last, stop.height)
        if not asker.headers.take(self._loop.time(), max(1, last - start.height)):
            return False
        asker.peer.send(Headers(self._raw_headers(index.tip.ancestor(last), start.height)))
        return True

    def _raw_headers(self, last: BlockEntry, above: int) -> tuple[bytes, ...]:
        found: list[bytes] = []
        entry: BlockEntry | None = last
        while entry is not None and entry.height > above:
            found.append(self._chain.read_header(entry).encoded)
            entry = entry.parent
        found.reverse()
        return tuple(found)

    def announcement(self, known: BlockEntry | None, connected: Sequence[BlockEntry]) -> Headers | None:
        """Return the headers that tell a peer of a new tip, or None if it has it.

        Args:
            known: the best header that the peer is known to have.
            connected: what the tip has newly come by, oldest first; at least one.
        """
        tip = connected[-1]
        if known is not None and known.descends_from(tip):
            return None
        new = [entry for entry in connected if known is None or not known.descends_from(entry)]
        if len(new) > limits.ANNOUNCED_AT_ONCE:
            new = new[-1:]
        return Headers(tuple(self._chain.read_header(entry).encoded for entry in new))

    # --- bodies -----------------------------------------------------------------------------------------------

    def handle_get_data(self, peer: Peer, items: Sequence[Item]) -> None:
        """Put items in line; what does not fit makes us stop reading until the line is half as long."""
        asker = self._askers.get(peer.number)
        if asker is None:
            return
        asker.wanted.extend(items)
        self._hold(asker)
        self._plan(asker)

    def handle_get_block_transactions(self, peer: Peer, message: GetBlockTransactions) -> None:
        """Put it in line, as what a `GetData` names."""
        asker = self._askers.get(peer.number)
        if asker is not None:
            asker.wanted.append(message)
            self._hold(asker)
            self._plan(asker)

    def _hold(self, asker: _Asker) -> None:
        if asker.waiting >= limits.MAX_WANTED_BY_PEER and not asker.held:
            asker.held = True
            asker.peer.hold_reading("serving")

    def _plan(self, asker: _Asker, wait: float = 0.0) -> None:
        if asker.turn is None and asker.waiting:
            asker.turn = (
                self._loop.call_later(wait, self._serve, asker) if wait else self._loop.call_soon(self._serve, asker)
            )

    def _serve(self, asker: _Asker) -> None:
        asker.turn = None
        try:
            wait = self._give_some(asker)
        except StorageError as error:
            self._fail(error)
            return
        if asker.missing and (not asker.wanted or len(asker.missing) >= limits.SERVE_TURN):
            asker.peer.send(NotFound(tuple(asker.missing)))
            asker.missing.clear()
        if asker.held and asker.waiting <= limits.MAX_WANTED_BY_PEER // 2:
            asker.held = False
            asker.peer.release_reading("serving")
        if asker.peer.ready and asker.peer.link.is_writable:
            self._plan(asker, wait)

    def _give_some(self, asker: _Asker) -> float:
        """Give a peer some of what it wants; return how long it is to wait for more, beside the turns of others."""
        for _ in range(limits.SERVE_TURN):
            if not asker.waiting or not asker.peer.ready or not asker.peer.link.is_writable:
                break
            if asker.locators:
                if not self._give_headers(asker, asker.locators[0]):
                    return limits.SHARE_WAIT_SECONDS
                asker.locators.popleft()
                break  # dear enough to be a whole turn
            if not self._give(asker, asker.wanted[0]):
                return limits.SHARE_WAIT_SECONDS
            asker.wanted.popleft()
        return 0.0

    def _give(self, asker: _Asker, item: Item | GetBlockTransactions) -> bool:
        """Send one item, or note that we do not have it; False if the peer has had its share for now."""
        message: TxMessage | BlockMessage | None = None
        if isinstance(item, GetBlockTransactions):
            return self._give_part(asker, item)
        if item.kind is ItemKind.BLOCK and self._is_coming(BlockHash(item.hash)):
            return False
        if item.kind is ItemKind.BLOCK:
            raw = self._raw_block(BlockHash(item.hash))
            message = None if raw is None else BlockMessage(raw)
        else:
            tx = self._find_transaction(asker.peer, item.kind, item.hash)
            message = None if tx is None else TxMessage(tx.encoded)
        if message is None:
            asker.missing.append(item)
            return True
        if not asker.upload.take(self._loop.time(), len(message.raw)):
            return False
        self.blocks_served += item.kind is ItemKind.BLOCK
        asker.peer.send(message)
        return True

    def _give_part(self, asker: _Asker, asked: GetBlockTransactions) -> bool:
        answer = self._outlines.answer(asked)
        if not asker.upload.take(self._loop.time(), sum(map(len, answer.transactions))):
            return False
        asker.peer.send(answer)
        return True

    def _raw_block(self, block_hash: BlockHash) -> bytes | None:
        """Return a stored block that is not known to be invalid."""
        entry = self._chain.index.get(block_hash)
        if entry is None or entry.invalid or not entry.has_body:
            return None
        raw = self._raw_blocks.pop(block_hash, None) or self._chain.read_raw_block(block_hash)
        if raw is not None:
            self._raw_blocks[block_hash] = raw
            if len(self._raw_blocks) > limits.RAW_BLOCK_CACHE:
                self._raw_blocks.popitem(last=False)
        return raw
