"""All behaviours: importing their modules is what enters them."""

from __future__ import annotations

from simnet.hostile import assets, blocks, floods, headers, mining, transactions, wire
from simnet.hostile.behaviour import BEHAVIOURS

MODULES = (assets, blocks, floods, headers, mining, transactions, wire)

__all__ = ["BEHAVIOURS", "MODULES"]
