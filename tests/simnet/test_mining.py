"""Who finds a block, and when."""

from __future__ import annotations

import asyncio
import random

from consensus.pow import bits_from_target, target_from_bits, work_of_bits
from simnet.loop import run_virtual
from simnet.mining import START_WORK, Miner, MiningProcess, simulated_params
from simnet.simulation import Simulation, simulate

PARAMS = simulated_params(60)


def test_blocks_begin_at_about_a_thousand_hashes() -> None:
    assert START_WORK <= work_of_bits(PARAMS.start_bits) < 1.01 * START_WORK
    assert PARAMS.retarget


def test_blocks_fall_to_miners_by_their_shares_at_the_pace_of_the_target() -> None:
    async def story() -> tuple[list[int], float]:
        process = MiningProcess(PARAMS, random.Random(1))
        found = [0, 0, 0]
        harder = bits_from_target(target_from_bits(PARAMS.start_bits) // 4)

        def count(who: int) -> None:
            found[who] += 1

        for who, (share, bits) in enumerate(((1.0, PARAMS.start_bits), (2.0, PARAMS.start_bits), (1.0, harder))):
            process.add(Miner(share, lambda bits=bits: bits, lambda who=who: count(who)))  # type: ignore[misc]
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(60 * 4_000)
        process.stop()
        return found, asyncio.get_running_loop().time() - began

    (one, two, hard), _ = run_virtual(story)
    # A quarter, a half, and a quarter of a quarter of 4,000; five standard deviations.
    assert abs(one - 1_000) < 160
    assert abs(two - 2_000) < 230
    assert abs(hard - 250) < 80


def test_the_difficulty_follows_the_hash_power() -> None:
    async def story(sim: Simulation) -> None:
        nodes = await sim.add_nodes(2)
        sim.mine_at_random(dict.fromkeys(nodes, 1.0))
        sim.mining.hash_rate *= 4
        await sim.sleep(3 * 3_600)
        bits = nodes[0].next_bits()
        assert 2 * START_WORK < work_of_bits(bits) < 8 * START_WORK
        # Three hours, and what was gained until the target had followed: two half-lives, of 24 blocks each.
        assert 180 < nodes[0].height < 300

    simulate(story)
