"""Swaps in one transaction: offered by one wallet, accepted by another, signed by both (docs/swap.md)."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, NamedTuple

from msgspec import UNSET, Meta

from consensus.codec import display_hash
from consensus.types import Amount, Asset, AssetId, Coin, OutPoint
from node.api.method import Area, method
from node.api.methods.payments import hand_over, read_terms
from node.api.methods.wallet import ask_wallet, current_wallet, service_of
from node.api.parameters import FeeRate, LockHex, Units, optional_asset, read_base64
from node.api.policy_views import context_of
from node.api.psbt_views import asset_records, unapproved
from node.api.services import Services
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError
from wallet.errors import WalletError
from wallet.psdt import Psdt
from wallet.results import Sent
from wallet.swaps.exchange import check_coins, check_spent
from wallet.swaps.frame import MAX_SWAP_SIZE, FileKind, file_kind
from wallet.swaps.offers import (
    Acceptance,
    Offer,
    Worth,
    read_acceptance,
    read_offer,
    write_acceptance,
    write_offer,
)
from wallet.wallet import Wallet

OfferText = Annotated[str, Meta(max_length=4 * -(-MAX_SWAP_SIZE // 3))]


class _File(NamedTuple):
    """An offer, and what became of it."""

    offer: Offer
    acceptance: Acceptance | None

    @property
    def psdt(self) -> Psdt | None:
        return None if self.acceptance is None else self.acceptance.psdt

    @property
    def outpoints(self) -> tuple[OutPoint, ...]:
        """All coins that it takes."""
        return self.offer.outpoints if self.psdt is None else self.psdt.core.inputs


@method(Area.SWAPS, needs_wallet=True)
async def offerswap(
    services: Services,
    amount: Units,
    wanted_amount: Units,
    asset: LockHex | None = None,
    wanted_asset: LockHex | None = None,
) -> str:
    """Offer something of this wallet for something else, in one transaction. Returns the file as base64.

    The coins that are given are set aside until the swap is in a block, or canceloffer. Nothing that spends them is
    signed yet. Whoever accepts pays the fee.

    Args:
        amount: what is given, in smallest units of the asset, or in grain.
        wanted_amount: what is wanted for it, likewise.
        asset: what is given; null for DURE.
        wanted_asset: what is wanted; null for DURE.
    """
    service = service_of(services)
    await service.current()
    terms = read_terms(service, None, None, None)
    gives = Worth(optional_asset(asset), Amount(amount))
    wants = Worth(optional_asset(wanted_asset), Amount(wanted_amount))
    records = _records(services, gives, wants)
    offer = await ask_wallet(services, lambda wallet: wallet.offers.offer(gives, wants, records, terms))
    return b64encode(write_offer(offer)).decode("ascii")


@method(Area.SWAPS, reads=True)
async def decodeoffer(services: Services, offer: OfferText) -> schema.SwapOffer:
    """Tell what an offer gives and wants, and how far it has come. A file that was changed is refused.

    Args:
        offer: base64; offered or accepted.
    """
    file = _read(services, offer)
    wallet = None if services.wallet is None else await current_wallet(services)
    return _view(services, wallet, file)


@method(Area.SWAPS, needs_wallet=True)
async def acceptoffer(services: Services, offer: OfferText, fee_rate: FeeRate | None = None) -> str:
    """Add this wallet's half to an offer: the coins that it gives, and where it gets what it gets. Returns the file.

    Nothing is signed and nothing set aside yet. See with decodeoffer what it takes and brings, then signoffer.

    Args:
        offer: base64.
        fee_rate: grain per byte, in place of an estimate.
    """
    service = service_of(services)
    await service.current()
    file = _read(services, offer)
    if file.acceptance is not None:
        raise RpcError(ErrorCode.INVALID_PARAMETER, "swap-not-accepted: the offer has been accepted already")
    terms = read_terms(service, fee_rate, None, None)
    records, coins = _records(services, file.offer.gives, file.offer.wants), _coins(services, file)
    acceptance = await ask_wallet(services, lambda wallet: wallet.offers.accept(file.offer, coins, records, terms))
    return b64encode(write_acceptance(acceptance)).decode("ascii")


@method(Area.SWAPS, needs_wallet=True)
async def signoffer(services: Services, offer: OfferText) -> schema.SignedOffer:
    """Sign this wallet's part of an accepted offer: whoever accepted it signs first, whoever offered it last.

    It is held to the unit against what was offered, and against the chain. The acceptor's coins are set aside from then
    on, until canceloffer. The controller of an asset approves in between. With the last signature the swap is sent.

    Args:
        offer: base64.
    """
    service = service_of(services)
    await service.current()
    file = _read(services, offer)
    acceptance = file.acceptance
    if acceptance is None:
        raise RpcError(ErrorCode.INVALID_PARAMETER, "swap-not-accepted: nobody has accepted the offer yet")
    records, coins = asset_records(services, acceptance.psdt), _coins(services, file)
    signed = await ask_wallet(
        services, lambda wallet: wallet.offers.sign(acceptance, coins, records, context_of(services))
    )
    tx, psdt = signed.transaction, signed.acceptance.psdt
    if tx is not None:
        new = await service.ask(lambda wallet: wallet.policies.record(tx))
        await hand_over(service, Sent(tx, Amount(psdt.fee), Amount(0), 0, again=not new))
    return schema.SignedOffer(
        offer=b64encode(write_acceptance(signed.acceptance)).decode("ascii"),
        complete=tx is not None,
        txid=UNSET if tx is None else display_hash(tx.txid),
    )


@method(Area.SWAPS, needs_wallet=True)
async def canceloffer(services: Services, offer: OfferText, fee_rate: FeeRate | None = None) -> schema.WithdrawnOffer:
    """Withdraw from an offer that was not sent, and free what was set aside for it.

    For whoever offered it that is all. Whoever accepted it has signed: a coin of his half is spent, to himself.

    Args:
        offer: base64, the newest that this side has.
        fee_rate: grain per byte of that payment, in place of an estimate.
    """
    service = service_of(services)
    await service.current()
    file = _read(services, offer)
    terms = read_terms(service, fee_rate, None, None)
    records = _records(services, file.offer.gives, file.offer.wants)
    sent = await ask_wallet(services, lambda wallet: wallet.offers.withdraw(file.offer, file.psdt, records, terms))
    if sent is None:
        return schema.WithdrawnOffer()
    await hand_over(service, sent)
    return schema.WithdrawnOffer(txid=display_hash(sent.transaction.txid), fee=Dure(sent.fee))


# What they share


def _read(services: Services, text: str) -> _File:
    raw = read_base64(text, "Swap decode failed: this is not base64")
    try:
        if file_kind(raw) is FileKind.ACCEPTANCE:
            acceptance = read_acceptance(services.params, raw)
            return _File(acceptance.offer, acceptance)
        return _File(read_offer(services.params, raw), None)
    except WalletError as error:
        raise RpcError(ErrorCode.DESERIALIZATION_ERROR, str(error)) from None


def _records(services: Services, *worths: Worth) -> dict[AssetId, Asset]:
    return dict(services.chain.get_assets([worth.asset for worth in worths if worth.asset is not None]))


def _coins(services: Services, file: _File) -> dict[OutPoint, Coin]:
    return dict(services.chain.get_coins(list(file.outpoints)))


def _view(services: Services, wallet: Wallet | None, file: _File) -> schema.SwapOffer:
    problem, psdt = None, file.psdt
    try:
        if psdt is None:
            check_coins(file.offer, _coins(services, file))
        else:
            if wallet is not None:
                wallet.offers.check_waits(psdt)
            check_spent(psdt, _coins(services, file))
    except WalletError as error:
        problem = str(error)
    stakes = {} if wallet is None or file.acceptance is None else wallet.offers.stakes(file.acceptance)
    return schema.SwapOffer(
        gives=_worth(file.offer.gives),
        wants=_worth(file.offer.wants),
        coins=[schema.CoinName(txid=display_hash(each.txid), vout=each.index) for each in file.offer.outpoints],
        ismine=wallet is not None and wallet.offers.is_offerer(file.offer),
        accepted=psdt is not None,
        signed=psdt is not None and any(part.signatures for part in psdt.parts),
        fee=UNSET if psdt is None else Dure(psdt.fee),
        txid=UNSET if psdt is None else display_hash(psdt.txid),
        stakes=[
            schema.SwapStake(asset=None if asset is None else asset.hex(), gives=stake.gives, gets=stake.gets)
            for asset, stake in stakes.items()
        ],
        approvals=[] if psdt is None else _assets_to_approve(services, psdt),
        problem=UNSET if problem is None else problem,
    )


def _assets_to_approve(services: Services, psdt: Psdt) -> list[str]:
    return list(dict.fromkeys(part.asset.hex() for part in unapproved(services, psdt) if part.asset is not None))


def _worth(worth: Worth) -> schema.SwapWorth:
    return schema.SwapWorth(asset=None if worth.asset is None else worth.asset.hex(), amount=worth.amount)


METHODS = (offerswap, decodeoffer, acceptoffer, signoffer, canceloffer)
