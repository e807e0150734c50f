"""A second spend of coins that were paid away already, by the payer himself: what makes a payment stay out for good.

Leaving a payment out of a branch is not enough: it goes back to the mempools, and the next block has it again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from consensus.address import decode_address, encode_address
from consensus.codec import decode_transaction, display_hash, lock_digest, spend_message
from consensus.params import Params
from consensus.signatures import public_key, sign
from consensus.types import Amount, Core, Key, LockId, Output, Transaction, Witness
from devnet.calls import CallRefused, Calls
from devnet.errors import Refused
from devnet.folder import NodeRecord
from rpc.errors import ErrorCode
from rpc.schema import WalletTransaction
from wallet.pem import import_key


class DoubleSpend(msgspec.Struct, frozen=True):
    """A transaction that spends what another one spends."""

    payer: int
    """The node whose wallet made both."""
    dropped: str
    """The id of the first."""
    txid: str
    raw: str
    """Its encoding in hex. Nobody has seen it yet."""


def spend_again(calls: Calls, params: Params, nodes: Sequence[NodeRecord], txid: str, fork_height: int) -> DoubleSpend:
    """Let whoever made a payment pay the same coins back to himself, valid in the block after `fork_height`.

    The keys come from the node's wallet (exportkey), and are gone when this returns.

    Args:
        nodes: whose wallets to look in; they run.
        txid: of the payment, in hex as people see it.

    Raises:
        Refused: no wallet here made it, it is deeper than the fork, its coins are younger than that, or its wallet is
            locked. Nothing was done.
        Unavailable: a node does not answer.
    """
    for node in nodes:
        made = _look_up(calls, node, txid)
        if made is not None and made.fee is not UNSET:
            return _double(calls, params, node, made, fork_height)
    raise Refused(
        f"No wallet of this network that runs has made the payment {txid}, so that nobody here can spend its coins "
        "another way. Left out of the branch it would only come back."
    )


def _look_up(calls: Calls, node: NodeRecord, txid: str) -> WalletTransaction | None:
    try:
        return calls.ask(node, WalletTransaction, "gettransaction", txid)
    except CallRefused as error:
        if error.code == ErrorCode.INVALID_ADDRESS_OR_KEY:
            return None
        raise


def _double(calls: Calls, params: Params, node: NodeRecord, made: WalletTransaction, fork_height: int) -> DoubleSpend:
    if made.state not in {"confirmed", "pending"}:
        raise Refused(f"The payment {made.txid} is {made.state} already: there is nothing to drop.")
    if made.blockheight is not UNSET and made.blockheight <= fork_height:
        deep = made.confirmations
        raise Refused(f"The payment {made.txid} is {deep} blocks deep: a branch without it takes --depth {deep}.")
    tx = decode_transaction(bytes.fromhex(made.hex))
    spent = [
        _coin(calls, params, node, display_hash(outpoint.txid), outpoint.index, fork_height)
        for outpoint in tx.core.inputs
    ]
    if any(output.asset is not None for output in spent):
        raise Refused(f"The payment {made.txid} moves assets, which this command does not.")
    fee = -(made.fee.grain if made.fee is not UNSET else 0)
    back = decode_address(params, str(calls.call(node, "getnewaddress")))
    value = Amount(sum(output.value for output in spent) - fee)
    core = Core(1, tx.core.inputs, (Output(value, back, None),), (), (), b"")
    double = _sign(calls, params, node, core, spent)
    return DoubleSpend(node.id, made.txid, display_hash(double.txid), double.encoded.hex())


def _coin(calls: Calls, params: Params, node: NodeRecord, txid: str, index: int, fork_height: int) -> Output:
    """Return a coin that a payment spends, if it could be spent in the first block of the branch."""
    made = _look_up(calls, node, txid)
    if made is None or made.blockheight is UNSET:
        raise Refused(f"It spends what {txid} pays, which is in no block yet: drop that one instead.")
    if made.blockheight > fork_height:
        raise Refused(
            f"It spends what {txid} pays, which is undone too: drop that one instead, or take a smaller --depth."
        )
    if made.generated is True and fork_height + 1 < made.blockheight + params.coinbase_maturity:
        raise Refused(
            f"It spends the reward of block {made.blockheight}, which is too young in a branch from block "
            f"{fork_height} on: the payment is lost with any branch of that depth. Leave --drop out."
        )
    return decode_transaction(bytes.fromhex(made.hex)).core.outputs[index]


def _sign(calls: Calls, params: Params, node: NodeRecord, core: Core, spent: Sequence[Output]) -> Transaction:
    message = spend_message(params.genesis_hash, core, spent)
    locks = dict.fromkeys(output.lock for output in spent)  # in the order in which they first appear
    return Transaction(core, tuple(_witness(calls, params, node, message, lock) for lock in locks))


def _witness(calls: Calls, params: Params, node: NodeRecord, message: bytes, lock: LockId) -> Witness:
    private_key = import_key(str(calls.call(node, "exportkey", encode_address(params, lock))))
    return Witness(Key(public_key(private_key)), (sign(private_key, lock_digest(message, lock)),))
