"""The chain on a damaged or strange disk: rebuilt from its bodies, or refused, never wrong."""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace

from consensus.params import REGTEST, sim_params
from node.chain import ChainClosedError
from node.storage.chain_store import ChainStore
from node.storage.errors import DamagedError, OtherNetworkError
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import BODIES, COINS, HEADERS, INVALID, META, TABLES, TIP_KEY, UNDO
from tests.support.chain import ChainBuilder, feed, lines, recorder, reward_of, running, stored_coins
from tests.support.rules import coinbase, pay

PARAMS = replace(REGTEST, coinbase_maturity=2)
EASY = sim_params(10, 0x207FFFFF, 0x207FFFFF)
"""A network with a clock limit (120 s) and next to no work."""


def new_database() -> MemoryDatabase:
    return MemoryDatabase(TABLES)


async def test_a_reindex_gives_the_same_chain_coins_and_ties() -> None:
    chain = ChainBuilder(PARAMS)
    trunk = chain.mine_chain(None, 5)
    payment = chain.spend(trunk[-1], [reward_of(trunk[0])], [pay(2, 10**9), pay(3, 10**9)])
    ours = chain.mine(trunk[-1], [payment])
    equal = [chain.mine(trunk[-1]) for _ in range(8)]
    bad = chain.mine(ours, reward=51 * 10**8)
    database = new_database()
    async with running(database, PARAMS) as node:
        await feed(node, [*trunk, *equal[:4], ours, *equal[4:], bad])
        tip = node.tip
        assert tip.hash == equal[0].hash
    before = {table: list(database.scan(table)) for table in (HEADERS, BODIES, COINS)}
    # Whatever else is damaged, the bodies suffice.
    for table in (HEADERS, COINS, META):
        for key, _ in list(database.scan(table))[::2]:
            database.write([(table, key, b"damaged")])
    log, entries = recorder()
    async with running(database, PARAMS, reindex=True, log=log) as node:
        assert node.tip == tip
        assert not ChainStore(database, PARAMS).reindexing
    assert next(lines(entries, "reindex_done"))["blocks"] == len(trunk) + 10
    assert {table: list(database.scan(table)) for table in before} == before


async def test_a_reindex_that_was_interrupted_begins_anew() -> None:
    """A122"""
    chain, database = ChainBuilder(PARAMS), new_database()
    blocks = chain.mine_chain(None, 12)
    async with running(database, PARAMS) as node:
        await feed(node, blocks)
    ChainStore(database, PARAMS, reindex=True)  # and the process ends here
    assert ChainStore(database, PARAMS).read_tip()[0] == 0
    async with running(database, PARAMS) as node:
        assert node.tip == chain.state(blocks[-1])
    assert stored_coins(ChainStore(database, PARAMS)) == chain.coins(blocks[-1])


async def test_a_reindex_passes_over_a_damaged_body_which_may_come_again() -> None:
    """A125"""
    chain, database = ChainBuilder(PARAMS), new_database()
    blocks = chain.mine_chain(None, 6)
    async with running(database, PARAMS) as node:
        await feed(node, blocks)
    key, record = list(database.scan(BODIES))[4]
    database.write([(BODIES, key, record[:-1] + bytes([record[-1] ^ 1]))])
    async with running(database, PARAMS, reindex=True) as node:
        assert node.tip == chain.state(blocks[2])
        await feed(node, blocks[3:])
        assert node.tip == chain.state(blocks[-1])


@pytest.mark.parametrize("table", [HEADERS, COINS, META, UNDO, BODIES])
async def test_a_flipped_bit_is_an_error_and_never_a_wrong_balance(table: str) -> None:
    """A125: every record of every table, one bit at a time."""
    chain, database = ChainBuilder(PARAMS), new_database()
    blocks = chain.mine_chain(None, 4)
    rivals = chain.mine_chain(blocks[0], 4)
    async with running(database, PARAMS) as node:
        await feed(node, blocks)
    random = Random(table)
    for key, record in list(database.scan(table)):
        place = random.randrange(len(record)) if table != BODIES else random.randrange(8, len(record))
        broken = bytearray(record)
        broken[place] ^= 1 << random.randrange(8)
        copy = new_database()
        for name in TABLES:
            copy.write([(name, k, v) for k, v in database.scan(name)])
        copy.write([(table, key, bytes(broken))])
        try:
            async with running(copy, PARAMS) as node:
                coins = stored_coins(ChainStore(copy, PARAMS))
                assert coins == chain.coins(blocks[-1])
                try:
                    await feed(node, rivals)
                except ChainClosedError:
                    await node.wait_stopped()
                assert stored_coins(ChainStore(copy, PARAMS)) == chain.coins(node.tip.hash)
        except (DamagedError, OtherNetworkError):
            continue


@pytest.mark.parametrize("table", [HEADERS, INVALID, COINS, META, UNDO, BODIES])
async def test_records_of_one_table_in_another_are_an_error_and_never_a_crash(table: str) -> None:
    """A133: in a copy made meanwhile a page of one table may stand where another's was, each record whole."""
    chain, database = ChainBuilder(PARAMS), new_database()
    blocks = chain.mine_chain(None, 4)
    bad = chain.mine(blocks[-1], reward=51 * 10**8)
    async with running(database, PARAMS) as node:
        await feed(node, [*blocks, bad])
    for other in TABLES:
        moved = list(database.scan(other))
        if other == table or not moved:
            continue
        copy = new_database()
        for name in TABLES:
            copy.write([(name, k, v) for k, v in database.scan(name)])
        copy.write([(table, k, v) for k, v in moved])
        for reindex in (False, True):
            try:
                async with running(copy, PARAMS, reindex=reindex) as node:
                    assert stored_coins(ChainStore(copy, PARAMS)) == chain.coins(node.tip.hash)
            except (DamagedError, OtherNetworkError):
                assert not reindex or table == META


async def test_another_networks_chain_and_an_altered_genesis_are_refused() -> None:
    """A051, A132"""
    database = new_database()
    ChainStore(database, REGTEST)
    writes = database.writes
    with pytest.raises(OtherNetworkError):
        ChainStore(database, EASY)
    with pytest.raises(OtherNetworkError):
        ChainStore(database, EASY, reindex=True)
    assert database.writes == writes
    altered = replace(REGTEST, genesis=replace(REGTEST.genesis, transactions=(coinbase(0, [pay(1, 1)]),)))
    with pytest.raises((OtherNetworkError, DamagedError)):
        ChainStore(database, altered)


async def test_a_lost_tip_is_rebuilt_from_the_bodies() -> None:
    chain, database = ChainBuilder(PARAMS), new_database()
    blocks = chain.mine_chain(None, 3)
    async with running(database, PARAMS) as node:
        await feed(node, blocks)
    database.write([(META, TIP_KEY, None)])
    async with running(database, PARAMS) as node:
        assert node.tip == chain.state(blocks[-1])
