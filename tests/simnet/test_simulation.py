"""Whole networks: what a seed fixes, and what a simulation lets nobody overlook."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from consensus.types import Amount, Block, Output
from node.storage.errors import StorageError
from simnet.conditions import BAD
from simnet.errors import InvariantBroken, NotReached
from simnet.invariants import check_mempool
from simnet.simulation import Simulation, simulate
from tests.support.pool import Pool
from tests.support.repository import ROOT
from wallet.results import State

DURE = 100_000_000

EVERYTHING = """
import asyncio, sys
from simnet.conditions import BAD
from simnet.simulation import Simulation, simulate

async def story(sim: Simulation) -> str:
    nodes = await sim.add_nodes(5)
    sim.mine_at_random({node: 1.0 + node.number for node in nodes})
    await sim.sleep(1200)
    sim.network.set_conditions(BAD)
    sim.partition(nodes[:2], nodes[2:])
    await nodes[0].pay([(await nodes[1].new_lock(), 3 * 10**8)])
    await sim.sleep(600)
    nodes[3].crash()
    sim.cut(nodes[4], nodes[:2])
    nodes[1].disk.crash_in_call(2)
    nodes[2].clock.jump(-7200)
    await sim.sleep(600)
    sim.heal()
    for node in nodes:
        if not node.is_up:
            await node.start()
    await sim.sleep(1800)
    return f"{sim.events.count} {sim.events.digest}"

print(simulate(story, seed=int(sys.argv[1]), log_level="debug"))
"""


HOSTILE = """
import msgspec, sys
from simnet.swarm import run_plan
from simnet.swarm_plan import draw_plan

plan = draw_plan(int(sys.argv[1]), hostile=True)
plan = msgspec.structs.replace(plan, steps=plan.steps[:8])
print(run_plan(plan, log_level="debug").digest)
"""


def outcome(seed: int, hash_seed: str, program: str = EVERYTHING) -> str:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(seed)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_seed_gives_one_log_to_the_byte_whatever_the_hash_seed_is() -> None:
    """A042"""
    outcomes = [outcome(7, hash_seed) for hash_seed in ("0", "1", "4711")]
    assert outcomes == outcomes[:1] * 3
    assert int(outcomes[0].split()[0]) > 300
    assert outcome(8, "0") != outcomes[0]


def test_a_swarm_with_hostile_peers_is_one_history_too() -> None:
    """A042"""
    assert outcome(6, "1", HOSTILE) == outcome(6, "2", HOSTILE)


def test_halves_of_a_partition_agree_after_healing() -> None:
    #   genesis ── a1 ── a2            left half, while apart
    #         └─── b1 ── b2 ── b3      right half: more work, so all end here
    async def story(sim: Simulation) -> None:
        left, right = await sim.add_nodes(2), await sim.add_nodes(2)
        await sim.until(lambda: all(node.peers for node in sim.nodes))
        sim.partition(left, right)
        await left[0].mine(2)
        tip = await right[0].mine(3)
        await sim.sleep(30)
        assert left[1].height == 2
        sim.heal()
        await sim.until(lambda: all(node.tip == tip for node in left + right), within=60)

    simulate(story, seed=3)


def test_a_payment_reaches_the_chain_and_the_other_wallet() -> None:
    async def story(sim: Simulation) -> None:
        one, two = await sim.add_nodes(2)
        await one.mine(12)
        await sim.converged()
        sent = await one.pay([(await two.new_lock(), 3 * DURE)])
        await sim.until(lambda: two.wallet.wallet.balances().pending == 3 * DURE)
        await two.mine()
        await sim.until(lambda: two.wallet.wallet.balances().confirmed == 3 * DURE)
        payer = one.wallet.wallet
        await sim.until(lambda: payer.transaction(sent.transaction.txid).state is State.CONFIRMED)

    simulate(story)


def test_a_node_that_crashed_has_its_chain_and_its_wallet() -> None:
    async def story(sim: Simulation) -> None:
        one, two = await sim.add_nodes(2)
        await one.mine(12)
        await sim.converged()
        before = one.wallet.wallet.balances()
        one.crash()
        assert not one.is_up
        await two.mine(2)
        await one.start()
        assert one.height >= 12
        await sim.converged()
        assert one.height == 14
        assert one.wallet.wallet.balances().total == before.total

    simulate(story)


@pytest.mark.parametrize("call", range(1, 8))
def test_a_machine_that_dies_within_any_write_comes_back_whole(call: int) -> None:
    """A121, A122"""

    async def story(sim: Simulation) -> None:
        one, two = await sim.add_nodes(2)
        await two.mine(3)
        await sim.converged()
        one.disk.crash_in_call(call)
        await two.mine(4)
        await sim.sleep(60)
        while not one.is_up:
            one.disk.crash_in_call(call + 2)
            try:
                await one.start()
            except StorageError:
                call_again = one.crashes
                assert call_again >= 1
        one.disk.power_off()
        one.crash()
        await one.start()
        await sim.converged()

    simulate(story, seed=call)


def test_a_node_whose_disk_fails_stops_by_itself() -> None:
    """A127"""

    async def story(sim: Simulation) -> None:
        one, two = await sim.add_nodes(2)
        await sim.until(lambda: one.peers == 1)
        one.disk.fail_call(1)
        await two.mine()
        await sim.until(lambda: not one.is_up)
        assert isinstance(one.failure, StorageError)
        await one.start()
        await sim.converged()

    simulate(story)


def test_a_clock_that_is_wrong_keeps_nobody_from_the_chain() -> None:
    """A191, A192"""

    async def story(sim: Simulation) -> None:
        nodes = await sim.add_nodes(4)
        nodes[1].clock.jump(-7_200)
        nodes[2].clock.jump(100)
        sim.mine_at_random({nodes[0]: 1.0, nodes[2]: 1.0})
        await sim.sleep(7_200)
        nodes[1].clock.jump(7_200)
        sim.mining.stop()
        await sim.converged(within=120)
        assert nodes[1].height > 60

    simulate(story, seed=2)


def test_networks_live_through_bad_weather() -> None:
    async def story(sim: Simulation) -> None:
        nodes = await sim.add_nodes(4)
        sim.network.set_conditions(BAD)
        sim.mine_at_random(dict.fromkeys(nodes, 1.0))
        await sim.sleep(3_600)
        sim.mining.stop()
        await sim.converged(within=120)
        assert nodes[0].height > 30

    simulate(story, seed=5)


def test_a_failure_says_how_to_repeat_it() -> None:
    async def story(sim: Simulation) -> None:
        await sim.add_node()
        await sim.until(lambda: False, within=10, what="a miracle")

    with pytest.raises(NotReached, match="a miracle") as failed:
        simulate(story, seed=42)
    assert any("seed=42" in note for note in failed.value.__notes__)
    with pytest.raises(NotReached) as failed:
        simulate(story, seed=42, replay="scripts/swarm --start 42")
    assert any("scripts/swarm --start 42" in note for note in failed.value.__notes__)


def test_a_coin_too_many_is_noticed_at_once() -> None:
    async def story(sim: Simulation) -> None:
        node = await sim.add_node()
        model, add = sim.model, sim.model.add

        def forgetful(block: Block) -> object:
            state = add(block)
            state.coins.pop(next(iter(state.coins)))
            return state

        model.add = forgetful  # type: ignore[method-assign,assignment]
        await node.mine(2)
        await sim.sleep(1)

    with pytest.raises(InvariantBroken, match="too many"):
        simulate(story)


def test_the_model_refuses_money_from_nothing() -> None:
    async def story(sim: Simulation) -> Block:
        node = await sim.add_node()
        await node.mine(1)
        block = node.chain.read_block(node.tip)
        assert block is not None
        return block

    sim_block = simulate(story)
    coinbase = sim_block.transactions[0]
    output = coinbase.core.outputs[0]
    richer = coinbase.core.__class__(
        1, coinbase.core.inputs, (Output(Amount(output.value + 1), output.lock, None),), (), (), coinbase.core.memo
    )
    bad = Block(sim_block.header, (coinbase.__class__(richer, ()),))

    async def judge(sim: Simulation) -> None:
        sim.model.add(bad)

    with pytest.raises(InvariantBroken, match="makes"):
        simulate(judge)


def test_a_mempool_that_contradicts_itself_is_named() -> None:
    pool = Pool(1)
    check_mempool("a", pool.mempool)
    pool.mempool._graph.fees += 1
    with pytest.raises(InvariantBroken, match="a: in the mempool the sum of fees differs"):
        check_mempool("a", pool.mempool)
