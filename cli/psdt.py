"""Partially signed transactions: files that pass from wallet to wallet."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from cli.coins import AMOUNT
from cli.context import FILE, NODE, Commands, Context, common, plural
from cli.policies import HASH
from cli.psdt_show import show_psdt

if TYPE_CHECKING:
    from cli.assets import AssetWallet
    from devnet.folder import NetworkRecord, NodeRecord
    from rpc.schema import Psbt


@click.group(cls=Commands)
def psdt() -> None:
    """Pass a transaction that several must sign from wallet to wallet, as a file."""


class Paid(NamedTuple):
    """An output as a user writes it."""

    to: str
    amount: str
    asset: str
    """Empty for DURE."""


class OutputType(click.ParamType[Paid]):
    """TO=AMOUNT: a node, an address or a policy, and DURE; or TO=AMOUNT:ASSET."""

    name = "TO=AMOUNT[:ASSET]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Paid:
        """Read it."""
        to, equals, worth = str(value).rpartition("=")
        amount, colon, asset = worth.partition(":")
        if not equals or not to or bool(colon) != bool(asset):
            self.fail(f"{str(value)[:70]!r} is not TO=AMOUNT or TO=AMOUNT:ASSET, such as 2=1.5.", param, ctx)
        if not asset:
            AMOUNT.convert(amount, param, ctx)
        return Paid(to, amount, asset)


class BurnType(click.ParamType[tuple[str, str]]):
    """AMOUNT:ASSET."""

    name = "AMOUNT:ASSET"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Read it."""
        amount, _, asset = str(value).partition(":")
        if not amount or not asset:
            self.fail(f"{str(value)[:70]!r} is not AMOUNT:ASSET.", param, ctx)
        return amount, asset


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
@click.option("--burn", "burns", type=BurnType(), multiple=True, help="What of an asset to destroy; again for more.")
@common
def create(
    context: Context,
    *,
    node: int,
    path: Path,
    inputs: tuple[tuple[str, int], ...],
    outputs: tuple[Paid, ...],
    burns: tuple[tuple[str, str], ...],
) -> None:
    """Write FILE: a transaction of exactly these coins and outputs, that nobody has signed. What is left is the fee.

    Coins may be of several wallets. Of each asset as much must go as comes; each signs for its own with --own. To spend
    from a policy, `dure policy spend` chooses the coins and reckons the fee.
    """
    from cli.assets import AssetWallet
    from devnet import files, payments, policies

    calls, record = context.calls, context.folder.load()
    asked = policies.running_node(calls, record, node)
    wallet = AssetWallet(context, node)
    coins = [{"txid": txid, "vout": index} for txid, index in inputs]
    paid = [{payments.resolve_recipient(calls, record, each.to): _worth(wallet, each)} for each in outputs]
    more = (0, None, "", [wallet.carried(amount, asset) for amount, asset in burns]) if burns else ()
    text = str(calls.call(asked, "createpsbt", coins, paid, *more))
    shown = policies.decode(calls, asked, text)
    files.write_file(path, base64.b64decode(text))
    context.emit(
        {"file": str(path), "txid": shown.txid, "fee": shown.fee},
        f"Written to {path}: {plural(len(shown.inputs), 'input')}, fee {shown.fee} DURE; nobody has signed it yet.",
    )


def _worth(wallet: AssetWallet, paid: Paid) -> object:
    from rpc.encoding import Dure

    return wallet.carried(paid.amount, paid.asset) if paid.asset else str(Dure.parse(paid.amount))


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
    context.emit(shown, lambda: show_psdt(shown, asked.id))


def _asked(context: Context, record: NetworkRecord, node: int | None) -> NodeRecord:
    from devnet import payments, policies
    from devnet.status import require_network_up

    require_network_up(context.folder, record)
    ready = payments.running(record)
    return policies.running_node(context.calls, record, ready[0].id if node is None and ready else node or 0)


@psdt.command()
@click.argument("node", type=NODE)
@click.argument("path", type=FILE, metavar="FILE")
@click.option("--only", multiple=True, metavar="ADDRESS|NAME", help="Sign for what lies there, and nothing else.")
@click.option("--approve", multiple=True, metavar="ASSET", help="Approve for that asset, and nothing else.")
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
    approve: tuple[str, ...],
    own: bool,
    secrets: tuple[str, ...],
    target: Path | None,
    force: bool,
    yes: bool,
) -> None:
    """Show FILE, ask, and sign it with the keys of node NODE's wallet: for policies, and as a controller or auditor of
    assets, but for no coin of its own.

    What is signed is what is shown. A file that lies about a coin is refused, or its signatures are worth nothing.
    """
    from devnet import files, policies
    from devnet.errors import Refused

    calls, record = context.calls, context.folder.load()
    signer = policies.running_node(calls, record, node)
    text = policies.read_file(path)
    shown = policies.decode(calls, signer, text)
    locks, assets = _chosen(shown, only, approve, own=own)
    if not locks and not assets:
        raise Refused("There is nothing in it to sign for: it only spends coins of this wallet's own. Say --own.")
    if not context.json:
        show_psdt(shown, node)
    if not yes and not click.confirm("Sign it?"):
        raise Refused("Nothing was signed.")
    done = policies.process(calls, signer, text, sign=True, only=locks, secrets=secrets, force=force, approve=assets)
    if not done.signed and not secrets:
        raise Refused(f"Node {node} has no key that could sign, or has signed already.")
    written = target or path
    files.write_file(written, base64.b64decode(done.psbt), replace=target is None)
    then = f"psdt send {node}" if done.complete else "psdt sign NODE"
    context.emit(
        {"file": str(written), "signed": done.signed, "complete": done.complete},
        f"Node {node} signed, in {written}. It is {'complete' if done.complete else 'not complete yet'}: "
        f"{context.folder.hint(f'{then} {shlex.quote(str(written))}')}",
    )


def _chosen(shown: Psbt, only: Sequence[str], approve: Sequence[str], *, own: bool) -> tuple[list[str], list[str]]:
    """Return the addresses to sign for, and the assets to approve for.

    Those that are named, else all but the locks that are the signer's alone.
    """
    locks = [part for part in shown.parts if not isinstance(part.asset, str)]
    approved = dict.fromkeys(part.asset for part in shown.parts if isinstance(part.asset, str))
    if only or approve:
        named = [part.address for part in locks if part.address in only or part.name in only]
        return named, [asset for asset in approved if any(asset.startswith(start.lower()) for start in approve)]
    return [part.address for part in locks if own or part.name != "yours"], list(approved)


@psdt.command()
@click.argument("target", type=FILE, metavar="OUT")
@click.argument("paths", type=FILE, nargs=-1, required=True, metavar="FILE...")
@common
def combine(context: Context, *, target: Path, paths: tuple[Path, ...]) -> None:
    """Put FILEs of the same transaction together: OUT has all that is in any of them."""
    from devnet import files, policies

    calls, record = context.calls, context.folder.load()
    asked = _asked(context, record, None)
    text = str(calls.call(asked, "combinepsbt", [policies.read_file(path) for path in paths]))
    shown = policies.decode(calls, asked, text)
    files.write_file(target, base64.b64decode(text))
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
