"""Payments from the wallet: each is on disk and on its way to peers when the call returns."""
# ruff: noqa: ARG001 (parameters that mean nothing here are taken for the sake of Bitcoin Core's clients)

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from consensus.codec import display_hash
from consensus.errors import ConsensusError, NotYet
from consensus.types import TxId
from node.api.method import Area, method
from node.api.methods.transactions import read_address, refuse
from node.api.methods.wallet import ask_wallet, current_wallet, refuse_wallet, service_of
from node.api.parameters import AddressText, ConfTarget, EstimateMode, FeeRate, HashHex
from node.api.services import Services
from node.relay_policy import PolicyError
from node.wallet_service import CONFIRM_TARGET, WalletService
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError
from wallet.errors import UnknownTransactionError, WalletError
from wallet.results import Note, Payment, RelayTerms, Sent
from wallet.wallet import Wallet

MAX_RECIPIENTS = 1_000
"""Of one sendmany: what fits into a transaction that is relayed."""

Comment = Annotated[str, Meta(max_length=1_000)]
RequestId = Annotated[str, Meta(min_length=1, max_length=64)]
Recipients = Annotated[dict[AddressText, Dure], Meta(min_length=1, max_length=MAX_RECIPIENTS)]
AddressList = Annotated[list[AddressText], Meta(max_length=MAX_RECIPIENTS)]


@method(Area.WALLET, needs_wallet=True)
async def sendtoaddress(
    services: Services,
    address: AddressText,
    amount: Dure,
    comment: Comment = "",
    comment_to: Comment = "",
    subtractfeefromamount: bool = False,
    replaceable: bool | None = None,
    conf_target: ConfTarget | None = None,
    estimate_mode: EstimateMode | None = None,
    avoid_reuse: bool | None = None,
    fee_rate: FeeRate | None = None,
    verbose: bool = False,
    request_id: RequestId | None = None,
    force: bool = False,
) -> str | schema.SentPayment:
    """Pay somebody; the payment is on disk and on its way to peers when the call returns. Returns its txid.

    Args:
        address: whom.
        amount: DURE, such as 12.5.
        comment: what for; kept in the wallet, no part of the transaction.
        comment_to: who or what is paid; kept likewise.
        subtractfeefromamount: whether the receiver bears the fee.
        replaceable: not used: what waits for a block can be replaced, by bumpfee.
        conf_target: within how many blocks it should be in one; 6 unless you say. See estimatesmartfee.
        estimate_mode: as in estimatesmartfee.
        avoid_reuse: not used.
        fee_rate: grain per byte, in place of an estimate.
        verbose: true for an object with the fee.
        request_id: any text of the caller's. A call that repeats it, after a time-out say, pays only once.
        force: true if a fee beyond the wallet's caps is meant: above 0.1 DURE or 10 %, or below what is relayed.
    """
    bearers = [0] if subtractfeefromamount else []
    terms = read_terms(service_of(services), fee_rate, conf_target, estimate_mode)
    note = Note(comment, comment_to)
    sent = await _pay(
        services, [(address, amount)], terms, bearers=bearers, request_id=request_id, force=force, note=note
    )
    return _sent(sent, fee_rate, verbose=verbose)


@method(Area.WALLET, needs_wallet=True)
async def sendmany(
    services: Services,
    dummy: str,
    amounts: Recipients,
    minconf: int | None = None,
    comment: Comment = "",
    subtractfeefrom: AddressList | None = None,
    replaceable: bool | None = None,
    conf_target: ConfTarget | None = None,
    estimate_mode: EstimateMode | None = None,
    fee_rate: FeeRate | None = None,
    verbose: bool = False,
    request_id: RequestId | None = None,
    force: bool = False,
) -> str | schema.SentPayment:
    """Pay several in one transaction; as sendtoaddress.

    Args:
        dummy: must be "".
        amounts: an object of address and DURE.
        minconf: not used.
        comment: as in sendtoaddress.
        subtractfeefrom: the addresses of `amounts` that bear the fee, in equal parts; without any it is ours to bear.
        replaceable: not used: what waits for a block can be replaced, by bumpfee.
        conf_target: as in sendtoaddress.
        estimate_mode: as in sendtoaddress.
        fee_rate: as in sendtoaddress.
        verbose: true for an object with the fee.
        request_id: as in sendtoaddress.
        force: as in sendtoaddress.
    """
    if dummy:
        raise RpcError(ErrorCode.INVALID_PARAMETER, 'Dummy value must be set to ""')
    bearers = _bearers(services, list(amounts), subtractfeefrom or [])
    payments = list(amounts.items())
    terms = read_terms(service_of(services), fee_rate, conf_target, estimate_mode)
    note = Note(comment)
    sent = await _pay(services, payments, terms, bearers=bearers, request_id=request_id, force=force, note=note)
    return _sent(sent, fee_rate, verbose=verbose)


def _bearers(services: Services, addresses: Sequence[str], named: Sequence[str]) -> list[int]:
    """Return the places of addresses among all; one may be written in capitals here and in small letters there."""
    places = {read_address(services.params, address): place for place, address in enumerate(addresses)}
    if len(places) < len(addresses):
        raise RpcError(ErrorCode.INVALID_PARAMETER, "Invalid parameter, duplicated address")
    found = [places.get(read_address(services.params, address)) for address in named]
    if None in found:
        raise RpcError(ErrorCode.INVALID_PARAMETER, "Invalid parameter: subtractfeefrom names an address not paid")
    return [place for place in found if place is not None]


def _sent(sent: Sent, fee_rate: FeeRate | None, *, verbose: bool) -> str | schema.SentPayment:
    txid = display_hash(sent.transaction.txid)
    reason = "Estimated" if fee_rate is None else "As asked for"
    return schema.SentPayment(txid=txid, fee=Dure(sent.fee), fee_reason=reason) if verbose else txid


async def _pay(
    services: Services,
    payments: Sequence[tuple[str, Dure]],
    terms: RelayTerms,
    *,
    bearers: Sequence[int],
    request_id: str | None,
    force: bool,
    note: Note,
) -> Sent:
    service = service_of(services)
    wallet = await service.current()
    try:
        parsed = [read_payment(services, wallet, address, amount) for address, amount in payments]
        sent = await service.ask(
            lambda wallet: wallet.send(parsed, terms, bearers=bearers, request_id=request_id, force=force, note=note)
        )
    except WalletError as error:
        refuse_wallet(error)
    await hand_over(service, sent)
    return sent


def read_payment(services: Services, wallet: Wallet, address: str, amount: Dure) -> Payment:
    """Return a payment to an address, in grain.

    Raises:
        RpcError: the address is none of this network.
        WalletError: the amount cannot be paid.
    """
    read_address(services.params, address)
    return wallet.parse_payment(address, amount.grain)


def read_terms(
    service: WalletService, fee_rate: FeeRate | None, target: int | None, mode: EstimateMode | None
) -> RelayTerms:
    """Return what a payment offers: what its caller says, or what the node estimates.

    Raises:
        RpcError: it says two things.
    """
    if fee_rate is not None and (target is not None or mode not in {None, "unset", "UNSET"}):
        raise RpcError(ErrorCode.INVALID_PARAMETER, "Cannot specify both conf_target or estimate_mode and fee_rate")
    conservative = (mode or "").lower() == "conservative"
    terms = service.terms_within(CONFIRM_TARGET if target is None else target, conservative=conservative)
    return terms if fee_rate is None else terms._replace(fee_rate=int(fee_rate))


async def hand_over(service: WalletService, sent: Sent) -> None:
    """Give a payment to mempool and peers.

    Raises:
        RpcError: the node refuses it; its coins are free again.
    """
    try:
        await service.hand_over(sent)
    except (ConsensusError, NotYet, PolicyError) as error:
        refuse(error)


@method(Area.WALLET, needs_wallet=True)
async def sendall(
    services: Services,
    recipients: Annotated[list[AddressText], Meta(min_length=1, max_length=1)],
    conf_target: ConfTarget | None = None,
    estimate_mode: EstimateMode | None = None,
    fee_rate: FeeRate | None = None,
    request_id: RequestId | None = None,
    force: bool = False,
) -> schema.SentAll:
    """Send everything that can be spent now to one address, the fee taken out of it.

    Args:
        recipients: an array with the address.
        conf_target: as in sendtoaddress.
        estimate_mode: as in sendtoaddress.
        fee_rate: as in sendtoaddress.
        request_id: as in sendtoaddress.
        force: as in sendtoaddress.
    """
    service = service_of(services)
    await service.current()
    lock = read_address(services.params, recipients[0])
    terms = read_terms(service, fee_rate, conf_target, estimate_mode)
    sent = await ask_wallet(services, lambda wallet: wallet.send_all(lock, terms, request_id=request_id, force=force))
    await hand_over(service, sent)
    return schema.SentAll(txid=display_hash(sent.transaction.txid), complete=sent.left == 0)


@method(Area.WALLET, needs_wallet=True)
async def abandontransaction(services: Services, txid: HashHex) -> None:
    """Give up a payment that is in no block and not in the mempool; its coins are free again.

    Args:
        txid: its id.
    """
    await current_wallet(services)
    try:
        if TxId(txid) in services.mempool:
            raise UnknownTransactionError("Transaction not eligible for abandonment: it is in the mempool")
        await service_of(services).ask(lambda wallet: wallet.abandon(TxId(txid)))
    except WalletError as error:
        refuse_wallet(error)


class BumpOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to raise a fee."""

    conf_target: ConfTarget | None = None
    estimate_mode: EstimateMode | None = None
    fee_rate: FeeRate | None = None
    original_change_index: Annotated[int, Meta(ge=0)] | None = None
    force: bool = False


@method(Area.WALLET, needs_wallet=True)
async def bumpfee(services: Services, txid: HashHex, options: BumpOptions | None = None) -> schema.BumpedFee:
    """Replace a payment that waits for a block with one that pays a higher fee; only one of the two can be mined.

    It pays the same receivers. Its change bears the higher fee, or coins are added.

    Args:
        txid: the id of the payment.
        options: an object with fee_rate, conf_target, estimate_mode and force (see sendtoaddress; by default the fee
            rate is what is estimated now, and more than it paid), and original_change_index (the output that bears the
            fee in place of the change).
    """
    service = service_of(services)
    await service.current()
    how, original = options or BumpOptions(), TxId(txid)
    entry = services.mempool.entry(original)
    if entry is not None and entry.descendant_count > 1:
        raise RpcError(ErrorCode.INVALID_PARAMETER, "Transaction has descendants in the mempool")
    terms = read_terms(service, how.fee_rate, how.conf_target, how.estimate_mode)
    rate = None if how.fee_rate is None else int(how.fee_rate)
    try:
        before = service.wallet.transaction(original).fee
        sent = await service.ask(
            lambda wallet: wallet.bump(
                original, terms, fee_rate=rate, change_index=how.original_change_index, force=how.force
            )
        )
    except WalletError as error:
        refuse_wallet(error)
    await hand_over(service, sent)
    return schema.BumpedFee(
        txid=display_hash(sent.transaction.txid), origfee=Dure(-(before or 0)), fee=Dure(sent.fee), errors=[]
    )


METHODS = (sendtoaddress, sendmany, sendall, bumpfee, abandontransaction)
