"""The wallet as its owner and the node see it. The work is done in the modules that it is made of.

One thread, one caller at a time: every method but `unlock`, `encrypt` and `change_passphrase`
takes milliseconds, and what it changed is durable when it returns. Those three derive a key from
a passphrase, which takes about a quarter of a second: a daemon calls them in another thread.

If the database or the disk fails under a call, what is stored is whole but what is held in memory
may be ahead of it: the error goes up, and the node must stop and open the wallet anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from consensus.address import decode_address, encode_address
from consensus.params import Params
from consensus.slices import Slices, whole
from consensus.types import AssetId, Block, BlockHash, LockId, Transaction, TxId
from wallet import backup as backup_file
from wallet import pem
from wallet.address_list import AddressList
from wallet.addresses import GAP_LIMIT, AddressBook, Branch
from wallet.assets.approvers import Approvers
from wallet.assets.desk import AssetDesk
from wallet.assets.making import AssetMaker
from wallet.assets.transfers import TransferDesk
from wallet.coin_list import CoinList
from wallet.cosigning import Cosigner
from wallet.errors import KeyFormatError, WalletError
from wallet.history import History
from wallet.keystore import Keystore
from wallet.keystore_file import DEFAULT_KDF, KdfCost
from wallet.ledger import Ledger
from wallet.maker import NOTHING, Maker
from wallet.messages import sign_message
from wallet.payments import Payments
from wallet.ports import Files, Outside
from wallet.records import RequestRecord
from wallet.results import (
    Balances,
    Cursor,
    HistoryEntry,
    Note,
    Payment,
    RelayTerms,
    Sent,
    TransactionDetail,
    WalletInfo,
)
from wallet.signer import Signer
from wallet.spend_policies.asset_spends import AssetSpends
from wallet.spend_policies.book import PolicyBook
from wallet.spend_policies.desk import PolicyDesk
from wallet.store import WalletStore
from wallet.swaps.desk import SwapDesk
from wallet.swaps.exchange import OfferDesk


class Wallet:
    """Keys, addresses, coins, payments and history of one owner on one network."""

    def __init__(
        self,
        params: Params,
        keystore: Keystore,
        outside: Outside,
        *,
        birthday: Cursor | None = None,
    ) -> None:
        """Open the wallet of a loaded keystore; an empty database is made ready first.

        Args:
            birthday: for a new wallet, a block before which it cannot have been paid. Without it
                the wallet follows the chain from genesis.

        Raises:
            WalletDataError: the database belongs to another network or keystore, or is damaged.
        """
        self.params = params
        self._keystore = keystore
        self._store = store = WalletStore(outside.database, params.genesis_hash, keystore.account.public_key, birthday)
        self._addresses = AddressBook(self._store, keystore.account, keystore.imported_public)
        policies = PolicyBook(self._store, self._addresses)
        self._ledger = Ledger(params, self._store, self._addresses, policies, outside.clock, outside.log)
        self._history = History(params, self._ledger, self._addresses)
        self._signer = Signer(params, keystore, self._addresses)
        self._maker = maker = Maker(params, self._ledger, self._addresses, self._signer, outside.log)
        self._payments = Payments(params, self._ledger, self._addresses, maker, outside.entropy)
        self.cosigner = Cosigner(params, self._ledger, self._addresses, policies, self._signer)
        approvers = Approvers(self._ledger.assets, policies)
        self.assets = AssetDesk(
            self._ledger,
            self._addresses,
            policies,
            AssetMaker(params, self._ledger, self._addresses, maker, self.cosigner, approvers, outside.entropy),
            TransferDesk(self._ledger, self._addresses, maker),
        )
        self.addresses = AddressList(store, self._addresses)
        self.coins = CoinList(self._ledger)
        self.policies = PolicyDesk(params, self._ledger, self._addresses, policies, self.cosigner, outside)
        self.offers = OfferDesk(
            params, self._ledger, self._addresses, self._signer, maker, self.cosigner, policies, approvers, outside
        )
        self.asset_spends = AssetSpends(params, self._ledger, self.policies.spends, approvers, self.cosigner)
        self.swaps = SwapDesk(
            params,
            self._ledger,
            self._addresses,
            self._signer,
            maker,
            self._payments,
            self.assets,
            self.policies,
            outside,
        )

    # Made and opened

    @staticmethod
    def exists(files: Files) -> bool:
        """Tell whether there is a wallet in this folder, whole or damaged."""
        return Keystore.exists(files)

    @classmethod
    def create(
        cls,
        params: Params,
        outside: Outside,
        *,
        mnemonic: str | None = None,
        passphrase: str | None = None,
        allow_plain: bool = False,
        cost: KdfCost = DEFAULT_KDF,
        birthday: Cursor | None = None,
    ) -> Wallet:
        """Make a wallet where there is none: from new words, or from those of an old one.

        From old words the wallet finds its payments by following the chain from genesis: leave
        `birthday` out. It comes unlocked.

        Args:
            passphrase: encrypts the keys. None leaves them readable by whoever reads the file.
            allow_plain: whether None is allowed: only on networks whose coins are worth nothing.

        Raises:
            MnemonicError: naming the word that is wrong.
            WalletError: a wallet is already there, or it would lie unencrypted where that is not allowed.
        """
        keystore = Keystore.create(
            outside.files, outside.entropy, mnemonic=mnemonic, passphrase=passphrase, allow_plain=allow_plain, cost=cost
        )
        return cls(params, keystore, outside, birthday=birthday)

    @classmethod
    def open(
        cls,
        params: Params,
        outside: Outside,
        *,
        allow_plain: bool = False,
    ) -> Wallet:
        """Open the wallet of this folder; locked, if it is encrypted.

        Raises:
            KeystoreError: it is damaged; the message names the backup. Nothing is touched.
            WalletError: there is none, or it is unencrypted where that is not allowed.
            WalletDataError: see `Wallet`.
        """
        keystore = Keystore.load(outside.files, outside.entropy, allow_plain=allow_plain)
        return cls(params, keystore, outside)

    @classmethod
    def restore(
        cls,
        params: Params,
        outside: Outside,
        raw: bytes,
        *,
        allow_plain: bool = False,
    ) -> Wallet:
        """Bring a wallet back from what `backup` returned, in a folder and database where there is none.

        It is locked if it was encrypted, and finds its payments by following the chain from genesis.

        Raises:
            WalletError: a wallet is already there; or as `open`.
            WalletDataError: the backup is damaged, of another version or of another network.
        """
        saved = backup_file.read_backup(raw, params.genesis_hash)
        payments = saved.transactions()
        keystore = Keystore.adopt(outside.files, outside.entropy, saved.keystore, allow_plain=allow_plain)
        wallet = cls(params, keystore, outside)
        wallet._addresses.restore(
            saved.next_receive, saved.next_change, saved.next_policy, saved.gap, saved.labels, saved.contacts
        )
        for name_hash, txid, fingerprint in saved.requests:
            wallet._store.put_request(name_hash, RequestRecord(txid, fingerprint))
        wallet.policies.restore(saved.policies)
        for txid, comment, to in saved.notes:
            wallet._store.put_note(txid, Note(comment, to))
        for asset, lock, why in saved.frozen:
            wallet._ledger.frozen.freeze(AssetId(asset), LockId(lock), why)
        for time, file in saved.waiting:
            wallet._ledger.waiting.restore(time, file)
        wallet._ledger.restore(payments)
        # The keystore comes last: until it is there, there is no wallet, and restoring can be tried again.
        keystore.write_new()
        return wallet

    def backup(self) -> bytes:
        """Return a file with everything that the chain cannot give back, keys as protected as they are here.

        Holds for as long as keys are not imported and the passphrase is not changed: addresses
        that are handed out later are found through the gap limit, or by the words.
        """
        return backup_file.write_backup(
            self.params.genesis_hash, self._keystore.raw, self._addresses, self._store, self._ledger.own_transactions()
        )

    # Keys

    @property
    def encrypted(self) -> bool:
        """Whether the keys lie under a passphrase."""
        return self._keystore.encrypted

    @property
    def locked(self) -> bool:
        """Whether the keys cannot be used now. A wallet that is not encrypted is never locked."""
        return self._keystore.locked

    def lock(self) -> None:
        """Forget the keys until `unlock`; without effect if not encrypted."""
        self._keystore.lock()

    def unlock(self, passphrase: str) -> None:
        """Make the keys usable. Slow, by intent; safe in another thread.

        Raises:
            WrongPassphraseError: the wallet stays as it was.
            WalletError: it is not encrypted.
        """
        self._keystore.unlock(passphrase)

    def encrypt(self, passphrase: str, cost: KdfCost = DEFAULT_KDF) -> None:
        """Put an unencrypted wallet under a passphrase, its backup too; locks it.

        Raises:
            WalletError: it is encrypted already, or the passphrase is empty.
        """
        self._keystore.encrypt(passphrase, cost)

    def change_passphrase(self, old: str, new: str) -> None:
        """Put the keys under another passphrase, the backup too.

        Raises:
            WrongPassphraseError: `old` is not the passphrase.
            WalletError: it is not encrypted, or `new` is empty.
        """
        self._keystore.change_passphrase(old, new)

    def mnemonic(self) -> str:
        """Return the words from which all but imported keys follow.

        Raises:
            WalletLockedError: unlock it first.
        """
        return self._keystore.secret().mnemonic

    def export_key(self, address: str) -> str:
        """Return the private key of one of our addresses, as PEM.

        Raises:
            WalletLockedError: unlock it first.
            AddressError: it is no address of this network.
            WalletError: it is not ours.
        """
        return pem.export_key(self._signer.private_key(self._own(address)))

    def import_key(self, text: str, label: str = "") -> str:
        """Add a private key from PEM; return its address, which from now on is watched.

        What it was paid before is found by `rescan`. It is in no mnemonic: make a new backup.

        Raises:
            WalletLockedError: unlock it first.
            KeyFormatError: the text is no such key, or it is here already.
        """
        private_key = pem.import_key(text)
        lock = self._addresses.lock_of_private_key(private_key)
        if self._addresses.find(lock) is not None:
            raise KeyFormatError("the wallet has this key already")
        index = self._keystore.add_key(private_key)
        self._addresses.add_imported(index, self._keystore.imported_public[index], label)
        return encode_address(self.params, lock)

    def sign_message(self, address: str, message: str) -> str:
        """Sign a text with the key of one of our addresses; see `wallet.messages`.

        Raises:
            WalletLockedError: unlock it first.
            AddressError: it is no address of this network.
            WalletError: it is not ours.
        """
        return sign_message(self.params, self._signer.private_key(self._own(address)), message)

    def _own(self, address: str) -> LockId:
        lock = decode_address(self.params, address)
        if not self.is_mine(lock):
            raise WalletError("the address is not one of this wallet's")
        return lock

    # Addresses

    def new_address(self, label: str = "") -> str:
        """Hand out an address that was never handed out; works while locked.

        Its index is durable before this returns, so no crash can lose what it is paid.
        """
        return encode_address(self.params, self._addresses.hand_out(Branch.RECEIVE, label).lock)

    def is_mine(self, lock: LockId) -> bool:
        """Tell whether the wallet watches a lock."""
        return self._addresses.find(lock) is not None

    def parse_payment(self, address: str, amount: int) -> Payment:
        """Read an address and check an amount in grain.

        Raises:
            AddressError: it is no address of this network.
            PaymentError: the amount is not one that can exist.
        """
        return self._payments.check_payment(decode_address(self.params, address), amount)

    # What is here

    def balances(self) -> Balances:
        """Return what the wallet owns, as of its cursor and its pending transactions."""
        return self._ledger.coins.balances(self.cursor.height + 1)

    def history(self, count: int = 10, skip: int = 0, label: str | None = None) -> list[HistoryEntry]:
        """Return lines of the history, newest first, leaving out the first `skip`."""
        return self._history.entries(count, skip, label)

    def whole_history(self, label: str | None = None) -> Iterator[HistoryEntry]:
        """Yield all lines of the history, newest first. Nothing may change meanwhile."""
        return self._history.lines(label)

    def transaction(self, txid: TxId) -> TransactionDetail:
        """Return all that is known of one transaction.

        Raises:
            UnknownTransactionError: the wallet has nothing to do with it.
        """
        return self._history.detail(txid)

    def info(self) -> WalletInfo:
        """Return what getwalletinfo shows."""
        return WalletInfo(
            encrypted=self.encrypted,
            locked=self.locked,
            transactions=self._store.count_transactions(),
            coins=self._ledger.coins.count(),
            addresses=self._addresses.count(),
            cursor=self.cursor,
            rescan_target=self._ledger.rescan_target,
        )

    # Payments

    def send(
        self,
        payments: Sequence[Payment],
        terms: RelayTerms,
        *,
        memo: bytes = b"",
        bearers: Sequence[int] = (),
        force: bool = False,
        request_id: str | None = None,
        note: Note = NOTHING,
    ) -> Sent:
        """Make, sign, check and record a payment; the caller hands it to the node, or calls `refuse`.

        It is durable when this returns, and offered by `rebroadcast` until it is in a block.

        Args:
            bearers: the places of payments that bear the fee, in equal parts; without any it is ours to bear.
            force: whether a fee above the sanity caps, or below what is relayed, is meant.
            request_id: of the caller's choosing. The same one again returns the same transaction,
                or what replaced it, and pays once.
            note: to be shown with it in the history; nobody else sees it.

        Raises:
            WalletLockedError: unlock it first.
            InsufficientFundsError: with what is there and what it would take.
            FeeError: an absurd fee or rate.
            PaymentError: dust, no payments, too large, `request_id` used for other payments, or a rescan is running.
        """
        return self._payments.send(
            payments, terms, memo=memo, bearers=bearers, force=force, request_id=request_id, note=note
        )

    def send_all(
        self,
        lock: LockId,
        terms: RelayTerms,
        *,
        memo: bytes = b"",
        force: bool = False,
        request_id: str | None = None,
    ) -> Sent:
        """Send all that can be spent now to one lock, the fee taken out of it; no change.

        As many coins as fit into one transaction, the largest first; `Sent.left` says how many did not.

        Raises:
            See `send`.
        """
        return self._payments.send_all(lock, terms, memo=memo, force=force, request_id=request_id)

    def bump(
        self,
        txid: TxId,
        terms: RelayTerms,
        *,
        fee_rate: int | None = None,
        change_index: int | None = None,
        force: bool = False,
    ) -> Sent:
        """Make a payment anew that waits for too long, with a higher fee; the caller hands it over in its place.

        It pays the same receivers and spends the same coins, so only one of the two can ever be in a block. More coins
        are added if the change does not bear the fee. If nobody takes it, `refuse` makes the first count again.

        Args:
            fee_rate: grain per 1,000 virtual bytes; by default what is usual now, and more than the first paid.
            change_index: the output that bears the fee, in place of change and further coins.
            force: as in `send`.

        Raises:
            UnknownTransactionError: there is no such payment of ours in no block.
            PaymentError: it was replaced, given up, lost a coin, or another payment of ours spends its change.
            FeeError: the fee rate is too low to replace it, or absurd.
            InsufficientFundsError: the change and what else is there do not bear the fee.
            WalletLockedError: unlock it first.
        """
        return self._payments.bump(txid, terms, fee_rate=fee_rate, change_index=change_index, force=force)

    def refuse(self, txid: TxId) -> None:
        """Take back a payment that was just made and that our own node refused, so that nobody else ever saw it.

        Its coins are free again, and so is the name of its request: asked for again, it is made anew.

        Raises:
            UnknownTransactionError: there is no such pending transaction.
        """
        self._maker.refuse(txid)

    def abandon(self, txid: TxId) -> None:
        """Give up a payment that is in no block, and those that descend from it; its coins are free again.

        Whoever holds it could still have it mined: then it counts again.

        Raises:
            UnknownTransactionError: there is no such pending transaction.
        """
        self._ledger.abandon(txid)

    # The chain and the mempool, as the node reports them

    @property
    def cursor(self) -> Cursor:
        """The newest applied block: what to ask the chain's updates since."""
        return self._ledger.cursor

    def handle_updates(self, reverted: Sequence[Block], applied: Sequence[Block]) -> None:
        """Follow the chain, in one durable step.

        Args:
            reverted: newest first, from the cursor down.
            applied: oldest first, on top of what is left.

        Raises:
            OutOfStepError: they do not fit the cursor; nothing has changed.
        """
        whole(self.updates_in_slices(reverted, applied))

    def updates_in_slices(self, reverted: Sequence[Block], applied: Sequence[Block]) -> Slices[None]:
        """Do `handle_updates`, in slices. Nobody may look at this wallet between two of them, and all must be done:
        what is stored stays whole if they are not, but what is held in memory does not.
        """
        yield from self._ledger.updates_in_slices(reverted, applied)

    def add_pending(self, tx: Transaction) -> bool:
        """Take note of a transaction that the mempool accepted; tell whether it concerns this wallet."""
        return self._ledger.add_pending(tx)

    def drop_pending(self, txid: TxId) -> None:
        """Take note that the mempool gave a transaction up (evicted or expired, not mined).

        One of others is no longer counted as pending. One of ours is: `rebroadcast` offers it again.
        """
        self._ledger.drop_pending(txid)

    def rebroadcast(self) -> list[Transaction]:
        """Return our own transactions that are in no block, parents first: to be offered to the mempool again.

        Empty during a rescan.
        """
        return whole(self.rebroadcast_in_slices())

    def rebroadcast_in_slices(self) -> Slices[list[Transaction]]:
        """Do `rebroadcast`, in slices; nobody may change this wallet meanwhile."""
        return self._ledger.rebroadcast_in_slices()

    def rescan(self, from_height: int, previous: BlockHash, *, target: int, gap: int = GAP_LIMIT) -> None:
        """Forget what the chain said from a height on, and go back there: following the chain does the rest.

        Durable and resumable: the cursor is the progress, and it survives a crash and a reorg.
        Until the cursor reaches `target`, balances lack what is not found yet, and nothing is sent.

        Args:
            from_height: of the first block to look at again, 1 or more.
            previous: the id of the block below it.
            target: the height at which the rescan ends, usually the tip's.
            gap: how many unused addresses in a row are looked for; larger ones find what was
                paid to addresses far beyond those in use.

        Raises:
            WalletError: the height is above the cursor, or the gap absurd.
        """
        self._ledger.rescan(from_height, previous, target=target, gap=gap)

    def close(self) -> None:
        """Make the cursor durable and forget the keys."""
        self._ledger.flush()
        self._keystore.lock()
