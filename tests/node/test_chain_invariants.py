"""No chain of a test escapes the model: a rule that is broken on purpose is noticed by whatever test it runs in."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from msgspec.structs import replace

from consensus.params import REGTEST
from consensus.state import StateDelta
from consensus.types import Block, NewAsset, OutPoint
from node.storage.chain_store import Step
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import TABLES
from simnet.errors import InvariantBroken
from tests.support.assets import asset_core, carry, define, hold, new_id
from tests.support.chain import ChainBuilder, feed, reward_of, running
from tests.support.nodes import World
from tests.support.rules import pay
from tests.support.watch import heights_checked, raise_broken, watch

TESTS = Path(__file__).resolve().parent.parent
PARAMS = replace(REGTEST, coinbase_maturity=2)
MAKERS = {"ChainManager", "assemble"}
WHERE = {"support/chain.py", "support/nodes.py", "support/api.py"}
"""Where tests make chains, each of which is watched there."""


def test_every_chain_of_a_test_is_made_where_it_is_watched() -> None:
    """A075"""
    made: dict[str, set[str]] = {}
    for path in TESTS.rglob("*.py"):
        called = {node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
        named = {func.id for func in called if isinstance(func, ast.Name)}
        if named & MAKERS:
            made[str(path.relative_to(TESTS))] = named
    assert set(made) == WHERE
    assert all(watch.__name__ in named for named in made.values())


async def test_every_height_is_looked_at() -> None:
    chain = ChainBuilder(PARAMS)
    blocks = chain.draw("""
        genesis a1 a2
        a1 b2 b3
    """)
    async with running(MemoryDatabase(TABLES), PARAMS) as node:
        await feed(node, blocks.values())
        # a1, a2, and in one step away from a2 to b3.
        assert heights_checked() == 3


def inflating(chain: ChainBuilder) -> list[Block]:
    """Blocks of which the last pays out eleven units of an asset of which there are ten."""
    trunk = chain.mine_chain(None, 4)
    source = reward_of(trunk[0])
    rest = chain.coins(trunk[-1])[source].output.value
    token = define(first=10)
    name = new_id([source], token)
    coins = chain.coins(trunk[-1])
    born = carry({source: coins[source]}, asset_core([source], [hold(1, name, 10), pay(1, rest)], [NewAsset(token)]))
    blocks = [*trunk, chain.mine(trunk[-1], [born])]
    coins = chain.coins(blocks[-1])
    inputs = [OutPoint(born.txid, 0), OutPoint(born.txid, 1)]
    core = asset_core(inputs, [hold(1, name, 11), pay(1, rest)])
    tx = carry({each: coins[each] for each in inputs}, core, chain.assets(blocks[-1]))
    return [*blocks, chain.mine(blocks[-1], [tx], valid=False, reward=50 * 10**8)]


async def test_a_chain_without_the_rule_of_conservation_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A067, A075"""
    blocks = inflating(ChainBuilder(PARAMS))
    async with running(MemoryDatabase(TABLES), PARAMS) as node:
        *_, last = await feed(node, blocks)
        assert "asset-conservation" in str(last.error)
    monkeypatch.setattr("consensus.assets._check_conservation", lambda *_: None)
    with pytest.raises(InvariantBroken, match="pays 11"):
        async with running(MemoryDatabase(TABLES), PARAMS) as node:
            *_, last = await feed(node, blocks)
            assert last.error is None


async def test_a_chain_that_mints_too_much_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A011, A075"""
    chain = ChainBuilder(PARAMS)
    block = chain.mine(None, reward=50 * 10**8 + 1, valid=False)
    monkeypatch.setattr("consensus.apply._check_coinbase_value", lambda *_: None)
    with pytest.raises(InvariantBroken, match="makes 5000000001 grain"):
        async with running(MemoryDatabase(TABLES), PARAMS) as node:
            await feed(node, [block])


async def test_a_store_that_forgets_to_spend_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A075: by the records themselves, though every rule holds."""
    chain = ChainBuilder(PARAMS)
    trunk = chain.mine_chain(None, 4)
    tx = chain.spend(trunk[-1], [reward_of(trunk[0])], [pay(2, 50 * 10**8)])
    put = Step.put_coins
    monkeypatch.setattr(
        Step, "put_coins", lambda step, coins: put(step, {k: v for k, v in coins.items() if v is not None})
    )
    with pytest.raises(InvariantBroken, match="too many"):
        async with running(MemoryDatabase(TABLES), PARAMS) as node:
            await feed(node, [*trunk, chain.mine(trunk[-1], [tx])])


async def test_a_reorg_that_gives_nothing_back_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A059, A075"""
    chain = ChainBuilder(PARAMS)
    blocks = chain.draw("""
        genesis a1 a2
        a1 b2 b3
    """)
    monkeypatch.setattr("node.reorg.revert_block", lambda *_: StateDelta({}, {}, {}))
    with pytest.raises(InvariantBroken, match="too many"):
        async with running(MemoryDatabase(TABLES), PARAMS) as node:
            await feed(node, blocks.values())


async def test_whole_nodes_of_tests_are_watched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = ChainBuilder(REGTEST)
    monkeypatch.setattr("consensus.apply._check_coinbase_value", lambda *_: None)
    async with World().node() as node:
        await node.feed([chain.mine(None, reward=50 * 10**8 + 1, valid=False)])
    with pytest.raises(InvariantBroken, match="makes"):
        raise_broken()
