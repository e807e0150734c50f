"""A mempool follows the chain to its new tip: what a block took leaves, what a reorg gave back returns."""

from __future__ import annotations

from collections.abc import Sequence

from consensus.errors import ConsensusError, NotYet
from consensus.params import Params
from consensus.slices import SLICE, Slices
from consensus.types import AssetId, Transaction, TxId
from node.admission import ChainView, Examination
from node.chain_events import TipChanged
from node.mempool_entries import MempoolEntries
from node.mempool_graph import Entry
from node.pool_change import Branches, Dropped, DropReason, PoolChange
from node.relay_policy import PolicyError
from node.waiting_assets import issued_by

READMITTED_AT_ONCE = 50
"""Transactions that come back in a slice: all but their signatures is checked anew."""
GONE_AT_ONCE = 1_000
"""Of what blocks took or gave back, looked up in a slice."""


class TipFollower:
    """Takes a mempool's entries from one tip to the next, in slices."""

    def __init__(self, params: Params, chain: ChainView, entries: MempoolEntries) -> None:
        self._params = params
        self._chain = chain
        self._entries = entries
        self._graph = entries.graph

    def follow(self, change: TipChanged) -> Slices[PoolChange]:
        """Do what `Mempool.on_tip_changed` says. Between two slices the entries are partly of the old tip."""
        confirmed, dropped = yield from self._confirm(change)
        reverted: list[Transaction] = []
        issuers = yield from self._disturbed_issuers(change)
        if change.disconnected or issuers:
            branches = yield from Branches.of(change)
            reverted = branches.reverted
            watched = [entry for entry in self._graph if entry.watched] if change.disconnected else []
            dropped += yield from self._readmit(branches, [*issuers, *watched])
        dropped += self._entries.expire()
        dropped += self._entries.drop_unpaid()
        dropped += yield from self._entries.trim_in_slices()
        returned: list[TxId] = []
        for place, tx in enumerate(reverted, 1):
            if place % GONE_AT_ONCE == 0:
                yield
            if self._graph.get(tx.txid) is not None:
                returned.append(tx.txid)
        return PoolChange(confirmed, tuple(returned), tuple(dropped))

    def _confirm(self, change: TipChanged) -> Slices[tuple[int, list[Dropped]]]:
        """Remove what the new blocks hold, and what spends the same coins (with all that descends from it)."""
        confirmed = 0
        dropped: list[Dropped] = []
        height = change.fork_height
        for block in change.connected if self._graph else ():
            height += 1
            held: list[Entry] = []
            for place, tx in enumerate(block.transactions[1:], 1):
                if place % SLICE == 0:
                    yield
                found = self._graph.get(tx.txid)
                if found is not None:
                    held.append(found)
            yield from self._graph.remove_all_in_slices(held)
            confirmed += len(held)
            for place, entry in enumerate(held, 1):
                for listener in self._entries.listeners:
                    listener.confirmed(entry, height)
                if place % SLICE == 0:
                    yield
            for place, tx in enumerate(block.transactions[1:] if self._graph else (), 1):
                if place % SLICE == 0:
                    yield
                for outpoint in tx.core.inputs:
                    rival = self._graph.spender(outpoint)
                    if rival is not None:
                        first, *others = self._graph.family((rival,))
                        lost = self._entries.leave(others, DropReason.LOST_PARENT)
                        dropped += [*self._entries.leave((first,), DropReason.CONFLICT), *lost]
        return confirmed, dropped

    def _disturbed_issuers(self, change: TipChanged) -> Slices[list[Entry]]:
        """Return what issues or attests an asset whose record the blocks have changed."""
        if not self._graph.has_issuers:
            return []
        assets: dict[AssetId, None] = {}
        for block in (*change.disconnected, *change.connected):
            for place, tx in enumerate(block.transactions, 1):
                if place % GONE_AT_ONCE == 0:
                    yield
                assets.update(dict.fromkeys(issued_by(tx)))
        return [entry for asset in assets for entry in self._graph.issuers(asset)]

    def _readmit(self, branches: Branches, roots: Sequence[Entry]) -> Slices[list[Dropped]]:
        """Bring back what the old branch held, then what depended on it; return what is lost.

        Args:
            roots: what may have become invalid though all its coins are there.
        """
        spenders: list[Entry] = []
        for place, outpoint in enumerate(branches.gone, 1):
            if place % GONE_AT_ONCE == 0:
                yield
            spender = self._graph.spender(outpoint)
            if spender is not None:
                spenders.append(spender)
        doubtful = self._graph.family((*roots, *spenders))
        before = {entry.tx.wtxid: entry for entry in doubtful}
        for end in range(len(doubtful), 0, -READMITTED_AT_ONCE):
            # From the end: each slice is all that descends from what is in it.
            self._entries.leave(doubtful[max(0, end - READMITTED_AT_ONCE) : end], DropReason.REORG)
            if end > READMITTED_AT_ONCE:
                yield
        dropped = [Dropped(tx.txid, DropReason.TOO_MANY) for tx in branches.too_many]
        for place, tx in enumerate((*branches.reverted, *(entry.tx for entry in doubtful)), 1):
            if place % READMITTED_AT_ONCE == 0:
                yield
            examination = Examination(self._params, self._chain, self._graph, (tx,), self._entries.generation)
            try:
                # Its signatures were verified when it first came, and hold on every branch.
                was = before.get(tx.wtxid)
                time = was.time if was is not None else None
                (entry,) = self._entries.insert(examination.of_returned(), self._chain.tip.height, time)
                # What was mined needs nobody to pay for it.
                entry.sponsored = was is not None and was.sponsored
            except (ConsensusError, NotYet, PolicyError) as error:
                dropped.append(branches.dropped(tx, error))
        return dropped
