"""Long work comes in slices: however large a block is, the loop goes round after as much of it as after a small one's.

What is done between two turns of the loop is counted in calls, not in seconds. If any of it were done in one piece
again, four times as many transactions would be four times as much between two turns.
"""

from __future__ import annotations

import coincurve

from consensus.codec import decode_block
from consensus.spend_policy import policy_id
from consensus.types import Amount, Block, OutPoint, Output, Transaction
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import TABLES
from tests.support.chain import ChainBuilder, feed, reward_of, running
from tests.support.rules import core, key, pay, secret, witnesses_for
from tests.support.stage import PARAMS
from tests.support.turns import Turns, counting_turns

FEW, MANY = 1_000, 4_000
"""Transactions of a block: both are several slices."""
FEE = 1_000


def crowd(count: int) -> tuple[ChainBuilder, list[Block], Block]:
    """A chain, and a child of it with so many payments of one input and two outputs, good signatures."""
    signer = coincurve.PrivateKey(secret(1))
    policy = key(1)
    coin = Output(Amount(10_000), policy_id(policy), None)
    chain = ChainBuilder(PARAMS)
    blocks = chain.mine_chain(None, 10)
    change = pay(1, 50 * 10**8 - count * 10_000 - 10**7)
    funding = chain.spend(blocks[-1], [reward_of(blocks[0])], [*[coin] * count, change])
    blocks.append(chain.mine(blocks[-1], [funding]))
    payments = []
    for index in range(count):
        unsigned = core([OutPoint(funding.txid, index)], [pay(2, 4_000), pay(1, 5_000)])
        witnesses = witnesses_for(
            [coin],
            unsigned,
            {coin.lock: policy},
            params=PARAMS,
            signer=lambda _private, digest: signer.sign_recoverable(digest, hasher=None)[:64],
        )
        payments.append(Transaction(unsigned, witnesses))
    return chain, blocks, chain.mine(blocks[-1], payments)


def in_slices(few: Turns, many: Turns) -> bool:
    """Tell whether many took more than few in all, but not between two turns."""
    return many.calls > 2 * few.calls and many.most < 1.5 * few.most


async def connected(count: int) -> Turns:
    _, blocks, full = crowd(count)
    raw = full.encoded
    async with running(MemoryDatabase(TABLES), PARAMS) as chain:
        await feed(chain, blocks)
        block = decode_block(raw)
        async with counting_turns() as turns:
            await feed(chain, [block])
        assert chain.tip.hash == full.hash
        return turns


async def test_a_block_is_connected_in_slices() -> None:
    assert in_slices(await connected(FEW), await connected(MANY))
