"""The wallet's keys: passphrase, export, import, rescan. What is secret goes to the caller only."""
# ruff: noqa: ARG001 (parameters that mean nothing here are taken for the sake of Bitcoin Core's clients)

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from consensus.address import AddressError
from node.api.method import Area, method
from node.api.methods.wallet import ask_wallet, current_wallet, refuse_wallet, service_of
from node.api.parameters import AddressText, Height, Label
from node.api.services import Services
from rpc import schema
from rpc.errors import ErrorCode, RpcError
from wallet.errors import WalletError
from wallet.keystore import BACKUP_FILE

MAX_UNLOCK_SECONDS = 100_000_000
"""As in Bitcoin Core."""
MAX_GAP = 10_000

Passphrase = Annotated[str, Meta(min_length=1, max_length=1_024)]


@method(Area.WALLET, needs_wallet=True)
async def walletpassphrase(services: Services, passphrase: Passphrase, timeout: Annotated[int, Meta(ge=0)]) -> None:
    """Unlock the wallet for some time.

    Args:
        passphrase: the wallet's.
        timeout: seconds, after which it is locked again.
    """
    _require_encrypted(services)
    try:
        await service_of(services).keys.unlock(passphrase, min(timeout, MAX_UNLOCK_SECONDS))
    except WalletError as error:
        refuse_wallet(error)


@method(Area.WALLET, needs_wallet=True)
async def walletlock(services: Services) -> None:
    """Lock the wallet now."""
    _require_encrypted(services)
    service_of(services).keys.lock()


@method(Area.WALLET, needs_wallet=True)
async def walletpassphrasechange(services: Services, oldpassphrase: Passphrase, newpassphrase: Passphrase) -> None:
    """Put the keys under another passphrase.

    Args:
        oldpassphrase: the wallet's until now.
        newpassphrase: from now on.
    """
    _require_encrypted(services)
    try:
        await service_of(services).keys.change_passphrase(oldpassphrase, newpassphrase)
    except WalletError as error:
        refuse_wallet(error)


@method(Area.WALLET, needs_wallet=True)
async def encryptwallet(services: Services, passphrase: Passphrase) -> str:
    """Put an unencrypted wallet under a passphrase, and lock it. The keystore on disk is the old one or the new.

    Args:
        passphrase: without it the coins are lost for good.
    """
    service = service_of(services)
    if service.wallet.encrypted:
        raise RpcError(
            ErrorCode.WRONG_ENC_STATE, "Error: running with an encrypted wallet, but encryptwallet was called."
        )
    try:
        await service.keys.encrypt(passphrase)
    except WalletError as error:
        refuse_wallet(error)
    return (
        f"wallet encrypted, and locked; so is its copy, {BACKUP_FILE}. Backups made before are not encrypted: "
        "make a new one and destroy those"
    )


def _require_encrypted(services: Services) -> None:
    if not service_of(services).wallet.encrypted:
        raise RpcError(ErrorCode.WRONG_ENC_STATE, "Error: running with an unencrypted wallet.")


@method(Area.WALLET, needs_wallet=True)
async def exportkey(services: Services, address: AddressText) -> str:
    """Return the private key of one of the wallet's addresses as PEM. Whoever has it has what the address is paid.

    Args:
        address: one of the wallet's.
    """
    try:
        return service_of(services).wallet.export_key(address)
    except AddressError as error:
        raise RpcError(ErrorCode.INVALID_ADDRESS_OR_KEY, f"Invalid address: {error}") from None
    except WalletError as error:
        refuse_wallet(error)


@method(Area.WALLET, needs_wallet=True)
async def importkey(
    services: Services, pem: Annotated[str, Meta(max_length=4_096)], label: Label = "", rescan: bool = True
) -> str:
    """Add a private key from PEM, and return its address. It is in no mnemonic: make a new backup.

    Args:
        pem: the key, on the curve secp256k1.
        label: shown with what the address is paid.
        rescan: whether to look for what it was paid before.
    """
    await current_wallet(services)
    try:
        address = await service_of(services).keys.import_key(pem, label)
    except WalletError as error:
        refuse_wallet(error)
    if rescan:
        await rescan_from(services, 1)
    return address


@method(Area.WALLET, needs_wallet=True)
async def rescanblockchain(
    services: Services,
    start_height: Height = 0,
    stop_height: Height | None = None,
    gap: Annotated[int, Meta(ge=1, le=MAX_GAP)] | None = None,
) -> schema.RescanResult:
    """Look again for the wallet's payments in blocks that it has seen already. Returns when that is done.

    Args:
        start_height: of the first block to look at.
        stop_height: not used: it always goes on to the tip.
        gap: how many unused addresses in a row are looked for; larger ones find payments to addresses far beyond.
    """
    await current_wallet(services)
    start = max(1, start_height)
    if start > services.chain.tip.height + 1:
        raise RpcError(ErrorCode.INVALID_PARAMETER, "Invalid start_height")
    await rescan_from(services, start, gap)
    return schema.RescanResult(start_height=start_height, stop_height=service_of(services).wallet.cursor.height)


async def rescan_from(services: Services, start: int, gap: int | None = None) -> None:
    """Let the wallet look again at all blocks from a height on; returns when it has.

    Raises:
        RpcError: the gap is absurd.
    """
    service, index = service_of(services), services.chain.index
    previous = index.at(start - 1)
    if previous is None or index.tip.height == 0:
        return
    more = {} if gap is None else {"gap": gap}
    await ask_wallet(services, lambda wallet: wallet.rescan(start, previous.hash, target=index.tip.height, **more))
    await service.current()


METHODS = (
    walletpassphrase,
    walletlock,
    walletpassphrasechange,
    encryptwallet,
    exportkey,
    importkey,
    rescanblockchain,
)
