"""`dure swap` across two networks: propose, accept, lock, claim, refund, and what to do next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from cli.assets import in_units
from cli.context import FILE, Context, common
from cli.swap_parties import GIVES, PARTY, WANTS, YES, PartyText, Trader, confirm
from cli.wallet_access import SecondsType, fee_rate, moment

if TYPE_CHECKING:
    from devnet.swaps import File, Sides, Sight
    from rpc.schema import SwapStep
    from wallet.swaps.steps import Advice
    from wallet.swaps.terms import Leg, Terms

DEPTH = 6
"""Blocks that what the other side locked must be deep (wallet/swaps/desk.py)."""
DEEP = click.option(
    "--depth",
    type=click.IntRange(min=1, max=10_000),
    default=DEPTH,
    show_default=True,
    metavar="N",
    help="Blocks that what the other locked must be deep before you rely on it.",
)
BOTH = click.argument("parties", type=PARTY, nargs=2, required=True, metavar="NODE@DIR NODE@DIR")


def _place(context: Context, terms: Terms, parties: tuple[PartyText, ...]) -> tuple[Trader, Trader]:
    """Return the traders on the first network and on the second, in whichever order they were named."""
    from devnet.swaps import place

    traders = [Trader(context, each) for each in parties]
    sides = place(terms, tuple([trader.party for trader in traders]))
    by_name = {trader.name: trader for trader in traders}
    return by_name[sides.first.name], by_name[sides.second.name]


def _sides(traders: tuple[Trader, Trader]) -> Sides:
    from devnet.swaps import Sides

    return Sides(traders[0].party, traders[1].party)


def _names(traders: tuple[Trader, Trader]) -> str:
    return " ".join(shlex.quote(trader.name) for trader in traders)


class _Looked(NamedTuple):
    """An accepted swap, and how it stands."""

    file: File
    traders: tuple[Trader, Trader]
    sides: Sides
    sight: Sight


def _look(context: Context, path: Path, parties: tuple[PartyText, ...]) -> _Looked:
    """See how the swap of a file stands on both networks."""
    from devnet import swaps

    file = swaps.read_file(path)
    traders = _place(context, file.terms, parties)
    sides = _sides(traders)
    return _Looked(file, traders, sides, swaps.look(file, sides))


# Agreeing


@click.command()
@click.argument("here", type=PARTY, metavar="NODE@DIR")
@click.argument("there", type=PARTY, metavar="NODE@DIR")
@GIVES
@WANTS
@click.option(
    "--time",
    "seconds",
    type=SecondsType(),
    metavar="TIME",
    help="Until the taker can take back what he locked, such as 2h; you wait twice as long. [default: long enough]",
)
@click.option("--file", "path", type=FILE, default="proposal.swap", show_default=True, help="Where to write it.")
@common
def propose(
    context: Context,
    *,
    here: PartyText,
    there: PartyText,
    gives: tuple[str, str],
    wants: tuple[str, str],
    seconds: int | None,
    path: Path,
) -> None:
    """Propose a swap across two networks: give on the first NODE@DIR's, get on the second's. Writes a file.

    Nothing is locked yet. An ASSET that the second wallet holds none of is named by its whole id.
    """
    from devnet import swaps
    from devnet.files import write_file

    traders = Trader(context, here), Trader(context, there)
    raw = swaps.propose(_sides(traders), traders[0].asked(gives), traders[1].asked(wants), seconds)
    write_file(path, raw)
    file = swaps.read_file(path)
    _emit(context, file, traders, f"Written to {path}. Send it to whoever shall take it: {_accept_hint(context, path)}")


def _accept_hint(context: Context, path: Path) -> str:
    return f"{context.program} swap accept {shlex.quote(str(path))} NODE@DIR NODE@DIR"


def accept_terms(context: Context, path: Path, parties: tuple[PartyText, ...], *, yes: bool) -> None:
    """Accept a swap across two networks, and write the taker's part into its file."""
    from devnet import swaps
    from devnet.files import write_file

    file = swaps.read_file(path)
    traders = _place(context, file.terms, parties)
    if file.terms.accepted is None:
        confirm(context, _tell(file.terms, traders), "Accept it?", yes=yes)
    write_file(path, swaps.accept(file, _sides(traders)), replace=True)
    done = swaps.read_file(path)
    context.emit(
        _value(done) | {"file": str(path)},
        f"Accepted, in {path}. Keep it, and send a copy back to the proposer, who locks first.\n"
        f"See when it is your turn: {_hint(context, 'status', path, traders)}",
    )


def show_terms(context: Context, path: Path, parties: tuple[PartyText, ...]) -> None:
    """Show what the file of a swap across two networks says."""
    from devnet import swaps

    file = swaps.read_file(path)
    _emit(context, file, _place(context, file.terms, parties) if parties else None, None)


# Going on


@click.command()
@click.argument("path", type=FILE, metavar="FILE")
@BOTH
@DEEP
@common
def status(context: Context, *, path: Path, parties: tuple[PartyText, ...], depth: int) -> None:
    """Say how the swap of FILE stands on both networks, and what you do next."""
    file, traders, _, sight = _look(context, path, parties)
    advice = sight.advice(file.terms, depth)
    value = {
        "side": sight.side.value,
        "first": sight.first,
        "second": sight.second,
        "next": advice.move.value,
        "why": advice.sentence,
    }
    context.emit(value, lambda: _show_status(context, file, traders, sight, advice))


STAGES = {
    "nothing": "nothing is locked",
    "different": "something else lies there",
    "pending": "locked, in no block yet",
    "locked": "locked",
    "claiming": "being claimed, in no block yet",
    "claimed": "claimed",
    "refunding": "being taken back, in no block yet",
    "refunded": "taken back",
}


def _show_status(context: Context, file: File, traders: tuple[Trader, Trader], sight: Sight, advice: Advice) -> None:
    from wallet.swaps.steps import Side

    legs = (file.terms.first, file.terms.second)
    for trader, leg, here, seen in zip(
        traders, legs, (sight.first, sight.second), (sight.first_seen, sight.second_seen), strict=True
    ):
        gives = (leg is legs[0]) == (sight.side is Side.PROPOSER)
        deep = f", {here.depth} deep" if here.depth else ""
        amount = trader.tell_amount(None if leg.asset is None else leg.asset.hex(), leg.amount)
        click.echo(f"You {'give' if gives else 'get '} {amount} on {trader.network}: {STAGES[here.stage]}{deep}")
        if here.stage not in {"claimed", "refunded"}:
            clock = moment(seen.median_time, "%Y-%m-%d %H:%M:%S")
            refund = moment(leg.refund_at, "%Y-%m-%d %H:%M:%S")
            click.echo(f"  by its chain it is {clock}; from {refund} UTC on whoever locked it can take it back")
    click.echo(advice.sentence)
    verb = {"lock": "lock", "claim": "claim", "refund": "refund"}.get(advice.move.value)
    if verb:
        click.echo(f"Next: {_hint(context, verb, file.path, traders)}")


@click.command()
@click.argument("path", type=FILE, metavar="FILE")
@BOTH
@DEEP
@fee_rate
@YES
@common
def lock(
    context: Context,
    *,
    path: Path,
    parties: tuple[PartyText, ...],
    depth: int,
    fee_rate: str | None,
    yes: bool,
) -> None:
    """Lock what you give in the swap of FILE. The proposer goes first; the taker, once that is N blocks deep.

    Repeated, it locks nothing twice.
    """
    from devnet import swaps

    file, traders, sides, sight = _look(context, path, parties)
    confirm(context, _tell(file.terms, traders), "Lock what you give?", yes=yes)
    step = swaps.lock(file, sides, sight, depth, fee_rate)
    _say_step(context, file, traders, step, "Locked")


@click.command()
@click.argument("path", type=FILE, metavar="FILE")
@BOTH
@DEEP
@fee_rate
@common
def claim(context: Context, *, path: Path, parties: tuple[PartyText, ...], depth: int, fee_rate: str | None) -> None:
    """Claim what you get in the swap of FILE.

    The proposer's claim shows the secret, so it is refused while what is claimed is not N blocks deep, and when too
    little time is left. The taker's reads the secret off the proposer's chain.
    """
    from devnet import swaps

    file, traders, sides, sight = _look(context, path, parties)
    step = swaps.claim(file, sides, sight, depth, fee_rate)
    _say_step(context, file, traders, step, "Claimed")


@click.command()
@click.argument("path", type=FILE, metavar="FILE")
@BOTH
@fee_rate
@common
def refund(context: Context, *, path: Path, parties: tuple[PartyText, ...], fee_rate: str | None) -> None:
    """Take back what you locked in the swap of FILE, once its time has come and the other has not claimed it."""
    from devnet import swaps

    file, traders, sides, sight = _look(context, path, parties)
    step = swaps.refund(file, sides, sight, fee_rate)
    _say_step(context, file, traders, step, "Taken back")


# Said


def _hint(context: Context, verb: str, path: Path, traders: tuple[Trader, Trader]) -> str:
    return f"{context.program} swap {verb} {shlex.quote(str(path))} {_names(traders)}"


def _say_step(context: Context, file: File, traders: tuple[Trader, Trader], step: SwapStep, what: str) -> None:
    already = " before; nothing was sent again" if step.again else ""
    context.emit(
        step,
        f"{what}{already}: transaction {step.txid}, fee {step.fee} DURE.\n"
        f"Look: {_hint(context, 'status', file.path, traders)}",
    )


def _emit(context: Context, file: File, traders: tuple[Trader, Trader] | None, more: str | None) -> None:
    text = _tell(file.terms, traders)
    context.emit(_value(file) | {"file": str(file.path)}, text if more is None else f"{text}\n{more}")


def _tell(terms: Terms, traders: tuple[Trader, Trader] | None) -> str:
    state = "accepted" if terms.accepted is not None else "proposed"
    lines = [f"A swap across two networks, {state}:"]
    for place, (who, leg) in enumerate((("proposer", terms.first), ("taker", terms.second))):
        trader = None if traders is None else traders[place]
        lines.append(f"  the {who} gives {_amount(leg, trader)} on {_network(leg, trader)}")
        lines.append(f"    and can take it back from {moment(leg.refund_at, '%Y-%m-%d %H:%M:%S')} UTC on")
    lines.append("  Each pays the fees of what he locks and claims; a claim of DURE bears its own.")
    return "\n".join(lines)


def _amount(leg: Leg, trader: Trader | None) -> str:
    from consensus.amounts import format_amount

    if trader is not None:
        return trader.tell_amount(None if leg.asset is None else leg.asset.hex(), leg.amount, whole=True)
    if leg.asset is None:
        return f"{format_amount(leg.amount)} DURE"
    return f"{in_units(leg.amount, None)} of asset {leg.asset.hex()}"


def _network(leg: Leg, trader: Trader | None) -> str:
    from consensus.codec import display_hash

    genesis = display_hash(leg.genesis)
    return f"{trader.network} (genesis {genesis[:16]})" if trader is not None else f"the network of genesis {genesis}"


def _value(file: File) -> dict[str, object]:
    from consensus.codec import display_hash

    return {
        "accepted": file.terms.accepted is not None,
        "hash": file.terms.digest.hex(),
        "margin": file.terms.margin,
    } | {
        name: {
            "genesis": display_hash(leg.genesis),
            "asset": None if leg.asset is None else leg.asset.hex(),
            "amount": leg.amount,
            "refund_at": leg.refund_at,
        }
        for name, leg in (("first", file.terms.first), ("second", file.terms.second))
    }


COMMANDS = (propose, status, lock, claim, refund)
