"""Blocks that travel as their outlines: put together from the mempool, completed by the sender, never just trusted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from consensus.codec import decode_transaction
from consensus.merkle import merkle_root
from consensus.params import REGTEST
from consensus.types import Block, Header, OutPoint, Transaction
from node.gossip_limits import DRAFTS_PER_PEER, SECOND_SOURCE_SECONDS
from node.outlines import BadOutlineError, Outlines
from p2p.limits import MAX_OUTLINE_COINBASE, OUTLINE_VERSION
from p2p.messages import BlockMessage, BlockTransactions, GetBlockTransactions, GetData, Headers, Message, Outline
from simnet.loop import run_virtual
from tests.support.chain import ChainBuilder
from tests.support.nodes import FakePeer, RunningNode, World, converged, dial, until
from tests.support.rules import coinbase, find_nonce, pay

PARAMS = replace(REGTEST, coinbase_maturity=5)
FEE = 10_000


class Scene:
    """A chain, payments that wait, and a block that holds them."""

    def __init__(self, payments: int = 4) -> None:
        self.chain = ChainBuilder(PARAMS)
        self.base = self.chain.mine_chain(None, 6 + payments)
        self.txs = [self._payment(coin) for coin in self.chain.mature(self.base[-1])[:payments]]
        self.block = self.chain.mine(self.base[-1], self.txs, to=3)

    def _payment(self, coin: OutPoint) -> Transaction:
        value = self.chain.coins(self.base[-1])[coin].output.value
        return self.chain.spend(self.base[-1], [coin], [pay(2, value - FEE)])

    @property
    def outline(self) -> Outline:
        return outline(self.block)

    async def feed(self, *nodes: RunningNode, txs: Sequence[Transaction] = ()) -> None:
        for node in nodes:
            await node.feed(self.base)
            for tx in txs:
                await node.mempool.accept_transaction(tx)


def outline(block: Block) -> Outline:
    made = Outlines.outline_of(block)
    assert made is not None
    return made


def modern(world: World, **more: int) -> FakePeer:
    return FakePeer(world, version=OUTLINE_VERSION, **more)


def parts(block: Block, asked: GetBlockTransactions) -> BlockTransactions:
    return BlockTransactions(asked.block, tuple(block.transactions[place + 1].encoded for place in asked.places))


# --- whole nodes ---------------------------------------------------------------------------------------------------


def test_a_block_of_known_payments_crosses_a_line_without_a_body() -> None:
    """No node asks for anything, and each passes it on before it has connected it."""
    scene = Scene()

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as a, world.node([a.address]) as b, world.node([b.address]) as c:
            await until(lambda: (a.peers, b.peers, c.peers) == (1, 2, 1))
            await scene.feed(a, b, c, txs=scene.txs)
            served = [node.node.serving.blocks_served for node in (a, b, c)]
            await a.node.submit_block(scene.block)
            await until(lambda: c.chain.tip.hash == scene.block.hash)
            assert [node.node.serving.blocks_served for node in (a, b, c)] == served

    run_virtual(story)


def test_only_what_is_missing_is_asked_for() -> None:
    scene = Scene()

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node:
            await scene.feed(node, txs=scene.txs[:1] + scene.txs[3:])
            peer = modern(world)

            def answer(message: Message) -> None:
                if isinstance(message, GetBlockTransactions):
                    peer.send(parts(scene.block, message))

            peer.answers.append(answer)
            await dial(world, node, peer)
            peer.send(scene.outline)
            await until(lambda: node.chain.tip.hash == scene.block.hash)
            assert peer.got(GetBlockTransactions) == [GetBlockTransactions(scene.block.hash, (1, 2))]
            assert not peer.got(GetData)

    run_virtual(story)


def test_a_node_tells_of_a_block_while_it_is_still_connecting_it() -> None:
    """And gives what is missing of it, though it is not stored yet."""
    scene = Scene()

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node:
            await scene.feed(node, txs=scene.txs)
            sender, listener, old = modern(world), modern(world, nonce=78), FakePeer(world, nonce=79)
            for peer, host in ((sender, "10.9.9.1"), (listener, "10.9.9.2"), (old, "10.9.9.3")):
                await dial(world, node, peer, host)
            async with node.chain.standing_still():
                sender.send(scene.outline)
                await until(lambda: listener.got(Outline) == [scene.outline])
                listener.send(GetBlockTransactions(scene.block.hash, (0, 2)))
                await until(lambda: bool(listener.got(BlockTransactions)))
                assert node.height == len(scene.base)
            (given,) = listener.got(BlockTransactions)
            assert [decode_transaction(raw) for raw in given.transactions] == [scene.txs[0], scene.txs[2]]
            await until(lambda: node.chain.tip.hash == scene.block.hash)
            await until(lambda: bool(old.got(Headers)))
            assert listener.got(Outline) == [scene.outline]  # and not once more
            assert not sender.got(Outline)
            assert not old.got(Outline)

    run_virtual(story)


def test_an_outline_that_is_not_its_headers_condemns_the_sender_alone() -> None:
    """A021, A097, A100: transactions swapped, left out, doubled, another coinbase; the honest one is taken after."""
    scene = Scene()
    good = scene.outline
    first, second, *rest = good.wtxids
    other = coinbase(scene.chain.state(scene.block).height, [pay(9, 1)], b"of somebody else entirely, it seems")
    forged = [
        (second, first, *rest),
        (first, *rest),
        (first, first, second, *rest),
        (),
    ]
    bad = [Outline(good.header, good.coinbase, wtxids) for wtxids in forged]
    bad += [Outline(good.header, other.encoded, good.wtxids), Outline(good.header, b"\xc1", good.wtxids)]

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node:
            await scene.feed(node, txs=scene.txs)
            for number, message in enumerate(bad):
                peer = modern(world, nonce=100 + number)
                await dial(world, node, peer, f"10.9.{number}.1")
                peer.send(message)
                await until(lambda peer=peer: peer.closed is not None)  # type: ignore[misc]
            assert node.height == len(scene.base)
            honest = modern(world, nonce=99)
            await dial(world, node, honest, "10.8.8.8")
            honest.send(good)
            await until(lambda: node.chain.tip.hash == scene.block.hash)

    run_virtual(story)


@pytest.mark.parametrize("answer", ["another", "too few", "no transaction"])
def test_an_answer_that_is_not_what_was_asked_for_costs_the_sender_its_place(answer: str) -> None:
    """A097, A100: the block is then fetched whole from whoever else has it."""
    scene = Scene()
    wrong = {
        "another": (scene.txs[0].encoded, scene.txs[1].encoded),
        "too few": (scene.txs[2].encoded,),
        "no transaction": (b"\xc1", b"\xc1"),
    }[answer]

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node:
            await scene.feed(node, txs=scene.txs[:2])
            liar, honest = modern(world), modern(world, nonce=78)
            await dial(world, node, liar, "10.9.9.1")
            await dial(world, node, honest, "10.9.9.2")
            honest.serve_blocks({scene.block.hash: scene.block.encoded})
            liar.send(scene.outline)
            await until(lambda: bool(liar.got(GetBlockTransactions)))
            honest.send(Headers((scene.block.header.encoded,)))
            liar.send(BlockTransactions(scene.block.hash, wrong))
            await until(lambda: liar.closed is not None)
            await until(lambda: node.chain.tip.hash == scene.block.hash)
            assert honest.closed is None

    run_virtual(story)


@pytest.mark.parametrize("silent", [True, False])
def test_a_block_that_is_never_completed_is_asked_of_another(*, silent: bool) -> None:
    """A094, A100: a sender that does not answer, or says that it has nothing, delays a block by seconds at most."""
    scene = Scene()

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node:
            await scene.feed(node)
            slow, honest = modern(world), modern(world, nonce=78)
            if not silent:
                slow.answers.append(
                    lambda m: slow.send(BlockTransactions(m.block, ())) if isinstance(m, GetBlockTransactions) else None
                )
            await dial(world, node, slow, "10.9.9.1")
            await dial(world, node, honest, "10.9.9.2")
            honest.serve_blocks({scene.block.hash: scene.block.encoded})
            honest.answers.append(
                lambda m: honest.send(parts(scene.block, m)) if isinstance(m, GetBlockTransactions) else None
            )
            slow.send(scene.outline)
            await until(lambda: bool(slow.got(GetBlockTransactions)))
            honest.send(scene.outline)
            took = await until(lambda: node.chain.tip.hash == scene.block.hash)
            assert took < 3 * SECOND_SOURCE_SECONDS
            assert slow.closed is None

    run_virtual(story)


def test_nobody_is_blamed_for_the_outline_of_an_invalid_block() -> None:
    """A098: its work is real and its list is true; a body in full is another matter."""
    scene = Scene()
    tip = scene.base[-1]
    greedy = scene.chain.mine(tip, reward=51 * 10**8, valid=False)

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node, world.node([node.address]) as neighbour:
            await until(lambda: node.peers == 1)
            await scene.feed(node, neighbour)
            peer = modern(world)
            await dial(world, node, peer)
            peer.send(outline(greedy))
            entry = node.chain.index.get
            await until(lambda: (e := entry(greedy.hash)) is not None and e.invalid)
            seen = neighbour.chain.index.get
            await until(lambda: (e := seen(greedy.hash)) is not None and e.invalid)
            assert peer.closed is None
            assert (node.peers, neighbour.peers) == (2, 1)
            assert node.height == neighbour.height == len(scene.base)
            peer.send(BlockMessage(scene.block.encoded))
            await node.feed([scene.block])
            await converged([node, neighbour])

    run_virtual(story)


def test_an_outline_of_little_work_or_of_no_known_parent_is_no_block() -> None:
    """A099: it goes by its header, as an announcement does; nothing is put together."""
    scene = Scene()
    orphan = scene.chain.mine(scene.block)
    tampered = find_nonce(replace_root(orphan.header))

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node:
            await scene.feed(node)
            peer = modern(world)
            await dial(world, node, peer)
            peer.send(Outline(tampered.encoded, orphan.transactions[0].encoded, ()))
            await until(lambda: len(peer.received) > 1)
            assert node.chain.index.get(tampered.hash) is None
            assert not peer.got(GetBlockTransactions)
            assert peer.closed is None

    run_virtual(story)


def replace_root(header: Header) -> Header:
    return Header(header.version, header.previous, bytes(32), header.time, header.bits, 0)


# --- the parts -----------------------------------------------------------------------------------------------------


def outlines(*known: Transaction, stored: Sequence[Block] = ()) -> Outlines:
    mempool = {tx.wtxid: tx for tx in known}
    blocks = {block.hash: block for block in stored}
    return Outlines(blocks.get, mempool.get)


@pytest.mark.parametrize("places", [(1, 0), (0, 0), (2, 2, 3), (0, 4), (1799,)])
def test_a_part_that_cannot_be_given_is_answered_by_none(places: tuple[int, ...]) -> None:
    """A091, A100: out of range, out of order, one thing many times; of a block that is not here."""
    scene = Scene()
    serving = outlines(stored=[scene.block])
    assert serving.answer(GetBlockTransactions(scene.block.hash, places)).transactions == ()
    assert serving.answer(GetBlockTransactions(bytes(32), (0,))).transactions == ()
    every = serving.answer(GetBlockTransactions(scene.block.hash, (0, 1, 2, 3)))
    assert every.transactions == tuple(tx.encoded for tx in scene.txs)


def test_a_coinbase_that_is_too_large_has_no_outline() -> None:
    scene = Scene(1)
    for count, fits in ((49, True), (60, False)):
        reward = coinbase(scene.chain.state(scene.block).height, [pay(1, 1)] * count)
        block = Block(scene.block.header, (reward, *scene.txs))
        assert (len(reward.encoded) <= MAX_OUTLINE_COINBASE) is fits
        assert (Outlines.outline_of(block) is not None) is fits


def test_drafts_of_a_peer_are_bounded_and_go_with_it() -> None:
    """A100: the oldest is given up for the newest; what comes without having been asked for is nothing."""
    scene = Scene(1)
    parent = scene.base[-1]
    made = outlines()
    found = []
    for number in range(DRAFTS_PER_PEER + 1):
        block = scene.chain.mine(parent, scene.txs, to=number + 4)
        asked = made.begin(1, entry_of(block), outline(block))
        assert isinstance(asked, GetBlockTransactions)
        found.append((block, asked))
    oldest, newest = found[0], found[-1]
    assert made.complete(1, parts(*oldest)) is None
    assert made.complete(2, parts(*newest)) is None
    assert made.complete(1, parts(*newest)) == newest[0]
    assert made.complete(1, parts(*newest)) is None
    made.forget_peer(1)
    assert made.complete(1, parts(*found[1])) is None


class _Entry:
    def __init__(self, block: Block) -> None:
        self.hash = block.hash


def entry_of(block: Block):  # type: ignore[no-untyped-def] # noqa: ANN201
    return _Entry(block)


def test_a_list_is_proven_before_any_transaction_is_looked_for() -> None:
    scene = Scene()
    looked: list[bytes] = []
    made = Outlines(lambda _hash: None, looked.append)
    assert merkle_root([tx.wtxid for tx in scene.block.transactions]) == scene.block.header.merkle_root
    with pytest.raises(BadOutlineError):
        made.begin(1, entry_of(scene.block), Outline(scene.block.header.encoded, scene.txs[0].encoded, ()))
    assert not looked
