"""Assets in a real chain manager: over reorgs, restarts and rebuilding, the records are those of the tip."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from consensus.assets import authority_id
from consensus.codec import decode_undo, encode
from consensus.errors import Rule
from consensus.params import REGTEST
from consensus.types import (
    Amount,
    AssetId,
    Attestation,
    Block,
    Coin,
    Core,
    NewAsset,
    OutPoint,
    Reissue,
    SupplyKind,
    Transaction,
)
from node.chain_events import BlockStatus
from node.chain_stats import coin_statistics
from node.storage.asset_index import Origin, defined_in
from node.storage.chain_store import ChainStore
from node.storage.errors import DamagedError
from node.storage.lmdb_store import LmdbDatabase
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import (
    ASSET_INDEX,
    ASSETS,
    COINS,
    META,
    MIGRATIONS,
    STORAGE_VERSION,
    TABLES,
    UNDO,
    seal,
    unseal,
)
from tests.support.assets import asset_core, carry, define, hold, new_id
from tests.support.chain import (
    ChainBuilder,
    feed,
    reward_of,
    running,
    state_hash,
    stored_assets,
    stored_coins,
)
from tests.support.rules import lock, pay

PARAMS = replace(REGTEST, coinbase_maturity=2)
NEW = (ASSETS, ASSET_INDEX)
"""Tables that storage version 2 added."""
WON = define(SupplyKind.RESERVED, controller=lock(3))


def carried(chain: ChainBuilder, parent: Block, core: Core) -> Transaction:
    """A transaction of this core, signed and approved as the chain up to `parent` asks."""
    coins = chain.coins(parent)
    return carry({name: coins[name] for name in core.inputs}, core, chain.assets(parent), params=PARAMS)


def value(chain: ChainBuilder, parent: Block, name: OutPoint) -> int:
    return chain.coins(parent)[name].output.value


def first_of(tx: Transaction, index: int = 0) -> OutPoint:
    return OutPoint(tx.txid, index)


def stablecoin(chain: ChainBuilder) -> tuple[list[Block], AssetId]:
    """A chain on which a reserved asset is defined, attested, issued and partly burned, a block each; its id."""
    blocks = chain.mine_chain(None, 6)
    source = reward_of(blocks[0])
    name = new_id([source], WON)
    right = authority_id(name)
    rest = value(chain, blocks[-1], source)
    core = asset_core([source], [pay(1, rest), hold(1, right)], [NewAsset(WON)])
    born = carried(chain, blocks[-1], core)
    blocks.append(chain.mine(blocks[-1], [born]))
    core = asset_core([first_of(born)], [pay(1, rest)], [Attestation(name, 1, Amount(100))])
    attested = carried(chain, blocks[-1], core)
    blocks.append(chain.mine(blocks[-1], [attested]))
    core = asset_core([first_of(born, 1)], [hold(1, right), hold(2, name, 100)], [Reissue(name, Amount(100))])
    issued = carried(chain, blocks[-1], core)
    blocks.append(chain.mine(blocks[-1], [issued]))
    core = asset_core([first_of(attested), first_of(issued, 1)], [pay(1, rest), hold(2, name, 60)], burns={name: 40})
    blocks.append(chain.mine(blocks[-1], [carried(chain, blocks[-1], core)]))
    return blocks, name


async def test_records_of_assets_follow_the_tip_over_a_reorg_and_back() -> None:
    """A059, A073: what a losing branch issued is gone, as if it had never been; and comes back with its branch."""
    chain = ChainBuilder(PARAMS)
    blocks, name = stablecoin(chain)
    trunk, losers = blocks[:6], blocks[6:]
    winners = chain.mine_chain(trunk[-1], len(losers) + 1, to=2)
    more = chain.mine_chain(losers[-1], 2, to=3)
    database = MemoryDatabase(TABLES)
    store = ChainStore(database, PARAMS)
    async with running(database, PARAMS) as node:
        supplies = []
        for block in [*trunk, *losers]:
            await node.accept_block(block, wanted=True)
            assert stored_assets(store) == chain.assets(block)
            supplies += [record.supply for record in stored_assets(store).values()]
        assert supplies == [0, 0, 100, 60]
        await feed(node, winners)
        assert node.tip == chain.state(winners[-1])
        assert stored_assets(store) == {}
        assert stored_coins(store) == chain.coins(winners[-1])
        await feed(node, more)
        assert node.tip == chain.state(more[-1])
        assert stored_assets(store) == chain.assets(more[-1])
        assert set(stored_assets(store)) == {name}
        statistics = await coin_statistics(node, store)
    assert statistics.state_hash == state_hash(chain.coins(more[-1]), chain.assets(more[-1]))
    assert statistics.assets == 1


async def test_a_reorg_within_an_assets_life_restores_the_record_as_it_was() -> None:
    """A059: supply, sequence and total go back to the fork's and forward along the other branch."""
    chain = ChainBuilder(PARAMS)
    blocks, name = stablecoin(chain)
    for depth in (1, 2, 3):
        fork = blocks[-1 - depth]
        winners = chain.mine_chain(fork, depth + 1, to=4)
        database = MemoryDatabase(TABLES)
        store = ChainStore(database, PARAMS)
        async with running(database, PARAMS) as node:
            await feed(node, blocks)
            assert stored_assets(store)[name].supply == 60
            await feed(node, winners)
            assert node.tip == chain.state(winners[-1])
        assert stored_assets(store) == chain.assets(fork)
        assert stored_coins(store) == chain.coins(winners[-1])


async def test_an_nft_minted_on_both_branches_is_one_nft() -> None:
    """A073: the same transaction again after a reorg gives the same id and one unspent output."""
    chain = ChainBuilder(PARAMS)
    trunk = chain.mine_chain(None, 6)
    source = reward_of(trunk[0])
    art = define(content=bytes(32))
    name = new_id([source], art)
    rest = value(chain, trunk[-1], source)
    mint = carried(chain, trunk[-1], asset_core([source], [pay(1, rest), hold(1, name)], [NewAsset(art)]))
    loser = chain.mine(trunk[-1], [mint])
    first = chain.mine(trunk[-1], to=2)
    second = chain.mine(first, [mint], to=2)
    database = MemoryDatabase(TABLES)
    store = ChainStore(database, PARAMS)
    async with running(database, PARAMS) as node:
        for blocks in ([*trunk, loser], [first, second]):
            await feed(node, blocks)
            held = [each for each, coin in stored_coins(store).items() if coin.output.asset == name]
            assert held == [first_of(mint, 1)]
            assert stored_assets(store)[name].supply == 1
        assert node.tip == chain.state(second)


async def test_a_block_that_inflates_an_asset_is_refused_on_every_road(tmp_path: Path) -> None:
    """A067, A068: as a new tip, within a reorg, and when rebuilt from its body; nothing of it stays."""
    chain = ChainBuilder(PARAMS)
    blocks, name = stablecoin(chain)
    tip = blocks[-1]
    (held,) = (each for each, coin in chain.coins(tip).items() if coin.output.asset == name)
    forged = carried(chain, tip, asset_core([held], [hold(2, name, 61)]))
    bad = chain.mine(tip, [forged], reward=0)
    with LmdbFolder(tmp_path) as database:
        store = ChainStore(database, PARAMS)
        async with running(database, PARAMS) as node:
            await feed(node, blocks)
            before = dict(store.coins()), dict(store.assets())
            result = await node.accept_block(bad, wanted=True)
            assert (result.status, result.error and result.error.rule) == (BlockStatus.INVALID, Rule.ASSET_CONSERVATION)
            assert (dict(store.coins()), dict(store.assets())) == before
            assert node.tip == chain.state(tip)
        async with running(database, PARAMS, reindex=True) as node:
            assert node.tip == chain.state(tip)
            assert (dict(store.coins()), dict(store.assets())) == before


class LmdbFolder:
    """A real database, closed at the end."""

    def __init__(self, folder: Path, version: int = STORAGE_VERSION, tables: Sequence[str] = TABLES) -> None:
        self._database = LmdbDatabase(
            folder / "chain", tables, version=version, identity=PARAMS.genesis_hash, migrations=MIGRATIONS
        )

    def __enter__(self) -> LmdbDatabase:
        return self._database

    def __exit__(self, *_: object) -> None:
        self._database.close()


async def test_a_reindex_rebuilds_the_records_of_assets(tmp_path: Path) -> None:
    """A122"""
    chain = ChainBuilder(PARAMS)
    blocks, _ = stablecoin(chain)
    with LmdbFolder(tmp_path) as database:
        store = ChainStore(database, PARAMS)
        async with running(database, PARAMS) as node:
            await feed(node, blocks)
        before = {table: list(database.scan(table)) for table in (COINS, ASSETS, ASSET_INDEX, UNDO)}
        assert before[ASSETS]
        assert before[ASSET_INDEX]
        async with running(database, PARAMS, reindex=True) as node:
            assert node.tip == chain.state(blocks[-1])
        assert {table: list(database.scan(table)) for table in before} == before
        assert stored_assets(store) == chain.assets(blocks[-1])


async def test_a_damaged_record_of_an_asset_is_an_error_and_never_another_supply() -> None:
    """A125"""
    chain = ChainBuilder(PARAMS)
    blocks, name = stablecoin(chain)
    database = MemoryDatabase(TABLES)
    async with running(database, PARAMS) as node:
        await feed(node, blocks)
    record = database.get(ASSETS, name)
    assert record is not None
    for place in range(len(record)):
        flipped = bytearray(record)
        flipped[place] ^= 1
        database.write([(ASSETS, name, bytes(flipped))])
        with pytest.raises(DamagedError):
            ChainStore(database, PARAMS).read_assets([name])


async def test_a_folder_from_before_there_were_assets_goes_on(tmp_path: Path) -> None:
    """A131: opened by this program it reads as it is, its undo records too, and takes assets from then on."""
    chain = ChainBuilder(PARAMS)
    blocks, name = stablecoin(chain)
    plain = chain.mine_chain(blocks[5], 1, to=5)
    with LmdbFolder(tmp_path, version=1, tables=[table for table in TABLES if table not in NEW]) as old:
        new = MemoryDatabase(TABLES)
        async with running(new, PARAMS) as node:
            await feed(node, [*blocks[:6], *plain])
        # As version 1 wrote it: without the table, and with undo records of the coins alone.
        for table in TABLES:
            for key, record in new.scan(table):
                if table == UNDO:
                    undo = decode_undo(unseal(UNDO, key, record))
                    record = seal(key, encode((undo.spent,)))  # noqa: PLW2901
                if table not in NEW:
                    old.write([(table, key, record)])
        assert old.get(META, b"tip") is not None
    with LmdbFolder(tmp_path) as database:
        store = ChainStore(database, PARAMS)
        async with running(database, PARAMS) as node:
            assert node.tip == chain.state(plain[-1])
            await feed(node, blocks)
            assert node.tip == chain.state(blocks[-1])
        assert set(stored_assets(store)) == {name}


def index_by_hand(chain: ChainBuilder, tip: Block) -> dict[str, object]:
    """What the index must say at a tip, found by looking at everything."""
    coins = chain.coins(tip)
    names = {coin.output.asset for coin in coins.values() if coin.output.asset is not None}
    order = sorted(coins, key=lambda each: (each.txid, each.index))
    defined = [
        (asset, Origin(chain.state(block).height, block.hash, txid), definition)
        for block in chain.chain(tip)
        for asset, txid, definition in defined_in(block)
    ]
    return {
        "coins": {name: [each for each in order if coins[each].output.asset == name] for name in names},
        "origins": {asset: origin for asset, origin, _ in defined},
        "contents": {(asset, each.content) for asset, _, each in defined if each.content},
        "members": {(asset, each.collection) for asset, _, each in defined if each.collection},
    }


def index_of(store: ChainStore, names: set[AssetId]) -> dict[str, object]:
    """The same from the index, asked about all of `names`."""
    index, assets = store.asset_index, dict(store.assets())
    contents = {each.definition.content for each in assets.values() if each.definition.content}
    return {
        "coins": {name: found for name in names if (found := list(index.coins(name)))},
        "origins": {name: origin for name in names if (origin := index.origin(name))},
        "contents": {(asset, content) for content in contents for asset in index.with_content(content)},
        "members": {(asset, name) for name in names for asset in index.members(name)},
    }


async def test_the_index_of_assets_always_speaks_of_the_tip() -> None:
    """A059: over a reorg away from a collection with two members, and back, it says what a search of all coins says."""
    chain = ChainBuilder(PARAMS)
    trunk = chain.mine_chain(None, 6)
    source = reward_of(trunk[0])
    rest = value(chain, trunk[-1], source)
    works = define(SupplyKind.REISSUABLE, 0)
    series = new_id([source], works)
    right = authority_id(series)
    opened = carried(chain, trunk[-1], asset_core([source], [pay(1, rest), hold(1, right)], [NewAsset(works)]))
    blocks = [*trunk, chain.mine(trunk[-1], [opened])]
    art = [define(content=bytes([n]) * 32, collection=series) for n in (1, 2)]
    inputs = [first_of(opened), first_of(opened, 1)]
    ids = [new_id(inputs, each, place) for place, each in enumerate(art)]
    core = asset_core(inputs, [pay(1, rest), hold(1, right), *map(partial(hold, 2), ids)], map(NewAsset, art))
    minted = carried(chain, blocks[-1], core)
    blocks.append(chain.mine(blocks[-1], [minted]))
    core = asset_core(
        [first_of(minted, 1), first_of(minted, 2), first_of(minted)], [pay(1, rest), hold(3, ids[0])], burns={right: 1}
    )
    blocks.append(chain.mine(blocks[-1], [carried(chain, blocks[-1], core)]))
    winners = chain.mine_chain(trunk[-1], 4, to=2)
    names = {series, right, *ids, AssetId(bytes(32))}
    database = MemoryDatabase(TABLES)
    store = ChainStore(database, PARAMS)
    async with running(database, PARAMS) as node:
        for block in blocks:
            await node.accept_block(block, wanted=True)
            assert index_of(store, names) == index_by_hand(chain, block)
        assert list(store.asset_index.members(series)) == sorted(ids)
        assert list(store.asset_index.coins(right)) == []
        await feed(node, winners)
        assert node.tip == chain.state(winners[-1])
        assert index_of(store, names) == index_by_hand(chain, winners[-1])
        assert list(database.scan(ASSET_INDEX)) == []
        more = chain.mine_chain(blocks[-1], 2, to=3)
        await feed(node, more)
        assert index_of(store, names) == index_by_hand(chain, more[-1])


async def test_coins_of_an_asset_are_counted_apart_from_dure() -> None:
    """A075: `gettxoutsetinfo` sums DURE alone."""
    chain = ChainBuilder(PARAMS)
    blocks, _ = stablecoin(chain)
    database = MemoryDatabase(TABLES)
    async with running(database, PARAMS) as node:
        await feed(node, blocks)
        statistics = await coin_statistics(node, ChainStore(database, PARAMS))
    dure: list[Coin] = [coin for coin in chain.coins(blocks[-1]).values() if coin.output.asset is None]
    assert statistics.total == sum(coin.output.value for coin in dure) == 50 * 10**8 * len(blocks)
    assert statistics.coins == len(dure) + 2
