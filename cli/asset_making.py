"""Assets: issue, pay, attest and burn them. What somebody else has to approve first is written to a file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.asset_waiting import nodes_of, write_waiting
from cli.assets import AssetWallet, in_units, named
from cli.context import FILE, NODE, Context, common, name_nodes
from cli.wallet_pay import How, paying

if TYPE_CHECKING:
    from rpc.schema import Asset, SentAsset

KINDS = {"utility": "reissuable", "security": "reissuable", "stable": "reserved", "fixed": "fixed"}
"""What people call an asset, and what the rules call its supply."""
out_file = click.option(
    "--out", type=FILE, metavar="FILE", help="Where to write it, if somebody else has to approve. [default: TXID.psdt]"
)


def say_sent(
    context: Context,
    target: AssetWallet,
    sent: SentAsset,
    sentence: str,
    out: Path | None = None,
    **more: Any,
) -> None:
    """Say what was made; where somebody else has to approve first, write it to a file."""
    value = {"txid": sent.txid, "fee": sent.fee} | more
    if isinstance(sent.psbt, str):
        approvers = sent.approvers if isinstance(sent.approvers, list) else []
        path = write_waiting(target, sent.txid, sent.psbt, out)
        context.emit(
            value | {"file": str(path), "approvers": approvers}, _told_waiting(target, sentence, path, approvers)
        )
        return
    context.emit(
        value,
        f"{sentence}\nTransaction {sent.txid}, with a fee of {sent.fee} DURE.\n"
        f"Look, once a block holds it: {target.tell(f'asset list {target.node.id}')}",
    )


def _told_waiting(target: AssetWallet, sentence: str, path: Path, approvers: list[str]) -> str:
    file = shlex.quote(str(path))
    lines = [
        f"To be approved: {sentence}",
        f"Nothing is sent yet; it is in the file {path}. Who has to approve it:",
    ]
    for address in approvers:
        nodes = nodes_of(target, address)
        who = f"{name_nodes(nodes)} ({address})" if nodes else address
        node = nodes[0] if nodes else "NODE"
        lines.append(f"  {who}: {target.tell(f'asset approve {node} {file}')}")
    all_of_them = target.tell(f"asset waiting {target.node.id}")
    lines.append(f"Until then its coins are kept for it. All that wait: {all_of_them}")
    return "\n".join(lines)


@click.command()
@click.argument("node", type=NODE)
@click.option("--kind", type=click.Choice(list(KINDS)), required=True, help="What it is to be.")
@click.option("--name", required=True, help="What to call it; anyone can use the same.")
@click.option("--ticker", help="A short name.")
@click.option("--uri", help="Where to read more about it.")
@click.option("--decimals", type=click.IntRange(0, 18), default=0, show_default=True, help="Digits after the point.")
@click.option("--amount", help="How much to issue now. [default: 0; 1 of a fixed one]")
@click.option("--controller", metavar="P", help="Whose approval everything takes: a node, a policy or an address.")
@click.option("--auditor", metavar="P", help="Who attests the reserve of a stable one: a node, a policy or an address.")
@out_file
@paying
@common
def issue(
    context: Context,
    *,
    node: int,
    kind: str,
    name: str,
    ticker: str | None,
    uri: str | None,
    decimals: int,
    amount: str | None,
    controller: str | None,
    auditor: str | None,
    out: Path | None,
    how: How,
) -> None:
    """Issue a new asset to node NODE's wallet.

    utility: more can be issued by whoever holds the authority. security: likewise, and a controller approves whatever
    is done with it; without --controller that is a new key of this wallet. stable: likewise utility, but only up to the
    reserve that its --auditor attests. fixed: never more than --amount.
    """
    from cli.wallet_pay import recipient
    from devnet.errors import Misused
    from rpc.schema import SentAsset

    target = AssetWallet(context, node)
    least = int(kind == "fixed")
    units = least if amount is None else target.units(amount, decimals, least=least)
    if (kind == "stable") != (auditor is not None):
        raise Misused("An --auditor is given for a stable asset, and for no other.")
    if kind == "security" and controller is None:
        controller = str(node)
    sent = target.ask(
        SentAsset,
        "issueasset",
        KINDS[kind],
        units,
        decimals,
        name,
        ticker,
        uri,
        None,
        None if controller is None else recipient(target, controller, how.request_id),
        None if auditor is None else recipient(target, auditor, how.request_id),
        None,
        None,
        "",
        *how,
    )
    sentence = f"Node {node} issues {in_units(units, decimals)} of {ticker or name}. Its id: {sent.asset}"
    say_sent(context, target, sent, sentence, out, asset=sent.asset)


@click.command()
@click.argument("sender", type=NODE, metavar="FROM")
@click.argument("to")
@click.argument("amounts", nargs=-1, required=True, metavar="AMOUNT ASSET...")
@click.option("--comment", default="", help="What it is for: kept in this wallet, seen by nobody else.")
@out_file
@paying
@common
def send(
    context: Context,
    *,
    sender: int,
    to: str,
    amounts: tuple[str, ...],
    comment: str,
    out: Path | None,
    how: How,
) -> None:
    """Pay AMOUNT of ASSET to TO: a node, a policy or an address.

    Several pairs of AMOUNT and ASSET go in one transaction. The fee is paid in DURE. If the controller of an asset is
    another wallet, a file is written for it to approve, and the coins are kept until then.
    """
    from cli.wallet_pay import recipient
    from devnet.errors import Misused
    from rpc.schema import SentAsset

    if len(amounts) % 2:
        raise Misused("Write an amount and an asset, and again for more: AMOUNT ASSET AMOUNT ASSET.")
    target = AssetWallet(context, sender)
    paid: list[tuple[int, Asset]] = []
    for amount, text in zip(amounts[::2], amounts[1::2], strict=True):
        known = target.asset(text)
        paid.append((target.units(amount, known.decimals), known))
    address = recipient(target, to, how.request_id)
    payments = [{"address": address, "asset": known.asset, "amount": units} for units, known in paid]
    sent = target.ask(SentAsset, "sendassets", payments, comment, *how)
    told = " and ".join(
        f"{in_units(units, known.decimals)} {named(known.metadata, known.asset)}" for units, known in paid
    )
    say_sent(context, target, sent, f"Node {sender} pays {told} to {address}", out, paid=payments)


@click.command()
@click.argument("node", type=NODE)
@click.argument("amount")
@click.argument("asset")
@out_file
@paying
@common
def reissue(
    context: Context,
    *,
    node: int,
    amount: str,
    asset: str,
    out: Path | None,
    how: How,
) -> None:
    """Issue AMOUNT more of ASSET; takes the authority over it."""
    _change(context, node, ("reissueasset", "issues", " more"), amount, asset, how, out)


@click.command()
@click.argument("node", type=NODE)
@click.argument("amount")
@click.argument("asset")
@out_file
@paying
@common
def burn(
    context: Context,
    *,
    node: int,
    amount: str,
    asset: str,
    out: Path | None,
    how: How,
) -> None:
    """Destroy AMOUNT of what the wallet holds of ASSET, for good."""
    _change(context, node, ("burnasset", "burns", ""), amount, asset, how, out)


@click.command()
@click.argument("node", type=NODE)
@click.argument("total")
@click.argument("asset")
@out_file
@paying
@common
def attest(
    context: Context,
    *,
    node: int,
    total: str,
    asset: str,
    out: Path | None,
    how: How,
) -> None:
    """Attest, as the auditor of ASSET, that TOTAL is held in reserve for it.

    If the auditor is another wallet, a file is written for it to approve. Until the next attestation nothing is issued
    above TOTAL; less than there is takes nothing away. ASSET is the whole id, if the wallet holds none of it.
    """
    _change(context, node, ("attestasset", "attests a reserve of", ""), total, asset, how, out)


def _change(
    context: Context,
    node: int,
    what: tuple[str, str, str],
    amount: str,
    text: str,
    how: How,
    out: Path | None,
) -> None:
    from rpc.schema import SentAsset

    target = AssetWallet(context, node)
    known = target.asset(text)
    units = target.units(amount, known.decimals, least=int(what[0] != "attestasset"))
    method, verb, more = what
    sent = target.ask(SentAsset, method, known.asset, units, "", *how)
    told = f"{in_units(units, known.decimals)}{more} {named(known.metadata, known.asset)}"
    say_sent(context, target, sent, f"Node {node} {verb} {told}", out, asset=known.asset, amount=units)


@click.command()
@click.argument("sender", type=NODE, metavar="FROM")
@click.argument("to")
@click.argument("asset")
@click.option("--comment", default="", help="What it is for: kept in this wallet, seen by nobody else.")
@paying
@common
def entrust(
    context: Context,
    *,
    sender: int,
    to: str,
    asset: str,
    comment: str,
    how: How,
) -> None:
    """Give the authority over ASSET to TO: a node, a policy or an address. Only TO can issue more from then on."""
    from cli.wallet_pay import recipient
    from rpc.schema import SentAsset

    target = AssetWallet(context, sender)
    known = target.asset(asset)
    address = recipient(target, to, how.request_id)
    sent = target.ask(SentAsset, "sendauthority", known.asset, address, comment, *how)
    name = named(known.metadata, known.asset)
    say_sent(context, target, sent, f"Node {sender} gives the authority over {name} to {address}", asset=known.asset)


@click.command()
@click.argument("node", type=NODE)
@click.argument("asset")
@click.option("--yes", is_flag=True, help="Do not ask.")
@out_file
@paying
@common
def close(
    context: Context,
    *,
    node: int,
    asset: str,
    yes: bool,
    out: Path | None,
    how: How,
) -> None:
    """Close the supply of ASSET for good: the authority to issue more is burned."""
    from rpc.schema import SentAsset

    target = AssetWallet(context, node)
    known = target.asset(asset)
    name = named(known.metadata, known.asset)
    if not yes:
        supply = in_units(known.supply, known.decimals)
        context.ask(f"There will never be more than {supply} of {name}. Close it?", "Nothing was done. To close it")
    sent = target.ask(SentAsset, "closeasset", known.asset, "", *how)
    say_sent(context, target, sent, f"Node {node} closes {name}: nobody can issue more", out, asset=known.asset)


COMMANDS = (issue, send, reissue, burn, attest, entrust, close)
