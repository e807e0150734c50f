"""The wallet in its node: it follows the chain and the mempool, and its payments are offered until they are mined.

The wallet pulls from its own cursor, so whatever is missed here (a crash, a slow disk) is made up for by the next
pull. Calls that show or spend coins ask for `current` first, so that they never see less than the chain's tip.

The wallet's methods run on the loop, each whole but for blocks, which are followed in slices; the disk is waited for
off it. From a change to its end on the disk the wallet is closed to everybody else: so nothing is shown that a power
cut could take back, nor half a block, and what is answered is durable. Who only reads does so right after `current`,
with no `await` between, or within `read`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import TypeVar

from structlog.typing import FilteringBoundLogger

from consensus.codec import display_hash
from consensus.errors import ConsensusError, NotYet
from consensus.slices import SLICE, Slices
from consensus.types import BlockHash, Transaction, TxId
from node.chain import ChainManager
from node.chain_events import TipChanged, UnknownCursorError
from node.fee_history import estimate_fee
from node.mempool_graph import Entry
from node.node import Node
from node.pool_change import DropReason
from node.relay_policy import DUST_LIMIT, MAX_CHAIN, MAX_RELAY_SIZE, MIN_FEE_RATE, SIGNATURE_BYTES, PolicyError, Refusal
from node.storage.errors import StorageError
from node.storage.executor import INLINE, run_whole
from node.storage.staged import StagedDatabase
from node.turns import give_way, in_turns, in_turns_to_the_end
from node.wallet_lock import WalletLock
from rpc.errors import ErrorCode, RpcError
from rpc.follower import BATCH
from wallet.results import RelayTerms, Sent, State
from wallet.wallet import Wallet

REBROADCAST_SECONDS = 15 * 60
"""How long at most until payments of ours that wait for a block are offered to the mempool again; and how long until
peers are told again of those that are in it."""
CONFIRM_TARGET = 6
"""Blocks within which a payment should be in one, where its owner says nothing (Bitcoin Core: txconfirmtarget)."""
MAX_FOREIGN = 1_000
"""Payments of others to us whose leaving the mempool is watched for; their confirmation is seen in any case."""
MAX_SEEN = 10_000
"""Transactions of the mempool that wait for the wallet to look at them, while its disk is slow; of more the oldest
are passed over, and seen when they are in a block."""

SEEN_AT_ONCE = 100
"""Of those, how many it looks at in one step."""

_T = TypeVar("_T")
_ALREADY_HERE = frozenset({Refusal.ALREADY_KNOWN, Refusal.ALREADY_CONFIRMED, Refusal.SAME_TXID})


class WalletService:
    """One wallet, kept in step with one node."""

    def __init__(
        self,
        wallet: Wallet,
        database: StagedDatabase,
        node: Node,
        log: FilteringBoundLogger,
        fail: Callable[[StorageError], None],
        executor: Executor = INLINE,
    ):
        """
        Args:
            database: the wallet's.
            fail: told if the wallet's disk fails: the node must stop.
            executor: where calls run that take long: deriving keys from a passphrase, writing the keystore.
        """
        self.wallet = wallet
        """To be read, right after `current`. What changes it goes through `ask`."""
        self._database = database
        self._executor = executor
        self._turn = asyncio.Lock()
        self._seen: deque[Transaction] = deque(maxlen=MAX_SEEN)
        self._node = node
        self._chain: ChainManager = node.chain
        self._log = log
        self._fail = fail
        self._wake = asyncio.Event()
        self._offer_due = True
        """Whether our payments that wait are to be offered: at the start, with a new tip, and from time to time. Not
        with each transaction that is seen: many may wait, and many may be seen."""
        self._told = asyncio.get_running_loop().time()
        """When peers were last told again of what waits."""
        self._task: asyncio.Task[None] | None = None
        self._ends: list[Callable[[], None]] = []
        self._foreign: dict[TxId, None] = {}
        self._given_up: dict[TxId, None] = {}
        """Those of `_foreign` that have left the mempool and are in no block, or did so before we looked."""
        self._open = True
        self.keys = WalletLock(wallet, self._ask_slowly)

    @property
    def position(self) -> BlockHash:
        """The newest block that the wallet has applied (see `rpc.follower.Follower`)."""
        return self.wallet.cursor.hash

    # Life

    async def start(self) -> None:
        """Catch up with the chain, offer our unconfirmed payments, and follow from now on."""
        await self.current()
        waiting = [entry for entry in self.wallet.history(MAX_FOREIGN) if entry.state is State.PENDING]
        self._foreign = dict.fromkeys(entry.txid for entry in waiting)
        self._given_up = dict(self._foreign)
        self._node.mempool.listeners.append(self)
        self._ends = [self._node.on_tip_changed(self._tip_changed), self._node.on_transaction(self._transaction_seen)]
        self._wake.set()
        self._task = asyncio.create_task(self._run(), name="wallet")

    async def stop(self) -> None:
        """Follow no more, and make the cursor durable."""
        for end in self._ends:
            end()
        if self in self._node.mempool.listeners:
            self._node.mempool.listeners.remove(self)
        await self.keys.close()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.ask(Wallet.close)
        self._open = False

    def _check_open(self) -> None:
        if not self._open:
            raise RpcError(ErrorCode.WALLET_NOT_FOUND, "The wallet has been closed, or has given way to another")

    async def _run(self) -> None:
        try:
            while True:
                try:
                    async with asyncio.timeout(REBROADCAST_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    self._offer_due = True
                self._wake.clear()
                await self.current()
                await self.ask(self._drop_foreign)
                if self._offer_due:
                    self._offer_due = False
                    await self._offer_own()
        except StorageError as error:
            self._fail(error)

    def _tip_changed(self, _change: TipChanged) -> None:
        self._offer_due = True
        self._wake.set()

    # Satisfies `mempool_entries.PoolListener`

    def entered(self, entry: Entry) -> None:
        """See `PoolListener`; `_transaction_seen` is told."""

    def confirmed(self, entry: Entry, height: int) -> None:
        """See `PoolListener`."""
        del height  # the wallet reads of it in the block
        self._foreign.pop(entry.tx.txid, None)

    def dropped(self, entry: Entry, reason: DropReason) -> None:
        """See `PoolListener`."""
        del reason
        if entry.tx.txid in self._foreign:
            self._given_up[entry.tx.txid] = None
            self._wake.set()

    def _transaction_seen(self, tx: Transaction) -> None:
        self._seen.append(tx)
        self._wake.set()

    # Asking

    async def ask(self, work: Callable[[Wallet], _T]) -> _T:
        """Return `work(wallet)` once whatever it changed is durable: the way in for all that changes the wallet.

        Nobody else has the wallet meanwhile.

        Raises:
            RpcError: this wallet gave way to another.
            StorageError: the disk failed: the node must stop, and the wallet be opened anew.
        """

        def in_one(wallet: Wallet) -> Slices[_T]:
            yield from ()
            return work(wallet)

        return await self._ask_in_slices(in_one)

    async def _ask_in_slices(self, work: Callable[[Wallet], Slices[_T]]) -> _T:
        """As `ask`. Others run between two slices, and cannot get at the wallet: they wait for their turn with it."""
        async with self._turn:
            self._check_open()
            try:
                with self._database.gathering():
                    # To the end, even if the caller is gone: memory must not be ahead of the disk by half a block.
                    return await in_turns_to_the_end(work(self.wallet))
            finally:
                await self._database.settle()

    async def read(self, work: Callable[[Wallet], Slices[_T]]) -> _T:
        """Return what `work` reads of the wallet once that is on the tip; nobody changes it meanwhile.

        Raises:
            RpcError: this wallet gave way to another.
        """
        await self.current()
        async with self._turn:
            self._check_open()
            return await in_turns(work(self.wallet))

    async def _ask_slowly(self, work: Callable[[], _T]) -> _T:
        """As `ask`, but off the loop: for what derives a key from a passphrase, or writes the keystore."""
        async with self._turn:
            self._check_open()
            try:
                with self._database.gathering():
                    return await run_whole(self._executor, work)
            finally:
                await self._database.settle()

    # Following

    async def current(self) -> Wallet:
        """Return the wallet once it stands on the tip, and knows what the mempool took; all of that is durable."""
        while await self._ask_in_slices(self._catch_up):  # noqa: ASYNC110 - others get a turn between two steps
            await asyncio.sleep(0)
        return self.wallet

    def _catch_up(self, wallet: Wallet) -> Slices[bool]:
        """Go one step towards the tip, then look at what the mempool took; tell whether there are more steps."""
        if self.position != self._chain.tip.hash:
            yield from self._step(wallet)
            # Asked anew: the tip may have moved between two slices.
            if self.position != self._chain.tip.hash:
                return True
        for _ in range(min(len(self._seen), SEEN_AT_ONCE)):
            tx = self._seen.popleft()
            if wallet.add_pending(tx) and len(self._foreign) < MAX_FOREIGN:
                self._foreign[tx.txid] = None
                if tx.txid not in self._node.mempool:
                    self._given_up[tx.txid] = None  # it left before we looked
        return bool(self._seen)

    def _step(self, wallet: Wallet) -> Slices[None]:
        """Take some blocks; see `rpc.follower.follow_step`. A wallet that knows a foreign chain starts anew."""
        try:
            updates = yield from self._chain.updates_in_slices(self.position, BATCH)
        except UnknownCursorError:
            # Its chain is gone from this node: after a fresh start of the folder, or a lost database.
            self._log.warning("wallet_starts_over", cursor=display_hash(self.position))
            genesis = self._chain.index.genesis.hash
            wallet.rescan(1, genesis, target=self._chain.tip.height)
            return
        if updates.reverted or updates.applied:
            yield from wallet.updates_in_slices(updates.reverted, updates.applied)

    def _drop_foreign(self, wallet: Wallet) -> None:
        """Tell the wallet of payments to us that the mempool gave up."""
        if not self._node.mempool.is_at_rest or self.position != self._chain.tip.hash:
            return  # What is missing there may be in a block that the wallet has not seen; it is woken again then.
        while self._given_up:
            txid, _ = self._given_up.popitem()
            if txid in self._foreign and txid not in self._node.mempool:
                del self._foreign[txid]
                wallet.drop_pending(txid)

    # Paying

    @property
    def terms(self) -> RelayTerms:
        """What a payment has to offer now to be in a block soon, as far as this node can tell."""
        return self.terms_within(CONFIRM_TARGET)

    def terms_within(self, target: int, *, conservative: bool = False) -> RelayTerms:
        """Return what a payment has to offer to be in one of the next `target` blocks (see `estimate_fee`)."""
        return RelayTerms(
            fee_rate=estimate_fee(self._node.fees, self._node.mempool, target, conservative=conservative).rate,
            min_fee_rate=MIN_FEE_RATE,
            dust_limit=DUST_LIMIT,
            max_size=MAX_RELAY_SIZE,
            signature_bytes=SIGNATURE_BYTES,
            max_chain=MAX_CHAIN,
        )

    async def hand_over(self, sent: Sent) -> None:
        """Give a payment, durable already, to mempool and peers. If the node refuses a new one, it is taken back.

        One that was made before is left as it is, in the mempool or not: others may have it, so its coins must
        not come free, and it goes on being offered (A155).

        Raises:
            ConsensusError, NotYet, PolicyError: why a new one was refused; its coins are free again.
        """
        txid = sent.transaction.txid
        if txid in self._node.mempool or self.wallet.transaction(txid).state is State.CONFIRMED:
            return
        try:
            await self._node.submit_transaction(sent.transaction)
        except (ConsensusError, NotYet, PolicyError) as error:
            if isinstance(error, PolicyError) and error.reason in _ALREADY_HERE:
                return
            if sent.again:
                self._log.info("payment_not_taken", txid=display_hash(txid), why=str(error))
                return
            await self.ask(lambda wallet: wallet.refuse(txid))
            raise

    async def _offer_own(self) -> None:
        """Offer our payments that are in no block to the mempool, and now and then tell peers again of all that waits.

        Whoever connects is told by the relay; but a peer may have had no use for a payment when it was told, or have
        lost it since.
        """
        now = asyncio.get_running_loop().time()
        telling = now - self._told >= REBROADCAST_SECONDS
        if telling:
            self._told = now
        taken = refused = 0
        for place, tx in enumerate(await self.read(Wallet.rebroadcast_in_slices)):
            if place % SLICE == SLICE - 1:
                await give_way()
            if tx.txid in self._node.mempool:
                if telling:
                    self._node.announce_again(tx)
                continue
            try:
                await self._node.submit_transaction(tx)
                taken += 1
                self._log.info("payment_offered_again", txid=display_hash(tx.txid))
            except (ConsensusError, NotYet, PolicyError) as error:
                refused += 1
                self._log.debug("payment_not_taken", txid=display_hash(tx.txid), why=str(error))
        if taken and refused:
            # What kept one out may be gone with another that was taken, until a round takes none.
            self._offer_due = True
            self._wake.set()
