"""The end of every payment: signed, judged by the rules, recorded. And what is asked before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from consensus.assets import Assets, asset_effects
from consensus.codec import display_hash
from consensus.errors import ConsensusError
from consensus.params import Params
from consensus.signatures import verify_all
from consensus.state import SpendContext
from consensus.types import MAX_MEMO, Amount, Coin, Output, Transaction, TxId
from consensus.validation import check_spends, check_transaction, transaction_fee
from wallet.addresses import AddressBook, KnownAddress
from wallet.errors import FeeError, PaymentError, RequestUsedError
from wallet.fee_bump import Original
from wallet.ledger import Ledger
from wallet.ports import Log
from wallet.psdt import Psdt
from wallet.records import RequestRecord
from wallet.results import Note, RelayTerms, Sent
from wallet.signer import Opening, Signer
from wallet.tx_builder import Built
from wallet.waiting import WaitingTransfer

MAX_FEE_RATE = 10**9
"""Grain per 1,000 bytes: nobody means more, forced or not; keeps every product small."""
MAX_REQUEST_ID = 256
"""Characters."""
MAX_NOTE = 1_000
"""Characters of each part of a note."""
NOTHING = Note()
NO_ASSETS: Assets = {}


def check_following(ledger: Ledger) -> None:
    """Check that a wallet knows which of its coins are spent.

    Raises:
        PaymentError: it is rescanning.
    """
    if ledger.rescan_target is not None:
        raise PaymentError("the wallet is rescanning: what seems unspent may not be")


def check_memo(memo: bytes) -> None:
    """Check that a memo fits into a transaction.

    Raises:
        PaymentError: it is too long.
    """
    if len(memo) > MAX_MEMO:
        raise PaymentError(f"a memo has at most {MAX_MEMO} bytes")


def check_note(note: Note) -> None:
    """Check that what the wallet is to keep with a payment is short enough.

    Raises:
        PaymentError: it is not.
    """
    if any(len(part) > MAX_NOTE for part in note):
        raise PaymentError(f"a comment has at most {MAX_NOTE} characters")


class Maker:
    """Turns cores into payments that are made."""

    def __init__(self, params: Params, ledger: Ledger, addresses: AddressBook, signer: Signer, log: Log) -> None:
        self._params = params
        self._ledger = ledger
        self._addresses = addresses
        self._signer = signer
        self._log = log

    @property
    def next_height(self) -> int:
        """Of the block that a payment made now may be in."""
        return self._ledger.cursor.height + 1

    # Before

    def check_ready(self, terms: RelayTerms, memo: bytes, *, force: bool) -> None:
        """Check that a payment can be made now, on these terms.

        Raises:
            WalletLockedError, PaymentError, FeeError: it cannot.
        """
        self._signer.check_unlocked()
        check_following(self._ledger)
        check_memo(memo)
        if not 0 <= terms.fee_rate <= MAX_FEE_RATE:
            raise FeeError(f"a fee rate is 0 to {MAX_FEE_RATE} grain per 1,000 bytes")
        if terms.fee_rate < terms.min_fee_rate and not force:
            raise FeeError(
                f"below {terms.min_fee_rate} grain per 1,000 bytes no node relays it: raise the fee rate, or force it"
            )

    def knows_request(self, request_id: str) -> bool:
        """Tell whether a payment was made under this name."""
        return self._ledger.store.request(_hash_name(request_id)) is not None

    def request_txid(self, request_id: str | None, wish: bytes) -> TxId | None:
        """Return the id of the payment that was asked for under this name before, or None.

        Raises:
            PaymentError: the name is too long, or was used for something else.
        """
        if request_id is None:
            return None
        if not 1 <= len(request_id) <= MAX_REQUEST_ID:
            raise PaymentError(f"the name of a request has 1 to {MAX_REQUEST_ID} characters")
        request = self._ledger.store.request(_hash_name(request_id))
        if request is None:
            return None
        if request.fingerprint != sha256(wish).digest():
            raise RequestUsedError("this request name was used for another payment")
        return request.txid

    def find_request(self, request_id: str | None, wish: bytes) -> Sent | None:
        """Return the payment that was made under this name before, or None."""
        txid = self.request_txid(request_id, wish)
        if txid is None:
            return None
        while (newer := self._ledger.replacement_of(txid)) is not None:
            txid = newer
        record = self._ledger.store.transaction(txid)
        if record is None:
            # Restored from a backup, of which a payment is part only while it waits for its block.
            raise PaymentError("this request was paid; the wallet has yet to find the payment in the chain")
        if record.height is None and not self._ledger.pending.counts(txid):
            raise PaymentError(
                f"this request was paid by {display_hash(txid)}, which was given up or lost a coin. It may have "
                "reached others: look what became of it, and ask under another name"
            )
        tx = record.transaction
        coins = [self._ledger.coins.find(outpoint) for outpoint in tx.core.inputs]
        paid_in = sum(coin.value for coin in coins if coin is not None and coin.asset is None)
        outputs = [output for output in tx.core.outputs if output.asset is None]
        paid_out = sum(output.value for output in outputs)
        change = sum(output.value for output in outputs if self._addresses.is_change(output.lock))
        return Sent(tx, Amount(max(0, paid_in - paid_out)), Amount(change), 0, again=True)

    # After

    def finish(
        self,
        built: Built,
        change: KnownAddress | None,
        *,
        request: tuple[str | None, bytes],
        left: int = 0,
        note: Note = NOTHING,
        replaces: Original | None = None,
        assets: Assets = NO_ASSETS,
        opening: Opening | None = None,
    ) -> Sent:
        """Sign, judge and record; nothing has changed if this raises.

        Args:
            change: the address, peeked at, that takes what comes back.
            request: its name, and all that was asked for.
            assets: the records of all that the transaction names or spends.
            opening: how its coins at a policy are opened.

        Raises:
            PaymentError: a rule is broken, which is named.
            WalletLockedError: unlock first.
        """
        spent = [coin.output for coin in built.coins]
        tx = self._sign_and_judge(built, spent, assets, opening)
        if replaces is not None:
            self._ledger.store.put_replacement(replaces.transaction.txid, tx.txid)
        return self.record(tx, built, change, request=request, left=left, note=note)

    def record(
        self,
        tx: Transaction,
        built: Built,
        change: KnownAddress | None,
        *,
        request: tuple[str | None, bytes],
        left: int = 0,
        note: Note = NOTHING,
    ) -> Sent:
        """Take in a payment that is signed and judged; as `finish`."""
        self._ledger.add_own(tx)
        self._note(tx.txid, change, request, note)
        self._ledger.flush()
        self._log.info(
            "payment_made", txid=display_hash(tx.txid), inputs=len(built.coins), bytes=len(tx.encoded), fee=built.fee
        )
        return Sent(tx, built.fee, built.change, left)

    def wait(
        self, psdt: Psdt, change: KnownAddress | None, *, request: tuple[str | None, bytes], note: Note
    ) -> WaitingTransfer:
        """Keep the coins of a transaction that is signed, and wants somebody else's approval; durable."""
        waiting = self._ledger.waiting.add(psdt, self._ledger.now())
        self._note(psdt.txid, change, request, note)
        self._ledger.flush()
        self._log.info("transfer_waits", txid=display_hash(psdt.txid), inputs=len(psdt.coins), fee=psdt.fee)
        return waiting

    def _note(self, txid: TxId, change: KnownAddress | None, request: tuple[str | None, bytes], note: Note) -> None:
        if change is not None:
            self._addresses.take(change)
        self._ledger.store.put_note(txid, note)
        request_id, wish = request
        if request_id is not None:
            self._ledger.store.put_request(_hash_name(request_id), RequestRecord(txid, sha256(wish).digest()))

    def _sign_and_judge(
        self, built: Built, spent: Sequence[Output], assets: Assets, opening: Opening | None
    ) -> Transaction:
        """Sign, and hold the transaction against the same rules that every node will hold it against."""
        coins = {
            coin.outpoint: Coin(output, self.next_height if coin.height is None else coin.height, coin.coinbase)
            for coin, output in zip(built.coins, spent, strict=True)
        }
        try:
            approvals = asset_effects(Transaction(built.core, ()), coins, assets).approvals
            tx = self._signer.sign(built.core, spent, approvals, opening)
            check_transaction(self._params, tx)
            fee = transaction_fee(self._params, self.next_height, tx, coins)
            # Our own locks hold no time: the median time of the parent does not matter.
            context = SpendContext(self.next_height, 0) if opening is None else opening.context
            checks = check_spends(self._params, context, tx, coins, approvals)
        except ConsensusError as error:
            raise PaymentError(f"the payment would not be valid: {error}") from None
        if verify_all(checks) is not None or fee != built.fee:
            raise PaymentError("the payment would not be valid: its signatures or its fee are wrong")
        return tx

    def refuse(self, txid: TxId) -> None:
        """See `Wallet.refuse`."""
        self.forget_request(txid)
        self._ledger.abandon(txid)

    def forget_request(self, txid: TxId) -> None:
        """Let the name of a payment's request be used again; as part of the caller's step, and at its beginning."""
        for name_hash, request in list(self._ledger.store.requests()):
            if request.txid == txid:
                self._ledger.store.put_request(name_hash, None)


def _hash_name(request_id: str) -> bytes:
    return sha256(request_id.encode("utf-8", "surrogatepass")).digest()
