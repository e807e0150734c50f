"""One block on any block that is known, with exactly the transactions that are named: how branches are made on purpose.

For networks of one's own only. The work is real, and what comes out is accepted or refused like any other block.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from consensus.errors import NotYet
from consensus.merkle import merkle_root
from consensus.params import Params
from consensus.pow import next_bits
from consensus.subsidy import block_subsidy
from consensus.types import Block, Header, LockId, Transaction
from miner.search import skipped
from node.block_index import BlockEntry
from node.block_template import BLOCK_VERSION, coinbase_with, make_coinbase
from node.chain import ChainManager
from node.chain_events import BlockResult, BlockStatus
from node.clock import Clock
from node.mining import FIRST_TRIES, MORE_TRIES, Searcher


class BranchMiner:
    """Mines single blocks on the tip, or beside it."""

    def __init__(self, params: Params, chain: ChainManager, workers: Searcher, clock: Clock, entropy: Random) -> None:
        self._params = params
        self._chain = chain
        self._workers = workers
        self._clock = clock
        self._entropy = entropy

    async def mine_on(self, parent: BlockEntry, lock: LockId, transactions: Sequence[Transaction]) -> BlockResult:
        """Mine a block on `parent` that pays `lock`, and hand it to the chain manager.

        Its reward is the subsidy alone: what the transactions pay in fees is not known beside the best chain, and lost.

        Args:
            transactions: those that follow the coinbase, in this order.

        Returns:
            The chain manager's answer: on a branch with less work than the best chain, only that it is stored. Its
            transactions are judged when it gets more.

        Raises:
            NotYet: many blocks in an instant have run ahead of the clock.
        """
        header, block_transactions = self._begin(parent, lock, transactions)
        tries = FIRST_TRIES
        while (found := await self._workers.search(header, tries)) is None:
            header = skipped(header, tries)
            tries = MORE_TRIES
        result = await self._chain.accept_block(Block(found, block_transactions), wanted=True)
        if result.status is BlockStatus.EARLY:
            raise NotYet("time-too-far-ahead", time=found.time)
        return result

    def _begin(
        self, parent: BlockEntry, lock: LockId, transactions: Sequence[Transaction]
    ) -> tuple[Header, tuple[Transaction, ...]]:
        """Return a header that lacks the work, and what stands in its block."""
        state = self._chain.state_of(parent)
        bits, _ = next_bits(self._params, state.anchor, state.height, state.times[-1])
        subsidy = block_subsidy(self._params, state.height + 1)
        coinbase = coinbase_with(make_coinbase(state.height + 1, subsidy, lock), self._entropy.getrandbits(64))
        whole = (coinbase, *transactions)
        root = merkle_root([tx.wtxid for tx in whole])
        time = max(self._clock.time(), state.median_time + 1)
        return Header(BLOCK_VERSION, parent.hash, root, time, bits, 0), whole
