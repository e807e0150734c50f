"""Long chains, made once and kept in a folder: each is a node's database, ready to be copied.

Every block is made here, with its work and its signatures, and taken by the chain manager of a node over its real
database: no rule is skipped. A chain grows out of the next shorter one, and one that was interrupted goes on where it
was; the blocks have the times of an even pace from genesis on, so the same chain is made again to the byte.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from consensus.merkle import merkle_root
from consensus.params import REGTEST
from consensus.pow import target_from_bits
from consensus.state import ChainState
from consensus.subsidy import block_subsidy
from consensus.types import Block, Header, LockId, Transaction
from node.block_template import make_coinbase
from node.chain import ChainManager
from node.clock import SystemClock
from node.storage.chain_store import ChainStore
from node.storage.lmdb_store import LmdbDatabase
from node.storage.schema import STORAGE_VERSION, TABLES
from node.workers import ProcessWorkers
from scripts.benchmarks.harness import silent_log, tell
from scripts.benchmarks.money import REWARD, Coin, DurePurse

DEFAULT_FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dure-bench"
RECIPE = 1
"""To be raised when chains are made otherwise: older ones are not used any more."""
EMPTY_AT_ONCE, PAID_AT_ONCE = 1_000, 32
"""Blocks that are handed to the chain manager together, so that they share its writes."""
PER_BLOCK = 1_000
"""Transactions in a block of payments."""
FANS = 8
"""Rewards that are split into the first coins of a chain of payments: 16,000 of them."""
FUNDING = REGTEST.coinbase_maturity + FANS
"""Blocks before the first payment: those rewards, and until the last of them may be spent; with its split."""


class Kept(NamedTuple):
    """A chain in its folder."""

    folder: Path
    """Holds `chain`, as a node's folder does."""
    blocks: int
    payments: int

    def copy_to(self, folder: Path) -> None:
        """Put the chain into the folder of a node that does not run yet."""
        shutil.copytree(self.folder / "chain", folder / "chain")


class ChainLibrary:
    """The chains that are kept in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / f"{RECIPE}-{STORAGE_VERSION}-{REGTEST.genesis_hash[::-1].hex()[:8]}"

    def empty(self, blocks: int) -> Kept:
        """Return a chain of so many blocks without payments."""
        return Kept(self._ready("empty", blocks), blocks, 0)

    def paid(self, payments: int) -> Kept:
        """Return a chain with so many payments, a multiple of a block's, of one input and two outputs.

        Each spends the coin that has waited longest, so every payment adds a coin to the 16,000 of the beginning.
        """
        blocks = FUNDING + payments // PER_BLOCK
        return Kept(self._ready("paid", blocks), blocks, payments)

    def _ready(self, kind: str, blocks: int) -> Path:
        made, growing = self.folder / f"{kind}-{blocks}", self.folder / f"{kind}-{blocks}-growing"
        if made.exists():
            return made
        if not growing.exists():
            begun = growing.with_name(f"{kind}-{blocks}-begun")
            shutil.rmtree(begun, ignore_errors=True)
            begun.mkdir(parents=True)
            lengths = [int(each.name.removeprefix(f"{kind}-")) for each in self.folder.glob(f"{kind}-*[0-9]")]
            if shorter := max((length for length in lengths if length < blocks), default=0):
                shutil.copytree(self.folder / f"{kind}-{shorter}" / "chain", begun / "chain")
            begun.rename(growing)
        asyncio.run(grow(growing, blocks, paying=kind == "paid"))
        growing.rename(made)
        return made


async def grow(folder: Path, blocks: int, *, paying: bool) -> None:
    """Make the chain in a folder so long."""
    database = LmdbDatabase(folder / "chain", TABLES, version=STORAGE_VERSION, identity=REGTEST.genesis_hash)
    store, workers = ChainStore(database, REGTEST), ProcessWorkers(silent_log())
    chain = ChainManager(REGTEST, store, workers, SystemClock(), silent_log())
    try:
        await chain.start()
        maker = _Maker(chain.tip, paying=paying)
        for height in range(1, chain.tip.height + 1) if paying else ():
            block = chain.block_at(height)
            if block is None:
                raise SystemExit(f"block {height} of {folder} is not there: delete that folder")
            maker.catch_up(height, block)
        at_once = PAID_AT_ONCE if paying else EMPTY_AT_ONCE
        while chain.tip.height < blocks:
            tell(f"a chain of {blocks:,} blocks is made, once: {chain.tip.height:,} …")
            more = [maker.block() for _ in range(min(at_once, blocks - chain.tip.height))]
            for result in await asyncio.gather(*(chain.accept_block(block, wanted=True) for block in more)):
                if result.error is not None:
                    raise SystemExit(f"a block of the bench is not valid: {result.error}")
    finally:
        await chain.close()
        await workers.close()
        store.close()


class _Maker:
    """Makes one block after the other."""

    def __init__(self, tip: ChainState, *, paying: bool) -> None:
        self._previous, self._height = tip.hash, tip.height
        self._paying = paying
        self._purse = DurePurse()
        self._lock: LockId = self._purse.lock
        self._coins: deque[Coin] = deque()
        """Those that can be spent, in the order in which they are."""

    def catch_up(self, height: int, block: Block) -> None:
        """Take note of a block that this maker, or an earlier one, has made."""
        coinbase, *others = block.transactions
        if height <= FANS:
            self._coins.append(Coin(coinbase.txid, 0, REWARD))
        for tx in others:
            self._coins.popleft()
            self._coins.extend(Coin(tx.txid, n, int(output.value)) for n, output in enumerate(tx.core.outputs))

    def block(self) -> Block:
        """Return the next block."""
        height = self._height + 1
        coinbase = make_coinbase(height, block_subsidy(REGTEST, height), self._lock)
        transactions = (coinbase, *self._payments(height))
        bits, nonce = REGTEST.start_bits, 0
        root = merkle_root([tx.wtxid for tx in transactions])
        while True:
            time = REGTEST.genesis.header.time + REGTEST.spacing * height
            header = Header(1, self._previous, root, time, bits, nonce)
            if int.from_bytes(header.hash, "little") <= target_from_bits(bits):
                break
            nonce += 1
        block = Block(header, transactions)
        self._previous, self._height = header.hash, height
        if self._paying:
            self.catch_up(height, block)
        return block

    def _payments(self, height: int) -> Iterator[Transaction]:
        if not self._paying or height <= REGTEST.coinbase_maturity:
            return
        if height <= FUNDING:
            yield self._purse.fan(self._coins[0], self._lock)
            return
        for coin in list(islice(self._coins, PER_BLOCK)):
            yield self._purse.payment(coin)
