"""The first coins: a burst of real blocks when a network starts, so that every wallet can pay within seconds.

A block for each wallet, then as many again as a reward must be old to be spent. In a large network only the first few
wallets are paid by blocks, and these pay the others: the difficulty doubles with every 24 blocks that come at once, so
that a block for each of 32 wallets would take a minute.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence

from consensus.params import LOCAL
from devnet.calls import Calls
from devnet.errors import Unavailable
from devnet.folder import NetworkRecord, NodeRecord, wait_until
from devnet.mining import find_block
from devnet.status import spendable

PAID_BY_BLOCKS = 8
"""Wallets that get rewards of the burst which are old enough at its end."""

GIFT = "5.00000000"
"""DURE that each other wallet is paid by one of those."""

ONE_TIP_SECONDS = 3.0
"""How long a block of the burst may take to all nodes before there seem to be two; it takes well under a second."""

MORE_BLOCKS = 10
"""Blocks that may be found beyond the burst to bring all nodes to one tip, or payments into the chain; one does, if
nobody finds another at the same moment."""

Progress = Callable[[int, int], None]
"""Told how many blocks of how many there are."""


def burst_length(size: int) -> int:
    """Return how many blocks a network of `size` nodes starts with."""
    return min(size, PAID_BY_BLOCKS) + LOCAL.coinbase_maturity


def fund_wallets(record: NetworkRecord, calls: Calls, progress: Progress) -> None:
    """Give every wallet its first coins. All nodes run and are connected.

    As many nodes search at once as this machine has cores. Who wins a block is chance, so the blocks are counted at the
    end: a wallet whose reward was lost to a fork, or is still too young, is paid by another.

    Raises:
        Unavailable, CallRefused: a node did not answer, or refused.
    """
    nodes = record.nodes
    addresses = calls.of_each(nodes, lambda node: str(calls.call(node, "getnewaddress")))
    searchers = nodes[: os.cpu_count() or 1]
    wanted = burst_length(len(nodes))
    unpaid = deque(addresses[:PAID_BY_BLOCKS])

    def pay(node: NodeRecord) -> None:
        """Find a block for each address that is left; another searcher may be at the next one."""
        while unpaid:
            address = unpaid.popleft()
            while find_block(calls, node, address) is None:
                continue
            progress(int(calls.call(node, "getblockcount")), wanted)

    def ripen(node: NodeRecord) -> None:
        """Find blocks until those rewards can be spent, whoever finds them."""
        while (height := int(calls.call(node, "getblockcount"))) < wanted:
            progress(height, wanted)
            find_block(calls, node, addresses[height % len(nodes)])

    calls.of_each(searchers, pay)
    calls.of_each(searchers, ripen)
    come_to_one_tip(calls, nodes, addresses[0])
    progress(wanted, wanted)
    pay_the_others(calls, nodes, addresses)


def pay_the_others(calls: Calls, nodes: Sequence[NodeRecord], addresses: Sequence[str]) -> None:
    """Let those wallets that have coins pay, in turn, those that have none, and find the block that confirms it.

    Args:
        addresses: one of each wallet.

    Raises:
        Unavailable: they do not get it, or a node did not answer.
        CallRefused: a node refused.
    """
    givers, takers = _can_pay(calls, nodes)
    if not givers or not takers:
        return
    payments = {
        str(calls.call(givers[place % len(givers)], "sendtoaddress", addresses[taker.id], GIFT))
        for place, taker in enumerate(takers)
    }
    for _ in range(MORE_BLOCKS):
        # Where a node mines, its block may be there before ours.
        wait_until(lambda: payments <= set(calls.call(nodes[0], "getrawmempool")), ONE_TIP_SECONDS)
        if not _can_pay(calls, nodes)[1]:
            return
        find_block(calls, nodes[0], addresses[0])
        come_to_one_tip(calls, nodes, addresses[0])
    raise Unavailable("Not every wallet comes to coins that it can spend.")


def _can_pay(calls: Calls, nodes: Sequence[NodeRecord]) -> tuple[list[NodeRecord], list[NodeRecord]]:
    """Return whose wallets have coins that can be spent, and whose have none."""
    balances = calls.of_each(nodes, lambda node: spendable(calls, node))
    rich = [node for node, balance in zip(nodes, balances, strict=True) if balance.grain]
    return rich, [node for node in nodes if node not in rich]


def come_to_one_tip(calls: Calls, nodes: Sequence[NodeRecord], address: str) -> None:
    """Bring all nodes to one tip, though two may have found the last block at once.

    Such a tie is for the next block to decide, and where no node mines there would be none.

    Args:
        address: is paid by the block that decides.

    Raises:
        Unavailable: they are still on several, or a node did not answer.
        CallRefused: a node refused.
    """
    for left in range(MORE_BLOCKS, -1, -1):
        if wait_for_one_tip(calls, nodes, ONE_TIP_SECONDS):
            return
        if left:
            find_block(calls, nodes[0], address)
    raise Unavailable("The nodes do not come to one tip.")


def wait_for_one_tip(calls: Calls, nodes: Sequence[NodeRecord], seconds: float) -> bool:
    """Wait until all `nodes` have the same best block; tell whether that came true within `seconds`."""

    def is_one() -> bool:
        return len(set(calls.of_each(nodes, lambda node: str(calls.call(node, "getbestblockhash"))))) == 1

    return wait_until(is_one, seconds)
