"""The wallet's assets: what it holds, what happened, and what it issues, pays, attests and burns.

Amounts are whole numbers of an asset's smallest unit. Fees are DURE.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta

from consensus.address import encode_address
from consensus.asset_text import Metadata, encode_metadata
from consensus.assets import assets_of_issuances, authority_id, defined_by
from consensus.codec import display_hash
from consensus.slices import Slices
from consensus.types import (
    MAX_DECIMALS,
    MAX_INTEGER,
    Amount,
    Asset,
    AssetId,
    Attestation,
    Burn,
    Definition,
    LockId,
    NewAsset,
    Reissue,
    SupplyKind,
    Transaction,
    TxId,
)
from node.api import views
from node.api.long_answers import array
from node.api.method import Area, method
from node.api.methods.asset_waiting import missing_approvers
from node.api.methods.assets import KINDS, asset_text, find_asset
from node.api.methods.payments import MAX_RECIPIENTS, Comment, RequestId, hand_over, read_terms
from node.api.methods.psbt import psbt_text
from node.api.methods.transactions import read_address
from node.api.methods.wallet import ask_wallet, current_wallet, last_block, service_of
from node.api.parameters import AddressText, Count, FeeRate, HashHex, LockHex, Units, optional_asset
from node.api.services import Services
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError
from wallet.assets.making import AssetPayment, AssetWish
from wallet.results import AssetBalance, AssetEntry, Note, Sent
from wallet.waiting import WaitingTransfer
from wallet.wallet import Wallet

AnyUnits = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Text = Annotated[str, Meta(min_length=1, max_length=512)]


class AssetPayments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody to be paid in an asset, as JSON names it."""

    address: AddressText
    asset: LockHex
    amount: Units


# Reading


@method(Area.ASSETS, needs_wallet=True)
async def getassetbalances(services: Services, show_all: bool = False) -> schema.AssetBalances:
    """Tell what the wallet owns of each asset, apart from its DURE.

    Args:
        show_all: also what strangers paid unasked. Without it only assets that the wallet issued or sent, or was told
            to show.
    """
    wallet = await current_wallet(services)
    held = wallet.assets.balances()
    listed = [balance for balance in held if balance.shown or show_all]
    records = services.chain.get_assets([balance.asset for balance in listed])
    return schema.AssetBalances(
        assets=[_balance(wallet, records, balance) for balance in listed],
        hidden=len(held) - len(listed),
        lastprocessedblock=last_block(wallet),
    )


def _balance(wallet: Wallet, records: Mapping[AssetId, Asset], balance: AssetBalance) -> schema.AssetBalance:
    definition = _definition(wallet, records, balance.asset)
    return schema.AssetBalance(
        asset=balance.asset.hex(),
        metadata=None if definition is None else asset_text(definition.metadata),
        decimals=None if definition is None else definition.decimals,
        trusted=balance.sums.trusted,
        untrusted_pending=balance.sums.pending,
        waiting=balance.sums.waiting,
        authority=balance.authority,
        shown=balance.shown,
    )


def _definition(wallet: Wallet, records: Mapping[AssetId, Asset], asset: AssetId) -> Definition | None:
    return records[asset].definition if asset in records else wallet.assets.definition(asset)


@method(Area.ASSETS, needs_wallet=True, long=True)
async def listassettransactions(
    services: Services,
    count: Count = 10,
    skip: Count = 0,
    asset: LockHex | None = None,
    txid: HashHex | None = None,
) -> list[schema.AssetEntry]:
    """Return the newest lines of the history of assets, the oldest of them first.

    Args:
        count: how many lines.
        skip: how many newer lines to leave out.
        asset: only this one, even if it is hidden; without it all that are shown.
        txid: all that this transaction did, also to what is hidden, and nothing else.
    """

    def find(wallet: Wallet) -> Slices[tuple[list[AssetEntry], dict[AssetId, Definition | None]]]:
        if txid is None:
            lines = yield from wallet.assets.history_in_slices(count, skip, optional_asset(asset))
        else:
            lines = wallet.assets.lines_of(TxId(bytes(txid)))
        names = dict.fromkeys(line.asset for line in lines)
        records = services.chain.get_assets(names)
        return lines, {name: _definition(wallet, records, name) for name in names}

    lines, definitions = await service_of(services).read(find)
    return array(_entry(services, line, definitions[line.asset]) for line in reversed(lines))


def _entry(services: Services, line: AssetEntry, definition: Definition | None) -> schema.AssetEntry:
    return schema.AssetEntry(
        category=line.movement.value,
        asset=line.asset.hex(),
        metadata=None if definition is None else asset_text(definition.metadata),
        decimals=None if definition is None else definition.decimals,
        amount=line.amount,
        addresses=[encode_address(services.params, lock) for lock in line.others],
        txid=display_hash(line.txid),
        state=line.state.value,
        confirmations=line.confirmations,
        blockheight=views.optional(line.block_height),
        time=line.time,
        comment=line.note.comment or UNSET,
    )


@method(Area.ASSETS, needs_wallet=True)
async def showasset(services: Services, asset: LockHex, shown: bool = True) -> None:
    """Let the wallet show an asset from now on, or hide it. What it issues or sends it shows unasked.

    Args:
        asset: its id.
        shown: false to hide it.
    """
    await current_wallet(services)
    name = AssetId(bytes(asset))
    find_asset(services, name)
    await service_of(services).ask(lambda wallet: wallet.assets.show(name, shown=shown))


# Making


@method(Area.ASSETS, needs_wallet=True)
async def issueasset(
    services: Services,
    kind: Literal["fixed", "reissuable", "reserved"],
    amount: AnyUnits = 0,
    decimals: Annotated[int, Meta(ge=0, le=MAX_DECIMALS)] = 0,
    name: Text | None = None,
    ticker: Text | None = None,
    uri: Text | None = None,
    media_type: Text | None = None,
    controller: AddressText | None = None,
    auditor: AddressText | None = None,
    content: LockHex | None = None,
    collection: LockHex | None = None,
    comment: Comment = "",
    fee_rate: FeeRate | None = None,
    request_id: RequestId | None = None,
    force: bool = False,
) -> schema.SentAsset:
    """Issue a new asset to this wallet: its first amount and, unless it is fixed, the authority to issue more.

    Args:
        kind: fixed; reissuable by the holder of the authority; or reserved: likewise, up to what the auditor attests.
        amount: how much comes into being with it: 0 of a reserved asset.
        decimals: digits after the point, where people write amounts.
        name: what to call it. Nobody checks it.
        ticker: likewise, short.
        uri: where to read more.
        media_type: of the file that it stands for.
        controller: the address of the policy that approves whatever is done with it, for ever; a key of this wallet.
        auditor: the address of the policy that attests the reserve, for ever; exactly of a reserved asset.
        content: the SHA-256 of the file that it stands for.
        collection: an asset to whose collection it is to belong; takes the authority over that one.
        comment: what for; kept in the wallet.
        fee_rate: as in sendtoaddress.
        request_id: as in sendtoaddress.
        force: as in sendtoaddress.
    """
    try:
        metadata = encode_metadata(Metadata(name, ticker, uri, media_type))
    except ValueError as error:
        raise RpcError(ErrorCode.INVALID_PARAMETER, f"Invalid parameter: {error}") from None
    definition = Definition(
        next(each for each, word in KINDS.items() if word == kind),
        Amount(amount),
        decimals,
        _policy(services, auditor),
        _policy(services, controller),
        None if content is None else bytes(content),
        optional_asset(collection),
        metadata,
    )
    _check_definition(definition)
    wish = AssetWish(issuances=(NewAsset(definition),))
    sent = await _make(services, wish, comment, fee_rate, request_id, force=force)
    (asset,) = defined_by(made_of(sent))
    return _sent(services, sent, asset)


def _policy(services: Services, address: str | None) -> LockId | None:
    return None if address is None else read_address(services.params, address)


def _check_definition(definition: Definition) -> None:
    """Say in words what the rules would say by name."""
    kind = definition.supply_kind
    if kind == SupplyKind.FIXED and not definition.first_amount:
        raise RpcError(ErrorCode.INVALID_PARAMETER, "Of a fixed asset the amount is 1 or more: there is never more")
    if kind == SupplyKind.RESERVED and definition.first_amount:
        raise RpcError(ErrorCode.INVALID_PARAMETER, "Of a reserved asset the amount is 0 until a reserve is attested")
    if (kind == SupplyKind.RESERVED) != (definition.auditor is not None):
        raise RpcError(ErrorCode.INVALID_PARAMETER, "An auditor is given for a reserved asset, and for no other")


@method(Area.ASSETS, needs_wallet=True)
async def sendassets(
    services: Services,
    payments: Annotated[list[AssetPayments], Meta(min_length=1, max_length=MAX_RECIPIENTS)],
    comment: Comment = "",
    fee_rate: FeeRate | None = None,
    request_id: RequestId | None = None,
    force: bool = False,
) -> schema.SentAsset:
    """Pay in assets, several at once if need be. What is left of each comes back; the fee is paid in DURE.

    Args:
        payments: an array of objects with address, asset and amount.
        comment: what for; kept in the wallet.
        fee_rate: as in sendtoaddress.
        request_id: as in sendtoaddress.
        force: as in sendtoaddress.
    """
    wish = AssetWish(
        payments=tuple(
            AssetPayment(read_address(services.params, each.address), AssetId(bytes(each.asset)), Amount(each.amount))
            for each in payments
        )
    )
    return _sent(services, await _make(services, wish, comment, fee_rate, request_id, force=force))


@method(Area.ASSETS, needs_wallet=True)
async def reissueasset(
    services: Services,
    asset: LockHex,
    amount: Units,
    comment: Comment = "",
    fee_rate: FeeRate | None = None,
    request_id: RequestId | None = None,
    force: bool = False,
) -> schema.SentAsset:
    """Issue more of an asset to this wallet, which holds the authority over it.

    Args:
        asset: its id.
        amount: how much more; of a reserved asset no more than the attested reserve leaves.
        comment: what for; kept in the wallet.
        fee_rate: as in sendtoaddress.
        request_id: as in sendtoaddress.
        force: as in sendtoaddress.
    """
    name = AssetId(bytes(asset))
    wish = AssetWish(issuances=(Reissue(name, Amount(amount)),))
    return _sent(services, await _make(services, wish, comment, fee_rate, request_id, force=force))


@method(Area.ASSETS, needs_wallet=True)
async def attestasset(
    services: Services,
    asset: LockHex,
    total: AnyUnits,
    comment: Comment = "",
    fee_rate: FeeRate | None = None,
    request_id: RequestId | None = None,
    force: bool = False,
) -> schema.SentAsset:
    """Attest the reserve of an asset, as its auditor: up to so much there may be of it from then on.

    Args:
        asset: its id.
        total: the whole reserve. Less than there is of the asset takes nothing away, and stops issuing.
        comment: what for; kept in the wallet.
        fee_rate: as in sendtoaddress.
        request_id: as in sendtoaddress.
        force: as in sendtoaddress.
    """
    name = AssetId(bytes(asset))
    record = services.chain.get_assets([name]).get(name)
    sequence = 1 if record is None else record.sequence + 1
    wish = AssetWish(issuances=(Attestation(name, sequence, Amount(total)),))
    return _sent(services, await _make(services, wish, comment, fee_rate, request_id, force=force))


@method(Area.ASSETS, needs_wallet=True)
async def closeasset(
    services: Services,
    asset: LockHex,
    comment: Comment = "",
    fee_rate: FeeRate | None = None,
    request_id: RequestId | None = None,
    force: bool = False,
) -> schema.SentAsset:
    """Burn the authority over an asset: nobody can ever issue more of it. This cannot be undone.

    Args:
        asset: its id.
        comment: what for; kept in the wallet.
        fee_rate: as in sendtoaddress.
        request_id: as in sendtoaddress.
        force: as in sendtoaddress.
    """
    wish = AssetWish(burns=(Burn(authority_id(AssetId(bytes(asset))), Amount(1)),))
    return _sent(services, await _make(services, wish, comment, fee_rate, request_id, force=force))


@method(Area.ASSETS, needs_wallet=True)
async def sendauthority(
    services: Services,
    asset: LockHex,
    address: AddressText,
    comment: Comment = "",
    fee_rate: FeeRate | None = None,
    request_id: RequestId | None = None,
    force: bool = False,
) -> schema.SentAsset:
    """Give the authority over an asset away: only whoever gets it can issue more from then on.

    Its id is in the transaction's memo, so that the other wallet knows what it was given.

    Args:
        asset: its id.
        address: whose it is to be.
        comment: what for; kept in the wallet.
        fee_rate: as in sendtoaddress.
        request_id: as in sendtoaddress.
        force: as in sendtoaddress.
    """
    name = AssetId(bytes(asset))
    find_asset(services, name)
    lock = read_address(services.params, address)
    wish = AssetWish(payments=(AssetPayment(lock, authority_id(name), Amount(1)),), memo=bytes(name))
    return _sent(services, await _make(services, wish, comment, fee_rate, request_id, force=force))


@method(Area.ASSETS, needs_wallet=True)
async def burnasset(
    services: Services,
    asset: LockHex,
    amount: Units,
    comment: Comment = "",
    fee_rate: FeeRate | None = None,
    request_id: RequestId | None = None,
    force: bool = False,
) -> schema.SentAsset:
    """Destroy some of the wallet's holding of an asset. This cannot be undone.

    Args:
        asset: its id.
        amount: how much.
        comment: what for; kept in the wallet.
        fee_rate: as in sendtoaddress.
        request_id: as in sendtoaddress.
        force: as in sendtoaddress.
    """
    wish = AssetWish(burns=(Burn(AssetId(bytes(asset)), Amount(amount)),))
    return _sent(services, await _make(services, wish, comment, fee_rate, request_id, force=force))


async def _make(
    services: Services, wish: AssetWish, comment: str, fee_rate: FeeRate | None, request_id: str | None, *, force: bool
) -> Sent | WaitingTransfer:
    service = service_of(services)
    await service.current()
    terms = read_terms(service, fee_rate, None, None)
    records = services.chain.get_assets(dict.fromkeys(_named(wish)))
    sent = await ask_wallet(
        services,
        lambda wallet: wallet.assets.make(wish, records, terms, force=force, request_id=request_id, note=Note(comment)),
    )
    if isinstance(sent, Sent):
        await hand_over(service, sent)
    return sent


def made_of(made: Sent | WaitingTransfer) -> Transaction:
    """Return the transaction that was made, without witnesses where it waits for some."""
    return made.transaction if isinstance(made, Sent) else Transaction(made.psdt.core, ())


def _named(wish: AssetWish) -> Iterable[AssetId]:
    yield from (payment.asset for payment in wish.payments)
    if wish.memo:
        # The asset whose authority is paid out.
        yield AssetId(wish.memo)
    yield from (burn.id for burn in wish.burns)
    yield from assets_of_issuances(wish.issuances)


def _sent(services: Services, made: Sent | WaitingTransfer, asset: AssetId | None = None) -> schema.SentAsset:
    waits = None if isinstance(made, Sent) else made
    return schema.SentAsset(
        txid=display_hash(made_of(made).txid),
        fee=Dure(made.fee if isinstance(made, Sent) else made.psdt.fee),
        asset=UNSET if asset is None else asset.hex(),
        psbt=UNSET if waits is None else psbt_text(waits.psdt),
        approvers=UNSET if waits is None else missing_approvers(services, waits.psdt),
    )


METHODS = (
    getassetbalances,
    listassettransactions,
    showasset,
    issueasset,
    sendassets,
    reissueasset,
    attestasset,
    closeasset,
    sendauthority,
    burnasset,
)
