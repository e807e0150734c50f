"""Coins from one wallet of a network to another."""

from __future__ import annotations

import msgspec

from consensus.address import AddressError, decode_address
from consensus.params import LOCAL, NETWORKS, local_params
from devnet.calls import Calls
from devnet.errors import Refused
from devnet.faults import group_of
from devnet.folder import NetworkRecord, NodeRecord
from devnet.launcher import is_alive, is_paused
from devnet.status import require_running, spendable
from devnet.units import is_node_number
from rpc.encoding import Dure
from rpc.schema import Balances, MineBalances, Policies


class Payment(msgspec.Struct, frozen=True):
    """A payment that a node has taken into its mempool."""

    txid: str
    sender: int
    to: str
    """The address that was paid."""
    amount: Dure
    """The fee not included."""


class Balance(msgspec.Struct, frozen=True):
    """What one wallet holds."""

    node: int
    confirmed: Dure
    """Can be spent now."""
    pending: Dure
    """Comes with a block."""
    immature: Dure
    """Rewards that are still too young."""
    at_policies: Dure = Dure(0)
    """At policies that it watches: others can spend that too."""
    alarms: list[str] = []
    """What is leaving its vaults, a sentence each."""


def resolve_recipient(calls: Calls, record: NetworkRecord, to: str) -> str:
    """Return the address that `to` means: a new one of that node, that of a policy of that name, or `to` itself.

    Raises:
        Misused: there is no such node.
        Refused: `to` is no address of this network; the sentence says what is wrong with it.
        Unavailable: the node does not run.
    """
    if is_node_number(to):
        node = record.node(int(to))
        require_running(calls.folder, node)
        return str(calls.call(node, "getnewaddress"))
    if not record.tag:
        # Which network's address it must be only the node knows, and it refuses any other.
        return (None if _looks_like_an_address(to) else _address_of_policy(calls, record, to)) or to
    try:
        decode_address(local_params(bytes.fromhex(record.tag)), to)
    except AddressError as error:
        policy = None if _looks_like_an_address(to) else _address_of_policy(calls, record, to)
        if policy is not None:
            return policy
        raise Refused(
            f"{to!r} is neither a node of this network, nor a policy that a wallet knows, nor an address: {error}."
        ) from None
    return to


def _looks_like_an_address(text: str) -> bool:
    """Tell whether somebody meant an address: a mistyped one is no name."""
    return any(text.lower().startswith(f"{params.address_prefix}1") for params in NETWORKS.values())


def _address_of_policy(calls: Calls, record: NetworkRecord, name: str) -> str | None:
    """Return the address of a policy that the wallet of some running node remembers under this name."""
    for node in running(record):
        for known in calls.ask(node, Policies, "listpolicies").policies:
            if known.name == name:
                return known.address
    return None


def send(calls: Calls, record: NetworkRecord, sender: int, to: str, amount: Dure) -> Payment:
    """Pay `amount` from a node's wallet, plus a fee, to a node or an address.

    Raises:
        Misused: there is no such node.
        Refused: a bad address, more than the balance, a locked wallet; nothing was paid.
        Unavailable: one of the two nodes does not run.
    """
    node = record.node(sender)
    require_running(calls.folder, node)
    address = resolve_recipient(calls, record, to)
    txid = str(calls.call(node, "sendtoaddress", address, str(amount)))
    return Payment(txid, sender, address, amount)


def fund(calls: Calls, record: NetworkRecord, number: int, amount: Dure) -> Payment:
    """Pay `amount` to a node out of the fullest other wallet that can be reached.

    Raises:
        Misused: there is no such node.
        Refused: no other wallet has so much, or there is none; nothing was paid.
        Unavailable: the node does not run.
    """
    require_running(calls.folder, record.node(number))
    others = [node for node in running(record) if node.id != number]
    by_wealth = dict(zip(others, calls.of_each(others, lambda node: spendable(calls, node)), strict=True))
    richest = max(others, key=lambda node: (by_wealth[node].grain, -node.id), default=None)
    if richest is None or by_wealth[richest].grain < amount.grain:
        most = by_wealth[richest] if richest is not None else Dure(0)
        raise Refused(
            f"No other wallet can spend {amount} DURE now (the fullest has {most}). "
            f"Let the node earn them: {calls.folder.hint(f'mine {number} 1')}; a reward can be spent "
            f"{LOCAL.coinbase_maturity} blocks later."
        )
    return send(calls, record, richest.id, str(number), amount)


def running(record: NetworkRecord) -> list[NodeRecord]:
    """Return the nodes whose process runs and is not paused."""
    return [node for node in record.nodes if is_alive(node) and not is_paused(node)]


def balances(record: NetworkRecord, calls: Calls, numbers: list[int]) -> list[Balance]:
    """Ask the wallets of some running nodes at once.

    Raises:
        Unavailable, CallRefused: one did not answer, or refused.
    """

    def ask(node: NodeRecord) -> Balance:
        held = calls.ask(node, Balances, "getbalances")
        mine, apart = held.mine, held.watchonly
        if not isinstance(apart, MineBalances):
            return Balance(node.id, confirmed=mine.trusted, pending=mine.untrusted_pending, immature=mine.immature)
        alarms = calls.ask(node, Policies, "listpolicies").withdrawals
        return Balance(
            node.id,
            confirmed=mine.trusted,
            pending=mine.untrusted_pending,
            immature=mine.immature,
            at_policies=Dure(apart.trusted.grain + apart.untrusted_pending.grain + apart.immature.grain),
            alarms=[alarm.sentence for alarm in alarms],
        )

    return calls.of_each([record.node(number) for number in numbers], ask)


def is_mined(record: NetworkRecord, number: int) -> bool:
    """Tell whether a miner runs that node `number` can reach; of nodes elsewhere it is taken to be so."""
    if record.node(number).elsewhere:
        return True
    group = group_of(record.partition, number)
    return any(node.mines and (group is None or node.id in group) for node in running(record))
