"""Transfers that wait for somebody's approval: their files, what waits, and how it is taken back."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.assets import AssetWallet, in_units, named
from cli.context import FILE, NODE, Context, common
from cli.wallet_access import fee_rate, moment, short_address
from cli.wallet_pay import force

if TYPE_CHECKING:
    from rpc.schema import Asset, WaitingTransfer


# Files


def write_waiting(target: AssetWallet, txid: str, psbt: str, out: Path | None) -> Path:
    """Write a transfer that waits to a file; return where.

    Raises:
        Refused: there is another file of that name. The transfer waits all the same.
    """
    from devnet import files, policies
    from devnet.errors import Refused

    path = out or Path(f"{txid[:16]}.psdt")
    raw = base64.b64decode(psbt)
    if path.exists() and policies.read_file(path) == psbt:
        return path
    try:
        files.write_file(path, raw)
    except Refused as error:
        again = target.tell(f"asset waiting {target.node.id} {txid[:16]} --out FILE")
        raise Refused(f"{error} It waits all the same. To write it elsewhere: {again}") from None
    return path


def nodes_of(target: AssetWallet, address: str) -> list[int]:
    """Return the running nodes whose wallet has the key of an address, or one of those of its policy."""
    from devnet.calls import CallRefused
    from devnet.payments import running
    from rpc.schema import AddressInfo, Policies

    found = []
    for node in running(target.record):
        try:
            if target.calls.ask(node, AddressInfo, "getaddressinfo", address).ismine or any(
                key.ismine
                for known in target.calls.ask(node, Policies, "listpolicies").policies
                for key in known.keys
                if known.address == address
            ):
                found.append(node.id)
        except CallRefused:  # it has no wallet
            continue
    return found


# Seeing and taking back


@click.command()
@click.argument("node", type=NODE)
@click.argument("txid", required=False)
@click.option("--out", "path", type=FILE, metavar="FILE", help="Write the one of TXID there, for those who approve.")
@common
def waiting(context: Context, *, node: int, txid: str | None, path: Path | None) -> None:
    """List what node NODE's wallet made that waits for somebody's approval; its coins are kept until it is sent.

    TXID, or the first digits of it, stands for one of them.
    """
    from devnet.errors import Misused

    wallet = AssetWallet(context, node)
    if path is not None and txid is None:
        raise Misused("Say which one to write: the first digits of its txid.")
    found = _waiting(wallet)
    if txid is not None:
        found = [_meant(found, txid, wallet)]
    if path is not None:
        _write_again(context, wallet, found[0].txid, path)
        return
    assets = wallet.known_assets(amount.asset for each in found for amount in each.gives)
    lines = [line for each in found for line in _lines(each, assets)]
    context.emit({"waiting": found}, "\n".join(lines) or "Nothing waits for an approval.")


def _waiting(wallet: AssetWallet) -> list[WaitingTransfer]:
    from rpc.schema import WaitingTransfer

    return wallet.ask(list[WaitingTransfer], "listwaitingtransfers")


def _meant(found: list[WaitingTransfer], start: str, wallet: AssetWallet) -> WaitingTransfer:
    from devnet.errors import Refused

    meant = [each for each in found if each.txid.startswith(start.lower())]
    if len(meant) != 1:
        which = "Nothing that waits" if not meant else f"More than one ({len(meant)}) that wait"
        raise Refused(f"{which} begins with {start[:70]!r}. See {wallet.tell(f'asset waiting {wallet.node.id}')}")
    return meant[0]


def _write_again(context: Context, wallet: AssetWallet, txid: str, path: Path) -> None:
    from rpc.schema import WaitingTransfer

    whole = wallet.ask(WaitingTransfer, "getwaitingtransfer", txid)
    written = write_waiting(wallet, txid, str(whole.psbt), path)
    context.emit({"txid": txid, "file": str(written)}, f"Written to {written}.")


def _lines(each: WaitingTransfer, assets: Mapping[str, Asset]) -> list[str]:
    gives = [_amount(assets.get(amount.asset), amount.amount, amount.asset) for amount in each.gives]
    what = " and ".join(gives) or "nothing of its own but the fee"
    to = f" to {' and '.join(map(short_address, each.addresses))}" if each.addresses else ""
    comment = f"  ({each.comment})" if isinstance(each.comment, str) else ""
    lines = [
        f"{each.txid[:16]}  {moment(each.time, '%m-%d %H:%M')}  {each.state}{comment}",
        f"  gives {what}{to}; fee {each.fee} DURE",
    ]
    if each.state == "waiting":
        lines += [f"  wants the approval of {address}" for address in each.approvers]
    return lines


def _amount(known: Asset | None, amount: int, asset_id: str) -> str:
    decimals = None if known is None else known.decimals
    return f"{in_units(amount, decimals)} {named(None if known is None else known.metadata, asset_id)}"


@click.command()
@click.argument("node", type=NODE)
@click.argument("txid")
@click.option("--forget", is_flag=True, help="Only let its coins go, at once: nobody else has the file.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@fee_rate
@force
@common
def cancel(
    context: Context, *, node: int, txid: str, forget: bool, yes: bool, fee_rate: str | None, force: bool
) -> None:
    """Take back what waits for an approval. TXID may be its first digits.

    Whoever has the file could still finish it: so the wallet pays the coin of its fee to itself, and once a block holds
    that, the file is worth nothing and its other coins are free.
    """
    from rpc.schema import CancelledTransfer

    wallet = AssetWallet(context, node)
    meant = _meant(_waiting(wallet), txid, wallet)
    if forget and not yes:
        question = "Whoever has the file can still finish it, and then it counts. Forget it?"
        context.ask(question, "Nothing was done. To forget it")
    done = wallet.ask(CancelledTransfer, "cancelwaitingtransfer", meant.txid, forget, fee_rate, force)
    if forget:
        context.emit({"txid": meant.txid, "forgotten": True}, f"Forgotten: {meant.txid[:16]}. Its coins are free.")
        return
    context.emit(
        {"txid": meant.txid, "by": done.txid, "fee": done.fee},
        f"Node {node} takes {meant.txid[:16]} back, by transaction {done.txid} with a fee of {done.fee} DURE.\n"
        f"Once a block holds that, its coins are free: {wallet.tell(f'asset waiting {node}')}",
    )


COMMANDS = (waiting, cancel)
