"""A candidate block for a miner: the best-paying transactions, and a coinbase that collects."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from consensus.codec import MAX_BLOCK_SIZE, display_hash
from consensus.merkle import merkle_root
from consensus.params import Params
from consensus.pow import next_bits, target_from_bits
from consensus.state import ChainState
from consensus.subsidy import block_subsidy
from consensus.types import (
    NULL_TXID,
    Amount,
    Block,
    BlockHash,
    Core,
    Header,
    LockId,
    OutPoint,
    Output,
    Transaction,
)
from consensus.validation import MAX_BLOCK_SIGNATURES
from miner.work import EXTRANONCE_SIZE
from node.clock import Clock
from node.mempool import Mempool
from node.mempool_graph import Entry

BLOCK_VERSION = 1
"""Without meaning: miners may roll it."""
MEMO_SIZE = 32
"""Bytes of a template's memo, always as many, so that the extranonce has a fixed place at its end. Even a
coinbase without outputs then has more than 64 bytes, the one size that no transaction may have."""
_MEMO = b"/dure/".ljust(MEMO_SIZE - EXTRANONCE_SIZE, b"\0")
RESERVED_SIZE = 1_000
"""Bytes of a block that are kept for its header, its coinbase and the lengths of its arrays: twice what they take."""
SHORTEST_REFRESH, LONGEST_REFRESH = 1, 10
"""Seconds after which new transactions alone make a new template worth its while, see `refresh_seconds`."""


class TipView(Protocol):
    """What a template asks of the chain manager."""

    @property
    def tip(self) -> ChainState:
        """The block to build on."""
        ...


@dataclass(frozen=True)
class BlockTemplate:
    """A block that lacks only its work."""

    height: int
    previous: BlockHash
    bits: int
    time: int
    """UNIX seconds now, or the least that is valid if that is later."""
    min_time: int
    """The least valid time, UNIX seconds."""
    coinbase: Transaction
    """Pays subsidy and fees; with extranonce 0."""
    entries: tuple[Entry, ...]
    """The other transactions, parents before children, each with its fee."""
    fees: Amount
    """Of all of them, in grain."""
    longpoll_id: str
    """Hand it back to `BlockTemplates.wait_for_news` to learn when there is better work."""

    @property
    def coinbase_value(self) -> Amount:
        """Subsidy and fees, in grain."""
        return Amount(sum(output.value for output in self.coinbase.core.outputs))

    @property
    def target(self) -> int:
        """The highest id, as a little-endian integer, that the block may have."""
        return target_from_bits(self.bits)

    @property
    def signatures(self) -> int:
        """How many count against the block's bound."""
        return sum(entry.signatures for entry in self.entries)

    def block(self, extranonce: int = 0) -> Block:
        """Return the whole block for one extranonce, with nonce 0: it lacks the work."""
        coinbase = coinbase_with(self.coinbase, extranonce)
        transactions = (coinbase, *(entry.tx for entry in self.entries))
        root = merkle_root([tx.wtxid for tx in transactions])
        return Block(Header(BLOCK_VERSION, self.previous, root, self.time, self.bits, 0), transactions)


def make_coinbase(height: int, value: int, lock: LockId) -> Transaction:
    """Return the coinbase of a block of `height` that pays `value` grain to `lock`, with extranonce 0.

    A value of 0, once there is neither subsidy nor fee, gives it no output: outputs are at least 1.
    """
    outputs = (Output(Amount(value), lock, None),) if value else ()
    core = Core(1, (OutPoint(NULL_TXID, height),), outputs, (), (), _MEMO + bytes(EXTRANONCE_SIZE))
    return Transaction(core, ())


def coinbase_with(coinbase: Transaction, extranonce: int) -> Transaction:
    """Return a template's coinbase with another extranonce."""
    core = coinbase.core
    memo = core.memo[:-EXTRANONCE_SIZE] + extranonce.to_bytes(EXTRANONCE_SIZE, "big")
    return Transaction(Core(core.version, core.inputs, core.outputs, core.issuances, core.burns, memo), ())


def refresh_seconds(params: Params) -> int:
    """Return how long a miner works on before mere transactions give it a new template.

    A sixth of the spacing between blocks, so that a payment mostly gets into the next block.
    """
    return min(LONGEST_REFRESH, max(SHORTEST_REFRESH, params.spacing // 6))


class BlockTemplates:
    """Makes templates on the tip, and tells when one has become stale."""

    def __init__(self, params: Params, chain: TipView, mempool: Mempool, clock: Clock) -> None:
        self._params = params
        self._chain = chain
        self._mempool = mempool
        self._clock = clock
        self._selected: tuple[int, BlockHash, tuple[Entry, ...]] | None = None
        self._tip_changed = asyncio.Event()

    async def ready(self) -> None:
        """Wait until a template can be made: not while the mempool is half way through a block."""
        await self._mempool.at_rest()

    def create(self, lock: LockId) -> BlockTemplate:
        """Return a template whose coinbase pays `lock`. To be asked when `ready`, with no `await` between."""
        tip = self._chain.tip
        height = tip.height + 1
        entries = self._entries(tip)
        fees = sum(entry.fee for entry in entries)
        bits, _ = next_bits(self._params, tip.anchor, tip.height, tip.times[-1])
        min_time = tip.median_time + 1
        return BlockTemplate(
            height=height,
            previous=tip.hash,
            bits=bits,
            time=max(self._clock.time(), min_time),
            min_time=min_time,
            coinbase=make_coinbase(height, block_subsidy(self._params, height) + fees, lock),
            entries=entries,
            fees=Amount(fees),
            longpoll_id=self.longpoll_id,
        )

    def _entries(self, tip: ChainState) -> tuple[Entry, ...]:
        """Select, or answer with what was selected before if nothing has changed since."""
        generation = self._mempool.generation
        if self._selected is None or self._selected[:2] != (generation, tip.hash):
            entries = self._mempool.select(MAX_BLOCK_SIZE - RESERVED_SIZE, MAX_BLOCK_SIGNATURES)
            self._selected = (generation, tip.hash, tuple(entries))
        return self._selected[2]

    @property
    def longpoll_id(self) -> str:
        """Names the tip and the state of the mempool that a template made now would be based on."""
        return f"{display_hash(self._chain.tip.hash)}{self._mempool.generation}"

    def on_tip_changed(self) -> None:
        """Wake all who wait for news. To be called after the mempool has followed to the new tip."""
        self._tip_changed.set()
        self._tip_changed = asyncio.Event()

    async def wait_for_news(self, longpoll_id: str, timeout: float) -> None:
        """Wait until a template with this id is worth replacing, `timeout` seconds at most.

        That is at once when the tip is another; when only the mempool has changed, after
        `refresh_seconds`. An id that is not of this node is stale at once.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        refresh = refresh_seconds(self._params)
        while longpoll_id.startswith(display_hash(self._chain.tip.hash)):
            event, remaining = self._tip_changed, deadline - loop.time()
            if remaining <= 0:
                return
            try:
                async with asyncio.timeout(min(refresh, remaining)):
                    await event.wait()
            except TimeoutError:
                if longpoll_id != self.longpoll_id:
                    return
