"""Single keys as PEM: out, in, and what is no key."""

from __future__ import annotations

import contextlib
import random

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from ecdsa import NIST256p, SigningKey

from tests.support.wallets import new_wallet, outside, reopened
from wallet.errors import KeyFormatError, WalletError
from wallet.pem import export_key, import_key

KEY = bytes(range(1, 33))


def test_a_key_comes_back_as_it_went() -> None:
    assert import_key(export_key(KEY)) == KEY


def test_another_library_reads_what_we_write_and_we_what_it_writes() -> None:
    """Two programs that share no code: ours and OpenSSL."""
    private = serialization.load_pem_private_key(export_key(KEY).encode(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert private.private_numbers().private_value == int.from_bytes(KEY, "big")
    for form in (serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8):
        text = private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
        assert import_key(text) == KEY


def test_a_key_of_another_curve_is_refused() -> None:
    with pytest.raises(KeyFormatError, match="secp256k1"):
        import_key(SigningKey.from_string(KEY, curve=NIST256p).to_pem().decode())


def test_an_encrypted_key_is_refused_with_what_to_do() -> None:
    private = serialization.load_pem_private_key(export_key(KEY).encode(), None)
    text = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    ).decode()
    with pytest.raises(KeyFormatError, match="encrypted"):
        import_key(text)


BEGIN, END = "-----BEGIN EC PRIVATE KEY-----", "-----END EC PRIVATE KEY-----"


@pytest.mark.parametrize(
    "text", ["", "x", BEGIN, "A" * 100_000, "\0", f"{BEGIN}\n????\n{END}", f"{BEGIN}\nAAAA\n{END}"]
)
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(KeyFormatError):
        import_key(text)


def test_no_damaged_pem_raises_anything_unnamed() -> None:
    """A035: every character changed, every length cut."""
    text, rng = export_key(KEY), random.Random(1)
    damaged = [text[:place] + rng.choice("AZ09+/=-\n é") + text[place + 1 :] for place in range(len(text))]
    damaged += [text[:length] for length in range(len(text))]
    for each in damaged:
        with contextlib.suppress(KeyFormatError):
            assert len(import_key(each)) == 32


def test_an_imported_key_is_watched_and_exported_again() -> None:
    world = outside()
    wallet = new_wallet(world)
    address = wallet.import_key(export_key(KEY), "old coins")
    assert wallet.export_key(address) == export_key(KEY)
    with pytest.raises(KeyFormatError, match="already"):
        wallet.import_key(export_key(KEY))
    own = wallet.new_address()
    assert import_key(wallet.export_key(own)) == wallet._keystore.private_key(0, 0)
    with pytest.raises(WalletError, match="not one of this wallet's"):
        wallet.export_key(new_wallet(outside(), mnemonic=None).new_address())
    again = reopened(world)
    assert again.export_key(address) == export_key(KEY)


def test_a_crash_between_key_and_address_loses_neither() -> None:
    """A142: the keystore has the key, the database not yet its address."""
    world = outside()
    wallet = new_wallet(world)
    wallet._keystore.add_key(KEY)
    lock = wallet._addresses.lock_of_private_key(KEY)
    assert not wallet.is_mine(lock)
    assert reopened(world).is_mine(lock)
