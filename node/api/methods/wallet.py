"""The wallet: balances and history. Each call sees the chain up to its tip."""
# ruff: noqa: ARG001 (parameters that mean nothing here are taken for the sake of Bitcoin Core's clients)

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from typing import NoReturn, TypeVar

from msgspec import UNSET, UnsetType

from consensus.address import encode_address
from consensus.codec import display_hash
from consensus.slices import Slices
from consensus.types import TxId
from node.api import views
from node.api.long_answers import array
from node.api.method import Area, method
from node.api.parameters import Count, HashHex, Label
from node.api.services import Services
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
from wallet.results import Category, HistoryEntry, State
from wallet.wallet import Wallet

_T = TypeVar("_T")
LINES_AT_ONCE = 50
"""Lines of the history that are looked up in a slice: each is several records."""
FOR_EVER = 2**32 - 1
"""UNIX seconds: of a wallet that nothing will lock."""


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


async def ask_wallet(services: Services, work: Callable[[Wallet], _T]) -> _T:
    """Return `work(wallet)` once what it changed is durable, as `WalletService.ask` does.

    Raises:
        RpcError: the wallet refuses it.
    """
    try:
        return await service_of(services).ask(work)
    except WalletError as error:
        refuse_wallet(error)


def last_block(wallet: Wallet) -> schema.LastProcessedBlock:
    """Return up to which block a wallet has followed the chain."""
    return schema.LastProcessedBlock(hash=display_hash(wallet.cursor.hash), height=wallet.cursor.height)


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
            locked=Dure(balances.locked),
        ),
        watchonly=_at_policies(wallet),
        lastprocessedblock=last_block(wallet),
    )


def _at_policies(wallet: Wallet) -> schema.MineBalances | UnsetType:
    if not any(True for _ in wallet.policies):
        return UNSET
    held = wallet.policies.holdings()
    return schema.MineBalances(
        trusted=Dure(held.confirmed), untrusted_pending=Dure(held.pending), immature=Dure(held.immature)
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
        unlocked_until=_unlocked_until(services) if info.encrypted else UNSET,
        scanning=scanning if isinstance(scanning, schema.RescanProgress) else False,
        lastprocessedblock=last_block(wallet),
    )


def _unlocked_until(services: Services) -> int:
    left = service_of(services).keys.seconds_left
    # A wallet that was unlocked by its passphrase file stays so.
    return FOR_EVER if left is None else services.clock.time() + math.ceil(left) if left else 0


@method(Area.WALLET, needs_wallet=True, long=True)
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

    def find(wallet: Wallet) -> Slices[list[tuple[HistoryEntry, bool]]]:
        found: list[tuple[HistoryEntry, bool]] = []
        lines = wallet.whole_history(None if label == "*" else label)
        for place, entry in enumerate(islice(lines, skip + count)):
            if place % LINES_AT_ONCE == LINES_AT_ONCE - 1:
                yield
            if place >= skip:
                found.append((entry, _is_trusted(wallet, entry)))
        return found

    found = await service_of(services).read(find)
    return array(_entry(services, entry, trusted=trusted) for entry, trusted in reversed(found))


def _entry(services: Services, entry: HistoryEntry, *, trusted: bool) -> schema.WalletEntry:
    return schema.WalletEntry(
        address=encode_address(services.params, entry.lock),
        category=entry.category.value,
        amount=Dure(entry.amount),
        label=entry.label,
        vout=entry.index,
        fee=views.optional_amount(entry.fee),
        confirmations=entry.confirmations,
        generated=True if _is_generated(entry) else UNSET,
        trusted=trusted if entry.confirmations == 0 else UNSET,
        blockhash=UNSET if entry.block_hash is None else display_hash(entry.block_hash),
        blockheight=views.optional(entry.block_height),
        blocktime=views.optional(entry.block_time),
        txid=display_hash(entry.txid),
        walletconflicts=[display_hash(conflict) for conflict in entry.conflicts],
        replaced_by_txid=UNSET if entry.replaced_by is None else display_hash(entry.replaced_by),
        comment=entry.note.comment or UNSET,
        to=entry.note.to or UNSET,
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
        replaced_by_txid=UNSET if detail.replaced_by is None else display_hash(detail.replaced_by),
        replaces_txid=UNSET if detail.replaces is None else display_hash(detail.replaces),
        comment=detail.note.comment or UNSET,
        to=detail.note.to or UNSET,
        time=detail.time,
        timereceived=detail.time,
        state=detail.state.value,
        details=[_detail(services, entry) for entry in detail.entries],
        hex=tx.encoded.hex(),
        decoded=views.transaction(services.params, tx) if verbose else UNSET,
        lastprocessedblock=last_block(wallet),
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


METHODS = (
    getbalances,
    getbalance,
    getwalletinfo,
    listtransactions,
    gettransaction,
)
