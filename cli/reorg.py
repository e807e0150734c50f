"""A reorganization on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.context import NODE, Context, common, join, plural

if TYPE_CHECKING:
    from devnet.reorg import Reorganized


@click.command()
@click.option("--depth", type=click.IntRange(min=1), required=True, metavar="N", help="How many blocks are undone.")
@click.option("--drop", metavar="TXID", help="A payment of a wallet here that stays out for good: its coins go back.")
@click.option("--node", type=NODE, metavar="NODE", help="Who builds the branch. [default: the payer, or the last node]")
@common
def reorg(context: Context, *, depth: int, drop: str | None, node: int | None) -> None:
    """Undo the newest blocks by a branch that has more work.

    A node is cut off, builds the branch, and is joined again. The branch holds no payments. Those of the undone
    blocks go back to the mempools and into the next block; with --drop the payer spends the coins of one of them
    another way, and it never comes back.
    """
    from devnet.reorg import reorganize

    done = reorganize(context.folder, depth, drop=_hash(drop), node=node, report=context.show_bar)
    context.emit(done, _tell(context, done))


def _hash(text: str | None) -> str | None:
    """Return a txid in the form in which nodes write it."""
    from consensus.codec import parse_hash
    from devnet.errors import Misused

    if text is None:
        return None
    try:
        parse_hash(text)
    except ValueError:
        raise Misused(f"{text[:80]!r} is no id of a transaction: 64 hex digits, as `dure send` prints it.") from None
    return text.lower()


def _tell(context: Context, done: Reorganized) -> str:
    """Say what happened, and what became of what was undone."""
    undone = plural(len(done.undone), "block")
    lines = [
        f"Node {done.node} was cut off, and built {plural(len(done.branch), 'block')} on block {done.fork_height}.",
        f"That is more work than the {undone} that the others had there.",
        f"It was joined again: all nodes have its branch, {done.seconds:.1f} s after the cut.",
        f"Undone, {undone} deep:",
    ]
    lines += [
        f"  {block.height}  {block.hash[:12]}…  its reward of {block.reward} DURE is gone" for block in done.undone
    ]
    lines += _tell_payments(done)
    lines.append(f"Look: {context.folder.hint(f'logs {0 if done.node else 1}')}")
    return "\n".join(lines)


def _tell_payments(done: Reorganized) -> list[str]:
    payments = done.payments
    double = done.double_spend
    said = []
    if double is not None:
        said.append(f"Dropped: {double.dropped}.")
        if double.rival != double.dropped:
            said.append("  It spends what is undone with it, so one that it descends from is dropped in its place:")
            said.append(f"  {double.rival}.")
        said.append(f"  Node {double.payer} paid the coins back to itself, in the first block of the branch:")
        said.append(f"  {double.txid}. Whoever was paid has nothing.")
    if payments.waiting:
        said.append(f"Back in the mempool, for the next block: {_names(payments.waiting)}.")
    if payments.confirmed:
        said.append(f"In a block of the new chain already: {_names(payments.confirmed)}.")
    if payments.gone:
        said.append(f"Gone, for they spent what is gone: {_names(payments.gone)}.")
    if not (payments.waiting or payments.confirmed or payments.gone or double):
        said.append("There were no payments in them.")
    return said


def _names(txids: tuple[str, ...]) -> str:
    return (
        plural(len(txids), "payment")
        + f" ({join([f'{txid[:12]}…' for txid in txids[:5]])}"
        + (", …)" if len(txids) > 5 else ")")
    )


COMMANDS = (reorg,)
