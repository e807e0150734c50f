"""What a machine may lack: its tests are skipped there, and fail where $DURE_REQUIRE says that it must be there."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def require(what: str, reason: str) -> NoReturn:
    """Skip the test for want of `what`, or fail it where the environment says that it must be there."""
    if what in os.environ.get("DURE_REQUIRE", "").split(","):
        pytest.fail(f"{reason} (DURE_REQUIRE names {what})")
    pytest.skip(reason)
