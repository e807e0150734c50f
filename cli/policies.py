"""Spend policies: make, explain, watch, spend."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.coins import AMOUNT, show_alarms
from cli.context import NODE, Commands, Context, common, name_nodes

if TYPE_CHECKING:
    from cli.assets import AssetWallet
    from devnet.folder import NodeRecord
    from devnet.policies import KeyChoice, MadePolicy
    from rpc.schema import Policies, PolicyExplanation
    from wallet.spend_policies.templates import Made


class KeyType(click.ParamType["KeyChoice"]):
    """A node, whose wallet gives a fresh key, or a public key in hex."""

    name = "KEY"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> KeyChoice:
        """Read it."""
        from devnet.policies import KeyChoice

        if isinstance(value, KeyChoice):
            return value
        try:
            return KeyChoice.parse(str(value))
        except ValueError:
            self.fail(f"{str(value)[:70]!r} is neither a node's number nor a public key (66 hex digits).", param, ctx)


class HashType(click.ParamType[str]):
    """32 bytes in hex."""

    name = "HEX"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read it."""
        text = str(value)
        if len(text) != 64 or not all(digit in "0123456789abcdefABCDEF" for digit in text):
            self.fail(f"{text[:70]!r} is not 32 bytes in hex.", param, ctx)
        return text.lower()


KEY = KeyType()
HASH = HashType()
BLOCKS = click.IntRange(min=1, max=2**32 - 1)


@click.group(cls=Commands)
def policy() -> None:
    """Decide who can spend coins, and when: several together, after a time, with a secret."""


# Making


@policy.group(cls=Commands)
def make() -> None:
    """Make a policy, and print its text and address.

    Each KEY is the number of a node, whose wallet gives a fresh key and watches the policy from then on; or a public
    key in hex.
    """


def making(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command of `make` the options that all share."""
    command = click.option("--watch", "watchers", type=NODE, multiple=True, help="Another node that shall watch it.")(
        command
    )
    return click.option("--name", help="What the wallets call it. [default: the command's own name]")(command)


def _make(
    context: Context,
    template: Callable[[Sequence[bytes]], Made],
    keys: Sequence[KeyChoice],
    name: str,
    watchers: Sequence[int],
    secret: str | None = None,
) -> None:
    from devnet import policies

    made = policies.make(context.calls, context.folder.load(), template, keys, name, watchers)
    nodes = sorted({choice.node for choice in keys if choice.node is not None} | set(watchers))
    value: dict[str, Any] = {"policies": made, "watchers": nodes}
    if secret is not None:
        value["secret"] = secret
    context.emit(value, lambda: _show_made(context, made, nodes, secret))


def _show_made(context: Context, made: Sequence[MadePolicy], nodes: Sequence[int], secret: str | None) -> None:
    for part in made:
        click.echo(part.name)
        _show_branches(part.branches, part.warnings)
        click.echo(f"  Address {part.address}")
        click.echo(f"  Policy  {part.policy}\n")
    if secret is not None:
        click.echo(f"Secret  {secret}\nThe receiver claims with it (--secret), and shows it to the world by that.\n")
    if nodes:
        watch, name = "watches it" if len(nodes) == 1 else "watch it", shlex.quote(made[0].name)
        pay = context.folder.hint(f"send {nodes[0]} {name} 10")
        click.echo(f"{name_nodes(nodes).capitalize()} {watch}. Pay to it: {pay}")
        click.echo(f"Spend from it: {context.folder.hint(f'policy spend {nodes[0]} {name} TO AMOUNT')}")
    else:
        click.echo(f"No wallet watches it yet: {context.folder.hint('policy import NODE NAME POLICY')}")


def _show_branches(branches: Sequence[str], warnings: Sequence[str]) -> None:
    for number, sentence in enumerate(branches, 1):
        click.echo(f"  {number}. {_plain(sentence)}")
    for warning in warnings:
        click.echo(f"  Mind: {warning}")


def _plain(sentence: str) -> str:
    """Return a sentence as it is true for everybody: whose a key is, its node says."""
    return sentence.replace(" (yours)", "")


@make.command()
@click.argument("k", type=click.IntRange(min=1, max=16))
@click.argument("keys", type=KEY, nargs=-1, required=True, metavar="KEY...")
@making
@common
def multisig(
    context: Context, *, k: int, keys: tuple[KeyChoice, ...], name: str | None, watchers: tuple[int, ...]
) -> None:
    """Any K of the keys can spend."""
    from wallet.spend_policies import templates

    _make(context, lambda drawn: templates.multisig(k, drawn), keys, name or "multisig", watchers)


@make.command()
@click.argument("buyer", type=KEY)
@click.argument("seller", type=KEY)
@click.argument("arbiter", type=KEY)
@click.option(
    "--refund-after", type=BLOCKS, metavar="N", help="The buyer alone can take it back, N blocks after paying."
)
@making
@common
def escrow(
    context: Context,
    *,
    buyer: KeyChoice,
    seller: KeyChoice,
    arbiter: KeyChoice,
    refund_after: int | None,
    name: str | None,
    watchers: tuple[int, ...],
) -> None:
    """Buyer and seller spend together; if they disagree, the arbiter with one of them."""
    from wallet.spend_policies import templates

    def template(drawn: Sequence[bytes]) -> Made:
        first, second, third = drawn
        return templates.escrow(first, second, third, refund_after)

    _make(context, template, (buyer, seller, arbiter), name or "escrow", watchers)


@make.command()
@click.argument("owner", type=KEY)
@click.argument("moments", nargs=-1, required=True, metavar="MOMENT...")
@click.option("--clawback", type=KEY, metavar="KEY", help="A key that can take back what has not been moved.")
@making
@common
def vesting(
    context: Context,
    *,
    owner: KeyChoice,
    moments: tuple[str, ...],
    clawback: KeyChoice | None,
    name: str | None,
    watchers: tuple[int, ...],
) -> None:
    """The owner can spend from each MOMENT on what was paid to that moment's address.

    A MOMENT is a height (1200), blocks from now (+50), or a date in UTC (2027-01-31T12:00).
    """
    from devnet.policies import moment
    from wallet.spend_policies import templates

    record = context.folder.load()
    when = [moment(context.calls, record, text) for text in moments]
    keys = (owner,) if clawback is None else (owner, clawback)
    _make(
        context,
        lambda drawn: templates.vesting(drawn[0], when, drawn[1] if len(drawn) > 1 else None),
        keys,
        name or "vesting",
        watchers,
    )


@make.command()
@click.argument("hot", type=KEY)
@click.argument("cold", type=KEY)
@click.option("--delay", type=BLOCKS, required=True, metavar="N", help="Blocks in which the cold key can take it back.")
@making
@common
def vault(
    context: Context, *, hot: KeyChoice, cold: KeyChoice, delay: int, name: str | None, watchers: tuple[int, ...]
) -> None:
    """The hot key only begins a withdrawal; until it is N blocks old, the cold key can take it back."""
    from wallet.spend_policies import templates

    _make(context, lambda drawn: templates.vault(drawn[0], drawn[1], delay), (hot, cold), name or "vault", watchers)


@make.command()
@click.argument("owner", type=KEY)
@click.argument("heir", type=KEY)
@click.option(
    "--after", type=BLOCKS, required=True, metavar="N", help="Blocks without a move, after which the heir can spend."
)
@making
@common
def inheritance(
    context: Context, *, owner: KeyChoice, heir: KeyChoice, after: int, name: str | None, watchers: tuple[int, ...]
) -> None:
    """The owner spends at any time; the heir, once a coin has not been moved for N blocks."""
    from wallet.spend_policies import templates

    _make(
        context,
        lambda drawn: templates.inheritance(drawn[0], drawn[1], after),
        (owner, heir),
        name or "inheritance",
        watchers,
    )


@make.command()
@click.argument("receiver", type=KEY)
@click.argument("payer", type=KEY)
@click.argument("moment", metavar="MOMENT")
@click.option("--hash", "digest", type=HASH, help="SHA-256 of the secret. [default: that of a new secret]")
@making
@common
def hashlock(
    context: Context,
    *,
    receiver: KeyChoice,
    payer: KeyChoice,
    moment: str,
    digest: str | None,
    name: str | None,
    watchers: tuple[int, ...],
) -> None:
    """The receiver spends with a secret; from MOMENT on the payer can take back what was not claimed.

    A MOMENT is a height (1200), blocks from now (+50), or a date in UTC (2027-01-31T12:00).
    """
    import secrets
    from hashlib import sha256

    from devnet import policies
    from wallet.spend_policies import templates

    secret = None if digest else secrets.token_bytes(32)
    wanted = bytes.fromhex(digest) if digest else sha256(secret or b"").digest()
    refund = policies.moment(context.calls, context.folder.load(), moment)
    _make(
        context,
        lambda drawn: templates.hashlock(drawn[0], drawn[1], wanted, refund),
        (receiver, payer),
        name or "hashlock",
        watchers,
        None if secret is None else secret.hex(),
    )


# Knowing


@policy.command()
@click.argument("text", metavar="POLICY|ADDRESS|NAME")
@click.option("--node", type=NODE, help="As this node sees it. [default: the first that knows it]")
@common
def explain(context: Context, *, text: str, node: int | None) -> None:
    """Say who can spend by a policy, and when: one sentence for each way."""
    from devnet import policies

    told = policies.explain_anywhere(context.calls, context.folder.load(), text, node)
    context.emit(told, lambda: _show_explanation(told))


def _show_explanation(told: PolicyExplanation) -> None:
    click.echo(told.name if isinstance(told.name, str) else "A policy that no wallet here remembers")
    _show_branches([branch.sentence for branch in told.branches], [warning.sentence for warning in told.warnings])
    click.echo(f"  Address {told.address}")
    click.echo(f"  Policy  {told.policy}")


@policy.command()
@click.argument("text", metavar="POLICY|NAME")
@common
def address(context: Context, *, text: str) -> None:
    """Print the address of a policy: its text, or the name that a wallet remembers it by."""
    from devnet import policies

    told = policies.explain_anywhere(context.calls, context.folder.load(), text, None)
    context.emit({"address": told.address, "lock": told.lock}, told.address)


@policy.command()
@click.argument("node", type=NODE)
@common
def key(context: Context, *, node: int) -> None:
    """Print a fresh public key of node NODE's wallet, for a policy that is made elsewhere."""
    from devnet.policies import running_node

    calls = context.calls
    given = str(calls.call(running_node(calls, context.folder.load(), node), "getpolicykey"))
    context.emit({"pubkey": given}, given)


@policy.command(name="import")
@click.argument("node", type=NODE)
@click.argument("name")
@click.argument("text", metavar="POLICY")
@common
def import_(context: Context, *, node: int, name: str, text: str) -> None:
    """Let node NODE's wallet watch POLICY under NAME, and find what it was paid before."""
    from devnet import policies

    known = policies.remember(context.calls, context.folder.load(), node, name, text)
    context.emit(
        known,
        f"Node {node} watches {known.name} ({known.address}). "
        f"{known.confirmed} DURE lie there, and {known.pending} are on their way.",
    )


@policy.command(name="list")
@click.argument("nodes", type=NODE, nargs=-1, metavar="[NODE]...")
@common
def list_(context: Context, *, nodes: tuple[int, ...]) -> None:
    """Show which policies the wallets watch, what lies there, and what leaves a vault."""
    from devnet import payments, policies
    from devnet.status import require_network_up

    record = context.folder.load()
    require_network_up(context.folder, record)
    asked = [policies.running_node(context.calls, record, node) for node in nodes] or payments.running(record)
    found = context.calls.of_each(asked, lambda node: policies.listed(context.calls, node))

    def show() -> None:
        from cli.table import show_table

        rows = [
            [str(node.id), known.name, str(known.confirmed), str(known.pending), str(len(known.coins))]
            for node, listed in zip(asked, found, strict=True)
            for known in listed.policies
        ]
        if not rows:
            click.echo(f"No wallet watches a policy. Make one: {context.folder.hint('policy make --help')}")
            return
        show_table(["node", "policy", "confirmed", "pending", "coins"], rows, right=["confirmed", "pending", "coins"])
        _show_assets(list(zip(asked, found, strict=True)))
        both = zip(asked, found, strict=True)
        show_alarms([(node.id, alarm.sentence) for node, listed in both for alarm in listed.withdrawals])

    value = {"nodes": [{"node": node.id, "listed": listed} for node, listed in zip(asked, found, strict=True)]}
    context.emit(value, show)


def _show_assets(listed: Sequence[tuple[NodeRecord, Policies]]) -> None:
    """Say once of each policy what assets lie there, as the first wallet that watches it tells."""
    from cli.assets import at_policy

    told: set[str] = set()
    for _, policies in listed:
        for known in policies.policies:
            if known.address not in told:
                told.add(known.address)
                for each in known.assets:
                    click.echo(f"At {known.name}: {at_policy(each)}")


# Spending


How = tuple[int | None, str | None, bool]
"""By which branch, at which fee rate, and whether an absurd fee is meant."""


def _dure_spend(text: str, address: str, amount: str, how: How, replace: str | None) -> Sequence[object]:
    """Return the call that begins a spend of DURE."""
    from rpc.encoding import Dure

    recipients = None
    if amount != "all":
        recipients = {address: str(Dure(int(AMOUNT.convert(amount, None, None))))}
    branch, fee_rate, force = how
    everything_to = address if recipients is None else None
    return "spendpolicy", text, recipients, everything_to, branch, fee_rate, None, force, replace


def _asset_spend(
    wallet: AssetWallet, text: str, address: str, amount: str, how: How, asset: str, *, authority: bool
) -> Sequence[object]:
    """Return the call that begins a spend of an asset."""
    known = wallet.asset(asset, hidden=True)
    recipients = None
    if amount != "all":
        recipients = {address: wallet.units(amount, 0 if authority else known.decimals)}
    everything_to = address if recipients is None else None
    return "spendpolicyasset", text, known.asset, recipients, everything_to, authority, *how


@policy.command()
@click.argument("node", type=NODE)
@click.argument("text", metavar="POLICY")
@click.argument("to")
@click.argument("amount", metavar="AMOUNT|all")
@click.option("--asset", metavar="ASSET", help="Of an asset that lies there, not of DURE; this wallet pays the fee.")
@click.option("--authority", is_flag=True, help="With --asset: the authority over it.")
@click.option("--branch", type=click.IntRange(min=1), metavar="N", help="By this branch, as explain numbers them.")
@click.option("--secret", "secrets", type=HASH, multiple=True, help="The secret of a hash lock.")
@click.option("--fee-rate", metavar="RATE", help="Grain per byte.")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to write what others must sign. [default: POLICY.psdt]",
)
@click.option("--unsigned", is_flag=True, help="Sign nothing, send nothing: only write the file.")
@click.option(
    "--replace", metavar="TXID", help="In place of a transaction that waits; pays as much more as that takes."
)
@click.option("--force", is_flag=True, help="Even with a fee that looks like a mistake.")
@common
def spend(
    context: Context,
    *,
    node: int,
    text: str,
    to: str,
    amount: str,
    asset: str | None,
    authority: bool,
    branch: int | None,
    secrets: tuple[str, ...],
    fee_rate: str | None,
    path: Path | None,
    unsigned: bool,
    replace: str | None,
    force: bool,
) -> None:
    """Spend from POLICY, which node NODE's wallet watches, to TO: a node, an address, or another policy.

    Node NODE signs what it can. If that is enough the payment is sent; else a file is written for the others to sign.
    """
    from cli.assets import AssetWallet
    from devnet import files, payments, policies
    from devnet.errors import Misused

    calls, record = context.calls, context.folder.load()
    spender = policies.running_node(calls, record, node)
    target = path or Path(f"{text.replace('/', '-') if len(text) < 65 else 'spend'}.psdt")
    address = payments.resolve_recipient(calls, record, to)
    how = (branch, fee_rate, force)
    if asset is None:
        if authority:
            raise Misused("--authority says of which asset: --asset ASSET.")
        asked = _dure_spend(text, address, amount, how, replace)
    else:
        if replace is not None:
            raise Misused("--replace is for spends in DURE.")
        asked = _asset_spend(AssetWallet(context, node), text, address, amount, how, asset, authority=authority)
    begun = policies.spend(calls, spender, asked, secrets=secrets, force=force, sign=not unsigned)
    value = {"branch": begun.spend.branch, "fee": begun.spend.fee, "missing": begun.missing}
    by = f"By branch {begun.spend.branch}: {_plain(begun.spend.sentence)}"
    if begun.txid is not None:
        hint = context.folder.hint("policy list")
        context.emit(
            {"txid": begun.txid, **value},
            f"{by}\nSent: transaction {begun.txid}, fee {begun.spend.fee} DURE. The next block confirms it.\n"
            f"Look: {hint}",
        )
        return
    files.write_file(target, begun.raw)
    file = shlex.quote(str(target))
    wants = "\n".join(f"  - {_plain(missing)}" for missing in begun.missing)
    context.emit(
        {"file": str(target), **value},
        f"{by}\nIt still wants:\n{wants}\nWritten to {target}, for the others to sign:\n"
        f"  {context.folder.hint(f'psdt inspect {file}')}\n"
        f"  {context.folder.hint(f'psdt sign NODE {file}')}\n"
        f"and then: {context.folder.hint(f'psdt send {node} {file}')}",
    )


COMMANDS = (policy,)
