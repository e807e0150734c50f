"""What must be so at every block: the rules of coins and assets read a second time, with no code of the node's.

The model is given each block that any node connects, once, and works out what is there after it, on whatever branch it
is. At every new tip of every node the records that the node stores are held against it, all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from consensus.codec import asset_entry, coin_entry, encode
from consensus.params import Params
from consensus.types import Asset, AssetId, Block, BlockHash, Coin, OutPoint, Output, TxId
from node.block_index import BlockEntry
from node.mempool import Mempool
from node.storage.chain_store import ChainStore
from simnet.asset_model import ModelAsset, check_sums, follow, right_of
from simnet.errors import InvariantBroken


@dataclass(frozen=True, slots=True)
class ModelState:
    """A block, and everything that is so after it."""

    height: int
    hash: BlockHash
    previous: BlockHash
    coins: dict[OutPoint, Coin]
    """All that are unspent."""
    assets: dict[AssetId, ModelAsset]
    """All that were ever defined."""
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
        self.states: dict[BlockHash, ModelState] = {genesis: ModelState(0, genesis, genesis, {}, {}, 0, 0, ())}
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
        coins, assets = dict(parent.coins), dict(parent.assets)
        fees = 0
        coinbase, *others = block.transactions
        for tx in others:
            spent = [self._take(coins, outpoint, height) for outpoint in tx.core.inputs]
            fee = _dure(spent) - _dure(tx.core.outputs)
            if fee < 0:
                raise InvariantBroken(f"block {height} pays {-fee} grain more than it spends")
            fees += fee
            follow(tx, spent, assets, self._params.genesis_hash)
            for index, output in enumerate(tx.core.outputs):
                coins[OutPoint(tx.txid, index)] = Coin(output, height, False)
        subsidy = self._subsidy(height)
        paid = _dure(coinbase.core.outputs)
        if paid > subsidy + fees:
            raise InvariantBroken(f"block {height} makes {paid} grain out of {subsidy} and fees of {fees}")
        for index, output in enumerate(coinbase.core.outputs):
            coins[OutPoint(coinbase.txid, index)] = Coin(output, height, True)
        state = ModelState(
            height,
            block.hash,
            parent.hash,
            coins,
            assets,
            parent.scheduled + subsidy,
            parent.lost + subsidy + fees - paid,
            tuple(tx.txid for tx in block.transactions),
        )
        total = check_sums(coins.values(), assets)
        if total != state.scheduled - state.lost:
            raise InvariantBroken(f"block {height}: {total} grain in coins, {state.scheduled} made, {state.lost} lost")
        self.states[block.hash] = state
        return state

    def learn(self, store: ChainStore, entry: BlockEntry | None) -> None:
        """Add a block, and all before it that are not known yet: those that were connected with nobody told.

        Raises:
            InvariantBroken: as `add`.
            StorageError: one cannot be read.
        """
        unknown: list[Block] = []
        while entry is not None and entry.hash not in self.states:
            unknown.append(store.read_block(entry.height, entry.hash))
            entry = entry.parent
        for block in reversed(unknown):
            self.add(block)

    def _take(self, coins: dict[OutPoint, Coin], outpoint: OutPoint, height: int) -> Output:
        """Spend a coin in a block of `height`."""
        coin = coins.pop(outpoint, None)
        if coin is None:
            raise InvariantBroken(f"block {height} spends a coin that is not there: {_text(outpoint)}")
        if coin.coinbase and height < coin.height + self._params.coinbase_maturity:
            raise InvariantBroken(f"block {height} spends a reward of block {coin.height}: too young")
        return coin.output

    def _subsidy(self, height: int) -> int:
        halvings = height // self._params.subsidy_interval
        return int(self._params.initial_subsidy) >> halvings

    def check(self, who: str, store: ChainStore, tip: BlockHash) -> None:
        """Hold all coins and assets that a node stores against those that must be there after `tip`.

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
        _check_records(who, state, dict(store.assets()))

    def check_step(self, who: str, store: ChainStore, old: BlockHash, new: BlockHash) -> None:
        """As `check`, but only of the coins that differ between two tips, and of all assets: for long chains.

        Raises:
            InvariantBroken: what a node stores after `new` differs.
        """
        before, after = self.states[old], self.states[new]
        changed = before.coins.keys() ^ after.coins.keys()
        if store.read_coins(changed) != {name: after.coins[name] for name in changed if name in after.coins}:
            raise InvariantBroken(
                f"{who} at height {after.height} has other coins among the {len(changed)} that changed"
            )
        _check_records(who, after, store.read_assets([*before.assets, *after.assets]))

    def check_index(self, who: str, store: ChainStore, tip: BlockHash) -> None:
        """Hold what a node's index of assets says of coins against the coins that are there after `tip`.

        Raises:
            InvariantBroken: they differ.
        """
        state = self.states[tip]
        for name in state.assets:
            for carried in (name, right_of(name)):
                where = {outpoint for outpoint, coin in state.coins.items() if coin.output.asset == carried}
                if set(store.asset_index.coins(carried)) != where:
                    raise InvariantBroken(f"the index of {who} does not know where {carried.hex()[:16]} is")

    def state_hash(self, tip: BlockHash) -> bytes:
        """Return the state hash after a block, by the letter of its definition."""
        state = self.states[tip]
        entries = [coin_entry(outpoint, coin) for outpoint, coin in state.coins.items()]
        entries += [asset_entry(name, asset.record) for name, asset in state.assets.items()]
        return sha256(sha256(b"".join(sorted(entries))).digest()).digest()

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


def _check_records(who: str, state: ModelState, stored: Mapping[AssetId, Asset]) -> None:
    wanted = {name: asset.record for name, asset in state.assets.items()}
    if stored != wanted:
        names = [name for name in {**stored, **wanted} if stored.get(name) != wanted.get(name)]
        first = f"{names[0].hex()[:16]} is {stored.get(names[0])}, and must be {wanted.get(names[0])}"
        raise InvariantBroken(f"{who} at height {state.height} has {len(names)} other records of assets: {first}")


def _dure(outputs: Iterable[Output]) -> int:
    return sum(output.value for output in outputs if output.asset is None)


def _text(outpoint: OutPoint) -> str:
    return f"{encode(outpoint).hex()[6:22]}…/{outpoint.index}"
