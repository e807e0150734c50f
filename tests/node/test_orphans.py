"""Transactions without their parents wait within bounds, and cost one try each."""

from __future__ import annotations

import pytest

from consensus.state import genesis_state
from consensus.types import Coin, OutPoint, Transaction
from node import orphans
from node.orphans import MAX_ORPHANS, MAX_ORPHANS_PER_PEER, MAX_PARENTS, ORPHAN_SECONDS, OrphanPool
from tests.support.pool import PARAMS, forward, outputs_of
from tests.support.rules import coin, core, mine, outpoint, pay


def unsigned(*parents: OutPoint, n: int = 0) -> Transaction:
    """A transaction without witnesses: nothing here looks at them."""
    return Transaction(core(parents, [pay(1, 1_000)], n.to_bytes(4, "big")), ())


def add(pool: OrphanPool, tx: Transaction, peer: int = 1, now: float = 0.0) -> tuple[bytes, ...]:
    return pool.add(tx, peer, tx.core.inputs, now)


def test_an_orphan_asks_for_each_parent_once_and_comes_out_when_the_last_has_come() -> None:
    pool = OrphanPool()
    first, second = outpoint(1), outpoint(2)
    tx = unsigned(first, OutPoint(first.txid, 1), second)
    assert add(pool, tx) == (first.txid, second.txid)
    assert tx.wtxid in pool
    assert pool.parent_arrived(second.txid) == []
    assert pool.parent_arrived(second.txid) == []
    assert pool.parent_arrived(first.txid) == [(tx, 1)]
    assert len(pool) == 0
    assert pool.parent_arrived(first.txid) == []


def test_the_same_orphan_from_a_second_peer_counts_for_the_first_only() -> None:
    pool = OrphanPool()
    tx = unsigned(outpoint(1))
    assert add(pool, tx, peer=1) == add(pool, tx, peer=2) == (outpoint(1).txid,)
    pool.forget_peer(2)
    assert tx.wtxid in pool
    pool.forget_peer(1)
    assert tx.wtxid not in pool
    assert pool.parent_arrived(outpoint(1).txid) == []


def test_a_flood_of_one_peer_displaces_only_its_own_oldest() -> None:
    """A095: 100,000 with missing parents, or here some more than the quota."""
    pool = OrphanPool()
    honest = unsigned(outpoint(7))
    add(pool, honest, peer=1)
    flood = [unsigned(outpoint(8), n=n) for n in range(MAX_ORPHANS_PER_PEER + 10)]
    for tx in flood:
        add(pool, tx, peer=2)
    assert len(pool) == 1 + MAX_ORPHANS_PER_PEER
    assert honest.wtxid in pool
    assert [tx.wtxid in pool for tx in flood] == [False] * 10 + [True] * MAX_ORPHANS_PER_PEER


def test_many_peers_share_the_room_and_the_greediest_gives_way() -> None:
    """A095: the bound on all orphans holds, and who sent few keeps them."""
    pool = OrphanPool()
    modest = unsigned(outpoint(1))
    add(pool, modest, peer=0)
    for peer in range(1, MAX_ORPHANS // MAX_ORPHANS_PER_PEER + 5):
        for n in range(MAX_ORPHANS_PER_PEER):
            add(pool, unsigned(outpoint(100 + peer), n=n), peer=peer)
            assert len(pool) <= MAX_ORPHANS
    assert len(pool) == MAX_ORPHANS
    assert modest.wtxid in pool


def test_a_chain_that_arrives_in_reverse_is_tried_once_each() -> None:
    """A095: resolving n orphans takes n tries, not n²."""
    pool = OrphanPool()
    root = forward({outpoint(1): coin(1, 10_000_000)})
    chain = [root]
    for _ in range(20):
        chain.append(forward(outputs_of(chain[-1]), fee=1_000))
    for tx in reversed(chain[1:]):
        add(pool, tx)
    tries = 0
    pending = [root]
    while pending:
        ready = pool.parent_arrived(pending.pop().txid)
        tries += len(ready)
        pending += [tx for tx, _ in ready]
    assert tries == 20
    assert len(pool) == 0


def test_too_large_or_too_many_parents_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = OrphanPool()
    assert len(add(pool, unsigned(*(outpoint(n) for n in range(1, MAX_PARENTS + 1))))) == MAX_PARENTS
    assert add(pool, unsigned(*(outpoint(n) for n in range(1, MAX_PARENTS + 2)))) == ()
    tx = unsigned(outpoint(1))
    monkeypatch.setattr(orphans, "MAX_ORPHAN_SIZE", len(tx.encoded) - 1)
    assert add(pool, tx) == ()
    assert len(pool) == 1


def test_an_orphan_is_forgotten_when_its_parent_does_not_come() -> None:
    pool = OrphanPool()
    old, young = unsigned(outpoint(1)), unsigned(outpoint(2))
    add(pool, old, now=0.0)
    add(pool, young, now=1.0)
    pool.expire(ORPHAN_SECONDS - 0.5)
    assert len(pool) == 2
    pool.expire(float(ORPHAN_SECONDS))
    assert (old.wtxid in pool, young.wtxid in pool) == (False, True)
    add(pool, unsigned(outpoint(3)), now=1.0 + ORPHAN_SECONDS)
    assert young.wtxid not in pool


def test_a_block_gives_free_what_waited_for_it_and_drops_what_it_contradicts() -> None:
    pool = OrphanPool()
    coins: dict[OutPoint, Coin] = {outpoint(1): coin(1, 1_000_000)}
    parent = forward(coins)
    child = forward(outputs_of(parent))
    rival = unsigned(outpoint(1), outpoint(2))
    confirmed = unsigned(outpoint(5))
    for tx in (child, rival, confirmed):
        add(pool, tx)
    block = mine(PARAMS, genesis_state(PARAMS), [parent, confirmed])
    assert pool.block_connected(block) == [(child, 1)]
    assert len(pool) == 0
