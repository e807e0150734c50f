"""A partially signed transaction in lines that leave nothing out of what is signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.context import join

if TYPE_CHECKING:
    from rpc.encoding import Dure
    from rpc.schema import IssuanceDetail, Psbt, PsbtAsset, PsbtInput, PsbtOutput, PsbtPart


def show_psdt(shown: Psbt, node: int) -> None:
    """Print it, as a node sees it."""
    assets = {each.asset: each for each in shown.assets}
    click.echo(f"Transaction {shown.txid}, as node {node} sees it")
    click.echo("  spends")
    for coin in shown.inputs:
        known = "" if coin.known else "  (this node does not know it)"
        click.echo(f"    {_worth(coin, assets)} of {_whose(coin.name, coin.address)}{known}")
    click.echo("  pays")
    for output in shown.outputs:
        click.echo(f"    {_worth(output, assets)} to {_whose(output.name, output.address)}")
    _show_changes(shown, assets)
    click.echo(f"  fee\n    {shown.fee!s:>20} DURE")
    _show_stakes(shown, assets)
    for part in shown.parts:
        _show_part(part, assets)
    for warning in shown.warnings:
        click.secho(f"  Mind: {warning}", fg="red")
    click.echo("  It is complete." if shown.complete else "  It is not complete.")


def asset_name(asset: str, assets: dict[str, PsbtAsset]) -> str:
    """Return what to call an asset or an authority of a file: its issuer's word for it, and the id beside it."""
    from cli.assets import named

    known = assets.get(asset)
    if known is None:
        return f"asset {asset[:16]}"
    if isinstance(known.authority_of, str):
        return f"authority over {named(known.metadata, known.authority_of)}"
    return named(known.metadata, asset) if known.decimals is not None else f"asset {asset[:16]}, unknown to this node"


def asset_amount(units: int, asset: str, assets: dict[str, PsbtAsset]) -> str:
    """Return an amount of an asset of a file with what it is of."""
    from cli.assets import in_units

    known = assets.get(asset)
    return f"{in_units(units, known.decimals if known else None):>20} {asset_name(asset, assets)}"


def _worth(carrier: PsbtInput | PsbtOutput, assets: dict[str, PsbtAsset]) -> str:
    if isinstance(carrier.asset, str) and isinstance(carrier.units, int):
        return asset_amount(carrier.units, carrier.asset, assets)
    return f"{carrier.amount!s:>20} DURE"


def _show_changes(shown: Psbt, assets: dict[str, PsbtAsset]) -> None:
    created = [asset_amount(each.created, each.asset, assets) for each in shown.assets if each.created]
    burned = [asset_amount(each.burned, each.asset, assets) for each in shown.assets if each.burned]
    attested = [_attested(each, assets) for each in shown.issuances if each.type == "attestation"]
    for title, lines in (("issues", created), ("burns", burned), ("attests a reserve of", attested)):
        if lines:
            click.echo(f"  {title}")
        for line in lines:
            click.echo(f"    {line}")


def _attested(issuance: IssuanceDetail, assets: dict[str, PsbtAsset]) -> str:
    total = issuance.total if isinstance(issuance.total, int) else 0
    return asset_amount(total, issuance.asset, assets)


def _show_stakes(shown: Psbt, assets: dict[str, PsbtAsset]) -> None:
    """Say what the wallet loses and gains: its own coins, and what comes to its own addresses."""
    from rpc.schema import PsbtStakes

    if not isinstance(shown.yours, PsbtStakes):
        return
    lines = []
    if shown.yours.gives.grain or shown.yours.gets.grain:
        lines.append(_balance(shown.yours.gets.grain - shown.yours.gives.grain))
    lines += [
        f"{'gains' if each.gets > each.gives else 'loses'} "
        f"{asset_amount(abs(each.gets - each.gives), each.asset, assets).strip()}"
        for each in shown.yours.assets
        if each.gets != each.gives
    ]
    click.echo(f"  this wallet {join(lines) if lines else 'neither loses nor gains'}")


def _balance(grain: int) -> str:
    from rpc.encoding import Dure

    change: Dure = Dure(abs(grain))
    return f"{'gains' if grain > 0 else 'loses'} {change} DURE"


def _show_part(part: PsbtPart, assets: dict[str, PsbtAsset]) -> None:
    title = _whose(part.name, part.address)
    if isinstance(part.asset, str):
        role = part.approves if isinstance(part.approves, str) else "one who approves"
        title = f"{role} of {asset_name(part.asset, assets)}: {title}"
    click.echo(f"  {title}")
    signed = [key.role if isinstance(key.role, str) else f"key {key.pubkey[:10]}…" for key in part.signed]
    verb = "approved" if isinstance(part.asset, str) else "signed"
    click.echo(f"    {verb} by {join(signed) if signed else 'nobody yet'}")
    for branch in part.branches:
        state = "has all it asks for" if not branch.missing else f"wants {'; '.join(branch.missing)}"
        click.echo(f"    {branch.number}. {branch.sentence}\n       {state}")


def _whose(name: str, address: str) -> str:
    if name == "yours":
        return f"this wallet ({address})"
    return f"{name} ({address})" if name else address
