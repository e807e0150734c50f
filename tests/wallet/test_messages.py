"""Signed messages: whoever verifies learns that the owner of an address said it, and nothing can be spent with it."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest

from consensus.codec import encode, lock_digest, spend_message
from consensus.hashing import tagged_hash
from consensus.params import MAIN, REGTEST
from consensus.types import Amount, Core, LockId, OutPoint, Output, TxId
from tests.support.wallets import OTHER_WORDS, PARAMS, WORDS, lock_of, new_wallet, outside
from wallet.errors import KeyFormatError, WalletError, WalletLockedError
from wallet.keystore_file import KdfCost
from wallet.messages import message_digest, verify_message
from wallet.wallet import Wallet

SAID = "I own this: 두레, 12.5 DURE"


def test_what_the_owner_signed_verifies_and_nothing_else_does() -> None:
    wallet = new_wallet()
    address, other = wallet.new_address(), wallet.new_address()
    signature = wallet.sign_message(address, SAID)
    assert verify_message(PARAMS, lock_of(address), signature, SAID)
    assert not verify_message(PARAMS, lock_of(other), signature, SAID)
    assert not verify_message(PARAMS, lock_of(address), signature, SAID + " ")
    assert not verify_message(MAIN, lock_of(address), signature, SAID)
    assert wallet.sign_message(address, SAID) == signature, "a nonce of RFC 6979"
    assert verify_message(PARAMS, lock_of(address), wallet.sign_message(address, ""), "")


def test_every_changed_byte_of_a_signature_is_refused() -> None:
    wallet = new_wallet()
    address = wallet.new_address()
    raw = b64decode(wallet.sign_message(address, SAID))
    for place in range(len(raw)):
        damaged = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        assert not verify_message(PARAMS, lock_of(address), b64encode(damaged).decode(), SAID), place


@pytest.mark.parametrize("text", ["", "x", "====", "é" * 132, "A" * 129, b64encode(bytes(96)).decode(), "A\n" * 66])
def test_what_is_no_signature_is_refused_as_such(text: str) -> None:
    with pytest.raises(KeyFormatError, match="signature"):
        verify_message(PARAMS, LockId(bytes(32)), text, SAID)


def test_a_signed_message_is_never_a_transaction() -> None:
    """A040: whatever the text is, even the very bytes that a spend hashes, the digest is made under its own tag."""
    core = Core(1, (OutPoint(TxId(bytes(32)), 0),), (Output(Amount(5), LockId(bytes(32)), None),), (), (), b"")
    spent = [Output(Amount(6), LockId(bytes(32)), None)]
    message = spend_message(PARAMS.genesis_hash, core, spent)
    digest = lock_digest(message, LockId(bytes(32)))
    body = encode((PARAMS.genesis_hash, core, spent))
    for text in (message, digest, body, message + bytes(32)):
        said = text.decode("latin-1")
        assert message_digest(PARAMS, said) not in {digest, message, tagged_hash("dure/tx", text)}
    assert message_digest(PARAMS, "x") == tagged_hash("dure/message", encode((PARAMS.genesis_hash, b"x")))
    assert len({message_digest(params, "x") for params in (PARAMS, MAIN, REGTEST)}) == 3


def test_a_locked_wallet_and_anothers_address_sign_nothing() -> None:
    wallet = Wallet.create(PARAMS, outside(), mnemonic=WORDS, passphrase="secret", cost=KdfCost(14, 1))
    address = wallet.new_address()
    with pytest.raises(WalletError, match="not one of this wallet's"):
        wallet.sign_message(new_wallet(mnemonic=OTHER_WORDS).new_address(), SAID)
    wallet.lock()
    with pytest.raises(WalletLockedError):
        wallet.sign_message(address, SAID)
