"""Coins and assets as a whole: the state hash and the sums, read in slices while the chain stands still."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import NamedTuple

from consensus.codec import asset_entry, coin_entry
from consensus.state import ChainState
from node.chain import ChainManager
from node.storage.chain_store import ChainStore

SLICE = 2_000
"""Entries between two turns of the event loop: about 10 ms."""


class CoinStatistics(NamedTuple):
    """What `gettxoutsetinfo` says."""

    tip: ChainState
    coins: int
    transactions: int
    """How many transactions still have an unspent output."""
    total: int
    """In grain."""
    assets: int
    state_hash: bytes
    """H of the sorted entries, joined: equal on every node with this tip."""


async def coin_statistics(chain: ChainManager, store: ChainStore) -> CoinStatistics:
    """Read all coins once. Blocks wait meanwhile, everything else goes on; memory stays flat.

    Raises:
        ChainClosedError: the chain manager is closed.
        DamagedError: a coin is not what was written.
    """
    async with chain.standing_still():
        digest = sha256()
        coins = transactions = total = 0
        last_txid: bytes | None = None
        # Keys sort as entries do: the first bytes that differ are of the txid, then of the index.
        for outpoint, coin in store.coins():
            digest.update(coin_entry(outpoint, coin))
            coins += 1
            total += coin.output.value if coin.output.asset is None else 0
            transactions += outpoint.txid != last_txid
            last_txid = outpoint.txid
            if coins % SLICE == 0:
                await asyncio.sleep(0)
        assets = 0
        # An asset's entry begins with the head of a longer array, so all of them sort after all coins.
        for asset, record in store.assets():
            digest.update(asset_entry(asset, record))
            assets += 1
            if assets % SLICE == 0:
                await asyncio.sleep(0)
        return CoinStatistics(chain.tip, coins, transactions, total, assets, sha256(digest.digest()).digest())
