"""The wallet: addresses, balances, payments, history. Each call sees the chain up to its tip."""
# ruff: noqa: ARG001 (parameters that mean nothing here are taken for the sake of Bitcoin Core's clients)

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NoReturn

from msgspec import UNSET, Meta

from consensus.address import encode_address
from consensus.codec import display_hash
from consensus.errors import ConsensusError, NotYet
from consensus.types import TxId
from node.api import views
from node.api.method import Area, method
from node.api.methods.transactions import read_address, refuse
from node.api.parameters import AddressText, Count, FeeRate, HashHex, Label
from node.api.services import Services
from node.relay_policy import PolicyError
from node.wallet_service import WalletService
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError
from wallet.errors import (
    FeeError,
    InsufficientFundsError,
    PaymentError,
    UnknownTransactionError,
    WalletError,
    WalletLockedError,
    WrongPassphraseError,
)
from wallet.results import Category, HistoryEntry, Payment, RelayTerms, Sent, State
from wallet.wallet import Wallet

MAX_RECIPIENTS = 1_000
"""Of one sendmany: what fits into a transaction that is relayed."""

RequestId = Annotated[str, Meta(min_length=1, max_length=64)]
Recipients = Annotated[dict[AddressText, Dure], Meta(min_length=1, max_length=MAX_RECIPIENTS)]
AddressList = Annotated[list[AddressText], Meta(max_length=MAX_RECIPIENTS)]


def service_of(services: Services) -> WalletService:
    """Return the node's wallet.

    Raises:
        RpcError: `WALLET_NOT_FOUND` if it has none.
    """
    if services.wallet is None:
        raise RpcError(ErrorCode.WALLET_NOT_FOUND, "This node runs without a wallet")
    return services.wallet


async def current_wallet(services: Services) -> Wallet:
    """Return the wallet, once it has seen the tip."""
    return await service_of(services).current()


def refuse_wallet(error: WalletError) -> NoReturn:
    """Turn what the wallet says into an answer.

    Raises:
        RpcError: always, with Bitcoin Core's code.
    """
    match error:
        case InsufficientFundsError():
            code = ErrorCode.INSUFFICIENT_FUNDS
        case WalletLockedError():
            code = ErrorCode.UNLOCK_NEEDED
        case WrongPassphraseError():
            code = ErrorCode.PASSPHRASE_INCORRECT
        case UnknownTransactionError():
            code = ErrorCode.INVALID_ADDRESS_OR_KEY
        case FeeError() | PaymentError():
            code = ErrorCode.INVALID_PARAMETER
        case _:
            code = ErrorCode.WALLET_ERROR
    raise RpcError(code, str(error)) from None


def _last_block(wallet: Wallet) -> schema.LastProcessedBlock:
    return schema.LastProcessedBlock(hash=display_hash(wallet.cursor.hash), height=wallet.cursor.height)


# Addresses


@method(Area.WALLET, needs_wallet=True)
async def getnewaddress(services: Services, label: Label = "", address_type: str | None = None) -> str:
    """Return an address that was never handed out before. No crash can lose what it is paid.

    Args:
        label: shown with what it is paid.
        address_type: not used: there is one type.
    """
    try:
        return service_of(services).wallet.new_address(label)
    except WalletError as error:
        refuse_wallet(error)


@method(Area.WALLET, needs_wallet=True)
async def getaddressinfo(services: Services, address: AddressText) -> schema.AddressInfo:
    """Tell whether an address is this wallet's.

    Args:
        address: of this network.
    """
    lock = read_address(services.params, address)
    return schema.AddressInfo(
        address=encode_address(services.params, lock),
        scriptPubKey=lock.hex(),
        ismine=service_of(services).wallet.is_mine(lock),
    )


# Balances and history


@method(Area.WALLET, needs_wallet=True)
async def getbalances(services: Services) -> schema.Balances:
    """Tell what the wallet owns."""
    wallet = await current_wallet(services)
    balances = wallet.balances()
    return schema.Balances(
        mine=schema.MineBalances(
            trusted=Dure(balances.trusted),
            untrusted_pending=Dure(balances.pending),
            immature=Dure(balances.immature),
        ),
        lastprocessedblock=_last_block(wallet),
    )


@method(Area.WALLET, needs_wallet=True)
async def getbalance(services: Services) -> Dure:
    """Return what the wallet can spend now."""
    return Dure((await current_wallet(services)).balances().trusted)


@method(Area.WALLET, needs_wallet=True)
async def getwalletinfo(services: Services) -> schema.WalletInfo:
    """Tell how the wallet stands."""
    wallet = await current_wallet(services)
    info = wallet.info()
    scanning: schema.RescanProgress | bool = False
    if info.rescan_target:
        scanning = schema.RescanProgress(progress=min(1.0, info.cursor.height / info.rescan_target))
    return schema.WalletInfo(
        walletname="",
        walletversion=1,
        format="lmdb",
        txcount=info.transactions,
        keypoolsize=info.addresses,
        coins=info.coins,
        private_keys_enabled=True,
        encrypted=info.encrypted,
        locked=info.locked,
        scanning=scanning if isinstance(scanning, schema.RescanProgress) else False,
        lastprocessedblock=_last_block(wallet),
    )


@method(Area.WALLET, needs_wallet=True)
async def listtransactions(
    services: Services,
    label: Label = "*",
    count: Count = 10,
    skip: Count = 0,
    include_watchonly: bool = False,
) -> list[schema.WalletEntry]:
    """Return the newest lines of the history, the oldest of them first.

    Args:
        label: only what was paid to addresses with this label; * for all.
        count: how many lines.
        skip: how many newer lines to leave out.
        include_watchonly: not used.
    """
    wallet = await current_wallet(services)
    entries = wallet.history(count, skip, None if label == "*" else label)
    return [_entry(services, wallet, entry) for entry in reversed(entries)]


def _entry(services: Services, wallet: Wallet, entry: HistoryEntry) -> schema.WalletEntry:
    return schema.WalletEntry(
        address=encode_address(services.params, entry.lock),
        category=entry.category.value,
        amount=Dure(entry.amount),
        label=entry.label,
        vout=entry.index,
        fee=views.optional_amount(entry.fee),
        confirmations=entry.confirmations,
        generated=True if _is_generated(entry) else UNSET,
        trusted=_is_trusted(wallet, entry) if entry.confirmations == 0 else UNSET,
        blockhash=UNSET if entry.block_hash is None else display_hash(entry.block_hash),
        blockheight=views.optional(entry.block_height),
        blocktime=views.optional(entry.block_time),
        txid=display_hash(entry.txid),
        time=entry.time,
        timereceived=entry.time,
        abandoned=entry.state is State.ABANDONED,
        state=entry.state.value,
    )


def _is_generated(entry: HistoryEntry) -> bool:
    return entry.category in {Category.GENERATE, Category.IMMATURE, Category.ORPHAN}


def _is_trusted(wallet: Wallet, entry: HistoryEntry) -> bool:
    """Whether its change can be spent already: it is ours, and nothing speaks against it."""
    return entry.state is State.PENDING and wallet.transaction(entry.txid).fee is not None


@method(Area.WALLET, needs_wallet=True)
async def gettransaction(
    services: Services,
    txid: HashHex,
    include_watchonly: bool = False,
    verbose: bool = False,
) -> schema.WalletTransaction:
    """Return all that the wallet knows of one of its transactions.

    Args:
        txid: its id.
        include_watchonly: not used.
        verbose: true for the whole transaction too, as `decoded`.
    """
    wallet = await current_wallet(services)
    try:
        detail = wallet.transaction(TxId(txid))
    except UnknownTransactionError:
        raise RpcError(ErrorCode.INVALID_ADDRESS_OR_KEY, "Invalid or non-wallet transaction id") from None
    tx = detail.transaction
    return schema.WalletTransaction(
        amount=Dure(detail.amount),
        fee=views.optional_amount(detail.fee),
        confirmations=detail.confirmations,
        generated=True if tx.is_coinbase else UNSET,
        trusted=UNSET if detail.confirmations else detail.state is State.PENDING and detail.fee is not None,
        blockhash=UNSET if detail.block_hash is None else display_hash(detail.block_hash),
        blockheight=views.optional(detail.block_height),
        blocktime=views.optional(detail.block_time),
        txid=display_hash(tx.txid),
        wtxid=display_hash(tx.wtxid),
        walletconflicts=[display_hash(conflict) for conflict in detail.conflicts],
        time=detail.time,
        timereceived=detail.time,
        state=detail.state.value,
        details=[_detail(services, entry) for entry in detail.entries],
        hex=tx.encoded.hex(),
        decoded=views.transaction(services.params, tx) if verbose else UNSET,
        lastprocessedblock=_last_block(wallet),
    )


def _detail(services: Services, entry: HistoryEntry) -> schema.WalletEntryDetail:
    return schema.WalletEntryDetail(
        address=encode_address(services.params, entry.lock),
        category=entry.category.value,
        amount=Dure(entry.amount),
        label=entry.label,
        vout=entry.index,
        fee=views.optional_amount(entry.fee),
        abandoned=entry.state is State.ABANDONED,
    )


# Payments


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


METHODS = (
    getnewaddress,
    getaddressinfo,
    getbalances,
    getbalance,
    getwalletinfo,
    listtransactions,
    gettransaction,
    sendtoaddress,
    sendmany,
    sendall,
    abandontransaction,
)

__all__ = ["METHODS", "current_wallet", "refuse_wallet", "service_of"]
