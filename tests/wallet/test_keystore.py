"""The keystore: damage, passphrases, costs, and what a crash leaves at every step."""

from __future__ import annotations

import contextlib
import os
import random
import stat
import unicodedata
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consensus.signatures import public_key
from node.storage.files import DirectoryFiles, MemoryFiles
from tests.support.wallets import WORDS
from wallet.errors import KeystoreError, WalletError, WalletLockedError, WrongPassphraseError
from wallet.keys import ACCOUNT_PATH, master_node
from wallet.keystore import BACKUP_FILE, IMPORTED_BRANCH, Keystore
from wallet.keystore_file import KEYSTORE_FILE, KdfCost, KeystoreBody, Sealed, read_keystore, write_keystore
from wallet.ports import Files
from wallet.words import seed_of

CHEAP = KdfCost(14, 1)
"""The cheapest that is allowed: 50 ms."""
PASSPHRASE = "correct horse"
KEY = bytes(31) + b"\x07"


def made(files: Files, passphrase: str | None = PASSPHRASE) -> Keystore:
    return Keystore.create(files, random.Random(1), mnemonic=WORDS, passphrase=passphrase, allow_plain=True, cost=CHEAP)


def loaded(files: Files, *, allow_plain: bool = True) -> Keystore:
    return Keystore.load(files, random.Random(2), allow_plain=allow_plain)


@pytest.fixture(scope="module")
def sealed() -> bytes:
    files = MemoryFiles()
    return made(files).raw


def holding(raw: bytes, backup: bytes | None = None) -> MemoryFiles:
    files = MemoryFiles()
    files.write(KEYSTORE_FILE, raw)
    if backup is not None:
        files.write(BACKUP_FILE, backup)
    return files


def test_keys_follow_the_words_by_the_written_path() -> None:
    keystore = made(MemoryFiles(), None)
    expected = master_node(seed_of(WORDS)).descend((*ACCOUNT_PATH, 0, 5)).private_key
    assert keystore.private_key(0, 5) == expected
    assert keystore.account.child(0).child(5).public_key == public_key(expected)


def test_a_locked_keystore_gives_out_nothing_secret(sealed: bytes) -> None:
    keystore = loaded(holding(sealed))
    assert keystore.locked
    for ask in (keystore.secret, lambda: keystore.private_key(0, 0), lambda: keystore.add_key(KEY)):
        with pytest.raises(WalletLockedError):
            ask()
    keystore.unlock(PASSPHRASE)
    assert keystore.secret().mnemonic == WORDS
    keystore.lock()
    assert keystore.locked


def test_a_keystore_comes_unlocked_from_its_making() -> None:
    assert not made(MemoryFiles()).locked


def test_an_unencrypted_keystore_cannot_be_locked_nor_unlocked() -> None:
    keystore = made(MemoryFiles(), None)
    keystore.lock()
    assert not keystore.locked
    with pytest.raises(WalletError, match="no passphrase"):
        keystore.unlock("x")


def test_without_a_passphrase_only_where_it_is_allowed() -> None:
    with pytest.raises(WalletError, match="takes a passphrase"):
        Keystore.create(MemoryFiles(), random.Random(1), mnemonic=WORDS, passphrase=None, allow_plain=False)
    files = MemoryFiles()
    made(files, None)
    with pytest.raises(WalletError, match="local networks only"):
        loaded(files, allow_plain=False)
    other = MemoryFiles()
    with pytest.raises(WalletError, match="local networks only"):
        Keystore.adopt(other, random.Random(1), files.read(KEYSTORE_FILE) or b"", allow_plain=False)
    assert other.read(KEYSTORE_FILE) is None


def test_an_existing_keystore_is_never_written_over(sealed: bytes) -> None:
    for files in (holding(sealed), holding(b"damaged")):
        before = files.read(KEYSTORE_FILE)
        with pytest.raises(WalletError, match="already"):
            made(files)
        with pytest.raises(WalletError, match="already"):
            Keystore.adopt(files, random.Random(1), sealed, allow_plain=False)
        assert files.read(KEYSTORE_FILE) == before


@pytest.mark.parametrize("with_backup", [True, False])
def test_every_damaged_byte_is_found_and_nothing_is_touched(sealed: bytes, *, with_backup: bool) -> None:
    """A139: each byte flipped; the message tells whether the backup is good."""
    for place in range(len(sealed)):
        damaged = sealed[:place] + bytes([sealed[place] ^ 1 << place % 8]) + sealed[place + 1 :]
        files = holding(damaged, sealed if with_backup else None)
        with pytest.raises(KeystoreError, match=r"damaged.*nothing was changed") as refused:
            loaded(files)
        assert (f"copy it to {KEYSTORE_FILE}" in str(refused.value)) == with_backup
        assert files.read(KEYSTORE_FILE) == damaged
        assert files.read(BACKUP_FILE) == (sealed if with_backup else None)


def test_every_truncation_is_found(sealed: bytes) -> None:
    """A139: the empty file too."""
    for length in range(len(sealed)):
        with pytest.raises(KeystoreError):
            loaded(holding(sealed[:length]))


def _resealed(content: bytes) -> bytes:
    return content + sha256(content).digest()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c[:8] + b"\x02" + c[9:], "version 2"),
        (lambda c: b"durekeyz" + c[8:], "not a keystore"),
        (lambda c: c[:9] + b"\xc0" + c[9:], "damaged"),
        (lambda c: c + b"\x00", "damaged"),
        (lambda c: c[:9], "damaged"),
    ],
)
def test_another_version_or_content_is_refused_though_its_checksum_holds(
    sealed: bytes, change: Callable[[bytes], bytes], says: str
) -> None:
    """A139"""
    with pytest.raises(KeystoreError, match=says):
        loaded(holding(_resealed(change(sealed[:-32]))))


@pytest.mark.parametrize(
    ("log_n", "r", "p"), [(13, 8, 1), (1, 8, 1), (19, 8, 1), (30, 8, 1), (14, 8, 0), (14, 8, 5), (14, 9, 1), (14, 1, 1)]
)
def test_absurd_derivation_costs_are_refused_before_they_are_paid(sealed: bytes, log_n: int, r: int, p: int) -> None:
    """A140: far too cheap, or a terabyte of memory: never run."""
    body = read_keystore(sealed)
    assert isinstance(body.protection, Sealed)
    changed = msgspec.structs.replace(body.protection, log_n=log_n, r=r, p=p)
    with pytest.raises(KeystoreError, match="asks for a"):
        loaded(holding(write_keystore(msgspec.structs.replace(body, protection=changed))))
    if r == 8:
        with pytest.raises(KeystoreError):
            made(MemoryFiles(), None).encrypt("x", KdfCost(log_n, p))


@pytest.mark.parametrize("field", ["account_key", "account_chain_code", "imported_public"])
def test_the_readable_part_cannot_be_exchanged(sealed: bytes, field: str) -> None:
    """A140: addresses of somebody else's would be handed out while locked; unlocking tells."""
    other = Keystore.create(MemoryFiles(), random.Random(9), mnemonic=None, passphrase=None, allow_plain=True)
    strange = {
        "account_key": other.account.public_key,
        "account_chain_code": other.account.chain_code,
        "imported_public": (other.account.public_key,),
    }
    body: KeystoreBody = msgspec.structs.replace(read_keystore(sealed), **{field: strange[field]})
    with pytest.raises(WrongPassphraseError):
        loaded(holding(write_keystore(body))).unlock(PASSPHRASE)


@pytest.mark.parametrize("wrong", ["", "Correct horse", "correct horse ", "x" * 10_000, "\ud800", "\0"])
def test_every_wrong_passphrase_gets_the_same_answer(sealed: bytes, wrong: str) -> None:
    """A141: the empty one too, after the same derivation."""
    keystore = loaded(holding(sealed))
    with pytest.raises(WrongPassphraseError) as refused:
        keystore.unlock(wrong)
    assert str(refused.value) == "the passphrase does not open this wallet"
    assert keystore.locked


def test_composed_and_decomposed_letters_open_the_same_wallet() -> None:
    """A141"""
    files = MemoryFiles()
    made(files, unicodedata.normalize("NFC", "Ärger mit 두레"))
    loaded(files).unlock(unicodedata.normalize("NFD", "Ärger mit 두레"))


def test_an_empty_passphrase_protects_nothing_and_is_refused() -> None:
    with pytest.raises(WalletError, match="empty"):
        made(MemoryFiles(), "")
    with pytest.raises(WalletError, match="empty"):
        made(MemoryFiles(), None).encrypt("", CHEAP)


def test_encrypting_leaves_no_readable_copy() -> None:
    """A142: the backup is under the passphrase too."""
    files = MemoryFiles()
    keystore = made(files, None)
    keystore.add_key(KEY)
    keystore.encrypt(PASSPHRASE, CHEAP)
    assert keystore.locked
    for name in (KEYSTORE_FILE, BACKUP_FILE):
        raw = files.read(name) or b""
        assert WORDS.encode() not in raw
        assert KEY not in raw
    again = loaded(files, allow_plain=False)
    again.unlock(PASSPHRASE)
    assert again.private_key(IMPORTED_BRANCH, 0) == KEY
    with pytest.raises(WalletError, match="already"):
        keystore.encrypt("again", CHEAP)


def test_a_changed_passphrase_opens_and_the_old_one_does_not_even_the_backup() -> None:
    files = MemoryFiles()
    keystore = made(files)
    with pytest.raises(WrongPassphraseError):
        keystore.change_passphrase("wrong", "new")
    keystore.change_passphrase(PASSPHRASE, "new")
    assert not keystore.locked
    for name in (KEYSTORE_FILE, BACKUP_FILE):
        again = loaded(holding(files.read(name) or b""))
        with pytest.raises(WrongPassphraseError):
            again.unlock(PASSPHRASE)
        again.unlock("new")
    keystore.lock()
    keystore.change_passphrase("new", "newer")
    assert keystore.locked


def test_an_imported_key_is_sealed_again_without_a_passphrase() -> None:
    files = MemoryFiles()
    keystore = made(files)
    first = files.read(KEYSTORE_FILE)
    assert keystore.add_key(KEY) == 0
    assert files.read(BACKUP_FILE) == first
    again = loaded(files)
    assert again.imported_public == (public_key(KEY),)
    again.unlock(PASSPHRASE)
    assert again.private_key(IMPORTED_BRANCH, 0) == KEY


class _Dying:
    """Files whose n-th write never happens: the process is gone, or the disk is full."""

    def __init__(self, files: Files, last: int) -> None:
        self._files = files
        self._left = last

    def read(self, name: str) -> bytes | None:
        return self._files.read(name)

    def write(self, name: str, data: bytes) -> None:
        if self._left == 0:
            raise OSError("no space left")
        self._left -= 1
        self._files.write(name, data)


CHANGES: list[tuple[str | None, Callable[[Keystore], object], tuple[str | None, ...]]] = [
    (None, lambda keystore: keystore.encrypt("new", CHEAP), (None, "new")),
    (PASSPHRASE, lambda keystore: keystore.change_passphrase(PASSPHRASE, "new"), (PASSPHRASE, "new")),
    (PASSPHRASE, lambda keystore: keystore.add_key(KEY), (PASSPHRASE,)),
    (None, lambda keystore: keystore.add_key(KEY), (None,)),
]


@pytest.mark.parametrize(("passphrase", "change", "allowed"), CHANGES)
@pytest.mark.parametrize("writes", [0, 1])
def test_dying_at_any_write_leaves_the_old_keystore_or_the_new(
    passphrase: str | None, change: Callable[[Keystore], object], allowed: tuple[str | None, ...], writes: int
) -> None:
    """A142"""
    files = MemoryFiles()
    made(files, passphrase)
    keystore = Keystore.load(_Dying(files, writes), random.Random(3), allow_plain=True)
    if passphrase is not None:
        keystore.unlock(passphrase)
    with pytest.raises(OSError, match="no space"):
        change(keystore)
    again = loaded(files)  # mends what was cut off
    for name in (KEYSTORE_FILE, BACKUP_FILE):
        assert _opens(holding(files.read(name) or b""), allowed)
    if again.encrypted:
        assert WORDS.encode() not in (files.read(BACKUP_FILE) or b"")


def _opens(files: Files, passphrases: tuple[str | None, ...]) -> bool:
    keystore = loaded(files)
    for passphrase in passphrases:
        if not keystore.locked:
            break
        try:
            keystore.unlock(passphrase or "")
        except WrongPassphraseError:
            continue
    return keystore.secret().mnemonic == WORDS


@pytest.mark.parametrize("writes", [0, 1])
def test_dying_while_it_is_made_leaves_none_or_a_whole_one(writes: int) -> None:
    """A142"""
    files = MemoryFiles()
    with pytest.raises(OSError, match="no space"):
        made(_Dying(files, writes))
    assert Keystore.exists(files) == (writes > 0)
    if writes:
        loaded(files)
        assert files.read(BACKUP_FILE) == files.read(KEYSTORE_FILE)


def test_a_missing_keystore_with_a_backup_is_not_taken_for_a_new_wallet(sealed: bytes) -> None:
    """A139"""
    files = MemoryFiles()
    files.write(BACKUP_FILE, sealed)
    assert Keystore.exists(files)
    with pytest.raises(KeystoreError, match=f"missing.*copy it to {KEYSTORE_FILE}"):
        loaded(files)


def test_the_backup_of_another_wallet_is_left_alone(sealed: bytes) -> None:
    other = Keystore.create(MemoryFiles(), random.Random(9), mnemonic=None, passphrase=None, allow_plain=True)
    files = holding(sealed, other.raw)
    loaded(files)
    assert files.read(BACKUP_FILE) == other.raw


def test_the_files_are_for_their_owner_only(tmp_path: Path) -> None:
    """A150"""
    made(DirectoryFiles(tmp_path), None)
    for name in (KEYSTORE_FILE, BACKUP_FILE):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_nothing_that_is_shown_by_accident_holds_a_secret() -> None:
    """A150: representations end up in tracebacks and logs."""
    keystore = made(MemoryFiles())
    keystore.add_key(KEY)
    shown = repr(keystore) + repr(keystore.secret()) + repr(keystore._opened) + repr(vars(keystore))
    assert "abandon" not in shown
    assert repr(KEY)[2:-1] not in shown
    plain = made(MemoryFiles(), None)
    assert "abandon" not in repr(plain._opened)


class _Power(BaseException):
    """The power is gone: nothing that would clean up runs."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", range(8))
def test_the_power_may_fail_at_every_step_of_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, *, after: bool
) -> None:
    """A142: at each opening, syncing and renaming of a real file, before it or after it."""
    made(DirectoryFiles(tmp_path))
    files = DirectoryFiles(tmp_path)
    keystore = loaded(files)
    left = step

    def cut(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left == -1 and not after:
                raise _Power
            result = call(*arguments, **more)
            if left == -1:
                raise _Power
            return result

        return run

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", cut(os.fsync))
        patch.setattr(Path, "replace", cut(Path.replace))
        with contextlib.suppress(_Power):
            keystore.change_passphrase(PASSPHRASE, "new")
            assert step >= 6, "two files, each synced, renamed, and its folder synced"
    again = loaded(DirectoryFiles(tmp_path))
    for name in (KEYSTORE_FILE, BACKUP_FILE):
        assert _opens(holding((tmp_path / name).read_bytes()), (PASSPHRASE, "new"))
    assert again.imported_public == ()
