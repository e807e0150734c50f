"""Payments in DURE: checked, and coins selected. `wallet/maker.py` makes them into transactions."""

from __future__ import annotations

from collections.abc import Sequence

from consensus.amounts import format_amount
from consensus.codec import display_hash, encode
from consensus.params import Params
from consensus.types import MAX_OUTPUTS, Amount, LockId, TxId
from wallet.addresses import AddressBook, Branch
from wallet.assets.naming import carries_assets
from wallet.coin_selection import Need, Selection, fee_of, select_all, select_coins, select_of
from wallet.errors import FeeError, PaymentError, UnknownTransactionError
from wallet.fee_bump import Original, bumped_rate, select_bumped
from wallet.ledger import Ledger
from wallet.maker import NOTHING, Maker, check_note
from wallet.ports import Entropy
from wallet.results import Note, Payment, RelayTerms, Sent
from wallet.tx_builder import build, need_of, share_fee

MAX_FEE = Amount(10_000_000)
"""Grain: 0.1 DURE. A higher fee must be forced (Bitcoin Core: -maxtxfee has the same number)."""
MAX_FEE_PERCENT = 10
"""Of what is paid: a higher fee must be forced, if it is also above `SMALL_FEE`."""
SMALL_FEE = Amount(100_000)
"""Grain: 0.001 DURE. Below it a fee may be any part of a payment, or small payments could not be made."""


class Payments:
    """Makes payments out of the ledger's coins."""

    def __init__(
        self,
        params: Params,
        ledger: Ledger,
        addresses: AddressBook,
        maker: Maker,
        entropy: Entropy,
    ) -> None:
        self._params = params
        self._ledger = ledger
        self._addresses = addresses
        self._maker = maker
        self._entropy = entropy

    def send(
        self,
        payments: Sequence[Payment],
        terms: RelayTerms,
        *,
        memo: bytes,
        bearers: Sequence[int],
        force: bool,
        request_id: str | None,
        note: Note,
    ) -> Sent:
        """See `Wallet.send`."""
        bearers = sorted(set(bearers))
        wish = encode((b"send", [tuple(payment) for payment in payments], memo, bearers))
        done = self._maker.find_request(request_id, wish)
        if done is not None:
            return done
        self._maker.check_ready(terms, memo, force=force)
        if not 1 <= len(payments) < MAX_OUTPUTS:
            raise PaymentError(f"a transaction pays 1 to {MAX_OUTPUTS - 1} others")
        for payment in payments:
            self._check_amount(payment.amount, terms)
        check_note(note)
        need = need_of(payments, memo)
        if bearers:
            # Nobody adds to what is paid, so coins are chosen as if they cost nothing.
            free = self._choose(need, terms._replace(fee_rate=0))
            payments, selection = self._charge(payments, bearers, free, terms, memo)
        else:
            selection = self._choose(need, terms)
        return self._finish(payments, selection, memo, left=0, force=force, request=(request_id, wish), note=note)

    def _choose(self, need: Need, terms: RelayTerms) -> Selection:
        """Choose coins that are in a block, or where those do not do, also our own change that is in none.

        Raises:
            PaymentError: as `select_coins`, of all of them.
        """
        coins, height = self._ledger.coins, self._maker.next_height
        settled = select_of(coins.settled(height), need, terms, self._entropy)
        return settled or select_coins(coins.spendable(height), need, terms, self._entropy)

    def send_all(self, lock: LockId, terms: RelayTerms, *, memo: bytes, force: bool, request_id: str | None) -> Sent:
        """See `Wallet.send_all`."""
        wish = encode((b"send-all", lock, memo))
        done = self._maker.find_request(request_id, wish)
        if done is not None:
            return done
        self._maker.check_ready(terms, memo, force=force)
        # The amount is not known yet: the largest takes the most bytes.
        need = need_of([Payment(lock, self._params.total_supply)], memo)
        selection, left = select_all(self._ledger.coins.spendable(self._maker.next_height), need, terms)
        paid_in = sum(coin.value for coin in selection.coins)
        payments = share_fee([Payment(lock, Amount(paid_in))], [0], selection.fee, terms)
        return self._finish(payments, selection, memo, left=left, force=force, request=(request_id, wish))

    def bump(
        self, txid: TxId, terms: RelayTerms, *, fee_rate: int | None, change_index: int | None, force: bool
    ) -> Sent:
        """See `Wallet.bump`."""
        original = self._original(txid, change_index)
        memo = original.transaction.core.memo
        rate = bumped_rate(original, terms, fee_rate)
        terms = terms._replace(fee_rate=rate)
        self._maker.check_ready(terms, memo, force=force)
        spendable = self._ledger.coins.spendable(self._maker.next_height)
        selection = select_bumped(
            original,
            [coin for coin in spendable if coin.chain == 0] if change_index is None else [],
            memo,
            terms,
            keep_change=change_index is not None or not original.payments,
        )
        return self._finish(
            original.payments,
            selection,
            memo,
            left=0,
            force=force,
            request=(None, b""),
            note=self._ledger.store.note(txid),
            replaces=original,
        )

    def _original(self, txid: TxId, change_index: int | None) -> Original:
        """Return a payment that can be replaced."""
        pending = self._ledger.pending.get(txid)
        if pending is None or not pending.record.ours:
            raise UnknownTransactionError("there is no such payment of this wallet that is in no block")
        newer = self._ledger.replacement_of(txid)
        if newer is not None:
            raise PaymentError(f"the payment was replaced already, by {display_hash(newer)}")
        counts = self._ledger.pending.counts
        if not counts(txid):
            raise PaymentError("the payment waits for no block: it was given up, or lost a coin")
        if any(each.txid != txid and counts(each.txid) for each in self._ledger.pending.descendants(txid)):
            raise PaymentError("another payment of this wallet spends its change: it cannot be replaced any more")
        tx = pending.transaction
        if carries_assets(tx):
            raise PaymentError("the payment carries assets: it cannot be replaced, only followed by another")
        coins = self._ledger.coins.behind(tx.core)
        if coins is None:
            raise PaymentError("a coin that it spends is not this wallet's")
        outputs = tx.core.outputs
        if change_index is None:
            change_index = next(
                (n for n, output in enumerate(outputs) if self._addresses.is_change(output.lock)), len(outputs)
            )
        elif change_index >= len(outputs):
            raise PaymentError(f"the payment has outputs 0 to {len(outputs) - 1}")
        payments = tuple(Payment(output.lock, output.value) for n, output in enumerate(outputs) if n != change_index)
        return Original(
            tx,
            tuple(coins),
            Amount(sum(coin.value for coin in coins) - sum(output.value for output in outputs)),
            payments,
            outputs[change_index].lock if change_index < len(outputs) else None,
        )

    # Before

    def check_payment(self, lock: LockId, amount: int) -> Payment:
        """See `Wallet.parse_payment`."""
        if not 1 <= amount <= self._params.total_supply:
            raise PaymentError(f"an amount is 0.00000001 to {format_amount(self._params.total_supply)} DURE")
        return Payment(lock, Amount(amount))

    def _check_amount(self, amount: int, terms: RelayTerms) -> None:
        check_dust(amount, terms)
        if amount > self._params.total_supply:
            raise PaymentError("the amount is more than there will ever be")

    @staticmethod
    def _charge(
        payments: Sequence[Payment], bearers: Sequence[int], free: Selection, terms: RelayTerms, memo: bytes
    ) -> tuple[list[Payment], Selection]:
        """Let some of the payments bear the fee of coins that were selected without one."""
        owed = fee_of(free.coins, need_of(payments, memo), terms, change=free.change > 0)
        # What was too little for change is in `free.fee` already.
        taken = max(0, owed - free.fee)
        return share_fee(payments, bearers, taken, terms), free._replace(fee=Amount(free.fee + taken))

    # After

    def _finish(
        self,
        payments: Sequence[Payment],
        selection: Selection,
        memo: bytes,
        *,
        left: int,
        force: bool,
        request: tuple[str | None, bytes],
        note: Note = NOTHING,
        replaces: Original | None = None,
    ) -> Sent:
        """Build, sign, judge and record; nothing has changed if this raises."""
        if not force:
            check_fee(selection.fee, sum(payment.amount for payment in payments) or selection.change)
        change_lock = replaces.change if replaces is not None else None
        change = self._addresses.peek(Branch.CHANGE) if selection.change and change_lock is None else None
        built = build(payments, selection, change_lock if change is None else change.lock, memo, self._entropy)
        return self._maker.finish(built, change, request=request, left=left, note=note, replaces=replaces)


def check_dust(amount: int, terms: RelayTerms) -> None:
    """Check that an amount is worth an output.

    Raises:
        PaymentError: no node would relay it.
    """
    if amount < terms.dust_limit:
        raise PaymentError(f"less than {format_amount(terms.dust_limit)} DURE is dust, which nobody relays")


def check_fee(fee: int, paid: int | None) -> None:
    """Hold a fee against the sanity caps, in grain.

    Args:
        paid: None where nobody knows it, as of assets, whose worth in DURE is no matter of the chain: then only the
            highest fee of all holds.

    Raises:
        FeeError: nobody means it unless he says so.
    """
    too_much = paid is not None and fee > SMALL_FEE and fee * 100 > paid * MAX_FEE_PERCENT
    if fee > MAX_FEE or too_much:
        raise FeeError(
            f"the fee of {format_amount(fee)} DURE is above {format_amount(MAX_FEE)} or {MAX_FEE_PERCENT} % of "
            "what is paid: lower the fee rate, or force it"
        )
