"""The wallet's addresses, what they are called, and messages that are signed with their keys."""
# ruff: noqa: ARG001 (parameters that mean nothing here are taken for the sake of Bitcoin Core's clients)

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta

from consensus.address import encode_address
from consensus.policy_text import format_policy
from consensus.types import Key, Policy
from node.api.method import Area, method
from node.api.methods.transactions import read_address
from node.api.methods.wallet import ask_wallet, current_wallet, refuse_wallet, service_of
from node.api.parameters import AddressText, Label
from node.api.services import Services
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError
from wallet.errors import KeyFormatError, WalletError, WalletLockedError
from wallet.messages import verify_message

MessageText = Annotated[str, Meta(max_length=65_536)]


@method(Area.WALLET, needs_wallet=True)
async def getnewaddress(services: Services, label: Label = "", address_type: str | None = None) -> str:
    """Return an address that was never handed out before. No crash can lose what it is paid.

    Args:
        label: shown with what it is paid.
        address_type: not used: there is one type.
    """
    return await ask_wallet(services, lambda wallet: wallet.new_address(label))


@method(Area.WALLET, needs_wallet=True)
async def getaddressinfo(services: Services, address: AddressText) -> schema.AddressInfo:
    """Tell what the wallet knows of an address, its own or somebody else's.

    Args:
        address: of this network.
    """
    lock = read_address(services.params, address)
    wallet = service_of(services).wallet
    facts = wallet.addresses.facts(lock)
    remembered = wallet.policies.find(lock)
    policy: Policy | None = None if remembered is None else remembered.policy
    if facts.public_key is not None:
        policy = Key(facts.public_key)
    return schema.AddressInfo(
        address=encode_address(services.params, lock),
        scriptPubKey=lock.hex(),
        ismine=facts.mine,
        solvable=policy is not None,
        iswatchonly=remembered is not None,
        ischange=facts.change,
        labels=[facts.label] if facts.label or (facts.mine and not facts.change) else [],
        pubkey=UNSET if facts.public_key is None else facts.public_key.hex(),
        policy=UNSET if policy is None else format_policy(policy),
        hdkeypath=facts.path or UNSET,
    )


@method(Area.WALLET, needs_wallet=True)
async def setlabel(services: Services, address: AddressText, label: Label) -> None:
    """Give an address a label, the wallet's own or somebody else's: history shows it. An empty one takes it away.

    Args:
        address: of this network.
        label: at most 255 printable characters.
    """
    lock = read_address(services.params, address)
    try:
        await service_of(services).ask(lambda wallet: wallet.addresses.set_label(lock, label))
    except WalletError as error:
        raise RpcError(ErrorCode.INVALID_LABEL_NAME, str(error)) from None


_Purpose = Annotated[str, Meta(max_length=16)]


@method(Area.WALLET, needs_wallet=True)
async def listlabels(services: Services, purpose: _Purpose = "") -> list[str]:
    """Return all labels, in the order of the alphabet.

    Args:
        purpose: only those of addresses to be paid at, `receive`, or of others, `send`; all if empty.
    """
    labels = service_of(services).wallet.addresses.labels()
    wanted = {"": {True, False}, "receive": {True}, "send": {False}}.get(purpose)
    if wanted is None:
        raise RpcError(ErrorCode.INVALID_PARAMETER, "Invalid 'purpose' argument, must be a known purpose string")
    return [label for label, named in labels.items() if any(each.mine in wanted for each in named)]


@method(Area.WALLET, needs_wallet=True)
async def getaddressesbylabel(services: Services, label: Label) -> dict[str, schema.AddressPurpose]:
    """Return the addresses that have a label, each with what it is for.

    Args:
        label: the label.
    """
    named = service_of(services).wallet.addresses.labels().get(label)
    if named is None:
        raise RpcError(ErrorCode.INVALID_LABEL_NAME, "No addresses with that label")
    return {
        encode_address(services.params, each.lock): schema.AddressPurpose(purpose="receive" if each.mine else "send")
        for each in named
    }


@method(Area.WALLET, needs_wallet=True)
async def listreceivedbyaddress(
    services: Services,
    include_empty: bool = False,
    include_change: bool = False,
    address_filter: AddressText | None = None,
) -> list[schema.ReceivedByAddress]:
    """Return what each address was paid in blocks, ever, in the order in which they were handed out.

    Args:
        include_empty: whether to list addresses that nobody has paid.
        include_change: whether to list addresses that only took change.
        address_filter: only this one.
    """
    wallet = await current_wallet(services)
    only = None if address_filter is None else read_address(services.params, address_filter)
    return [
        schema.ReceivedByAddress(
            address=encode_address(services.params, each.lock),
            amount=Dure(each.received),
            payments=each.payments,
            label=each.label,
            ischange=each.change,
            hdkeypath=each.path or UNSET,
        )
        for each in wallet.addresses.handed_out()
        if (each.payments or include_empty) and (include_change or not each.change) and only in {None, each.lock}
    ]


# Messages


@method(Area.WALLET, needs_wallet=True)
async def signmessage(services: Services, address: AddressText, message: MessageText) -> str:
    """Sign a text with the key of one of the wallet's addresses: a proof for others that its owner said it.

    What is signed carries a tag of its own, so it is never a transaction.

    Args:
        address: one of the wallet's.
        message: the text.
    """
    read_address(services.params, address)
    try:
        return service_of(services).wallet.sign_message(address, message)
    except WalletLockedError as error:
        refuse_wallet(error)
    except WalletError as error:
        raise RpcError(ErrorCode.INVALID_ADDRESS_OR_KEY, f"Private key not available: {error}") from None


@method(Area.CONTROL, reads=True)
async def verifymessage(services: Services, address: AddressText, signature: MessageText, message: MessageText) -> bool:
    """Tell whether a text was signed with the key of an address, on this network.

    Args:
        address: of whoever says to have signed it.
        signature: what signmessage returned.
        message: the text.
    """
    lock = read_address(services.params, address)
    try:
        return verify_message(services.params, lock, signature, message)
    except KeyFormatError as error:
        raise RpcError(ErrorCode.TYPE_ERROR, f"Malformed signature: {error}") from None


METHODS = (
    getnewaddress,
    getaddressinfo,
    setlabel,
    listlabels,
    getaddressesbylabel,
    listreceivedbyaddress,
    signmessage,
    verifymessage,
)
