"""Mnemonics: the published vectors, and every way to get the words wrong."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.support.wallets import WORDS
from wallet.errors import MnemonicError
from wallet.keys import master_node
from wallet.words import check_mnemonic, mnemonic_from_entropy, new_mnemonic, seed_of


def test_the_published_english_vectors_hold(vectors: Path) -> None:
    """A144: BIP 39, 24 vectors with passphrase TREZOR, down to the extended key."""
    cases = json.loads((vectors / "bip39" / "vectors.json").read_text("utf-8"))["english"]
    assert len(cases) == 24
    for entropy, words, seed, xprv in cases:
        assert mnemonic_from_entropy(bytes.fromhex(entropy)) == words
        check_mnemonic(words)
        assert seed_of(words, "TREZOR").hex() == seed
        assert master_node(seed_of(words, "TREZOR")).serialize() == xprv


def test_seeds_of_other_languages_hold_too(vectors: Path) -> None:
    """A141: the Japanese vectors need NFKD, of words and passphrase."""
    cases = json.loads((vectors / "bip39" / "vectors.json").read_text("utf-8"))["japanese"]
    for _, words, seed, _ in cases[:6]:
        assert seed_of(words, "TREZOR").hex() == seed


def test_the_word_list_is_the_published_one(vectors: Path) -> None:
    published = (vectors / "bip39" / "english.txt").read_text("ascii").split()
    for place in (0, 1, 1023, 2047):
        words = mnemonic_from_entropy((place << 117).to_bytes(16, "big")).split()
        assert words[0] == published[place]


def test_a_new_mnemonic_has_twelve_good_words_and_follows_the_entropy() -> None:
    one, two = new_mnemonic(random.Random(1)), new_mnemonic(random.Random(1))
    assert one == two != new_mnemonic(random.Random(2))
    assert len(one.split(" ")) == 12
    check_mnemonic(one)


GOOD = WORDS.split(" ")


@pytest.mark.parametrize(
    ("words", "place", "says"),
    [
        ([*GOOD[:11], "abandon"], None, "checksum in word 12"),
        (GOOD[:11], None, "not 11"),
        ([*GOOD, "about"], None, "not 13"),
        ([], None, "not 0"),
        ([*GOOD[:4], "abandom", *GOOD[5:]], 5, "word 5 is not in the list"),
        ([*GOOD[:6], "Abandon", *GOOD[7:]], 7, "word 7 has capital letters"),
        ([*GOOD[:11], "ABOUT"], 12, "word 12 has capital letters"),
        ([*GOOD[:2], "", *GOOD[2:]], None, "single spaces"),
        ([*GOOD, ""], None, "single spaces"),
        ([*GOOD[:3], "aban don", *GOOD[4:]], 4, "word 4"),
        ([*GOOD[:3], "ábandon", *GOOD[4:]], 4, "word 4"),
    ],
)
def test_wrong_words_are_refused_with_their_place(words: list[str], place: int | None, says: str) -> None:
    """A144"""
    with pytest.raises(MnemonicError) as refused:
        check_mnemonic(" ".join(words))
    assert refused.value.place == place
    assert says in str(refused.value)


def test_a_refusal_quotes_no_word() -> None:
    """A150: what somebody typed may be most of a secret."""
    with pytest.raises(MnemonicError) as refused:
        check_mnemonic("letter advice cage absurd amount doctor acoustic avoid letter advice cage abovv")
    assert not any(word in str(refused.value) for word in ("letter", "abovv", "doctor"))


def test_one_word_off_is_refused_all_but_one_time_in_sixteen() -> None:
    """A144: twelve words carry four bits of checksum."""
    rng = random.Random(5)
    known = [mnemonic_from_entropy((place << 117).to_bytes(16, "big")).split()[0] for place in range(2048)]
    passed = 0
    for _ in range(320):
        words = list(GOOD)
        words[rng.randrange(12)] = rng.choice(known)
        try:
            check_mnemonic(" ".join(words))
        except MnemonicError:
            continue
        passed += words != GOOD
    assert passed < 40
