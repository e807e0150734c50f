"""The policies that people ask for by name, made from their keys, with the part that each key plays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consensus.spend_policy import policy_id
from consensus.types import (
    MAX_THRESHOLD_CHILDREN,
    AfterHeight,
    AfterTime,
    Key,
    Older,
    Pays,
    Policy,
    Preimage,
    Threshold,
)
from wallet.errors import WalletError

Moment = AfterHeight | AfterTime
"""When something opens: a height, or a time."""


class Part(NamedTuple):
    """A policy of a template, under the name of what it is for."""

    name: str
    """"" for the one that is paid first; else what is put behind the template's own name."""
    policy: Policy


class Made(NamedTuple):
    """What a template gives."""

    parts: tuple[Part, ...]
    """The one to be paid to comes first, then what it leads to."""
    roles: dict[bytes, str]
    """What to call the owner of each key."""


def multisig(k: int, keys: Sequence[bytes]) -> Made:
    """Return a policy that any `k` of the keys open.

    Raises:
        WalletError: there are no such `k`, or too many keys for a policy.
    """
    if not 1 <= k <= len(keys) <= MAX_THRESHOLD_CHILDREN:
        raise WalletError(f"{k} of {len(keys)} keys cannot be asked for; a threshold has 1 to {MAX_THRESHOLD_CHILDREN}")
    return Made((Part("", Threshold(k, tuple([Key(key) for key in keys]))),), {})


def escrow(buyer: bytes, seller: bytes, arbiter: bytes, refund_after: int | None = None) -> Made:
    """Return a policy that buyer and seller open together, or the arbiter with one of them.

    Args:
        refund_after: so many blocks after the buyer paid, he can take it back alone.
    """
    deal: Policy = Threshold(2, (Key(buyer), Key(seller), Key(arbiter)))
    if refund_after is not None:
        deal = Threshold(1, (deal, Threshold(2, (Key(buyer), Older(refund_after)))))
    return Made((Part("", deal),), {buyer: "the buyer", seller: "the seller", arbiter: "the arbiter"})


def vesting(owner: bytes, moments: Sequence[Moment], clawback: bytes | None = None) -> Made:
    """Return a policy for each moment: from it on the owner can spend what was paid there.

    Args:
        clawback: a key that can take all of it back, at any time. What such a branch hangs over is
            nobody's income before it has been moved.

    Raises:
        WalletError: there are no moments.
    """
    if not moments:
        raise WalletError("vesting takes at least one moment")
    parts = []
    for number, moment in enumerate(moments, 1):
        policy: Policy = Threshold(2, (Key(owner), moment))
        if clawback is not None:
            policy = Threshold(1, (policy, Key(clawback)))
        parts.append(Part(str(number) if len(moments) > 1 else "", policy))
    roles = {owner: "the owner"}
    return Made(tuple(parts), roles if clawback is None else {**roles, clawback: "who granted it"})


def vault(hot: bytes, cold: bytes, delay: int) -> Made:
    """Return a vault and its way out: what the hot key takes lies there for `delay` blocks, in the cold key's reach.

    Whoever steals the hot key can only start a withdrawal, which the whole network sees; until it
    is old enough, the cold key takes it back.
    """
    way_out = Threshold(1, (Threshold(2, (Key(hot), Older(delay))), Key(cold)))
    inside = Threshold(1, (Threshold(2, (Key(hot), Pays(policy_id(way_out)))), Key(cold)))
    return Made((Part("", inside), Part("withdrawal", way_out)), {hot: "the hot key", cold: "the cold key"})


def inheritance(owner: bytes, heir: bytes, idle: int) -> Made:
    """Return a policy whose owner spends at any time, and whose heir does once a coin has lain for `idle` blocks.

    An owner who lives moves the coins to the same address now and then: their age starts anew.
    """
    policy = Threshold(1, (Key(owner), Threshold(2, (Key(heir), Older(idle)))))
    return Made((Part("", policy),), {owner: "the owner", heir: "the heir"})


def hashlock(receiver: bytes, payer: bytes, digest: bytes, refund: Moment) -> Made:
    """Return a policy that the receiver opens with the secret of a hash, and the payer from some moment on.

    Two of these with the same hash, on two chains or for two assets, are an atomic swap.

    Args:
        digest: SHA-256 of the 32 bytes that the receiver has to show.
    """
    policy = Threshold(1, (Threshold(2, (Key(receiver), Preimage(digest))), Threshold(2, (Key(payer), refund))))
    return Made((Part("", policy),), {receiver: "the receiver", payer: "the payer"})
