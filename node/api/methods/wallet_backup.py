"""Wallets made, kept and brought back: new ones, backups, words."""
# ruff: noqa: ARG001 (parameters that mean nothing here are taken for the sake of Bitcoin Core's clients)

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import UNSET, Meta

from node.api.method import Area, method
from node.api.methods.wallet import current_wallet, refuse_wallet, service_of
from node.api.methods.wallet_keys import Passphrase
from node.api.parameters import read_base64
from node.api.services import Services
from node.storage.errors import StorageError
from rpc import schema
from rpc.errors import ErrorCode, RpcError
from wallet.errors import WalletError
from wallet.ports import Outside
from wallet.wallet import Wallet

FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""A name and nothing else: no folder, no link, nothing hidden."""


@method(Area.WALLET, needs_wallet=True)
async def backupwallet(services: Services, destination: FileName) -> str:
    """Write a backup of the wallet into the folder `backups` of the data directory, and return the file's path there.

    Its keys are as protected as the wallet's: without a passphrase, whoever reads the file has the coins.

    Args:
        destination: a new file's name.
    """
    wallet = await current_wallet(services)
    if services.backups.read(destination) is not None:
        raise RpcError(ErrorCode.WALLET_ERROR, "Error: there is a backup of that name already")
    try:
        await services.backups.save(destination, wallet.backup())
    except StorageError as error:
        services.log.warning("backup_failed", why=str(error))
        raise RpcError(ErrorCode.WALLET_ERROR, "Error: Wallet backup failed! The log says why.") from None
    return f"backups/{destination}"


@method(Area.WALLET, needs_wallet=True)
async def getwalletbackup(services: Services) -> str:
    """Return a backup of the wallet as base64: what backupwallet writes to a file beside the node.

    Its keys are as protected as the wallet's: without a passphrase, whoever reads it has the coins.
    """
    return b64encode((await current_wallet(services)).backup()).decode("ascii")


@method(Area.WALLET)
async def createwallet(
    services: Services,
    wallet_name: Annotated[str, Meta(max_length=0)] = "",
    disable_private_keys: Literal[False] = False,
    blank: Literal[False] = False,
    passphrase: Passphrase | None = None,
) -> schema.MadeWallet:
    """Make a wallet with new words, on a node that has none. Write the words down: see getmnemonic.

    Args:
        wallet_name: must be empty: a node has one wallet.
        disable_private_keys: must be false.
        blank: must be false.
        passphrase: encrypts its keys. Only on local and regtest may a wallet do without.
    """

    def make(world: Outside) -> Wallet:
        return Wallet.create(services.params, world, passphrase=passphrase, allow_plain=services.is_private)

    return await _put(services, make, replace=False)


@method(Area.WALLET)
async def restorewallet(
    services: Services,
    wallet_name: Annotated[str, Meta(max_length=0)],
    backup: Annotated[str, Meta(min_length=1)],
    passphrase: Passphrase | None = None,
    replace: bool = False,
) -> schema.MadeWallet:
    """Bring a wallet back from a backup or from its words. It finds its payments by following the chain.

    A wallet that gives way is kept whole, in a folder of its own in the data directory.

    Args:
        wallet_name: must be empty: a node has one wallet.
        backup: what getwalletbackup returned, base64; or the words of a mnemonic, separated by single spaces.
        passphrase: for words: encrypts the keys. A backup is under its own passphrase, or under none.
        replace: whether the wallet that is there gives way.
    """
    if " " in backup.strip():
        words = backup.strip()

        def make(world: Outside) -> Wallet:
            return Wallet.create(
                services.params, world, mnemonic=words, passphrase=passphrase, allow_plain=services.is_private
            )
    else:
        raw = read_base64(backup, "backup is neither base64 nor several words")
        if passphrase is not None:
            raise RpcError(ErrorCode.INVALID_PARAMETER, "A backup is under its own passphrase, or under none")

        def make(world: Outside) -> Wallet:
            return Wallet.restore(services.params, world, raw, allow_plain=services.is_private)

    return await _put(services, make, replace=replace)


async def _put(services: Services, make: Callable[[Outside], Wallet], *, replace: bool) -> schema.MadeWallet:
    if services.wallet_place is None:
        raise RpcError(ErrorCode.WALLET_NOT_FOUND, "This node was started to have no wallet")
    try:
        kept = await services.wallet_place.put(make, replace=replace)
    except WalletError as error:
        refuse_wallet(error)
    return schema.MadeWallet(name="", warnings=[], replaced=UNSET if kept is None else kept.name)


@method(Area.WALLET, needs_wallet=True)
async def getmnemonic(services: Services) -> str:
    """Return the words from which the wallet's keys follow, but for imported ones. Whoever has them has the coins."""
    try:
        return service_of(services).wallet.mnemonic()
    except WalletError as error:
        refuse_wallet(error)


METHODS = (createwallet, restorewallet, backupwallet, getwalletbackup, getmnemonic)
