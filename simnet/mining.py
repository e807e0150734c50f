"""Who finds a block, and when: a random process decides by shares of the hash power; the work is then really done.

All miners of the world together make `hash_rate` tries a second. The number of tries to the next block is drawn as
nature would, so blocks come as a Poisson process whose pace follows the difficulty, which follows the pace. Whoever it
falls to builds a block on its own tip and searches for a nonce with real hashes, about a thousand of them, while the
virtual clock stands still.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from consensus.params import Params, sim_params
from consensus.pow import bits_from_target, work_of_bits

START_WORK = 1_024
"""Expected hashes of a block at first: a millisecond of searching."""
LEAST_WORK = 64
"""Expected hashes of the easiest block: that a network whose miners leave is not stuck."""


def simulated_params(spacing: int = 60) -> Params:
    """Return the parameters of a simulated network whose blocks come every `spacing` seconds. No rule is switched."""
    start, limit = (bits_from_target(2**256 // work - 1) for work in (START_WORK, LEAST_WORK))
    return sim_params(spacing, start, limit)


@dataclass(eq=False, slots=True)
class Miner:
    """Somebody who mines, honestly or not."""

    share: float
    """Of the hash power of all, in any unit: shares are compared."""
    next_bits: Callable[[], int]
    """Of the block that it works on."""
    found: Callable[[], None]
    """It has found it: now it must make it. Called from the loop; does not block."""


class MiningProcess:
    """One random process for the whole world.

    Events come at the pace at which the easiest block would be found; each falls to a miner by its share, and counts
    with the odds that the block which that miner works on is as hard. So targets may differ and change at any moment.
    """

    def __init__(self, params: Params, rng: random.Random, hash_rate: float | None = None) -> None:
        """
        Args:
            hash_rate: tries a second of all miners together; None finds blocks at the spacing from the start.
        """
        self._rng = rng
        self._least_work = work_of_bits(params.limit_bits)
        self.hash_rate = hash_rate or work_of_bits(params.start_bits) / params.spacing
        self._miners: dict[Miner, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.found = 0
        """Blocks that fell to somebody."""

    def add(self, miner: Miner) -> None:
        """Have somebody take part."""
        self._miners[miner] = None
        if self._timer is None:
            self._arm()

    def remove(self, miner: Miner) -> None:
        """Somebody takes no part any more. What is left mines as before: the hash power of the world shrinks by it."""
        self._miners.pop(miner, None)

    def stop(self) -> None:
        """Nobody finds anything any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def go_on(self) -> None:
        """Undo `stop`."""
        if self._timer is None and self._miners:
            self._arm()

    def _arm(self) -> None:
        delay = self._rng.expovariate(self.hash_rate / self._least_work)
        self._timer = asyncio.get_running_loop().call_later(delay, self._event)

    def _event(self) -> None:
        self._timer = None
        if not self._miners:
            return
        self._arm()
        miners = list(self._miners)
        chosen = self._rng.choices(miners, [miner.share for miner in miners])[0]
        if self._rng.random() * work_of_bits(chosen.next_bits()) < self._least_work:
            self.found += 1
            chosen.found()
