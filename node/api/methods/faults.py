"""Trouble on purpose: cutting a node off from others, bad lines, a wrong clock, branches.

On local and regtest only, where networks are one's own. All but branches is kept over restarts.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from consensus.codec import MAX_BLOCK_SIZE, display_hash
from consensus.errors import NotYet
from consensus.types import Transaction, TxId
from node.api.method import Area, method
from node.api.methods.chain import find_entry
from node.api.methods.network import read_host_port
from node.api.methods.transactions import read_address, read_transaction
from node.api.parameters import AddressText, HashHex, Hex, HostPort, read_parameter
from node.api.services import Services
from node.chain_events import BlockStatus
from node.link_faults import MAX_LINKS, LinkFaultError
from node.partition import MAX_BLOCKED, PartitionError
from node.skewed_clock import MAX_SKEW, SkewError
from p2p.link_conditions import LinkConditions
from rpc import schema
from rpc.errors import ErrorCode, RpcError

MAX_NAMED = 10_000
"""Transactions of one block that are named: more than fit into 4 MiB of the smallest."""
TXID_DIGITS = 64
"""No transaction has 32 bytes, so that so many hex digits are an id."""

TransactionText = Annotated[str, Meta(min_length=1, max_length=2 * MAX_BLOCK_SIZE)]


@method(Area.FAULTS, private=True)
async def setpartition(
    services: Services, addresses: Annotated[list[HostPort], Meta(max_length=MAX_BLOCKED)]
) -> list[str]:
    """Act as if exactly these nodes could not be reached, and return them. Kept over restarts.

    Args:
        addresses: HOST:PORT where each of them listens; [] heals.
    """
    try:
        services.node.set_partition([read_host_port(services, text) for text in addresses])
    except PartitionError as error:
        raise RpcError(ErrorCode.INVALID_PARAMETER, str(error)) from None
    return [str(address) for address in services.node.partition.blocked]


@method(Area.FAULTS, private=True, reads=True)
async def getpartition(services: Services) -> list[str]:
    """Return the nodes that this one acts as if it could not reach."""
    return [str(address) for address in services.node.partition.blocked]


@method(Area.FAULTS, private=True)
async def setlinkconditions(
    services: Services, conditions: Annotated[dict[HostPort, LinkConditions], Meta(max_length=MAX_LINKS)]
) -> dict[str, LinkConditions]:
    """Send to exactly these nodes over bad lines, and return which. Kept over restarts.

    Only what this node sends is affected: for both directions tell both nodes. A stream arrives whole and in order
    whatever is lost: loss makes it late, as sending again does.

    Args:
        conditions: by HOST:PORT where each of them listens, an object of delay_ms, jitter_ms (at most the delay),
            loss_ppm (lost segments of a million) and bits_per_second; {} mends all lines.
    """
    try:
        services.node.link_faults.replace(
            {read_host_port(services, text): each for text, each in conditions.items()},
        )
    except LinkFaultError as error:
        raise RpcError(ErrorCode.INVALID_PARAMETER, str(error)) from None
    return _conditions(services)


@method(Area.FAULTS, private=True, reads=True)
async def getlinkconditions(services: Services) -> dict[str, LinkConditions]:
    """Return the nodes that this one sends to over bad lines, and how bad those are."""
    return _conditions(services)


def _conditions(services: Services) -> dict[str, LinkConditions]:
    return {str(address): each for address, each in services.node.link_faults.conditions.items()}


@method(Area.FAULTS, private=True)
async def setclockskew(services: Services, seconds: Annotated[int, Meta(ge=-MAX_SKEW, le=MAX_SKEW)]) -> int:
    """Set this node's time of day wrong, and return by how many seconds. Kept over restarts.

    Args:
        seconds: by how many it is ahead of this machine's clock; negative for behind, 0 for right.
    """
    try:
        services.clock.set_skew(seconds)
    except SkewError as error:
        raise RpcError(ErrorCode.INVALID_PARAMETER, str(error)) from None
    services.log.info("clock_skewed", seconds=seconds)
    services.node.clock_was_set()
    return services.clock.skew


@method(Area.FAULTS, private=True, reads=True)
async def getclockskew(services: Services) -> int:
    """Return by how many seconds this node's time of day is set ahead of this machine's clock."""
    return services.clock.skew


@method(Area.FAULTS, private=True, waits=True)
async def generateblock(
    services: Services,
    output: AddressText,
    transactions: Annotated[list[TransactionText], Meta(max_length=MAX_NAMED)],
    parent: HashHex | None = None,
) -> schema.GeneratedBlock:
    """Mine one block with exactly the transactions that are named, on any block: how a branch is made on purpose.

    The work is real. On a branch with less work than the best chain the block is only stored, and its transactions are
    not judged before it has more. Fees are lost: the coinbase takes the subsidy alone.

    Args:
        output: address that the subsidy goes to.
        transactions: after the coinbase, in this order: each its encoding in hex, or the txid of one in the mempool.
        parent: the block to build on; by default the tip.
    """
    lock = read_address(services.params, output)
    chosen = [_named(services, text) for text in transactions]
    entry = services.chain.index.tip if parent is None else find_entry(services, parent)
    try:
        result = await services.branches.mine_on(entry, lock, chosen)
    except NotYet as error:
        raise RpcError(
            ErrorCode.MISC_ERROR, f"Its time would run ahead of the clock: wait a little ({error})"
        ) from None
    if result.error is not None or result.entry is None:
        raise RpcError(ErrorCode.VERIFY_ERROR, f"The block is not valid: {result.error or result.status}")
    return schema.GeneratedBlock(
        hash=display_hash(result.entry.hash),
        height=result.entry.height,
        connected=result.status is BlockStatus.CONNECTED,
    )


def _named(services: Services, text: str) -> Transaction:
    """Return the transaction that a text gives, or names."""
    raw = read_parameter("transactions", HashHex if len(text) == TXID_DIGITS else Hex, text)
    if not isinstance(raw, HashHex):
        return read_transaction(raw)
    entry = services.mempool.entry(TxId(raw))
    if entry is None:
        raise RpcError(ErrorCode.INVALID_ADDRESS_OR_KEY, f"Transaction {text} is not in the mempool")
    return entry.tx


METHODS = (setpartition, getpartition, setlinkconditions, getlinkconditions, setclockskew, getclockskew, generateblock)
