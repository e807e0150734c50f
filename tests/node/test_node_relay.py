"""Payments between whole nodes on a network in memory: how fast they spread, and what cannot stop them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from consensus.params import REGTEST
from consensus.types import Block, Coin, OutPoint, Transaction, Witness
from node.gossip_limits import MAX_SPONSORS_TRIED, MAX_TX_ANNOUNCED_PER_PEER, TX_REQUEST_SECONDS
from node.orphans import MAX_ORPHANS, MAX_ORPHANS_PER_PEER
from p2p.messages import GetData, Inv, Item, ItemKind, NotFound, TxMessage
from simnet.loop import run_virtual
from tests.support.chain import ChainBuilder, reward_of
from tests.support.nodes import FakePeer, RunningNode, World, dial, until
from tests.support.rules import pay, spend

PARAMS = replace(REGTEST, coinbase_maturity=5)
FEE = 10_000


def funded(count: int = 12) -> tuple[ChainBuilder, list[Block], list[OutPoint]]:
    """A chain, and the coins of key 1 that may be spent at its end."""
    chain = ChainBuilder(PARAMS)
    blocks = chain.mine_chain(None, count)
    return chain, blocks, chain.mature(blocks[-1])


def payment(chain: ChainBuilder, tip: Block, coin: OutPoint, to: int = 2, outputs: int = 1) -> Transaction:
    value = chain.coins(tip)[coin].output.value - FEE
    return chain.spend(tip, [coin], [pay(to, value // outputs)] * outputs)


def child_of(parent: Transaction, index: int = 0, fee: int = FEE, signer: int = 2) -> Transaction:
    coin = Coin(parent.core.outputs[index], 1, False)
    return spend({OutPoint(parent.txid, index): coin}, [pay(signer, coin.output.value - fee)], params=PARAMS)


def damaged(tx: Transaction) -> Transaction:
    """The same transaction with a signature that fails: same txid, other wtxid."""
    first, *rest = tx.witnesses
    signature = bytes((first.satisfactions[0][0] ^ 1,)) + first.satisfactions[0][1:]
    return Transaction(tx.core, (Witness(first.policy, (signature, *first.satisfactions[1:])), *rest))


def announce(peer: FakePeer, *txs: Transaction) -> None:
    peer.send(Inv(tuple(Item(ItemKind.TX, tx.wtxid) for tx in txs)))


def asked_for(peer: FakePeer, kind: ItemKind = ItemKind.TX) -> list[bytes]:
    return [item.hash for message in peer.got(GetData) for item in message.items if item.kind is kind]


def told_of(peer: FakePeer) -> list[bytes]:
    return [item.hash for message in peer.got(Inv) for item in message.items]


def serving(world: World, *txs: Transaction, **more: Any) -> FakePeer:
    """A fake peer that gives these transactions, by either of their ids."""
    peer = FakePeer(world, **more)
    known = {tx.wtxid: tx for tx in txs} | {tx.txid: tx for tx in txs}

    def answer(message: object) -> None:
        if isinstance(message, GetData):
            for item in message.items:
                if item.hash in known:
                    peer.send(TxMessage(known[item.hash].encoded))  # type: ignore[index]

    peer.answers.append(answer)
    return peer


@asynccontextmanager
async def met(blocks: Sequence[Block], *known: Transaction) -> AsyncIterator[tuple[RunningNode, FakePeer]]:
    """A node with these blocks, and a peer that has dialled it and gives these transactions."""
    world = World(params=PARAMS)
    async with world.node() as node:
        await node.feed(blocks)
        yield node, await dial(world, node, serving(world, *known))


# --- in good weather ----------------------------------------------------------------------------------------------


def test_a_payment_reaches_five_nodes_in_a_line_within_half_a_second() -> None:
    chain, blocks, coins = funded(30)
    txs = [payment(chain, blocks[-1], coin) for coin in coins[:20]]

    async def story() -> None:
        world = World(params=PARAMS)
        async with (
            world.node() as a,
            world.node([a.address]) as b,
            world.node([b.address]) as c,
            world.node([c.address]) as d,
            world.node([d.address]) as e,
        ):
            nodes = [a, b, c, d, e]
            await a.feed(blocks)
            await until(lambda: all(node.height == 30 for node in nodes))
            took = []
            for tx in txs:
                await a.node.submit_transaction(tx)
                took.append(await until(lambda tx=tx: all(tx.txid in node.mempool for node in nodes)))  # type: ignore[misc]
            # Of that 0.12 s are latency: four hops, each an announcement, a question and an answer.
            assert sorted(took)[len(took) // 2] < 0.5
            assert max(took) < 12 * 0.01 + 4 * 0.2 + 0.05

    run_virtual(story)


def test_many_payments_travel_in_few_announcements() -> None:
    chain, blocks, coins = funded(60)
    txs = [payment(chain, blocks[-1], coin) for coin in coins[:50]]

    async def story() -> None:
        async with met(blocks) as (node, peer):
            for tx in txs:
                await node.node.submit_transaction(tx)
            await until(lambda: len(told_of(peer)) == 50)
            assert len(peer.got(Inv)) <= 2

    run_virtual(story)


def test_a_new_peer_is_told_of_what_waits_already_and_a_parent_before_its_child() -> None:
    chain, blocks, coins = funded()
    parent = payment(chain, blocks[-1], coins[0])
    child = child_of(parent)

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as a:
            await a.feed(blocks)
            await a.node.submit_transaction(parent)
            await a.node.submit_transaction(child)
            async with world.node([a.address]) as b:
                await until(lambda: child.txid in b.mempool)
                assert not b.logged("transaction_early")

    run_virtual(story)


def test_whoever_waits_for_transactions_is_told_of_each_once() -> None:
    chain, blocks, coins = funded()
    tx = payment(chain, blocks[-1], coins[0])

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as a, world.node([a.address]) as b:
            await a.feed(blocks)
            await until(lambda: b.height == len(blocks))
            heard: list[bytes] = []
            a.node.on_transaction(lambda tx: heard.append(tx.txid))
            b.node.on_transaction(lambda tx: heard.append(tx.txid))
            await a.node.submit_transaction(tx)
            await until(lambda: heard == [tx.txid, tx.txid])

    run_virtual(story)


def test_what_a_reorg_gives_back_is_announced_again() -> None:
    chain, blocks, coins = funded()
    tx = payment(chain, blocks[-1], coins[0])
    with_tx = chain.mine(blocks[-1], [tx], to=3)
    branch = chain.mine_chain(blocks[-1], 2, to=4)

    async def story() -> None:
        async with met([*blocks, with_tx]) as (node, peer):
            await node.feed(branch)
            await until(lambda: tx.wtxid in told_of(peer))

    run_virtual(story)


def test_what_descends_from_a_payment_that_a_reorg_gives_back_is_announced_again_to_who_had_no_coins_for_it() -> None:
    """The peer stood on the other branch, and had forgotten the child long before it could have the parent."""
    chain, blocks, coins = funded()
    parent = payment(chain, blocks[-1], coins[0])
    child = child_of(parent)
    with_parent = chain.mine(blocks[-1], [parent], to=3)
    branch = chain.mine_chain(blocks[-1], 2, to=4)

    async def story() -> None:
        async with met([*blocks, with_parent]) as (node, peer):
            await node.node.submit_transaction(child)
            await until(lambda: child.wtxid in told_of(peer))
            peer.received.clear()
            await node.feed(branch)
            await until(lambda: {parent.wtxid, child.wtxid} <= set(told_of(peer)))

    run_virtual(story)


def test_a_payment_that_is_handed_in_again_is_told_again_to_who_knows_it() -> None:
    chain, blocks, coins = funded()
    tx = payment(chain, blocks[-1], coins[0])

    async def story() -> None:
        async with met(blocks) as (node, peer):
            await node.node.submit_transaction(tx)
            for _ in range(2):
                await until(lambda: tx.wtxid in told_of(peer))
                peer.received.clear()
                node.node.announce_again(tx)

    run_virtual(story)


def test_what_enters_anew_is_given_to_who_was_told_of_it_before() -> None:
    """He asks late, as whoever catches up does; meanwhile the payment was in a block, and in none again."""
    chain, blocks, coins = funded()
    tx = payment(chain, blocks[-1], coins[0])
    with_tx = chain.mine(blocks[-1], [tx], to=3)
    branch = chain.mine_chain(blocks[-1], 2, to=4)

    async def story() -> None:
        async with met(blocks) as (node, peer):
            await node.node.submit_transaction(tx)
            await until(lambda: bool(peer.got(Inv)))
            await node.feed([with_tx])
            await node.feed(branch)
            assert tx.txid in node.mempool
            peer.send(GetData((Item(ItemKind.TX, tx.wtxid),)))
            await until(lambda: bool(peer.got(TxMessage) or peer.got(NotFound)))
            assert not peer.got(NotFound)

    run_virtual(story)


def test_a_payment_that_comes_back_from_its_owner_is_told_again() -> None:
    """Its coins went with a branch and came back with it; meanwhile a peer had forgotten it as well."""
    chain = ChainBuilder(PARAMS)
    trunk = chain.mine_chain(None, 3)
    ours = chain.mine_chain(trunk[-1], 7)
    theirs = chain.mine_chain(trunk[-1], 8, to=4)
    longer = chain.mine_chain(ours[-1], 2, to=3)
    tx = payment(chain, ours[-1], reward_of(ours[0]))

    async def story() -> None:
        async with met([*trunk, *ours]) as (node, peer):
            await node.node.submit_transaction(tx)
            await until(lambda: bool(peer.got(Inv)))
            await node.feed(theirs)
            assert tx.txid not in node.mempool
            await node.feed(longer)
            assert tx.txid not in node.mempool
            peer.received.clear()
            await node.node.submit_transaction(tx)
            await until(lambda: bool(peer.got(Inv)))

    run_virtual(story)


# --- who does not deliver -----------------------------------------------------------------------------------------


def test_a_first_announcer_that_never_delivers_delays_a_payment_once() -> None:
    """A093"""
    chain, blocks, coins = funded()
    tx = payment(chain, blocks[-1], coins[0])

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node:
            await node.feed(blocks)
            liar = await dial(world, node, FakePeer(world, nonce=1))
            good = await dial(world, node, serving(world, tx, nonce=2))
            announce(liar, tx)
            await until(lambda: asked_for(liar) == [tx.wtxid])
            announce(good, tx)
            took = await until(lambda: tx.txid in node.mempool)
            assert TX_REQUEST_SECONDS - 1 < took < TX_REQUEST_SECONDS + 1

    run_virtual(story)


def test_an_announcer_that_says_not_found_or_leaves_delays_nothing() -> None:
    """A093"""
    chain, blocks, coins = funded()
    tx = payment(chain, blocks[-1], coins[0])

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node:
            await node.feed(blocks)
            poor = FakePeer(world, nonce=1)
            leaver = FakePeer(world, nonce=2)
            poor.answers.append(lambda m: poor.send(NotFound(m.items)) if isinstance(m, GetData) else None)
            leaver.answers.append(lambda m: leaver.link.close() if isinstance(m, GetData) else None)
            good = serving(world, tx, nonce=3)
            for peer in (poor, leaver, good):
                await dial(world, node, peer)
            for peer in (poor, leaver, good):
                announce(peer, tx)
                await asyncio.sleep(0.001)
            assert await until(lambda: tx.txid in node.mempool) < 1
            assert asked_for(poor) == asked_for(leaver) == [tx.wtxid]

    run_virtual(story)


def test_a_flood_of_announcements_is_bounded_and_few_are_asked_for() -> None:
    """A089, A090"""

    async def story() -> None:
        async with met(()) as (node, peer):
            for start in range(50):
                items = [Item(ItemKind.TX, (start * 1000 + n).to_bytes(32, "big")) for n in range(1000)]
                peer.send(Inv(tuple(items)))
            await asyncio.sleep(2)
            assert node.node.relay.requested == MAX_TX_ANNOUNCED_PER_PEER
            assert len(asked_for(peer)) == 100
            peer.link.close()
            await until(lambda: node.peers == 0)
            assert node.node.relay.requested == 0

    run_virtual(story)


# --- who delivers what is bad -------------------------------------------------------------------------------------


def test_an_invalid_transaction_is_charged_to_its_sender_and_never_verified_again() -> None:
    """A096"""
    chain, blocks, coins = funded()
    bad = damaged(payment(chain, blocks[-1], coins[0]))

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node:
            await node.feed(blocks)
            liar = await dial(world, node, serving(world, bad, nonce=1), host="10.6.6.6")
            announce(liar, bad)
            await until(lambda: liar.closed is not None)
            assert "invalid transaction" in node.logged("peer_disconnected")[-1]["reason"]
            other = await dial(world, node, FakePeer(world, nonce=2))
            announce(other, bad)
            await asyncio.sleep(1)
            assert asked_for(other) == []

    run_virtual(story)


def test_a_damaged_twin_that_comes_first_does_not_keep_the_honest_one_out() -> None:
    """A103"""
    chain, blocks, coins = funded()
    tx = payment(chain, blocks[-1], coins[0])

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node:
            await node.feed(blocks)
            liar = await dial(world, node, FakePeer(world, nonce=1), host="10.6.6.6")
            liar.send(TxMessage(damaged(tx).encoded))
            await until(lambda: liar.closed is not None)
            good = await dial(world, node, serving(world, tx, nonce=2))
            announce(good, tx)
            await until(lambda: tx.txid in node.mempool)

    run_virtual(story)


def test_one_peers_flood_does_not_hold_up_another_peers_payment() -> None:
    """A096"""
    chain, blocks, coins = funded()
    tx = payment(chain, blocks[-1], coins[0])
    parent = payment(chain, blocks[-1], coins[1], outputs=200)
    flood = [child_of(parent, index) for index in range(200)]

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node:
            await node.feed(blocks)
            loud = await dial(world, node, FakePeer(world, nonce=1))
            quiet = await dial(world, node, FakePeer(world, nonce=2))
            loud.send(*(TxMessage(each.encoded) for each in flood))
            quiet.send(TxMessage(tx.encoded))
            assert await until(lambda: tx.txid in node.mempool) < 1

    run_virtual(story)


# --- orphans ------------------------------------------------------------------------------------------------------


def test_a_child_that_comes_first_has_its_parents_asked_for_by_txid() -> None:
    chain, blocks, coins = funded()
    parent = payment(chain, blocks[-1], coins[0])
    child = child_of(parent)

    async def story() -> None:
        async with met(blocks, parent, child) as (node, peer):
            announce(peer, child)
            await until(lambda: child.txid in node.mempool)
            assert asked_for(peer, ItemKind.TX_BY_TXID) == [parent.txid]

    run_virtual(story)


def test_a_chain_that_arrives_in_reverse_is_taken_in_as_many_steps_as_it_is_long() -> None:
    """A095"""
    chain, blocks, coins = funded()
    line = [payment(chain, blocks[-1], coins[0])]
    while len(line) < 20:
        line.append(child_of(line[-1]))

    async def story() -> None:
        async with met(blocks) as (node, peer):
            peer.send(*(TxMessage(tx.encoded) for tx in reversed(line)))
            await until(lambda: len(node.mempool) == 20)
            assert node.node.relay.orphans == 0
            assert all(child.core.inputs[0].txid == parent.txid for parent, child in pairwise(line))

    run_virtual(story)


def test_orphans_of_one_peer_and_of_all_are_bounded() -> None:
    """A095"""
    chain, blocks, coins = funded()
    parent = payment(chain, blocks[-1], coins[0], outputs=100)
    orphans = [child_of(parent, index) for index in range(100)]

    async def story() -> None:
        async with met(blocks) as (node, peer):
            peer.send(*(TxMessage(tx.encoded) for tx in orphans))
            await asyncio.sleep(1)
            assert node.node.relay.orphans == MAX_ORPHANS_PER_PEER < MAX_ORPHANS
            assert asked_for(peer, ItemKind.TX_BY_TXID) == [parent.txid]  # once, not a hundred times
            peer.link.close()
            await until(lambda: node.peers == 0)
            assert node.node.relay.orphans == 0

    run_virtual(story)


# --- a child that pays for its parent -----------------------------------------------------------------------------


def unpaid(chain: ChainBuilder, tip: Block, coin: OutPoint) -> Transaction:
    """A payment without a fee."""
    return chain.spend(tip, [coin], [pay(2, chain.coins(tip)[coin].output.value)])


@pytest.mark.parametrize("child_first", [True, False])
def test_a_parent_below_the_floor_enters_with_a_child_that_pays_whichever_comes_first(child_first: bool) -> None:
    chain, blocks, coins = funded()
    parent = unpaid(chain, blocks[-1], coins[0])
    child = child_of(parent)

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node:
            await node.feed(blocks)
            peer = await dial(world, node, serving(world, parent, child))
            for tx in (child, parent) if child_first else (parent, child):
                peer.send(TxMessage(tx.encoded))
                await asyncio.sleep(0.1)
            await until(lambda: {parent.txid, child.txid} <= {entry.tx.txid for entry in node.mempool})
            assert node.node.relay.orphans == 0
            # Whoever hears of it from us gets both.
            async with world.node([node.address]) as other:
                await until(lambda: other.height == node.height and child.txid in other.mempool)

    run_virtual(story)


def test_a_child_that_pays_too_little_for_both_brings_nothing_in_and_another_may() -> None:
    """A198: what is tried for one message is bounded."""
    chain, blocks, coins = funded()
    parent = unpaid(chain, blocks[-1], coins[0])
    poor = [child_of(parent, fee=fee) for fee in range(10)]

    async def story() -> None:
        async with met(blocks) as (node, peer):
            peer.send(*(TxMessage(tx.encoded) for tx in poor))
            await until(lambda: node.node.relay.orphans == len(poor))
            peer.send(TxMessage(parent.encoded))
            await asyncio.sleep(1)
            assert len(node.mempool) == 0
            assert len(node.logged("transaction_refused")) == 1 + MAX_SPONSORS_TRIED
            peer.send(TxMessage((rich := child_of(parent)).encoded), TxMessage(parent.encoded))
            await until(lambda: rich.txid in node.mempool)

    run_virtual(story)


def test_an_invalid_parent_costs_its_sender_though_a_child_would_pay() -> None:
    """A096, A103: and its honest twin enters afterwards."""
    chain, blocks, coins = funded()
    parent = unpaid(chain, blocks[-1], coins[0])
    child = child_of(parent)

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node:
            await node.feed(blocks)
            liar = await dial(world, node, FakePeer(world, nonce=1), host="10.6.6.6")
            liar.send(TxMessage(child.encoded))
            await until(lambda: node.node.relay.orphans == 1)
            liar.send(TxMessage(damaged(parent).encoded))
            await until(lambda: liar.closed is not None)
            assert len(node.mempool) == 0
            good = await dial(world, node, serving(world, parent, child, nonce=2))
            announce(good, parent, child)
            await until(lambda: len(node.mempool) == 2)

    run_virtual(story)


def test_a_payment_and_the_one_that_replaces_it_reach_all_nodes() -> None:
    chain, blocks, coins = funded()
    first = payment(chain, blocks[-1], coins[0])
    second = chain.spend(blocks[-1], [coins[0]], [pay(3, chain.coins(blocks[-1])[coins[0]].output.value - 3 * FEE)])

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as a, world.node([a.address]) as b, world.node([b.address]) as c:
            await a.feed(blocks)
            await until(lambda: c.height == len(blocks))
            await a.node.submit_transaction(first)
            await until(lambda: first.txid in c.mempool)
            await a.node.submit_transaction(second)
            await until(lambda: second.txid in c.mempool)
            assert all(first.txid not in node.mempool for node in (a, b, c))

    run_virtual(story)


# --- privacy ------------------------------------------------------------------------------------------------------


def test_a_transaction_is_given_to_nobody_before_he_was_told_of_it() -> None:
    """A105"""
    chain, blocks, coins = funded()
    tx = payment(chain, blocks[-1], coins[0])

    async def story() -> None:
        async with met(blocks) as (node, spy):
            await node.node.submit_transaction(tx)
            for kind, item_hash in ((ItemKind.TX, tx.wtxid), (ItemKind.TX_BY_TXID, tx.txid)):
                node.node.serving.handle_get_data(node.node.peers[0], (Item(kind, item_hash),))
            await until(lambda: bool(spy.got(NotFound)))
            await until(lambda: bool(spy.got(Inv)))
            spy.send(GetData((Item(ItemKind.TX, tx.wtxid),)))
            await until(lambda: bool(spy.got(TxMessage)))

    run_virtual(story)
