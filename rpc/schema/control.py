"""What nodes answer about themselves."""

from __future__ import annotations

from rpc.schema.base import Result


class ActiveCommand(Result, frozen=True, kw_only=True):
    """A call that is being answered."""

    method: str
    duration: int
    """Microseconds."""


class RpcInfo(Result, frozen=True, kw_only=True):
    """getrpcinfo."""

    active_commands: list[ActiveCommand]
