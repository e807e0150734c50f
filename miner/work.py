"""What there is to search: a template turned into headers, and a found header into a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from consensus.codec import encode
from consensus.hashing import hash256
from consensus.types import BlockHash, Header

EXTRANONCE_SIZE = 8
"""Bytes at the end of the coinbase's memo that are the miner's to fill."""
_AFTER_MEMO = 1
"""Bytes of an encoded coinbase after its memo: the empty array of witnesses."""


def with_extranonce(coinbase: bytes, extranonce: int) -> bytes:
    """Return an encoded coinbase with `extranonce` as the last bytes of its memo, which end it but for one byte.

    Raises:
        ValueError: if the coinbase is not of that shape, so that something else would be overwritten.
    """
    if coinbase[-_AFTER_MEMO:] != encode(()) or len(coinbase) < EXTRANONCE_SIZE + _AFTER_MEMO:
        raise ValueError("the template's coinbase does not end in a memo and no witnesses")
    place = len(coinbase) - _AFTER_MEMO - EXTRANONCE_SIZE
    return coinbase[:place] + extranonce.to_bytes(EXTRANONCE_SIZE, "big") + coinbase[-_AFTER_MEMO:]


def coinbase_branch(others: Sequence[bytes]) -> list[bytes]:
    """Return the hashes beside the way from the first leaf to the root (Stratum: merkle_branch).

    Args:
        others: the wtxids of all transactions but the first.
    """
    branch: list[bytes] = []
    # The first place is held open: whatever stands there meets `level[1]` and moves up.
    level: list[bytes] = [b"", *others]
    while len(level) > 1:
        branch.append(level[1])
        above = [hash256(level[i] + level[i + 1]) for i in range(2, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level = [b"", *above]
    return branch


def root_of_branch(coinbase: bytes, branch: Sequence[bytes]) -> bytes:
    """Return the Merkle root of a block whose encoded coinbase this is."""
    node = hash256(coinbase)
    for sibling in branch:
        node = hash256(node + sibling)
    return node


@dataclass(frozen=True)
class Work:
    """One template, ready to be searched."""

    height: int
    version: int
    previous: BlockHash
    time: int
    """UNIX seconds, when the template was made."""
    bits: int
    coinbase: bytes
    """Encoded; its memo ends in room for the extranonce."""
    transactions: tuple[bytes, ...]
    """Encoded, in block order, without the coinbase."""
    branch: tuple[bytes, ...]

    def header(self, extranonce: int, time: int) -> Header:
        """Return the header for one extranonce, with nonce 0.

        Args:
            extranonce: each one gives 2^32 more headers.
            time: UNIX seconds, not before `self.time`: as time passes, the header's may follow.
        """
        root = root_of_branch(with_extranonce(self.coinbase, extranonce), self.branch)
        return Header(self.version, self.previous, root, time, self.bits, 0)

    def block(self, header: Header, extranonce: int) -> bytes:
        """Return the encoded block of a header that `header` gave for `extranonce`."""
        coinbase = with_extranonce(self.coinbase, extranonce)
        # The transactions are already in their one encoding: they go in as they are.
        return encode((header.encoded, [msgspec.Raw(raw) for raw in (coinbase, *self.transactions)]))
