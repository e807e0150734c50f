"""A chain in memory that knows only the rules, and a mempool on it: for tests of what waits for blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from msgspec.structs import replace

from consensus.apply import revert_block
from consensus.codec import MAX_BLOCK_SIZE, decode_block, display_hash
from consensus.params import REGTEST, Params
from consensus.signatures import SignatureCheck, verify_all
from consensus.state import BlockUndo, ChainState, genesis_state
from consensus.types import Asset, AssetId, Block, Coin, OutPoint, Output, Transaction
from consensus.validation import MAX_BLOCK_SIGNATURES, check_block, check_header
from miner.work import EXTRANONCE_SIZE
from node.block_template import BLOCK_VERSION, BlockTemplate, BlockTemplates
from node.chain_events import BlockResult, BlockStatus, TipChanged
from node.clock import Clock
from node.mempool import Mempool
from rpc import schema
from tests.support.assets import apply, settle
from tests.support.chain import ManualClock
from tests.support.rules import lock, mine, pay, spend

MATURITY = 5
PARAMS: Params = replace(REGTEST, coinbase_maturity=MATURITY)
"""Regtest with rewards that ripen soon; its genesis, so its signatures, are regtest's."""
FEE = 10_000
"""Grain: ample for a small transaction."""


def silent_log() -> Any:
    """A log that nobody reads."""
    return structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger("CRITICAL"))


class CountingVerifier:
    """Verifies in line, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def verify(self, checks: Sequence[SignatureCheck]) -> int | None:
        self.asked += 1
        return verify_all(checks)


class Ledger:
    """A best chain and its coins. It takes every valid block that is built on its tip."""

    def __init__(self, params: Params = PARAMS) -> None:
        self.params = params
        self.states: list[ChainState] = [genesis_state(params)]
        self.blocks: list[Block] = [params.genesis]
        self.undos: list[BlockUndo | None] = [None]
        self.coins: dict[OutPoint, Coin] = {}
        self.assets: dict[AssetId, Asset] = {}

    @property
    def tip(self) -> ChainState:
        return self.states[-1]

    def get_coins(self, outpoints: Iterable[OutPoint]) -> dict[OutPoint, Coin]:
        return {o: self.coins[o] for o in outpoints if o in self.coins}

    def get_assets(self, names: Iterable[AssetId]) -> dict[AssetId, Asset]:
        return {name: self.assets[name] for name in names if name in self.assets}

    def connect(self, block: Block) -> None:
        """Apply a block in full, signatures included."""
        check_block(self.params, block)
        state = check_header(self.params, block.header, self.tip)
        applied = apply(self.params, self.tip, block, self.coins, self.assets)
        assert verify_all(applied.checks) is None
        settle(applied.delta, self.coins, self.assets)
        self.states.append(state)
        self.blocks.append(block)
        self.undos.append(applied.undo)

    def disconnect(self) -> Block:
        block, undo = self.blocks.pop(), self.undos.pop()
        assert undo is not None
        delta = revert_block(block, self.tip.height, undo)
        self.states.pop()
        settle(delta, self.coins, self.assets)
        return block

    def mine(self, transactions: Sequence[Transaction] = (), *, to: int = 1, time: int | None = None) -> TipChanged:
        """Connect a new block with these transactions, its reward for key `to`, a second after the last."""
        old = self.tip
        block = mine(self.params, old, transactions, to=to, time=old.times[-1] + 1 if time is None else time)
        self.connect(block)
        return TipChanged((), (block,), old, self.tip, old.height)

    def reorg(self, depth: int, *bodies: Sequence[Transaction], to: int = 9) -> TipChanged:
        """Leave the newest `depth` blocks for a branch of new ones that hold `bodies`, oldest first.

        The rewards go to another key than usual, or the same blocks would come again.
        """
        old = self.tip
        disconnected = tuple(self.disconnect() for _ in range(depth))
        fork = self.tip.height
        connected = []
        for body in bodies:
            connected.append(mine(self.params, self.tip, body, to=to, time=self.tip.times[-1] + 1))
            self.connect(connected[-1])
        return TipChanged(disconnected, tuple(connected), old, self.tip, fork)

    async def accept_block(self, block: Block, *, wanted: bool = False) -> BlockResult:
        self.connect(block)
        return BlockResult(BlockStatus.CONNECTED, None, None)


class Pool:
    """A ledger with `rewards` ripe coins of key 1, and a mempool that follows it."""

    def __init__(self, rewards: int = 4, **settings: Any) -> None:
        self.ledger = Ledger()
        self.clock = ManualClock()
        self.verifier = CountingVerifier()
        self.mempool = Mempool(
            PARAMS,
            self.ledger,
            self.clock,
            self.verifier,
            silent_log(),
            **settings,
        )
        for _ in range(rewards + MATURITY - 1):
            self.mine()

    def mine(self, transactions: Sequence[Transaction] = (), **how: Any) -> None:
        self.mempool.on_tip_changed(self.ledger.mine(transactions, **how))
        self.mempool.check_invariants()

    def connect(self, block: Block) -> None:
        """Connect a block that was made elsewhere; the mempool follows."""
        old = self.ledger.tip
        self.ledger.connect(block)
        self.mempool.on_tip_changed(TipChanged((), (block,), old, self.ledger.tip, old.height))
        self.mempool.check_invariants()

    def reward(self, height: int) -> dict[OutPoint, Coin]:
        """The reward of the block of `height`."""
        outpoint = OutPoint(self.ledger.blocks[height].transactions[0].txid, 0)
        return {outpoint: self.ledger.coins[outpoint]}


def outputs_of(tx: Transaction, *indexes: int) -> dict[OutPoint, Coin]:
    """Outputs of an unconfirmed transaction, as coins to spend; all of them if none is named."""
    outputs = tx.core.outputs
    return {OutPoint(tx.txid, i): Coin(outputs[i], 0, False) for i in indexes or range(len(outputs))}


def forward(
    coins: dict[OutPoint, Coin], *, fee: int = FEE, to: int = 1, parts: int = 1, memo: bytes = b"", **how: Any
) -> Transaction:
    """A payment of all `coins` but the fee, in equal parts (the first takes the remainder), to one key."""
    total = sum(coin.output.value for coin in coins.values()) - fee
    values = [total // parts] * parts
    values[0] += total - sum(values)
    outputs: list[Output] = [pay(to, value) for value in values]
    return spend(coins, outputs, memo=memo, **how)


def template_answer(template: BlockTemplate) -> schema.BlockTemplate:
    """A template as getblocktemplate gives it, as far as a miner reads it."""
    return schema.BlockTemplate(
        capabilities=["proposal"],
        version=BLOCK_VERSION,
        rules=[],
        previousblockhash=display_hash(template.previous),
        transactions=[
            schema.TemplateTransaction(
                data=entry.tx.encoded.hex(),
                txid=display_hash(entry.tx.txid),
                hash=display_hash(entry.tx.wtxid),
                depends=[],
                fee=entry.fee,
                sigops=entry.signatures,
            )
            for entry in template.entries
        ],
        coinbasetxn=schema.CoinbaseTransaction(
            data=template.coinbase.encoded.hex(),
            txid=display_hash(template.coinbase.txid),
            hash=display_hash(template.coinbase.wtxid),
            extranonce_size=EXTRANONCE_SIZE,
        ),
        coinbasevalue=template.coinbase_value,
        longpollid=template.longpoll_id,
        target=f"{template.target:064x}",
        mintime=template.min_time,
        mutable=["time", "version", "coinbase"],
        noncerange="00000000ffffffff",
        sigoplimit=MAX_BLOCK_SIGNATURES,
        sizelimit=MAX_BLOCK_SIZE,
        curtime=template.time,
        bits=f"{template.bits:08x}",
        height=template.height,
    )


class NodeInMemory:
    """What a miner sees of a node: templates, long polls and a place to hand blocks in."""

    def __init__(self, pool: Pool, *, clock: Clock | None = None) -> None:
        self.pool = pool
        self.templates = BlockTemplates(PARAMS, pool.ledger, pool.mempool, clock or pool.clock)
        self.failures: list[Exception] = []
        """Raised by the next calls, one each."""
        self.calls: list[str] = []
        self.submitted: list[Block] = []

    async def call(self, method: str, *params: Any, result: Any = None, timeout: float | None = None) -> Any:
        self.calls.append(method)
        if self.failures:
            raise self.failures.pop(0)
        if method == "submitblock":
            block = decode_block(bytes.fromhex(params[0]))
            if block.header.previous != self.pool.ledger.tip.hash:
                return "stale"
            self.submitted.append(block)
            self.take(block)
            return None
        assert (method, result) == ("getblocktemplate", schema.BlockTemplate)
        if "longpollid" in params[0]:
            await self.templates.wait_for_news(params[0]["longpollid"], 60.0)
        return template_answer(self.templates.create(lock(1)))

    def take(self, block: Block) -> None:
        """Connect a block, wherever it comes from."""
        self.pool.connect(block)
        self.templates.on_tip_changed()
