"""Spend policies among the wallets of a network: keys from nodes, names that wallets remember, spends and files."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from consensus.policy_text import format_policy
from consensus.types import AfterHeight, AfterTime
from devnet.calls import CallRefused, Calls
from devnet.errors import Misused, Refused
from devnet.files import read_bounded
from devnet.folder import NetworkRecord, NodeRecord
from devnet.payments import running
from devnet.status import require_network_up, require_running
from devnet.units import is_node_number
from rpc.schema import (
    BlockchainInfo,
    FinalizedPsbt,
    Policies,
    PolicyExplanation,
    PolicySpend,
    ProcessedPsbt,
    Psbt,
    RememberedPolicy,
)
from wallet.errors import WalletError
from wallet.psdt import MAX_FILE_SIZE
from wallet.spend_policies.templates import Made, Moment

KEY_DIGITS = 66
"""Hex digits of a public key."""


class KeyChoice(msgspec.Struct, frozen=True):
    """A key as a user names it: that of a node's wallet, or one in hex."""

    text: str
    node: int | None
    """None for a key in hex."""

    @classmethod
    def parse(cls, text: str) -> KeyChoice:
        """Read it.

        Raises:
            ValueError: it is neither.
        """
        if is_node_number(text):
            return cls(text, int(text))
        if len(text) == KEY_DIGITS and text[:2] in {"02", "03"} and text.isascii() and text.isalnum():
            bytes.fromhex(text)
            return cls(text.lower(), None)
        raise ValueError("neither a node nor a public key in hex")


class MadePolicy(msgspec.Struct, frozen=True):
    """What `dure policy make` made of one part."""

    name: str
    address: str
    policy: str
    branches: list[str]
    """A sentence each."""
    warnings: list[str]


def running_node(calls: Calls, record: NetworkRecord, number: int) -> NodeRecord:
    """Return a node that answers.

    Raises:
        Misused: there is no such node.
        Unavailable: it does not run.
    """
    node = record.node(number)
    require_running(calls.folder, node)
    return node


# Making


def make(
    calls: Calls,
    record: NetworkRecord,
    template: Callable[[Sequence[bytes]], Made],
    keys: Sequence[KeyChoice],
    name: str,
    watchers: Sequence[int],
) -> list[MadePolicy]:
    """Make a policy from keys, and let the wallets of all nodes that gave one, and of `watchers`, remember it.

    Args:
        template: makes it from the public keys, in the order of `keys`.

    Raises:
        Misused: there is no such node, or the template refuses.
        Refused: a trap, or the name is taken in one of the wallets; nobody has remembered anything.
        Unavailable: a node does not run.
    """
    numbers = dict.fromkeys([*(choice.node for choice in keys if choice.node is not None), *watchers])
    nodes = [running_node(calls, record, number) for number in numbers]
    _check_name(calls, nodes, name)
    drawn = [_draw(calls, record, choice, name) for choice in keys]
    try:
        made = template(drawn)
    except WalletError as error:
        raise Misused(f"There is no such policy: {error}.") from None
    roles = _roles(made, keys, drawn)
    asked = nodes[0] if nodes else _any_node(calls, record)
    for part in made.parts:
        fatal = [one.sentence for one in explain(calls, asked, format_policy(part.policy)).warnings if one.fatal]
        if fatal:
            raise Refused(f"Such a policy would lose coins: {' '.join(fatal)}")
    for node in nodes:
        # What a vault leads to comes before the vault.
        for part in reversed(made.parts):
            _import(calls, node, full_name(name, part.name), format_policy(part.policy), roles)
    return [_told(calls, asked, full_name(name, part.name), format_policy(part.policy)) for part in made.parts]


def full_name(name: str, part: str) -> str:
    """Return what the part of a template is remembered as."""
    return f"{name}/{part}" if part else name


def _check_name(calls: Calls, nodes: Sequence[NodeRecord], name: str) -> None:
    for node in nodes:
        for known in listed(calls, node).policies:
            if known.name == name or known.name.startswith(f"{name}/"):
                raise Refused(f"Node {node.id} remembers a policy as {known.name} already: choose another --name.")


def _draw(calls: Calls, record: NetworkRecord, choice: KeyChoice, name: str) -> bytes:
    if choice.node is None:
        return bytes.fromhex(choice.text)
    return bytes.fromhex(str(calls.call(record.node(choice.node), "getpolicykey", f"key of {name}")))


def _roles(made: Made, keys: Sequence[KeyChoice], drawn: Sequence[bytes]) -> dict[str, str]:
    """Return what to call the owners of the keys: by their part in the policy, by their node, or both."""
    roles = {}
    for choice, key in zip(keys, drawn, strict=True):
        role, node = made.roles.get(key), None if choice.node is None else f"node {choice.node}"
        if role or node:
            roles[key.hex()] = f"{role} ({node})" if role and node else role or node or ""
    return roles


def _import(
    calls: Calls, node: NodeRecord, name: str, policy: str, roles: dict[str, str], *, rescan: bool = False
) -> RememberedPolicy:
    return calls.ask(node, RememberedPolicy, "importpolicy", name, policy, roles, rescan)


def _told(calls: Calls, node: NodeRecord, name: str, policy: str) -> MadePolicy:
    told = explain(calls, node, policy)
    return MadePolicy(
        name,
        told.address,
        told.policy,
        [branch.sentence for branch in told.branches],
        [warning.sentence for warning in told.warnings],
    )


def _any_node(calls: Calls, record: NetworkRecord) -> NodeRecord:
    require_network_up(calls.folder, record)
    nodes = running(record)
    if not nodes:
        raise Refused("All nodes are paused: let one go on first.")
    return nodes[0]


def moment(calls: Calls, record: NetworkRecord, text: str) -> Moment:
    """Read a height, a number of blocks from now (+50), or a date (2027-01-31, 2027-01-31T12:00, in UTC).

    Raises:
        Misused: it is none of these, or before 1970 or after 2106.
        Unavailable: no node runs, and the height is counted from now.
    """
    digits = text.removeprefix("+")
    if digits.isascii() and digits.isdigit() and len(digits) <= 10:
        height = int(digits)
        if text.startswith("+"):
            height += calls.ask(_any_node(calls, record), BlockchainInfo, "getblockchaininfo").blocks
        if height < 2**32:
            return AfterHeight(height)
    else:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            at = None
        if at is not None:
            seconds = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
            if 0 <= seconds < 2**32:
                return AfterTime(seconds)
    raise Misused(
        f"{text[:40]!r} is no moment: a height (1200), blocks from now (+50), or a date in UTC (2027-01-31T12:00)."
    )


# Knowing


def explain(calls: Calls, node: NodeRecord, policy: str) -> PolicyExplanation:
    """Ask a node about a policy: its text, address or name."""
    return calls.ask(node, PolicyExplanation, "explainpolicy", policy)


def explain_anywhere(calls: Calls, record: NetworkRecord, policy: str, number: int | None) -> PolicyExplanation:
    """Ask the node of that number, or else each running node, until one knows the policy.

    Raises:
        Refused: nobody knows it.
        Unavailable: no node runs.
    """
    if number is not None:
        return explain(calls, running_node(calls, record, number), policy)
    refusal: CallRefused | None = None
    for node in [_any_node(calls, record), *running(record)[1:]]:
        try:
            return explain(calls, node, policy)
        except CallRefused as error:
            refusal = refusal or error
    raise Refused(
        refusal.message if refusal and "(" in policy else f"No wallet of a running node remembers {policy[:80]!r}."
    )


def listed(calls: Calls, node: NodeRecord) -> Policies:
    """Return what a node's wallet remembers."""
    return calls.ask(node, Policies, "listpolicies")


def remember(calls: Calls, record: NetworkRecord, number: int, name: str, policy: str) -> RememberedPolicy:
    """Let a node's wallet remember a policy, with what was paid to it before.

    Raises:
        Misused: there is no such node.
        Refused: a trap, or the name is taken.
        Unavailable: the node does not run.
    """
    node = running_node(calls, record, number)
    roles: dict[str, str] = {}
    for other in running(record):
        known = next((one for one in listed(calls, other).policies if one.policy == policy), None)
        if known is not None:
            roles |= {key.pubkey: key.role for key in known.keys if isinstance(key.role, str)}
    return _import(calls, node, name, policy, roles, rescan=True)


# Spending


class Begun(msgspec.Struct, frozen=True):
    """A spend, as far as one wallet can bring it."""

    spend: PolicySpend
    raw: bytes
    """The file."""
    txid: str | None
    """Of the transaction that was sent; None if others have to sign first."""
    missing: list[str]
    """What the branch still wants."""


def spend(
    calls: Calls,
    node: NodeRecord,
    asked: Sequence[object],
    *,
    secrets: Sequence[str],
    force: bool,
    sign: bool,
) -> Begun:
    """Begin a spend from a policy of a node's wallet, sign what that wallet can, and send it if that is enough.

    Args:
        asked: the method that begins it, and its parameters.

    Raises:
        Refused: nothing was sent.
        Unavailable: the node does not answer.
    """
    method, *params = asked
    begun = calls.ask(node, PolicySpend, str(method), *params)
    done = process(calls, node, begun.psbt, sign=sign, only=None, secrets=secrets, force=force)
    txid = None
    if done.complete and sign:
        txid = str(finish(calls, node, done.psbt, send=True).txid)
    missing = [] if txid else _missing(decode(calls, node, done.psbt), begun.branch)
    return Begun(begun, base64.b64decode(done.psbt), txid, missing)


def _missing(file: Psbt, branch: int) -> list[str]:
    wanted = [
        missing for part in file.parts for one in part.branches if one.number == branch for missing in one.missing
    ]
    return list(dict.fromkeys(wanted))


def process(
    calls: Calls,
    node: NodeRecord,
    psbt: str,
    *,
    sign: bool,
    only: Sequence[str] | None,
    secrets: Sequence[str],
    force: bool,
    approve: Sequence[str] | None = None,
) -> ProcessedPsbt:
    """Let a node's wallet add what it can to a file.

    Raises:
        Refused: it lies, or the fee is absurd; nothing was signed.
    """
    return calls.ask(
        node, ProcessedPsbt, "walletprocesspsbt", psbt, sign, None, None, True, only, list(secrets), force, approve
    )


def decode(calls: Calls, node: NodeRecord, psbt: str) -> Psbt:
    """Return what a file says, and what a node knows of it."""
    return calls.ask(node, Psbt, "decodepsbt", psbt)


def finish(calls: Calls, node: NodeRecord, psbt: str, *, send: bool) -> FinalizedPsbt:
    """Finish a file.

    Raises:
        Refused: something is missing, or the node does not take the transaction.
    """
    done = calls.ask(node, FinalizedPsbt, "finalizepsbt", psbt, True, send)
    if not done.complete:
        raise Refused(f"It is not complete: {done.missing}. Who has to sign: {calls.folder.hint('psdt inspect FILE')}")
    return done


# Files


def read_file(path: Path) -> str:
    """Return a partially signed transaction as base64, whatever is in it: the node judges it.

    Raises:
        Refused: it cannot be read, or is larger than any.
    """
    raw = read_bounded(path, MAX_FILE_SIZE, "partially signed transaction")
    return base64.b64encode(raw).decode("ascii")
