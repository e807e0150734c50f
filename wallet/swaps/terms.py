"""What two people agree on who swap across two networks, as a file that passes between them.

    body = [leg, leg, hash, the proposer's signature, the taker's signature | nil]
    leg  = [genesis id, spacing, asset | nil, amount, payer's key | nil, receiver's key | nil, refund time]

The proposer gives the first leg and knows the secret of the hash; the taker gives the second. Each leg is locked at a
policy of its network: its receiver opens it with the secret, and from the refund time on its payer takes it back. The
keys of the taker are nil until he accepts. The proposer signs with the first payer's key all but the taker's keys, the
taker with the second payer's key all there is: so neither can be made to lock what he did not agree to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from consensus.codec import encode
from consensus.hashing import tagged_hash
from consensus.signatures import SignatureCheck, verify
from consensus.spend_policy import policy_id
from consensus.types import MAX_INTEGER, AfterTime, Amount, AssetId, BlockHash, LockId, Policy
from wallet.spend_policies.templates import hashlock
from wallet.swaps.errors import SwapError, SwapRule
from wallet.swaps.frame import FileKind, FileValue, read_frame, write_frame

MARGIN_BLOCKS = 24
"""Blocks that each step leaves to the next, on each of the networks: what is sent in time is in a block, and deep,
even where a few blocks in a row come late."""
MIN_GRAIN = 100_000
"""Of DURE, in a leg: less would be eaten up by the fee of claiming it."""
STEPS_AFTER = 4
"""Margins that are left when a swap is accepted: one for each of the steps, accept, lock, lock and claim."""

_Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
_Key = Annotated[bytes, Meta(min_length=33, max_length=33)]
_Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]


class Leg(FileValue, frozen=True):
    """What one of the two gives, on one of the networks."""

    genesis: Annotated[BlockHash, Meta(min_length=32, max_length=32)]
    spacing: Annotated[int, Meta(ge=1, le=86_400)]
    """Seconds between blocks that the network aims at; whoever has a node there checks it."""
    asset: Annotated[AssetId, Meta(min_length=32, max_length=32)] | None
    """None for DURE."""
    amount: Annotated[Amount, Meta(ge=1, le=MAX_INTEGER)]
    payer: _Key | None
    receiver: _Key | None
    refund_at: Annotated[int, Meta(ge=1, lt=2**32)]
    """UNIX seconds, by the chain's clock: from then on the payer can take it back."""


class Terms(FileValue, frozen=True):
    """A swap across two networks. `read_terms`, `propose` and `accept` make them, whole and signed."""

    first: Leg
    second: Leg
    digest: _Hash
    """SHA-256 of the secret."""
    proposed: _Signature
    accepted: _Signature | None

    @property
    def margin(self) -> int:
        """Seconds that each step leaves to the next."""
        return margin_of(self.first.spacing, self.second.spacing)

    def has_time(self, steps: int, now: int) -> bool:
        """Tell whether the second lock opens to its payer no earlier than so many steps from now."""
        return self.second.refund_at - now >= steps * self.margin

    def leg(self, genesis: BlockHash) -> Leg:
        """Return the leg on a network.

        Raises:
            SwapError: `NETWORK`: neither is.
        """
        for leg in (self.first, self.second):
            if leg.genesis == genesis:
                return leg
        raise SwapError(SwapRule.NETWORK, "the swap is on two other networks than this node's")


class LegLock(NamedTuple):
    """Where a leg is locked."""

    lock: LockId
    policy: Policy
    roles: dict[bytes, str]


_decoder = msgspec.msgpack.Decoder(Terms)


def margin_of(first_spacing: int, second_spacing: int) -> int:
    """Return the margin of a swap between networks of these spacings, in seconds."""
    return MARGIN_BLOCKS * (first_spacing + second_spacing)


def leg_lock(terms: Terms, leg: Leg) -> LegLock:
    """Return the policy of a leg.

    Raises:
        SwapError: `NOT_ACCEPTED`: a key is missing.
    """
    if leg.payer is None or leg.receiver is None:
        raise SwapError(SwapRule.NOT_ACCEPTED, "nobody has accepted the swap yet")
    made = hashlock(leg.receiver, leg.payer, terms.digest, AfterTime(leg.refund_at))
    (part,) = made.parts
    return LegLock(policy_id(part.policy), part.policy, made.roles)


# Made


def propose(first: Leg, second: Leg, digest: bytes, sign: Callable[[bytes], bytes]) -> Terms:
    """Return signed terms that nobody has accepted.

    Args:
        sign: gives the signature of the first payer's key.

    Raises:
        SwapError: `TERMS` or `TIMES`.
    """
    bare = Terms(first, second, digest, bytes(64), None)
    _check_shape(bare)
    return replace(bare, proposed=sign(_proposal_digest(bare)))


def accept(terms: Terms, receiver: bytes, payer: bytes, sign: Callable[[bytes], bytes]) -> Terms:
    """Return the terms with the taker's keys and signature.

    Args:
        receiver: the taker's key for what he gets, on the first network.
        payer: his key for what he gives, on the second.
        sign: gives the signature of `payer`.

    Raises:
        SwapError: `NOT_ACCEPTED`: somebody has accepted them already; or `TERMS`.
    """
    if terms.accepted is not None:
        raise SwapError(SwapRule.NOT_ACCEPTED, "the swap has been accepted already")
    whole = replace(
        terms,
        first=replace(terms.first, receiver=receiver),
        second=replace(terms.second, payer=payer),
        accepted=bytes(64),
    )
    _check_shape(whole)
    return replace(whole, accepted=sign(_acceptance_digest(whole)))


def write_terms(terms: Terms) -> bytes:
    """Return the file."""
    return write_frame(FileKind.TERMS, terms)


def read_terms(raw: bytes) -> Terms:
    """Read a file; what comes out makes sense, and is signed by whoever it binds.

    Raises:
        SwapError: what `frame.read_frame` names; then `TERMS`, `TIMES` or `SIGNATURE`.
    """
    terms = read_frame(FileKind.TERMS, _decoder, raw)
    _check_shape(terms)
    _check_signature(_proposal_digest(terms), terms.first.payer, terms.proposed)
    if terms.accepted is not None:
        _check_signature(_acceptance_digest(terms), terms.second.payer, terms.accepted)
    return terms


# Checked


def _check_shape(terms: Terms) -> None:
    first, second = terms.first, terms.second
    if first.genesis == second.genesis:
        raise SwapError(SwapRule.TERMS, "both legs are on one network: there an offer does it in one transaction")
    if first.payer is None or second.receiver is None:
        raise SwapError(SwapRule.TERMS, "the proposer's keys are missing")
    if len({first.receiver is None, second.payer is None, terms.accepted is None}) > 1:
        raise SwapError(SwapRule.TERMS, "the taker's keys and his signature come together")
    for leg in (first, second):
        # Across the legs keys may repeat: one person's wallets can have the same words.
        if leg.payer == leg.receiver:
            raise SwapError(SwapRule.TERMS, "somebody would pay himself")
        if leg.asset is None and leg.amount < MIN_GRAIN:
            raise SwapError(SwapRule.TERMS, "so little DURE would be eaten up by the fee of claiming it")
    if first.refund_at < second.refund_at + terms.margin:
        raise SwapError(
            SwapRule.TIMES,
            f"the second lock opens to its payer {first.refund_at - second.refund_at} s before the first; it must be "
            f"{terms.margin} s, or the taker may be too late for what he bought",
        )


def _check_signature(digest: bytes, key: bytes | None, signature: bytes) -> None:
    if key is None or not verify(SignatureCheck(digest, key, signature)):
        raise SwapError(SwapRule.SIGNATURE, "the file was changed after it was signed")


def _proposal_digest(terms: Terms) -> bytes:
    bare = [replace(terms.first, receiver=None), replace(terms.second, payer=None), terms.digest]
    return tagged_hash("dure/swap/propose", encode(bare))


def _acceptance_digest(terms: Terms) -> bytes:
    return tagged_hash("dure/swap/accept", encode([terms.first, terms.second, terms.digest]))
