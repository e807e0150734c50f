"""Long work comes in slices: however large a block is, the loop goes round after as much of it as after a small one's.

What is done between two turns of the loop is counted in calls, not in seconds. If any of it were done in one piece
again, four times as many transactions would be four times as much between two turns.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from consensus.codec import READ_AT_ONCE, decode_block
from consensus.errors import ConsensusError, NotYet, Rule
from consensus.merkle import HASHED_AT_ONCE, merkle_root, merkle_root_in_slices
from consensus.slices import SLICE, whole
from consensus.spend_policy import policy_id
from consensus.types import Amount, Block, Header, OutPoint, Output, Transaction, TxId
from node.api import views
from node.api.long_answers import array, encode_in_pieces
from node.api.methods.mining import template_view
from node.block_template import BlockTemplates
from node.chain_events import TipChanged
from node.mempool import Mempool
from node.relay_policy import PolicyError
from node.storage.lmdb_store import CHANGES_AT_ONCE, LmdbDatabase
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import TABLES
from node.storage.sealed import GATHERED_AT_ONCE, SUMS, SealedDatabase
from node.storage.store import Change
from node.turns import in_turns
from node.workers import InlineWorkers
from simnet.loop import run_virtual
from tests.support.chain import ChainBuilder, ManualClock, feed, reward_of, running
from tests.support.nodes import FakePeer, World, dial, until
from tests.support.pool import silent_log
from tests.support.rules import core, key, lock, pay, quick_sign, witnesses_for
from tests.support.stage import PARAMS
from tests.support.turns import Turns, counted, counting_turns
from tests.support.wallets import lock_of, new_wallet

FEW, MANY = 1_000, 4_000
"""Transactions of a block: both are several slices."""
FEE = 1_000


def crowd(count: int) -> tuple[ChainBuilder, list[Block], Block]:
    """A chain, and a child of it with so many payments of one input and two outputs, good signatures."""
    policy = key(1)
    coin = Output(Amount(10_000), policy_id(policy), None)
    chain = ChainBuilder(PARAMS)
    blocks = chain.mine_chain(None, 10)
    change = pay(1, 50 * 10**8 - count * 10_000 - 10**7)
    funding = chain.spend(blocks[-1], [reward_of(blocks[0])], [*[coin] * count, change])
    blocks.append(chain.mine(blocks[-1], [funding]))
    payments = []
    for index in range(count):
        unsigned = core([OutPoint(funding.txid, index)], [pay(2, 4_000), pay(1, 5_000)])
        witnesses = witnesses_for(
            [coin],
            unsigned,
            {coin.lock: policy},
            params=PARAMS,
            signer=quick_sign,
        )
        payments.append(Transaction(unsigned, witnesses))
    return chain, blocks, chain.mine(blocks[-1], payments)


async def connected(count: int) -> Turns:
    _, blocks, full = crowd(count)
    raw = full.encoded
    async with running(MemoryDatabase(TABLES), PARAMS) as chain:
        await feed(chain, blocks)
        chain.tip_listeners.clear()  # the model that tests hold a chain against is no part of the node
        block = decode_block(raw)
        async with counting_turns() as turns:
            await feed(chain, [block])
        assert chain.tip.hash == full.hash
        return turns


async def test_a_block_is_connected_in_slices() -> None:
    few, many = await connected(FEW), await connected(MANY)
    assert many.came_in_slices(few)


def test_a_block_of_a_peer_is_read_in_slices() -> None:
    async def came(count: int) -> Turns:
        _, blocks, full = crowd(count)
        world = World(params=PARAMS)
        async with world.node() as node:
            await node.feed(blocks)
            peer = FakePeer(world)
            peer.serve_headers([*blocks, full])
            peer.serve_blocks({full.hash: Block(full.header, full.transactions[:-1]).encoded})
            async with counting_turns() as turns:
                await dial(world, node, peer)
                await until(lambda: peer.closed is not None)
            assert "not its header's" in node.logged("peer_disconnected")[-1]["reason"]
            return turns

    few, many = run_virtual(partial(came, FEW)), run_virtual(partial(came, MANY))
    assert many.came_in_slices(few)


def test_what_is_wrong_anywhere_in_a_large_block_is_found() -> None:
    count = READ_AT_ONCE + SLICE
    full = crowd(count)[2]
    raw = full.encoded
    tail = b"\x90"  # an empty array
    longer = raw.replace(b"\xdc" + (count + 1).to_bytes(2, "big"), b"\xdd" + (count + 1).to_bytes(4, "big"), 1)
    first, last = full.transactions[1].encoded, full.transactions[-1].encoded
    for bad in (
        raw[:-1],
        raw + tail,
        longer,
        raw.replace(b"\xc4\x50", b"\xc4\x4f", 1),
        raw.replace(first, b"\x93" + first[1:] + tail),
        raw.replace(last, b"\x93" + last[1:] + tail),
        raw.replace(last, b"\xdc\x00\x02" + last[1:]),
    ):
        assert bad != raw
        with pytest.raises(ConsensusError) as refused:
            decode_block(bad)
        assert refused.value.rule is Rule.MALFORMED
    assert decode_block(raw) == full


@pytest.mark.parametrize("count", [1, 2, HASHED_AT_ONCE, HASHED_AT_ONCE + 1, 2 * HASHED_AT_ONCE + 1, 9_001])
def test_a_root_that_is_worked_out_in_slices_is_the_root(count: int) -> None:
    leaves = [n.to_bytes(32, "big") for n in range(count)]
    assert whole(merkle_root_in_slices(leaves)) == merkle_root(leaves)


# The mempool


async def followed(count: int) -> tuple[Turns, Turns]:
    """What the mempool does when so many that wait are mined, and when the block that holds them is left."""
    chain, blocks, full = crowd(count)
    async with running(MemoryDatabase(TABLES), PARAMS) as manager:
        await feed(manager, blocks)
        manager.tip_listeners.clear()
        mempool = Mempool(PARAMS, manager, ManualClock(), InlineWorkers(), silent_log())
        for tx in full.transactions[1:]:
            await mempool.accept_transaction(tx)
        await feed(manager, [full])
        change = TipChanged((), (full,), chain.state(blocks[-1]), manager.tip, len(blocks))
        async with counting_turns() as mined:
            await in_turns(mempool.follow_in_slices(change))
        assert len(mempool) == 0
        entry = manager.index.get(full.hash)
        assert entry is not None
        await manager.set_aside(entry)
        change = TipChanged((full,), (), chain.state(full), manager.tip, len(blocks))
        async with counting_turns() as left:
            await in_turns(mempool.follow_in_slices(change))
        assert len(mempool) == count
        mempool.check_invariants()
        return mined, left


async def test_the_mempool_follows_in_slices() -> None:
    (few_mined, few_left), (many_mined, many_left) = await followed(FEW), await followed(MANY)
    assert many_mined.came_in_slices(few_mined)
    assert many_left.came_in_slices(few_left)


async def test_nobody_is_answered_from_a_mempool_that_is_half_way_through_a_block() -> None:
    """No template, no arrival, and no twin of what is just being confirmed gets in between two slices."""
    _, blocks, full = crowd(3 * SLICE)
    async with running(MemoryDatabase(TABLES), PARAMS) as manager:
        await feed(manager, blocks)
        mempool = Mempool(PARAMS, manager, ManualClock(), InlineWorkers(), silent_log())
        manager.tip_listeners.append(mempool.follow_in_slices)  # type: ignore[arg-type]
        first, *others = full.transactions[1:]
        for tx in others:
            await mempool.accept_transaction(tx)
        templates = BlockTemplates(PARAMS, manager, mempool, ManualClock())
        seen: list[tuple[bool, int]] = []

        async def look() -> None:
            while True:
                seen.append((mempool.is_at_rest, len(mempool)))
                if not mempool.is_at_rest:
                    with pytest.raises(RuntimeError, match="half way"):
                        templates.create(lock(1))
                    with pytest.raises(RuntimeError, match="half way"):
                        mempool.check(first)
                await asyncio.sleep(0)

        async def arrive() -> None:
            """Hand in what is just being mined, over and over."""
            while manager.tip.hash != full.hash or not mempool.is_at_rest:
                with suppress(NotYet, PolicyError):
                    await mempool.accept_transaction(first)
                await asyncio.sleep(0)

        async def mine() -> None:
            while manager.tip.hash != full.hash:
                await templates.ready()
                held = templates.create(lock(1)).entries
                assert len(held) in {len(others), len(others) + 1}
                await asyncio.sleep(0)
            await templates.ready()
            assert templates.create(lock(1)).entries == ()

        looking = asyncio.create_task(look())
        others_at_work = [asyncio.create_task(arrive()), asyncio.create_task(mine())]
        await feed(manager, [full])
        await asyncio.gather(*others_at_work)
        looking.cancel()
        await asyncio.wait([looking])
        half_way = [size for rests, size in seen if not rests]
        assert len(half_way) > 2
        assert {size for rests, size in seen if rests} <= {len(others), len(others) + 1, 0}
        assert any(0 < size < len(others) for size in half_way)
        assert len(mempool) == 0
        mempool.check_invariants()
    assert looking.cancelled()


# The disk


async def test_a_large_write_is_made_in_slices_and_shown_at_once(tmp_path: Path) -> None:
    count = 5 * CHANGES_AT_ONCE
    changes = [Change("coins", n.to_bytes(4, "big"), b"new") for n in range(count)]
    database = LmdbDatabase(tmp_path / "db", ["coins"], version=1, identity=b"x")
    await database.commit([change._replace(value=b"old") for change in changes])
    shown: list[set[bytes | None]] = []

    async def look() -> None:
        while True:
            shown.append(set(database.get_many("coins", [change.key for change in changes[::97]])))
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    await asyncio.sleep(0)
    await database.commit(changes)
    await asyncio.sleep(0)
    looking.cancel()
    await asyncio.wait([looking])
    assert len(shown) >= 5
    assert all(each in ({b"old"}, {b"new"}) for each in shown)
    assert shown[-1] == {b"new"}
    database.close()


async def test_a_large_write_whose_caller_goes_away_is_made_whole(tmp_path: Path) -> None:
    changes = [Change("coins", n.to_bytes(4, "big"), b"new") for n in range(5 * CHANGES_AT_ONCE)]
    database = LmdbDatabase(tmp_path / "db", ["coins"], version=1, identity=b"x")
    writing = asyncio.create_task(database.commit(changes))
    for _ in range(3):
        await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])
    assert writing.cancelled()
    assert sum(1 for _ in database.scan("coins")) == len(changes)
    await database.commit([Change("coins", b"more", b"1")])
    database.close()


def test_a_large_write_is_looked_through_in_slices() -> None:
    """Of changes of one record the last is written, however many there are."""

    def sealed(count: int) -> Turns:
        database = SealedDatabase(MemoryDatabase(["one", SUMS]), ["one"], "nothing")
        return counted(database._sealed(Change("one", b"key", b"value") for _ in range(count)))

    few, many = sealed(2 * GATHERED_AT_ONCE), sealed(8 * GATHERED_AT_ONCE)
    assert many.came_in_slices(few)


# Answers


async def answered(count: int) -> list[Turns]:
    """What it takes to make the long answers of a node on which so many wait, or are in a block."""
    _, blocks, full = crowd(count)
    async with running(MemoryDatabase(TABLES), PARAMS) as manager:
        manager.tip_listeners.clear()
        await feed(manager, blocks)
        mempool = Mempool(PARAMS, manager, ManualClock(), InlineWorkers(), silent_log())
        for tx in full.transactions[1:]:
            await mempool.accept_transaction(tx)
        template = template_view(BlockTemplates(PARAMS, manager, mempool, ManualClock()).create(lock(1)))
        await feed(manager, [full])
        entry = manager.index.get(full.hash)
        assert entry is not None
        shown = views.block(
            manager, entry, full, array(views.block_transactions(PARAMS, manager._store, entry, full.transactions))
        )
        return [counted(encode_in_pieces(template)), counted(encode_in_pieces(shown))]


async def test_long_answers_come_in_pieces() -> None:
    for few, many in zip(await answered(FEW), await answered(MANY), strict=True):
        assert many.came_in_slices(few)


# The wallet


def wallet_followed(count: int) -> tuple[Turns, Turns]:
    """What a wallet does about a block whose every output is its own, and when that block is left."""
    wallet = new_wallet()
    to = Output(Amount(90_000), lock_of(wallet.new_address()), None)
    gifts = [Transaction(core([OutPoint(TxId(n.to_bytes(32, "big")), 0)], [to, to]), ()) for n in range(1, count + 1)]
    nobody = Transaction(core([OutPoint(TxId(bytes(32)), 1)], []), ())
    block = Block(Header(1, wallet.cursor.hash, bytes(32), 1_800_000_000, 0x207FFFFF, 0), (nobody, *gifts))
    applied = counted(wallet.updates_in_slices([], [block]))
    assert wallet.balances().confirmed == 2 * 90_000 * count
    reverted = counted(wallet.updates_in_slices([block], []))
    assert wallet.balances().confirmed == 0
    assert wallet.balances().pending == 2 * 90_000 * count
    return applied, reverted


def test_a_wallet_follows_in_slices() -> None:
    (few_applied, few_reverted), (many_applied, many_reverted) = wallet_followed(FEW), wallet_followed(MANY)
    assert many_applied.came_in_slices(few_applied)
    assert many_reverted.came_in_slices(few_reverted)


def offered(count: int) -> Turns:
    """What it takes to list so many payments that wait to be offered again, each on top of one before it."""
    wallet = new_wallet()
    to = Output(Amount(90_000), lock_of(wallet.new_address()), None)
    first = Transaction(core([OutPoint(TxId(bytes(32)), 1)], [to] * (count // 2)), ())
    header = Header(1, wallet.cursor.hash, bytes(32), 1_800_000_000, 0x207FFFFF, 0)
    wallet.handle_updates([], [Block(header, (first,))])
    nobody = Transaction(core([OutPoint(TxId(bytes(32)), 2)], []), ())
    made = []
    for index in range(count // 2):
        parent = Transaction(core([OutPoint(first.txid, index)], [to]), ())
        made += [parent, Transaction(core([OutPoint(parent.txid, 0)], [to]), ())]
    block = Block(Header(1, wallet.cursor.hash, bytes(32), 1_800_000_001, 0x207FFFFF, 0), (nobody, *made))
    wallet.handle_updates([], [block])
    wallet.handle_updates([block], [])
    turns = counted(wallet.rebroadcast_in_slices())
    assert wallet.rebroadcast() == made
    return turns


def test_a_wallet_lists_what_waits_in_slices() -> None:
    assert offered(MANY).came_in_slices(offered(FEW))
