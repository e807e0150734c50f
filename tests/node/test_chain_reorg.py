"""Reorgs: of any depth, with payments that conflict, onto branches that turn out bad, over restarts."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from consensus.errors import Rule
from consensus.params import REGTEST
from consensus.types import Block, OutPoint
from node import reorg
from node.chain import ChainClosedError
from node.chain_events import BlockStatus, TipChanged
from node.chain_stats import coin_statistics
from node.storage.chain_store import ChainStore
from node.storage.errors import DamagedError
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import BODIES, TABLES, UNDO, block_key
from tests.support.chain import (
    ChainBuilder,
    chain_manager,
    feed,
    lines,
    recorder,
    reward_of,
    running,
    state_hash,
    stored_coins,
)
from tests.support.rules import lock, pay

PARAMS = replace(REGTEST, coinbase_maturity=2)
FEE = 1_000


def new_database() -> MemoryDatabase:
    return MemoryDatabase(TABLES)


def conflicting_branches(chain: ChainBuilder, depth: int) -> tuple[list[Block], list[Block], list[Block]]:
    """A trunk; then two branches whose payments spend the same coins to other keys, the second one block longer."""
    trunk = chain.mine_chain(None, depth + 3)
    branches: list[list[Block]] = []
    for to, length in ((2, depth), (3, depth + 1)):
        branch: list[Block] = []
        for place in range(length):
            parent = branch[-1] if branch else trunk[-1]
            coin = reward_of(trunk[min(place, depth - 1)])
            coins = chain.coins(parent)
            payments = []
            if coin in coins:
                value = coins[coin].output.value - FEE
                first = chain.spend(parent, [coin], [pay(to, value // 2), pay(to, value - value // 2)])
                payments.append(first)
            branch.append(chain.mine(parent, payments, to=to))
        branches.append(branch)
    return trunk, branches[0], branches[1]


@pytest.mark.parametrize("depth", [1, 10, 100])
async def test_after_a_reorg_the_coins_are_those_of_a_node_that_saw_only_the_winner(depth: int) -> None:
    """A059"""
    chain = ChainBuilder(PARAMS)
    trunk, losers, winners = conflicting_branches(chain, depth)
    database, changes = new_database(), list[TipChanged]()
    async with running(database, PARAMS) as node:
        await feed(node, [*trunk, *losers])
        node.tip_listeners.append(changes.append)
        writes = database.writes
        results = await feed(node, winners)
        assert [result.status for result in results[:-1]] == [BlockStatus.SIDE_BRANCH] * depth
        assert results[-1].status is BlockStatus.CONNECTED
        assert database.writes == writes + len(winners)  # the reorg is one write, with the block that caused it
        (change,) = changes
        assert list(change.disconnected) == losers[::-1]
        assert list(change.connected) == winners
        assert change.fork_height == len(trunk)
        assert (change.old, change.new) == (chain.state(losers[-1]), chain.state(winners[-1]))
        assert node.tip == chain.state(winners[-1])
        statistics = await coin_statistics(node, ChainStore(database, PARAMS))
    coins = stored_coins(ChainStore(database, PARAMS))
    assert coins == chain.coins(winners[-1])
    assert statistics.state_hash == state_hash(coins)
    assert statistics.coins == len(coins)
    assert statistics.transactions == len({outpoint.txid for outpoint in coins})
    async with running(new_database(), PARAMS) as other:
        await feed(other, [*trunk, *winners])
        assert other.tip == chain.state(winners[-1])
        assert other.get_coins(coins) == coins


@pytest.mark.slow
async def test_a_reorg_of_a_thousand_blocks_takes_a_few_writes() -> None:
    """A059"""
    chain = ChainBuilder(PARAMS)
    losers, winners = chain.mine_chain(None, 1000, to=2), chain.mine_chain(None, 1001, to=3)
    database, changes = new_database(), list[TipChanged]()
    async with running(database, PARAMS) as node:
        await feed(node, [*losers, *winners[:-1]])
        node.tip_listeners.append(changes.append)
        await feed(node, winners[-1:])
        assert node.tip == chain.state(winners[-1])
    assert len(changes) <= 3
    assert [block for change in changes for block in change.disconnected] == losers[::-1]
    assert [block for change in changes for block in change.connected] == winners
    assert stored_coins(ChainStore(database, PARAMS)) == chain.coins(winners[-1])


@pytest.mark.parametrize("blocks", [3, 7])
async def test_a_deep_reorg_goes_in_several_writes_each_leaving_some_block(
    monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    """A059, A121: every write leaves the coins of the tip that it names."""
    monkeypatch.setattr(reorg, "BATCH_BLOCKS", blocks)
    chain = ChainBuilder(PARAMS)
    trunk, losers, winners = conflicting_branches(chain, 20)
    database = new_database()
    store = ChainStore(database, PARAMS)
    log, entries = recorder()
    tips: list[int] = []

    def whole(change: TipChanged) -> None:
        assert stored_coins(store) == chain.coins(change.new.hash)
        assert store.read_tip() == (change.new.height, change.new.hash)
        tips.append(change.new.height)

    async with running(database, PARAMS, log=log) as node:
        await feed(node, [*trunk, *losers])
        node.tip_listeners.append(whole)
        await feed(node, winners)
        assert node.tip == chain.state(winners[-1])
    assert len(tips) >= 40 // blocks
    assert min(tips) < len(trunk) + blocks
    assert len(list(lines(entries, "reorg_started"))) == 1
    (done,) = lines(entries, "reorg_done")
    assert (done["disconnected"], done["connected"]) == (20, 21)


@pytest.mark.parametrize("depth", range(5))
async def test_a_branch_that_is_invalid_at_any_depth_is_left_again(depth: int) -> None:
    """A060"""
    chain = ChainBuilder(PARAMS)
    trunk = chain.mine_chain(None, 4)
    ours = chain.mine_chain(trunk[-1], 3, to=2)
    good = chain.mine_chain(trunk[-1], depth, to=3)
    parent = good[-1] if good else trunk[-1]
    too_much = 51 * 10**8
    bad = chain.mine(parent, reward=too_much)
    above = [chain.mine(bad, reward=0, valid=False)]
    while chain.state(above[-1]).height < len(trunk) + 6:
        above.append(chain.mine(above[-1], reward=0, valid=False))
    best = ours[-1] if depth <= 3 else good[-1]
    database = new_database()
    log, entries = recorder()
    async with running(database, PARAMS, log=log) as node:
        # The bodies come from the top down, so that the whole branch is tried at once.
        await feed(node, [*trunk, *ours])
        branch = [*good, bad, *above]
        node.accept_headers([block.header for block in branch])
        await feed(node, reversed(branch))
        assert node.tip == chain.state(best)
        for block in (bad, *above):
            entry = node.index.get(block.hash)
            assert entry is not None
            assert entry.invalid
        again = await node.accept_block(bad)
        assert again.status is BlockStatus.INVALID
        assert again.error is not None
        assert again.error.rule is Rule.COINBASE_VALUE
        assert node.index.best_header.hash == best.hash
    assert stored_coins(ChainStore(database, PARAMS)) == chain.coins(best)
    failed = next(lines(entries, "reorg_failed"))
    assert failed["rule"] == "coinbase-value"


async def test_a_reorg_that_fails_after_its_first_writes_goes_back_to_the_old_branch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A060: where the way is longer than one write, the old branch is joined again by the same code."""
    monkeypatch.setattr(reorg, "BATCH_BLOCKS", 2)
    chain = ChainBuilder(PARAMS)
    trunk = chain.mine_chain(None, 2)
    ours = chain.mine_chain(trunk[-1], 7, to=2)
    theirs = chain.mine_chain(trunk[-1], 5, to=3)
    bad = chain.mine(theirs[-1], reward=51 * 10**8)
    above = chain.mine(bad, reward=0, valid=False)
    top = chain.mine(above, reward=0, valid=False)
    database = new_database()
    log, entries = recorder()
    async with running(database, PARAMS, log=log) as node:
        await feed(node, [*trunk, *ours])
        await feed(node, [*theirs, bad, above])
        result = await node.accept_block(top, wanted=True)
        assert result.status is BlockStatus.INVALID
        assert node.tip == chain.state(ours[-1])
    assert stored_coins(ChainStore(database, PARAMS)) == chain.coins(ours[-1])
    assert next(lines(entries, "reorg_failed"))["bad_height"] == 8


@pytest.mark.parametrize("at_once", [1, reorg.CHECKS_AT_ONCE])
async def test_a_bad_signature_condemns_its_block_and_not_the_blocks_before_it(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """A060: signatures of a whole step are verified together, or in parts; the failure is laid at the right door."""
    monkeypatch.setattr(reorg, "CHECKS_AT_ONCE", at_once)
    chain = ChainBuilder(PARAMS)
    trunk = chain.mine_chain(None, 5)
    good = chain.mine(trunk[-1], [chain.spend(trunk[-1], [reward_of(trunk[0])], [pay(2, 10**9)])])
    payment = chain.spend(good, [reward_of(trunk[1])], [pay(2, 10**9)])
    forged = replace(payment.witnesses[0], satisfactions=(bytes(31) + b"\1" + bytes(31) + b"\1",))
    bad = chain.mine(good, [replace(payment, witnesses=(forged,))])
    last = chain.mine(bad, valid=False, reward=0)
    async with running(new_database(), PARAMS) as node:
        blocks = [*trunk, good, bad, last]
        node.accept_headers([block.header for block in blocks])
        results = await feed(node, reversed(blocks))
        assert node.tip == chain.state(good)
        assert results[-1].status is BlockStatus.CONNECTED
        entry = node.index.get(bad.hash)
        assert entry is not None
        error = node.why_invalid(entry)
        assert error is not None
        assert error.rule is Rule.BAD_SIGNATURE


async def test_a_hundred_flips_leave_nothing_behind_but_the_blocks() -> None:
    """A061: what is stored depends on the blocks, not on the way they were walked."""
    chain = ChainBuilder(PARAMS)
    tips: list[Block] = [chain.mine_chain(None, 3)[-1]] * 2
    database = new_database()
    async with running(database, PARAMS) as node:
        tips[0] = chain.mine(tips[0], to=2)
        await feed(node, chain.chain(tips[0]))
        flips = list[TipChanged]()
        node.tip_listeners.append(lambda change: flips.append(change) if change.disconnected else None)
        for flip in range(100):
            side = (flip + 1) % 2
            while node.tip.hash != tips[side].hash:
                tips[side] = chain.mine(tips[side], to=2 + side)
                await feed(node, [tips[side]])
        assert len(flips) == 100
    store = ChainStore(database, PARAMS)
    assert stored_coins(store) == chain.coins(tips[0])
    blocks = len({block.hash for tip in tips for block in chain.chain(tip)})
    assert len(list(store.headers())) == len(list(database.scan(BODIES))) == blocks + 1
    assert len(list(database.scan(UNDO))) <= blocks


@pytest.mark.parametrize("restart", [False, True])
async def test_of_equal_branches_the_first_stays_also_after_a_restart(*, restart: bool) -> None:
    """A058"""
    chain = ChainBuilder(PARAMS)
    blocks = chain.draw("""
        genesis a1 a2 a3
        a1 b2 b3
        a1 c2 c3
    """)
    database = new_database()
    async with running(database, PARAMS) as node:
        # b2 comes before a2, but its branch is complete last.
        for block in blocks.values():
            node.accept_header(block.header)
        await feed(node, [blocks[name] for name in ("b2", "a2", "a3", "c3", "a1", "b3", "c2")])
        assert node.tip.hash == blocks["a3"].hash
        if not restart:
            for name in ("a3", "b3", "c3") * 3:
                node.accept_header(blocks[name].header)
                await node.accept_block(blocks[name])
                assert node.tip.hash == blocks["a3"].hash
    async with running(database, PARAMS) as node:
        assert node.tip.hash == blocks["a3"].hash
        entry = node.index.get(blocks["a3"].hash)
        assert entry is node.index.best_complete()


async def test_a_second_choice_is_the_branch_that_was_there_first() -> None:
    """A058: when the tip turns out bad, of the equal others the first complete one is taken."""
    chain = ChainBuilder(PARAMS)
    blocks = chain.draw("""
        genesis a1 a2
        genesis b1 b2
    """)
    bad = chain.mine(chain.mine(None, to=5), reward=51 * 10**8)
    async with running(new_database(), PARAMS) as node:
        await feed(node, [blocks["b1"], blocks["b2"], blocks["a1"], blocks["a2"]])
        await feed(node, [chain.blocks[bad.header.previous], bad])
        assert node.tip.hash == blocks["b2"].hash


async def test_lost_undo_data_stops_the_node_with_advice() -> None:
    """A135"""
    chain = ChainBuilder(PARAMS)
    blocks = chain.draw("""
        genesis a1 a2
        a1 b2 b3
    """)
    database = new_database()
    async with running(database, PARAMS) as node:
        await feed(node, [blocks["a1"], blocks["a2"]])
    database.write([(UNDO, block_key(2, blocks["a2"].hash), None)])
    node = chain_manager(database, PARAMS)
    await node.start()
    await node.accept_block(blocks["b2"])
    for _ in range(2):
        with pytest.raises(ChainClosedError):
            await node.accept_block(blocks["b3"])
    with pytest.raises(DamagedError, match=r"undo record .* --reindex"):
        await node.wait_stopped()
    with pytest.raises(DamagedError, match="--reindex"):
        await node.close()
    # A reindex mends it, and finds the better branch.
    async with running(database, PARAMS, reindex=True) as node:
        assert node.tip.height >= 2
        await feed(node, [blocks["b2"], blocks["b3"]])
        assert node.tip.hash == blocks["b3"].hash
    assert stored_coins(ChainStore(database, PARAMS)) == chain.coins(blocks["b3"])


async def test_the_log_of_a_reorg_can_be_read_by_a_stranger() -> None:
    chain = ChainBuilder(PARAMS)
    blocks = chain.draw("""
        genesis a1 a2
        a1 b2 b3
    """)
    log, entries = recorder()
    async with running(new_database(), PARAMS, log=log) as node:
        node.tip_listeners.append(lambda change: {"returned": len(change.disconnected), "returned_txids": ["x"]})
        await feed(node, [blocks[name] for name in ("a1", "a2", "b2", "b3")])
    (seen,) = lines(entries, "fork_seen")
    assert (seen["fork_height"], seen["our_height"], seen["their_height"]) == (1, 2, 2)
    assert (seen["our_work"], seen["their_work"]) == (2, 2)
    assert "as much work" in seen["says"]
    (started,) = lines(entries, "reorg_started")
    assert (started["old_work"], started["new_work"]) == (2, 4)
    (done,) = lines(entries, "reorg_done")
    assert (done["fork_height"], done["disconnected"], done["connected"]) == (1, 1, 2)
    assert (done["old_work"], done["new_work"]) == (2, 4)
    (lost,) = done["rewards_lost"]
    assert lost.startswith("50.00000000 DURE to rdure1")
    assert lost.endswith(" in block 2")
    assert done["returned"] == 1
    assert done["returned_txids"] == ["x"]
    assert isinstance(done["took_ms"], int)
    assert [line["event"] for line in entries] == [
        "block_connected",
        "block_connected",
        "fork_seen",
        "reorg_started",
        "block_connected",
        "block_connected",
        "reorg_done",
    ]


async def test_a_payment_that_the_winner_lacks_is_spendable_again() -> None:
    chain = ChainBuilder(PARAMS)
    trunk = chain.mine_chain(None, 3)
    coin: OutPoint = reward_of(trunk[0])
    ours = chain.mine(trunk[-1], [chain.spend(trunk[-1], [coin], [pay(2, 10**9)])])
    theirs = chain.mine_chain(trunk[-1], 2)
    async with running(new_database(), PARAMS) as node:
        await feed(node, [*trunk, ours])
        assert node.get_coins([coin]) == {}
        await feed(node, theirs)
        assert node.get_coins([coin])[coin].output.lock == lock(1)
