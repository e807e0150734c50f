"""Addresses that a controller freezes: his own list, not a rule of the chain."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from consensus.address import encode_address
from consensus.types import AssetId
from node.api.method import Area, method
from node.api.methods.assets import find_asset
from node.api.methods.transactions import read_address
from node.api.methods.wallet import ask_wallet, current_wallet
from node.api.parameters import AddressText, LockHex, optional_asset
from node.api.services import Services
from rpc import schema
from wallet.assets.freezing import MAX_WHY


@method(Area.ASSETS, needs_wallet=True)
async def freezeaddress(
    services: Services, asset: LockHex, address: AddressText, why: Annotated[str, Meta(max_length=MAX_WHY)] = ""
) -> None:
    """Approve nothing of an asset from or to an address any more, as its controller. The chain knows nothing of it.

    Args:
        asset: its id.
        address: whose.
        why: kept with it, and told to whoever asks for an approval here.
    """
    await current_wallet(services)
    name, lock = AssetId(bytes(asset)), read_address(services.params, address)
    controller = find_asset(services, name).definition.controller
    await ask_wallet(services, lambda wallet: wallet.assets.freeze(name, controller, lock, why))


@method(Area.ASSETS, needs_wallet=True)
async def unfreezeaddress(services: Services, asset: LockHex, address: AddressText) -> None:
    """Take an address off the list of those that are frozen for an asset.

    Args:
        asset: its id.
        address: whose.
    """
    await current_wallet(services)
    name, lock = AssetId(bytes(asset)), read_address(services.params, address)
    await ask_wallet(services, lambda wallet: wallet.assets.unfreeze(name, lock))


@method(Area.ASSETS, needs_wallet=True)
async def listfrozenaddresses(services: Services, asset: LockHex | None = None) -> list[schema.FrozenAddress]:
    """List the addresses that this wallet has frozen, for one asset or for all.

    Args:
        asset: its id.
    """
    wallet = await current_wallet(services)
    frozen = wallet.assets.frozen(optional_asset(asset))
    return [
        schema.FrozenAddress(asset=each.asset.hex(), address=encode_address(services.params, each.lock), why=each.why)
        for each in frozen
    ]


METHODS = (freezeaddress, unfreezeaddress, listfrozenaddresses)
