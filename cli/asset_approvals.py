"""Approvals of what others do with assets, by their controllers and auditors."""

from __future__ import annotations

import base64
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.assets import AssetWallet
from cli.context import FILE, NODE, Context, common
from cli.psdt_show import asset_name, show_psdt

if TYPE_CHECKING:
    from rpc.schema import Psbt, PsbtPart


@click.command()
@click.argument("node", type=NODE)
@click.argument("path", type=FILE, metavar="FILE")
@click.option("--out", "target", type=FILE, metavar="FILE", help="Write it there, and do not send it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def approve(context: Context, *, node: int, path: Path, target: Path | None, yes: bool) -> None:
    """Approve what waits in FILE, as the controller or auditor of its assets, and send it on.

    It is shown first. No coin of node NODE's wallet is signed for. If others have to approve as well, FILE is written
    again for them.
    """
    from devnet import files, policies
    from devnet.errors import Refused

    wallet = AssetWallet(context, node)
    text = policies.read_file(path)
    shown = policies.decode(wallet.calls, wallet.node, text)
    mine = [part for part in shown.parts if _is_asked(part)]
    if not mine:
        raise Refused(_nothing_to_approve(shown, node))
    if not context.json:
        show_psdt(shown, node)
    if not yes:
        assets = {each.asset: each for each in shown.assets}
        roles = [f"{part.approves} of {asset_name(str(part.asset), assets)}" for part in mine]
        context.ask(f"Approve it, as {' and as '.join(roles)}?", "Nothing was approved. To approve")
    approved = list(dict.fromkeys(str(part.asset) for part in mine))
    done = policies.process(
        wallet.calls, wallet.node, text, sign=True, only=[], secrets=(), force=False, approve=approved
    )
    if done.complete and target is None:
        sent = policies.finish(wallet.calls, wallet.node, done.psbt, send=True)
        context.emit(
            {"txid": sent.txid, "approved": approved, "complete": True},
            f"Node {node} approved, and sent it: transaction {sent.txid}. The next block confirms it.",
        )
        return
    written = target or path
    files.write_file(written, base64.b64decode(done.psbt), replace=target is None)
    file = shlex.quote(str(written))
    after = wallet.tell(f"psdt send {node} {file}" if done.complete else f"asset approve NODE {file}")
    state = "complete" if done.complete else f"not complete yet; see {wallet.tell(f'psdt inspect {file}')}"
    context.emit(
        {"file": str(written), "approved": approved, "complete": done.complete},
        f"Node {node} approved, in {written}. It is {state}\nThen: {after}",
    )


def _is_asked(part: PsbtPart) -> bool:
    """Tell whether a part is an approval that wants a key of this wallet."""
    return isinstance(part.asset, str) and any(key.ismine for key in part.unsigned)


def _nothing_to_approve(shown: Psbt, node: int) -> str:
    assets = {each.asset: each for each in shown.assets}
    approvals = [part for part in shown.parts if isinstance(part.asset, str)]
    if not approvals:
        return "Nothing in it takes an approval."
    if any(key.ismine for part in approvals for key in part.signed):
        return f"Node {node} has approved it already."
    who = [f"{part.address} ({part.approves} of {asset_name(str(part.asset), assets)})" for part in approvals]
    return f"Node {node} has no key that approves for it. Those of {' and '.join(who)} do."


COMMANDS = (approve,)
