"""What a network looks like at one moment: values that are shown, compared, and written to a recording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from devnet.status import NodeState

KEPT = 64
"""Blocks of each branch that are kept, counted from its tip: more than the widest screen shows."""

STALE_BRANCHES = 32
"""Branches that are kept though no node stands on them: the newest ones."""

MAX_PAYMENTS = 256
"""Payments of a block that are kept by their id; of more, only how many there are."""

TXID_DIGITS = 16
"""Hex digits by which payments are told apart here: 64 bits."""

Fate = Literal["waits", "gone"]
"""Of a payment in a losing branch: it waits for a block again, or no mempool has it."""


class NodeView(msgspec.Struct, frozen=True, omit_defaults=True):
    """One node. What it has not told, or not for a while, is None."""

    id: int
    state: NodeState
    height: int | None = None
    tip: str | None = None
    """The id of its best block."""
    peers: int | None = None
    mempool: int | None = None
    """Transactions that wait for a block."""
    balance: int | None = None
    """Grain that its wallet can spend now."""
    hashrate: int | None = None
    """Hashes per second that its miner does at most, 0 for as many as it can; None if it does not mine."""


class BlockView(msgspec.Struct, frozen=True, omit_defaults=True):
    """One block of any branch."""

    id: str
    previous: str
    height: int
    time: int
    """UNIX seconds, as its header says."""
    chainwork: str
    """Expected hashes from genesis to it, 64 hex digits: as text they compare as numbers do."""
    finder: int | None = None
    """The node whose wallet has its reward; None if none of them, or not found out yet."""
    reward: int = 0
    """Grain that its coinbase pays."""
    payments: int = 0
    """Its transactions, the coinbase left out."""
    txids: tuple[str, ...] = ()
    """Of the first `MAX_PAYMENTS` of those, their first `TXID_DIGITS`."""


class NetworkView(msgspec.Struct, frozen=True):
    """All nodes, and the blocks that matter."""

    nodes: tuple[NodeView, ...] = ()
    blocks: Mapping[str, BlockView] = {}
    """By id: the last `KEPT` of each branch."""
    groups: tuple[tuple[int, ...], ...] = ()
    """What the network is cut into on purpose; none if it is whole."""
    faults: tuple[str, ...] = ()
    """What else is wrong on purpose: lines and clocks, each as a sentence."""
    fates: Mapping[str, Fate] = {}
    """What became of payments in losing branches, by txid."""

    @property
    def standing(self) -> dict[str, tuple[int, ...]]:
        """Return the nodes by the tip that each has, in the order of their numbers."""
        found: dict[str, tuple[int, ...]] = {}
        for node in self.nodes:
            if node.tip is not None:
                found[node.tip] = (*found.get(node.tip, ()), node.id)
        return found


class Event(msgspec.Struct, frozen=True):
    """Something that happened, as a sentence."""

    at: float
    """UNIX seconds."""
    kind: Literal["block", "payment", "fork", "reorg", "node", "network", "warning"]
    text: str


def leaves(blocks: Mapping[str, BlockView]) -> list[BlockView]:
    """Return the blocks that no other one builds on, the one with the most work first."""
    parents = {block.previous for block in blocks.values()}
    ends = [block for block in blocks.values() if block.id not in parents]
    return sorted(ends, key=lambda block: (block.chainwork, block.id), reverse=True)


def branch_of(blocks: Mapping[str, BlockView], tip: str) -> list[BlockView]:
    """Return a block and those before it that are known, newest first."""
    found = []
    block = blocks.get(tip)
    while block is not None:
        found.append(block)
        block = blocks.get(block.previous)
    return found


def prune(blocks: Mapping[str, BlockView], tips: Iterable[str]) -> dict[str, BlockView]:
    """Return what is worth keeping: the newest blocks of each branch that ends in one of `tips`, or not long ago."""
    ends = leaves(blocks)
    top = max((block.height for block in ends), default=0)
    stale = [block.id for block in ends if block.height > top - KEPT][:STALE_BRANCHES]
    kept: dict[str, BlockView] = {}
    for tip in (*tips, *stale):
        for block in branch_of(blocks, tip)[:KEPT]:
            kept[block.id] = block
    return kept
