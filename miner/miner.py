"""The miner: follows a node's templates by long poll, searches in slices, submits what it finds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Protocol, TypeVar, overload

from consensus.codec import decode_transaction, display_hash, parse_hash
from consensus.errors import ConsensusError
from consensus.types import BlockHash, Header
from miner.search import NONCES, Pace, search, skipped
from miner.work import EXTRANONCE_SIZE, Work, coinbase_branch
from rpc.client import Unreachable
from rpc.errors import RpcError
from rpc.schema import BlockTemplate

LONG_POLL_SECONDS = 90.0
"""How long a node may take to answer a long poll; it answers by itself after 60."""
FIRST_DELAY, LONGEST_DELAY = 0.5, 10.0
"""Seconds before a node that gave no template is asked again: doubled each time."""
LOOK_SECONDS = 0.5
"""How often a miner without work looks whether it is still wanted."""
SUBMISSIONS = 5
"""How often a found block is offered to a node that does not answer."""

_T = TypeVar("_T")


class Caller(Protocol):
    """What the miner asks of `rpc.client.RpcClient`."""

    @overload
    async def call(self, method: str, *params: object, timeout: float | None = None) -> object: ...
    @overload
    async def call(self, method: str, *params: object, result: type[_T], timeout: float | None = None) -> _T: ...


class Log(Protocol):
    """Where the miner says what it does."""

    def __call__(self, event: str, **facts: object) -> None:
        """Say that something has happened."""
        ...


class BadTemplateError(Exception):
    """The node's template is not one that this miner can work on."""


def work_of(template: BlockTemplate) -> Work:
    """Prepare a template for the search.

    Raises:
        BadTemplateError: its hex is none, or its coinbase has no room for the extranonce.
    """
    try:
        coinbase = bytes.fromhex(template.coinbasetxn.data)
        if len(decode_transaction(coinbase).core.memo) < EXTRANONCE_SIZE:
            raise BadTemplateError("the coinbase's memo is too short for an extranonce")
        return Work(
            height=template.height,
            version=template.version,
            previous=BlockHash(parse_hash(template.previousblockhash)),
            time=template.curtime,
            bits=int(template.bits, 16),
            coinbase=coinbase,
            transactions=tuple(bytes.fromhex(tx.data) for tx in template.transactions),
            branch=tuple(coinbase_branch([parse_hash(tx.hash) for tx in template.transactions])),
        )
    except (ValueError, ConsensusError) as error:
        raise BadTemplateError(str(error)) from error


class _Job:
    """The work of one template, and how far it has been searched."""

    def __init__(self, work: Work, extranonce: int, now: float) -> None:
        self.work = work
        self.extranonce = extranonce
        self._received = now
        self._tried = 0
        self.header = work.header(extranonce, work.time)

    def advance(self, tries: int, now: float) -> None:
        """Go on to the next nonce, or where they are used up to the next extranonce; follow the time."""
        self._tried += tries
        time = self.work.time + int(now - self._received)
        if self._tried >= NONCES:
            self.extranonce = (self.extranonce + 1) % 256**EXTRANONCE_SIZE
        if self._tried >= NONCES or time != self.header.time:
            self._tried = 0
            self.header = self.work.header(self.extranonce, time)
            return
        self.header = skipped(self.header, tries)


class Miner:
    """Mines for one node until it is no longer wanted.

    Searching takes the event loop for about 20 ms at a time; between two slices, the answer to the
    long poll is read. So a new tip replaces stale work at once.
    """

    def __init__(
        self,
        node: Caller,
        *,
        pace: Pace,
        entropy: Random,
        monotonic: Callable[[], float],
        log: Log,
        address: str | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """
        Args:
            node: the node that gives templates and takes blocks.
            pace: how fast to search.
            entropy: where extranonces start, so that two miners for one address never do the same work.
            monotonic: a clock that only goes forward, in seconds.
            address: where rewards go; by default the node chooses one of its wallet.
            wanted: whether to go on; asked before each slice.
        """
        self._node = node
        self._pace = pace
        self._entropy = entropy
        self._monotonic = monotonic
        self._log = log
        self._address = address
        self._wanted = wanted
        self._job: _Job | None = None
        self._has_job = asyncio.Event()
        self._longpoll_id: str | None = None
        self._complaint = ""

    async def run(self) -> None:
        """Mine until `wanted` says no."""
        following = asyncio.create_task(self._follow(), name="templates")
        try:
            while self._wanted() and not following.done():
                if self._job is None:
                    await self._wait_for_job()
                else:
                    await self._search_slice(self._job)
        finally:
            following.cancel()
            await asyncio.wait({following})
        if not following.cancelled():
            following.result()

    # Templates

    async def _follow(self) -> None:
        """Take each template that the node has; without one, ask again later."""
        delay = FIRST_DELAY
        while True:
            if await self._ask():
                delay = FIRST_DELAY
            else:
                await asyncio.sleep(delay)
                delay = min(2 * delay, LONGEST_DELAY)

    async def _ask(self) -> bool:
        """Ask for a template that is better than the last one, and take it; tell whether there is one."""
        request: dict[str, object] = {"capabilities": ["coinbasetxn", "longpoll"]}
        if self._address is not None:
            request["address"] = self._address
        if self._longpoll_id is not None:
            request["longpollid"] = self._longpoll_id
        try:
            template = await self._node.call(
                "getblocktemplate", request, result=BlockTemplate, timeout=LONG_POLL_SECONDS
            )
            work = work_of(template)
        except (RpcError, Unreachable, BadTemplateError) as error:
            # What a node says that starts, synchronises, or has stopped. The old work is worth nothing then.
            self._job = self._longpoll_id = None
            self._complain(str(error))
            return False
        self._complain("")
        self._longpoll_id = template.longpollid
        self._job = _Job(work, self._entropy.getrandbits(8 * EXTRANONCE_SIZE), self._monotonic())
        self._has_job.set()
        return True

    def _complain(self, complaint: str) -> None:
        """Say why there is no work, once for each reason, and when there is some again."""
        if complaint != self._complaint:
            self._log("waiting_for_node", reason=complaint) if complaint else self._log("node_answered")
            self._complaint = complaint

    async def _wait_for_job(self) -> None:
        self._has_job.clear()
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._has_job.wait()
        except TimeoutError:
            pass

    # Searching

    async def _search_slice(self, job: _Job) -> None:
        tries = self._pace.slice
        found = search(job.header, tries)
        # Always gives way to the event loop, if only for an instant.
        await asyncio.sleep(self._pace.pause(tries))
        if found is None:
            job.advance(tries, self._monotonic())
        else:
            await self._submit(job, found)

    async def _submit(self, job: _Job, found: Header) -> None:
        """Hand a block in, and ask for the next template at once."""
        block = job.work.block(found, job.extranonce).hex()
        if self._job is job:
            self._job = None
        delay = FIRST_DELAY
        for _ in range(SUBMISSIONS):
            try:
                refusal = await self._node.call("submitblock", block)
            except RpcError as error:
                refusal = str(error)
            except Unreachable as error:
                self._log("block_not_submitted", height=job.work.height, reason=str(error))
                if not self._wanted():
                    return
                await asyncio.sleep(delay)
                delay *= 2
                continue
            event = "block_found" if refusal is None else "block_refused"
            reason = {} if refusal is None else {"reason": refusal}
            self._log(event, height=job.work.height, hash=display_hash(found.hash), **reason)
            break
        self._longpoll_id = None
        await self._ask()
