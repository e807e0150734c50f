"""Payments from the wallet: each is on disk and on its way to peers when the call returns."""
# ruff: noqa: ARG001 (parameters that mean nothing here are taken for the sake of Bitcoin Core's clients)

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from consensus.codec import display_hash
from consensus.errors import ConsensusError, NotYet
from consensus.types import TxId
from node.api.method import Area, method
from node.api.methods.transactions import read_address, refuse
from node.api.methods.wallet import current_wallet, refuse_wallet, service_of
from node.api.parameters import AddressText, FeeRate, HashHex
from node.api.services import Services
from node.relay_policy import PolicyError
from node.wallet_service import WalletService
from rpc import schema
from rpc.encoding import Dure
from wallet.errors import UnknownTransactionError, WalletError
from wallet.results import Payment, RelayTerms, Sent
from wallet.wallet import Wallet

MAX_RECIPIENTS = 1_000
"""Of one sendmany: what fits into a transaction that is relayed."""

RequestId = Annotated[str, Meta(min_length=1, max_length=64)]
Recipients = Annotated[dict[AddressText, Dure], Meta(min_length=1, max_length=MAX_RECIPIENTS)]
AddressList = Annotated[list[AddressText], Meta(max_length=MAX_RECIPIENTS)]


@method(Area.WALLET, needs_wallet=True)
async def sendtoaddress(
    services: Services,
    address: AddressText,
    amount: Dure,
    comment: str = "",
    comment_to: str = "",
    subtractfeefromamount: bool = False,
    replaceable: bool | None = None,
    conf_target: int | None = None,
    estimate_mode: str | None = None,
    avoid_reuse: bool | None = None,
    fee_rate: FeeRate | None = None,
    verbose: bool = False,
    request_id: RequestId | None = None,
) -> str | schema.SentPayment:
    """Pay somebody; the payment is on disk and on its way to peers when the call returns. Returns its txid.

    Args:
        address: whom.
        amount: DURE, such as 12.5.
        comment: not used.
        comment_to: not used.
        subtractfeefromamount: whether the receiver bears the fee.
        replaceable: not used: nothing is replaced.
        conf_target: not used.
        estimate_mode: not used.
        avoid_reuse: not used.
        fee_rate: grain per byte; by default what it takes to be relayed.
        verbose: true for an object with the fee.
        request_id: any text of the caller's. A call that repeats it, after a time-out say, pays only once.
    """
    sent = await _pay(
        services, [(address, amount)], fee_rate, subtract_fee=subtractfeefromamount, request_id=request_id
    )
    txid = display_hash(sent.transaction.txid)
    return schema.SentPayment(txid=txid, fee=Dure(sent.fee), fee_reason="Minimum relay fee") if verbose else txid


@method(Area.WALLET, needs_wallet=True)
async def sendmany(
    services: Services,
    dummy: str,
    amounts: Recipients,
    minconf: int | None = None,
    comment: str = "",
    subtractfeefrom: AddressList | None = None,
    request_id: RequestId | None = None,
) -> str:
    """Pay several in one transaction; as sendtoaddress.

    Args:
        dummy: must be "".
        amounts: an object of address and DURE.
        minconf: not used.
        comment: not used.
        subtractfeefrom: if any are named, all receivers bear the fee in equal parts.
        request_id: as in sendtoaddress.
    """
    payments = list(amounts.items())
    sent = await _pay(services, payments, None, subtract_fee=bool(subtractfeefrom), request_id=request_id)
    return display_hash(sent.transaction.txid)


async def _pay(
    services: Services,
    payments: Sequence[tuple[str, Dure]],
    fee_rate: FeeRate | None,
    *,
    subtract_fee: bool,
    request_id: str | None,
) -> Sent:
    service = service_of(services)
    wallet = await service.current()
    try:
        parsed = [_payment(services, wallet, address, amount) for address, amount in payments]
        sent = wallet.send(parsed, _terms(service, fee_rate), subtract_fee=subtract_fee, request_id=request_id)
    except WalletError as error:
        refuse_wallet(error)
    await _hand_over(service, sent)
    return sent


def _payment(services: Services, wallet: Wallet, address: str, amount: Dure) -> Payment:
    read_address(services.params, address)
    return wallet.parse_payment(address, amount.grain)


def _terms(service: WalletService, fee_rate: FeeRate | None) -> RelayTerms:
    return service.terms if fee_rate is None else service.terms._replace(fee_rate=int(fee_rate))


async def _hand_over(service: WalletService, sent: Sent) -> None:
    try:
        await service.hand_over(sent)
    except (ConsensusError, NotYet, PolicyError) as error:
        refuse(error)


@method(Area.WALLET, needs_wallet=True)
async def sendall(
    services: Services, recipients: Annotated[list[AddressText], Meta(min_length=1, max_length=1)]
) -> schema.SentAll:
    """Send everything that can be spent now to one address, the fee taken out of it.

    Args:
        recipients: an array with the address.
    """
    service = service_of(services)
    wallet = await service.current()
    try:
        sent = wallet.send_all(read_address(services.params, recipients[0]), service.terms)
    except WalletError as error:
        refuse_wallet(error)
    await _hand_over(service, sent)
    return schema.SentAll(txid=display_hash(sent.transaction.txid), complete=sent.left == 0)


@method(Area.WALLET, needs_wallet=True)
async def abandontransaction(services: Services, txid: HashHex) -> None:
    """Give up a payment that is in no block and not in the mempool; its coins are free again.

    Args:
        txid: its id.
    """
    wallet = await current_wallet(services)
    try:
        if TxId(txid) in services.mempool:
            raise UnknownTransactionError("Transaction not eligible for abandonment")
        wallet.abandon(TxId(txid))
    except WalletError as error:
        refuse_wallet(error)


METHODS = (sendtoaddress, sendmany, sendall, abandontransaction)
