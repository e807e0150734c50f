"""Many transactions that come together: taken as if one by one, while other cores verify the signatures of the last.

A transaction that has nothing to do with those before it is examined while they still wait for their signatures, and
whatever ties it to them makes it wait until they have been taken or refused: a coin, a parent, the reserve of an asset.
So each is judged by the mempool as it is when its turn comes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from consensus.errors import ConsensusError, NotYet
from consensus.types import OutPoint, Transaction, TxId
from node.admission import Proposal
from node.garbage import frameless
from node.mempool_entries import Taken
from node.mempool_graph import Entry
from node.packages import Refused
from node.relay_policy import PolicyError

PART = 40
"""Transactions that are examined at once: some 2 ms, in which another core verifies the signatures of as many."""
PARTS = 2
"""Parts under way at once: one that is examined, and the one before it, whose signatures are verified."""


class Taker(Protocol):
    """What taking many asks of the mempool."""

    @property
    def generation(self) -> int:
        """Rises with every change."""
        ...

    async def at_rest(self) -> None:
        """Wait until the mempool has followed to the chain's tip."""
        ...

    def examine(self, txs: Sequence[Transaction], max_fee_rates: Sequence[int]) -> list[Proposal | Refused]:
        """Check all of each transaction but its signatures; or tell why it is refused."""
        ...

    async def verify_each(self, proposals: Sequence[Proposal]) -> list[ConsensusError | None]:
        """Verify signatures; tell of each whose do not hold."""
        ...

    def add(self, proposal: Proposal) -> Entry:
        """Add a transaction whose signatures were verified."""
        ...

    async def accept_together(self, txs: Sequence[Transaction], *, max_fee_rate: int = 0) -> Taken:
        """Take several transactions or none."""
        ...


async def accept_each(pool: Taker, txs: Sequence[Transaction], max_fee_rates: Sequence[int]) -> list[Entry | Refused]:
    """Take transactions, each as if it were handed in when those before it had their answers; return these.

    Args:
        max_fee_rates: of each, as in `Mempool.accept_together`.
    """
    answers: list[Entry | Refused] = []
    under_way: deque[_Part] = deque()
    begun = 0
    try:
        while begun < len(txs) or under_way:
            free = _untied(txs[begun : begun + PART], under_way)
            if free:
                await pool.at_rest()
                under_way.append(_Part(pool, free, max_fee_rates[begun : begun + len(free)]))
                begun += len(free)
                # Others get their turn; after the second of ours the other cores have what they are asked.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            if len(under_way) == PARTS or not free:
                answers += await under_way[0].settle()
                under_way.popleft()
    finally:
        for part in under_way:
            await part.give_up()
    return answers


def _untied(txs: Sequence[Transaction], under_way: Iterable[_Part]) -> Sequence[Transaction]:
    """Return the first of the transactions, up to one that has to do with another before it."""
    spent: set[OutPoint] = set()
    made: set[TxId] = set()
    for part in under_way:
        spent |= part.spent
        made |= part.made
    for place, tx in enumerate(txs):
        inputs = tx.core.inputs
        # Who issues or attests may rest on the same reserve as another.
        if made and (tx.txid in made or tx.core.issuances):
            return txs[:place]
        for outpoint in inputs:
            if outpoint in spent or outpoint.txid in made:
                return txs[:place]
        spent.update(inputs)
        made.add(tx.txid)
    return txs


class _Part:
    """Transactions that were examined together, and whose signatures are being verified."""

    def __init__(self, pool: Taker, txs: Sequence[Transaction], max_fee_rates: Sequence[int]) -> None:
        self._pool = pool
        self._txs = txs
        self._max_fee_rates = max_fee_rates
        self.made = {tx.txid for tx in txs}
        self.spent = {outpoint for tx in txs for outpoint in tx.core.inputs}
        self._generation = pool.generation
        self._examined = pool.examine(txs, max_fee_rates)
        proposals = [each for each in self._examined if isinstance(each, Proposal)]
        self._verifying = asyncio.create_task(pool.verify_each(proposals), name="signatures of arrivals")

    async def settle(self) -> list[Entry | Refused]:
        """Add those whose signatures hold; return what became of each."""
        failed = iter(await self._verifying)
        await self._pool.at_rest()
        answers: list[Entry | Refused] = []
        for tx, rate, examined in zip(self._txs, self._max_fee_rates, self._examined, strict=True):
            try:
                if isinstance(examined, Proposal):
                    answers.append(next(failed) or self._pool.add(examined))
                elif isinstance(examined, ConsensusError) or self._generation == self._pool.generation:
                    answers.append(examined)
                else:
                    # What kept it out may be gone: those before it have taken their places since.
                    answers += (await self._pool.accept_together((tx,), max_fee_rate=rate)).entries
            except (ConsensusError, NotYet, PolicyError) as error:
                answers.append(frameless(error))
                await self._pool.at_rest()
        return answers

    async def give_up(self) -> None:
        """Nobody waits for an answer any more."""
        self._verifying.cancel()
        await asyncio.gather(self._verifying, return_exceptions=True)
