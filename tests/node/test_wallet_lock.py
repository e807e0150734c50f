"""The wallet's lock: it comes by itself, and no order of events leaves it half open (A151)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import pytest

from node.storage.errors import StorageError
from node.wallet_lock import WalletLock
from simnet.loop import run_virtual
from tests.support.wallets import OTHER_WORDS, PARAMS, WORDS, new_wallet, outside
from wallet.errors import WalletLockedError, WrongPassphraseError
from wallet.keystore_file import KdfCost
from wallet.ports import Outside
from wallet.wallet import Wallet

CHEAP = KdfCost(14, 1)
_T = TypeVar("_T")
PEM = new_wallet(mnemonic=OTHER_WORDS).export_key(new_wallet(mnemonic=OTHER_WORDS).new_address())


class Elsewhere:
    """The other thread: what it is given takes a second, or as long as a test says."""

    def __init__(self) -> None:
        self.seconds = 1.0
        self.running = 0
        self.most = 0

    async def __call__(self, work: Callable[[], _T], /) -> _T:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds / 2)
            result = work()
            await asyncio.sleep(self.seconds / 2)
            return result
        finally:
            self.running -= 1


def locked(wallet: Wallet) -> bool:
    """Ask anew each time: a type checker takes a property for a constant."""
    return wallet.locked


def story(body: Callable[[Wallet, WalletLock, Elsewhere], Awaitable[None]], world: Outside | None = None) -> None:
    async def whole() -> None:
        wallet = Wallet.create(PARAMS, world or outside(), mnemonic=WORDS, passphrase="secret", cost=CHEAP)
        wallet.lock()
        elsewhere = Elsewhere()
        lock = WalletLock(wallet, elsewhere)
        await body(wallet, lock, elsewhere)
        await lock.close()
        assert locked(wallet)

    run_virtual(whole)


def test_the_wallet_locks_itself_when_its_time_is_over() -> None:
    """A151: by the loop's clock, which no jump of the system's moves."""

    async def body(wallet: Wallet, lock: WalletLock, _elsewhere: Elsewhere) -> None:
        assert lock.seconds_left == 0
        await lock.unlock("secret", 60)
        assert lock.seconds_left == 60
        await asyncio.sleep(59.9)
        assert wallet.mnemonic() == WORDS
        await asyncio.sleep(0.2)
        assert (locked(wallet), lock.seconds_left) == (True, 0)
        with pytest.raises(WalletLockedError):
            wallet.mnemonic()

    story(body)


def test_the_last_unlocking_says_how_long() -> None:
    async def body(wallet: Wallet, lock: WalletLock, _elsewhere: Elsewhere) -> None:
        await lock.unlock("secret", 10)
        await lock.unlock("secret", 100)
        await asyncio.sleep(50)
        assert not locked(wallet)
        await lock.unlock("secret", 5)
        await asyncio.sleep(6)
        assert locked(wallet)
        await lock.unlock("secret", 0)
        await asyncio.sleep(0.1)
        assert locked(wallet)

    story(body)


def test_a_wrong_passphrase_leaves_wallet_and_timer_as_they_are() -> None:
    """A141"""

    async def body(wallet: Wallet, lock: WalletLock, _elsewhere: Elsewhere) -> None:
        with pytest.raises(WrongPassphraseError):
            await lock.unlock("wrong", 60)
        assert locked(wallet)
        await lock.unlock("secret", 60)
        with pytest.raises(WrongPassphraseError):
            await lock.unlock("wrong", 9_999)
        assert not locked(wallet)
        await asyncio.sleep(60)
        assert locked(wallet)

    story(body)


@pytest.mark.parametrize("when", [0.1, 0.9])
def test_locking_while_a_key_is_derived_wins(when: float) -> None:
    """A151: before the thread has opened the wallet, and after it did."""

    async def body(wallet: Wallet, lock: WalletLock, _elsewhere: Elsewhere) -> None:
        opening = asyncio.create_task(lock.unlock("secret", 60))
        await asyncio.sleep(when)
        lock.lock()
        await opening
        assert (locked(wallet), lock.seconds_left) == (True, 0)
        await asyncio.sleep(100)
        assert locked(wallet)

    story(body)


@pytest.mark.parametrize("left", [0.1, 0.9])
def test_a_passphrase_that_is_changed_as_the_time_runs_out_leaves_the_wallet_locked(left: float) -> None:
    """A151: or it would stay open for ever, with nothing to lock it."""

    async def body(wallet: Wallet, lock: WalletLock, _elsewhere: Elsewhere) -> None:
        await lock.unlock("secret", 1 + left)
        await asyncio.sleep(1)
        await lock.change_passphrase("secret", "new")
        assert (locked(wallet), lock.seconds_left) == (True, 0)
        await lock.unlock("new", 60)
        await lock.change_passphrase("new", "newer")
        assert wallet.mnemonic() == WORDS
        assert lock.seconds_left == 59

    story(body)


def test_a_payment_may_be_signed_while_the_passphrase_changes() -> None:
    """A151: no moment at which an open wallet is locked."""

    async def body(wallet: Wallet, lock: WalletLock, _elsewhere: Elsewhere) -> None:
        await lock.unlock("secret", 60)
        address = wallet.new_address()
        changing = asyncio.create_task(lock.change_passphrase("secret", "new"))
        for _ in range(10):
            assert wallet.sign_message(address, "x")
            await asyncio.sleep(0.1)
        await changing
        assert wallet.sign_message(address, "x")

    story(body)


def test_a_key_that_is_imported_while_the_passphrase_changes_is_not_lost() -> None:
    """A142: both write the keystore whole; one after the other."""
    world = outside()

    async def body(wallet: Wallet, lock: WalletLock, elsewhere: Elsewhere) -> None:
        await lock.unlock("secret", 60)
        changing = asyncio.create_task(lock.change_passphrase("secret", "new"))
        await asyncio.sleep(0.1)
        address = await lock.import_key(PEM, "")
        await changing
        again = Wallet.open(PARAMS, world)
        again.unlock("new")
        assert again.export_key(address) == PEM

    story(body, world)


def test_changes_come_one_after_the_other_whoever_goes_away() -> None:
    """A151: a caller that hangs up takes nothing with him; who comes next waits for the whole change."""

    async def body(wallet: Wallet, lock: WalletLock, elsewhere: Elsewhere) -> None:
        gone = asyncio.create_task(lock.change_passphrase("secret", "new"))
        await asyncio.sleep(0.1)
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
        with pytest.raises(WrongPassphraseError):
            await lock.unlock("secret", 9)
        await asyncio.gather(*(lock.unlock("new", 9) for _ in range(5)))
        assert elsewhere.most == 1
        assert not locked(wallet)

    story(body)


def test_closing_waits_for_what_is_under_way() -> None:
    world = outside()

    async def body(wallet: Wallet, lock: WalletLock, elsewhere: Elsewhere) -> None:
        changing = asyncio.create_task(lock.change_passphrase("secret", "new"))
        await asyncio.sleep(0.1)
        await lock.close()
        assert changing.done() or elsewhere.running == 0
        await changing
        Wallet.open(PARAMS, world).unlock("new")

    story(body, world)


def test_a_disk_that_fails_under_a_change_leaves_memory_and_disk_agreeing() -> None:
    """A142: full at the keystore, the old one stands; full at its copy, the new one does."""

    class Full:
        def __init__(self, last: int) -> None:
            self.left = last
            self.files = outside().files

        def read(self, name: str) -> bytes | None:
            return self.files.read(name)

        def write(self, name: str, data: bytes) -> None:
            if self.left == 0:
                raise StorageError("no space left")
            self.left -= 1
            self.files.write(name, data)

    for writes, good in ((0, "secret"), (1, "new")):
        files = Full(2)
        world = outside()._replace(files=files)

        async def body(
            wallet: Wallet, lock: WalletLock, _: Elsewhere, files: Full = files, writes: int = writes, good: str = good
        ) -> None:
            files.left = writes
            with pytest.raises(StorageError):
                await lock.change_passphrase("secret", "new")
            await lock.unlock(good, 9)
            files.left = 9
            await lock.import_key(PEM, "")
            again = Wallet.open(PARAMS, outside()._replace(files=files.files))
            again.unlock(good)
            assert again.mnemonic() == WORDS

        story(body, world)
