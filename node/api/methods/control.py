"""The node itself: what it can do, how long it runs, when it stops."""

from __future__ import annotations

import time
from itertools import groupby
from typing import Annotated

from msgspec import Meta

from node.api.method import Area, method
from node.api.services import Services
from rpc import schema
from rpc.errors import ErrorCode, RpcError


@method(Area.CONTROL, reads=True, early=True)
async def help_(services: Services, command: Annotated[str, Meta(max_length=64)] | None = None) -> str:
    """Tell what can be called, or all about one method.

    Args:
        command: the method's name.
    """
    if command:
        method_ = services.methods.get(command)
        if method_ is None:
            raise RpcError(ErrorCode.METHOD_NOT_FOUND, f"help: unknown command: {command}")
        return method_.help
    methods = sorted(services.methods.values(), key=lambda each: (each.area, each.name))
    areas = groupby(methods, key=lambda each: each.area)
    return "\n\n".join("\n".join([f"== {area} ==", *(each.usage for each in some)]) for area, some in areas)


@method(Area.CONTROL, reads=True, early=True)
async def uptime(services: Services) -> int:
    """Return for how many seconds the node has been running."""
    return int(services.clock.monotonic() - services.started)


@method(Area.CONTROL, early=True)
async def stop(services: Services) -> str:
    """Ask the node to stop in order; it has not stopped yet when the call returns."""
    services.stop()
    return "Dure node stopping"


@method(Area.CONTROL, reads=True, early=True)
async def getrpcinfo(services: Services) -> schema.RpcInfo:
    """Tell which calls are being answered."""
    now = time.monotonic()
    return schema.RpcInfo(
        active_commands=[
            schema.ActiveCommand(method=call.method, duration=int((now - call.since) * 1_000_000))
            for call in services.running_calls.values()
        ]
    )


METHODS = (help_, uptime, stop, getrpcinfo)
