"""Messages signed with the key of an address: a proof that its owner said something. Never a transaction (A040).

    digest    = tagged("dure/message", encode([genesis id, message in UTF-8]))
    signature = base64(key, 33 bytes ‖ r ‖ s, 64 bytes)

The tag is its own, so no digest of a message is ever one that spends a coin; the genesis id keeps a proof
on its network. An address names a policy and not a key, so the signature brings the key along.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode

from consensus.codec import encode
from consensus.hashing import tagged_hash
from consensus.params import Params
from consensus.signatures import SignatureCheck, public_key, sign, verify
from consensus.sizes import SIGNATURE_SIZE
from consensus.types import LockId
from wallet.addresses import key_lock
from wallet.errors import KeyFormatError

_KEY_SIZE = 33


def message_digest(params: Params, message: str) -> bytes:
    """Return the 32 bytes that are signed for a message."""
    return tagged_hash("dure/message", encode((params.genesis_hash, message.encode("utf-8", "surrogatepass"))))


def sign_message(params: Params, private_key: bytes, message: str) -> str:
    """Return a signature, as text."""
    return b64encode(public_key(private_key) + sign(private_key, message_digest(params, message))).decode("ascii")


def verify_message(params: Params, lock: LockId, signature: str, message: str) -> bool:
    """Tell whether whoever can spend at `lock` with one key signed the message on this network.

    Raises:
        KeyFormatError: the signature has another form than `sign_message` gives it.
    """
    try:
        raw = b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise KeyFormatError("the signature is not base64") from None
    if len(raw) != _KEY_SIZE + SIGNATURE_SIZE:
        raise KeyFormatError(f"a signature has {_KEY_SIZE + SIGNATURE_SIZE} bytes, not {len(raw)}")
    key, signed = raw[:_KEY_SIZE], raw[_KEY_SIZE:]
    return key_lock(key) == lock and verify(SignatureCheck(message_digest(params, message), key, signed))
