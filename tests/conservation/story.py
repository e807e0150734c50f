"""One chain with forks, full of random transactions, through a real chain manager; all is counted at each height.

Each transaction is made for the state in which it would be, and shown to the rules. What they take goes into a block;
what they refuse is counted, and now and then put into a block nevertheless, which must be refused as a whole.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from msgspec.structs import replace

from consensus.assets import AssetEffects, asset_effects
from consensus.codec import decode_block, decode_transaction
from consensus.errors import ConsensusError, Rule
from consensus.params import REGTEST
from consensus.signatures import verify_all
from consensus.state import ChainState, SpendContext, genesis_state
from consensus.subsidy import block_subsidy
from consensus.types import Block, BlockHash, Transaction
from consensus.validation import check_header, check_spends, check_transaction, transaction_fee
from node.chain import ChainManager
from node.chain_events import BlockStatus
from node.chain_stats import coin_statistics
from node.storage.chain_store import ChainStore
from node.storage.store import Database
from simnet.errors import InvariantBroken
from simnet.invariants import ChainModel
from tests.conservation.wishes import PEOPLE, Holdings, Wishes, spoil
from tests.support.assets import records_for
from tests.support.chain import running
from tests.support.rules import build, coinbase, pay

PARAMS = replace(REGTEST, coinbase_maturity=2)
TRUNK = 12
"""Empty blocks to begin with: coins for everybody."""
BLOCKS = 30
PER_BLOCK = 120
"""Transactions made for a block, refused ones included."""
SPOILED = 0.4
FORK_ODDS = 0.2
MAX_DEPTH = 6


class Story:
    """Told once."""

    def __init__(self, seed: int, manager: ChainManager, store: ChainStore, model: ChainModel) -> None:
        """
        Args:
            model: what the manager is held against at each change of its tip.
        """
        self._random = Random(f"conservation {seed}")
        self._manager = manager
        self._store = store
        self._model = model
        self._states: dict[BlockHash, ChainState] = {PARAMS.genesis_hash: genesis_state(PARAMS)}
        self._bodies: dict[BlockHash, tuple[Transaction, ...]] = {}
        self._wishes = Wishes(self._random, PARAMS)
        self._refused: list[Transaction] = []
        self._wrong: Transaction | None = None
        """One that is refused after the block that was filled last, too."""
        self._made = 0
        self._left: BlockHash | None = None
        """A tip that was left, to come back to."""
        self.counts: Counter[str] = Counter()

    async def tell(self, blocks: int = BLOCKS) -> Counter[str]:
        """Tell it; return what it came to.

        Raises:
            InvariantBroken: something is not conserved, or a block was taken or refused that should not have been.
        """
        tip = PARAMS.genesis_hash
        for _ in range(TRUNK):
            tip = await self._extend(tip, ())
        for _ in range(blocks):
            if self._random.random() < FORK_ODDS:
                tip = await self._fork(tip)
            else:
                tip = await self._extend(tip, self._fill(tip, PER_BLOCK))
        statistics = await coin_statistics(self._manager, self._store)
        if statistics.state_hash != self._model.state_hash(tip):
            raise InvariantBroken("the state hash is another than the model's")
        self._model.check_index("the node", self._store, tip)
        return self.counts

    # --- branches ---------------------------------------------------------------------------------------------

    async def _fork(self, tip: BlockHash) -> BlockHash:
        """Leave some blocks for a branch of more; now and then go back to a tip that was left before."""
        old = self._states[tip]
        again: list[Transaction] = []
        if self._left is not None and self._random.random() < 0.4:
            end = self._left
        else:
            depth = self._random.randint(1, min(MAX_DEPTH, old.height - TRUNK + 1))
            end = tip
            for _ in range(depth):
                again += self._bodies[end]
                end = self._model.states[end].previous
        self._left = tip
        while self._states[end].work <= old.work:
            # Some of what the losing blocks held comes again, where it still is valid.
            returned = [tx for tx in again if self._random.random() < 0.5][: PER_BLOCK // 2]
            end = await self._extend(end, self._fill(end, PER_BLOCK // 3, returned))
        if self._manager.tip.hash != end:
            raise InvariantBroken("the node is not on the branch with the most work")
        self.counts["reorgs"] += 1
        return end

    async def _extend(self, parent: BlockHash, transactions: tuple[Transaction, ...]) -> BlockHash:
        """Give the node a block with these transactions; before it, at times, one that it must refuse."""
        wrong, self._wrong = self._wrong, None
        if self._manager.tip.hash == parent and wrong is not None and self._random.random() < 0.3:
            await self._offer_bad(parent, (*transactions, wrong))
        block = decode_block(self._block(parent, transactions).encoded)
        self._states[block.hash] = check_header(PARAMS, block.header, self._states[parent])
        self._model.add(block)
        self._bodies[block.hash] = transactions
        result = await self._manager.accept_block(block, wanted=True)
        if result.status not in {BlockStatus.CONNECTED, BlockStatus.SIDE_BRANCH}:
            raise InvariantBroken(f"a valid block is {result.status}: {result.error}")
        self._model.check("the node", self._store, self._manager.tip.hash)
        self.counts["blocks taken"] += 1
        self.counts["transactions in blocks"] += len(transactions)
        return block.hash

    async def _offer_bad(self, parent: BlockHash, transactions: tuple[Transaction, ...]) -> None:
        """Give the node a block of which the last transaction breaks a rule: it changes nothing."""
        self.counts["blocks refused"] += 1
        try:
            block = decode_block(self._block(parent, transactions).encoded)
        except ConsensusError:
            return  # as bytes it is no block: no node gets further
        result = await self._manager.accept_block(block, wanted=True)
        if result.status not in {BlockStatus.INVALID, BlockStatus.MUTATED} or self._manager.tip.hash != parent:
            raise InvariantBroken(f"a block with a refused transaction is {result.status}")
        self._model.check("the node", self._store, parent)

    def _block(self, parent: BlockHash, transactions: tuple[Transaction, ...]) -> Block:
        state = self._states[parent]
        self._made += 1
        height = state.height + 1
        # Fees are lost with it, now and then part of the reward as well.
        reward = block_subsidy(PARAMS, height) - self._random.choice((0, 0, 1, 10**6))
        first = coinbase(height, [pay(1 + self._made % PEOPLE, reward)], b"block %6d of a story of coins" % self._made)
        return build(PARAMS, state, [first, *transactions])

    # --- transactions -----------------------------------------------------------------------------------------

    def _fill(
        self, parent: BlockHash, count: int, returned: list[Transaction] | None = None
    ) -> tuple[Transaction, ...]:
        """Make transactions for a block; return those that the rules take, in order."""
        state, after = self._states[parent], self._model.states[parent]
        holdings = Holdings(after.coins, {name: asset.record for name, asset in after.assets.items()})
        context = SpendContext(state.height + 1, state.median_time)
        self._refused = self._refused[-20:]
        taken = [tx for tx in reversed(returned or ()) if self._judge(tx, holdings, context, signed=True)]
        for _ in range(count):
            self.counts["transactions"] += 1
            tx = self._wishes.next(holdings)
            if self._random.random() < SPOILED:
                tx = spoil(self._random, tx, holdings, self._wishes.sign)
                self.counts["transactions spoiled"] += 1
                if self._judge(tx, holdings, context):
                    taken.append(tx)
            elif self._judge(tx, holdings, context, signed=True):
                taken.append(tx)
        # What came too early may be valid by now: it is judged again, after all that the block holds.
        wrong = [tx for tx in self._refused if _breaks_a_rule(tx, holdings, context)]
        self._wrong = self._random.choice(wrong) if wrong else None
        return tuple(taken)

    def _judge(self, tx: Transaction, holdings: Holdings, context: SpendContext, *, signed: bool = False) -> bool:
        """Let the rules judge a transaction, as a node does; if it is valid, it is done.

        Args:
            signed: whether its signatures surely hold: they are verified with its block in any case.
        """
        try:
            tx = decode_transaction(tx.encoded)
            effects = judged(tx, holdings, context, signed=signed)
        except ConsensusError as error:
            self.counts[f"refused: {error.rule}"] += 1
            self._refused.append(tx)
            return False
        holdings.take(tx, context.height, effects.records)
        return True


def _breaks_a_rule(tx: Transaction, holdings: Holdings, context: SpendContext) -> bool:
    try:
        judged(decode_transaction(tx.encoded), holdings, context, signed=False)
    except ConsensusError:
        return True
    return False


def judged(tx: Transaction, holdings: Holdings, context: SpendContext, *, signed: bool) -> AssetEffects:
    """Return what a valid transaction does to assets.

    Raises:
        ConsensusError: the rule that it breaks.
    """
    check_transaction(PARAMS, tx)
    coins = {name: holdings.coins[name] for name in tx.core.inputs if name in holdings.coins}
    transaction_fee(PARAMS, context.height, tx, coins)
    effects = asset_effects(tx, coins, records_for([tx], coins.values(), holdings.assets))
    checks = check_spends(PARAMS, context, tx, coins, effects.approvals)
    if not signed and verify_all(checks) is not None:
        raise ConsensusError(Rule.BAD_SIGNATURE)
    return effects


async def tell(seed: int, database: Database, blocks: int = BLOCKS) -> Counter[str]:
    """Tell one story on an empty database; return what it came to."""
    model = ChainModel(PARAMS)
    async with running(database, PARAMS, model=model) as manager:
        return await Story(seed, manager, ChainStore(database, PARAMS), model).tell(blocks)
