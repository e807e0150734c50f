"""Transfers that wait for somebody's approval: which there are, what is in them, and how they are taken back."""

from __future__ import annotations

from msgspec import UNSET

from consensus.address import encode_address
from consensus.codec import display_hash
from consensus.types import TxId
from node.api.method import Area, method
from node.api.methods.payments import hand_over, read_terms
from node.api.methods.psbt import psbt_text
from node.api.methods.wallet import current_wallet, refuse_wallet, service_of
from node.api.parameters import FeeRate, HashHex
from node.api.psbt_views import unapproved
from node.api.services import Services
from rpc import schema
from rpc.encoding import Dure
from wallet.assets.flows import stakes
from wallet.assets.transfers import Waiting
from wallet.errors import WalletError
from wallet.psdt import Psdt
from wallet.wallet import Wallet


def missing_approvers(services: Services, psdt: Psdt) -> list[str]:
    """Return the addresses of the policies that have not approved yet, each once."""
    locks = dict.fromkeys(part.lock for part in unapproved(services, psdt))
    return [encode_address(services.params, lock) for lock in locks]


@method(Area.ASSETS, needs_wallet=True)
async def listwaitingtransfers(services: Services) -> list[schema.WaitingTransfer]:
    """List the wallet's transactions that wait for somebody's approval, the oldest first. Their coins are kept."""
    wallet = await current_wallet(services)
    return [_view(services, wallet, each) for each in wallet.assets.transfers]


@method(Area.ASSETS, needs_wallet=True)
async def getwaitingtransfer(services: Services, txid: HashHex) -> schema.WaitingTransfer:
    """Return one transaction that waits for somebody's approval, and the partially signed transaction itself.

    Args:
        txid: that it will have.
    """
    wallet = await current_wallet(services)
    try:
        return _view(services, wallet, wallet.assets.transfers.find(TxId(txid)), whole=True)
    except WalletError as error:
        refuse_wallet(error)


def _view(services: Services, wallet: Wallet, waiting: Waiting, *, whole: bool = False) -> schema.WaitingTransfer:
    psdt = waiting.transfer.psdt
    others = dict.fromkeys(output.lock for output in psdt.core.outputs if not wallet.is_mine(output.lock))
    mine = stakes(psdt.core, psdt.spent, wallet.is_mine).items()
    return schema.WaitingTransfer(
        txid=display_hash(waiting.transfer.txid),
        state=waiting.state.value,
        time=waiting.transfer.time,
        gives=[
            schema.AssetAmount(asset=asset.hex(), amount=stake.gives - stake.gets)
            for asset, stake in mine
            if asset is not None and stake.gives > stake.gets
        ],
        addresses=[encode_address(services.params, lock) for lock in others],
        fee=Dure(psdt.fee),
        approvers=missing_approvers(services, psdt),
        comment=waiting.note.comment or UNSET,
        psbt=psbt_text(psdt) if whole else UNSET,
    )


@method(Area.ASSETS, needs_wallet=True)
async def cancelwaitingtransfer(
    services: Services, txid: HashHex, forget: bool = False, fee_rate: FeeRate | None = None, force: bool = False
) -> schema.CancelledTransfer:
    """Make a transaction that waits for an approval worthless, by paying the coins of its fee to this wallet instead.

    Until a block holds that payment, whoever has the file can still finish it, and its other coins stay kept.

    Args:
        txid: that it would have had.
        forget: only let its coins go, at once and for nothing: if nobody else has the file.
        fee_rate: as in sendtoaddress.
        force: as in sendtoaddress.
    """
    service = service_of(services)
    await service.current()
    name = TxId(txid)
    try:
        if forget:
            await service.ask(lambda wallet: wallet.assets.transfers.forget(name))
            return schema.CancelledTransfer()
        terms = read_terms(service, fee_rate, None, None)
        sent = await service.ask(lambda wallet: wallet.assets.transfers.cancel(name, terms, force=force))
    except WalletError as error:
        refuse_wallet(error)
    await hand_over(service, sent)
    return schema.CancelledTransfer(txid=display_hash(sent.transaction.txid), fee=Dure(sent.fee))


METHODS = (listwaitingtransfers, getwaitingtransfer, cancelwaitingtransfer)
