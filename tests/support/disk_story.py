"""Stories that write to a real disk, and what must be so after a crash within them: run in processes of their own.

    python -m tests.support.disk_story tell STORY FOLDER            under the shim, which records
    python -m tests.support.disk_story replay STORY FOLDER LOG SEED N   after each call, a kill and N power cuts
    python -m tests.support.disk_story fail STORY FOLDER ERRNO WAYS     under the shim: the n-th call fails, for every n
    python -m tests.support.disk_story read STORY FOLDER            under the shim: the n-th read fails, for every n
    python -m tests.support.disk_story damage STORY FOLDER SEED N   files cut at every page, and N bits of each flipped

A story says what is done, once it is, by writing a line to the file `said`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from msgspec.structs import replace

from consensus.params import REGTEST
from consensus.types import Block, BlockHash
from node import reorg
from node.chain import ChainClosedError
from node.storage.chain_store import ChainStore
from node.storage.errors import DiskFullError, StorageError
from node.storage.files import DirectoryFiles
from node.storage.lmdb_store import LmdbDatabase
from node.storage.schema import STORAGE_VERSION, TABLES
from node.wallet_opening import open_wallet_database
from tests.support.chain import ChainBuilder, ManualClock, feed, running, stored_coins
from tests.support.disk_log import Crashable, read_log
from tests.support.rules import pay
from tests.support.wallets import OTHER_WORDS, TERMS, WORDS, Chain, Silent, lock_of, new_wallet, payment
from tests.support.wallets import PARAMS as WALLET_PARAMS
from wallet import keystore_file
from wallet.errors import WalletError, WrongPassphraseError
from wallet.keystore_file import KdfCost
from wallet.ports import Outside
from wallet.store import TABLES as WALLET_TABLES
from wallet.wallet import Wallet

PARAMS = replace(REGTEST, coinbase_maturity=2)
Say = Callable[[str], None]
CHEAP = KdfCost(14, 1)
PEM = new_wallet(mnemonic=OTHER_WORDS).export_key(new_wallet(mnemonic=OTHER_WORDS).new_address())
PAGE = 4_096
OUTCOMES = ("harmless", "named", "wrong")
"""Of opening what is damaged: nothing was missing; an error of ours said so; neither."""


class Wrong(Exception):
    """Something was lost, or is not what it must be."""


def must(condition: object, what: str) -> None:
    if not condition:
        raise Wrong(what)


def _quick(passphrase: str, salt: bytes, cost: KdfCost) -> bytes:
    return hashlib.sha256(salt + passphrase.encode()).digest()


# What is saved here is tried some thousand times; how long a guess at a passphrase takes is another matter.
keystore_file._derive = _quick


# A chain with a reorg of several writes


@cache
def history() -> tuple[ChainBuilder, list[Block]]:
    """Blocks in the order of coming: payments, and a branch that overtakes."""
    chain = ChainBuilder(PARAMS)
    trunk = chain.mine_chain(None, 4)
    coins = chain.mature(trunk[-1])[:2]
    ours = chain.mine(trunk[-1], [chain.spend(trunk[-1], coins[:1], [pay(2, 10**9), pay(1, 10**9)])])
    ours = chain.mine(ours, to=2)
    theirs = chain.mine(trunk[-1], [chain.spend(trunk[-1], coins, [pay(3, 10**9)])])
    branch = [theirs, *chain.mine_chain(theirs, 2)]
    return chain, [*chain.chain(ours), *branch]


@contextlib.contextmanager
def chain_database(folder: Path) -> Iterator[LmdbDatabase]:
    database = LmdbDatabase(folder / "chain", TABLES, version=STORAGE_VERSION, identity=PARAMS.genesis_hash)
    try:
        yield database
    finally:
        database.close()


def tell_chain(folder: Path, say: Say) -> None:
    async def whole() -> None:
        reorg.BATCH_BLOCKS = 2  # type: ignore[attr-defined]
        with chain_database(folder) as database:
            async with running(database, PARAMS) as node:
                for block in history()[1]:
                    try:
                        await node.accept_block(block, wanted=True)
                    except ChainClosedError:
                        await node.wait_stopped()
                        raise
                    say(block.hash.hex())

    asyncio.run(whole())


def check_chain(folder: Path, said: list[str]) -> None:
    chain, blocks = history()

    async def whole() -> None:
        with chain_database(folder) as database:
            store = ChainStore(database, PARAMS)
            _, tip = store.read_tip()
            must(tip in chain.blocks, "the tip is none of the blocks")
            must(stored_coins(store) == chain.coins(tip), "the coins are not the tip's")
            known = [BlockHash(bytes.fromhex(line)) for line in said]
            best = max((chain.state(block).work for block in known), default=0)
            async with running(database, PARAMS) as node:
                must(node.tip.work >= best, "a block that was acknowledged is not counted")
                for block in known:
                    must(node.read_block(block) == chain.blocks[block], "a block that was acknowledged is gone")
                await feed(node, blocks)
                must(node.tip == chain.state(blocks[-1]), "it does not go on")
            must(stored_coins(store) == chain.coins(blocks[-1]), "it does not go on to the right coins")

    asyncio.run(whole())


# A wallet: its database and its keystore


@cache
def paid() -> tuple[Chain, Block]:
    """A chain that pays the first address of the wallet."""
    chain = Chain()
    first = lock_of(new_wallet().new_address())
    return chain, chain.mine_many(chain.mine(chain.base, to=first), WALLET_PARAMS.coinbase_maturity)


@contextlib.contextmanager
def wallet_outside(folder: Path) -> Iterator[Outside]:
    database = open_wallet_database(folder / "wallet", WALLET_PARAMS)
    files = DirectoryFiles(folder / "wallet")
    try:
        yield Outside(files, database, random.Random(1), ManualClock(), Silent())
    finally:
        database.close()


def tell_wallet(folder: Path, say: Say) -> None:
    chain, tip = paid()
    with wallet_outside(folder) as outside:
        wallet = Wallet.create(WALLET_PARAMS, outside, mnemonic=WORDS, allow_plain=True)
        say("made")
        say(f"address {wallet.new_address()}")
        chain.follow(wallet, tip)
        say("paid")
        say("passphrase first?")
        wallet.encrypt("first", CHEAP)
        say("passphrase first")
        wallet.unlock("first")
        say(f"address {wallet.import_key(PEM, 'imported')}")
        say(f"payment {wallet.send([payment(wallet.new_address(), 10**8)], TERMS).transaction.txid.hex()}")
        say("passphrase second?")
        wallet.change_passphrase("first", "second")
        say("passphrase second")
        say(f"address {wallet.new_address('label')}")
        wallet.close()


def check_wallet(folder: Path, said: list[str]) -> None:
    chain, tip = paid()
    with wallet_outside(folder) as outside:
        if not Wallet.exists(outside.files):
            must("made" not in said, "the wallet is gone")
            return
        wallet = Wallet.open(WALLET_PARAMS, outside, allow_plain=True)
        _open_up(wallet, said)
        must(wallet.mnemonic() == WORDS, "the words are others")
        addresses = [line.split()[1] for line in said if line.startswith("address ")]
        for address in addresses:
            must(wallet.is_mine(lock_of(address)), "an address that was handed out is nobody's")
            wallet.export_key(address)
        must(wallet.new_address() not in addresses, "an address is handed out twice")
        if "paid" in said:
            must(wallet.balances().total > 0, "a payment is forgotten")
        chain.follow(wallet, tip)
        sent = [line.split()[1] for line in said if line.startswith("payment ")]
        fees = sum(wallet.transaction(entry.txid).fee or 0 for entry in wallet.history(20) if entry.amount < 0)
        must(wallet.balances().total == 50 * 10**8 + fees, "the balance is wrong")
        must(set(sent) <= {entry.txid.hex() for entry in wallet.history(20)}, "a payment of ours is forgotten")
        wallet.close()


def _open_up(wallet: Wallet, said: list[str]) -> None:
    told = [line.split()[1] for line in said if line.startswith("passphrase ")]
    if not wallet.encrypted:
        must(not told or told == ["first?"], "the keys lie open")
        return
    # The last one that was told of; and where a change was under way, the one before it.
    sure = [name for name in told if not name.endswith("?")]
    for passphrase in {*sure[-1:], *(name.rstrip("?") for name in told[-1:])}:
        with contextlib.suppress(WrongPassphraseError):
            wallet.unlock(passphrase)
            return
    raise Wrong(f"none of the passphrases opens the wallet: {told}")


# Small files


def tell_files(folder: Path, say: Say) -> None:
    files = DirectoryFiles(folder / "files")
    for number in range(3):
        say(f"{number}?")
        files.write("peers", str(number).encode() * 3_000)
        say(f"{number}")


def check_files(folder: Path, said: list[str]) -> None:
    content = DirectoryFiles(folder / "files").read("peers")
    sure = [line for line in said if not line.endswith("?")]
    allowed: set[bytes | None] = {line.rstrip("?").encode() * 3_000 for line in (*sure[-1:], *said[-1:])}
    must(content in allowed or (content is None and not sure), "the file is neither the old nor the new one")


# A database of the first version, which is brought up to date when it is opened


OLD_RECORDS = [(table, bytes([n]), bytes([n]) * (n * 50)) for n in range(1, 30) for table in WALLET_TABLES[:3]]


def tell_migration(folder: Path, say: Say) -> None:
    old = LmdbDatabase(folder / "wallet", WALLET_TABLES, version=1, identity=WALLET_PARAMS.genesis_hash)
    try:
        old.write(OLD_RECORDS)
        say("old")
    finally:
        old.close()
    open_wallet_database(folder / "wallet", WALLET_PARAMS).close()


def check_migration(folder: Path, said: list[str]) -> None:
    database = open_wallet_database(folder / "wallet", WALLET_PARAMS)
    try:
        there = [(table, key, value) for table in WALLET_TABLES for key, value in database.scan(table)]
    finally:
        database.close()
    must(sorted(there) == sorted(OLD_RECORDS) or (not there and not said), "records are missing")


STORIES = {
    "chain": (tell_chain, check_chain),
    "wallet": (tell_wallet, check_wallet),
    "files": (tell_files, check_files),
    "migration": (tell_migration, check_migration),
}


# The ways of telling


def listened(tell: Callable[[Path, Say], None], folder: Path) -> tuple[list[str], BaseException | None]:
    """Tell a story; return what it said, and what ended it."""
    said: list[str] = []
    try:
        tell(folder, said.append)
    except Exception as error:  # noqa: BLE001 - judged by the caller
        return said, error
    return said, None


def tell(story: str, folder: Path) -> None:
    descriptor = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    STORIES[story][0](folder, lambda line: (os.write(descriptor, line.encode() + b"\n"), None)[1])


def replay(story: str, folder: Path, log: Path, seed: str, cuts: int) -> dict[str, int]:
    """Check what is left after every prefix of the record; raise at the first that is wrong.

    Of the power cuts at each call the first loses all that is on its way, the others some of it.
    """
    check, rng = STORIES[story][1], random.Random(f"{story} {seed}")
    disk, said, states = Crashable(folder), list[str](), 0
    place = folder.with_name("crashed")
    calls = list(read_log(log))
    for number, call in enumerate(calls):
        if call.path.name == "said":
            said += call.data.decode().splitlines()
            continue
        disk.apply(call)
        for variant in range(1 + cuts):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(mode=0o700)
            if variant == 0:
                disk.killed(place)
            else:
                disk.cut(place, rng if variant > 1 else None)
            states += 1
            try:
                check(place, said)
            except Exception as error:
                raise Wrong(f"variant {variant} after call {number} {call[:5]}, {said}: {error!r}") from error
    return {"calls": len(calls), "states": states}


def fail(story: str, folder: Path, error: int, ways: str) -> dict[str, int]:
    """Have every call fail; what it leaves must be right.

    Args:
        ways: `once`, alone; `on`, with all that follow; both may be named.
    """
    shim = ctypes.CDLL(None)
    tell, check = STORIES[story]
    number, refused = 0, 0
    while True:
        number += 1
        for sticky in [place for place, way in enumerate(("once", "on")) if way in ways.split(",")]:
            place = folder / f"{number}-{sticky}"
            place.mkdir()
            shim.shim_fail(ctypes.c_long(number), error, sticky)
            before = shim.shim_calls()
            said, raised = listened(tell, place)
            told = shim.shim_calls() - before
            shim.shim_fail(ctypes.c_long(0), 0, 0)
            if told < number:
                return {"calls": number - 1, "refused": refused}
            wanted = DiskFullError if error == errno.ENOSPC else StorageError
            must(raised is None or isinstance(raised, wanted), f"call {number} gives {raised!r}")
            must(raised is not None, f"call {number} failed, and nobody was told")
            refused += 1
            try:
                check(place, said)
            except Exception as wrong:
                raise Wrong(f"after call {number} ({sticky=}) failed with {raised!r}, {said}: {wrong!r}") from wrong
            shutil.rmtree(place)


def fail_reads(story: str, folder: Path) -> dict[str, int]:
    """Have every read of a start fail: that is said, nothing is changed for the worse, and the next start is right."""
    shim = ctypes.CDLL(None)
    tell, check = STORIES[story]
    said, raised = listened(tell, folder)
    must(raised is None, f"the story itself fails: {raised!r}")
    number = 0
    while True:
        number += 1
        copy = folder.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        before = shim.shim_reads()
        shim.shim_fail_read(ctypes.c_long(number), errno.EIO)
        _, raised = listened(lambda place, _say: check(place, said), copy)
        shim.shim_fail_read(ctypes.c_long(0), 0)
        if shim.shim_reads() - before < number:
            return {"reads": number - 1}
        must(isinstance(raised, StorageError), f"read {number} failed, and that gives {raised!r}")
        check(copy, said)


def damage(story: str, folder: Path, seed: str, flips: int) -> dict[str, int]:
    """Cut every file of a story at every page, and flip single bits of it; each is opened in a process of its own."""
    tell, check = STORIES[story]
    said, raised = listened(tell, folder)
    must(raised is None, f"the story itself fails: {raised!r}")
    # Where the newest commit is damaged, the one before it may be found: what was said after that is not asked for.
    said = [line for line in said if line.startswith("passphrase ")]
    rng, found = random.Random(seed), Counter[str]()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in {".lock", "lock.mdb"}):
        whole = file.read_bytes()
        broken = [("cut", size, whole[:size]) for size in range(0, len(whole), PAGE)]
        broken += [("flipped", bit, _flipped(whole, bit)) for bit in rng.sample(range(8 * len(whole)), flips)]
        for how, where, content in broken:
            copy = folder.with_name("copy")
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(folder, copy)
            (copy / file.relative_to(folder)).write_bytes(content)
            outcome = _in_a_child(lambda: check(copy, said))  # noqa: B023 - run at once
            found[outcome] += 1
            must(outcome != "wrong", f"{file.relative_to(folder)} {how} at {where}: what is not so is believed")
    return dict(found)


def _flipped(whole: bytes, bit: int) -> bytes:
    broken = bytearray(whole)
    broken[bit // 8] ^= 1 << bit % 8
    return bytes(broken)


def _in_a_child(work: Callable[[], None]) -> str:
    """Run in a forked process: LMDB may be killed by the system where a page is not what it must be."""
    child = os.fork()
    if child == 0:
        status = OUTCOMES.index("wrong")
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.alarm(60)
            work()
            status = OUTCOMES.index("harmless")
        except (StorageError, WalletError):
            status = OUTCOMES.index("named")
        except Exception:  # noqa: BLE001 - told on the terminal, and judged by the status
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return OUTCOMES[status] if status >= 0 else f"ended by {signal.Signals(-status).name}"


def main() -> None:
    how, story, folder, *more = sys.argv[1:]
    match how:
        case "tell":
            tell(story, Path(folder))
        case "replay":
            sys.stdout.write(json.dumps(replay(story, Path(folder), Path(more[0]), more[1], int(more[2]))))
        case "fail":
            sys.stdout.write(json.dumps(fail(story, Path(folder), int(more[0]), more[1])))
        case "read":
            sys.stdout.write(json.dumps(fail_reads(story, Path(folder))))
        case "damage":
            sys.stdout.write(json.dumps(damage(story, Path(folder), more[0], int(more[1]))))
        case _:
            raise ValueError(how)


if __name__ == "__main__":
    main()
