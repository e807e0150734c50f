"""Assets as their owner sees them: what is held, what happened, and what is made of it."""

from __future__ import annotations

from collections.abc import Iterator

from consensus.assets import defined_by
from consensus.slices import Slices, whole
from consensus.types import Amount, AssetId, Definition, LockId, Transaction, TxId
from wallet.addresses import AddressBook
from wallet.assets.approvers import Records
from wallet.assets.flows import stakes
from wallet.assets.freezing import Frozen
from wallet.assets.making import AssetMaker, AssetWish
from wallet.assets.naming import attested_by, carries_assets, created_by
from wallet.assets.transfers import TransferDesk
from wallet.errors import PaymentError, WalletError
from wallet.ledger import Ledger
from wallet.maker import NOTHING
from wallet.psdt import Psdt
from wallet.records import TxRecord
from wallet.results import AssetBalance, AssetEntry, AssetMovement, AssetSums, Note, RelayTerms, Sent, State
from wallet.spend_policies.book import PolicyBook
from wallet.waiting import WaitingTransfer

LOOKED_AT_ONCE = 50
"""Transactions of the wallet that are looked at in a slice: each is several records."""
_NOTHING_HELD = AssetSums(Amount(0), Amount(0), Amount(0))


class AssetDesk:
    """The wallet's assets, apart from its DURE."""

    def __init__(
        self,
        ledger: Ledger,
        addresses: AddressBook,
        policies: PolicyBook,
        maker: AssetMaker,
        transfers: TransferDesk,
    ) -> None:
        self._ledger = ledger
        self._addresses = addresses
        self._policies = policies
        self._maker = maker
        self.transfers = transfers

    def balances(self) -> list[AssetBalance]:
        """Return what is held of each asset, in the order of their ids; also of those hidden.

        An asset that the wallet may issue more of is there too, if it holds none.
        """
        held = self._ledger.coins.held()
        owners = {right: self._ledger.assets.asset_of(right) for right in held}
        rights = {asset: right for right, asset in owners.items() if asset is not None}
        return [
            AssetBalance(asset, held.get(asset, _NOTHING_HELD), asset in rights, self._ledger.assets.is_shown(asset))
            for asset in sorted((held.keys() | rights.keys()) - set(rights.values()))
        ]

    def definition(self, asset: AssetId) -> Definition | None:
        """Return the definition of an asset that a transaction of ours, in no block yet, defines."""
        return next(
            (found[asset] for pending in self._ledger.pending if asset in (found := defined_by(pending.transaction))),
            None,
        )

    def is_shown(self, asset: AssetId) -> bool:
        """Tell whether an asset is shown unasked."""
        return self._ledger.assets.is_shown(asset)

    def asset_of(self, authority: AssetId) -> AssetId | None:
        """Return the asset that an id is the authority over, if the wallet has had to do with it."""
        return self._ledger.assets.asset_of(authority)

    def show(self, asset: AssetId, *, shown: bool = True) -> None:
        """Show an asset from now on, or hide it; durable when this returns. The chain cannot give that back."""
        self._ledger.assets.put(asset, shown=shown)
        self._ledger.flush()

    # Frozen by their controller

    def frozen(self, asset: AssetId | None = None) -> list[Frozen]:
        """Return the addresses that this wallet has frozen, for one asset or for all."""
        return self._ledger.frozen.all(asset)

    def freeze(self, asset: AssetId, controller: LockId | None, lock: LockId, why: str = "") -> None:
        """Approve nothing of an asset from or to an address from now on; durable when this returns.

        Args:
            controller: of the asset, as its definition says.

        Raises:
            WalletError: nobody controls it, or another; or see `FreezeList.freeze`.
        """
        if controller is None:
            raise WalletError("nobody controls this asset: it moves without anybody's approval")
        if not self._policies.approves(controller):
            raise WalletError("another controls this asset: only its controller can freeze")
        self._ledger.frozen.freeze(asset, lock, why)
        self._ledger.flush()

    def unfreeze(self, asset: AssetId, lock: LockId) -> None:
        """Take an address off the list; durable when this returns.

        Raises:
            WalletError: it is not on it.
        """
        self._ledger.frozen.unfreeze(asset, lock)
        self._ledger.flush()

    def frozen_in(self, psdt: Psdt) -> list[str]:
        """Return a sentence for each address that a file moves its asset from or to, and that is frozen."""
        return [self._ledger.frozen.sentence(each) for each in self._ledger.frozen.touched(psdt.core, psdt.spent)]

    # Made

    def make(
        self,
        wish: AssetWish,
        records: Records,
        terms: RelayTerms,
        *,
        force: bool = False,
        request_id: str | None = None,
        note: Note = NOTHING,
    ) -> Sent | WaitingTransfer:
        """Make a transaction that issues, pays, attests or burns; as `Wallet.send`.

        If it takes the approval of somebody else, it is signed and waits: its coins are kept for it, and the file is
        to be given to those who approve. `transfers` are those that wait.

        Args:
            records: of all assets that the wish names, where the best chain has them.

        Raises:
            InsufficientFundsError: of an asset, of the authority over it, or of DURE for the fee there is too little.
            PaymentError: there is no such asset, a rule is broken, or too many wait already.
            FeeError: the fee is beyond the caps, and not forced.
            WalletLockedError: unlock it first.
        """
        return self._maker.make(wish, records, terms, force=force, request_id=request_id, note=note, may_wait=True)

    def make_now(
        self,
        wish: AssetWish,
        records: Records,
        terms: RelayTerms,
        *,
        force: bool = False,
        request_id: str | None = None,
        note: Note = NOTHING,
    ) -> Sent:
        """As `make`, but for what nobody else has to approve.

        Raises:
            PaymentError: somebody has to, or as `make`.
        """
        made = self._maker.make(wish, records, terms, force=force, request_id=request_id, note=note, may_wait=False)
        if not isinstance(made, Sent):
            raise PaymentError("it was made before, and waits for an approval")
        return made

    # History

    def history(self, count: int = 10, skip: int = 0, asset: AssetId | None = None) -> list[AssetEntry]:
        """Return lines about assets, newest first, leaving out the first `skip`.

        Args:
            asset: only this one, shown or not; without it those that are shown.
        """
        return whole(self.history_in_slices(count, skip, asset))

    def history_in_slices(
        self, count: int = 10, skip: int = 0, asset: AssetId | None = None
    ) -> Slices[list[AssetEntry]]:
        """Do `history`, in slices. Nothing may change meanwhile."""
        first, end = max(0, skip), max(0, skip) + max(0, count)
        lines: list[AssetEntry] = []
        for place, (txid, record) in enumerate(self._ledger.store.newest_transactions()):
            if len(lines) >= end:
                break
            if place % LOOKED_AT_ONCE == LOOKED_AT_ONCE - 1:
                yield
            if carries_assets(record.transaction):
                of_it = self._lines(txid, record, record.transaction)
                lines += [line for line in of_it if (line.asset == asset if asset is not None else line.shown)]
        return lines[first:end]

    def lines_of(self, txid: TxId) -> list[AssetEntry]:
        """Return what one transaction of the wallet's did to its assets, also to those hidden."""
        record = self._ledger.store.transaction(txid)
        if record is None or not carries_assets(record.transaction):
            return []
        return list(self._lines(txid, record, record.transaction))

    def _lines(self, txid: TxId, record: TxRecord, tx: Transaction) -> Iterator[AssetEntry]:
        own = [self._ledger.coins.find_own(outpoint) for outpoint in tx.core.inputs]
        spent = [coin.output for coin in own if coin is not None]
        moved = stakes(tx.core, spent, self._addresses.__contains__)
        amounts = {asset: stake.gets - stake.gives for asset, stake in moved.items() if asset is not None}
        others: dict[AssetId, dict[LockId, None]] = {}
        for output in tx.core.outputs:
            if output.asset is not None and output.lock not in self._addresses:
                others.setdefault(output.asset, {})[output.lock] = None
        created, burned = created_by(tx), {burn.id for burn in tx.core.burns}
        if record.ours:
            amounts |= {asset: amounts.get(asset, 0) for asset in created}
        rights = {asset: self._ledger.assets.asset_of(asset) for asset in amounts}
        lines: list[tuple[AssetId, AssetMovement, int]] = []
        for asset in sorted(amounts):
            amount, owner = amounts[asset], rights[asset]
            if owner is not None:
                deed = _authority_movement(amount, burned=asset in burned, created=owner in created)
                lines += [] if deed is None else [(owner, deed, 0)]
                continue
            if record.ours and asset in created:
                movement = AssetMovement.ISSUED
            elif amount < 0:
                movement = AssetMovement.BURNED if asset in burned else AssetMovement.SENT
            else:
                movement = AssetMovement.RECEIVED if amount or not moved[asset].gives else AssetMovement.MOVED
            lines.append((asset, movement, amount))
        if record.ours:
            lines += [(asset, AssetMovement.ATTESTED, total) for asset, total in attested_by(tx).items()]
        height, pending = record.height, self._ledger.pending
        for asset, movement, amount in lines:
            yield AssetEntry(
                movement=movement,
                asset=asset,
                amount=amount,
                others=tuple(others.get(asset, ())) if record.ours else (),
                txid=txid,
                state=State.CONFIRMED if height is not None else pending.state(txid),
                confirmations=0 if height is None else self._ledger.confirmations(height),
                block_height=height,
                time=record.time if record.block_time is None else min(record.time, record.block_time),
                note=self._ledger.store.note(txid),
                shown=self._ledger.assets.is_shown(asset),
            )


def _authority_movement(amount: int, *, burned: bool, created: bool) -> AssetMovement | None:
    """Return what a transaction does with the authority over an asset; None if it comes back, or is created with it."""
    if burned:
        return AssetMovement.CLOSED
    if amount < 0:
        return AssetMovement.PASSED_ON
    return AssetMovement.ENTRUSTED if amount > 0 and not created else None
