"""Against the incentives: miners that break no rule, and play their own game."""

from __future__ import annotations

from consensus.state import ChainState
from consensus.types import Block
from simnet.hostile.behaviour import hostile
from simnet.hostile.blocks import MiningBehaviour
from simnet.hostile.link import HostileLink


@hostile("selfish-mining")
class SelfishMining(MiningBehaviour):
    """Keeps its blocks secret and publishes them when others catch up (Eyal and Sirer 2014)."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self._private: list[Block] = []
        """From the fork on, oldest first; the first `_published` are known."""
        self._published = 0
        self._end: ChainState | None = None
        self._seen = -1

    def found_block(self) -> None:
        """One more that nobody hears of."""
        self._adopt_if_behind()
        parent = self._end or self.tip
        block = self.adversary.build(parent)
        self._private.append(block)
        self._end = self.keep(block, parent)
        if self._end.height - self.tip.height == 1 and len(self._private) - self._published == 2:
            # Ahead by one after a race: win it.
            self._publish(len(self._private))

    def tick(self, link: HostileLink) -> None:
        """Others have found a block: publish as many as it takes."""
        if link is not self.ready_links[0] or self.tip.height == self._seen:
            return
        self._seen = self.tip.height
        self._adopt_if_behind()
        if self._end is None:
            return
        lead = self._end.height - self.tip.height
        if lead <= 1:
            self._publish(len(self._private))
        else:
            self._publish(len(self._private) - lead)

    def _adopt_if_behind(self) -> None:
        if self._end is not None and self._end.work < self.tip.work:
            self._private, self._published, self._end = [], 0, None

    def _publish(self, count: int) -> None:
        if count > self._published:
            self.world_says("secret_blocks_published", count=count - self._published)
            self._published = count
            self.announce(self._private[:count])
        if self._published == len(self._private):
            self._private, self._published, self._end = [], 0, None


@hostile("time-liar")
class TimeLiar(MiningBehaviour):
    """Valid blocks dated as early or as late as is allowed (A047, A048): to drive the difficulty."""

    def found_block(self) -> None:
        """Two minutes ahead, or just above the median."""
        ahead = 110 if self.rng.random() < 0.5 else -1_000_000
        block = self.adversary.build(self.tip, seconds_ahead=ahead)
        self.keep(block, self.tip)
        self.announce([block])


@hostile("twin-blocks")
class TwinBlocks(MiningBehaviour):
    """Two blocks of one height, one for either half of its victims (A058): tips of equal work everywhere."""

    def found_block(self) -> None:
        """The second costs it as much work as the first."""
        for half in range(2):
            block = self.adversary.build(self.tip)
            self.keep(block, self.tip)
            self.announce([block], self.ready_links[half::2] or self.ready_links)
