"""Works that exist once: a file's fingerprint on the chain, who issued it, and whether a copy is the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.asset_making import say_sent
from cli.assets import AssetWallet, named, tell_asset
from cli.context import FILE, NODE, Commands, Context, common
from cli.wallet_access import moment
from cli.wallet_pay import How, paying

if TYPE_CHECKING:
    from rpc.schema import Asset

PAGE = 1_000
"""Works in one answer of a node."""
MAX_TOLD = 20
"""Works that are told of one file."""


@click.group(cls=Commands)
def nft() -> None:
    """Works that exist once: mint, send, and tell a real file from a forged one.

    A work is a fixed asset of one unit that names the SHA-256 of a file. The file itself is on no chain: keep it.
    """


@nft.command()
@click.argument("node", type=NODE)
@click.argument("path", type=FILE, metavar="FILE")
@click.option("--name", required=True, help="What to call it; anyone can use the same.")
@click.option("--collection", metavar="ASSET", help="To which it is to belong; takes the authority over that asset.")
@click.option("--uri", help="Where to find it.")
@paying
@common
def mint(
    context: Context,
    *,
    node: int,
    path: Path,
    name: str,
    collection: str | None,
    uri: str | None,
    how: How,
) -> None:
    """Mint a work that stands for FILE, into node NODE's wallet.

    A collection is any asset that more can be issued of, such as one made by `asset issue --kind utility`.
    """
    import mimetypes

    from rpc.schema import SentAsset

    target = AssetWallet(context, node)
    content = _fingerprint(path)
    sent = target.ask(
        SentAsset,
        "issueasset",
        "fixed",
        1,
        0,
        name,
        None,
        uri,
        mimetypes.guess_type(path.name)[0],
        None,
        None,
        content,
        None if collection is None else target.asset_id(collection),
        "",
        *how,
    )
    sentence = f"Node {node} mints {name} for a file with the SHA-256 {content}. Its id: {sent.asset}"
    say_sent(context, target, sent, sentence, asset=sent.asset, content=content)


@nft.command()
@click.argument("sender", type=NODE, metavar="FROM")
@click.argument("to")
@click.argument("work")
@paying
@common
def send(context: Context, *, sender: int, to: str, work: str, how: How) -> None:
    """Give WORK to TO: a node, or an address."""
    from cli.wallet_pay import recipient
    from rpc.schema import SentAsset

    target = AssetWallet(context, sender)
    known = target.asset(work)
    address = recipient(target, to, how.request_id)
    payment = {"address": address, "asset": known.asset, "amount": 1}
    sent = target.ask(SentAsset, "sendassets", [payment], "", *how)
    sentence = f"Node {sender} gives {named(known.metadata, known.asset)} to {address}"
    say_sent(context, target, sent, sentence, asset=known.asset)


@nft.command()
@click.argument("node", type=NODE)
@click.argument("path", type=FILE, metavar="FILE")
@click.option("--work", metavar="ASSET", help="The work that the file is said to be.")
@click.option("--collection", metavar="ASSET", help="The collection that it is said to belong to.")
@common
def verify(context: Context, *, node: int, path: Path, work: str | None, collection: str | None) -> None:
    """Tell which works stand for FILE, to the byte: who issued them, when, and in which block.

    Anyone can mint any file: whether the issuer is the artist only the issuer's address tells, or the collection, which
    only the holder of its authority adds to. The exit status is 1 if there is no such work.
    """
    from devnet.errors import Refused
    from rpc.schema import Asset

    target = AssetWallet(context, node)
    content = _fingerprint(path)
    whole = None if collection is None else target.asset_id(collection)
    if work is not None:
        known = target.asset(work)
        found = [known] if known.content == content else []
        if not found:
            said = f"the one with the SHA-256 {known.content}" if known.content else "no file at all"
            raise Refused(f"FORGED: {path} is not the file of {named(known.metadata, known.asset)}; it names {said}.")
    else:
        found = _works_of(target, content, whole)
    works = [each for each in found if whole is None or each.collection == whole]
    if not works:
        where = "" if whole is None else f" of the collection {whole}"
        outside = found or target.ask(list[Asset], "listassets", content, None, None, 1)
        others = " Works outside of it do: see them without --collection." if whole and outside else ""
        raise Refused(
            f"No work{where} stands for {path}: it was never minted, or a byte differs from what was.{others}"
        )
    works.sort(key=lambda each: (each.origin.height, each.asset))
    context.emit(
        {"content": content, "works": works},
        "\n".join([f"To the byte, {path} is the file of:", *map(_tell, works[:MAX_TOLD]), *_warn(works)]),
    )


def _works_of(target: AssetWallet, content: str, collection: str | None) -> list[Asset]:
    """Return all works that stand for a file, however many: a forger must not be able to crowd out the real one."""
    from rpc.schema import Asset

    found: list[Asset] = []
    while True:
        after = found[-1].asset if found else None
        page = target.ask(list[Asset], "listassets", content, collection, after, PAGE)
        found += page
        if len(page) < PAGE:
            return found


def _tell(work: Asset) -> str:
    when = f"block {work.origin.height}, {moment(work.origin.time, '%Y-%m-%d %H:%M:%S')} UTC"
    lines = [f"  {named(work.metadata, work.asset)}", f"    issued in {when}, by {work.origin.issuer}"]
    if work.collection is not None:
        lines.append(f"    collection {work.collection}")
    if work.controller is not None:
        lines.append(f"    moves only if {work.controller} approves")
    if (work.kind, work.decimals) != ("fixed", 0) or work.supply > 1:
        lines.append("    not unique: its supply is not 1")
    elif not work.supply:
        lines.append("    nobody holds it: it was burned")
    return "\n".join(lines)


def _warn(works: list[Asset]) -> list[str]:
    if len(works) == 1:
        return []
    left = f"; not shown: {len(works) - MAX_TOLD} later ones" if len(works) > MAX_TOLD else ""
    return [f"It was minted {len(works)} times: the oldest comes first{left}."]


@nft.command()
@click.argument("node", type=NODE)
@click.argument("work")
@common
def show(context: Context, *, node: int, work: str) -> None:
    """Show a work: its file's SHA-256, its issuer, and who holds it now."""
    from rpc.schema import AssetHolders

    target = AssetWallet(context, node)
    known = target.asset(work)
    held = target.ask(AssetHolders, "getassetholders", known.asset, 1)
    holder = held.holders[0].address if held.holders else "nobody: it was burned"
    if held.total > 1:
        holder = f"{held.total} addresses: it is no work that exists once. Most is held by {holder}"
    context.emit({"work": known, "holders": held.holders}, tell_asset(known, ("held by", holder)))


def _fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file, read piece by piece.

    Raises:
        Refused: it cannot be read.
    """
    import hashlib

    from devnet.errors import Refused

    try:
        with path.expanduser().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}.") from None


COMMANDS = (nft,)
