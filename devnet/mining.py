"""Blocks on demand: real proof of work by the nodes themselves."""

from __future__ import annotations

import time
from collections.abc import Callable

from consensus.params import LOCAL, MAIN
from consensus.pow import work_of_bits
from devnet.calls import Calls
from devnet.folder import NodeRecord
from miner.search import search
from rpc.schema import BlockchainInfo

BLOCK_SECONDS = 600.0
"""How long one block may take before a command gives up on it: a hundred times what the first difficulty needs."""

ESTIMATE_ABOVE = 20
"""More blocks than this are not begun before it was said how long they will take."""

RATE_TRIES = 50_000
"""Hashes that are tried to see how fast this machine is: less than a tenth of a second."""


def mine(
    calls: Calls, node: NodeRecord, blocks: int, report: Callable[[int, str], None] = lambda _done, _block: None
) -> list[str]:
    """Let a node find `blocks` blocks, one after the other, whose rewards go to its own wallet.

    Args:
        report: told after each block how many there are, and its id.

    Returns:
        Their ids.

    Raises:
        Unavailable, CallRefused: the node did not answer, or refused. Blocks found before stay.
    """
    address = calls.call(node, "getnewaddress")
    found: list[str] = []
    while len(found) < blocks:
        if more := find_block(calls, node, address):
            found.append(more)
            report(len(found), more)
    return found


def find_block(calls: Calls, node: NodeRecord, address: str) -> str | None:
    """Let a node search for a block that pays `address`; None if it found none in the tries that one call gives it.

    When a block arrives from elsewhere meanwhile, the search goes on upon that one.
    """
    found: list[str] = calls.call(node, "generatetoaddress", 1, address, timeout=BLOCK_SECONDS)
    return found[0] if found else None


def estimate_seconds(calls: Calls, node: NodeRecord, blocks: int) -> float:
    """Return about how long a node will need for `blocks` blocks on top of its tip."""
    bits = int(calls.ask(node, BlockchainInfo, "getblockchaininfo").bits, 16)
    started = time.perf_counter()
    search(MAIN.genesis.header, RATE_TRIES)  # at a difficulty at which nothing is found
    return burst_seconds(work_of_bits(bits), blocks, RATE_TRIES / (time.perf_counter() - started))


def burst_seconds(work: int, blocks: int, rate: float) -> float:
    """Return about how long `blocks` blocks take in a row, for the difficulty rises while they come too fast.

    Args:
        work: expected hashes of the next block.
        rate: hashes per second.
    """
    elapsed = 0.0
    for block in range(blocks):
        ahead = LOCAL.spacing * block - elapsed
        elapsed += work * 2.0 ** (ahead / LOCAL.half_life) / rate
    return elapsed
