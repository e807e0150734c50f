"""Any JSON-RPC method of any node."""

from __future__ import annotations

from typing import Any

import click

from cli.context import NODE, Context, common

RPC_SECONDS = 900.0
"""How long a call may take: `waitfornewblock` and `generatetoaddress` are long by nature. Ctrl-C ends the waiting."""


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("node", type=NODE)
@click.argument("method")
@click.argument("arguments", nargs=-1, metavar="[ARGS]...")
@common
def rpc(context: Context, *, node: int, method: str, arguments: tuple[str, ...]) -> None:
    """Call METHOD of node NODE's JSON-RPC. Each argument is JSON, or else text as it stands."""
    import msgspec

    from devnet.calls import CallRefused
    from devnet.errors import Refused
    from devnet.status import require_running

    folder = context.folder
    record = folder.load().node(node)
    require_running(folder, record)
    params = [_parse(argument) for argument in arguments]
    try:
        result = bytes(context.calls.call_raw(record, method, params, timeout=RPC_SECONDS))
    except CallRefused as error:
        raise Refused(f"Node {node} refused {method} (error {error.code}): {error.message}") from None
    if not context.json and result.startswith(b'"'):
        click.echo(msgspec.json.decode(result, type=str))
    elif context.json or result != b"null":
        click.echo(msgspec.json.format(result, indent=2).decode())


def _parse(argument: str) -> Any:
    """Return an argument as the JSON that it is, numbers digit by digit; or as text if it is none."""
    import msgspec

    try:
        msgspec.json.decode(argument)
    except msgspec.DecodeError:
        return argument
    return msgspec.Raw(argument.encode())


COMMANDS = (rpc,)
