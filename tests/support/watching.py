"""Networks as `dure watch` sees them, made up block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consensus.types import GRAIN_PER_DURE
from devnet.status import NodeState
from devnet.watch.state import BlockView, Fate, NetworkView, NodeView

START = 1_767_225_600
"""UNIX seconds of block 0."""


class Blocks:
    """A tree of blocks, told by short names."""

    def __init__(self) -> None:
        self.by_name: dict[str, BlockView] = {}

    def add(self, text: str, *, finder: int | None = None, txids: Sequence[str] = (), work: int = 100) -> str:
        """Add "a1 a2 a3" on top of one another, the first on what stands before a colon: "a1: b2 b3".

        Returns the id of the last.

        A block of no parent has height 0. Each lasts five seconds, and holds `txids` if it is the last one.
        """
        before, colon, names = text.rpartition(":")
        parent = self.by_name[before.strip()] if colon else None
        for name in names.split():
            height = parent.height + 1 if parent is not None else 0
            done = int(parent.chainwork, 16) if parent is not None else 0
            last = name == names.split()[-1]
            parent = BlockView(
                id=block_id(name),
                previous=parent.id if parent is not None else "",
                height=height,
                time=START + 5 * height,
                chainwork=f"{done + work:064x}",
                finder=finder,
                reward=50 * GRAIN_PER_DURE,
                payments=len(txids) if last else 0,
                txids=tuple(txids) if last else (),
            )
            self.by_name[name] = parent
        if parent is None:
            raise ValueError(text)
        return parent.id

    def view(
        self,
        *tips: str | None,
        fates: Mapping[str, Fate] | None = None,
        groups: tuple[tuple[int, ...], ...] = (),
        faults: tuple[str, ...] = (),
    ) -> NetworkView:
        """Return a network whose node N has the tip `tips[N]`; one without a tip is down."""
        return NetworkView(
            nodes=tuple(self.node(number, tip) for number, tip in enumerate(tips)),
            blocks={block.id: block for block in self.by_name.values()},
            groups=groups,
            faults=faults,
            fates=fates or {},
        )

    def node(self, number: int, tip: str | None) -> NodeView:
        if tip is None:
            return NodeView(number, NodeState.CRASHED)
        block = self.by_name[tip]
        return NodeView(
            id=number,
            state=NodeState.RUNNING,
            height=block.height,
            tip=block.id,
            peers=4,
            mempool=number,
            balance=(12 + number) * GRAIN_PER_DURE + 50_000_000,
            hashrate=20_000 if number == 0 else None,
        )


def block_id(name: str) -> str:
    """Return the id of a block that tests know by a short name: such as real ones, it begins with zeros."""
    return f"0000{name.encode().hex()}".ljust(64, "f")


def line(count: int, prefix: str = "b") -> str:
    """Return "b0 b1 … ": names for `count` blocks in a row."""
    return " ".join(f"{prefix}{number}" for number in range(count))
