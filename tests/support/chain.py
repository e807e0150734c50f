"""Builders of valid chains and forks with real (tiny) work, and a chain manager to feed them to.

chain = ChainBuilder()
blocks = chain.draw('''
    genesis a1 a2
    a1 b2 b3
''')
async with running(MemoryDatabase(TABLES)) as node:
    await feed(node, blocks.values())
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import structlog
from structlog.testing import LogCapture

from consensus.codec import asset_entry, coin_entry
from consensus.params import REGTEST, Params
from consensus.state import ChainState, genesis_state
from consensus.subsidy import block_subsidy
from consensus.types import Asset, AssetId, Block, BlockHash, Coin, OutPoint, Output, Transaction
from consensus.validation import check_block, check_header, transaction_fee
from node.chain import ChainManager
from node.chain_events import BlockResult
from node.clock import Clock
from node.storage.chain_store import ChainStore
from node.storage.store import Database
from node.workers import InlineWorkers, Workers
from simnet.invariants import ChainModel
from tests.support.assets import Book, apply
from tests.support.rules import build, coinbase, lock, pay, spend
from tests.support.watch import raise_broken, watch

PARAMS = REGTEST
Coins = Mapping[OutPoint, Coin]


class ManualClock:
    """Stands still until a test moves it."""

    def __init__(self, now: int = 1_800_000_000) -> None:
        self.now = now

    def time(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return float(self.now)


class ChainBuilder:
    """Every block that it made, with the state and the coins after it: a model of all branches at once.

    `parent` is anywhere a block, an id, or None for genesis.
    """

    def __init__(self, params: Params = PARAMS) -> None:
        self.params = params
        genesis = params.genesis
        self.blocks: dict[BlockHash, Block] = {genesis.hash: genesis}
        self._states: dict[BlockHash, ChainState] = {genesis.hash: genesis_state(params)}
        self._chains: dict[BlockHash, tuple[Coins, Book]] = {genesis.hash: ({}, {})}
        self._made = 0

    def hash_of(self, parent: Block | BlockHash | None) -> BlockHash:
        if parent is None:
            return self.params.genesis_hash
        return parent.hash if isinstance(parent, Block) else parent

    def state(self, block: Block | BlockHash | None) -> ChainState:
        """The state after a block."""
        return self._states[self.hash_of(block)]

    def coins(self, block: Block | BlockHash | None) -> Coins:
        """The coins after a block, as a chain has them that never saw another branch."""
        return self._after(block)[0]

    def assets(self, block: Block | BlockHash | None) -> Book:
        """The records of assets after a block, likewise."""
        return self._after(block)[1]

    def _after(self, block: Block | BlockHash | None) -> tuple[Coins, Book]:
        missing: list[Block] = []
        block_hash = self.hash_of(block)
        while block_hash not in self._chains:
            missing.append(self.blocks[block_hash])
            block_hash = missing[-1].header.previous
        coins, assets = self._chains[block_hash]
        for each in reversed(missing):
            delta = apply(self.params, self._states[each.header.previous], each, coins, assets).delta
            coins = {o: coin for o, coin in coins.items() if o not in delta.spent} | delta.created
            assets = {**assets, **{name: record for name, record in delta.assets.items() if record is not None}}
        self._chains[self.hash_of(block)] = coins, assets
        return coins, assets

    def mine(
        self,
        parent: Block | BlockHash | None = None,
        transactions: Sequence[Transaction] = (),
        *,
        to: int = 1,
        reward: int | None = None,
        time: int | None = None,
        valid: bool = True,
    ) -> Block:
        """A new block, unlike any other, that pays its reward to key `to`.

        `reward` is in grain, by default all that is due. An invalid block (`valid=False`) has valid work
        and may have children, but no coins.
        """
        state = self.state(parent)
        height = state.height + 1
        self._made += 1
        if reward is None:
            reward = block_subsidy(self.params, height) + self._fees(parent, transactions, height)
        memo = b"block %d of a test, made for it" % self._made
        first = coinbase(height, [pay(to, reward)] if reward else [], memo)
        return self.add(build(self.params, state, [first, *transactions], time), valid=valid)

    def _fees(self, parent: Block | BlockHash | None, transactions: Sequence[Transaction], height: int) -> int:
        if not transactions:
            return 0
        known = dict(self.coins(parent))
        fees = 0
        for tx in transactions:
            fees += transaction_fee(self.params, height, tx, known)
            known |= {OutPoint(tx.txid, i): Coin(o, height, False) for i, o in enumerate(tx.core.outputs)}
        return fees

    def add(self, block: Block, *, valid: bool = True) -> Block:
        """Take a block that was made elsewhere, so that others can be built on it."""
        if valid:
            check_block(self.params, block)
        self._states[block.hash] = check_header(self.params, block.header, self.state(block.header.previous))
        self.blocks[block.hash] = block
        return block

    def mine_chain(self, parent: Block | BlockHash | None, count: int, *, to: int = 1) -> list[Block]:
        """`count` empty blocks in a row, oldest first."""
        made: list[Block] = []
        for _ in range(count):
            made.append(self.mine(made[-1] if made else parent, to=to))
        return made

    def draw(self, drawing: str) -> dict[str, Block]:
        """Empty blocks by name. Each line names a block that exists (or genesis), then its descendants in a row."""
        named: dict[str, Block] = {"genesis": self.params.genesis}
        for line in drawing.split("\n"):
            first, *rest = line.split() or [""]
            parent = named[first] if first else None
            for name in rest:
                parent = named[name] = self.mine(parent, to=1 + len(named) % 16)
        del named["genesis"]
        return named

    def spend(
        self, block: Block | BlockHash, outpoints: Iterable[OutPoint], outputs: Sequence[Output], **more: Any
    ) -> Transaction:
        """A signed payment of coins that exist after `block`."""
        coins = self.coins(block)
        return spend({outpoint: coins[outpoint] for outpoint in outpoints}, outputs, params=self.params, **more)

    def mature(self, block: Block | BlockHash, to: int = 1) -> list[OutPoint]:
        """Coins of key `to` that a child of `block` may spend, in a fixed order."""
        height = self.state(block).height + 1
        ripe = [
            outpoint
            for outpoint, coin in self.coins(block).items()
            if coin.output.lock == lock(to)
            and (not coin.coinbase or height >= coin.height + self.params.coinbase_maturity)
        ]
        return sorted(ripe, key=lambda outpoint: (outpoint.txid, outpoint.index))

    def chain(self, block: Block | BlockHash) -> list[Block]:
        """All blocks from the first after genesis to `block`."""
        found: list[Block] = []
        block_hash = self.hash_of(block)
        while block_hash != self.params.genesis_hash:
            found.append(self.blocks[block_hash])
            block_hash = found[-1].header.previous
        return found[::-1]


def reward_of(block: Block) -> OutPoint:
    """The first output of a block's coinbase."""
    return OutPoint(block.transactions[0].txid, 0)


def state_hash(coins: Coins, assets: Book | None = None) -> bytes:
    """The state hash, by the letter of its definition: H of the sorted entries, joined."""
    entries = [coin_entry(outpoint, coin) for outpoint, coin in coins.items()]
    entries += [asset_entry(name, record) for name, record in (assets or {}).items()]
    joined = b"".join(sorted(entries))
    return sha256(sha256(joined).digest()).digest()


def stored_assets(store: ChainStore) -> dict[AssetId, Asset]:
    """All assets in a store."""
    return dict(store.assets())


def stored_coins(store: ChainStore) -> dict[OutPoint, Coin]:
    """All coins in a store."""
    return dict(store.coins())


def recorder() -> tuple[Any, list[Mapping[str, Any]]]:
    """A structlog logger, and the list of the lines that it is given."""
    capture = LogCapture()
    return structlog.wrap_logger(None, processors=[capture]), capture.entries  # type: ignore[return-value]


def chain_manager(
    database: Database,
    params: Params = PARAMS,
    *,
    clock: Clock | None = None,
    workers: Workers | None = None,
    log: Any = None,
    reindex: bool = False,
    model: ChainModel | None = None,
) -> ChainManager:
    """A chain manager on `database`, not started yet, whose every height is held against the model."""
    store = ChainStore(database, params, reindex=reindex)
    manager = ChainManager(params, store, workers or InlineWorkers(), clock or ManualClock(), log or recorder()[0])
    watch(manager, store, params, model)
    return manager


@asynccontextmanager
async def running(
    database: Database,
    params: Params = PARAMS,
    *,
    clock: Clock | None = None,
    workers: Workers | None = None,
    log: Any = None,
    reindex: bool = False,
    model: ChainModel | None = None,
) -> AsyncIterator[ChainManager]:
    """A chain manager on `database`, started, and closed at the end. The database stays open."""
    manager = chain_manager(database, params, clock=clock, workers=workers, log=log, reindex=reindex, model=model)
    await manager.start()
    try:
        yield manager
    finally:
        await manager.close()
    # Where no fixture does it, as in a child process, nobody else would.
    raise_broken()


async def feed(manager: ChainManager, blocks: Iterable[Block]) -> list[BlockResult]:
    """Hand in blocks one after the other, as if they had been asked for."""
    return [await manager.accept_block(block, wanted=True) for block in blocks]


def lines(entries: Sequence[Mapping[str, Any]], event: str) -> Iterator[Mapping[str, Any]]:
    """The log lines of one event."""
    return (entry for entry in entries if entry["event"] == event)
