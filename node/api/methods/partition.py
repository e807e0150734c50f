"""Cutting a node off from others on purpose: on local and regtest only, where networks are one's own."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from node.api.method import Area, method
from node.api.methods.network import read_host_port
from node.api.parameters import HostPort
from node.api.services import Services
from node.partition import MAX_BLOCKED, PartitionError
from rpc.errors import ErrorCode, RpcError


@method(Area.PARTITION, private=True)
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


@method(Area.PARTITION, private=True, reads=True)
async def getpartition(services: Services) -> list[str]:
    """Return the nodes that this one acts as if it could not reach."""
    return [str(address) for address in services.node.partition.blocked]


METHODS = (setpartition, getpartition)
