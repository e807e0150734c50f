"""Signatures that were found valid, so that a block does not pay again for what the mempool verified."""

from __future__ import annotations

from hashlib import sha256

from consensus.signatures import SignatureCheck

GENERATION = 32_768
"""Signatures in each of the two generations: about 8 MiB together when both are full, twice the
signatures of three full blocks of payments."""


class SignatureCache:
    """Remembers up to two generations of valid checks; the older one is dropped when the newer is full.

    The key holds all that was checked: digest, key and signature (A041). What failed is not remembered
    here. Dropping by generations costs nothing per entry and cannot be steered by what is looked up.
    """

    def __init__(self, generation: int = GENERATION) -> None:
        self._generation = generation
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __contains__(self, check: SignatureCheck) -> bool:
        name = _name(check)
        return name in self._young or name in self._old

    def add(self, check: SignatureCheck) -> None:
        """Remember a valid check."""
        if len(self._young) >= self._generation:
            self._old, self._young = self._young, set()
        self._young.add(_name(check))


def _name(check: SignatureCheck) -> bytes:
    # Digest and key have fixed sizes wherever a check comes from, so the joined bytes are unambiguous.
    return sha256(check.digest + check.key + check.signature).digest()
