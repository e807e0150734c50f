"""Opening the node's wallet: made on first start where nothing is at stake, else when its owner gives a passphrase."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from consensus.params import Params
from consensus.signatures import SigningError, check_library
from node.clock import Clock
from node.config import ConfigError, NodeConfig
from node.storage.executor import INLINE
from node.storage.files import DirectoryFiles
from node.storage.lmdb_store import LmdbDatabase
from node.storage.sealed import SUMS, SealedDatabase, seal_all
from node.storage.staged import StagedDatabase
from wallet.errors import WalletError, WrongPassphraseError
from wallet.ports import Entropy, Outside
from wallet.store import TABLES
from wallet.wallet import Wallet

STORAGE_VERSION = 2
"""Of how records lie in the wallet's database. What they say is `wallet.store`'s, which counts its own versions."""
ADVICE = "move the wallet's folder away, and restore it from a backup or from its words (restore_wallet)"
RECORDS_MISSING = (
    "there are keys and no database: what blocks say of them is read anew; labels, names of requests and payments that "
    "are in no block are in backups only"
)
MAX_SECRET_FILE = 64 * 1024 * 1024
"""Bytes of a backup, or of a file with words or a passphrase."""


FOLDER = "wallet"
"""In the data directory."""


def open_world(
    folder: Path, params: Params, entropy: Entropy, clock: Clock, log: FilteringBoundLogger, executor: Executor
) -> tuple[Outside, StagedDatabase]:
    """Return what a wallet in `folder` has of the world, and its database, which is made if need be.

    Args:
        executor: where the database writes.

    Raises:
        StorageError: the disk failed, or the database is another network's.
    """
    database = open_wallet_database(folder, params, executor)
    return Outside(DirectoryFiles(folder), database, entropy, clock, log), database


def open_wallet(
    config: NodeConfig, params: Params, entropy: Entropy, clock: Clock, log: FilteringBoundLogger, executor: Executor
) -> tuple[Wallet | None, StagedDatabase]:
    """Return the wallet, opened or made, and its database; None where there is none and none may be made.

    On local and regtest a new wallet needs no passphrase; elsewhere `passphrase_file` must give one.

    Args:
        executor: where the database writes.

    Raises:
        ConfigError: a file that the settings name cannot be used, or the passphrase is wrong.
        WalletError: the wallet is damaged, or may not be opened on this network.
        StorageError: the disk failed, or the database is another network's.
    """
    outside, database = open_world(config.folder / FOLDER, params, entropy, clock, log, executor)
    try:
        return _open(config, params, outside), database
    except BaseException:
        database.close()
        raise


def open_wallet_database(folder: Path, params: Params, executor: Executor = INLINE) -> StagedDatabase:
    """Open or make the database of a wallet. One of the first version, which had no checksums, gets them.

    Raises:
        StorageError: it is damaged, of another network, of a newer program, or the disk failed.
    """
    lmdb = LmdbDatabase(
        folder,
        (*TABLES, SUMS),
        version=STORAGE_VERSION,
        identity=params.genesis_hash,
        migrations={1: lambda database: seal_all(database, TABLES)},
        executor=executor,
    )
    try:
        return StagedDatabase(SealedDatabase(lmdb, TABLES, ADVICE))
    except BaseException:
        lmdb.close()
        raise


def _open(config: NodeConfig, params: Params, outside: Outside) -> Wallet | None:
    try:
        check_library()
    except SigningError as error:
        raise WalletError(f"no key is touched: {error}") from None
    passphrase = None if config.passphrase_file is None else read_passphrase(Path(config.passphrase_file))
    if config.restore_wallet is not None:
        wallet = _restore(Path(config.restore_wallet), config, params, outside, passphrase)
        outside.log.info("wallet_restored", encrypted=wallet.encrypted)
    elif Wallet.exists(outside.files):
        if outside.database.get("meta", b"version") is None:
            outside.log.warning("wallet_records_missing", why=RECORDS_MISSING)
        wallet = Wallet.open(params, outside, allow_plain=config.is_private)
    elif passphrase is None and not config.is_private:
        outside.log.warning(
            "wallet_not_made", why="on this network it takes a passphrase: set passphrase_file, or call createwallet"
        )
        return None
    else:
        wallet = Wallet.create(params, outside, passphrase=passphrase, allow_plain=config.is_private)
        outside.log.info("wallet_made", encrypted=wallet.encrypted)
    if passphrase is not None and wallet.locked:
        try:
            wallet.unlock(passphrase)
        except WrongPassphraseError:
            raise ConfigError("passphrase_file: its passphrase does not open the wallet") from None
    return wallet


def _restore(path: Path, config: NodeConfig, params: Params, outside: Outside, passphrase: str | None) -> Wallet:
    """Bring a wallet back from a backup, or from its words."""
    raw = _read(path, "restore_wallet")
    words = _words(raw)
    try:
        if words is None:
            return Wallet.restore(params, outside, raw, allow_plain=config.is_private)
        return Wallet.create(params, outside, mnemonic=words, passphrase=passphrase, allow_plain=config.is_private)
    except WalletError as error:
        raise ConfigError(f"restore_wallet: {error}") from None


def _words(raw: bytes) -> str | None:
    """Return a mnemonic, if that is what the file holds."""
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        return None
    return text if text and text.replace(" ", "").replace("\n", "").isalpha() else None


def read_passphrase(path: Path) -> str:
    """Return the first line of a file.

    Raises:
        ConfigError: it cannot be read, or that line is empty.
    """
    lines = _read(path, "passphrase_file").splitlines()
    try:
        passphrase = lines[0].decode("utf-8") if lines else ""
    except UnicodeDecodeError:
        raise ConfigError("passphrase_file: its first line is not UTF-8 text") from None
    if not passphrase:
        raise ConfigError("passphrase_file: its first line is empty")
    return passphrase


def _read(path: Path, setting: str) -> bytes:
    try:
        with path.expanduser().open("rb") as file:
            raw = file.read(MAX_SECRET_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{setting}: {path} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_SECRET_FILE:
        raise ConfigError(f"{setting}: {path} is too large")
    return raw
