"""Swaps: two people exchange one asset for another, and it happens whole or not at all."""

from __future__ import annotations

import base64
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import swap_networks
from cli.context import FILE, Commands, Context, common
from cli.swap_parties import GIVES, PARTY, WANTS, YES, PartyText, Trader, confirm
from cli.wallet_access import fee_rate

if TYPE_CHECKING:
    from rpc.schema import SwapOffer


@click.group(cls=Commands)
def swap() -> None:
    """Exchange any asset, or DURE, for any other: each of the two gets what was agreed, or keeps his own.

    On one network, in one transaction: offer, accept, finish; or cancel. A file passes between the two people, and to
    the controller of an asset, if it has one (approve).

    Across two networks: propose, accept, lock, lock, claim, claim. The file holds no secret. Each of the two has a node
    on both networks, and names them as NODE@DIR: 0@north 0@south is node 0 of the network in folder north and node 0 of
    that in south. Whoever is left alone takes back what he locked (refund) once the time in the file has come. status
    says what to do next.
    """


# On one network


@swap.command()
@click.argument("party", type=PARTY, metavar="NODE")
@GIVES
@WANTS
@click.option("--file", "path", type=FILE, default="offer.swap", show_default=True, help="Where to write it.")
@common
def offer(context: Context, *, party: PartyText, gives: tuple[str, str], wants: tuple[str, str], path: Path) -> None:
    """Offer a swap in one transaction: node NODE's wallet gives something, and wants something for it. Writes a file.

    What is offered is kept until the swap is in a block, or cancel. Whoever accepts pays the fee. An ASSET that the
    wallet holds none of is named by its whole id.
    """
    from devnet.errors import Refused
    from devnet.files import write_file

    if path.exists():
        raise Refused(f"{path} is there already: name another --file.")
    trader = Trader(context, party)
    given, wanted = trader.asked(gives), trader.asked(wants)
    text = str(trader.party.call("offerswap", given.amount, wanted.amount, given.asset, wanted.asset))
    try:
        write_file(path, base64.b64decode(text))
    except Refused:
        # Nobody has the offer: nothing needs to be kept for it.
        trader.party.call("canceloffer", text)
        raise
    said = _decoded(trader, text)
    context.emit(
        {"file": str(path), "offer": said},
        f"{_tell(trader, said)}\nWritten to {path}. Send it to whoever shall accept it: "
        f"{_hint(context, 'accept', path)}\nWhat you give is kept for it until then, or: "
        f"{_hint(context, 'cancel', path, trader)}",
    )


@swap.command()
@click.argument("path", type=FILE, metavar="FILE")
@click.argument("parties", type=PARTY, nargs=-1, required=True, metavar="NODE|NODE@DIR NODE@DIR")
@fee_rate
@YES
@common
def accept(context: Context, *, path: Path, parties: tuple[PartyText, ...], fee_rate: str | None, yes: bool) -> None:
    """Accept what FILE offers or proposes, and write your part into FILE; then send it back.

    An offer takes your node NODE: you are shown what you give, get and pay, and then sign. A proposal across two
    networks takes your node on each: nothing is locked yet, and the proposer locks first.
    """
    from devnet.files import write_file
    from devnet.swaps import kind_of, read_raw
    from wallet.swaps.frame import FileKind

    raw = read_raw(path)
    if kind_of(path, raw) is FileKind.TERMS:
        swap_networks.accept_terms(context, path, parties, yes=yes)
        return
    trader = _only(context, parties)
    text = str(trader.party.call("acceptoffer", base64.b64encode(raw).decode("ascii"), fee_rate))
    confirm(context, _tell(trader, _decoded(trader, text)), "Sign it?", yes=yes)
    signed = trader.signed(text)
    write_file(path, base64.b64decode(signed.offer), replace=True)
    said = _decoded(trader, signed.offer)
    to = "Send it to whoever has to approve" if said.approvals else "Send it back to whoever offered it"
    context.emit(
        {"file": str(path), "offer": said},
        f"Accepted and signed, in {path}. {to}: {_hint(context, 'approve' if said.approvals else 'finish', path)}\n"
        f"What you give is kept for it until then, or: {_hint(context, 'cancel', path, trader)}",
    )


@swap.command()
@click.argument("path", type=FILE, metavar="FILE")
@click.argument("party", type=PARTY, metavar="NODE")
@YES
@common
def finish(context: Context, *, path: Path, party: PartyText, yes: bool) -> None:
    """Finish the offer of FILE that was accepted, as whoever offered it: sign last, and send.

    A transaction that takes a unit more of you than you offered, or brings one less, is refused.
    """
    from devnet.errors import Refused

    trader = Trader(context, party)
    text = _read(path)
    said = _decoded(trader, text)
    if not said.ismine:
        raise Refused(f"{path} is no offer of {trader.title}: whoever offered it finishes it.")
    if not said.signed:
        raise Refused(f"Nobody has accepted the offer of {path} and signed it yet.")
    confirm(context, _tell(trader, said), "Sign and send it?", yes=yes)
    done = trader.signed(text)
    context.emit(
        {"txid": done.txid}, f"Sent: transaction {done.txid}. The next block confirms it, for both or for neither."
    )


@swap.command()
@click.argument("path", type=FILE, metavar="FILE")
@click.argument("party", type=PARTY, metavar="NODE")
@YES
@common
def approve(context: Context, *, path: Path, party: PartyText, yes: bool) -> None:
    """Approve the accepted offer of FILE, as the controller of an asset in it; then it goes to whoever offered it."""
    from devnet.errors import Refused
    from devnet.files import write_file

    trader = Trader(context, party)
    text = _read(path)
    said = _decoded(trader, text)
    if not said.approvals:
        raise Refused(f"The offer of {path} takes nobody's approval now.")
    confirm(context, _tell(trader, said), "Approve it?", yes=yes)
    signed = trader.signed(text)
    write_file(path, base64.b64decode(signed.offer), replace=True)
    context.emit(
        {"file": str(path), "offer": _decoded(trader, signed.offer)},
        f"Approved, in {path}. It goes to whoever offered it: {_hint(context, 'finish', path)}",
    )


@swap.command()
@click.argument("path", type=FILE, metavar="FILE")
@click.argument("party", type=PARTY, metavar="NODE")
@fee_rate
@common
def cancel(context: Context, *, path: Path, party: PartyText, fee_rate: str | None) -> None:
    """Withdraw from the offer of FILE, unless it was sent, and free what was kept for it.

    Whoever offered it has signed nothing. Whoever accepted it has: a coin of his half is spent, to himself.
    """
    from rpc.schema import WithdrawnOffer

    done = Trader(context, party).party.ask(WithdrawnOffer, "canceloffer", _read(path), fee_rate)
    text = "Withdrawn: nothing is kept for it any more, and nobody can finish it."
    if isinstance(done.txid, str):
        text = (
            f"Withdrawn by transaction {done.txid}, fee {done.fee} DURE.\n"
            "Once a block holds it, nobody can finish the swap."
        )
    context.emit(done, text)


@swap.command()
@click.argument("path", type=FILE, metavar="FILE")
@click.argument("parties", type=PARTY, nargs=-1, metavar="[NODE|NODE@DIR NODE@DIR]")
@common
def show(context: Context, *, path: Path, parties: tuple[PartyText, ...]) -> None:
    """Show what FILE says. A file that was changed is refused.

    An offer takes a node NODE of its network; a proposal across two networks shows the names of assets if it is given
    a node on each.
    """
    from devnet.swaps import kind_of, read_raw
    from wallet.swaps.frame import FileKind

    raw = read_raw(path)
    if kind_of(path, raw) is FileKind.TERMS:
        swap_networks.show_terms(context, path, parties)
        return
    trader = _only(context, parties)
    said = _decoded(trader, base64.b64encode(raw).decode("ascii"))
    context.emit(said, _tell(trader, said))


def _only(context: Context, parties: tuple[PartyText, ...]) -> Trader:
    from devnet.errors import Misused

    if len(parties) != 1:
        raise Misused("This is an offer on one network: name one node, such as 1.")
    return Trader(context, parties[0])


def _read(path: Path) -> str:
    from devnet.swaps import read_raw

    return base64.b64encode(read_raw(path)).decode("ascii")


def _decoded(trader: Trader, text: str) -> SwapOffer:
    from rpc.schema import SwapOffer

    return trader.party.ask(SwapOffer, "decodeoffer", text)


def _hint(context: Context, verb: str, path: Path, trader: Trader | None = None) -> str:
    return context.folder.hint(f"swap {verb} {shlex.quote(str(path))} {'NODE' if trader is None else trader.name}")


def _tell(trader: Trader, said: SwapOffer) -> str:
    state = "accepted and signed" if said.signed else "accepted" if said.accepted else "offered"
    lines = [
        f"A swap in one transaction, {state}:",
        f"  who offers gives {trader.tell_amount(said.gives.asset, said.gives.amount, whole=True)}",
        f"  who accepts gives {trader.tell_amount(said.wants.asset, said.wants.amount, whole=True)}",
    ]
    lines.append(f"  and pays the fee{f', {said.fee} DURE' if said.accepted else ''}")
    moves = [(stake.asset, stake.gets - stake.gives) for stake in said.stakes if stake.gets != stake.gives]
    if moves:
        lines.append(f"  so {trader.title}, in all,")
        for asset, net in moves:
            lines.append(f"    {'gets ' if net > 0 else 'gives'} {trader.tell_amount(asset, abs(net))}")
    lines += [f"  It takes the approval of whoever controls {asset}" for asset in said.approvals]
    if isinstance(said.problem, str):
        lines.append(f"  It cannot be fulfilled any more: {said.problem}")
    return "\n".join(lines)


for command in swap_networks.COMMANDS:
    swap.add_command(command)

COMMANDS = (swap,)
