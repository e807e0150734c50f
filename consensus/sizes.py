"""Sizes for those who do without `consensus.types`: a process that only verifies starts in half the time."""

from __future__ import annotations

SIGNATURE_SIZE = 64
"""Bytes of a signature: r and s, 32 each."""
