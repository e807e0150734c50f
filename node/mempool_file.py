"""What waits for a block, kept over restarts.

The content of `mempool.dat`, in the envelope of `node.storage.sealed_file`; integers are big-endian:

    genesis id (32) | for each transaction, parents before children: time (8) | length (4) | encoding

Loading hands every transaction in again, so that it keeps all the rules of today (A199): what was mined or
contradicted meanwhile, has expired, or pays too little stays out. A file that cannot be read is passed over with
one warning (A134); wallets offer their own payments again in any case.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from consensus.codec import decode_transaction
from consensus.errors import ConsensusError, NotYet
from consensus.params import Params
from consensus.types import MAX_TRANSACTION_SIZE, Transaction, TxId
from node.clock import Clock
from node.mempool import Mempool
from node.mempool_entries import EXPIRY_SECONDS
from node.mempool_graph import Entry
from node.relay_policy import TOO_LITTLE, PolicyError
from node.storage.errors import DamagedError, StorageError
from node.storage.files import Files, read_small
from node.storage.sealed_file import head_of, unseal_file

FILE = "mempool.dat"
KIND = b"duremem\n"
VERSION = 1
MAX_FILE_SIZE = 1024 * 1024 * 1024
"""Bytes that are read at most: more than the largest mempool has encoded, for each byte there takes five in memory."""
SAVE_SECONDS = 15 * 60
"""How often it is written while the node runs: what a crash can lose, and wallets make up for."""
TURN = 1_000
"""Transactions written between two turns of the event loop: a few milliseconds."""
_HEAD = struct.Struct(">QI")


class Kept(NamedTuple):
    """A transaction in the file."""

    time: int
    """When it came, UNIX seconds."""
    raw: bytes


def read_kept(params: Params, raw: bytes) -> list[Kept]:
    """Return what a file holds.

    Raises:
        DamagedError: it is no such file, of another version or network, or not what was written.
    """
    content = unseal_file(KIND, VERSION, raw)
    if bytes(content[:32]) != params.genesis_hash:
        raise DamagedError("it is of another network")
    return list(_records(content[32:]))


def _records(content: memoryview) -> Iterator[Kept]:
    at = 0
    while at < len(content):
        if len(content) - at < _HEAD.size:
            raise DamagedError("it ends in the middle of a record")
        time, length = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        if length > min(MAX_TRANSACTION_SIZE, len(content) - at):
            raise DamagedError("it holds a record that is too long")
        yield Kept(time, bytes(content[at : at + length]))
        at += length


class MempoolFile:
    """Loads the mempool when the node starts, and writes it now and then and when the node stops."""

    def __init__(
        self,
        mempool: Mempool,
        params: Params,
        files: Files,
        clock: Clock,
        log: FilteringBoundLogger,
        on_entered: Callable[[Entry], None],
    ) -> None:
        """
        Args:
            on_entered: told of each transaction that was loaded.
        """
        self._mempool = mempool
        self._params = params
        self._files = files
        self._clock = clock
        self._log = log
        self._on_entered = on_entered
        self._left: list[Kept] = []
        """What is still to be loaded, the next one last: it is written again if the node stops before."""
        self._unpaid: dict[TxId, Transaction] = {}
        """Loaded transactions that pay too little, until a child comes."""
        self._saved_generation = mempool.generation
        self._task: asyncio.Task[None] | None = None
        self._loaded = asyncio.Event()

    @property
    def loaded(self) -> bool:
        """Whether all that was kept has been handed in again."""
        return self._loaded.is_set()

    async def wait_loaded(self) -> None:
        """Wait until all that was kept has been handed in again."""
        await self._loaded.wait()

    def start(self) -> None:
        """Load, then save now and then. The chain stands on its tip."""
        self._task = asyncio.create_task(self._run(), name="mempool file")

    async def stop(self) -> None:
        """Save, and end."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self.save()
        except StorageError as error:
            self._log.warning("mempool_not_saved", why=str(error))

    async def save(self) -> None:
        """Write what waits now; durable once this returns.

        Raises:
            StorageError: the old file stands.
        """
        await self._mempool.at_rest()
        generation = self._mempool.generation
        entries = [Kept(entry.time, entry.tx.encoded) for entry in self._mempool]
        await self._files.save(FILE, await _image(self._params, [*entries, *reversed(self._left)]))
        self._saved_generation = generation

    async def _run(self) -> None:
        await self._load()
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            if self._mempool.generation == self._saved_generation:
                continue
            try:
                await self.save()
            except StorageError as error:
                self._log.warning("mempool_not_saved", why=str(error))

    async def _load(self) -> None:
        self._left = self._read()[::-1]
        found, taken = len(self._left), 0
        oldest = self._clock.time() - EXPIRY_SECONDS
        while self._left:
            kept = self._left[-1]
            taken += await self._take(kept) if kept.time >= oldest else 0
            self._left.pop()
            await asyncio.sleep(0)  # few signatures are verified without any
        self._unpaid.clear()
        self._loaded.set()
        if found:
            self._log.info("mempool_loaded", transactions=taken, left_out=found - taken)

    def _read(self) -> list[Kept]:
        try:
            raw = read_small(self._files, FILE, MAX_FILE_SIZE)
            return [] if raw is None else read_kept(self._params, raw)
        except StorageError as error:
            self._log.warning("mempool_unreadable", file=FILE, why=str(error))
            return []

    async def _take(self, kept: Kept) -> int:
        """Hand a transaction in again, with parents that it pays for; return how many entered."""
        try:
            tx = decode_transaction(kept.raw)
        except ConsensusError:
            return 0  # the file is whole: so another program wrote it, by other rules
        if tx.txid in self._mempool:
            return 1  # a wallet was quicker with its own
        try:
            return await self._enter((tx,), kept.time)
        except PolicyError as error:
            if error.reason in TOO_LITTLE:
                self._unpaid[tx.txid] = tx
        except NotYet as error:
            parents = self._missing_parents(error)
            if parents:
                return await self._take_together((*parents, tx), kept.time)
        except ConsensusError:
            pass
        return 0

    async def _take_together(self, txs: tuple[Transaction, ...], time: int) -> int:
        try:
            return await self._enter(txs, time)
        except (ConsensusError, NotYet, PolicyError):
            return 0

    async def _enter(self, txs: tuple[Transaction, ...], time: int) -> int:
        taken = await self._mempool.accept_together(txs, time=time)
        for entry in taken.entries:
            self._unpaid.pop(entry.tx.txid, None)
            self._on_entered(entry)
        return len(taken.entries)

    def _missing_parents(self, error: NotYet) -> list[Transaction]:
        """Return the parents that are missing if all were loaded, and paid too little."""
        missing = error.facts.get("missing")
        txids = dict.fromkeys(outpoint.txid for outpoint in missing) if isinstance(missing, tuple) else {}
        return [self._unpaid[txid] for txid in txids] if all(txid in self._unpaid for txid in txids) else []


async def _image(params: Params, kept: Iterable[Kept]) -> bytes:
    """Return a whole file, made in turns: hashing a large one takes a while."""
    digest = sha256()
    parts: list[bytes] = []

    def add(part: bytes) -> None:
        parts.append(part)
        digest.update(part)

    add(head_of(KIND, VERSION))
    add(params.genesis_hash)
    for place, (time, raw) in enumerate(kept, 1):
        add(_HEAD.pack(time, len(raw)))
        add(raw)
        if place % TURN == 0:
            await asyncio.sleep(0)
    parts.append(digest.digest())
    return b"".join(parts)
