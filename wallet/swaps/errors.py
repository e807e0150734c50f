"""Every way in which a swap is refused, by name."""

from __future__ import annotations

from enum import StrEnum

from wallet.errors import WalletError


class SwapRule(StrEnum):
    """What is wrong with a file, or with the moment."""

    SIZE = "swap-size"
    """Longer than any file of this kind, or too short."""
    MAGIC = "swap-magic"
    """It starts with something else."""
    VERSION = "swap-version"
    CHECKSUM = "swap-checksum"
    """Damaged on its way."""
    MALFORMED = "swap-malformed"
    """The body is no MessagePack of this shape, or not in its shortest form."""
    TERMS = "swap-terms"
    """They make no sense: one network twice, keys that are missing, an amount that nobody could claim."""
    TIMES = "swap-times"
    """The second lock's time is not well before the first's."""
    SIGNATURE = "swap-signature"
    """Somebody changed the file after it was signed."""
    NETWORK = "swap-network"
    """It is about other networks than this wallet's, or says something else of this one."""
    NOT_YOURS = "swap-not-yours"
    """This wallet has no key for what is asked of it."""
    NOT_ACCEPTED = "swap-not-accepted"
    """The other side has not accepted it yet, or has already."""
    NOT_APPROVED = "swap-not-approved"
    """An asset's controller approves before the offerer signs, and has not yet; or he froze one of the addresses."""
    ASSET = "swap-asset"
    """An asset that is not there, or that nobody can move without its controller."""
    USED = "swap-used"
    """The same secret was used for another swap, or the same file is used twice."""
    LATE = "swap-late"
    """Too little time is left for this step and those after it."""
    EARLY = "swap-early"
    """The time of the refund, or the depth that is asked for, is not reached."""
    MISSING = "swap-missing"
    """What the other side has to lock first is not there."""
    DIFFERENT = "swap-different"
    """Something lies there, but not what was agreed."""
    SECRET = "swap-secret"  # noqa: S105 - a name, no password
    """The secret is another one, or is not known here."""
    WITHDRAWN = "swap-withdrawn"
    """What was offered is spent, or is not kept for the offer any more."""
    DONE = "swap-done"
    """It was claimed, or taken back."""


class SwapError(WalletError):
    """A swap does not go on; nothing has changed.

    Attributes:
        rule: why.
    """

    def __init__(self, rule: SwapRule, sentence: str) -> None:
        super().__init__(f"{rule}: {sentence}")
        self.rule = rule
