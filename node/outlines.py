"""Blocks as their outlines: made for peers, and put together from what waits in the mempool.

An outline is the header, the coinbase, and the wtxids of all other transactions: the leaves of the Merkle tree whose
root the header commits to. So it proves itself before any transaction is at hand, and what is put together by it
is that block and no other. What it does not prove is that the block is valid: so nobody is blamed for an outline whose
block turns out not to be, and it may be passed on before the block is connected.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from consensus.codec import decode_transaction
from consensus.errors import ConsensusError
from consensus.merkle import merkle_root
from consensus.types import Block, BlockHash, Header, Transaction, WTxId
from node import gossip_limits as limits
from node.block_index import BlockEntry
from p2p.limits import MAX_OUTLINE, MAX_OUTLINE_COINBASE
from p2p.messages import BlockTransactions, GetBlockTransactions, Outline


class BadOutlineError(Exception):
    """The peer sent what no honest node sends; the message says what."""


@dataclass(slots=True, eq=False)
class _Draft:
    """A block of which some transactions are still to come."""

    header: Header
    transactions: list[Transaction | None]
    """The coinbase first; None for those that are missing."""
    missing: dict[int, WTxId]
    """By their place among all transactions."""


class Outlines:
    """Makes, completes and remembers blocks that travel as outlines."""

    def __init__(
        self, read_block: Callable[[BlockHash], Block | None], find: Callable[[WTxId], Transaction | None]
    ) -> None:
        """
        Args:
            read_block: returns a stored block.
            find: returns a transaction of the mempool.
        """
        self._read_block = read_block
        self._find = find
        self._recent: OrderedDict[BlockHash, Block] = OrderedDict()
        self._drafts: dict[int, OrderedDict[BlockHash, _Draft]] = {}

    # --- for peers --------------------------------------------------------------------------------------------

    def remember(self, block: Block) -> None:
        """Keep a block at hand whose outline is being told: peers may ask for some of it before it is stored."""
        self._recent[block.hash] = block
        if len(self._recent) > limits.RECENT_OUTLINES:
            self._recent.popitem(last=False)

    @staticmethod
    def outline_of(block: Block) -> Outline | None:
        """Return the outline of a block, or None if it is too large to be pushed."""
        coinbase, *others = block.transactions
        if len(others) > MAX_OUTLINE or len(coinbase.encoded) > MAX_OUTLINE_COINBASE:
            return None
        return Outline(block.header.encoded, coinbase.encoded, tuple([tx.wtxid for tx in others]))

    def answer(self, asked: GetBlockTransactions) -> BlockTransactions:
        """Return transactions of a block; none where we have no such block, or it has no such places.

        Places ascend, so that nobody is given one thing many times.
        """
        name = BlockHash(asked.block)
        block = self._recent.get(name) or self._read_block(name)
        ascending = all(one < following for one, following in pairwise(asked.places))
        if block is None or not ascending or asked.places[-1] + 1 >= len(block.transactions):
            return BlockTransactions(asked.block, ())
        return BlockTransactions(asked.block, tuple([block.transactions[place + 1].encoded for place in asked.places]))

    # --- from peers -------------------------------------------------------------------------------------------

    def begin(self, peer: int, entry: BlockEntry, outline: Outline) -> Block | GetBlockTransactions:
        """Put a block together as far as its transactions are here.

        Args:
            entry: of its header, which has been checked.

        Returns:
            The block; or what to ask the same peer for.

        Raises:
            BadOutlineError: it is not the outline of a block with this header.
        """
        header = Header.from_bytes(outline.header)
        try:
            coinbase = decode_transaction(outline.coinbase)
        except ConsensusError as error:
            raise BadOutlineError(f"an outline whose coinbase is none: {error}") from None
        wtxids = [WTxId(raw) for raw in outline.wtxids]
        if merkle_root([coinbase.wtxid, *wtxids]) != header.merkle_root:
            raise BadOutlineError("an outline that is not its header's")
        found = [self._find(wtxid) for wtxid in wtxids]
        missing = {place + 1: wtxids[place] for place, tx in enumerate(found) if tx is None}
        draft = _Draft(header, [coinbase, *found], missing)
        if not missing:
            return _finished(draft)
        drafts = self._drafts.setdefault(peer, OrderedDict())
        drafts[entry.hash] = draft
        if len(drafts) > limits.DRAFTS_PER_PEER:
            drafts.popitem(last=False)
        return GetBlockTransactions(entry.hash, tuple([place - 1 for place in missing]))

    def complete(self, peer: int, message: BlockTransactions) -> Block | None:
        """Put in what a peer was asked for.

        Returns:
            The block; None if the peer does not have it, or was not asked.

        Raises:
            BadOutlineError: it is not what was asked for.
        """
        draft = self._drafts.get(peer, OrderedDict()).pop(BlockHash(message.block), None)
        if draft is None or not message.transactions:
            return None
        if len(message.transactions) != len(draft.missing):
            raise BadOutlineError("not as many transactions of a block as were asked for")
        for (place, wtxid), raw in zip(draft.missing.items(), message.transactions, strict=True):
            try:
                tx = decode_transaction(raw)
            except ConsensusError as error:
                raise BadOutlineError(f"a transaction of a block that is none: {error}") from None
            if tx.wtxid != wtxid:
                raise BadOutlineError("another transaction of a block than was asked for")
            draft.transactions[place] = tx
        return _finished(draft)

    def forget_peer(self, peer: int) -> None:
        """A peer is gone; what it owes will not come."""
        self._drafts.pop(peer, None)


def _finished(draft: _Draft) -> Block:
    return Block(draft.header, tuple([tx for tx in draft.transactions if tx is not None]))
