"""Wallets in memory, and a chain for them to follow: real blocks with tiny work, coinbases that mature after ten."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from consensus.address import decode_address
from consensus.params import Params, sim_params
from consensus.subsidy import block_subsidy
from consensus.types import Amount, Block, BlockHash, LockId, OutPoint, Output, Transaction
from node.storage.files import MemoryFiles
from node.storage.memory_store import MemoryDatabase
from tests.support.chain import ChainBuilder, ManualClock
from tests.support.rules import build, coinbase, pay
from wallet.ports import Database, Outside
from wallet.results import Payment, RelayTerms
from wallet.store import TABLES
from wallet.wallet import Wallet

PARAMS = sim_params(5, 0x207FFFFF, 0x207FFFFF)
TERMS = RelayTerms(fee_rate=1_000)
WORDS = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
OTHER_WORDS = "legal winner thank year wave sausage worth useful legal winner thank yellow"
DURE = 100_000_000


class Silent:
    """A log that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, *args: Any, **facts: Any) -> None:
        self.lines.append((event, facts))

    def warning(self, event: str, *args: Any, **facts: Any) -> None:
        self.lines.append((event, facts))


def outside(seed: int = 1) -> Outside:
    """Everything that a wallet asks for, empty."""
    return Outside(MemoryFiles(), MemoryDatabase(TABLES), random.Random(seed), ManualClock(), Silent())


def new_wallet(
    world: Outside | None = None, mnemonic: str | None = WORDS, params: Params = PARAMS, **more: Any
) -> Wallet:
    return Wallet.create(params, world or outside(), mnemonic=mnemonic, allow_plain=True, **more)


def reopened(world: Outside, params: Params = PARAMS) -> Wallet:
    """The wallet as the next process finds it."""
    return Wallet.open(params, world, allow_plain=True)


class Killed(BaseException):
    """The process is gone."""


class DyingDatabase:
    """A database that is gone after so many writes: the next one does not happen, nor any later one."""

    def __init__(self, database: Database, left: int) -> None:
        self._database = database
        self.left = left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def write(self, changes: Iterable[Any]) -> None:
        if self.left <= 0:
            raise Killed
        self.left -= 1
        self._database.write(changes)


def lock_of(address: str) -> LockId:
    return decode_address(PARAMS, address)


class Chain:
    """Blocks on any branch, with all consensus rules; key 1 is the rest of the world and has 30 mature rewards."""

    def __init__(self, params: Any = PARAMS, rewards: int = 40) -> None:
        self.builder = ChainBuilder(params)
        self.params = params
        self.base: Block = self.builder.mine_chain(None, rewards)[-1]

    def mine(
        self,
        parent: Block,
        transactions: Sequence[Transaction] = (),
        *,
        to: LockId | None = None,
        time: int | None = None,
    ) -> Block:
        """A block on `parent`; its reward goes to a lock, or to the rest of the world."""
        if to is None:
            return self.builder.mine(parent, transactions, time=time)
        state = self.builder.state(parent)
        height = state.height + 1
        reward = Output(
            Amount(block_subsidy(self.params, height) + self.builder._fees(parent, transactions, height)), to, None
        )
        self.builder._made += 1
        first = coinbase(height, [reward], b"block %d of a test, for a wallet" % self.builder._made)
        return self.builder.add(build(self.params, state, [first, *transactions], time))

    def mine_many(self, parent: Block, count: int) -> Block:
        return self.builder.mine_chain(parent, count)[-1]

    def gift(self, parent: Block, payments: Iterable[tuple[LockId, int]], which: int = 0) -> Transaction:
        """A payment out of the `which`-th mature reward of the rest of the world."""
        source = self.builder.mature(parent)[which]
        outputs = [Output(Amount(value), lock, None) for lock, value in payments]
        left = self.builder.coins(parent)[source].output.value - sum(output.value for output in outputs) - 1_000
        return self.builder.spend(parent, [source], [*outputs, pay(1, left)])

    def follow(self, wallet: Wallet, tip: Block) -> None:
        """Bring a wallet to a tip, as a node does: revert to the fork, then apply."""
        wanted = {self.params.genesis_hash: 0} | {b.hash: h for h, b in enumerate(self.builder.chain(tip), 1)}
        reverted: list[Block] = []
        at: BlockHash = wallet.cursor.hash
        while at not in wanted:
            reverted.append(self.builder.blocks[at])
            at = reverted[-1].header.previous
        wallet.handle_updates(reverted, self.builder.chain(tip)[wanted[at] :])

    def owned(self, tip: Block, wallet: Wallet) -> dict[OutPoint, int]:
        """The wallet's coins as the rules see them after `tip`: what its balances must add up to."""
        return {
            outpoint: coin.output.value
            for outpoint, coin in self.builder.coins(tip).items()
            if wallet.is_mine(coin.output.lock)
        }


def payment(address: str, amount: int) -> Payment:
    return Payment(lock_of(address), Amount(amount))
