"""What must be so at every block: a second reading of the rules of coins, that shares no code with the node's.

The model is given each block that any node connects, once, and works out the coins after it, on whatever branch it is.
At every new tip of every node the records that the node stores are held against it, all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from consensus.codec import coin_entry, encode
from consensus.params import Params
from consensus.types import Block, BlockHash, Coin, OutPoint, TxId
from node.mempool import Mempool
from node.storage.chain_store import ChainStore
from simnet.errors import InvariantBroken


@dataclass(frozen=True, slots=True)
class ModelState:
    """A block, and everything that is so after it."""

    height: int
    hash: BlockHash
    previous: BlockHash
    coins: dict[OutPoint, Coin]
    """All that are unspent."""
    scheduled: int
    """Grain that the subsidies up to here add up to."""
    lost: int
    """Grain that coinbases could have taken and did not."""
    transactions: tuple[TxId, ...]
    """Of this block."""


class ChainModel:
    """Every block that was ever connected by anybody."""

    def __init__(self, params: Params) -> None:
        self._params = params
        genesis = params.genesis_hash
        self.states: dict[BlockHash, ModelState] = {genesis: ModelState(0, genesis, genesis, {}, 0, 0, ())}
        self.checks = 0
        """How often a node's coins were held against the model."""

    def add(self, block: Block) -> ModelState:
        """Work out what is so after a block whose parent is known.

        Raises:
            InvariantBroken: it breaks a rule, though a node connected it.
        """
        known = self.states.get(block.hash)
        if known is not None:
            return known
        parent = self.states.get(block.header.previous)
        if parent is None:
            raise InvariantBroken("a block was connected whose parent was not")
        height = parent.height + 1
        coins = dict(parent.coins)
        fees = 0
        coinbase, *others = block.transactions
        for tx in others:
            spent = 0
            for outpoint in tx.core.inputs:
                coin = coins.pop(outpoint, None)
                if coin is None:
                    raise InvariantBroken(f"block {height} spends a coin that is not there: {_text(outpoint)}")
                if coin.coinbase and height < coin.height + self._params.coinbase_maturity:
                    raise InvariantBroken(f"block {height} spends a reward of block {coin.height}: too young")
                spent += coin.output.value
            fees += spent - sum(output.value for output in tx.core.outputs)
            for index, output in enumerate(tx.core.outputs):
                coins[OutPoint(tx.txid, index)] = Coin(output, height, False)
        subsidy = self._subsidy(height)
        paid = sum(output.value for output in coinbase.core.outputs)
        if fees < 0 or paid > subsidy + fees:
            raise InvariantBroken(f"block {height} makes {paid} grain out of {subsidy} and fees of {fees}")
        for index, output in enumerate(coinbase.core.outputs):
            coins[OutPoint(coinbase.txid, index)] = Coin(output, height, True)
        state = ModelState(
            height,
            block.hash,
            parent.hash,
            coins,
            parent.scheduled + subsidy,
            parent.lost + subsidy + fees - paid,
            tuple(tx.txid for tx in block.transactions),
        )
        total = sum(coin.output.value for coin in coins.values())
        if total != state.scheduled - state.lost:
            raise InvariantBroken(f"block {height}: {total} grain in coins, {state.scheduled} made, {state.lost} lost")
        self.states[block.hash] = state
        return state

    def _subsidy(self, height: int) -> int:
        halvings = height // self._params.subsidy_interval
        return int(self._params.initial_subsidy) >> halvings

    def check(self, who: str, store: ChainStore, tip: BlockHash) -> None:
        """Hold all coins that a node stores against those that must be there after `tip`.

        Raises:
            InvariantBroken: they differ.
        """
        self.checks += 1
        state = self.states.get(tip)
        if state is None:
            raise InvariantBroken(f"{who} stands on a block that nobody connected")
        stored = dict(store.coins())
        if stored != state.coins:
            more = [_text(outpoint) for outpoint in stored if outpoint not in state.coins]
            less = [_text(outpoint) for outpoint in state.coins if outpoint not in stored]
            raise InvariantBroken(f"{who} at height {state.height} has {more} too many, lacks {less}")

    def state_hash(self, tip: BlockHash) -> bytes:
        """Return the state hash after a block, by the letter of its definition."""
        joined = b"".join(sorted(coin_entry(outpoint, coin) for outpoint, coin in self.states[tip].coins.items()))
        return sha256(sha256(joined).digest()).digest()

    def chain(self, tip: BlockHash) -> list[ModelState]:
        """Return the states from the first block to `tip`."""
        found: list[ModelState] = []
        while tip != self._params.genesis_hash:
            found.append(self.states[tip])
            tip = found[-1].previous
        return found[::-1]


def check_mempool(who: str, mempool: Mempool) -> None:
    """Check that a node's mempool agrees with itself: every parent there, every sum and order right, within its bound.

    Raises:
        InvariantBroken: naming what is not so.
    """
    try:
        mempool.check_invariants()
    except ValueError as error:
        raise InvariantBroken(f"{who}: in the mempool {error}") from None


def _text(outpoint: OutPoint) -> str:
    return f"{encode(outpoint).hex()[6:22]}…/{outpoint.index}"
