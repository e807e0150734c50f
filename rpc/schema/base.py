"""What all results share."""

from __future__ import annotations

import msgspec


class Result(msgspec.Struct, frozen=True):
    """Any result that is an object."""
