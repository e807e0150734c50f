"""What opens the wallet's keys and closes them again: one change at a time, and a lock that comes by itself.

Deriving a key from a passphrase takes its time, by intent, so it is done in another thread. Meanwhile the wallet may
be locked, by its owner or by the timer: that holds, whatever the thread found (A151).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from wallet.wallet import Wallet

_T = TypeVar("_T")


class Elsewhere(Protocol):
    """Calls a function in another thread, while nobody else has the wallet; in a simulation at once."""

    async def __call__(self, work: Callable[[], _T], /) -> _T:
        """Return what `work` returns, once all that it changed is durable."""
        ...


class WalletLock:
    """The passphrase of one wallet, and how long it stays unlocked."""

    def __init__(self, wallet: Wallet, elsewhere: Elsewhere) -> None:
        self._wallet = wallet
        self._elsewhere = elsewhere
        self._gate = asyncio.Lock()
        """Held while keys or their passphrase change."""
        self._timer: asyncio.TimerHandle | None = None
        self._times_locked = 0
        self._changes: set[asyncio.Task[None]] = set()

    @property
    def seconds_left(self) -> float | None:
        """How long the wallet stays unlocked; 0 if it is locked, None if nothing will lock it."""
        if self._wallet.locked:
            return 0.0
        if self._timer is None:
            return None
        return max(0.0, self._timer.when() - asyncio.get_running_loop().time())

    def lock(self) -> None:
        """Forget the keys now, and whatever a change of passphrase or an unlocking that is under way would open."""
        self._times_locked += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wallet.lock()

    async def unlock(self, passphrase: str, seconds: float) -> None:
        """Make the keys usable for some time, in place of what was left of an earlier one.

        Raises:
            WalletError: as `Wallet.unlock`; the wallet and its timer stay as they were.
        """

        async def work() -> None:
            if await self._derive(lambda: self._wallet.unlock(passphrase)):
                self._lock_after(seconds)

        await self._change(work)

    async def encrypt(self, passphrase: str) -> None:
        """Put an unencrypted wallet under a passphrase, and lock it.

        Raises:
            WalletError, StorageError: as `Wallet.encrypt`.
        """

        async def work() -> None:
            await self._derive(lambda: self._wallet.encrypt(passphrase))

        await self._change(work)

    async def change_passphrase(self, old: str, new: str) -> None:
        """Put the wallet under another passphrase; it stays locked or unlocked, for as long as it would have.

        Raises:
            WalletError, StorageError: as `Wallet.change_passphrase`.
        """

        async def work() -> None:
            await self._derive(lambda: self._wallet.change_passphrase(old, new))

        await self._change(work)

    async def import_key(self, pem: str, label: str) -> str:
        """Add a private key, as `Wallet.import_key`; never into a keystore that is being written anew.

        Raises:
            WalletError, StorageError: as there.
        """
        async with self._gate:
            return await self._elsewhere(lambda: self._wallet.import_key(pem, label))

    async def close(self) -> None:
        """Wait for what is under way, and lock."""
        await asyncio.gather(*self._changes, return_exceptions=True)
        self.lock()

    async def _change(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do a change behind all others. It is done to its end, even if its caller goes away."""

        async def whole() -> None:
            async with self._gate:
                await work()

        task = asyncio.create_task(whole(), name="wallet-keys")
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        try:
            await asyncio.shield(task)
        finally:
            # Or its exception, whose traceback has this frame and others with a passphrase, would be in a circle.
            del task

    async def _derive(self, work: Callable[[], None]) -> bool:
        """Do slow work on the keys; tell whether the wallet was not locked meanwhile. If it was, it stays so."""
        before = self._times_locked
        try:
            await self._elsewhere(work)
        finally:
            if self._times_locked != before:
                self._wallet.lock()
        return self._times_locked == before

    def _lock_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.lock)
