"""The node's one wallet, which may be made, or give way to another, while the node runs.

    wallet/           the wallet: keystore and database
    wallet.next/      one that is being made
    wallet.before-N/  what gave way, kept whole; N counts up from 1

A new one is made whole beside the old one, and takes its place by two renames. A crash between them is seen at the
next start, for then the first folder is missing. So there is the old wallet or the new, and nothing is ever lost.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from consensus.params import Params
from node.clock import Clock
from node.config import NodeConfig
from node.node import Node
from node.storage.errors import StorageError
from node.storage.executor import INLINE, run_whole
from node.storage.files import DirectoryFiles, sync
from node.storage.staged import StagedDatabase
from node.wallet_opening import FOLDER, open_wallet, open_world
from node.wallet_service import WalletService
from wallet.errors import WalletError
from wallet.ports import Entropy, Outside
from wallet.wallet import Wallet

NEXT = FOLDER + ".next"
BEFORE = FOLDER + ".before-"

Maker = Callable[[Outside], Wallet]
"""Makes a wallet in an empty world."""


class Around(NamedTuple):
    """What a wallet has around it in a daemon."""

    config: NodeConfig
    params: Params
    entropy: Entropy
    clock: Clock
    log: FilteringBoundLogger
    executor: Executor
    """Where its database writes, and where keys are derived."""
    node: Node
    fail: Callable[[StorageError], None]
    """Told if its disk fails."""


class WalletPlace:
    """Where the wallet is, or may be."""

    def __init__(self, around: Around, changed: Callable[[WalletService | None], None]) -> None:
        """Open the wallet that is there, or make one where nothing is at stake (see `open_wallet`).

        Args:
            changed: told of the wallet, and whenever there is another one or none.

        Raises:
            ConfigError, WalletError, StorageError: as `open_wallet`.
        """
        self._around = around
        self._changed = changed
        self._root = around.config.folder
        self._gate = asyncio.Lock()
        self._database: StagedDatabase | None = None
        self._service: WalletService | None = None
        self._puts: set[asyncio.Task[Path | None]] = set()
        self._started = False
        self._finish()
        wallet, self._database = open_wallet(
            around.config, around.params, around.entropy, around.clock, around.log, around.executor
        )
        self._settle_in(wallet)

    # Life

    async def start(self) -> None:
        """Let the wallet follow the chain, if there is one."""
        self._started = True
        if self._service is not None:
            await self._service.start()

    async def stop(self) -> None:
        """Follow no more, and make the cursor durable; waits for a wallet that is being made."""
        async with self._gate:
            self._started = False
            if self._service is not None:
                await self._service.stop()

    def close(self) -> None:
        """Give the database back."""
        if self._database is not None:
            self._database.close()
            self._database = None

    # Another one

    async def put(self, maker: Maker, *, replace: bool) -> Path | None:
        """Make a wallet, and let it take the place of the one that is there.

        Args:
            maker: called in another thread: it may derive keys.
            replace: whether one that is there may give way.

        Returns:
            The folder in which the old wallet is kept; None if there was none.

        Raises:
            WalletError: there is one and it may not give way, or what `maker` raises; nothing has changed.
            StorageError: the disk failed.
        """
        # To its end, even if the caller goes away: half way there is no wallet.
        task = asyncio.create_task(self._put(maker, replace=replace), name="wallet-place")
        self._puts.add(task)
        task.add_done_callback(self._puts.discard)
        return await asyncio.shield(task)

    async def _put(self, maker: Maker, *, replace: bool) -> Path | None:
        async with self._gate:
            if self._service is not None and not replace:
                raise WalletError("there is a wallet here already; it is left as it is")
            await run_whole(self._around.executor, lambda: self._make(maker))
            old, self._service = self._service, None
            self._changed(None)
            if old is not None:
                await old.stop()
            self.close()
            kept = self._swap()
            wallet = self._open()
            self._around.log.info("wallet_put", encrypted=wallet.encrypted, kept=None if kept is None else kept.name)
            service = self._settle_in(wallet)
            if self._started and service is not None:
                await service.start()
            return kept

    def _make(self, maker: Maker) -> None:
        """Make the new wallet whole, in its own folder, and close it. Runs in the disk's thread: it writes in line."""
        folder = self._root / NEXT
        shutil.rmtree(folder, ignore_errors=True)
        world, database = self._world(folder, INLINE)
        try:
            maker(world).close()
        except BaseException:
            database.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        database.close()

    def _swap(self) -> Path | None:
        folder = self._root / FOLDER
        number = 1
        while (kept := self._root / f"{BEFORE}{number}").exists():
            number += 1
        try:
            folder.rename(kept)
            (self._root / NEXT).rename(folder)
            sync(self._root)
        except OSError as error:
            raise StorageError(f"cannot put a wallet into {folder}: {error.strerror or error}") from error
        if Wallet.exists(DirectoryFiles(kept)):
            return kept
        # There was no wallet, only its empty database.
        shutil.rmtree(kept, ignore_errors=True)
        return None

    def _finish(self) -> None:
        """Go on where a process was killed that put a wallet here."""
        folder, following = self._root / FOLDER, self._root / NEXT
        try:
            if following.exists() and not folder.exists():
                following.rename(folder)
                sync(self._root)
        except OSError as error:
            raise StorageError(f"cannot put a wallet into {folder}: {error.strerror or error}") from error
        shutil.rmtree(following, ignore_errors=True)

    def _open(self) -> Wallet:
        world, self._database = self._world(self._root / FOLDER, self._around.executor)
        return Wallet.open(self._around.params, world, allow_plain=self._around.config.is_private)

    def _world(self, folder: Path, executor: Executor) -> tuple[Outside, StagedDatabase]:
        around = self._around
        return open_world(folder, around.params, around.entropy, around.clock, around.log, executor)

    def _settle_in(self, wallet: Wallet | None) -> WalletService | None:
        around, database = self._around, self._database
        if wallet is not None and database is not None:
            self._service = WalletService(wallet, database, around.node, around.log, around.fail, around.executor)
        self._changed(self._service)
        return self._service
