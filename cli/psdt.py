"""Partially signed transactions: files that pass from wallet to wallet."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.coins import AMOUNT
from cli.context import NODE, Commands, Context, common, join, plural
from cli.policies import HASH

if TYPE_CHECKING:
    from devnet.folder import NetworkRecord, NodeRecord
    from rpc.schema import Psbt

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=Commands)
def psdt() -> None:
    """Pass a transaction that several must sign from wallet to wallet, as a file."""


class OutputType(click.ParamType[tuple[str, int]]):
    """TO=AMOUNT: a node, an address or a policy, and DURE."""

    name = "TO=AMOUNT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Read it."""
        to, equals, amount = str(value).rpartition("=")
        if not equals or not to:
            self.fail(f"{str(value)[:70]!r} is not TO=AMOUNT, such as 2=1.5.", param, ctx)
        return to, int(AMOUNT.convert(amount, param, ctx))


class CoinType(click.ParamType[tuple[str, int]]):
    """TXID:N."""

    name = "TXID:N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Read it."""
        txid, _, index = str(value).partition(":")
        if len(txid) != 64 or not index.isascii() or not index.isdigit() or len(index) > 9:
            self.fail(f"{str(value)[:80]!r} is not TXID:N, a transaction's id and the place of its output.", param, ctx)
        return txid, int(index)


@psdt.command()
@click.argument("node", type=NODE)
@click.argument("path", type=FILE, metavar="FILE")
@click.option("--in", "inputs", type=CoinType(), multiple=True, required=True, help="A coin to spend; again for more.")
@click.option("--out", "outputs", type=OutputType(), multiple=True, required=True, help="Whom to pay; again for more.")
@common
def create(
    context: Context,
    *,
    node: int,
    path: Path,
    inputs: tuple[tuple[str, int], ...],
    outputs: tuple[tuple[str, int], ...],
) -> None:
    """Write FILE: a transaction of exactly these coins and outputs, that nobody has signed. What is left is the fee.

    To spend from a policy, `dure policy spend` chooses the coins and reckons the fee.
    """
    from devnet import payments, policies
    from rpc.encoding import Dure

    calls, record = context.calls, context.folder.load()
    asked = policies.running_node(calls, record, node)
    coins = [{"txid": txid, "vout": index} for txid, index in inputs]
    paid = [{payments.resolve_recipient(calls, record, to): str(Dure(amount))} for to, amount in outputs]
    text = str(calls.call(asked, "createpsbt", coins, paid))
    shown = policies.decode(calls, asked, text)
    policies.write_file(path, base64.b64decode(text))
    context.emit(
        {"file": str(path), "txid": shown.txid, "fee": shown.fee},
        f"Written to {path}: {plural(len(shown.inputs), 'input')}, fee {shown.fee} DURE; nobody has signed it yet.",
    )


@psdt.command()
@click.argument("path", type=FILE, metavar="FILE")
@click.option("--node", type=NODE, help="As this node sees it. [default: the first that runs]")
@common
def inspect(context: Context, *, path: Path, node: int | None) -> None:
    """Show what FILE spends, whom it pays, what the fee is, who has signed and what is missing."""
    from devnet import policies

    calls, record = context.calls, context.folder.load()
    text = policies.read_file(path)
    asked = _asked(context, record, node)
    shown = policies.decode(calls, asked, text)
    context.emit(shown, lambda: _show(shown, asked.id))


def _asked(context: Context, record: NetworkRecord, node: int | None) -> NodeRecord:
    from devnet import payments, policies
    from devnet.status import require_network_up

    require_network_up(context.folder, record)
    ready = payments.running(record)
    return policies.running_node(context.calls, record, ready[0].id if node is None and ready else node or 0)


def _show(shown: Psbt, node: int) -> None:
    click.echo(f"Transaction {shown.txid}, as node {node} sees it")
    click.echo("  spends")
    for coin in shown.inputs:
        known = "" if coin.known else "  (this node does not know it)"
        click.echo(f"    {coin.amount!s:>20} DURE of {_whose(coin.name, coin.address)}{known}")
    click.echo("  pays")
    for output in shown.outputs:
        click.echo(f"    {output.amount!s:>20} DURE to {_whose(output.name, output.address)}")
    click.echo(f"  fee\n    {shown.fee!s:>20} DURE")
    for part in shown.parts:
        click.echo(f"  {_whose(part.name, part.address)}")
        signed = [key.role if isinstance(key.role, str) else f"key {key.pubkey[:10]}…" for key in part.signed]
        click.echo(f"    signed by {join(signed) if signed else 'nobody yet'}")
        for branch in part.branches:
            state = "has all it asks for" if not branch.missing else f"wants {'; '.join(branch.missing)}"
            click.echo(f"    {branch.number}. {branch.sentence}\n       {state}")
    for warning in shown.warnings:
        click.secho(f"  Mind: {warning}", fg="red")
    click.echo("  It is complete." if shown.complete else "  It is not complete.")


def _whose(name: str, address: str) -> str:
    if name == "yours":
        return f"this wallet ({address})"
    return f"{name} ({address})" if name else address


@psdt.command()
@click.argument("node", type=NODE)
@click.argument("path", type=FILE, metavar="FILE")
@click.option("--only", multiple=True, metavar="ADDRESS|NAME", help="Sign for what lies there, and nothing else.")
@click.option("--own", is_flag=True, help="Also for coins of this wallet alone.")
@click.option("--secret", "secrets", type=HASH, multiple=True, help="The secret of a hash lock.")
@click.option("--out", "target", type=FILE, metavar="FILE", help="Write to another file; FILE stays as it is.")
@click.option("--force", is_flag=True, help="Even with a fee that looks like a mistake.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def sign(
    context: Context,
    *,
    node: int,
    path: Path,
    only: tuple[str, ...],
    own: bool,
    secrets: tuple[str, ...],
    target: Path | None,
    force: bool,
    yes: bool,
) -> None:
    """Show FILE, ask, and sign it with the keys that node NODE's wallet has: for policies, and no coin of its own.

    What is signed is what is shown. A file that lies about a coin is refused, or its signatures are worth nothing.
    """
    from devnet import policies
    from devnet.errors import Refused

    calls, record = context.calls, context.folder.load()
    signer = policies.running_node(calls, record, node)
    text = policies.read_file(path)
    shown = policies.decode(calls, signer, text)
    chosen = _chosen(shown, only, own=own)
    if not chosen:
        raise Refused("There is nothing in it to sign for: it only spends coins of this wallet's own. Say --own.")
    if not context.json:
        _show(shown, node)
    if not yes and not click.confirm("Sign it?"):
        raise Refused("Nothing was signed.")
    done = policies.process(calls, signer, text, sign=True, only=chosen, secrets=secrets, force=force)
    if not done.signed and not secrets:
        raise Refused(f"Node {node} has no key that could sign, or has signed already.")
    written = target or path
    policies.write_file(written, base64.b64decode(done.psbt), replace=target is None)
    then = f"psdt send {node}" if done.complete else "psdt sign NODE"
    context.emit(
        {"file": str(written), "signed": done.signed, "complete": done.complete},
        f"Node {node} signed, in {written}. It is {'complete' if done.complete else 'not complete yet'}: "
        f"{context.folder.hint(f'{then} {shlex.quote(str(written))}')}",
    )


def _chosen(shown: Psbt, only: Sequence[str], *, own: bool) -> list[str]:
    """Return the addresses to sign for: those that are named, else all but what is the signer's alone."""
    if only:
        return [part.address for part in shown.parts if part.address in only or part.name in only]
    return [part.address for part in shown.parts if own or part.name != "yours"]


@psdt.command()
@click.argument("target", type=FILE, metavar="OUT")
@click.argument("paths", type=FILE, nargs=-1, required=True, metavar="FILE...")
@common
def combine(context: Context, *, target: Path, paths: tuple[Path, ...]) -> None:
    """Put FILEs of the same transaction together: OUT has all that is in any of them."""
    from devnet import policies

    calls, record = context.calls, context.folder.load()
    asked = _asked(context, record, None)
    text = str(calls.call(asked, "combinepsbt", [policies.read_file(path) for path in paths]))
    shown = policies.decode(calls, asked, text)
    policies.write_file(target, base64.b64decode(text))
    context.emit(
        {"file": str(target), "complete": shown.complete},
        f"Written to {target}: it is {'complete' if shown.complete else 'not complete yet'}.",
    )


@psdt.command()
@click.argument("path", type=FILE, metavar="FILE")
@common
def finalise(context: Context, *, path: Path) -> None:
    """Print the finished transaction of FILE in hex, without sending it."""
    from devnet import policies

    calls, record = context.calls, context.folder.load()
    done = policies.finish(calls, _asked(context, record, None), policies.read_file(path), send=False)
    context.emit({"txid": done.txid, "hex": done.hex}, str(done.hex))


@psdt.command()
@click.argument("node", type=NODE)
@click.argument("path", type=FILE, metavar="FILE")
@common
def send(context: Context, *, node: int, path: Path) -> None:
    """Finish FILE, and let node NODE send it."""
    from devnet import policies

    calls, record = context.calls, context.folder.load()
    sender = policies.running_node(calls, record, node)
    done = policies.finish(calls, sender, policies.read_file(path), send=True)
    context.emit({"txid": done.txid}, f"Sent: transaction {done.txid}. The next block confirms it.")


COMMANDS = (psdt,)
