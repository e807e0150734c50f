"""Swaps across two networks: what one node, which sees one of the two, does for each step (docs/swap.md).

Whoever calls these holds both nodes of one person: before lockswap on the second network he has seen by decodeswap on
the first that what he gets is locked there, and deep.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta

from consensus.address import encode_address
from consensus.codec import display_hash
from consensus.state import SpendContext
from consensus.types import Amount, BlockHash, OutPoint
from node.api.method import Area, method
from node.api.methods.payments import hand_over, read_terms
from node.api.methods.wallet import ask_wallet, current_wallet, service_of
from node.api.methods.wallet_keys import rescan_from
from node.api.parameters import Count, FeeRate, HashHex, LockHex, Units, optional_asset, read_base64
from node.api.policy_views import context_of
from node.api.services import Services
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError
from wallet.assets.approvers import Records
from wallet.results import RelayTerms, Sent
from wallet.swaps.desk import DEPTH
from wallet.swaps.errors import SwapError
from wallet.swaps.frame import MAX_SWAP_SIZE
from wallet.swaps.terms import Leg, Terms, write_terms
from wallet.swaps.terms import read_terms as read_swap
from wallet.wallet import Wallet

PUBLIC_KEY_SIZE = 33
SOON = 2
"""Blocks within which a claim or a refund should be in one: time is what it is about."""

SwapText = Annotated[str, Meta(max_length=4 * -(-MAX_SWAP_SIZE // 3))]
Moment = Annotated[int, Meta(ge=1, lt=2**32)]
Spacing = Annotated[int, Meta(ge=1, le=86_400)]

KeyHex = Annotated[str, Meta(max_length=2 * PUBLIC_KEY_SIZE)]


class WantedLeg(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the proposer wants on the other network, as JSON names it."""

    genesis: HashHex
    spacing: Spacing
    amount: Units
    receiver: KeyHex
    refund_at: Moment
    hash: LockHex
    asset: LockHex | None = None


@method(Area.SWAPS, needs_wallet=True)
async def getswapkey(services: Services) -> schema.SwapKey:
    """Return a fresh key of the wallet for a swap across two networks, and the hash of the secret that goes with it.

    The secret follows from the wallet's keys: whoever has the wallet's words has it, and it is stored nowhere.
    """
    await current_wallet(services)

    def new(wallet: Wallet) -> tuple[bytes, bytes]:
        key = wallet.swaps.new_key()
        return key, wallet.swaps.hash_of(key)

    key, digest = await ask_wallet(services, new)
    return schema.SwapKey(
        pubkey=key.hex(),
        hash=digest.hex(),
        genesis=display_hash(services.params.genesis_hash),
        spacing=services.params.spacing,
        now=_now(services),
    )


@method(Area.SWAPS, needs_wallet=True)
async def proposeswap(
    services: Services, amount: Units, refund_at: Moment, wanted: WantedLeg, asset: LockHex | None = None
) -> str:
    """Propose a swap: give something on this network, and get something on another. Returns the file as base64.

    Nothing is locked, and the wallet remembers nothing of it.

    Args:
        amount: what this wallet gives, in smallest units of the asset, or in grain.
        refund_at: UNIX seconds from which on it can be taken back; well after that of the other.
        wanted: an object with genesis, spacing, receiver and hash, as getswapkey gives them on the other network;
            amount and asset (null for DURE); and refund_at, from which on the taker can take it back.
        asset: what this wallet gives; null for DURE.
    """
    service = service_of(services)
    await service.current()
    here = services.params
    first = Leg(here.genesis_hash, here.spacing, optional_asset(asset), Amount(amount), None, None, refund_at)
    second = Leg(
        BlockHash(bytes(wanted.genesis)),
        wanted.spacing,
        optional_asset(wanted.asset),
        Amount(wanted.amount),
        None,
        _key(wanted.receiver),
        wanted.refund_at,
    )
    records = _records(services, first)

    def propose(wallet: Wallet) -> Terms:
        own = msgspec.structs.replace(first, payer=wallet.swaps.new_key())
        return wallet.swaps.propose(own, second, bytes(wanted.hash), records, context_of(services))

    return _text(await ask_wallet(services, propose))


@method(Area.SWAPS, needs_wallet=True)
async def acceptswap(services: Services, swap: SwapText, receiver: KeyHex) -> str:
    """Accept a proposed swap whose second leg is on this network: give that. Returns the file to send back, as base64.

    Nothing is locked yet. Call watchswap with the new file on the other network.

    Args:
        swap: base64.
        receiver: a key of one's wallet on the other network, as getswapkey gives it there.
    """
    service = service_of(services)
    await service.current()
    terms, key = _read(swap), _key(receiver)
    records = _records(services, terms.second)

    def accept(wallet: Wallet) -> Terms:
        return wallet.swaps.accept(terms, key, wallet.swaps.new_key(), records, context_of(services))

    return _text(await ask_wallet(services, accept))


@method(Area.SWAPS, needs_wallet=True)
async def watchswap(services: Services, swap: SwapText, rescan: bool = True) -> bool:
    """Let the wallet watch the leg of an accepted swap on this network. Returns whether it did not before.

    Args:
        swap: base64.
        rescan: whether to look for what was done before, if it was not watched.
    """
    await current_wallet(services)
    terms = _read(swap)
    new = await ask_wallet(services, lambda wallet: wallet.swaps.watch(terms))
    if new is not None and rescan:
        await rescan_from(services, 1)
    return new is not None


@method(Area.SWAPS, reads=True)
async def decodeswap(services: Services, swap: SwapText) -> schema.Swap:
    """Tell what a swap's file says, and how its leg on this network stands. A file that was changed is refused.

    Args:
        swap: base64.
    """
    terms = _read(swap)
    context = context_of(services)
    wallet = None if services.wallet is None else await current_wallet(services)
    problem, here = None, None
    try:
        leg = terms.leg(services.params.genesis_hash)
        if wallet is not None:
            wallet.swaps.check(terms, _records(services, leg))
            here = _here(services, wallet, terms, leg) if terms.accepted is not None else None
    except SwapError as error:
        problem = str(error)
    return schema.Swap(
        first=_leg(terms.first),
        second=_leg(terms.second),
        hash=terms.digest.hex(),
        accepted=terms.accepted is not None,
        margin=terms.margin,
        mediantime=context.median_time,
        now=_now(services),
        problem=UNSET if problem is None else problem,
        here=UNSET if here is None else here,
    )


@method(Area.SWAPS, needs_wallet=True)
async def lockswap(services: Services, swap: SwapText, fee_rate: FeeRate | None = None) -> schema.SwapStep:
    """Lock what this wallet gives in an accepted swap. Called again it sends nothing twice.

    It does not look at the other network: whoever gives the second leg has seen the first locked, and deep.

    Args:
        swap: base64.
        fee_rate: grain per byte, in place of an estimate.
    """
    terms = _read(swap)
    return await _step(
        services,
        terms,
        fee_rate,
        lambda wallet, records, relay, context: wallet.swaps.lock(terms, records, relay, context),
    )


@method(Area.SWAPS, needs_wallet=True)
async def claimswap(
    services: Services,
    swap: SwapText,
    secret: LockHex | None = None,
    depth: Count = DEPTH,
    fee_rate: FeeRate | None = None,
) -> schema.SwapStep:
    """Claim what was locked for this wallet in a swap.

    The proposer's wallet knows the secret, and shows it by this: it refuses while what it claims is not deep, and when
    too little time is left. The taker gives the secret, as decodeswap tells it on the other network.

    Args:
        swap: base64.
        secret: 32 bytes in hex; not for the proposer.
        depth: how many blocks deep the lock must be before the secret is shown.
        fee_rate: grain per byte, in place of an estimate.
    """
    terms = _read(swap)
    known = None if secret is None else bytes(secret)
    return await _step(
        services,
        terms,
        fee_rate,
        lambda wallet, records, relay, context: wallet.swaps.claim(
            terms, records, relay, context, secret=known, depth=depth
        ),
    )


@method(Area.SWAPS, needs_wallet=True)
async def refundswap(services: Services, swap: SwapText, fee_rate: FeeRate | None = None) -> schema.SwapStep:
    """Take back what this wallet locked in a swap, once its time has come and nobody has claimed it.

    Args:
        swap: base64.
        fee_rate: grain per byte, in place of an estimate.
    """
    terms = _read(swap)
    return await _step(
        services,
        terms,
        fee_rate,
        lambda wallet, records, relay, context: wallet.swaps.refund(terms, records, relay, context),
    )


# What they share


async def _step(
    services: Services,
    terms: Terms,
    fee_rate: FeeRate | None,
    act: Callable[[Wallet, Records, RelayTerms, SpendContext], Sent],
) -> schema.SwapStep:
    service = service_of(services)
    await service.current()
    relay = read_terms(service, fee_rate, SOON if fee_rate is None else None, None)

    def step(wallet: Wallet) -> Sent:
        leg = terms.leg(services.params.genesis_hash)
        return act(wallet, _records(services, leg), relay, context_of(services))

    sent = await ask_wallet(services, step)
    await hand_over(service, sent)
    return schema.SwapStep(txid=display_hash(sent.transaction.txid), fee=Dure(sent.fee), again=sent.again)


def _now(services: Services) -> int:
    return max(services.chain.tip.median_time, services.clock.time())


def _records(services: Services, leg: Leg) -> Records:
    return {} if leg.asset is None else services.chain.get_assets([leg.asset])


def _read(text: str) -> Terms:
    raw = read_base64(text, "Swap decode failed: this is not base64")
    try:
        return read_swap(raw)
    except SwapError as error:
        raise RpcError(ErrorCode.DESERIALIZATION_ERROR, str(error)) from None


def _text(terms: Terms) -> str:
    return b64encode(write_terms(terms)).decode("ascii")


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != PUBLIC_KEY_SIZE:
        raise RpcError(ErrorCode.INVALID_PARAMETER, "receiver is not a public key of 66 hex digits")
    return key


def _leg(leg: Leg) -> schema.SwapLeg:
    return schema.SwapLeg(
        genesis=display_hash(leg.genesis),
        spacing=leg.spacing,
        asset=None if leg.asset is None else leg.asset.hex(),
        amount=leg.amount,
        payer=None if leg.payer is None else leg.payer.hex(),
        receiver=None if leg.receiver is None else leg.receiver.hex(),
        refund_at=leg.refund_at,
    )


def _here(services: Services, wallet: Wallet, terms: Terms, leg: Leg) -> schema.SwapHere:
    state = wallet.swaps.state(terms)
    lock = wallet.swaps.lock_of(terms)
    at: OutPoint | None = state.outpoint
    return schema.SwapHere(
        leg="first" if leg == terms.first else "second",
        gives=wallet.swaps.gives(leg),
        address=encode_address(services.params, lock),
        watched=wallet.policies.find(lock) is not None,
        stage=state.stage.value,
        depth=state.depth,
        txid=UNSET if at is None else display_hash(at.txid),
        vout=UNSET if at is None else at.index,
        spender=UNSET if state.spender is None else display_hash(state.spender),
        secret=UNSET if state.secret is None else state.secret.hex(),
    )


METHODS = (getswapkey, proposeswap, acceptswap, watchswap, decodeswap, lockswap, claimswap, refundswap)
