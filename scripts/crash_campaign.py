"""kill -9 at random moments of a real `dured`, and after each: is it the node that it would be had nobody killed it?

After each kill the daemon is started again and held to three things. Its state hash is that of a witness, a second
daemon that is never killed, on the same tip. What it acknowledged is there: blocks, with at least the work of the best
of them; addresses; payments, in the mempool or in the chain; labels, the passphrase. Its wallet stands on the tip,
and a rescan changes no balance. Every so often it starts over on an empty folder, after one last comparison: what
`--reindex` makes of its blocks has the same state hash.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import random
import shutil
import signal
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

from consensus.codec import display_hash
from consensus.merkle import merkle_root
from consensus.params import REGTEST
from consensus.pow import target_from_bits
from consensus.subsidy import block_subsidy
from consensus.types import NULL_TXID, Block, BlockHash, Core, Header, LockId, OutPoint, Output, Transaction
from rpc.client import Unreachable
from rpc.errors import RpcError
from scripts.crash_daemon import Daemon, Lost
from scripts.kept import write_whole

EPOCH = 50
"""Kills after which an empty folder takes over: so that early moments of a chain and of a wallet are hit too."""
FIRST_BLOCKS = 110
LONGEST = 0.3
"""Seconds of an activity in which the kill may come."""
RESCAN_EVERY = 10
DEEPEST = 12
"""Blocks that a reorg goes back."""


class Acknowledged:
    """What the daemon said it has done."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self.addresses: list[str] = []
        self.payments: list[str] = []
        self.labels: dict[str, tuple[str, ...]] = {}
        """For an address those that it may have: the last acknowledged one, and one whose answer never came."""
        self.passphrases: tuple[str, ...] = ()
        """As above, for the wallet; none while it has none."""


class Campaign:
    """Kills, one after the other, of one daemon."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder = folder
        self.rng = rng
        self.victim, self.witness = Daemon(folder / "victim"), Daemon(folder / "witness")
        self.said = Acknowledged()
        self.recovery: list[float] = []
        """Seconds from a start after a kill until it answers."""
        self.kills: Counter[str] = Counter()
        self._extra = 0
        self._activities: dict[str, Callable[[], Awaitable[None]]] = {
            "connect": self._connect,
            "reorg": self._reorg,
            "wallet": self._wallet,
            "everything": self._everything,
            "stop": self._stop,
        }

    async def prepare(self, *, encrypted: bool) -> None:
        """Start both daemons, and give the victim coins."""
        await self.witness.start("--no-wallet")
        await self.victim.start()
        self.said.blocks += await self.victim.call(
            "generatetoaddress", FIRST_BLOCKS, await self.victim.call("getnewaddress")
        )
        if encrypted:
            await self.victim.call("encryptwallet", "first")
            self.said.passphrases = ("first",)
            await self._unlock()
        await self._compare()

    async def close(self) -> None:
        """End both."""
        await self.victim.end()
        await self.witness.end()

    async def run(self, kills: int) -> None:
        """Kill so many times.

        Raises:
            Lost: what must not be.
        """
        moments = [*self._activities, "start", "recovery"]
        done = 0
        while done < kills:
            moment = self.rng.choice(moments)
            if moment in self._activities:
                await self._kill_in(self._activities[moment])
            else:
                await self._kill_in_start("--reindex" if moment == "recovery" else None)
            self.kills[moment] += 1
            done += 1
            # And sometimes again, before it has come back.
            while done < kills and self.rng.random() < 0.2:
                await self._kill_in_start(None)
                self.kills["start"] += 1
                done += 1
            self.recovery.append(await self.victim.start())
            await self.check(thoroughly=sum(self.kills.values()) % RESCAN_EVERY == 0)

    async def finish(self) -> None:
        """Compare one last time, with what `--reindex` makes of the blocks."""
        await self.victim.end()
        await self.victim.start("--reindex")
        await self.check(thoroughly=True)

    # Killing

    async def _kill_in(self, activity: Callable[[], Awaitable[None]]) -> None:
        working = asyncio.create_task(self._until_dead(activity))
        await asyncio.sleep(self.rng.uniform(0, LONGEST))
        self.victim.kill()
        await working
        await self.victim.end()

    async def _until_dead(self, activity: Callable[[], Awaitable[None]]) -> None:
        # A refusal is an answer: what is refused depends on moments that nobody chose.
        with suppress(Unreachable):
            while True:
                with suppress(RpcError):
                    await activity()

    async def _kill_in_start(self, flag: str | None) -> None:
        await self.victim.end()
        self.victim.launch(*([flag] if flag else []))
        usual = statistics.median(self.recovery[-20:]) if self.recovery else 0.5
        await asyncio.sleep(self.rng.uniform(0, 1.3 * usual))
        await self.victim.end()

    # What it is doing when it is killed

    async def _connect(self) -> None:
        call = self.victim.call
        address = self.said.addresses[-1] if self.said.addresses else await call("getnewaddress")
        self.said.blocks += await call("generatetoaddress", self.rng.randrange(1, 8), address)

    async def _reorg(self) -> None:
        """A branch that overtakes the best chain, block by block."""
        for block in await self._branch(self.rng.randrange(1, DEEPEST)):
            await self.victim.call("submitblock", block.encoded.hex())
            self.said.blocks.append(display_hash(block.hash))

    async def _branch(self, depth: int) -> list[Block]:
        call = self.victim.call
        height = await call("getblockcount") - depth
        fork = await call("getblockheader", await call("getblockhash", height))
        made: list[Block] = []
        previous, moment = BlockHash(bytes.fromhex(fork["hash"])[::-1]), fork["time"]
        for above in range(height + 1, height + depth + 2):
            self._extra += 1
            moment += 1
            made.append(_mined(previous, above, moment, b"a branch of a campaign, block %20d" % self._extra))
            previous = made[-1].hash
        return made

    async def _wallet(self) -> None:
        call, rng, said = self.victim.call, self.rng, self.said
        match rng.randrange(5):
            case 0 | 1:
                said.addresses.append(await call("getnewaddress"))
            case 2 | 3:
                target = rng.choice(said.addresses) if said.addresses else await call("getnewaddress")
                said.payments.append(await call("sendtoaddress", target, Decimal("0.001") * rng.randrange(1, 2_000)))
            case _ if said.passphrases and rng.random() < 0.3:
                old, new = said.passphrases[0], f"passphrase {rng.randrange(10**9)}"
                said.passphrases = (old, new)
                await call("walletpassphrasechange", old, new)
                said.passphrases = (new,)
            case _ if said.addresses:
                address, label = rng.choice(said.addresses), f"label {rng.randrange(10**9)}"
                said.labels[address] = (*said.labels.get(address, ("",)), label)
                await call("setlabel", address, label)
                said.labels[address] = (label,)
            case _:
                said.addresses.append(await call("getnewaddress"))

    async def _everything(self) -> None:
        await asyncio.gather(self._wallet(), self._wallet(), self._connect(), self._reorg())

    async def _stop(self) -> None:
        """It is told to stop, and killed before it has."""
        await self._wallet()
        await self._connect()
        self.victim.kill(signal.SIGTERM)
        await asyncio.sleep(LONGEST)

    # What must be so afterwards

    async def check(self, *, thoroughly: bool) -> None:
        """Hold the victim to all that it said.

        Raises:
            Lost: it is not so.
        """
        call = self.victim.call
        await self._compare()
        await self._check_blocks()
        await self._unlock()
        for address in self._recent(self.said.addresses):
            info = await call("getaddressinfo", address)
            if not info["ismine"]:
                raise Lost(f"the address {address}, which was handed out, is nobody's")
            labels = self.said.labels.get(address, ("",))
            found = (info["labels"] or [""])[0]
            if found not in labels:
                raise Lost(f"the address {address} is labelled {found!r}, not {labels}")
            self.said.labels[address] = (found,)
        for txid in self._recent(self.said.payments):
            await self._check_payment(txid)
        info, tip = await call("getwalletinfo"), await call("getbestblockhash")
        if info["lastprocessedblock"]["hash"] != tip:
            raise Lost("the wallet does not stand on the tip")
        if thoroughly:
            before = await call("getbalances"), info["txcount"]
            await call("rescanblockchain")
            after = await call("getbalances"), (await call("getwalletinfo"))["txcount"]
            if before != after:
                raise Lost(f"a rescan changed the wallet: {before} became {after}")

    async def _check_payment(self, txid: str) -> None:
        """Whether it is in the chain, or on its way: after a start the wallet offers its payments again."""
        call, state = self.victim.call, ""
        for _ in range(1_000):
            try:
                payment = await call("gettransaction", txid)
            except RpcError as refusal:
                raise Lost(f"the payment {txid}, which was acknowledged, is not there: {refusal}") from None
            state = payment["state"]
            if payment["confirmations"] > 0 or txid in await call("getrawmempool"):
                return
            await asyncio.sleep(0.02)
        raise Lost(f"the payment {txid}, which was acknowledged, is {state}, and not on its way")

    def _recent(self, things: list[str]) -> Iterator[str]:
        """The last of them, and some of the others."""
        yield from things[-30:]
        older = things[:-30]
        yield from self.rng.sample(older, min(5, len(older)))

    async def _check_blocks(self) -> None:
        call = self.victim.call
        tip = await call("getblockheader", await call("getbestblockhash"))
        for block in self._recent(self.said.blocks):
            try:
                header = await call("getblockheader", block)
                await call("getblock", block, 0)
            except RpcError as refusal:
                raise Lost(f"the block {block}, which was acknowledged, is not there: {refusal}") from None
            if int(header["chainwork"], 16) > int(tip["chainwork"], 16):
                raise Lost(f"the tip has less work than block {block}, which was acknowledged")

    async def _unlock(self) -> None:
        for passphrase in self.said.passphrases:
            with suppress(RpcError):
                await self.victim.call("walletpassphrase", passphrase, 3_600)
                self.said.passphrases = (passphrase,)
                return
        if self.said.passphrases:
            raise Lost(f"none of the passphrases {self.said.passphrases} opens the wallet")

    async def _compare(self) -> None:
        """Bring the witness to the victim's tip, by its blocks; both must then hold the same coins."""
        victim, witness = self.victim.call, self.witness.call
        ours = await victim("gettxoutsetinfo")
        missing: list[str] = []
        block = ours["bestblock"]
        while not await self._witness_has(block):
            missing.append(block)
            block = (await victim("getblockheader", block))["previousblockhash"]
        for block in reversed(missing):
            await witness("submitblock", await victim("getblock", block, 0))
        theirs = await witness("gettxoutsetinfo")
        if ours != theirs:
            raise Lost(f"the coins are not those of a node that was never killed: {ours}, but {theirs}")
        if ours["total_amount"] != ours["supply"]:
            raise Lost(f"coins came from nowhere, or went there: {ours}")

    async def _witness_has(self, block: str) -> bool:
        try:
            await self.witness.call("getblock", block, 0)
        except RpcError:
            return False
        return True


def _mined(previous: BlockHash, height: int, moment: int, memo: bytes) -> Block:
    """A block with nothing but its reward, which nobody can spend, and with regtest's next to no work."""
    reward = block_subsidy(REGTEST, height)
    outputs = (Output(reward, LockId(bytes(31) + b"\x01"), None),) if reward else ()
    coinbase = Transaction(Core(1, (OutPoint(NULL_TXID, height),), outputs, (), (), memo), ())
    bits, root, nonce = REGTEST.start_bits, merkle_root([coinbase.wtxid]), 0
    while True:
        header = Header(1, previous, root, moment, bits, nonce)
        if int.from_bytes(header.hash, "little") <= target_from_bits(bits):
            return Block(header, (coinbase,))
        nonce += 1


class Record:
    """What all runs in one folder have reached."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "campaign.json"
        self.kills: Counter[str] = Counter()
        self.recovery: list[float] = []
        if self._path.exists():
            stored = json.loads(self._path.read_text())
            self.kills.update(stored["kills"])
            self.recovery += stored["recovery"]

    @property
    def total(self) -> int:
        """How many kills there were."""
        return sum(self.kills.values())

    def add(self, campaign: Campaign) -> None:
        """Take what an epoch has reached, and keep it."""
        self.kills.update(campaign.kills)
        self.recovery += [round(seconds, 3) for seconds in campaign.recovery]
        write_whole(self._path, json.dumps({"kills": self.kills, "recovery": self.recovery}, indent=1))

    def __str__(self) -> str:
        moments = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        times = sorted(self.recovery) or [0.0]
        return (
            f"{self.total} kills ({moments}); ready again after {statistics.median(times):.2f} s in the median,"
            f" {times[-1]:.2f} s at most"
        )


async def run(folder: Path, kills: int, seed: str) -> Record:
    """Kill `kills` times, in epochs; return what all runs in `folder` have reached.

    Raises:
        Lost: what must not be; the epoch's folder is left as it is.
    """
    record = Record(folder)
    left = kills
    while left:
        here = min(EPOCH, left)
        place = folder / f"epoch-{record.total}"
        shutil.rmtree(place, ignore_errors=True)  # of a run that was cut off
        place.mkdir(parents=True)
        campaign = Campaign(place, random.Random(f"{seed}/{record.total}"))
        try:
            await campaign.prepare(encrypted=bool(record.total // EPOCH % 2))
            await campaign.run(here)
            await campaign.finish()
        except Lost as lost:
            raise Lost(f"{lost}\nafter {dict(campaign.kills)}; seed {seed}, all of it in {place}") from None
        finally:
            await campaign.close()
        shutil.rmtree(place)
        left -= here
        record.add(campaign)
        print(record, flush=True)
    return record


def main(arguments: list[str]) -> int:
    """Run a campaign; return 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="scripts/crash", description="kill -9 at random moments of a real dured.")
    parser.add_argument("--kills", type=int, default=25, help="how many; 25 by default")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="where runs add up; by default a folder of its own")
    parser.add_argument("--seed", default=dt.datetime.now(dt.UTC).date().isoformat(), help="today's date")
    asked = parser.parse_args(arguments)
    if asked.kills < 1:
        parser.error("--kills takes a number from 1 on")
    folder = asked.resume or Path(tempfile.mkdtemp(prefix="dure-crash-"))
    print(f"seed {asked.seed}, in {folder}", flush=True)
    try:
        asyncio.run(run(folder, asked.kills, asked.seed))
    except Lost as lost:
        print(f"LOST: {lost}", file=sys.stderr)
        return 1
    if asked.resume is None:
        shutil.rmtree(folder)
    print("Nothing was lost, and every state hash was that of a node never killed.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
