"""Signatures that were found valid, so that a block does not pay again for what the mempool verified."""

from __future__ import annotations

from hashlib import sha256

from consensus.signatures import SignatureCheck

GENERATION = 32_768
"""Signatures in each of the two generations: about 8 MiB together when both are full, twice the
signatures of three full blocks of payments."""


class SignatureCache:
    """Remembers up to two generations of valid checks by their names; the older is dropped when the newer is full.

    A name holds all that was checked: digest, key and signature (A041). What failed is not remembered
    here. Dropping by generations costs nothing per entry and cannot be steered by what is looked up.
    """

    def __init__(self, generation: int = GENERATION) -> None:
        self._generation = generation
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __contains__(self, name: bytes) -> bool:
        return name in self._young or name in self._old

    def add(self, name: bytes) -> None:
        """Remember the name of a valid check."""
        if len(self._young) >= self._generation:
            self._old, self._young = self._young, set()
        self._young.add(name)


def name_of(check: SignatureCheck) -> bytes:
    """Return what a check is remembered by: the SHA-256 of all its parts."""
    digest, key, signature = check
    # Digest and key have fixed sizes wherever a check comes from, so the joined bytes are unambiguous.
    return sha256(digest + key + signature).digest()
