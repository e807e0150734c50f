"""Assets: what a wallet holds of them, and what the chain knows. `asset_making.py` and its neighbours do the rest."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from string import hexdigits
from typing import TYPE_CHECKING

import click

from cli.context import NODE, Commands, Context, common, plural
from cli.wallet_access import NodeWallet, moment, short_address

if TYPE_CHECKING:
    from rpc.schema import Asset, AssetBalance, AssetEntry, AssetText, PolicyAsset

MIN_DIGITS = 4
"""Of an id, where not all are given."""


@click.group(cls=Commands)
def asset() -> None:
    """Issue assets of one's own, pay with them, and see what a wallet holds.

    An ASSET is meant by its id; or by the ticker, the name or the first digits of the id of one that the wallet shows.
    Anyone can use any name: what strangers paid is meant by its id alone, until it is revealed.
    """


# What each command needs


class AssetWallet(NodeWallet):
    """The assets of one running node's wallet."""

    def tell(self, command: str) -> str:
        """Return a command about assets as the user has to type it."""
        return self.folder.hint(command)

    def asset_id(self, text: str, *, hidden: bool = False) -> str:
        """Return the id that `text` stands for.

        Args:
            text: a whole id; or the first digits, the ticker or the name of one asset that the wallet shows.
            hidden: whether first digits may also be those of an asset that is hidden. A stranger can pay us an asset
                whose id begins like another's: what is only looked at may be found so, nothing else (A070).

        Raises:
            Refused: it stands for no asset, or for several.
        """
        from devnet.errors import Refused
        from rpc.schema import AssetBalances

        if len(text) == 64 and set(text.lower()) <= set(hexdigits):
            return text.lower()
        # What is hidden may be very much, if strangers wish: it is asked for only where it matters.
        held = self.ask(AssetBalances, "getassetbalances", hidden).assets
        found = [each for each in held if _is_meant(each, text) and (each.shown or hidden)]
        if len(found) == 1:
            return found[0].asset
        see = f"See {self.tell(f'asset list {self.node.id} --all')}"
        if found:
            which = ", ".join(each.asset[:16] for each in found)
            raise Refused(
                f"{text[:70]!r} stands for {plural(len(found), 'asset')} of this wallet, {which}: use an id. {see}"
            )
        raise Refused(
            f"{text[:70]!r} is no asset that this wallet shows: neither an id, nor a ticker, a name, or {MIN_DIGITS} "
            f"or more first digits of an id. {see}"
        )

    def asset(self, text: str, *, hidden: bool = False) -> Asset:
        """Return what the chain knows of the asset that `text` stands for, as `asset_id` says."""
        from rpc.schema import Asset

        return self.ask(Asset, "getasset", self.asset_id(text, hidden=hidden))

    def known_assets(self, asset_ids: Iterable[str]) -> dict[str, Asset]:
        """Return what the chain knows of ids, each asked for once; without what is no asset: an authority, or in no
        block yet.
        """
        from devnet.calls import CallRefused
        from rpc.schema import Asset

        found: dict[str, Asset] = {}
        for asset_id in dict.fromkeys(asset_ids):
            with suppress(CallRefused):
                found[asset_id] = self.ask(Asset, "getasset", asset_id)
        return found

    def units(self, text: str, decimals: int, *, least: int = 1) -> int:
        """Read an amount of an asset; return smallest units.

        Raises:
            Misused: it is none, or below `least`.
        """
        from consensus.asset_text import parse_units
        from devnet.errors import Misused

        try:
            units = int(parse_units(text, decimals))
        except ValueError as error:
            raise Misused(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
        if units < least:
            raise Misused(f"Of this asset the least is {in_units(least, decimals)}, not {text[:40]}.")
        return units

    def carried(self, amount: str, text: str) -> dict[str, object]:
        """Return an amount of an asset as outputs and burns carry it.

        Raises:
            Misused: it is no amount of that asset.
            Refused: there is no such asset.
        """
        known = self.asset(text)
        return {"asset": known.asset, "amount": self.units(amount, known.decimals)}


def _is_meant(held: AssetBalance, text: str) -> bool:
    """Tell whether an asset can be meant by a text: anyone can choose any name, and the first digits with some work."""
    if held.shown and held.metadata is not None and text in (held.metadata.ticker, held.metadata.name):
        return True
    return len(text) >= MIN_DIGITS and held.asset.startswith(text.lower())


def named(metadata: AssetText | None, asset_id: str) -> str:
    """Return what to call an asset: what its issuer says, and the id beside it, which alone tells it from others."""
    said = [] if metadata is None else [text for text in (metadata.ticker, metadata.name) if text]
    return f"{quoted(said[0])} ({asset_id[:16]})" if said else asset_id[:16]


def quoted(text: str) -> str:
    """Return an issuer's text in quotes that it cannot end itself, and name another id behind them (A070)."""
    return '"' + text.replace('"', "\\u{22}") + '"'


def in_units(amount: int, decimals: int | None) -> str:
    """Return an amount as text; in smallest units, and so said, where the decimals are not known."""
    from consensus.asset_text import format_units

    return f"{amount} smallest units" if decimals is None else format_units(amount, decimals)


# Seeing


@asset.command("list")
@click.argument("node", type=NODE)
@click.option("--all", "show_all", is_flag=True, help="Also what strangers paid unasked.")
@common
def list_assets(context: Context, *, node: int, show_all: bool) -> None:
    """List the assets of node NODE's wallet, apart from its DURE."""
    from cli.table import show_table
    from rpc.schema import AssetBalances

    target = AssetWallet(context, node)
    held = target.ask(AssetBalances, "getassetbalances", show_all)

    def show() -> None:
        if held.assets:
            titles = ["asset", "can be spent", "pending", "waits", "", "id"]
            show_table(titles, [_row(each) for each in held.assets], right=["can be spent", "pending", "waits"])
        else:
            click.echo(f"No assets. Issue one: {target.tell(f'asset issue {node} --kind utility --name NAME')}")
        if any(each.waiting for each in held.assets):
            click.echo(f"What waits for an approval: {target.tell(f'asset waiting {node}')}")
        if held.hidden:
            click.echo(f"Not shown: {plural(held.hidden, 'asset')} that others paid unasked. See them: --all")

        show_at_policies(target, show_all=show_all)

    context.emit(held, show)


def show_at_policies(target: AssetWallet, *, show_all: bool) -> None:
    """Say which assets lie at policies that the wallet watches: none of them is its own alone."""
    from rpc.schema import Policies

    for known in target.ask(Policies, "listpolicies").policies:
        for each in known.assets:
            if each.shown or show_all:
                click.echo(f"At {known.name}: {at_policy(each)}")


def at_policy(held: PolicyAsset) -> str:
    """Return what lies at a policy of an asset, in words."""
    of = held.authority_of
    name = f"authority over {named(held.metadata, of)}" if isinstance(of, str) else named(held.metadata, held.asset)
    amount = f"{in_units(held.confirmed, held.decimals)} {name}"
    return amount + (f", and {in_units(held.pending, held.decimals)} on their way" if held.pending else "")


def _row(held: AssetBalance) -> list[str]:
    text = held.metadata
    said = "" if text is None else " ".join(part for part in (text.ticker, text.name) if part)
    notes = (["may issue more"] if held.authority else []) + ([] if held.shown else ["unasked"])
    pending = in_units(held.untrusted_pending, held.decimals) if held.untrusted_pending else ""
    # In quotes: it is the issuer's own text, and must not begin like a style of the table's.
    name = quoted(said[:30]) if said else ""
    waits = in_units(held.waiting, held.decimals) if held.waiting else ""
    return [name, in_units(held.trusted, held.decimals), pending, waits, ", ".join(notes), held.asset[:16]]


@asset.command()
@click.argument("node", type=NODE)
@click.argument("asset")
@common
def show(context: Context, *, node: int, asset: str) -> None:
    """Show all that the chain knows of an asset."""
    known = AssetWallet(context, node).asset(asset, hidden=True)
    context.emit(known, tell_asset(known))


def tell_asset(known: Asset, *more: tuple[str, str]) -> str:
    """Return all that is known of an asset, in lines; `more` facts come last."""
    text = known.metadata
    closed = ", closed" if known.closed and known.kind != "fixed" else ""
    facts: list[tuple[str, object]] = [("asset", known.asset)]
    if text is not None:
        facts += [("name", text.name), ("ticker", text.ticker), ("more", text.uri), ("file", text.media_type)]
    facts += [
        ("supply", f"{in_units(known.supply, known.decimals)}, {known.kind}{closed}"),
        ("attested", in_units(known.attested, known.decimals) if isinstance(known.attested, int) else None),
        ("may issue more", None if known.authority is None else known.authority.address),
        ("controller", known.controller),
        ("auditor", known.auditor),
        ("content", known.content),
        ("collection", known.collection),
        ("issued by", known.origin.issuer),
        ("issued in", f"block {known.origin.height}, {moment(known.origin.time, '%Y-%m-%d %H:%M:%S')} UTC"),
        ("transaction", known.origin.txid),
        *more,
    ]
    lines = [f"  {name:<14} {fact}" for name, fact in facts if fact is not None]
    if text is not None:
        lines.append("Name, ticker and links are the issuer's own words; nobody checks them.")
    return "\n".join(lines)


@asset.command()
@click.argument("node", type=NODE)
@click.argument("asset")
@click.option("-n", "count", type=click.IntRange(1, 1_000), default=20, show_default=True, help="How many lines.")
@common
def holders(context: Context, *, node: int, asset: str, count: int) -> None:
    """Show who holds ASSET, the largest holding first."""
    from cli.table import show_table
    from rpc.schema import AssetHolders

    target = AssetWallet(context, node)
    known = target.asset(asset, hidden=True)
    held = target.ask(AssetHolders, "getassetholders", known.asset, count)

    def show() -> None:
        rows = [[each.address, in_units(each.amount, known.decimals)] for each in held.holders]
        if rows:
            show_table(["address", "holds"], rows, right=["holds"])
        left = held.total - len(rows)
        whole = in_units(held.supply, known.decimals)
        click.echo(
            f"{whole} of {named(known.metadata, known.asset)} in all, at height {held.height}; "
            + (f"not shown: {plural(left, 'holder')} of less" if left else "each line may be one of many of one person")
        )

    context.emit(held, show)


@asset.command()
@click.argument("node", type=NODE)
@click.argument("asset", required=False)
@click.option("-n", "count", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many lines.")
@common
def history(context: Context, *, node: int, asset: str | None, count: int) -> None:
    """Show what was issued, paid, received and burned, of ASSET or of all that are shown; the newest last."""
    from cli.table import show_table
    from rpc.schema import AssetEntry

    target = AssetWallet(context, node)
    wanted = None if asset is None else target.asset_id(asset, hidden=True)
    lines = target.ask(list[AssetEntry], "listassettransactions", count, 0, wanted)
    if not lines and not context.json:
        context.note(f"Nothing to show. What others paid unasked is hidden: {target.tell(f'asset list {node} --all')}")
        return
    titles = ["time", "", "amount", "asset", "to", "depth", "txid"]
    context.emit(
        {"history": lines},
        lambda: show_table(titles, [_history_row(line) for line in lines], right=["amount", "depth"]),
    )


def _history_row(line: AssetEntry) -> list[str]:
    depth = str(line.confirmations) if line.state == "confirmed" else line.state
    to = short_address(line.addresses[0]) if line.addresses else ""
    more = f" +{len(line.addresses) - 1}" if len(line.addresses) > 1 else ""
    amount, name = in_units(line.amount, line.decimals), named(line.metadata, line.asset)
    return [moment(line.time, "%m-%d %H:%M:%S"), line.category, amount, name, to + more, depth, line.txid[:8]]


@asset.command()
@click.argument("node", type=NODE)
@click.argument("asset")
@common
def reveal(context: Context, *, node: int, asset: str) -> None:
    """Show an asset that others paid unasked, from now on."""
    _set_shown(context, node, asset, shown=True)


@asset.command()
@click.argument("node", type=NODE)
@click.argument("asset")
@common
def hide(context: Context, *, node: int, asset: str) -> None:
    """Show an asset no more but with --all."""
    _set_shown(context, node, asset, shown=False)


def _set_shown(context: Context, node: int, text: str, *, shown: bool) -> None:
    target = AssetWallet(context, node)
    whole = target.asset_id(text, hidden=True)
    target.call("showasset", whole, shown)
    context.emit({"asset": whole, "shown": shown}, f"{whole} is {'shown' if shown else 'hidden'} from now on.")
