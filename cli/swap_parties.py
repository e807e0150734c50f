"""Who swaps: nodes of several networks, named as NODE@DIR, and what they give and get."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import click

from cli.assets import AssetWallet, in_units, named, quoted
from cli.context import Context

if TYPE_CHECKING:
    from devnet.swaps import Asked, Party
    from rpc.schema import Asset, SignedOffer

PartyText: TypeAlias = "tuple[int, str | None]"
"""A node's number, and the folder of its network; None for that of --dir."""


class PartyType(click.ParamType["PartyText"]):
    """NODE@DIR, or NODE in the network of --dir."""

    name = "NODE@DIR"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> PartyText:
        """Read it."""
        number, at, folder = str(value).partition("@")
        if not (number.isascii() and number.isdigit() and len(number) < 6) or (at and not folder):
            self.fail(f"{str(value)[:70]!r} is not NODE@DIR, such as 0@north.", param, ctx)
        return int(number), folder or None


PARTY = PartyType()
GIVES = click.option(
    "--give", "gives", nargs=2, required=True, metavar="AMOUNT ASSET", help="What you give: 2.5 DURE, or 100 9bb2."
)
WANTS = click.option(
    "--want", "wants", nargs=2, required=True, metavar="AMOUNT ASSET", help="What you get for it; likewise."
)
YES = click.option("--yes", is_flag=True, help="Do not ask.")


class Trader(AssetWallet):
    """One person's node on one network, wherever its folder is."""

    def __init__(self, context: Context, party: PartyText) -> None:
        """
        Raises:
            Refused, Misused, Unavailable: there is no such network or node, or it does not run.
        """
        number, folder = party
        own = Context()
        own.given_folder = folder or context.given_folder
        own.json = context.json
        super().__init__(own, number)
        self.network = folder or str(self.folder.path)
        self.name = f"{number}@{folder}" if folder else str(number)
        self.title = self.name if folder else f"node {number}"

    @property
    def party(self) -> Party:
        """As the logic of swaps wants it."""
        from devnet.swaps import Party

        return Party(self.calls, self.node, self.name, self.network)

    def asked(self, given: tuple[str, str]) -> Asked:
        """Read an amount and what it is of: DURE, an asset's id, or its first digits if the wallet holds it."""
        from consensus.amounts import parse_amount
        from devnet.errors import Misused
        from devnet.swaps import Asked

        amount, text = given
        if text.upper() == "DURE":
            try:
                return Asked(None, int(parse_amount(amount)))
            except ValueError as error:
                raise Misused(f"{error}.") from None
        known = self.asset(text)
        return Asked(known.asset, self.units(amount, known.decimals))

    def signed(self, text: str) -> SignedOffer:
        """Let the wallet sign its half of an accepted offer.

        Raises:
            Refused: it is not what was agreed, by name; nothing was signed.
        """
        from rpc.schema import SignedOffer

        return self.party.ask(SignedOffer, "signoffer", text)

    def tell_amount(self, asset: str | None, amount: int, *, whole: bool = False) -> str:
        """Return an amount as people write it, the id of an asset beside its name; `whole` for all its digits."""
        from consensus.amounts import format_amount

        if asset is None:
            return f"{format_amount(amount)} DURE"
        known: Asset = self.asset(asset)
        if not whole:
            return f"{in_units(amount, known.decimals)} {named(known.metadata, known.asset)}"
        said = [] if known.metadata is None else [known.metadata.ticker or known.metadata.name]
        name = "".join(f"{quoted(text)} " for text in said if text)
        return f"{in_units(amount, known.decimals)} {name}of asset {known.asset}"


def confirm(context: Context, told: str, question: str, *, yes: bool) -> None:
    """Show what is about to be done, and ask.

    Raises:
        Refused: the user does not want it.
    """
    context.note(told)
    if not yes:
        context.ask(question, "Nothing was done. To go on")
