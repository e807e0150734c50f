"""Whole nodes on a network in memory: they find the chain with the most work, whatever single peers do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from consensus.errors import Rule
from consensus.params import REGTEST, sim_params
from consensus.types import Block, Transaction, Witness
from node import header_chain, header_sync, serving
from node.gossip_limits import BODY_STALL_SECONDS, SECOND_SOURCE_SECONDS
from node.presync import Presync
from node.skewed_clock import SkewedClock
from node.storage.files import MemoryFiles
from node.storage.schema import BODIES, block_key, body_record
from p2p.messages import BlockMessage, GetData, GetHeaders, Headers, Item, ItemKind, NotFound
from simnet.loop import LoopClock, run_virtual
from tests.support.chain import ChainBuilder, ManualClock, running
from tests.support.nodes import (
    FakePeer,
    RunningNode,
    World,
    converged,
    dial,
    honest,
    light_headers,
    new_chain,
    until,
)
from tests.support.rules import build
from tests.support.stage import Stage


def announce(peer: FakePeer, *blocks: Block) -> None:
    peer.send(Headers(tuple(block.header.encoded for block in blocks)))


def asked_for(peer: FakePeer) -> list[bytes]:
    return [item.hash for message in peer.got(GetData) for item in message.items if item.kind is ItemKind.BLOCK]


# --- in good weather ----------------------------------------------------------------------------------------------


def test_a_new_node_takes_three_hundred_blocks_from_its_peer() -> None:
    _, blocks = new_chain(300)

    async def story() -> None:
        world = World()
        async with world.node() as old:
            await old.feed(blocks)
            async with world.node([old.address]) as new:
                await converged([old, new])
                assert new.height == 300

    run_virtual(story)


def test_bodies_come_from_all_peers_in_parallel() -> None:
    _, blocks = new_chain(600)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            peers = [await dial(world, node, honest(world, blocks, nonce=n)) for n in range(1, 5)]
            await until(lambda: node.height == 600)
            counts = [len(asked_for(peer)) for peer in peers]
            assert sum(counts) == 600
            assert min(counts) >= 64

    run_virtual(story)


def test_five_nodes_in_a_line_hear_of_a_block_at_once() -> None:
    _, blocks = new_chain(3)

    async def story() -> None:
        world = World()
        async with (
            world.node() as a,
            world.node([a.address]) as b,
            world.node([b.address]) as c,
            world.node([c.address]) as d,
            world.node([d.address]) as e,
        ):
            nodes = [a, b, c, d, e]
            await until(lambda: [node.peers for node in nodes] == [1, 2, 2, 2, 1])
            await a.feed(blocks)
            # Four hops, each a header, a question and a body: twelve times 10 ms.
            assert await converged(nodes) < 0.3
            assert e.height == 3

    run_virtual(story)


def test_whoever_waits_for_a_new_tip_is_told_until_he_has_enough() -> None:
    _, blocks = new_chain(2)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            heard: list[int] = []
            end = node.node.on_tip_changed(lambda change: heard.append(change.new.height))
            await node.feed(blocks[:1])
            end()
            await node.feed(blocks[1:])
            assert heard == [1]

    run_virtual(story)


# --- forks --------------------------------------------------------------------------------------------------------


async def split(left: Sequence[RunningNode], right: Sequence[RunningNode]) -> None:
    for node in left:
        node.node.set_partition([other.address for other in right])
    for node in right:
        node.node.set_partition([other.address for other in left])
    await until(lambda: all(node.peers == len(left) - 1 for node in left))


def heal(*nodes: RunningNode) -> None:
    for node in nodes:
        node.node.set_partition([])


def test_halves_of_a_partition_agree_within_a_second_of_healing() -> None:
    """A120"""
    #   genesis ── 10 ── a1 ── a2            left half, while apart
    #                └── b1 ── b2 ── b3      right half: more work, so all end here
    chain, common = new_chain(10)
    lighter = chain.mine_chain(common[-1], 2, to=2)
    heavier = chain.mine_chain(common[-1], 3, to=3)

    async def story() -> None:
        world = World()
        async with (
            world.node() as a,
            world.node([a.address]) as b,
            world.node([a.address, b.address]) as c,
            world.node([a.address, b.address, c.address]) as d,
        ):
            nodes = [a, b, c, d]
            await until(lambda: all(node.peers == 3 for node in nodes))
            await a.feed(common)
            await converged(nodes)
            await split([a, b], [c, d])
            await a.feed(lighter)
            await c.feed(heavier)
            await until(lambda: [node.height for node in nodes] == [12, 12, 13, 13])
            await asyncio.sleep(30)
            assert [node.height for node in nodes] == [12, 12, 13, 13]
            heal(*nodes)
            assert await converged(nodes) < 1.0
            assert a.chain.tip.hash == heavier[-1].hash
            assert all(node.logged("reorg_done") for node in (a, b))
            assert not any(node.logged("reorg_done") for node in (c, d))
            await until(lambda: all(node.peers == 3 for node in nodes))

    run_virtual(story)


def test_a_node_that_heals_ten_seconds_before_the_others_is_back_soon_after_them() -> None:
    async def story() -> None:
        world = World()
        async with world.node() as a, world.node([a.address]) as b:
            await until(lambda: a.peers == b.peers == 1)
            await split([a], [b])
            heal(b)
            await asyncio.sleep(10)
            assert a.peers == b.peers == 0
            heal(a)
            assert await until(lambda: a.peers == b.peers == 1) < 1.0

    run_virtual(story)


def test_two_branches_of_equal_work_are_both_fetched_and_the_first_seen_stays() -> None:
    """A058"""
    chain, common = new_chain(3)
    first, second = chain.mine(common[-1], to=2), chain.mine(common[-1], to=3)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            await node.feed([*common, first])
            peer = await dial(world, node, honest(world, [*common, second]))
            announce(peer, second)
            await until(lambda: node.chain.read_block(second.hash) is not None)
            assert node.chain.tip.hash == first.hash
            assert node.logged("fork_seen")

    run_virtual(story)


def test_a_branch_that_parts_far_back_is_weighed_before_it_is_kept(short_messages: int) -> None:
    """A053: honest and long: nothing of it is stored until its work is known, then all of it."""
    # The second branch is longer than one message of headers, and its first message has too little work by itself.
    params = replace(REGTEST, coinbase_maturity=10)
    chain = ChainBuilder(params)
    ours, theirs = chain.mine_chain(None, 350), chain.mine_chain(None, 360, to=2)

    async def story() -> None:
        world = World(params=params)
        async with world.node() as node, world.node() as other:
            await node.feed(ours)
            await other.feed(theirs)
            before = len(node.chain.index)
            node.node.peer_manager.add_node(other.address)
            await until(lambda: node.peers == 1)
            assert len(node.chain.index) == before
            await converged([node, other])
            assert node.height == 360

    run_virtual(story)


def test_a_block_announced_while_a_long_branch_is_weighed_is_no_offence(short_messages: int) -> None:
    """A053, A102"""
    chain = ChainBuilder()
    ours, theirs = chain.mine_chain(None, 350), chain.mine_chain(None, 361, to=2)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            await node.feed(ours)
            peer = FakePeer(world)
            await dial(world, node, peer)
            for _ in range(8):
                await until(lambda: bool(peer.got(GetHeaders)))
                known = peer.got(GetHeaders)[-1].locator
                peer.received.clear()
                announce(peer, theirs[360])
                start = next((n + 1 for n, block in enumerate(theirs) if block.hash in known), 0)
                announce(peer, *theirs[start : start + short_messages])
            await until(lambda: node.chain.index.best_header.height == 361)
            assert peer.closed is None

    run_virtual(story)


def test_headers_whose_bodies_nobody_delivers_make_way_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A052, A056: the index is full of a branch that was made up; an honest chain still gets in."""
    chain = ChainBuilder()
    made_up, real = chain.mine_chain(None, 195, to=2), chain.mine_chain(None, 150)
    for module in (header_chain, header_sync):
        monkeypatch.setattr(module, "MAX_UNBACKED_HEADERS", 200)
    for module in (header_sync, serving):
        monkeypatch.setattr(module, "MAX_HEADERS", 100)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            liar = FakePeer(world, nonce=1)
            liar.serve_headers(made_up)
            await dial(world, node, liar)
            announce(liar, *made_up)
            await until(lambda: len(node.chain.index) == 196)
            async with world.node() as honest_node:
                await honest_node.feed(real)
                node.node.peer_manager.add_node(honest_node.address)
                await until(lambda: node.height == 150, within=200)

    run_virtual(story)


def test_the_same_seed_replays_the_same_history() -> None:
    """Everything that happens follows from clock, randomness and network: no set, no address in memory decides."""
    _, blocks = new_chain(60)
    histories: list[list[list[object]]] = []

    async def story() -> None:
        world = World(seed=5)
        async with (
            world.node() as a,
            world.node([a.address]) as b,
            world.node([a.address, b.address]) as c,
        ):
            await a.feed(blocks)
            await converged([a, b, c])
            await split([a], [b, c])
            heal(a, b, c)
            await until(lambda: a.peers == 2)
            histories.append([[dict(entry) | {"took_ms": 0} for entry in node.entries] for node in (a, b, c)])

    run_virtual(story)
    run_virtual(story)
    assert histories[0] == histories[1]


# --- headers that are worth nothing -------------------------------------------------------------------------------

HARD = sim_params(spacing=60, start_bits=0x2000FFFF, limit_bits=0x207FFFFF)
"""Honest blocks here have 128 times the least work."""


@pytest.fixture
def short_messages(monkeypatch: pytest.MonkeyPatch) -> int:
    """As many headers fit into a message: so that a long branch need not be very long."""
    for module in (header_sync, serving):
        monkeypatch.setattr(module, "MAX_HEADERS", 100)
    return 100


def hard_chain() -> tuple[ChainBuilder, list[Block]]:
    chain = ChainBuilder(HARD)
    blocks: list[Block] = []
    for _ in range(200):
        parent = blocks[-1] if blocks else None
        time = HARD.genesis.header.time + 60 * (len(blocks) + 1)
        blocks.append(chain.mine(parent, time=time))
    return chain, blocks


def test_a_flood_of_light_headers_is_weighed_and_not_kept(short_messages: int) -> None:
    """A052: from genesis, and at our own asking; memory holds one state and an id for each message."""
    chain, blocks = hard_chain()
    light = light_headers(HARD, chain.state(None), 650, step=3_000)

    async def story() -> None:
        world = World(params=HARD)
        async with world.node() as node:
            await node.feed(blocks)
            before = len(node.chain.index)
            liar = FakePeer(world)

            def answer(message: object) -> None:
                if isinstance(message, GetHeaders):
                    hashes: list[bytes] = [header.hash for header in light]
                    start = next((hashes.index(h) + 1 for h in message.locator if h in hashes), 0)
                    liar.send(Headers(tuple(header.encoded for header in light[start : start + short_messages])))

            liar.answers.append(answer)
            await dial(world, node, liar)
            await until(lambda: bool(node.logged("branch_too_light")))
            assert len(liar.got(GetHeaders)) == 7
            assert len(node.chain.index) == before
            assert node.height == 200

    run_virtual(story)


def test_what_is_remembered_of_a_long_branch_is_one_id_for_each_message() -> None:
    """A052"""
    chain = ChainBuilder(HARD)
    light = light_headers(HARD, chain.state(None), 600, step=3_000)
    presync = Presync(HARD, chain.state(None))
    for start in range(0, 600, 200):
        presync.count(light[start : start + 200], 1 << 200, None, full=True)
    assert presync.counted == 600
    assert len(presync._ends) == 3


def test_light_one_header_forks_are_not_kept() -> None:
    """A053"""
    chain, blocks = hard_chain()
    forks = [light_headers(HARD, chain.state(blocks[height]), 1, step=100_000)[0] for height in range(40)]

    async def story() -> None:
        world = World(params=HARD)
        async with world.node() as node:
            await node.feed(blocks)
            before = len(node.chain.index)
            peer = await dial(world, node)
            for header in forks:
                peer.send(Headers((header.encoded,)))
            await asyncio.sleep(1)
            assert len(node.chain.index) == before
            assert peer.closed is None  # it may be an honest node on a poor branch

    run_virtual(story)


def test_headers_that_never_connect_end_the_connection() -> None:
    """A054"""
    _, blocks = new_chain(30)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            peer = await dial(world, node)
            for block in blocks[1:11]:
                announce(peer, block)
            await asyncio.sleep(1)
            assert peer.closed is None
            assert len(peer.got(GetHeaders)) == 11  # a question for each, and the first
            announce(peer, blocks[20])
            await until(lambda: peer.closed is not None)
            assert node.logged("peer_disconnected")[-1]["reason"] == "headers that do not connect"
            assert len(node.chain.index) == 1

    run_virtual(story)


def test_headers_that_are_no_chain_or_break_a_rule_end_the_connection() -> None:
    """A090"""
    _, blocks = new_chain(3)
    wrong = replace(blocks[0].header, bits=0x1D00FFFF)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            for headers in ((blocks[0].header, blocks[2].header), (wrong,)):
                peer = await dial(world, node)
                peer.send(Headers(tuple(header.encoded for header in headers)))
                await until(lambda peer=peer: peer.closed is not None)  # type: ignore[misc]

    run_virtual(story)


def test_blocks_with_unknown_parents_are_neither_kept_nor_checked() -> None:
    """A055"""
    _, blocks = new_chain(40)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            peer = await dial(world, node)
            writes = node.disk.writes
            for block in blocks[5:]:
                peer.send(BlockMessage(block.encoded))
            await asyncio.sleep(1)
            assert node.disk.writes == writes
            assert len(node.chain.index) == 1
            assert node.node.sync.blocks_on_their_way == 0

    run_virtual(story)


def test_unrequested_blocks_of_light_branches_are_not_stored() -> None:
    """A099"""
    chain, blocks = new_chain(200)
    old = chain.mine(blocks[3], to=9)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            await node.feed(blocks)
            peer = await dial(world, node)
            peer.send(BlockMessage(old.encoded))
            await asyncio.sleep(1)
            assert node.chain.index.get(old.hash) is None

    run_virtual(story)


def test_a_header_ahead_of_our_clock_is_asked_for_again_when_it_is_due() -> None:
    """A049"""
    chain = ChainBuilder(HARD)
    now = 1_800_000_000
    first = chain.mine(None, time=now)
    early = chain.mine(first, time=now + HARD.max_future_seconds + 30)  # type: ignore[operator]
    child = chain.mine(early, time=early.header.time + 1)

    async def story() -> None:
        world = World(params=HARD)
        async with world.node() as node:
            peer = await dial(world, node, honest(world, [first, early, child]))
            await asyncio.sleep(20)
            assert node.height == 1
            assert peer.closed is None
            await until(lambda: node.height == 3, within=40)

    run_virtual(story)


# --- bodies that do not come, or are bad --------------------------------------------------------------------------


@pytest.mark.parametrize("liars", [1, 6])
def test_a_withheld_body_is_asked_of_somebody_else(liars: int) -> None:
    """A056, A094: all liars announce first; the tip stands still for some seconds for each of them."""
    _, blocks = new_chain(30)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            for number in range(liars):
                liar = FakePeer(world, nonce=number)
                liar.serve_headers(blocks)
                await dial(world, node, liar)
            await until(lambda: node.node.sync.blocks_on_their_way >= 16)
            await dial(world, node, honest(world, blocks, nonce=99))
            took = await until(lambda: node.height == 30, within=64)
            assert took < (SECOND_SOURCE_SECONDS + 1) * liars + 1

    run_virtual(story)


def test_a_peer_that_owes_blocks_and_delivers_none_is_dropped() -> None:
    _, blocks = new_chain(3)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            liar = FakePeer(world)
            liar.serve_headers(blocks)
            await dial(world, node, liar)
            took = await until(lambda: liar.closed is not None, within=100)
            assert BODY_STALL_SECONDS <= took < BODY_STALL_SECONDS + 2

    run_virtual(story)


def test_a_body_that_is_not_found_is_asked_of_somebody_else_at_once() -> None:
    _, blocks = new_chain(3)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            poor = FakePeer(world)
            poor.serve_headers(blocks)
            poor.answers.append(lambda m: poor.send(NotFound(m.items)) if isinstance(m, GetData) else None)
            await dial(world, node, poor)
            await dial(world, node, honest(world, blocks, nonce=2))
            assert await until(lambda: node.height == 3) < SECOND_SOURCE_SECONDS
            assert len(asked_for(poor)) == 3

    run_virtual(story)


def mutated(block: Block) -> bytes:
    """The same header over other transactions: the coinbase twice."""
    return Block(block.header, (*block.transactions, *block.transactions)).encoded


def test_a_mutated_body_condemns_its_sender_and_nobody_else() -> None:
    """A097, A021: the header stays good, the other download goes on, the honest copy enters."""
    _, blocks = new_chain(1)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            liar = FakePeer(world, nonce=1)
            liar.serve_headers(blocks)
            liar.serve_blocks({blocks[0].hash: mutated(blocks[0])})
            await dial(world, node, liar, host="10.6.6.6")
            await until(lambda: liar.closed is not None)
            assert "not its header's" in node.logged("peer_disconnected")[-1]["reason"]
            entry = node.chain.index.get(blocks[0].hash)
            assert entry is not None
            assert not entry.invalid
            good = await dial(world, node, honest(world, blocks, nonce=2))
            await until(lambda: node.height == 1)
            assert good.closed is None

    run_virtual(story)


@pytest.mark.parametrize("tail", [b"", b"\x00"])
def test_who_sends_a_bad_body_and_leaves_at_once_is_discouraged(tail: bytes) -> None:
    """A097, A026: its body is read, and judged, when it has gone."""
    _, blocks = new_chain(1)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            liar = FakePeer(world, nonce=1)
            liar.serve_headers(blocks)
            await dial(world, node, liar, host="10.6.6.6")
            await until(lambda: len(asked_for(liar)) == 1)
            liar.send(BlockMessage(mutated(blocks[0]) + tail))
            liar.link.close()
            await until(lambda: not node.node.peers)
            await asyncio.sleep(1)
            await dial(world, node, FakePeer(world, nonce=2), host="10.6.6.6")
            assert [peer.discouraged for peer in node.node.peers] == [True]

    run_virtual(story)


def test_a_mutated_body_does_not_cancel_the_download_from_another_peer() -> None:
    """A097: both owe the block when the bad copy comes."""
    _, blocks = new_chain(1)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            slow, liar = FakePeer(world, nonce=1), FakePeer(world, nonce=2)
            for peer in (slow, liar):
                peer.serve_headers(blocks)
            await dial(world, node, slow)
            await until(lambda: len(asked_for(slow)) == 1)
            await dial(world, node, liar)
            await until(lambda: len(asked_for(liar)) == 1)
            liar.send(BlockMessage(mutated(blocks[0])))
            await until(lambda: liar.closed is not None)
            slow.send(BlockMessage(blocks[0].encoded))
            await until(lambda: node.height == 1)
            assert len(asked_for(slow)) == 1
            assert slow.closed is None

    run_virtual(story)


def test_bytes_that_are_no_block_end_the_connection() -> None:
    """A026, A027 on this road"""
    _, blocks = new_chain(1)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            for raw in (b"\x00" * 200, blocks[0].encoded + b"\x00"):
                peer = FakePeer(world)
                peer.serve_headers(blocks)
                await dial(world, node, peer)
                await until(lambda peer=peer: len(asked_for(peer)) == 1)  # type: ignore[misc]
                peer.send(BlockMessage(raw))
                await until(lambda peer=peer: peer.closed is not None)  # type: ignore[misc]
            assert node.height == 0

    run_virtual(story)


def test_an_invalid_block_is_charged_to_its_sender_and_its_children_are_refused_unseen() -> None:
    """A057, A098"""
    chain, common = new_chain(2)
    bad = chain.mine(common[-1], reward=10**12, valid=False)
    children = chain.mine_chain(bad, 5)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            sender = await dial(world, node, honest(world, [*common, bad], nonce=1), host="10.6.6.6")
            await until(lambda: sender.closed is not None)
            assert "invalid block" in node.logged("peer_disconnected")[-1]["reason"]
            await dial(world, node, honest(world, common, nonce=2))
            await until(lambda: node.height == 2)
            # Somebody with older rules who dials us goes on talking; we do not follow him.
            old = await dial(world, node, honest(world, [*common, bad, *children], nonce=3))
            announce(old, bad, *children)
            await asyncio.sleep(5)
            assert old.closed is None
            assert asked_for(old) == []
            assert all(node.chain.index.get(child.hash) is None for child in children)

    run_virtual(story)


def test_a_bad_signature_is_found_however_deep_it_is_buried() -> None:
    """A063: nothing is taken on trust for its age or its depth: there is no checkpoint and no block assumed valid."""
    stage = Stage()
    good = stage.spend("one key")
    forged = Transaction(good.core, (Witness(good.witnesses[0].policy, (bytes(31) + b"\x01" + bytes(31) + b"\x01",)),))
    chain = stage.chain
    bad = chain.add(
        build(chain.params, stage.tip, [stage.reward(), forged]),
        valid=False,
    )
    deep = [*stage.trunk, bad, *chain.mine_chain(bad, 400)]

    async def story() -> None:
        world = World(params=chain.params)
        async with world.node() as node:
            liar = await dial(world, node, honest(world, deep, nonce=1), host="10.6.6.6")
            await until(lambda: liar.closed is not None)
            assert node.chain.tip == stage.tip
            entry = node.chain.index.get(bad.hash)
            assert entry is not None
            refusal = node.chain.why_invalid(entry)
            assert refusal is not None
            assert refusal.rule is Rule.BAD_SIGNATURE
        # Nor does a reindex trust what was stored.
        for height, block in enumerate(deep[len(stage.trunk) :], len(stage.trunk) + 1):
            node.disk.write([(BODIES, block_key(height, block.hash), body_record(10_000 + height, block.encoded))])
        async with running(node.disk, chain.params, reindex=True) as manager:
            assert manager.tip == stage.tip

    run_virtual(story)


# --- answering ----------------------------------------------------------------------------------------------------


def test_one_block_asked_for_ten_thousand_times_is_read_once_and_waits_for_its_asker() -> None:
    """A091, A083"""
    _, blocks = new_chain(1)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            await node.feed(blocks)
            greedy = await dial(world, node)
            greedy.link.hold_reading()
            for _ in range(10):
                greedy.send(GetData((Item(ItemKind.BLOCK, blocks[0].hash),) * 1000))
            await asyncio.sleep(5)
            assert 0 < node.node.serving.blocks_served < 10_000
            assert len(node.node.serving._raw_blocks) == 1
            greedy.link.release_reading()
            await until(lambda: len(greedy.got(BlockMessage)) == 10_000, within=600)

    run_virtual(story)


def test_a_slow_reader_is_dropped_and_others_are_served_meanwhile() -> None:
    """A083"""
    _, blocks = new_chain(20)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            await node.feed(blocks)
            slow = await dial(world, node)
            slow.link.hold_reading()
            for _ in range(2):
                slow.send(GetData((Item(ItemKind.BLOCK, blocks[0].hash),) * 1000))
            await asyncio.sleep(1)
            async with world.node([node.address]) as quick:
                assert await converged([node, quick]) < 1.0
            await until(lambda: node.peers == 0, within=120)
            assert node.logged("peer_disconnected")[-1]["reason"] == "slow-reader"

    run_virtual(story)


def test_a_locator_of_unknown_blocks_is_answered_from_genesis() -> None:
    """A092"""
    _, blocks = new_chain(5)

    async def story() -> None:
        world = World()
        async with world.node() as node:
            await node.feed(blocks)
            peer = await dial(world, node)
            peer.send(GetHeaders(tuple(bytes([n]) * 32 for n in range(101)), bytes(32)))
            peer.send(GetHeaders((blocks[1].hash,), blocks[3].hash))
            await until(lambda: len(peer.got(Headers)) == 2)
            whole, part = peer.got(Headers)
            assert whole.headers == tuple(block.header.encoded for block in blocks)
            assert part.headers == tuple(block.header.encoded for block in blocks[2:4])

    run_virtual(story)


def test_what_is_not_here_is_said_not_to_be() -> None:
    async def story() -> None:
        world = World()
        async with world.node() as node:
            peer = await dial(world, node)
            items = (Item(ItemKind.BLOCK, b"\x01" * 32), Item(ItemKind.TX, b"\x02" * 32))
            peer.send(GetData(items))
            await until(lambda: bool(peer.got(NotFound)))
            assert peer.got(NotFound)[0].items == items

    run_virtual(story)


def test_a_clock_that_stands_still_does_not_keep_a_node_from_syncing() -> None:
    _, blocks = new_chain(5)

    async def story() -> None:
        world = World()
        async with world.node(clock=ManualClock()) as node:
            await dial(world, node, honest(world, blocks))
            await until(lambda: node.height == 5)

    run_virtual(story)


def test_a_clock_that_is_set_right_takes_at_once_what_came_too_early() -> None:
    """A191: the blocks after the first early one too, of which nobody tells again."""

    async def story() -> None:
        world = World(params=HARD)
        right = LoopClock(asyncio.get_running_loop())
        late = SkewedClock(right, MemoryFiles())
        late.set_skew(-3_600)
        chain = ChainBuilder(HARD)
        blocks: list[Block] = []
        for step in range(5):
            blocks.append(chain.mine(blocks[-1] if blocks else None, time=right.time() + step))
        async with world.node() as a, world.node([a.address], clock=late) as b:
            await until(lambda: b.peers == 1)
            await a.feed(blocks)
            await asyncio.sleep(30)
            assert (a.height, b.height) == (5, 0)
            late.set_skew(0)
            b.node.clock_was_set()
            assert await until(lambda: b.height == 5) < 2

    run_virtual(story)
