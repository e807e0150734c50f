"""Many transactions at once: the same answers, and the same mempool, as one by one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from consensus.errors import ConsensusError, NotYet, Rule
from consensus.signatures import SignatureCheck, verify_all
from consensus.types import Transaction, Witness
from node import arrivals
from node.arrivals import accept_each
from node.mempool import Mempool
from node.mempool_graph import Entry
from node.packages import Refused
from node.relay_policy import PolicyError, Refusal
from tests.support.pool import FEE, Pool, forward, outputs_of

COINS = 40


class Interrupted:
    """Verifies in line, after something else has happened."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile

    async def verify(self, checks: Sequence[SignatureCheck]) -> int | None:
        self._meanwhile()
        return verify_all(checks)


def forged(tx: Transaction) -> Transaction:
    bad = Witness(tx.witnesses[0].policy, (bytes(31) + b"\1" + bytes(31) + b"\1",))
    return replace(tx, witnesses=(bad, *tx.witnesses[1:]))


def traffic(pool: Pool, seed: int) -> list[Transaction]:
    """Payments with what ties them together, and with all that can be wrong with them."""
    chance = random.Random(seed)
    coins = [pool.reward(height) for height in range(1, COINS + 1)]
    made: list[Transaction] = []
    while len(made) < 120:
        kind, earlier = chance.random(), chance.choice(made) if made else None
        if earlier is None or (kind < 0.5 and coins):
            tx = forward(coins.pop(), parts=2, fee=chance.randrange(400, 4 * FEE))
        elif kind < 0.7:
            tx = forward(outputs_of(earlier, chance.randrange(len(earlier.core.outputs))), fee=FEE)
        elif kind < 0.8:
            height = chance.randrange(1, COINS + 1)
            tx = forward(pool.reward(height), parts=2, fee=chance.randrange(FEE, 8 * FEE))
        elif kind < 0.9:
            tx = forged(forward(outputs_of(earlier, 0), fee=2 * FEE))
        else:
            tx = earlier
        made.append(tx)
    return made


def told(outcome: Entry | Refused) -> tuple[object, ...]:
    if isinstance(outcome, Entry):
        return outcome.tx.txid, outcome.fee, outcome.sequence
    return type(outcome), outcome.args


async def one_by_one(mempool: Mempool, txs: Sequence[Transaction]) -> list[Entry | Refused]:
    outcomes: list[Entry | Refused] = []
    for tx in txs:
        try:
            outcomes.append(await mempool.accept_transaction(tx))
        except (ConsensusError, NotYet, PolicyError) as error:
            outcomes.append(error)
    return outcomes


@pytest.mark.parametrize("max_bytes", [50_000, 10_000_000])
@pytest.mark.parametrize("part", [1, 7, arrivals.PART])
@pytest.mark.parametrize("seed", range(3))
async def test_many_at_once_are_taken_as_if_one_by_one(
    monkeypatch: pytest.MonkeyPatch, seed: int, part: int, max_bytes: int
) -> None:
    monkeypatch.setattr(arrivals, "PART", part)
    alone, together = Pool(COINS, max_bytes=max_bytes), Pool(COINS, max_bytes=max_bytes)
    txs = traffic(alone, seed)
    wanted = await one_by_one(alone.mempool, txs)
    found = await together.mempool.accept_each(txs, [0] * len(txs))
    assert [told(outcome) for outcome in found] == [told(outcome) for outcome in wanted]
    kinds = {outcome.reason if isinstance(outcome, PolicyError) else type(outcome) for outcome in found}
    assert {Entry, ConsensusError, Refusal.ALREADY_KNOWN} <= kinds
    assert [entry.tx.txid for entry in together.mempool] == [entry.tx.txid for entry in alone.mempool]
    together.mempool.check_invariants()


async def test_each_has_its_own_highest_fee_rate() -> None:
    pool = Pool(3)
    txs = [forward(pool.reward(height)) for height in (1, 2, 3)]
    found = await pool.mempool.accept_each(txs, [0, 1_000, 10**9])
    assert [isinstance(outcome, Entry) for outcome in found] == [True, False, True]
    assert isinstance(found[1], PolicyError)
    assert found[1].reason is Refusal.MAX_FEE


async def test_a_block_that_comes_meanwhile_is_not_overlooked() -> None:
    pool = Pool(3)
    rival = forward(pool.reward(1), to=2)
    txs = [forward(pool.reward(height)) for height in (1, 2)]
    blocks = [[rival]]
    pool.mempool._workers = Interrupted(lambda: pool.mine(blocks.pop()) if blocks else None)
    lost, taken = await pool.mempool.accept_each(txs, [0, 0])
    assert isinstance(lost, NotYet)
    assert lost.reason is Rule.MISSING_COIN
    assert isinstance(taken, Entry)


async def test_a_rival_that_enters_meanwhile_is_not_overlooked() -> None:
    pool = Pool(2)
    rival = forward(pool.reward(1), fee=2 * FEE)
    proposal = pool.mempool.check(rival)
    rivals = [proposal]
    mempool = pool.mempool

    def enter() -> None:
        if rivals:
            mempool.add(rivals.pop())

    mempool._workers = Interrupted(enter)
    outcomes = await mempool.accept_each([forward(pool.reward(1)), forward(pool.reward(2))], [0, 0])
    assert isinstance(outcomes[0], PolicyError)
    assert outcomes[0].reason is Refusal.REPLACEMENT_RATE
    assert isinstance(outcomes[1], Entry)
    mempool.check_invariants()


async def test_whoever_stops_waiting_leaves_nothing_running() -> None:
    pool = Pool(2)

    class Endless:
        async def verify(self, checks: Sequence[SignatureCheck]) -> int | None:
            await asyncio.Event().wait()
            return None

    pool.mempool._workers = Endless()
    taking = asyncio.create_task(accept_each(pool.mempool, [forward(pool.reward(1))], [0]))
    for _ in range(5):
        await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(pool.mempool) == 0
