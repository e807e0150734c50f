"""Several transactions that are handed in together, so that a child can pay for its parents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from consensus.codec import display_hash
from consensus.errors import ConsensusError, NotYet
from consensus.types import OutPoint, Transaction, TxId, WTxId
from node.garbage import frameless
from node.mempool_entries import Taken
from node.mempool_graph import Entry
from node.relay_policy import MAX_CHAIN_SIZE, MAX_PACKAGE, TOO_LITTLE, PolicyError, Refusal

Refused = ConsensusError | NotYet | PolicyError


class Taker(Protocol):
    """What taking a package asks of the mempool."""

    def entry(self, txid: TxId) -> Entry | None:
        """Return the transaction of a txid, if it waits here."""
        ...

    async def accept_together(self, txs: Sequence[Transaction], *, max_fee_rate: int = 0) -> Taken:
        """Take several transactions or none."""
        ...


@dataclass
class PackageOutcome:
    """What became of a package."""

    entered: dict[WTxId, Entry] = field(default_factory=dict)
    """Those that are in the mempool now, or were before; with the same txid, but other witnesses, perhaps."""
    together: dict[WTxId, tuple[Entry, ...]] = field(default_factory=dict)
    """Those of them that were judged together with others, each with all of these."""
    new: list[Entry] = field(default_factory=list)
    """Those that were not here before, parents first: to be told to peers."""
    refused: dict[WTxId, Refused] = field(default_factory=dict)
    replaced: list[TxId] = field(default_factory=list)
    """What left for them."""


def check_sorted(txs: Sequence[Transaction]) -> None:
    """Check that transactions can be judged one after the other as if they all entered.

    Raises:
        PolicyError: `BAD_PACKAGE`: none or more than `MAX_PACKAGE`, too large together, one twice, a child
            before its parent, or two that spend one coin.
    """
    if not 1 <= len(txs) <= MAX_PACKAGE:
        raise PolicyError(Refusal.BAD_PACKAGE, why=f"it must have 1 to {MAX_PACKAGE} transactions")
    if sum(len(tx.encoded) for tx in txs) > MAX_CHAIN_SIZE:
        raise PolicyError(Refusal.BAD_PACKAGE, why=f"it has more than {MAX_CHAIN_SIZE} bytes")
    later = {tx.txid for tx in txs}
    if len(later) < len(txs):
        raise PolicyError(Refusal.BAD_PACKAGE, why="it holds a transaction twice")
    spent: dict[OutPoint, TxId] = {}
    for tx in txs:
        for outpoint in tx.core.inputs:
            if outpoint.txid in later:
                raise PolicyError(Refusal.BAD_PACKAGE, why="a child stands before its parent")
            if spent.setdefault(outpoint, tx.txid) != tx.txid:
                raise PolicyError(Refusal.BAD_PACKAGE, why="two of its transactions spend one coin")
        later.discard(tx.txid)


def check_package(txs: Sequence[Transaction]) -> None:
    """Check that transactions are one child, which comes last, and parents of it.

    Raises:
        PolicyError: `BAD_PACKAGE`, as `check_sorted`, or another is no parent of the last.
    """
    check_sorted(txs)
    parents = {outpoint.txid for outpoint in txs[-1].core.inputs}
    for tx in txs[:-1]:
        if tx.txid not in parents:
            raise PolicyError(
                Refusal.BAD_PACKAGE, why="it is not a child with its parents", no_parent=display_hash(tx.txid)
            )


async def accept_package(mempool: Taker, txs: Sequence[Transaction], max_fee_rate: int = 0) -> PackageOutcome:
    """Take one child, which comes last, and parents of it, each by itself if it can be.

    Parents that pay too little are taken together with the child, if it pays for them. A parent that cannot
    be taken at all keeps the child out; the other parents stay.

    Args:
        max_fee_rate: as in `Mempool.accept_together`.

    Raises:
        PolicyError: `BAD_PACKAGE`: they are not that. Nothing was taken.
    """
    check_package(txs)
    outcome = PackageOutcome()
    waiting: list[Transaction] = []
    for tx in txs:
        held = mempool.entry(tx.txid)
        if held is not None:
            outcome.entered[tx.wtxid] = held
            continue
        try:
            await _enter(mempool, [tx], outcome, max_fee_rate)
        except (ConsensusError, NotYet, PolicyError) as error:
            if pays_too_little(error) or _waits_for(error, waiting):
                waiting.append(tx)
            else:
                outcome.refused[tx.wtxid] = frameless(error)
    if txs[-1] in waiting and len(waiting) > 1 and not outcome.refused:
        try:
            await _enter(mempool, waiting, outcome, max_fee_rate)
        except (ConsensusError, NotYet, PolicyError) as error:
            outcome.refused = dict.fromkeys([tx.wtxid for tx in waiting], frameless(error))
    for tx in waiting:
        if tx.wtxid not in outcome.entered:
            outcome.refused.setdefault(tx.wtxid, PolicyError(Refusal.LOW_FEE, why="nobody pays for it"))
    return outcome


async def _enter(mempool: Taker, txs: Sequence[Transaction], outcome: PackageOutcome, max_fee_rate: int) -> None:
    taken = await mempool.accept_together(txs, max_fee_rate=max_fee_rate)
    for entry in taken.entries:
        outcome.entered[entry.tx.wtxid] = entry
        outcome.together[entry.tx.wtxid] = taken.entries
    outcome.new += taken.entries
    outcome.replaced += (entry.tx.txid for entry in taken.replaced)


def pays_too_little(error: Refused) -> bool:
    """Tell whether it is only the fee for which something was refused."""
    return isinstance(error, PolicyError) and error.reason in TOO_LITTLE


def _waits_for(error: Refused, parents: Sequence[Transaction]) -> bool:
    """Tell whether something lacks nothing but coins that `parents` make."""
    missing = error.facts.get("missing") if isinstance(error, NotYet) else None
    made = {tx.txid for tx in parents}
    return isinstance(missing, tuple) and all(outpoint.txid in made for outpoint in missing)
