"""A second spend of coins that were paid away already, by the payer himself: what makes a payment stay out for good.

Leaving a payment out of a branch is not enough: it goes back to the mempools, and the next block has it again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
from msgspec import UNSET

from consensus.address import decode_address, encode_address
from consensus.codec import decode_transaction, display_hash, lock_digest, spend_message
from consensus.params import Params
from consensus.signatures import public_key, sign
from consensus.types import Amount, Core, Key, LockId, OutPoint, Output, Transaction, Witness
from devnet.calls import CallRefused, Calls
from devnet.errors import Refused
from devnet.folder import NodeRecord
from rpc.errors import ErrorCode
from rpc.schema import WalletTransaction
from wallet.pem import import_key


class KnownTransaction(msgspec.Struct, frozen=True):
    """What a wallet knows of one of its transactions."""

    transaction: Transaction
    fee: int | None
    """Grain, positive; None if not all of its inputs are the wallet's."""
    state: str
    """confirmed, pending, or why it is neither."""
    height: int | None
    """Of its block."""
    confirmations: int


class Books(Protocol):
    """The wallet of one node, for whoever may use its keys."""

    def look_up(self, txid: str) -> KnownTransaction | None:
        """Return what it knows of a transaction, by the id as people see it; None if it is not its own."""

    def new_address(self) -> str:
        """Return a new address of its own."""

    def export_key(self, address: str) -> str:
        """Return the key of one of its addresses, as PEM."""


class DoubleSpend(msgspec.Struct, frozen=True):
    """A transaction that spends what another one spends."""

    payer: int
    """The node whose wallet made both."""
    dropped: str
    """The id of the payment that is to stay out."""
    rival: str
    """The id of the transaction whose coins it spends: that payment, or one that it descends from."""
    txid: str
    raw: str
    """Its encoding in hex. Nobody has seen it yet."""


def spend_again(params: Params, wallets: Mapping[int, Books], txid: str, fork_height: int) -> DoubleSpend:
    """Let whoever made a payment pay the same coins back to himself, valid in the block after `fork_height`.

    The keys come from the node's wallet, and are gone when this returns.

    Args:
        wallets: by the numbers of their nodes.
        txid: of the payment, in hex as people see it.

    Raises:
        Refused: no wallet here made it, it is deeper than the fork, or all it descends from is younger than that.
        DevnetError: what the wallets raise: a node does not answer, or is locked.
    """
    for number, books in wallets.items():
        made = books.look_up(txid)
        if made is not None and made.fee is not None:
            return _double(params, number, books, made, made.fee, fork_height)
    raise Refused(
        f"No wallet of this network that runs has made the payment {txid}, so that nobody here can spend its coins "
        "another way. Left out of the branch it would only come back."
    )


def depth_of(wallets: Mapping[int, Books], txid: str) -> int:
    """Return how many blocks must be undone to undo a payment; 0 if it is in no block, or nobody's here."""
    made = (books.look_up(txid) for books in wallets.values())
    return max((each.confirmations for each in made if each is not None), default=0)


def _double(
    params: Params, number: int, books: Books, made: KnownTransaction, fee: int, fork_height: int
) -> DoubleSpend:
    txid = display_hash(made.transaction.txid)
    if made.state not in {"confirmed", "pending"}:
        raise Refused(f"The payment {txid} is {made.state} already: there is nothing to drop.")
    if made.height is not None and made.height <= fork_height:
        deep = made.confirmations
        raise Refused(f"The payment {txid} is {deep} blocks deep: a branch without it takes --depth {deep}.")
    rival, coins = _vulnerable(params, books, made, fork_height)
    if any(output.asset is not None for output in coins.values()):
        raise Refused(f"The payment {txid} moves assets, which this command does not.")
    back = decode_address(params, books.new_address())
    value = Amount(max(1, sum(output.value for output in coins.values()) - fee))
    core = Core(1, tuple(coins), (Output(value, back, None),), (), (), b"")
    double = _sign(params, books, core, tuple(coins.values()))
    return DoubleSpend(number, txid, display_hash(rival.txid), display_hash(double.txid), double.encoded.hex())


def _vulnerable(
    params: Params, books: Books, made: KnownTransaction, fork_height: int
) -> tuple[Transaction, dict[OutPoint, Output]]:
    """Return a transaction without which the payment cannot be, and those of its coins that are there at the fork.

    That is the payment itself, if one of its coins is; else the nearest of the payer's own which it descends from.
    """
    waiting = deque([made.transaction])
    seen = {made.transaction.txid}
    while waiting:
        tx = waiting.popleft()
        coins: dict[OutPoint, Output] = {}
        for outpoint in tx.core.inputs:
            source = books.look_up(display_hash(outpoint.txid))
            if source is None:
                continue  # somebody else's: the payer has no key for it
            if _is_there(params, source, fork_height):
                coins[outpoint] = source.transaction.core.outputs[outpoint.index]
            elif source.fee is not None and outpoint.txid not in seen:
                seen.add(outpoint.txid)
                waiting.append(source.transaction)
        if coins:
            return tx, coins
    raise Refused(
        f"All that {display_hash(made.transaction.txid)} descends from is younger than block {fork_height}, where the "
        "branch begins: it is lost with any branch from there. Leave --drop out, or take a smaller --depth."
    )


def _is_there(params: Params, source: KnownTransaction, fork_height: int) -> bool:
    """Tell whether what a transaction pays can be spent in the first block of the branch."""
    if source.height is None or source.height > fork_height:
        return False
    return not source.transaction.is_coinbase or fork_height + 1 >= source.height + params.coinbase_maturity


def _sign(params: Params, books: Books, core: Core, spent: Sequence[Output]) -> Transaction:
    message = spend_message(params.genesis_hash, core, spent)
    locks = dict.fromkeys(output.lock for output in spent)  # in the order in which they first appear
    return Transaction(core, tuple(_witness(params, books, message, lock) for lock in locks))


def _witness(params: Params, books: Books, message: bytes, lock: LockId) -> Witness:
    private_key = import_key(books.export_key(encode_address(params, lock)))
    return Witness(Key(public_key(private_key)), (sign(private_key, lock_digest(message, lock)),))


class RpcBooks:
    """Satisfies `Books` with the JSON-RPC of a node."""

    def __init__(self, calls: Calls, node: NodeRecord) -> None:
        self._calls = calls
        self._node = node

    def look_up(self, txid: str) -> KnownTransaction | None:
        """Return what the node's wallet knows of a transaction."""
        try:
            made = self._calls.ask(self._node, WalletTransaction, "gettransaction", txid)
        except CallRefused as error:
            if error.code == ErrorCode.INVALID_ADDRESS_OR_KEY:
                return None
            raise
        return KnownTransaction(
            transaction=decode_transaction(bytes.fromhex(made.hex)),
            fee=None if made.fee is UNSET else -made.fee.grain,
            state=made.state,
            height=None if made.blockheight is UNSET else made.blockheight,
            confirmations=made.confirmations,
        )

    def new_address(self) -> str:
        """Return a new address of the node's wallet."""
        return str(self._calls.call(self._node, "getnewaddress"))

    def export_key(self, address: str) -> str:
        """Return the key of one of its addresses."""
        return str(self._calls.call(self._node, "exportkey", address))
