"""The log lines of the chain, to be read by a person who never saw the code.

`block_connected`   the usual line: one more block.
`fork_seen`         somebody else's block competes with ours, and has no more work.
`reorg_started`     another branch has more work: we leave our blocks for its blocks.
`reorg_done`        what that meant. Written once the mempool has followed (see `TipListener`).
`reorg_failed`      the other branch breaks a rule; we stay, or go back.
`block_set_aside`   the operator does not want a block, nor what builds on it (invalidateblock).
`block_taken_back`  and wants it again (reconsiderblock).

Amounts of work are expected numbers of hashes, counted from the fork, where the branches begin to differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from consensus.address import encode_address
from consensus.amounts import format_amount
from consensus.codec import display_hash
from consensus.errors import ConsensusError
from consensus.params import Params
from consensus.types import Block, BlockHash
from node.block_index import BlockEntry, find_fork
from node.chain_limits import MAX_LOGGED_REWARDS

MORE_WORK = "another branch has more work"
"""Why a branch is left, if nobody meddles."""
MAX_SINGLE_LINES = 16
"""Blocks connected in one step that get a line each; above it, as in a sync, they share one."""


def short(block_hash: BlockHash) -> str:
    """Return the beginning of an id as people see it."""
    return display_hash(block_hash)[:16] + "…"


class LostReward(NamedTuple):
    """What a miner loses with a block that is no longer in the chain."""

    height: int
    address: str
    amount: int
    """In grain."""

    def __str__(self) -> str:
        return f"{format_amount(self.amount)} DURE to {self.address} in block {self.height}"


class Reorg:
    """A change of branches while it goes on, over as many steps as it takes."""

    def __init__(self, old: BlockEntry, target: BlockEntry, started: float, cause: str) -> None:
        """
        Args:
            cause: why we leave the old branch, as the beginning of a sentence.
        """
        self.old = old
        self.target = target
        self.fork = find_fork(old, target)
        self.started = started
        self.cause = cause
        self.disconnected = 0
        self.connected = 0
        self.lost: list[LostReward] = []
        self.lost_count = 0
        self.lost_amount = 0
        self.followers: dict[str, object] = {}
        """What the listeners to `TipChanged` had to say."""

    def count(self, params: Params, height: int, disconnected: Sequence[Block], connected: int) -> None:
        """Count a step: blocks that were left, the newest of `height`, and how many were joined."""
        self.disconnected += len(disconnected)
        self.connected += connected
        for back, block in enumerate(disconnected):
            for output in block.transactions[0].core.outputs:
                self.lost_count += 1
                self.lost_amount += output.value
                if len(self.lost) < MAX_LOGGED_REWARDS:
                    self.lost.append(LostReward(height - back, encode_address(params, output.lock), output.value))

    def add_facts(self, facts: Mapping[str, object]) -> None:
        """Take what a listener says of a step; numbers and lists add up over steps."""
        for name, fact in facts.items():
            before = self.followers.get(name)
            if isinstance(fact, int):
                self.followers[name] = fact + (before if isinstance(before, int) else 0)
            elif isinstance(fact, list):
                self.followers[name] = [*(before if isinstance(before, list) else ()), *fact]
            else:
                self.followers[name] = fact

    def take_over(self, earlier: Reorg) -> None:
        """Go on from an attempt that was written in part and then failed: what it left stays left."""
        self.old = earlier.old
        self.fork = find_fork(self.old, self.target)
        self.started = earlier.started
        self.disconnected, self.connected = earlier.disconnected, earlier.connected
        self.lost, self.lost_count, self.lost_amount = earlier.lost, earlier.lost_count, earlier.lost_amount
        self.followers = earlier.followers


class ChainLog:
    """Writes those lines."""

    def __init__(self, params: Params, log: FilteringBoundLogger) -> None:
        self._params = params
        self._log = log

    def connected(self, entry: BlockEntry, blocks: list[Block], took_ms: int) -> None:
        """Tell of blocks that are now the end of the best chain, `entry` the last one."""
        first = entry.height - len(blocks) + 1
        if len(blocks) > MAX_SINGLE_LINES:
            transactions = sum(len(block.transactions) for block in blocks)
            self._log.info(
                "blocks_connected",
                first_height=first,
                height=entry.height,
                hash=short(entry.hash),
                txs=transactions,
                took_ms=took_ms,
            )
            return
        for height, block in enumerate(blocks, first):
            self._log.info(
                "block_connected",
                height=height,
                hash=short(block.hash),
                txs=len(block.transactions),
                bytes=len(block.encoded),
                took_ms=took_ms,
            )

    def fork_seen(self, ours: BlockEntry, theirs: BlockEntry) -> None:
        """Tell of a branch that competes with ours; of equal ones, ours was here first."""
        fork = find_fork(ours, theirs)
        behind = ours.work - theirs.work
        verdict = "has less work, so ours stays" if behind else "has as much work; ours was first, so it stays"
        self._log.info(
            "fork_seen",
            says=f"a competing branch of {theirs.height - fork.height} block(s) after block {fork.height} {verdict}",
            **_facts(fork, ours, theirs, ("our", "their")),
        )

    def reorg_started(self, reorg: Reorg) -> None:
        """Tell that another branch has won."""
        back, forth = reorg.old.height - reorg.fork.height, reorg.target.height - reorg.fork.height
        self._log.info(
            "reorg_started",
            says=f"{reorg.cause}: leaving {back} block(s) after block {reorg.fork.height} for {forth} other(s)",
            **_facts(reorg.fork, reorg.old, reorg.target, ("old", "new")),
        )

    def reorg_done(self, reorg: Reorg, tip: BlockEntry, took_ms: int) -> None:
        """Tell how it ended, with the numbers of the mempool."""
        facts = _facts(reorg.fork, reorg.old, tip, ("old", "new"))
        where = "now on the other branch" if reorg.connected else f"back at block {tip.height}"
        self._log.info(
            "reorg_done",
            says=f"{where}: {reorg.disconnected} block(s) left, {reorg.connected} joined;"
            f" {format_amount(reorg.lost_amount)} DURE of mining rewards were lost",
            **facts,
            disconnected=reorg.disconnected,
            connected=reorg.connected,
            rewards_lost=[str(reward) for reward in reorg.lost],
            rewards_lost_count=reorg.lost_count,
            **{name: fact for name, fact in reorg.followers.items() if name not in facts},
            took_ms=took_ms,
        )

    def reorg_failed(self, reorg: Reorg, bad: BlockEntry, error: ConsensusError) -> None:
        """Tell that the branch with more work is not valid."""
        self._log.warning(
            "reorg_failed",
            says=f"block {bad.height} of the other branch breaks a rule, so that branch is out",
            rule=str(error.rule),
            bad_height=bad.height,
            bad_hash=short(bad.hash),
            **_facts(reorg.fork, reorg.old, reorg.target, ("old", "new")),
        )

    def set_aside(self, entry: BlockEntry, *, on_best_chain: bool) -> None:
        """Tell that the operator does not want a block."""
        what = "a block of our chain" if on_best_chain else "a block of another branch"
        self._log.warning(
            "block_set_aside",
            says=f"the operator has set aside {what}, with all that builds on it, until reconsiderblock",
            height=entry.height,
            hash=short(entry.hash),
        )

    def taken_back(self, entry: BlockEntry) -> None:
        """Tell that the operator wants a block again."""
        self._log.warning(
            "block_taken_back",
            says="the operator has taken a block back, with those before it and all that builds on it",
            height=entry.height,
            hash=short(entry.hash),
        )

    def block_refused(self, entry: BlockEntry, error: ConsensusError) -> None:
        """Tell of an invalid block. It had real work, so this cannot flood the log."""
        self._log.warning("block_refused", height=entry.height, hash=short(entry.hash), why=str(error))

    def clock_in_doubt(self, warning: str) -> None:
        """Tell that a header is dated too far ahead, though it has real work."""
        self._log.warning("clock_in_doubt", says=warning)

    def reindexed(self, blocks: int, tip: BlockEntry, took_ms: int) -> None:
        """Tell that the chain was rebuilt."""
        self._log.info("reindex_done", blocks=blocks, tip_height=tip.height, tip_hash=short(tip.hash), took_ms=took_ms)


def _facts(fork: BlockEntry, first: BlockEntry, second: BlockEntry, names: tuple[str, str]) -> dict[str, object]:
    facts: dict[str, object] = {"fork_height": fork.height, "fork_hash": short(fork.hash)}
    for name, tip in zip(names, (first, second), strict=True):
        facts |= {
            f"{name}_height": tip.height,
            f"{name}_tip": short(tip.hash),
            f"{name}_work": tip.work - fork.work,
        }
    return facts
