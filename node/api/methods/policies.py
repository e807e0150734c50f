"""Spend policies: make keys for them, understand them, remember them, begin to spend from them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from consensus.address import AddressError, decode_address
from consensus.assets import authority_id
from consensus.policy_text import MAX_TEXT, PolicyTextError, parse_policy
from consensus.spend_policy import policy_id
from consensus.types import Amount, AssetId, Policy, TxId
from node.api.method import Area, method
from node.api.methods.assets import find_asset
from node.api.methods.payments import MAX_RECIPIENTS, Recipients, read_payment, read_terms
from node.api.methods.psbt import psbt_text
from node.api.methods.transactions import read_address
from node.api.methods.wallet import ask_wallet, current_wallet, refuse_wallet, service_of
from node.api.methods.wallet_keys import rescan_from
from node.api.parameters import AddressText, FeeRate, HashHex, Hex, Label, LockHex, Units
from node.api.policy_views import PolicyView, context_of
from node.api.services import Services
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError
from wallet.errors import WalletError
from wallet.results import Payment
from wallet.spend_policies.book import MAX_NAME, KnownPolicy
from wallet.spend_policies.spends import Everything, Rival
from wallet.wallet import Wallet

PolicyText = Annotated[str, Meta(max_length=MAX_TEXT)]
PolicyName = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
UnitRecipients = Annotated[dict[AddressText, Units], Meta(min_length=1, max_length=MAX_RECIPIENTS)]
Roles = Annotated[dict[str, PolicyName], Meta(max_length=64)]


@method(Area.POLICIES, needs_wallet=True)
async def getpolicykey(services: Services, label: Label = "") -> str:
    """Return a public key of the wallet that was never handed out before, for a policy, in hex.

    Args:
        label: shown with it.
    """
    key = await ask_wallet(services, lambda wallet: wallet.policies.new_key(label))
    return key.hex()


@method(Area.POLICIES, reads=True)
async def explainpolicy(services: Services, policy: PolicyText) -> schema.PolicyExplanation:
    """Tell of a policy who can spend what is paid to it, and when: one sentence for each branch; and its traps.

    Args:
        policy: its text; or, of one that the wallet remembers, its address or its name.
    """
    wallet = None if services.wallet is None else await current_wallet(services)
    return PolicyView(services, wallet).explanation(_read(services, wallet, policy))


@method(Area.POLICIES, needs_wallet=True)
async def importpolicy(
    services: Services, name: PolicyName, policy: PolicyText, roles: Roles | None = None, rescan: bool = True
) -> schema.RememberedPolicy:
    """Remember a policy, and watch its coins. They are shown apart, and no ordinary payment picks them.

    A policy with a fatal trap is refused. What it leads to by `pays` is to be imported first.

    Args:
        name: what to call it.
        policy: its text.
        roles: an object of public key and what its owner is called.
        rescan: whether to look for what it was paid before.
    """
    tree, owners = _parse(policy), _roles(roles or {})
    known = await ask_wallet(services, lambda wallet: wallet.policies.remember(name, tree, owners))
    if rescan:
        await rescan_from(services, 1)
    wallet = await current_wallet(services)
    return PolicyView(services, wallet).remembered(known, wallet.policies.holdings(known.lock))


@method(Area.POLICIES, needs_wallet=True)
async def listpolicies(services: Services) -> schema.Policies:
    """Return the policies that the wallet remembers, what lies there, and what is on its way out of a vault."""
    wallet = await current_wallet(services)
    view = PolicyView(services, wallet)
    return schema.Policies(
        policies=[view.remembered(known, held) for known, held in wallet.policies.all_holdings()],
        withdrawals=[view.withdrawal(alarm) for alarm in wallet.policies.withdrawals()],
    )


@method(Area.POLICIES, needs_wallet=True)
async def spendpolicy(
    services: Services,
    policy: PolicyText,
    recipients: Recipients | None = None,
    everything_to: AddressText | None = None,
    branch: Annotated[int, Meta(ge=1)] | None = None,
    fee_rate: FeeRate | None = None,
    memo: Hex | None = None,
    force: bool = False,
    replace: HashHex | None = None,
) -> schema.PolicySpend:
    """Begin to spend from a policy that the wallet remembers: return a partially signed transaction, not signed yet.

    Nothing is set aside, and nothing is remembered of it. What is left over goes back to the policy. By a branch that
    lets coins only go to one place, whole coins go there, and coins of this wallet pay the fee.

    Args:
        policy: its name or its address.
        recipients: an object of address and DURE.
        everything_to: instead: an address that all goes to, the fee taken out of it.
        branch: by which branch, as explainpolicy numbers them; by default the one that needs the fewest others now.
        fee_rate: grain per byte, in place of an estimate.
        memo: at most 96 bytes, in hex.
        force: true if a fee beyond the wallet's caps is meant.
        replace: the txid of a transaction in the mempool that spends a coin of the policy: this one takes its place,
            and pays as much more as that takes.
    """
    service = service_of(services)
    wallet = await service.current()
    known = _find(services, wallet, policy)
    if (recipients is None) == (everything_to is None):
        raise RpcError(ErrorCode.INVALID_PARAMETER, "Name either recipients or everything_to")
    terms = read_terms(service, fee_rate, None, None)
    try:
        if everything_to is not None:
            wish: list[Payment] | Everything = Everything(read_address(services.params, everything_to))
        else:
            wish = [read_payment(services, wallet, address, amount) for address, amount in (recipients or {}).items()]
        plan = wallet.policies.spends.plan(
            known,
            wish,
            terms,
            context_of(services),
            number=branch,
            memo=bytes(memo or b""),
            force=force,
            rival=_rival(services, replace),
        )
    except WalletError as error:
        refuse_wallet(error)
    sentence = PolicyView(services, wallet).sentence(plan.branch, known.roles)
    return schema.PolicySpend(psbt=psbt_text(plan.psdt), fee=Dure(plan.fee), branch=plan.number, sentence=sentence)


@method(Area.POLICIES, needs_wallet=True)
async def spendpolicyasset(
    services: Services,
    policy: PolicyText,
    asset: LockHex,
    recipients: UnitRecipients | None = None,
    everything_to: AddressText | None = None,
    authority: bool = False,
    branch: Annotated[int, Meta(ge=1)] | None = None,
    fee_rate: FeeRate | None = None,
    force: bool = False,
) -> schema.PolicySpend:
    """Begin to spend an asset that lies at a policy: return a partially signed transaction, not signed yet.

    As spendpolicy, but coins of this wallet pay the fee. If the asset is controlled, its controller has to approve too.

    Args:
        policy: its name or its address.
        asset: its id.
        recipients: an object of address and smallest units.
        everything_to: instead: an address that all of it goes to.
        authority: whether not the asset is meant, but the authority over it.
        branch: as in spendpolicy.
        fee_rate: grain per byte, in place of an estimate.
        force: true if a fee beyond the wallet's caps is meant.
    """
    service = service_of(services)
    wallet = await service.current()
    known, name = _find(services, wallet, policy), AssetId(bytes(asset))
    find_asset(services, name)
    if (recipients is None) == (everything_to is None):
        raise RpcError(ErrorCode.INVALID_PARAMETER, "Name either recipients or everything_to")
    wish: list[Payment] | Everything = [
        Payment(read_address(services.params, address), Amount(units)) for address, units in (recipients or {}).items()
    ]
    if everything_to is not None:
        wish = Everything(read_address(services.params, everything_to))
    try:
        plan = wallet.asset_spends.plan(
            known,
            authority_id(name) if authority else name,
            wish,
            read_terms(service, fee_rate, None, None),
            context_of(services),
            services.chain.get_assets([name]),
            number=branch,
            force=force,
        )
    except WalletError as error:
        refuse_wallet(error)
    sentence = PolicyView(services, wallet).sentence(plan.branch, known.roles)
    return schema.PolicySpend(psbt=psbt_text(plan.psdt), fee=Dure(plan.fee), branch=plan.number, sentence=sentence)


def _rival(services: Services, txid: HashHex | None) -> Rival | None:
    if txid is None:
        return None
    entry = services.mempool.entry(TxId(txid))
    if entry is None:
        raise RpcError(ErrorCode.INVALID_ADDRESS_OR_KEY, "Transaction not in mempool")
    return Rival(entry.tx, entry.descendant_fee, entry.fee * 1_000 // entry.virtual_size)


def _parse(text: str) -> Policy:
    try:
        return parse_policy(text)
    except PolicyTextError as error:
        raise RpcError(ErrorCode.INVALID_PARAMETER, f"This is no policy: {error}") from None


def _roles(given: dict[str, str]) -> dict[bytes, str]:
    roles = {}
    for key, role in given.items():
        try:
            roles[bytes.fromhex(key)] = role
        except ValueError:
            raise RpcError(ErrorCode.INVALID_PARAMETER, "roles: each is named by a public key in hex") from None
    return roles


def _read(services: Services, wallet: Wallet | None, text: str) -> Policy:
    """Return the policy that a text is, or the one that it names."""
    if "(" in text:
        return _parse(text)
    if wallet is None:
        raise RpcError(
            ErrorCode.WALLET_NOT_FOUND, "This node runs without a wallet: it knows no policy but by its text"
        )
    return _find(services, wallet, text).policy


def _find(services: Services, wallet: Wallet, text: str) -> KnownPolicy:
    """Return the remembered policy of a name, an address or a text.

    Raises:
        RpcError: the wallet remembers none.
    """
    known = wallet.policies.named(text)
    if known is None and "(" in text:
        known = wallet.policies.find(policy_id(_parse(text)))
    if known is None:
        try:
            known = wallet.policies.find(decode_address(services.params, text))
        except AddressError:
            known = None
    if known is None:
        raise RpcError(
            ErrorCode.INVALID_ADDRESS_OR_KEY, f"The wallet remembers no policy of that name or address: {text[:80]!r}"
        )
    return known


METHODS = (getpolicykey, explainpolicy, importpolicy, listpolicies, spendpolicy, spendpolicyasset)
