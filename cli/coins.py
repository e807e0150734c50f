"""Coins: send, fund, balance, mine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cli.context import NODE, Context, common, plural

if TYPE_CHECKING:
    from devnet.payments import Balance, Payment


MAX_BLOCKS = 100_000
"""More blocks than this no command finds: at the pace of the network they are six days."""


class AmountType(click.ParamType[int]):
    """An amount in DURE with at most eight decimals; grain inside."""

    name = "AMOUNT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it exactly; there are no binary fractions on the way."""
        if isinstance(value, int):
            return value
        from consensus.amounts import parse_amount

        try:
            amount = int(parse_amount(str(value)))
        except ValueError:
            self.fail(f"{str(value)[:40]!r} is no amount in DURE, such as 12.5 (at most eight decimals).", param, ctx)
        if not amount:
            self.fail("an amount must be more than nothing.", param, ctx)
        return amount


AMOUNT = AmountType()


@click.command()
@click.argument("sender", type=NODE, metavar="FROM")
@click.argument("to")
@click.argument("amount", type=AMOUNT)
@common
def send(context: Context, *, sender: int, to: str, amount: int) -> None:
    """Pay AMOUNT DURE from node FROM's wallet to TO: a node, or an address."""
    from devnet import payments
    from rpc.encoding import Dure

    record = context.folder.load()
    _show_payment(context, payments.send(context.calls, record, sender, to, Dure(amount)), to)


@click.command()
@click.argument("node", type=NODE)
@click.argument("amount", type=AMOUNT, default="10")
@common
def fund(context: Context, *, node: int, amount: int) -> None:
    """Pay node NODE AMOUNT DURE (10 unless you say) out of the fullest other wallet."""
    from devnet import payments
    from rpc.encoding import Dure

    record = context.folder.load()
    _show_payment(context, payments.fund(context.calls, record, node, Dure(amount)), str(node))


def _show_payment(context: Context, payment: Payment, to: str) -> None:
    """Say what was paid, and what happens next."""
    from devnet.payments import is_mined
    from devnet.units import is_node_number

    folder = context.folder
    whom = to if to == payment.to else f"{f'node {to}' if is_node_number(to) else to} ({payment.to})"
    if is_mined(folder.load(), payment.sender):
        then = "The next block confirms it, usually within seconds."
    else:
        by_hand = folder.hint(f"mine {payment.sender} 1")
        then = f"Nobody mines where node {payment.sender} is; confirm it by hand: {by_hand}"
    context.emit(
        {"txid": payment.txid, "from": payment.sender, "to": payment.to, "amount": payment.amount},
        f"Node {payment.sender} pays {payment.amount} DURE to {whom}.\n"
        f"Transaction {payment.txid}\n"
        f"It is in the mempool of node {payment.sender} and on its way to the others. {then}\n"
        f"Look: {folder.hint('balance')}",
    )


@click.command()
@click.argument("nodes", type=NODE, nargs=-1, metavar="[NODE]...")
@common
def balance(context: Context, *, nodes: tuple[int, ...]) -> None:
    """Show what the wallets hold: of all running nodes, or of those named."""
    from devnet.payments import balances, running
    from devnet.status import require_network_up, require_running

    record = context.folder.load()
    for node in nodes:
        require_running(context.folder, record.node(node))
    require_network_up(context.folder, record)
    held = balances(record, context.calls, list(nodes) or [node.id for node in running(record)])
    context.emit({"balances": held}, lambda: _show_balances(held))


def _show_balances(held: Sequence[Balance]) -> None:
    from cli.table import show_table

    titles = ["node", "confirmed", "pending", "immature"]
    rows = [[str(one.node), *map(str, (one.confirmed, one.pending, one.immature))] for one in held]
    if any(one.at_policies.grain for one in held):
        titles.append("at policies")
        rows = [[*row, str(one.at_policies)] for row, one in zip(rows, held, strict=True)]
    show_table(titles, rows, right=titles[1:])
    show_alarms([(one.node, alarm) for one in held for alarm in one.alarms])


def show_alarms(alarms: Sequence[tuple[int, str]]) -> None:
    """Say what is leaving vaults, so that nobody overlooks it: which node sees it, and the sentence."""
    for node, sentence in alarms:
        click.secho(f"ALARM at node {node}: {sentence}", fg="red", bold=True)


@click.command()
@click.argument("node", type=NODE)
@click.argument("count", type=click.IntRange(min=1, max=MAX_BLOCKS), metavar="N")
@common
def mine(context: Context, *, node: int, count: int) -> None:
    """Let node NODE find N blocks by real proof of work; the rewards go to its wallet."""
    from devnet import mining
    from devnet.status import require_running

    folder = context.folder
    record = folder.load().node(node)
    require_running(folder, record)
    if count > mining.ESTIMATE_ABOVE:
        seconds = mining.estimate_seconds(context.calls, record, count)
        click.echo(
            f"{count} blocks will take about {_duration(seconds)}: the difficulty doubles with every 24 blocks that "
            "come at once. Ctrl-C ends it; blocks that were found stay.",
            err=True,
        )
    started = time.monotonic()

    def report(found: int, block: str) -> None:
        if count > 1:
            context.note(f"Block {found} of {count}: {block}")

    found = mining.mine(context.calls, record, count, report)
    took = _duration(time.monotonic() - started)
    context.emit({"blocks": found}, f"Node {node} found {plural(count, 'block')} in {took}; the last is {found[-1]}.")


def _duration(seconds: float) -> str:
    """Return a duration as people say it, to about two digits."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 48 * 3600 else f"{seconds / 86_400:,.0f} days"


COMMANDS = (send, fund, balance, mine)
