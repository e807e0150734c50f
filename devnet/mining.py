"""Blocks on demand: real proof of work by the nodes themselves."""

from __future__ import annotations

from collections.abc import Callable

from consensus.params import LOCAL
from consensus.pow import work_of_bits
from devnet.calls import Calls
from devnet.folder import NodeRecord
from rpc.schema import BlockchainInfo

BLOCK_SECONDS = 600.0
"""How long one block may take before a command gives up on it: a hundred times what the first difficulty needs."""

ESTIMATE_ABOVE = 20
"""More blocks than this are not begun before it was said how long they will take."""

TYPICAL_RATE = 800_000
"""Hashes per second of one core in a daemon, where it was not measured on this machine."""


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


def estimate_seconds(calls: Calls, node: NodeRecord, blocks: int, rate: int = TYPICAL_RATE) -> float:
    """Return about how long a node will need for `blocks` blocks on top of its tip, at `rate` hashes per second."""
    bits = int(calls.ask(node, BlockchainInfo, "getblockchaininfo").bits, 16)
    return burst_seconds(work_of_bits(bits), blocks, rate)


def burst_seconds(work: int, blocks: int, rate: int) -> float:
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
