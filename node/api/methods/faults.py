"""Trouble on purpose: cutting a node off from others, bad lines, a wrong clock.

On local and regtest only, where networks are one's own. All of it is kept over restarts.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from node.api.method import Area, method
from node.api.methods.network import read_host_port
from node.api.parameters import HostPort
from node.api.services import Services
from node.link_faults import MAX_LINKS, LinkFaultError
from node.partition import MAX_BLOCKED, PartitionError
from node.skewed_clock import MAX_SKEW, SkewError
from p2p.link_conditions import LinkConditions
from rpc.errors import ErrorCode, RpcError


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
    return services.clock.skew


@method(Area.FAULTS, private=True, reads=True)
async def getclockskew(services: Services) -> int:
    """Return by how many seconds this node's time of day is set ahead of this machine's clock."""
    return services.clock.skew


METHODS = (setpartition, getpartition, setlinkconditions, getlinkconditions, setclockskew, getclockskew)
