"""A seed as words (BIP 39), in English: twelve by default."""

from __future__ import annotations

from functools import cache

from mnemonic import Mnemonic

from wallet.errors import MnemonicError
from wallet.ports import Entropy

DEFAULT_ENTROPY = 16
"""Bytes of a new mnemonic: twelve words."""
_LENGTHS = (12, 15, 18, 21, 24)


@cache
def _english() -> Mnemonic:
    return Mnemonic("english")


def new_mnemonic(entropy: Entropy) -> str:
    """Return twelve new words, separated by single spaces."""
    return mnemonic_from_entropy(entropy.randbytes(DEFAULT_ENTROPY))


def mnemonic_from_entropy(raw: bytes) -> str:
    """Return the words of 16, 20, 24, 28 or 32 bytes.

    Raises:
        ValueError: for another length.
    """
    return _english().to_mnemonic(raw)


def check_mnemonic(text: str) -> None:
    """Check that these are the words of a mnemonic: small letters, single spaces, a good checksum.

    Raises:
        MnemonicError: saying which word is wrong, by its place from 1. It quotes no word: the
            words are secret, and messages end up in logs.
    """
    if text != " ".join(text.split()):
        raise MnemonicError("the words must be separated by single spaces, with none before or after them")
    words = text.split(" ") if text else []
    known = _english().wordlist
    for place, word in enumerate(words, 1):
        if word not in known:
            why = "has capital letters" if word.lower() in known else "is not in the list of words"
            raise MnemonicError(f"word {place} {why}", place)
    if len(words) not in _LENGTHS:
        raise MnemonicError(f"a mnemonic has 12, 15, 18, 21 or 24 words, not {len(words)}")
    if not _english().check(text):
        raise MnemonicError(
            f"the words do not belong together: the checksum in word {len(words)} does not match; "
            "one is wrong, or two are exchanged"
        )


def seed_of(mnemonic: str, passphrase: str = "") -> bytes:
    """Return the 64 bytes that all keys follow from; any text gives some (BIP 39)."""
    return Mnemonic.to_seed(mnemonic, passphrase)
