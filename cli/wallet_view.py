"""One node's wallet: what it holds, what happened, and what its addresses are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cli.coins import show_alarms
from cli.context import NODE, Context, common, plural
from cli.wallet_access import HISTORY_TITLES, WHAT, NodeWallet, history_row, moment, short_address

if TYPE_CHECKING:
    from rpc.schema import AssetEntry, MineBalances, UnspentCoin, WalletInfo, WalletTransaction


@click.command()
@click.argument("node", type=NODE)
@common
def info(context: Context, *, node: int) -> None:
    """Show what node NODE's wallet holds and how it is protected."""
    from rpc.schema import Balances, MineBalances, Policies, WalletInfo

    target = NodeWallet(context, node)
    facts, held = target.ask(WalletInfo, "getwalletinfo"), target.ask(Balances, "getbalances")
    apart = held.watchonly if isinstance(held.watchonly, MineBalances) else None
    alarms = [] if apart is None else target.ask(Policies, "listpolicies").withdrawals

    def show() -> None:
        click.echo(_tell_info(target, facts, held.mine, apart))
        show_alarms([(node, alarm.sentence) for alarm in alarms])

    context.emit({"wallet": facts, "balances": held.mine, "at_policies": apart, "withdrawals": alarms}, show)


def _tell_info(target: NodeWallet, facts: WalletInfo, mine: MineBalances, apart: MineBalances | None) -> str:
    if not facts.encrypted:
        protection = f"not encrypted. Encrypt it: {target.hint('encrypt')}"
    elif facts.locked:
        protection = f"encrypted, and locked. Unlock it: {target.hint('unlock')}"
    else:
        until = facts.unlocked_until
        timed = f" until {moment(until, '%H:%M:%S')} UTC" if isinstance(until, int) and until < 2**32 - 1 else ""
        protection = f"encrypted, and unlocked{timed}. Lock it: {target.hint('lock')}"
    sums = [("can be spent", mine.trusted), ("pending", mine.untrusted_pending), ("immature", mine.immature)]
    sums += [("set aside", mine.locked)] if mine.locked.grain else []
    sums += [("at policies", apart.trusted)] if apart is not None else []
    width = max(len(str(amount)) for _, amount in sums)
    lines = [f"The wallet of node {target.node.id} is {protection}", ""]
    lines += [f"  {name:<13} {amount!s:>{width}} DURE" for name, amount in sums]
    lines.append("")
    lines.append(
        f"{plural(facts.coins, 'coin')}, {plural(facts.txcount, 'transaction')}; addresses handed out: "
        f"{facts.keypoolsize}. Followed up to block {facts.lastprocessedblock.height}."
    )
    if facts.scanning is not False:
        lines.append(f"It is looking at old blocks again: {facts.scanning.progress:.0%} done.")
    return "\n".join(lines)


# Addresses


@click.command()
@click.argument("node", type=NODE)
@click.option("--label", default="", help="What its payments are shown with.")
@common
def address(context: Context, *, node: int, label: str) -> None:
    """Hand out a new address of node NODE's wallet. Use each for one payer."""
    given = NodeWallet(context, node).call("getnewaddress", label)
    context.emit({"address": given, "label": label}, str(given))


@click.command()
@click.argument("node", type=NODE)
@click.option("--unpaid", is_flag=True, help="Also those that nobody has paid yet.")
@click.option("--change", is_flag=True, help="Also those that took change.")
@common
def addresses(context: Context, *, node: int, unpaid: bool, change: bool) -> None:
    """List the addresses handed out, and what each was ever paid."""
    from cli.table import show_table
    from rpc.schema import ReceivedByAddress

    target = NodeWallet(context, node)
    listed = target.ask(list[ReceivedByAddress], "listreceivedbyaddress", unpaid, change)
    if not listed and not context.json:
        context.note(f"Nobody has paid this wallet yet. A new address: {target.hint('address')}")
        return
    rows = [[each.address, str(each.amount), each.label or ("change" if each.ischange else "")] for each in listed]
    context.emit({"addresses": listed}, lambda: show_table(["address", "received", "label"], rows, right=["received"]))


@click.command()
@click.argument("node", type=NODE)
@click.argument("address")
@click.argument("label")
@common
def label(context: Context, *, node: int, address: str, label: str) -> None:
    """Give an address, one's own or another's, a label.

    It stands in place of an earlier one; "" takes it away. History shows it.
    """
    NodeWallet(context, node).call("setlabel", address, label)
    said = f"{address} is called {label!r} now." if label else f"{address} has no label any more."
    context.emit({"address": address, "label": label}, said)


# What happened


@click.command()
@click.argument("node", type=NODE)
@click.option("-n", "count", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many lines.")
@click.option("--skip", type=click.IntRange(0, 100_000), default=0, help="Leave out so many newer ones.")
@click.option("--label", default="*", help="Only what has this label.")
@common
def history(context: Context, *, node: int, count: int, skip: int, label: str) -> None:
    """Show what was paid, received and mined; the newest last.

    "depth" is how many blocks confirm it. Instead it may say pending; replaced, by a payment with a higher fee;
    conflicted, if another transaction took one of its coins; orphaned, for a reward of a branch that lost; abandoned;
    or dropped, by the mempool.
    """
    from cli.table import show_table
    from rpc.schema import WalletEntry

    target = NodeWallet(context, node)
    entries = target.ask(list[WalletEntry], "listtransactions", label, count, skip)
    if not entries and not context.json:
        context.note("Nothing has happened yet.")
        return
    rows = [history_row(entry) for entry in entries]
    context.emit({"history": entries}, lambda: show_table(HISTORY_TITLES, rows, right=["DURE", "depth"]))


@click.command()
@click.argument("node", type=NODE)
@click.argument("txid")
@common
def show(context: Context, *, node: int, txid: str) -> None:
    """Show all that the wallet knows of one transaction.

    The first digits of its id are enough.
    """
    from rpc.schema import AssetEntry, WalletTransaction

    target = NodeWallet(context, node)
    detail = target.ask(WalletTransaction, "gettransaction", target.txid(txid))
    assets = target.ask(list[AssetEntry], "listassettransactions", 1, 0, None, detail.txid)
    context.emit({"transaction": detail, "assets": assets}, _tell_transaction(detail, assets))


def _tell_transaction(detail: WalletTransaction, assets: Sequence[AssetEntry]) -> str:
    from cli.assets import in_units, named

    lines = [f"Transaction {detail.txid}"]
    if isinstance(detail.blockhash, str):
        lines.append(f"  in block {detail.blockheight}, {plural(detail.confirmations, 'block')} deep")
    elif detail.state == "conflicted" and detail.confirmations:
        lines.append(f"  conflicted: another transaction took its coins, {plural(-detail.confirmations, 'block')} deep")
    else:
        lines.append(f"  {detail.state}, in no block")
    lines.append(f"  first seen {moment(detail.time, '%Y-%m-%d %H:%M:%S')} UTC")
    if detail.amount.grain or not assets:
        lines.append(f"  {'brought' if detail.amount.grain >= 0 else 'took'} {str(detail.amount).lstrip('-')} DURE")
    if isinstance(detail.fee, type(detail.amount)):
        lines.append(f"  fee {str(detail.fee).lstrip('-')} DURE")
    for entry in detail.details:
        labelled = f" ({entry.label})" if entry.label else ""
        lines.append(f"  {WHAT[entry.category]:<8} {entry.amount!s:>18}  {entry.address}{labelled}")
    for line in assets:
        amount, name = in_units(line.amount, line.decimals), named(line.metadata, line.asset)
        lines.append(f"  {line.category:<8} {amount:>18}  {name}" + "".join(f", to {each}" for each in line.addresses))
    lines += [
        f"  {name}: {text}" for name, text in (("for", detail.comment), ("to", detail.to)) if isinstance(text, str)
    ]
    lines += [f"  spends a coin that {other} spends too" for other in detail.walletconflicts]
    if isinstance(detail.replaced_by_txid, str):
        lines.append(f"  replaced, with a higher fee, by {detail.replaced_by_txid}")
    if isinstance(detail.replaces_txid, str):
        lines.append(f"  made in place of {detail.replaces_txid}")
    return "\n".join(lines)


# Coins


@click.command()
@click.argument("node", type=NODE)
@common
def coins(context: Context, *, node: int) -> None:
    """List the coins, and what keeps one from being spent."""
    from cli.table import show_table
    from rpc.schema import UnspentCoin

    target = NodeWallet(context, node)
    listed = target.ask(list[UnspentCoin], "listunspent", 0, 9_999_999, None, True, {"include_immature_coinbase": True})
    aside = target.call("listlockunspent")
    rows = [
        [
            f"{coin.txid[:8]}:{coin.vout}",
            str(coin.amount),
            str(coin.confirmations),
            _standing(coin),
            coin.label[:18] or short_address(coin.address),
        ]
        for coin in sorted(listed, key=lambda coin: -coin.amount.grain)
    ]

    def tell() -> None:
        if rows:
            show_table(["coin", "DURE", "depth", "", "at"], rows, right=["DURE", "depth"])
        for coin in aside:
            click.echo(f"set aside: {coin['txid']}:{coin['vout']}")
        if not rows and not aside:
            click.echo("There are no coins.")

    context.emit({"coins": listed, "aside": aside}, tell)


def _standing(coin: UnspentCoin) -> str:
    if coin.spendable:
        return ""
    return "too young" if coin.safe else "pending"


@click.command("set-aside")
@click.argument("node", type=NODE)
@click.argument("coins", nargs=-1, required=True, metavar="TXID:N...")
@click.option("--for-good", is_flag=True, help="Not only until the node stops.")
@common
def set_aside(context: Context, *, node: int, coins: tuple[str, ...], for_good: bool) -> None:
    """Let no payment use these coins until they are taken back.

    All that are named, or none.
    """
    target = NodeWallet(context, node)
    named = [_coin_name(target, coin) for coin in coins]
    target.call("lockunspent", False, named, for_good)
    context.emit({"aside": named}, f"Set aside. Take back: {target.hint('take-back ' + ' '.join(coins))}")


@click.command("take-back")
@click.argument("node", type=NODE)
@click.argument("coins", nargs=-1, metavar="[TXID:N]...")
@common
def take_back(context: Context, *, node: int, coins: tuple[str, ...]) -> None:
    """Let payments use coins again that were set aside.

    Those that are named, or without any all.
    """
    target = NodeWallet(context, node)
    named = [_coin_name(target, coin) for coin in coins] or None
    target.call("lockunspent", True, named)
    context.emit({"taken_back": named}, "Taken back.")


def _coin_name(target: NodeWallet, text: str) -> dict[str, object]:
    from devnet.errors import Misused

    txid, _, index = text.rpartition(":")
    if not txid or not (index.isascii() and index.isdigit() and len(index) < 10):
        raise Misused(f"{text[:80]!r} is no coin: write TXID:N, as in {target.hint('coins')}")
    return {"txid": target.txid(txid), "vout": int(index)}


COMMANDS = (info, history, show, coins, set_aside, take_back, address, addresses, label)
