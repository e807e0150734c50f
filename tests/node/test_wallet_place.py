"""A wallet that comes, or gives way to another, while its node runs: there is the old one or the new, always."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from node.config import NodeConfig
from node.storage.executor import disk_thread
from node.wallet_place import Around, WalletPlace
from node.wallet_service import WalletService
from rpc.errors import ErrorCode, RpcError
from simnet.loop import run_virtual
from tests.support.chain import ManualClock, recorder
from tests.support.nodes import RunningNode, World
from tests.support.wallets import DURE, OTHER_WORDS, PARAMS, WORDS, Chain, lock_of
from wallet.errors import KeystoreError, MnemonicError, WalletError
from wallet.keystore_file import KdfCost
from wallet.ports import Outside
from wallet.wallet import Wallet

CHEAP = KdfCost(14, 1)


def of_words(words: str, passphrase: str | None = None) -> Callable[[Outside], Wallet]:
    return lambda world: Wallet.create(
        PARAMS, world, mnemonic=words, passphrase=passphrase, allow_plain=True, cost=CHEAP
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Place:
    """A place, and what it said."""

    def __init__(self, place: WalletPlace, seen: list[WalletService | None]) -> None:
        self.place = place
        self.seen = seen

    @property
    def wallet(self) -> Wallet:
        service = self.seen[-1]
        assert service is not None
        return service.wallet


@asynccontextmanager
async def opened(running: RunningNode, folder: Path, network: str = "regtest") -> AsyncIterator[Place]:
    """The place in a data directory, until the block ends."""
    log, _ = recorder()
    config = NodeConfig(network=network, datadir=str(folder))  # type: ignore[arg-type]
    seen: list[WalletService | None] = []
    # A real thread, as in the daemon: whoever waits in it for itself waits for ever.
    thread = disk_thread("wallet-disk")
    around = Around(config, PARAMS, random.Random(5), ManualClock(), log, thread, running.node, lambda error: None)
    place = WalletPlace(around, seen.append)
    try:
        await place.start()
        yield Place(place, seen)
    finally:
        await place.stop()
        place.close()
        thread.shutdown()


def story(body: Callable[[Chain, RunningNode], Awaitable[None]]) -> None:
    async def whole() -> None:
        chain = Chain(rewards=12)
        async with World(params=PARAMS).node() as running:
            await running.feed(chain.builder.chain(chain.base))
            await body(chain, running)

    run_virtual(whole)


def test_a_wallet_gives_way_to_another_which_finds_its_payments(tmp_path: Path) -> None:
    async def body(chain: Chain, running: RunningNode) -> None:
        async with opened(running, tmp_path) as at:
            first = at.wallet.mnemonic()
            gift = chain.gift(chain.base, [(lock_of(at.wallet.new_address()), DURE)])
            await running.feed([chain.mine(chain.base, [gift])])
            service = at.seen[-1]
            assert service is not None
            assert (await service.current()).balances().confirmed == DURE
            backup = at.wallet.backup()
            with pytest.raises(WalletError, match="left as it is"):
                await at.place.put(of_words(WORDS), replace=False)
            kept = await at.place.put(of_words(WORDS), replace=True)
            assert (at.wallet.mnemonic(), at.wallet.balances().total) == (WORDS, 0)
            assert kept == tmp_path / "wallet.before-1"
            # Whoever still holds the old one is told so, and can change nothing.
            with pytest.raises(RpcError) as refusal:
                await service.ask(lambda wallet: wallet.new_address())
            assert refusal.value.code is ErrorCode.WALLET_NOT_FOUND
            again = await at.place.put(
                lambda world: Wallet.restore(PARAMS, world, backup, allow_plain=True), replace=True
            )
            assert again == tmp_path / "wallet.before-2"
            assert (at.wallet.mnemonic(), at.wallet.balances().confirmed) == (first, DURE)
        async with opened(running, tmp_path) as at:
            assert at.wallet.mnemonic() == first

    story(body)


def test_where_no_wallet_may_be_made_unasked_one_is_put_later(tmp_path: Path) -> None:
    async def body(chain: Chain, running: RunningNode) -> None:
        async with opened(running, tmp_path, "main") as at:
            assert at.seen == [None]
            assert await at.place.put(of_words(WORDS, "secret"), replace=False) is None
            assert (at.wallet.encrypted, at.wallet.locked) == (True, True)
            assert names(tmp_path) == ["wallet"]
            at.wallet.unlock("secret")
            assert at.wallet.mnemonic() == WORDS

    story(body)


def test_a_wallet_that_cannot_be_made_leaves_the_old_one_at_work(tmp_path: Path) -> None:
    """A139, A144"""

    async def body(chain: Chain, running: RunningNode) -> None:
        async with opened(running, tmp_path) as at:
            first, backup = at.wallet.mnemonic(), bytearray(at.wallet.backup())
            with pytest.raises(MnemonicError, match="word 2"):
                await at.place.put(
                    of_words(WORDS.replace("abandon", "abandn", 2).replace("abandn", "abandon", 1)), replace=True
                )
            backup[30] ^= 1
            with pytest.raises(WalletError, match="damaged"):
                await at.place.put(
                    lambda world: Wallet.restore(PARAMS, world, bytes(backup), allow_plain=True), replace=True
                )
            assert at.wallet.mnemonic() == first
            assert len(at.seen) == 1
            assert names(tmp_path) == ["wallet"]

    story(body)


def test_a_caller_that_goes_away_leaves_no_half_exchange(tmp_path: Path) -> None:
    async def body(chain: Chain, running: RunningNode) -> None:
        async with opened(running, tmp_path) as at:
            asked = asyncio.create_task(at.place.put(of_words(WORDS), replace=True))
            await asyncio.sleep(0)
            asked.cancel()
            with suppress(asyncio.CancelledError):
                await asked
            await at.place.put(of_words(OTHER_WORDS), replace=True)
            assert at.wallet.mnemonic() == OTHER_WORDS
        async with opened(running, tmp_path) as at:
            assert at.wallet.mnemonic() == OTHER_WORDS

    story(body)


class _Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("step", range(4))
def test_killed_between_any_two_renames_there_is_the_old_wallet_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """A142: before the first, between, after both, and after the folder was synced."""

    async def body(chain: Chain, running: RunningNode) -> None:
        left = step
        rename = Path.rename

        def cut(path: Path, target: Path) -> Path:
            nonlocal left
            if left == 0:
                raise _Killed
            left -= 1
            return rename(path, target)

        first = ""
        async with opened(running, tmp_path) as at:
            first = at.wallet.mnemonic()
            with monkeypatch.context() as patch:
                patch.setattr(Path, "rename", cut)
                with suppress(_Killed):
                    await at.place.put(of_words(WORDS), replace=True)
        async with opened(running, tmp_path) as at:
            assert at.wallet.mnemonic() == (first if step == 0 else WORDS)
            assert not (tmp_path / "wallet.next").exists()
            if step:
                assert (tmp_path / "wallet.before-1" / "wallet.keys").exists()

    story(body)


def test_a_wallet_that_was_half_made_is_forgotten(tmp_path: Path) -> None:
    """A142: the process died while the new one was made."""

    async def body(chain: Chain, running: RunningNode) -> None:
        async with opened(running, tmp_path) as at:
            first = at.wallet.mnemonic()

            def dies(world: Outside) -> Wallet:
                of_words(WORDS)(world)
                raise KeystoreError("the disk is gone")

            with pytest.raises(KeystoreError):
                await at.place.put(dies, replace=True)
            assert at.wallet.mnemonic() == first
        (tmp_path / "wallet.next").mkdir()
        (tmp_path / "wallet.next" / "wallet.keys").write_bytes(b"half")
        async with opened(running, tmp_path) as at:
            assert at.wallet.mnemonic() == first
            assert not (tmp_path / "wallet.next").exists()

    story(body)
