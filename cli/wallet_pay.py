"""Payments from one node's wallet: to several at once, of everything, and again with a higher fee."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cli.context import NODE, Context, common, plural
from cli.wallet_access import NodeWallet, fee_rate

if TYPE_CHECKING:
    from rpc.encoding import Dure


class How(NamedTuple):
    """How a transaction is to be made, in the order in which calls take it."""

    fee_rate: str | None
    request_id: str | None
    force: bool


request_id = click.option(
    "--request-id", metavar="ID", help="A name of your choosing. The same one again pays only once, whatever happened."
)
force = click.option("--force", is_flag=True, help="Pay a fee above 0.1 DURE or 10 %, or below what is relayed.")


def paying(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --fee-rate, --request-id and --force, and hand it all three as a `How`."""

    @functools.wraps(command)
    def run(*, fee_rate: str | None, request_id: str | None, force: bool, **options: Any) -> Any:
        return command(how=How(fee_rate, request_id, force), **options)

    return fee_rate(request_id(force(run)))


@click.command()
@click.argument("node", type=NODE)
@click.argument("payments", nargs=-1, required=True, metavar="TO=AMOUNT...")
@click.option("--comment", default="", help="What it is for: kept in this wallet, seen by nobody else.")
@click.option("--they-pay-the-fee", is_flag=True, help="Take the fee out of what is paid, in equal parts.")
@paying
@common
def pay(
    context: Context,
    *,
    node: int,
    payments: tuple[str, ...],
    comment: str,
    they_pay_the_fee: bool,
    how: How,
) -> None:
    """Pay several at once; each TO is a node or an address.

    The payment is on disk when the command returns, and offered until a block holds it.
    """
    from rpc.schema import SentPayment

    target = NodeWallet(context, node)
    amounts = _recipients(target, payments, how.request_id)
    sent = target.ask(
        SentPayment,
        "sendmany",
        "",
        {address: str(amount) for address, amount in amounts.items()},
        None,
        comment,
        list(amounts) if they_pay_the_fee else None,
        None,
        None,
        None,
        how.fee_rate,
        True,
        how.request_id,
        how.force,
    )
    paid = [f"  {amount} DURE to {address}" for address, amount in amounts.items()]
    context.emit(
        {"txid": sent.txid, "fee": sent.fee, "paid": amounts},
        "\n".join(
            [
                f"Node {node} pays, with a fee of {sent.fee} DURE:",
                *paid,
                f"Transaction {sent.txid}",
                _then(target, sent.txid),
            ]
        ),
    )


def _recipients(target: NodeWallet, payments: tuple[str, ...], request: str | None) -> dict[str, Dure]:
    """Return who gets what. All is read before a node is asked for an address."""
    from cli.coins import AMOUNT
    from devnet.errors import Misused
    from rpc.encoding import Dure

    parsed = []
    for text in payments:
        to, equals, amount = text.rpartition("=")
        if not equals or not to:
            raise Misused(f"{text[:100]!r} is no payment: write TO=AMOUNT, such as 1=12.5")
        parsed.append((to, Dure(AMOUNT.convert(amount, None, None))))
    amounts: dict[str, Dure] = {}
    for to, value in parsed:
        address = recipient(target, to, request)
        if address in amounts:
            raise Misused(f"{to} is to be paid twice: add the amounts up")
        amounts[address] = value
    return amounts


def recipient(target: NodeWallet, to: str, request: str | None) -> str:
    """Return the address that is meant. A node has one for each request: repeated, it is the same payment."""
    from devnet.calls import CallRefused
    from devnet.payments import resolve_recipient
    from devnet.status import require_running
    from devnet.units import is_node_number

    if request is None or not is_node_number(to):
        return resolve_recipient(target.calls, target.record, to)
    node = target.record.node(int(to))
    require_running(target.folder, node)
    label = f"request {request}"
    try:
        known = target.calls.call(node, "getaddressesbylabel", label)
    except CallRefused:
        return str(target.calls.call(node, "getnewaddress", label))
    return str(next(iter(known)))


def _then(target: NodeWallet, txid: str) -> str:
    return f"Look: {target.hint(f'show {txid[:8]}')}"


@click.command()
@click.argument("node", type=NODE)
@click.argument("to")
@paying
@common
def sweep(context: Context, *, node: int, to: str, how: How) -> None:
    """Send all that can be spent to TO, a node or an address.

    The fee is taken out of it.
    """
    from rpc.schema import SentAll

    target = NodeWallet(context, node)
    address = recipient(target, to, how.request_id)

    sent = target.ask(SentAll, "sendall", [address], None, None, *how)
    lines = [f"Node {node} sends all it can spend to {address}.", f"Transaction {sent.txid}"]
    if not sent.complete:
        lines.append(
            "Some coins are left: they did not fit, or are worth less than their fee. Sweep again for the rest."
        )
    context.emit(
        {"txid": sent.txid, "to": address, "complete": sent.complete}, "\n".join([*lines, _then(target, sent.txid)])
    )


@click.command()
@click.argument("node", type=NODE)
@click.argument("txid")
@fee_rate
@click.option("--from-output", type=click.IntRange(min=0), metavar="N", help="The output that bears the fee, from 0.")
@force
@common
def bump(context: Context, *, node: int, txid: str, fee_rate: str | None, from_output: int | None, force: bool) -> None:
    """Replace a payment that waits with one of a higher fee.

    It pays the same receivers, and only one of the two can ever be mined. The change bears the fee, or coins are added.
    Without --fee-rate it is what is usual now, and more than the payment paid. Of TXID the first digits are enough.
    """
    from rpc.schema import BumpedFee

    target = NodeWallet(context, node)
    options: dict[str, object] = {"force": force}
    options |= {} if fee_rate is None else {"fee_rate": fee_rate}
    options |= {} if from_output is None else {"original_change_index": from_output}
    done = target.ask(BumpedFee, "bumpfee", target.txid(txid), options)
    context.emit(
        done,
        f"The fee is {done.fee} DURE now, it was {done.origfee}.\nTransaction {done.txid}\n{_then(target, done.txid)}",
    )


@click.command()
@click.argument("node", type=NODE)
@click.argument("txid")
@common
def abandon(context: Context, *, node: int, txid: str) -> None:
    """Give up a payment that no block and no mempool holds.

    Its coins are free again. Whoever holds it could still have it mined: then it counts again.
    """
    target = NodeWallet(context, node)
    whole = target.txid(txid)
    target.call("abandontransaction", whole)
    context.emit({"txid": whole}, f"{whole} is given up.")


@click.command()
@click.argument("node", type=NODE)
@click.option("--from", "start", type=click.IntRange(0, 2**31 - 1), default=0, help="Height of the first block.")
@click.option("--gap", type=click.IntRange(1, 10_000), help="How many unused addresses in a row to look for. [20]")
@common
def rescan(context: Context, *, node: int, start: int, gap: int | None) -> None:
    """Look for the wallet's payments in all blocks again.

    With a larger --gap also at addresses far beyond those in use.
    """
    from rpc.schema import RescanResult

    target = NodeWallet(context, node)
    done = target.ask(RescanResult, "rescanblockchain", start, None, gap)
    seen = plural(done.stop_height - max(0, done.start_height - 1), "block")
    context.emit(done, f"Looked at {seen}, up to {done.stop_height}. Look: {target.hint('info')}")


COMMANDS = (pay, sweep, bump, abandon, rescan)
