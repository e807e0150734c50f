"""How many coins a block may create."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consensus.types import Amount

if TYPE_CHECKING:
    from consensus.params import Params

LAST_HALVING = 64
"""From this many halvings on the subsidy is 0 (BIP 42)."""


def block_subsidy(params: Params, height: int) -> Amount:
    """Return what a block of `height` (1 or more) may create, in grain.

    Halves at every multiple of `params.subsidy_interval`, and is 0 from 64 halvings on.
    """
    halvings = height // params.subsidy_interval
    return Amount(0 if halvings >= LAST_HALVING else params.initial_subsidy >> halvings)


def supply_at(initial: int, interval: int, height: int) -> Amount:
    """Return the sum of the subsidies of blocks 1 to `height`, in grain.

    Args:
        initial: the first subsidy, in grain.
        interval: blocks between halvings.
    """
    total = 0
    for halvings in range(min(LAST_HALVING, height // interval + 1)):
        # The genesis block has no subsidy, so the first interval is one block short.
        first = max(1, halvings * interval)
        last = min(height, (halvings + 1) * interval - 1)
        total += (last - first + 1) * (initial >> halvings)
    return Amount(total)
