"""The blocks as branches: where each leaves another, who stands on it, and what is lost with it."""

from __future__ import annotations

from typing import NamedTuple

from devnet.watch.state import BlockView, NetworkView, branch_of, leaves

POWER_BLOCKS = 16
"""Blocks from which the hash power of all miners is reckoned: about 80 seconds of a local network."""


class Branch(NamedTuple):
    """A chain of blocks that ends in a leaf of the tree or in some node's tip."""

    blocks: tuple[BlockView, ...]
    """Its own, oldest first: from where it leaves a branch with more work, or all that are known of the best one."""
    leaves_at: str | None
    """The id of the block after which it leaves another branch; None for the best one."""
    standing: tuple[int, ...]
    """The nodes that have its tip."""
    behind: tuple[tuple[int, int], ...]
    """Nodes that stand on one of its own blocks below the tip, each with how many blocks it lacks."""
    lost: Loss

    @property
    def tip(self) -> BlockView:
        """Its last block."""
        return self.blocks[-1]

    @property
    def nodes(self) -> tuple[int, ...]:
        """All nodes on it."""
        return tuple(sorted((*self.standing, *(node for node, _ in self.behind))))


class Loss(NamedTuple):
    """What a branch has that the best one lacks: lost where nobody stands on it, and at stake where somebody does."""

    rewards: int
    """Blocks whose finder goes without."""
    amount: int
    """Grain of those rewards."""
    payments: int
    """Payments that no block of the best branch holds."""
    waiting: int
    """Of these, those that wait for a block again."""
    gone: int
    """Those that no mempool has: they spent what is no longer there, or lost against another."""


def branches(network: NetworkView) -> list[Branch]:
    """Return the branches of a network, the one with the most work first; of equal ones that with more nodes."""
    blocks, standing = network.blocks, network.standing
    ends = sorted(
        leaves(blocks), key=lambda block: (block.chainwork, len(standing.get(block.id, ())), block.id), reverse=True
    )
    taken: set[str] = set()
    found: list[Branch] = []
    confirmed: frozenset[str] = frozenset()
    for end in ends:
        own: list[BlockView] = []
        leaves_at = None
        for block in branch_of(blocks, end.id):
            if block.id in taken:
                leaves_at = block.id
                break
            own.append(block)
        taken.update(block.id for block in own)
        own.reverse()
        if not found:
            confirmed = frozenset(txid for block in own for txid in block.txids)
        behind = tuple((node, end.height - block.height) for block in own[:-1] for node in standing.get(block.id, ()))
        loss = _loss(network, own, confirmed) if found else Loss(0, 0, 0, 0, 0)
        found.append(Branch(tuple(own), leaves_at, standing.get(end.id, ()), behind, loss))
    return found


def _loss(network: NetworkView, own: list[BlockView], confirmed: frozenset[str]) -> Loss:
    fates = [network.fates.get(txid) for block in own for txid in block.txids if txid not in confirmed]
    return Loss(
        rewards=len(own),
        amount=sum(block.reward for block in own),
        payments=len(fates),
        waiting=fates.count("waits"),
        gone=fates.count("gone"),
    )


def hash_power(branch: Branch) -> float:
    """Return how many hashes a second the last blocks of a branch have taken, by their own times; 0.0 if too few."""
    last = branch.blocks[-POWER_BLOCKS:]
    if last and last[0].height == 0:
        last = last[1:]  # genesis is dated to when the network was thought of
    if len(last) < 2 or last[-1].time <= last[0].time:
        return 0.0
    return (int(last[-1].chainwork, 16) - int(last[0].chainwork, 16)) / (last[-1].time - last[0].time)


def fork_height(network: NetworkView, first: str, second: str) -> int | None:
    """Return the height of the last block that two branches share; None if that is below what is known."""
    ours = {block.id for block in branch_of(network.blocks, first)}
    return next((block.height for block in branch_of(network.blocks, second) if block.id in ours), None)
