"""Transactions as bytes: find one, read one, hand one in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn

from msgspec import Meta

from consensus.address import AddressError, decode_address, encode_address
from consensus.codec import decode_transaction, display_hash
from consensus.errors import ConsensusError, NotYet
from consensus.params import Params
from consensus.types import LockId, Transaction, TxId
from node.api import views
from node.api.method import Area, method
from node.api.methods.chain import find_block, find_entry
from node.api.parameters import AddressText, HashHex, Hex
from node.api.services import Services
from node.garbage import frameless
from node.relay_policy import PolicyError, Refusal
from node.turns import in_turns
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError

DEFAULT_MAX_FEE_RATE = Dure(10_000_000)
"""DURE per 1,000 bytes: a transaction that pays more is taken for a mistake (Bitcoin Core: maxfeerate)."""

Verbosity = Annotated[int, Meta(ge=0, le=2)] | bool


def read_address(params: Params, text: str) -> LockId:
    """Return the lock of an address.

    Raises:
        RpcError: `INVALID_ADDRESS_OR_KEY`, with what is wrong with it.
    """
    try:
        return decode_address(params, text)
    except AddressError as error:
        raise RpcError(ErrorCode.INVALID_ADDRESS_OR_KEY, f"Invalid address: {error}") from None


def read_transaction(raw: Hex) -> Transaction:
    """Return the transaction of an encoding.

    Raises:
        RpcError: `DESERIALIZATION_ERROR`.
    """
    try:
        return decode_transaction(bytes(raw))
    except ConsensusError as error:
        raise RpcError(ErrorCode.DESERIALIZATION_ERROR, f"TX decode failed: {error}") from None


def refusal(error: ConsensusError | NotYet | PolicyError) -> RpcError:
    """Return the answer that tells of a refusal by mempool or chain."""
    if isinstance(error, NotYet):
        return RpcError(ErrorCode.VERIFY_ERROR, str(error))
    if isinstance(error, PolicyError) and error.reason is Refusal.ALREADY_CONFIRMED:
        return RpcError(ErrorCode.VERIFY_ALREADY_IN_UTXO_SET, str(error))
    if isinstance(error, PolicyError) and error.reason is Refusal.MAX_FEE:
        return RpcError(ErrorCode.VERIFY_ERROR, f"Fee exceeds maximum configured by user (maxfeerate): {error}")
    return RpcError(ErrorCode.VERIFY_REJECTED, str(error))


def refuse(error: ConsensusError | NotYet | PolicyError) -> NoReturn:
    """Answer with a refusal by mempool or chain.

    Raises:
        RpcError: always.
    """
    raise refusal(error) from None


@method(Area.RAW_TRANSACTIONS, reads=True)
async def getrawtransaction(
    services: Services, txid: HashHex, verbosity: Verbosity = 0, blockhash: HashHex | None = None
) -> str | schema.TransactionDetail:
    """Return a transaction.

    There is no index of all transactions: it is looked for in the mempool, and in the block that is named. The
    wallet's own are found by gettransaction.

    Args:
        txid: its id.
        verbosity: 0 for its encoding in hex, 1 or 2 for an object.
        blockhash: the block that it is in, on whatever branch.
    """
    if blockhash is not None:
        return await _from_block(services, txid, verbosity, blockhash)
    await services.mempool.at_rest()
    entry = services.mempool.entry(TxId(txid))
    if entry is None:
        raise RpcError(
            ErrorCode.INVALID_ADDRESS_OR_KEY,
            "No such mempool transaction. Name the block that it is in: this node has no index of all transactions. "
            "Use gettransaction for wallet transactions.",
        )
    if not verbosity:
        return entry.tx.encoded.hex()
    return views.transaction(services.params, entry.tx, fee=entry.fee, confirmations=0, time=entry.time)


async def _from_block(
    services: Services, txid: HashHex, verbosity: int, blockhash: HashHex
) -> str | schema.TransactionDetail:
    entry = find_entry(services, blockhash)
    block = await find_block(services, entry)
    await in_turns(views.named_in_slices(block))
    place = next((place for place, tx in enumerate(block.transactions) if tx.txid == TxId(txid)), None)
    if place is None:
        raise RpcError(ErrorCode.INVALID_ADDRESS_OR_KEY, "No such transaction found in the provided block")
    if not verbosity:
        return block.transactions[place].encoded.hex()
    return views.transaction(
        services.params,
        block.transactions[place],
        fee=views.SpentOutputs(services.store, entry, block.transactions).fee(block.transactions[place]),
        in_active_chain=services.chain.index.on_best_chain(entry),
        blockhash=display_hash(entry.hash),
        confirmations=max(0, views.confirmations(services.chain, entry)),
        time=block.header.time,
        blocktime=block.header.time,
    )


@method(Area.RAW_TRANSACTIONS, reads=True)
async def decoderawtransaction(services: Services, hexstring: Hex) -> schema.TransactionDetail:
    """Return a transaction as an object, whether or not it is valid.

    Args:
        hexstring: its encoding.
    """
    return views.transaction(services.params, read_transaction(hexstring))


async def _send_each(services: Services, calls: Sequence[Mapping[str, Any]]) -> list[str | RpcError]:
    """What `sendrawtransaction` does, for several in turn."""
    read: dict[int, Transaction] = {}
    answers: list[str | RpcError] = []
    for place, call in enumerate(calls):
        try:
            read[place] = tx = read_transaction(call["hexstring"])
            answers.append(display_hash(tx.txid))
        except RpcError as error:
            answers.append(frameless(error))
    rates = [calls[place].get("maxfeerate", DEFAULT_MAX_FEE_RATE).grain for place in read]
    outcomes = await services.node.submit_each(tuple(read.values()), rates)
    for (place, tx), outcome in zip(read.items(), outcomes, strict=True):
        if isinstance(outcome, PolicyError) and outcome.reason in {Refusal.ALREADY_KNOWN, Refusal.SAME_TXID}:
            services.node.announce_again(tx)
        elif isinstance(outcome, Exception):
            answers[place] = refusal(outcome)
    return answers


@method(Area.RAW_TRANSACTIONS, together=_send_each)
async def sendrawtransaction(services: Services, hexstring: Hex, maxfeerate: Dure = DEFAULT_MAX_FEE_RATE) -> str:
    """Put a signed transaction into the mempool and tell peers; return its txid.

    One that is there already is told again.

    Args:
        hexstring: its encoding.
        maxfeerate: DURE per 1,000 virtual bytes; more is refused, 0 is no bound.
    """
    tx = read_transaction(hexstring)
    if tx.txid in services.mempool:
        services.node.announce_again(tx)
        return display_hash(tx.txid)
    try:
        await services.node.submit_transaction(tx, maxfeerate.grain)
    except (ConsensusError, NotYet, PolicyError) as error:
        refuse(error)
    return display_hash(tx.txid)


@method(Area.CONTROL, reads=True)
async def validateaddress(services: Services, address: AddressText) -> schema.AddressValidity:
    """Tell whether a text is an address of this network; if not, what is wrong with it.

    Args:
        address: the text.
    """
    try:
        lock = decode_address(services.params, address)
    except AddressError as error:
        return schema.AddressValidity(isvalid=False, error=str(error))
    return schema.AddressValidity(isvalid=True, address=encode_address(services.params, lock), scriptPubKey=lock.hex())


METHODS = (getrawtransaction, decoderawtransaction, sendrawtransaction, validateaddress)
