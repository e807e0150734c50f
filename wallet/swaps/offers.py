"""A swap in one transaction: an offer, and what becomes of it when somebody accepts, as files.

    offer      = [genesis id, worth, worth, [[outpoint, coin], ...], [output, ...], [[key, signature], ...]]
    worth      = [asset | nil, amount]                     what is given, and what is wanted for it
    acceptance = [offer, a partially signed transaction]   (docs/psdt.md)

The outputs are those of the offerer: what he wants, and what comes back to him of the coins that he gives. He signs
the offer with the key of each lock at which these lie. So nobody can change it, and it gives away nothing yet: the
transaction is signed by the acceptor first, who adds his own coins and outputs behind the offerer's, and last by the
offerer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from consensus.codec import encode
from consensus.hashing import tagged_hash
from consensus.params import Params
from consensus.signatures import SignatureCheck, verify
from consensus.types import MAX_INTEGER, Amount, AssetId, BlockHash, LockId, OutPoint, Output
from wallet.addresses import key_lock
from wallet.psdt import Psdt, SpentCoin, read_psdt, write_psdt
from wallet.swaps.errors import SwapError, SwapRule
from wallet.swaps.frame import MAX_SWAP_SIZE, FileKind, FileValue, read_frame, write_frame

MAX_OFFERED = 100
"""Coins of one offer: whoever accepts pays for each."""

_Key = Annotated[bytes, Meta(min_length=33, max_length=33)]
_Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]


class Worth(FileValue, frozen=True):
    """An amount of something."""

    asset: Annotated[AssetId, Meta(min_length=32, max_length=32)] | None
    """None for DURE."""
    amount: Annotated[Amount, Meta(ge=1, le=MAX_INTEGER)]


class OfferedCoin(FileValue, frozen=True):
    """A coin that is given, whole."""

    outpoint: OutPoint
    coin: SpentCoin


class Offer(FileValue, frozen=True):
    """An offer. `make_offer` and `read_offer` make them, whole and signed."""

    genesis: Annotated[BlockHash, Meta(min_length=32, max_length=32)]
    gives: Worth
    wants: Worth
    coins: Annotated[tuple[OfferedCoin, ...], Meta(min_length=1, max_length=MAX_OFFERED)]
    outputs: Annotated[tuple[Output, ...], Meta(min_length=1, max_length=2)]
    signatures: Annotated[tuple[tuple[_Key, _Signature], ...], Meta(max_length=MAX_OFFERED)]
    """One for each distinct lock of the coins, by first appearance."""

    @property
    def digest(self) -> bytes:
        """What its signatures sign: all of it but them."""
        return tagged_hash("dure/swap/offer", encode([self.genesis, self.gives, self.wants, self.coins, self.outputs]))

    @property
    def locks(self) -> tuple[LockId, ...]:
        """The distinct locks of its coins, by first appearance."""
        return tuple(dict.fromkeys(each.coin.output.lock for each in self.coins))

    @property
    def outpoints(self) -> tuple[OutPoint, ...]:
        """Its coins."""
        return tuple([each.outpoint for each in self.coins])


class _Acceptance(FileValue, frozen=True):
    """As it lies in the file."""

    offer: Offer
    psdt: Annotated[bytes, Meta(max_length=MAX_SWAP_SIZE)]


class Acceptance(msgspec.Struct, frozen=True):
    """An offer, and the transaction that fulfils it."""

    offer: Offer
    psdt: Psdt


_offer_decoder = msgspec.msgpack.Decoder(Offer)
_acceptance_decoder = msgspec.msgpack.Decoder(_Acceptance)


def make_offer(bare: Offer, sign: Callable[[LockId, bytes], tuple[bytes, bytes]]) -> Offer:
    """Return an offer, signed.

    Args:
        bare: its signatures do not matter.
        sign: gives the key of a lock, and its signature over a digest.

    Raises:
        SwapError: `TERMS`.
    """
    _check_shape(bare)
    return replace(bare, signatures=tuple([sign(lock, bare.digest) for lock in bare.locks]))


def write_offer(offer: Offer) -> bytes:
    """Return the file."""
    return write_frame(FileKind.OFFER, offer)


def read_offer(params: Params, raw: bytes) -> Offer:
    """Read a file: an offer that makes sense, as whoever owns its coins signed it.

    Raises:
        SwapError: what `frame.read_frame` names; then `NETWORK`, `TERMS` or `SIGNATURE`.
    """
    return _checked(params, read_frame(FileKind.OFFER, _offer_decoder, raw))


def write_acceptance(acceptance: Acceptance) -> bytes:
    """Return the file.

    Raises:
        PsdtError: `SIZE`: the transaction is too large.
    """
    return write_frame(FileKind.ACCEPTANCE, _Acceptance(acceptance.offer, write_psdt(acceptance.psdt)))


def read_acceptance(params: Params, raw: bytes) -> Acceptance:
    """Read a file: an offer, and a transaction that keeps to it to the unit, all of whose signatures hold.

    Raises:
        SwapError: as `read_offer`; then `DIFFERENT`.
        PsdtError: the transaction in it is refused by the rule that it names (docs/psdt.md).
    """
    found = read_frame(FileKind.ACCEPTANCE, _acceptance_decoder, raw)
    offer = _checked(params, found.offer)
    psdt = read_psdt(params, found.psdt)
    check_kept(offer, psdt)
    return Acceptance(offer, psdt)


def check_kept(offer: Offer, psdt: Psdt) -> None:
    """Check that a transaction spends what was offered, and pays the offerer what he asked for, first of all.

    Raises:
        SwapError: `DIFFERENT`, with what differs.
    """
    core, coins, outputs = psdt.core, len(offer.coins), len(offer.outputs)
    told = [each.coin.output for each in offer.coins]
    if core.inputs[:coins] != offer.outpoints or list(psdt.spent[:coins]) != told:
        raise SwapError(SwapRule.DIFFERENT, "the transaction spends other coins than were offered")
    if core.outputs[:outputs] != offer.outputs:
        raise SwapError(SwapRule.DIFFERENT, "the transaction pays the offerer something else than he asked for")
    if core.issuances or core.burns or core.memo:
        raise SwapError(SwapRule.DIFFERENT, "the transaction does more than to swap")


def _checked(params: Params, offer: Offer) -> Offer:
    if offer.genesis != params.genesis_hash:
        raise SwapError(SwapRule.NETWORK, "the offer is on another network")
    _check_shape(offer)
    keys = [key for key, _ in offer.signatures]
    signed = tuple(map(key_lock, keys)) == offer.locks and all(
        verify(SignatureCheck(offer.digest, key, signature)) for key, signature in offer.signatures
    )
    if not signed:
        raise SwapError(SwapRule.SIGNATURE, "the offer was changed after it was signed")
    return offer


def _check_shape(offer: Offer) -> None:
    gives, wants = offer.gives, offer.wants
    if gives.asset == wants.asset:
        raise SwapError(SwapRule.TERMS, "what is given and what is wanted are the same")
    if len(set(offer.outpoints)) < len(offer.coins) or any(
        each.coin.output.asset != gives.asset for each in offer.coins
    ):
        raise SwapError(SwapRule.TERMS, "the coins are not all of what is given, each once")
    left = sum(each.coin.output.value for each in offer.coins) - gives.amount
    if left < 0:
        raise SwapError(SwapRule.TERMS, "the coins are less than what is given")
    expected = [(wants.amount, wants.asset), *([(left, gives.asset)] if left else [])]
    if [(output.value, output.asset) for output in offer.outputs] != expected:
        raise SwapError(SwapRule.TERMS, "the offerer's outputs are not what he wants and what is left to him")
