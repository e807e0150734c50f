"""The wallet as a follower of the chain: what blocks and pending transactions mean for its coins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from consensus.amounts import format_amount
from consensus.codec import display_hash
from consensus.params import Params
from consensus.slices import SLICE, Slices, whole
from consensus.types import Block, BlockHash, LockId, OutPoint, Transaction, TxId
from wallet.addresses import AddressBook
from wallet.assets.book import AssetBook
from wallet.assets.freezing import FreezeList
from wallet.coin_table import CoinTable
from wallet.errors import OutOfStepError, UnknownTransactionError, WalletDataError, WalletError
from wallet.pending import PendingSet, PendingTx
from wallet.ports import Clock, Log
from wallet.records import CoinRecord, ConflictRecord, JournalRecord, RescanRecord, TxRecord
from wallet.results import Cursor
from wallet.spend_policies.book import PolicyBook
from wallet.store import WalletStore
from wallet.waiting import WaitingSet

CURSOR_LAG = 500
"""Blocks without anything for us after which the cursor is made durable all the same: what a crash
may cost is looking at so many blocks again."""
TAKEN_AT_ONCE = 50
"""Transactions in a slice: where all are ours, each changes half a dozen records."""
RESCAN_STEP = 500
"""Blocks with something for us that one write of a rescan takes back: bounds its memory."""


class Ledger:
    """Coins, transactions and the cursor. Every public change but `add_own` is durable when it returns."""

    def __init__(
        self,
        params: Params,
        store: WalletStore,
        addresses: AddressBook,
        policies: PolicyBook,
        clock: Clock,
        log: Log,
    ) -> None:
        """Read the unspent coins and the pending transactions; go on with a rescan that was cut off."""
        self._addresses = addresses
        self._policies = policies
        self._clock = clock
        self._log = log
        self.store = store
        self.pending = PendingSet(store)
        self.waiting = WaitingSet(params, store)
        self.coins = CoinTable(params, store, self.pending, policies, self.waiting.coins)
        self.assets = AssetBook(store)
        self.frozen = FreezeList(params, store)
        self.cursor = store.cursor()
        self._durable_cursor = self.cursor
        self._rescan = store.rescan()
        self._descend()

    # Following the chain

    def updates_in_slices(self, reverted: Sequence[Block], applied: Sequence[Block]) -> Slices[None]:
        """See `Wallet.updates_in_slices`."""
        self._check_updates(reverted, applied)
        changed = False
        for block in reverted:
            changed |= yield from self._revert(self.cursor.height)
            self.cursor = Cursor(self.cursor.height - 1, block.header.previous)
        for block in applied:
            height = self.cursor.height + 1
            changed |= yield from self._apply(block, height)
            self.cursor = Cursor(height, block.hash)
        changed |= self._end_rescan()
        if changed:
            yield from self.pending.refresh_in_slices()
        if changed or reverted or self.cursor.height >= self._durable_cursor.height + CURSOR_LAG:
            yield from self._flush_in_slices()

    def flush(self) -> None:
        """Make the cursor durable, with whatever else the step holds."""
        whole(self._flush_in_slices())

    def _flush_in_slices(self) -> Slices[None]:
        if self.cursor != self._durable_cursor:
            self.store.put_cursor(self.cursor)
        yield from self.store.commit_in_slices()
        self._durable_cursor = self.cursor

    def now(self) -> int:
        """Return the time at which something is made: UNIX seconds."""
        return self._clock.time()

    def confirmations(self, height: int) -> int:
        """Return how deep a block of the wallet's chain is; 1 for the newest."""
        return self.cursor.height - height + 1

    def _check_updates(self, reverted: Sequence[Block], applied: Sequence[Block]) -> None:
        tip = self.cursor.hash
        for block in reverted:
            if block.hash != tip:
                raise OutOfStepError(f"the wallet is at {display_hash(tip)}, not at {display_hash(block.hash)}")
            tip = block.header.previous
        for block in applied:
            if block.header.previous != tip:
                raise OutOfStepError(f"the wallet is at {display_hash(tip)}, below another block than the one given")
            tip = block.hash

    def _apply(self, block: Block, height: int) -> Slices[bool]:
        """Take in a block; tell whether it had anything for us."""
        yield from self._watch_ahead(block)
        changed, txids = False, []
        for place, tx in enumerate(block.transactions):
            if place % TAKEN_AT_ONCE == TAKEN_AT_ONCE - 1:
                yield
            contested = any(self.pending.names(outpoint) for outpoint in tx.core.inputs)
            if self._is_ours(tx) or (contested and tx.txid in self.pending):
                txids.append(tx.txid)
                self._connect(tx, height, block, coinbase=place == 0)
            elif contested:
                self._note_conflicts(tx, height)
            changed |= contested
        if txids:
            self.store.put_journal(height, JournalRecord(block.hash, tuple(txids)))
        return changed or bool(txids)

    def _watch_ahead(self, block: Block) -> Slices[None]:
        """Mark the paid addresses; each may bring new ones, which this very block may pay too."""
        grown = True
        while grown:
            grown = False
            for place, tx in enumerate(block.transactions):
                if place % SLICE == SLICE - 1:
                    yield
                for output in tx.core.outputs:
                    if output.lock in self._addresses:
                        grown |= self._addresses.mark_used(output.lock)

    def _is_ours(self, tx: Transaction) -> bool:
        return any(self._is_watched(output.lock) for output in tx.core.outputs) or any(
            outpoint in self.coins for outpoint in tx.core.inputs
        )

    def _is_watched(self, lock: LockId) -> bool:
        return lock in self._addresses or lock in self._policies

    def _note_conflicts(self, tx: Transaction, height: int) -> None:
        for outpoint in tx.core.inputs:
            if self.pending.names(outpoint):
                self.pending.put_conflict(outpoint, ConflictRecord(tx.txid, height))

    def _connect(self, tx: Transaction, height: int, block: Block, *, coinbase: bool) -> None:
        txid = tx.txid
        record = self._record_of(tx)
        self.assets.note(tx, ours=record.ours)
        self.waiting.end(tx)
        self.pending.remove(txid)
        self._note_conflicts(tx, height)
        for outpoint in tx.core.inputs:
            self.coins.spend(outpoint, txid, height)
        self._put_coins(tx, coinbase=coinbase, height=height)
        self.store.put_transaction(
            txid,
            replace(
                record,
                abandoned=False,
                dropped=False,
                height=height,
                block_hash=block.hash,
                block_time=block.header.time,
            ),
        )

    def _put_coins(self, tx: Transaction, *, coinbase: bool, height: int | None) -> None:
        for index, output in enumerate(tx.core.outputs):
            if self._is_watched(output.lock):
                coin = CoinRecord(output.value, output.lock, output.asset, coinbase, height, None, None)
                outpoint = OutPoint(tx.txid, index)
                if self.coins.find(outpoint) is None:
                    self._sound_alarm(tx, coin)
                self.coins.put(outpoint, coin)

    def _sound_alarm(self, tx: Transaction, coin: CoinRecord) -> None:
        """Tell the operator of what leaves a vault, the first time that it is seen: the cold key can take it back."""
        vault = self._policies.led_to(coin.lock)
        spent = [self.coins.find(outpoint) for outpoint in tx.core.inputs]
        if vault is not None and any(each is not None and each.lock == vault.lock for each in spent):
            amount = format_amount(coin.value) if coin.asset is None else f"{coin.value} of asset {coin.asset.hex()}"
            self._log.warning("vault_withdrawal_seen", vault=vault.name, txid=display_hash(tx.txid), amount=amount)

    def _revert(self, height: int) -> Slices[bool]:
        """Take back what the block of a height brought, from the journal; tell whether it brought anything."""
        changed = self.pending.forget_conflicts(height)
        journal = self.store.journal(height)
        if journal is None:
            return changed
        for place, txid in enumerate(reversed(journal.txids)):
            if place % TAKEN_AT_ONCE == TAKEN_AT_ONCE - 1:
                yield
            record = self.store.transaction(txid)
            if record is None or record.height != height:
                raise WalletDataError("the wallet's journal is damaged: restore the wallet from a backup or its words")
            self._disconnect(txid, record)
        self.store.put_journal(height, None)
        return True

    def _disconnect(self, txid: TxId, record: TxRecord) -> None:
        tx = record.transaction
        for index in range(len(tx.core.outputs)):
            self.coins.unconfirm(OutPoint(txid, index))
        for outpoint in tx.core.inputs:
            self.coins.unspend(outpoint, txid)
        self._put_pending(PendingTx(txid, tx, replace(record, height=None, block_hash=None, block_time=None)))

    def _record_of(self, tx: Transaction) -> TxRecord:
        """Return the record of a transaction, a new one if it was never seen."""
        record = self.store.transaction(tx.txid)
        if record is not None:
            return record
        number = self.store.next_number()
        return TxRecord(
            sequence=number,
            time=self._clock.time(),
            raw=tx.encoded,
            arrival=number,
            ours=all(outpoint in self.coins and self.coins.find_own(outpoint) for outpoint in tx.core.inputs),
            abandoned=False,
            dropped=False,
            height=None,
            block_hash=None,
            block_time=None,
        )

    # Pending transactions

    def add_pending(self, tx: Transaction) -> bool:
        """See `Wallet.add_pending`."""
        known = self.pending.get(tx.txid)
        if known is None:
            contested = any(self.pending.names(outpoint) for outpoint in tx.core.inputs)
            if self.store.transaction(tx.txid) is not None or not (contested or self._is_ours(tx)):
                return False
            self._receive(tx, self._record_of(tx))
        elif not self.pending.counts(tx.txid):
            # The mempool has judged it anew: it goes before those that contest its coins.
            record = replace(known.record, abandoned=False, dropped=False, arrival=self.store.next_number())
            self._put_pending(known._replace(record=record))
            self.pending.refresh()
        self.flush()
        return True

    def add_own(self, tx: Transaction) -> None:
        """Take in a payment that was just made, as part of the caller's step: `flush` ends it."""
        self._receive(tx, replace(self._record_of(tx), ours=True))

    def _receive(self, tx: Transaction, record: TxRecord) -> None:
        self.assets.note(tx, ours=record.ours)
        if tx.txid in self.waiting:
            self.waiting.remove(tx.txid)
        plain = not any(
            self.pending.names(outpoint) or (outpoint.txid in self.pending and not self.pending.counts(outpoint.txid))
            for outpoint in tx.core.inputs
        )
        for outpoint in tx.core.inputs:
            coin = self.coins.find(outpoint)
            if coin is not None and coin.spender is not None and coin.spent_height is not None:
                self.pending.put_conflict(outpoint, ConflictRecord(coin.spender, coin.spent_height))
                plain = False
        for output in tx.core.outputs:
            if output.lock in self._addresses:
                self._addresses.mark_used(output.lock)
        self._put_coins(tx, coinbase=False, height=None)
        pending = PendingTx(tx.txid, tx, record)
        if plain:
            self.store.put_transaction(tx.txid, record)
            self.pending.extend(pending)
        else:
            self._put_pending(pending)
            self.pending.refresh()

    def _put_pending(self, pending: PendingTx) -> None:
        self.store.put_transaction(pending.txid, pending.record)
        self.pending.add(pending)

    def drop_pending(self, txid: TxId) -> None:
        """See `Wallet.drop_pending`."""
        known = self.pending.get(txid)
        if known is not None and not known.record.ours and not known.record.dropped:
            self._put_pending(known._replace(record=replace(known.record, dropped=True)))
            self.pending.refresh()
            self.flush()

    def abandon(self, txid: TxId) -> None:
        """See `Wallet.abandon`."""
        known = self.pending.get(txid)
        if known is None or not known.record.ours:
            raise UnknownTransactionError("there is no such payment of this wallet that is in no block")
        for pending in self.pending.descendants(txid):
            self._put_pending(pending._replace(record=replace(pending.record, abandoned=True)))
        self.pending.refresh()
        self.flush()
        self._log.info("payment_abandoned", txid=display_hash(txid))

    def rebroadcast_in_slices(self) -> Slices[list[Transaction]]:
        """See `Wallet.rebroadcast_in_slices`."""
        if self._rescan is not None:
            return []
        wanted: dict[TxId, Transaction] = {}
        for place, pending in enumerate(self.pending, 1):
            if place % SLICE == 0:
                yield
            if pending.record.ours and self.pending.counts(pending.txid):
                self.pending.add_line(pending, wanted)
        return list(wanted.values())

    def replacement_of(self, txid: TxId) -> TxId | None:
        """Return the payment that was made in place of another: one that is in a block, or may still get into one."""
        newer = standing = self.store.replacement_of(txid)
        # One that was replaced in turn counts no more, and leads to what does.
        while standing is not None:
            record = self.store.transaction(standing)
            if record is not None and (record.height is not None or self.pending.counts(standing)):
                return newer
            standing = self.store.replacement_of(standing)
        return None

    def own_transactions(self) -> Iterator[TxRecord]:
        """Yield our own payments that are in no block: what a backup must hold of them."""
        return (pending.record for pending in self.pending if pending.record.ours)

    def restore(self, transactions: Sequence[tuple[int, Transaction]]) -> None:
        """Take in our own payments of a backup, with the times at which they were made."""
        for time, tx in transactions:
            if tx.txid not in self.pending:
                self._receive(tx, replace(self._record_of(tx), ours=True, time=time))
        self.flush()

    # Rescan

    @property
    def rescan_target(self) -> int | None:
        """The height at which the rescan that is under way ends."""
        return None if self._rescan is None else self._rescan.target

    def rescan(self, from_height: int, previous: BlockHash, *, target: int, gap: int) -> None:
        """See `Wallet.rescan`."""
        if not 1 <= from_height <= self.cursor.height + 1:
            raise WalletError(f"a rescan starts at a height of 1 to {self.cursor.height + 1}")
        self._addresses.widen(gap)
        self._rescan = RescanRecord(from_height, previous, target, descending=True)
        self.store.put_rescan(self._rescan)
        self.flush()
        self._log.info("rescan_started", from_height=from_height, target=target, gap=self._addresses.gap)
        self._descend()

    def _descend(self) -> None:
        """Take back all blocks from a rescan's first height on, in steps that each leave the wallet whole."""
        rescan = self._rescan
        if rescan is None or not rescan.descending:
            return
        heights = self.store.journal_heights(rescan.from_height)
        for place, height in enumerate(heights, 1):
            whole(self._revert(height))
            below = self.store.journal(heights[place]) if place < len(heights) else None
            if place % RESCAN_STEP == 0 and below is not None:
                # Nothing between the two blocks was for us: the wallet is where it was at the lower one.
                self.cursor = Cursor(heights[place], below.block_hash)
                self.flush()
        self.pending.forget_conflicts(rescan.from_height)
        self.cursor = Cursor(rescan.from_height - 1, rescan.previous)
        self._rescan = replace(rescan, descending=False)
        self.store.put_rescan(self._rescan)
        self._end_rescan()
        self.pending.refresh()
        self.flush()

    def _end_rescan(self) -> bool:
        if self._rescan is None or self.cursor.height < self._rescan.target:
            return False
        self._rescan = None
        self.store.put_rescan(None)
        self._log.info("rescan_done", height=self.cursor.height)
        return True
