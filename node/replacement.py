"""When a transaction may take the place of others that spend the same coins (docs/mempool.md, Replacement).

Whoever paid may pay more later: any transaction may be replaced, as in Bitcoin Core since version 28. The
rules make each replacement pay for all the traffic that it makes worthless, so that a storm of them costs
real money, and never leave a miner with less.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from consensus.codec import display_hash
from consensus.types import Amount, TxId
from node.mempool_graph import Entry, MempoolGraph
from node.relay_policy import MIN_FEE_RATE, PolicyError, Refusal, required_fee

MAX_REPLACED = 100
"""Transactions that one replacement may put out, descendants included (Bitcoin Core: MAX_REPLACEMENT_CANDIDATES)."""


def find_replaced(graph: MempoolGraph, conflicts: Sequence[Entry]) -> list[Entry]:
    """Return what leaves if `conflicts` are replaced: they and all that descends from them, parents first.

    Raises:
        PolicyError: `REPLACES_TOO_MANY`. Looks at no more than it takes to know.
    """
    # Each has so many itself; what they have in common is counted once, below.
    if len(conflicts) > MAX_REPLACED or max(entry.descendant_count for entry in conflicts) > MAX_REPLACED:
        raise PolicyError(Refusal.REPLACES_TOO_MANY, limit=MAX_REPLACED)
    replaced = graph.family(conflicts)
    if len(replaced) > MAX_REPLACED:
        raise PolicyError(Refusal.REPLACES_TOO_MANY, count=len(replaced), limit=MAX_REPLACED)
    return replaced


def check_links(parents: Iterable[Entry], ancestors: Collection[TxId], conflicts: Sequence[Entry]) -> None:
    """Check what a replacement spends of the mempool.

    Args:
        parents: its unconfirmed parents.
        ancestors: the txids of all its unconfirmed ancestors.

    Raises:
        PolicyError: `SPENDS_REPLACED` if it descends from what it replaces; `NEW_UNCONFIRMED` if it spends an
            unconfirmed output of a parent that none of the replaced had: it would look better than it is,
            for it may have to wait for that parent.
    """
    for conflict in conflicts:
        if conflict.tx.txid in ancestors:
            raise PolicyError(Refusal.SPENDS_REPLACED, txid=display_hash(conflict.tx.txid))
    known = {txid for conflict in conflicts for txid in conflict.parents}
    for parent in parents:
        if parent.tx.txid not in known:
            raise PolicyError(Refusal.NEW_UNCONFIRMED, parent=display_hash(parent.tx.txid))


def check_pays_more(fee: Amount, size: int, conflicts: Sequence[Entry], replaced: Sequence[Entry]) -> None:
    """Check that a replacement of `size` virtual bytes pays more than what it replaces.

    Raises:
        PolicyError: `REPLACEMENT_RATE` unless its fee rate is higher than that of each direct conflict;
            `REPLACEMENT_FEE` unless its fee is at least that of all that leaves, and what its own relay costs.
    """
    for conflict in conflicts:
        if fee * conflict.virtual_size <= conflict.fee * size:
            raise PolicyError(
                Refusal.REPLACEMENT_RATE,
                rate=fee * 1_000 // size,
                must_exceed=conflict.fee * 1_000 // conflict.virtual_size,
                txid=display_hash(conflict.tx.txid),
            )
    required = sum(entry.fee for entry in replaced) + required_fee(MIN_FEE_RATE, size)
    if fee < required:
        raise PolicyError(Refusal.REPLACEMENT_FEE, fee=fee, required=required, replaces=len(replaced))
