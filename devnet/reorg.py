"""A reorganization on purpose: a branch with more work, built by a node that is cut off, then shown to the others.

    ... ── fork ── 13 ── 14 ── 15                the chain of all
              └─── 13'── 14'── 15'── 16'         the branch of the node that is cut off, with more work

Everything is as it would be with an attacker: real work, real blocks, and each node decides for itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from consensus.params import local_params
from devnet.calls import Calls
from devnet.control import bring_faults
from devnet.double_spend import DoubleSpend, RpcBooks, spend_again
from devnet.errors import Misused, Refused, Unavailable
from devnet.folder import NetworkFolder, NetworkRecord, NodeRecord, wait_until
from devnet.funding import wait_for_one_tip
from devnet.launcher import is_alive
from devnet.mining import BLOCK_SECONDS
from devnet.payments import running
from devnet.status import require_network_up, require_unpaused
from rpc.encoding import Dure
from rpc.schema import Block, BlockchainInfo, GeneratedBlock, TransactionDetail

MAX_DEPTH = 1_000
"""Blocks: at the pace of one core a quarter of an hour."""
ONE_TIP_SECONDS = 30.0
"""How long the nodes may take to agree before; and to follow afterwards, unless they find more work themselves."""
LOOK_SECONDS = 1.0
"""Between two looks at whether all have followed; then the branch gets another block."""
MAX_EXTRA = 100
"""Blocks that the branch is made longer than was asked for, while the others go on mining: then it is given up."""

Report = Callable[[int, int], None]
"""Told that so many of so many blocks of the branch are found."""


class UndoneBlock(msgspec.Struct, frozen=True):
    """A block that is on the best chain no more."""

    height: int
    hash: str
    reward: Dure
    """What its coinbase made, which is gone."""


class Returned(msgspec.Struct, frozen=True):
    """What became of the payments in them, by their ids."""

    waiting: tuple[str, ...]
    """Back in the mempool: the next block may have them."""
    confirmed: tuple[str, ...]
    """In a block of the new chain already."""
    gone: tuple[str, ...]
    """In neither: they spent what is gone itself."""


class Reorganized(msgspec.Struct, frozen=True):
    """What happened."""

    node: int
    """Who built the branch."""
    fork_height: int
    """Of the last block that both chains have."""
    fork: str
    branch: tuple[str, ...]
    """The ids of the branch's blocks, the lowest first."""
    undone: tuple[UndoneBlock, ...]
    """The lowest first."""
    payments: Returned
    double_spend: DoubleSpend | None
    """What took the place of the payment that was to be dropped."""
    seconds: float
    """From the cut to one tip."""


def reorganize(folder: NetworkFolder, depth: int, *, drop: str | None, node: int | None, report: Report) -> Reorganized:
    """Undo the newest `depth` blocks of a network by a branch that has more work.

    Blocks that its miners find meanwhile are undone too. The branch has no payments, so that those of the undone blocks
    go back to the mempools; but for `drop`, whose coins its first block gives back to the payer.

    Args:
        drop: the id of a payment that is to stay out for good; made by a wallet of this network.
        node: who builds the branch; by default the payer of `drop`, or else the last node, if possible one without a
            miner.
        report: told of each block of the branch.

    Raises:
        Misused: no such depth or node.
        Refused: the network is cut already or has too few nodes or blocks, or `drop` cannot be dropped.
        Unavailable: a node does not answer; the network is whole again. Or the others were quicker all the time.
    """
    with folder.locked():
        record = folder.load()
        require_network_up(folder, record)
        nodes = _check(folder, record, depth)
        calls = Calls(folder)
        fork_height = _fork_height(calls, nodes, depth)
        params = local_params(bytes.fromhex(record.tag))
        wallets = {each.id: RpcBooks(calls, each) for each in nodes}
        double = None if drop is None else spend_again(params, wallets, drop, fork_height)
        builder = _choose(record, nodes, node, double)
        others = [each for each in nodes if each.id != builder.id]
        started = time.monotonic()
        apart = ((builder.id,), tuple(each.id for each in record.nodes if each.id != builder.id))
        cut = msgspec.structs.replace(record, partition=apart)
        bring_faults(folder, record, cut)
        try:
            branch = _Branch(calls, builder, fork_height, double)
            branch.outgrow(others, depth, report)
            undone = _undone(calls, others[0], fork_height)
        finally:
            bring_faults(folder, cut, record)
        branch.carry_through(nodes)
        seconds = round(time.monotonic() - started, 3)
        payments = _returned(calls, others[0], undone, fork_height, double)
        return Reorganized(
            node=builder.id,
            fork_height=fork_height,
            fork=branch.fork,
            branch=tuple(branch.blocks),
            undone=tuple(
                UndoneBlock(
                    block.height, block.hash, Dure(sum(out.value.grain for out in _transactions(block)[0].vout))
                )
                for block in undone
            ),
            payments=payments,
            double_spend=double,
            seconds=seconds,
        )


# Before


def _check(folder: NetworkFolder, record: NetworkRecord, depth: int) -> list[NodeRecord]:
    """Return the nodes that run, if a reorganization can be made with them."""
    if not 1 <= depth <= MAX_DEPTH:
        raise Misused(f"A reorganization is 1 to {MAX_DEPTH} blocks deep, not {depth}.")
    if record.partition:
        raise Refused(f"The network is cut already. Join it first: {folder.hint('heal')}")
    require_unpaused(folder, record)
    nodes = running(record)
    if len(nodes) < 2:
        raise Refused(f"It takes two nodes: one that builds a branch, and one that follows. Here runs {len(nodes)}.")
    return nodes


def _fork_height(calls: Calls, nodes: Sequence[NodeRecord], depth: int) -> int:
    """Return where the branch leaves the chain that all nodes have."""
    if not wait_for_one_tip(calls, nodes, ONE_TIP_SECONDS):
        raise Refused(
            f"The nodes are on different tips: wait until they agree, or find a block: "
            f"{calls.folder.hint(f'mine {nodes[0].id} 1')}"
        )
    height = int(calls.call(nodes[0], "getblockcount"))
    if depth >= height:
        raise Refused(f"The chain has {height} blocks: it can be undone {height - 1} deep at most.")
    return height - depth


def _choose(
    record: NetworkRecord, nodes: Sequence[NodeRecord], number: int | None, double: DoubleSpend | None
) -> NodeRecord:
    """Return who builds the branch."""
    if number is not None:
        chosen = record.node(number)
        if not is_alive(chosen):
            raise Refused(f"Node {number} does not run.")
        return chosen
    if double is not None:
        return record.node(double.payer)
    return max(nodes, key=lambda node: (not node.mines, node.id))


# The branch


class _Branch:
    """The blocks that one node finds on a block below its tip."""

    def __init__(self, calls: Calls, builder: NodeRecord, fork_height: int, double: DoubleSpend | None) -> None:
        self._calls = calls
        self._builder = builder
        self._double = double
        self._address = str(calls.call(builder, "getnewaddress"))
        self.fork = str(calls.call(builder, "getblockhash", fork_height))
        self._height = fork_height + 1
        """Of its first block."""
        self.blocks: list[str] = []

    def extend(self) -> None:
        """Find one block more."""
        first = not self.blocks
        transactions = [self._double.raw] if first and self._double is not None else []
        parent = self.fork if first else self.blocks[-1]
        found = self._calls.ask(
            self._builder,
            GeneratedBlock,
            "generateblock",
            self._address,
            transactions,
            parent,
            timeout=BLOCK_SECONDS,
        )
        self.blocks.append(found.hash)

    def outgrow(self, others: Sequence[NodeRecord], depth: int, report: Report) -> None:
        """Find blocks until the branch has more work than any of the others has."""
        while not self.blocks or not self._is_ahead(others):
            if len(self.blocks) > depth + MAX_EXTRA:
                raise Unavailable(
                    f"The others were quicker: the branch has {len(self.blocks)} blocks and too little work."
                )
            self.extend()
            report(min(len(self.blocks), depth + 1), depth + 1)

    def _is_ahead(self, others: Sequence[NodeRecord]) -> bool:
        if not self._follows(self._builder):
            return False  # not even it prefers the branch to what it had
        mine = self._calls.ask(self._builder, BlockchainInfo, "getblockchaininfo")
        theirs = self._chains(others)
        return int(mine.chainwork, 16) > max(int(chain.chainwork, 16) for chain in theirs)

    def carry_through(self, nodes: Sequence[NodeRecord]) -> None:
        """Wait until all nodes are on the branch; if one of them finds more work first, make the branch longer."""
        for _ in range(MAX_EXTRA):
            if wait_until(lambda: self._all_follow(nodes), LOOK_SECONDS):
                return
            if not self._has_won(nodes):
                self.extend()
        raise Unavailable("The nodes did not follow the branch: they were quicker, or do not hear of it.")

    def _all_follow(self, nodes: Sequence[NodeRecord]) -> bool:
        return all(self._calls.of_each(nodes, self._follows))

    def _follows(self, node: NodeRecord) -> bool:
        """Tell whether the branch is in a node's best chain."""
        if int(self._calls.call(node, "getblockcount")) < self._height:
            return False
        return str(self._calls.call(node, "getblockhash", self._height)) == self.blocks[0]

    def _chains(self, nodes: Sequence[NodeRecord]) -> list[BlockchainInfo]:
        return self._calls.of_each(nodes, lambda node: self._calls.ask(node, BlockchainInfo, "getblockchaininfo"))

    def _has_won(self, nodes: Sequence[NodeRecord]) -> bool:
        """Tell whether nobody has more work than a chain with the branch in it: then it is a matter of time."""
        chains = self._chains(nodes)
        best = max(range(len(nodes)), key=lambda place: int(chains[place].chainwork, 16))
        return self._follows(nodes[best])


# Afterwards


def _undone(calls: Calls, node: NodeRecord, fork_height: int) -> list[Block]:
    """Return the blocks above the fork on the best chain of a node, with their transactions."""
    height = int(calls.call(node, "getblockcount"))
    hashes = [str(calls.call(node, "getblockhash", each)) for each in range(fork_height + 1, height + 1)]
    return [calls.ask(node, Block, "getblock", each, 2) for each in hashes]


def _transactions(block: Block) -> list[TransactionDetail]:
    return [tx for tx in block.tx if isinstance(tx, TransactionDetail)]


def _returned(
    calls: Calls, node: NodeRecord, undone: Sequence[Block], fork_height: int, double: DoubleSpend | None
) -> Returned:
    """Return what became of the payments, as one of the nodes that followed sees it."""
    payments = [tx.txid for block in undone for tx in _transactions(block)[1:]]
    dropped = None if double is None else double.dropped
    waiting = set(calls.call(node, "getrawmempool"))
    confirmed = {tx.txid for block in _undone(calls, node, fork_height) for tx in _transactions(block)}
    left = [txid for txid in payments if txid not in waiting and txid not in confirmed and txid != dropped]
    return Returned(
        waiting=tuple(txid for txid in payments if txid in waiting),
        confirmed=tuple(txid for txid in payments if txid in confirmed),
        gone=tuple(left),
    )
