"""The first coins: a burst of real blocks when a network starts, so that every wallet can pay within seconds.

Block h pays wallet h - 1, and so on in turn; then as many blocks again as a reward must be old to be spent. In a large
network only the first few wallets are paid by blocks, and these pay the others: the difficulty doubles every 24 blocks
that come at once, so that a block for each of 32 wallets would take a minute.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from consensus.params import LOCAL
from devnet.calls import Calls
from devnet.folder import NetworkRecord, NodeRecord, wait_until
from devnet.mining import BLOCK_SECONDS

PAID_BY_BLOCKS = 8
"""Wallets that get rewards of the burst which are old enough at its end."""

GIFT = "5.00000000"
"""DURE that each other wallet is paid by one of those."""

ONE_TIP_SECONDS = 30.0
"""How long the burst's last block may take to all nodes; it takes well under a second."""

Progress = Callable[[int, int], None]
"""Told how many blocks of how many there are."""


def burst_length(size: int) -> int:
    """Return how many blocks a network of `size` nodes starts with."""
    return min(size, PAID_BY_BLOCKS) + LOCAL.coinbase_maturity


def fund_wallets(record: NetworkRecord, calls: Calls, progress: Progress) -> None:
    """Give every wallet its first coins. All nodes run and are connected.

    Raises:
        Unavailable, CallRefused: a node did not answer, or refused.
    """
    nodes = record.nodes
    wanted = burst_length(len(nodes))
    addresses = calls.of_each(nodes, lambda node: str(calls.call(node, "getnewaddress")))

    def search(node: NodeRecord) -> None:
        """Find blocks until there are enough, whoever finds them."""
        while (height := int(calls.call(node, "getblockcount"))) < wanted:
            progress(height, wanted)
            calls.call(node, "generatetoaddress", 1, addresses[height % len(nodes)], timeout=BLOCK_SECONDS)

    calls.of_each(nodes[: os.cpu_count() or 1], search)
    wait_for_one_tip(calls, nodes, ONE_TIP_SECONDS)
    progress(wanted, wanted)
    for number in range(PAID_BY_BLOCKS, len(nodes)):
        calls.call(nodes[number % PAID_BY_BLOCKS], "sendtoaddress", addresses[number], GIFT)


def wait_for_one_tip(calls: Calls, nodes: tuple[NodeRecord, ...] | list[NodeRecord], seconds: float) -> bool:
    """Wait until all `nodes` have the same best block; tell whether that came true within `seconds`."""

    def is_one() -> bool:
        return len(set(calls.of_each(nodes, lambda node: str(calls.call(node, "getbestblockhash"))))) == 1

    return wait_until(is_one, seconds)
