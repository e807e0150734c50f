"""The loop turns while the heaviest block that there may be is verified: peers and callers are served meanwhile."""

from __future__ import annotations

import asyncio

from consensus.codec import decode_block
from consensus.spend_policy import policy_id
from consensus.types import Amount, Block, OutPoint, Output, Threshold, Transaction
from consensus.validation import MAX_BLOCK_SIGNATURES
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import TABLES
from node.workers import ProcessWorkers
from tests.support.chain import ChainBuilder, feed, recorder, reward_of, running
from tests.support.rules import core, key, pay, quick_sign, witnesses_for
from tests.support.stage import PARAMS

KEYS = 16
"""Of each coin: as many as a threshold may have."""


def heaviest() -> tuple[list[Block], Block]:
    """A chain, and a child of it with as many signatures as a block may hold, all good, no two alike."""
    policy = Threshold(KEYS, tuple(key(n) for n in range(1, KEYS + 1)))
    coin = Output(Amount(1_000), policy_id(policy), None)
    chain = ChainBuilder(PARAMS)
    blocks = chain.mine_chain(None, 10)
    count = MAX_BLOCK_SIGNATURES // KEYS
    change = pay(1, 50 * 10**8 - count * 1_000 - 10**6)
    funding = chain.spend(blocks[-1], [reward_of(blocks[0])], [*[coin] * count, change])
    blocks.append(chain.mine(blocks[-1], [funding]))
    spends = []
    for index in range(count):
        unsigned = core([OutPoint(funding.txid, index)], [pay(2, 900)])
        witnesses = witnesses_for([coin], unsigned, {coin.lock: policy}, params=PARAMS, signer=quick_sign)
        spends.append(Transaction(unsigned, witnesses))
    return blocks, chain.mine(blocks[-1], spends)


async def test_the_loop_turns_while_the_heaviest_block_is_verified() -> None:
    """A018, A200: 20,000 signatures are checked by other processes; how long a turn takes is for `scripts/bench`."""
    blocks, worst = heaviest()
    raw = worst.encoded
    workers = ProcessWorkers(recorder()[0])
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    async with running(MemoryDatabase(TABLES), PARAMS, workers=workers) as chain:
        await feed(chain, blocks)
        turning = asyncio.create_task(turn())
        await asyncio.sleep(0)
        await feed(chain, [decode_block(raw)])
        seen = turns
        turning.cancel()
        await asyncio.wait([turning])
        assert chain.tip.hash == worst.hash
    await workers.close()
    # Checked in one go it would be a handful. It takes about a second: hundreds of turns, and more on a slow machine.
    assert seen >= 30
