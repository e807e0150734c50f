"""Stories one after the other. `scripts/fuzz differential` runs this; so does a short test."""

from __future__ import annotations

from collections import Counter

from node.storage.chain_store import ChainStore
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import TABLES
from tests.reference.differential import Case, Pair
from tests.reference.stories import Story
from tests.reference.subject import PARAMS
from tests.support.chain import running, state_hash, stored_assets, stored_coins

BLOCKS = 25
"""Valid blocks in a story."""


async def tell(seed: int, blocks: int = BLOCKS) -> Counter[str]:
    """Tell one story to both implementations; return how many cases had which verdict."""
    database = MemoryDatabase(TABLES)
    async with running(database, PARAMS) as manager:
        pair = Pair(manager, PARAMS)
        await Story(pair, seed).tell(blocks)
    _compare_stores(pair, database)
    return pair.verdicts


async def repeat(script: list[Case]) -> Counter[str]:
    """Give both a script that was written down."""
    database = MemoryDatabase(TABLES)
    async with running(database, PARAMS) as manager:
        pair = Pair(manager, PARAMS)
        for case in script:
            await pair.give(case)
    _compare_stores(pair, database)
    return pair.verdicts


def _compare_stores(pair: Pair, database: MemoryDatabase) -> None:
    store = ChainStore(database, PARAMS)
    pair.compare_stores(state_hash(stored_coins(store), stored_assets(store)))
