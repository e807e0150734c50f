"""A child of the daemon that verifies signatures or searches nonces, and what the two say to each other.

A request is a number (4 bytes, big-endian) of bytes that follow, then a kind and its fields. An answer is
8 bytes: 0 for None, else the number plus 1. The process ends when its input ends, hence also when the
daemon is killed. It knows nothing of chains or peers, and imports little: some 15 MiB.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from consensus.signatures import SignatureCheck, verify_all
from consensus.sizes import SIGNATURE_SIZE

if TYPE_CHECKING:
    from consensus.types import Header

_VERIFY, _SEARCH = b"v", b"s"
_DIGEST_SIZE, _KEY_SIZE = 32, 33
_CHECK_SIZE = _DIGEST_SIZE + _KEY_SIZE + SIGNATURE_SIZE
ANSWER_SIZE = 8
MAX_DESCRIPTORS = 65_536
"""Where a system allows more, a daemon holds no more."""


def pack_checks(checks: Sequence[SignatureCheck]) -> bytes:
    """Return a request to verify.

    Raises:
        ValueError: a field has not the one size that consensus takes.
    """
    for digest, key, signature in checks:
        if len(digest) != _DIGEST_SIZE or len(key) != _KEY_SIZE or len(signature) != SIGNATURE_SIZE:
            raise ValueError("a digest, key or signature of another size")
    return _framed(_VERIFY + b"".join([digest + key + signature for digest, key, signature in checks]))


def pack_search(header: Header, tries: int) -> bytes:
    """Return a request to search."""
    return _framed(_SEARCH + tries.to_bytes(8, "big") + header.encoded)


def _framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


def pack_answer(value: int | None) -> bytes:
    """Return an answer: of checks, the place of the first that fails; of a search, the nonce; None for neither."""
    return (0 if value is None else value + 1).to_bytes(ANSWER_SIZE, "big")


def read_answer(raw: bytes) -> int | None:
    """Return what `pack_answer` packed."""
    number = int.from_bytes(raw, "big")
    return number - 1 if number else None


def _handle(payload: bytes) -> int | None:
    kind, fields = payload[:1], payload[1:]
    if kind == _VERIFY:
        return verify_all([_check(fields[at : at + _CHECK_SIZE]) for at in range(0, len(fields), _CHECK_SIZE)])
    return _search(int.from_bytes(fields[:8], "big"), fields[8:])


def _search(tries: int, header: bytes) -> int | None:
    # Imported where it is needed: most workers never search, and start in half the time.
    from consensus.types import Header  # noqa: PLC0415
    from miner.search import search  # noqa: PLC0415

    found = search(Header.from_bytes(header), tries)
    return None if found is None else found.nonce


def _check(raw: bytes) -> SignatureCheck:
    key_end = _DIGEST_SIZE + _KEY_SIZE
    return SignatureCheck(raw[:_DIGEST_SIZE], raw[_DIGEST_SIZE:key_end], raw[key_end:])


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until the input ends."""
    while len(size := requests.read(4)) == 4:
        payload = requests.read(int.from_bytes(size, "big"))
        answers.write(pack_answer(_handle(payload)))
        answers.flush()


def main() -> None:
    """Serve on standard input and output."""
    # Whatever else the event loop let through is not ours to hold open.
    os.closerange(3, MAX_DESCRIPTORS)
    # The daemon decides when its children end; a signal to the whole group must not cut an answer short.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
