"""The keys of a wallet: locked, unlocked, changed, and never without a whole file on disk."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from consensus.signatures import public_key
from wallet.errors import KeystoreError, WalletError, WalletLockedError
from wallet.keys import ACCOUNT_PATH, PrivateNode, PublicNode, master_node
from wallet.keystore_file import (
    DEFAULT_KDF,
    KEYSTORE_FILE,
    MAX_IMPORTED_KEYS,
    KdfCost,
    KeystoreBody,
    Plain,
    Sealed,
    Secret,
    encode_secret,
    read_keystore,
    seal,
    sealed_with,
    unseal,
    write_keystore,
)
from wallet.ports import Entropy, Files
from wallet.words import check_mnemonic, new_mnemonic, seed_of

BACKUP_FILE = "wallet.keys.backup"
IMPORTED_BRANCH = 2
"""Stands for the list of imported keys where others have branch 0 (receive) or 1 (change)."""


class _Opened(NamedTuple):
    """A keystore whose secret is known; replaced as one, so that no one ever sees half of it."""

    secret: Secret
    sealing_key: bytes
    """Derived from the passphrase; empty if there is none."""
    account: PrivateNode
    branches: dict[int, PrivateNode]
    """Of the account, those that were asked for: each payment would derive them anew."""

    def __repr__(self) -> str:
        return "_Opened()"


class Keystore:
    """The keys of one wallet, and the file that holds them."""

    def __init__(self, files: Files, entropy: Entropy, raw: bytes) -> None:
        """Hold the keystore whose file is `raw`; made by `create`, `load` or `adopt`."""
        self._files = files
        self._entropy = entropy
        self._body = read_keystore(raw)
        self._opened: _Opened | None = None
        self.raw = raw
        """The file as it was last written or read."""
        if isinstance(self._body.protection, Plain):
            self._opened = _open(self._body, self._body.protection.secret, b"")

    @staticmethod
    def exists(files: Files) -> bool:
        """Tell whether there is a keystore, or at least its backup."""
        return files.read(KEYSTORE_FILE) is not None or files.read(BACKUP_FILE) is not None

    @classmethod
    def create(
        cls,
        files: Files,
        entropy: Entropy,
        *,
        mnemonic: str | None,
        passphrase: str | None,
        allow_plain: bool,
        cost: KdfCost = DEFAULT_KDF,
    ) -> Keystore:
        """Make a keystore from words, new ones if None, and write it. It comes unlocked.

        Raises:
            MnemonicError: naming the word that is wrong.
            WalletError: there is one already; no passphrase though `allow_plain` is false; an empty one.
        """
        _check_absent(files)
        if mnemonic is None:
            mnemonic = new_mnemonic(entropy)
        check_mnemonic(mnemonic)
        secret = Secret(mnemonic, ())
        account = _account_of(mnemonic).public()
        body = KeystoreBody(account.public_key, account.chain_code, (), Plain(encode_secret(secret)))
        if passphrase is not None:
            body, _ = seal(entropy, body, secret, passphrase, cost)
        elif not allow_plain:
            raise WalletError("on this network a wallet takes a passphrase")
        keystore = cls(files, entropy, write_keystore(body))
        keystore.write_new()
        if passphrase is not None:
            keystore.unlock(passphrase)
        return keystore

    @classmethod
    def load(cls, files: Files, entropy: Entropy, *, allow_plain: bool) -> Keystore:
        """Read the keystore; locked, if it is encrypted.

        Raises:
            KeystoreError: it is damaged, which changes nothing; the message says whether the backup is good.
            WalletError: there is none, or it is not encrypted though `allow_plain` is false.
        """
        raw = files.read(KEYSTORE_FILE)
        if raw is None and files.read(BACKUP_FILE) is None:
            raise WalletError("there is no wallet here")
        try:
            if raw is None:
                raise KeystoreError(f"{KEYSTORE_FILE} is missing")
            keystore = cls(files, entropy, raw)
        except KeystoreError as error:
            raise KeystoreError(f"{error}; nothing was changed. {_advice(files)}") from None
        _check_plain(keystore, allow_plain=allow_plain)
        keystore._mend_backup()
        return keystore

    @classmethod
    def adopt(cls, files: Files, entropy: Entropy, raw: bytes, *, allow_plain: bool) -> Keystore:
        """Read a keystore that was saved elsewhere, for a folder where there is none; `write_new` writes it.

        Raises:
            KeystoreError: `raw` is damaged.
            WalletError: there is one already, or `raw` is not encrypted though `allow_plain` is false.
        """
        _check_absent(files)
        keystore = cls(files, entropy, raw)
        _check_plain(keystore, allow_plain=allow_plain)
        return keystore

    def write_new(self) -> None:
        """Write a keystore for the first time, and its backup."""
        self._files.write(KEYSTORE_FILE, self.raw)
        self._files.write(BACKUP_FILE, self.raw)

    # What is readable

    @property
    def account(self) -> PublicNode:
        """The extended public key of the account."""
        return PublicNode(self._body.account_key, self._body.account_chain_code, depth=len(ACCOUNT_PATH))

    @property
    def imported_public(self) -> tuple[bytes, ...]:
        """The public keys of the imported keys, in the order of their import."""
        return self._body.imported_public

    @property
    def encrypted(self) -> bool:
        """Whether there is a passphrase."""
        return isinstance(self._body.protection, Sealed)

    @property
    def locked(self) -> bool:
        """Whether the secret is not known now."""
        return self._opened is None

    # The secret

    def secret(self) -> Secret:
        """Return the secret.

        Raises:
            WalletLockedError: unlock first.
        """
        return self._require().secret

    def private_key(self, branch: int, index: int) -> bytes:
        """Return a private key, 32 bytes: of the account, or an imported one.

        Raises:
            WalletLockedError: unlock first.
            InvalidChildError: no key has this index; none was handed out under it.
        """
        opened = self._require()
        if branch == IMPORTED_BRANCH:
            return opened.secret.imported[index]
        if branch not in opened.branches:
            opened.branches[branch] = opened.account.child(branch)
        return opened.branches[branch].child(index).private_key

    def lock(self) -> None:
        """Forget the secret; Python may keep copies in memory until it needs the place."""
        if self.encrypted:
            self._opened = None

    def unlock(self, passphrase: str) -> None:
        """Learn the secret; takes the time of one key derivation.

        Raises:
            WrongPassphraseError: nothing has changed.
            WalletError: there is no passphrase.
        """
        self._opened = self._unseal(passphrase)

    def _require(self) -> _Opened:
        opened = self._opened
        if opened is None:
            raise WalletLockedError("the wallet is locked: unlock it with its passphrase first")
        return opened

    def _unseal(self, passphrase: str) -> _Opened:
        protection = self._body.protection
        if not isinstance(protection, Sealed):
            raise WalletError("the wallet has no passphrase")
        plain, key = unseal(self._body, protection, passphrase)
        return _open(self._body, plain, key)

    # Changes, each durable when it returns

    def add_key(self, private_key: bytes) -> int:
        """Add an imported key; return its place among them.

        Raises:
            WalletLockedError: unlock first.
            WalletError: too many.
        """
        opened = self._require()
        index = len(self._body.imported_public)
        if index >= MAX_IMPORTED_KEYS:
            raise WalletError(f"a wallet holds at most {MAX_IMPORTED_KEYS} imported keys")
        secret = Secret(opened.secret.mnemonic, (*opened.secret.imported, private_key))
        body = msgspec.structs.replace(
            self._body, imported_public=(*self._body.imported_public, public_key(private_key))
        )
        if isinstance(body.protection, Sealed):
            body = sealed_with(self._entropy, body, body.protection, secret, opened.sealing_key)
        else:
            body = msgspec.structs.replace(body, protection=Plain(encode_secret(secret)))
        raw = write_keystore(body)
        self._files.write(BACKUP_FILE, self.raw)
        self._files.write(KEYSTORE_FILE, raw)
        self._body, self.raw = body, raw
        self._opened = opened._replace(secret=secret)
        return index

    def encrypt(self, passphrase: str, cost: KdfCost = DEFAULT_KDF) -> None:
        """Put an unencrypted keystore under a passphrase, and lock it. No readable copy is left.

        Raises:
            WalletError: it has a passphrase, or `passphrase` is empty.
        """
        if self.encrypted:
            raise WalletError("the wallet has a passphrase already")
        self._reseal(self._require().secret, passphrase, cost)

    def change_passphrase(self, old: str, new: str) -> None:
        """Put the keystore under another passphrase, at the same cost; it stays locked or unlocked as it is.

        Raises:
            WrongPassphraseError: `old` is not the passphrase.
            WalletError: there is none, or `new` is empty.
        """
        opened = self._unseal(old)
        protection = self._body.protection
        if isinstance(protection, Sealed):
            self._reseal(opened.secret, new, KdfCost(protection.log_n, protection.p))

    def _reseal(self, secret: Secret, passphrase: str, cost: KdfCost) -> None:
        body, key = seal(self._entropy, self._body, secret, passphrase, cost)
        raw = write_keystore(body)
        self._files.write(KEYSTORE_FILE, raw)
        # What is in memory follows what is on disk, whatever becomes of the backup below. Who signs meanwhile, in
        # another thread, finds the one opened secret or the other.
        opened = _open(body, encode_secret(secret), key) if self.encrypted else None
        self._body, self.raw = body, raw
        self._opened = opened if self._opened is not None else None
        # A copy under the old passphrase, or under none, would betray the new one. If the process
        # dies here, `load` does the same.
        self._files.write(BACKUP_FILE, raw)

    def _mend_backup(self) -> None:
        """Replace a backup that is missing, damaged, or under other protection than this keystore."""
        raw = self._files.read(BACKUP_FILE)
        try:
            body = read_keystore(raw) if raw is not None else None
        except KeystoreError:
            body = None
        if body is not None and (body.account_key != self._body.account_key or _same_protection(body, self._body)):
            return
        self._files.write(BACKUP_FILE, self.raw)


def _same_protection(one: KeystoreBody, other: KeystoreBody) -> bool:
    if isinstance(one.protection, Sealed) and isinstance(other.protection, Sealed):
        return one.protection.salt == other.protection.salt
    return isinstance(one.protection, Plain) and isinstance(other.protection, Plain)


def _check_absent(files: Files) -> None:
    if Keystore.exists(files):
        raise WalletError("there is a wallet here already; it is left as it is")


def _check_plain(keystore: Keystore, *, allow_plain: bool) -> None:
    if not keystore.encrypted and not allow_plain:
        raise WalletError("the wallet has no passphrase, which is allowed on local networks only")


def _advice(files: Files) -> str:
    backup = files.read(BACKUP_FILE)
    if backup is None:
        return f"There is no {BACKUP_FILE}: restore the wallet from a backup or from its words."
    try:
        read_keystore(backup)
    except KeystoreError:
        return f"{BACKUP_FILE} is damaged too: restore the wallet from a backup or from its words."
    return f"{BACKUP_FILE} beside it is whole: copy it to {KEYSTORE_FILE} to go on."


def _open(body: KeystoreBody, plain: bytes, sealing_key: bytes) -> _Opened:
    try:
        secret = msgspec.msgpack.decode(plain, type=Secret)
    except msgspec.MsgspecError:
        raise KeystoreError(f"{KEYSTORE_FILE} is damaged: what it protects cannot be read") from None
    account = _account_of(secret.mnemonic)
    public = account.public()
    known = (body.account_key, body.account_chain_code)
    if (public.public_key, public.chain_code) != known or len(secret.imported) != len(body.imported_public):
        raise KeystoreError(f"{KEYSTORE_FILE} is damaged: its keys do not belong together")
    return _Opened(secret, sealing_key, account, {})


def _account_of(mnemonic: str) -> PrivateNode:
    return master_node(seed_of(mnemonic)).descend(ACCOUNT_PATH)
