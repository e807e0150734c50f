"""Addresses that a controller freezes."""

from __future__ import annotations

import click

from cli.assets import AssetWallet, named
from cli.context import NODE, Context, common


@click.command()
@click.argument("node", type=NODE)
@click.argument("asset")
@click.argument("address")
@click.option("--why", default="", help="Kept with it, and told whenever an approval is refused.")
@common
def freeze(context: Context, *, node: int, asset: str, address: str, why: str) -> None:
    """Approve nothing of ASSET from or to ADDRESS any more, as its controller.

    This is node NODE's own list, kept in its wallet and its backups. It is no rule of the chain: where several
    wallets control an asset, each has a list of its own.
    """
    wallet = AssetWallet(context, node)
    known = wallet.asset(asset)
    wallet.call("freezeaddress", known.asset, address, why)
    context.emit(
        {"asset": known.asset, "address": address, "frozen": True},
        f"Node {node} approves nothing of {named(known.metadata, known.asset)} from or to {address} any more.\n"
        f"Take it back: {wallet.tell(f'asset unfreeze {node} {known.asset[:16]} {address}')}",
    )


@click.command()
@click.argument("node", type=NODE)
@click.argument("asset")
@click.argument("address")
@common
def unfreeze(context: Context, *, node: int, asset: str, address: str) -> None:
    """Take ADDRESS off the list of those that node NODE has frozen for ASSET."""
    wallet = AssetWallet(context, node)
    known = wallet.asset(asset)
    wallet.call("unfreezeaddress", known.asset, address)
    context.emit(
        {"asset": known.asset, "address": address, "frozen": False},
        f"Node {node} approves transfers of {named(known.metadata, known.asset)} from and to {address} again.",
    )


@click.command()
@click.argument("node", type=NODE)
@click.argument("asset", required=False)
@common
def frozen(context: Context, *, node: int, asset: str | None) -> None:
    """List the addresses that node NODE has frozen, for ASSET or for all."""
    from rpc.schema import FrozenAddress

    wallet = AssetWallet(context, node)
    wanted = None if asset is None else wallet.asset_id(asset)
    found = wallet.ask(list[FrozenAddress], "listfrozenaddresses", wanted)
    assets = wallet.known_assets(each.asset for each in found)
    lines = []
    for each in found:
        known = assets.get(each.asset)
        name = named(None if known is None else known.metadata, each.asset)
        lines.append(f"{each.address}  {name}" + (f"  {each.why}" if each.why else ""))
    context.emit({"frozen": found}, "\n".join(lines) or "Nothing is frozen.")


COMMANDS = (freeze, unfreeze, frozen)
