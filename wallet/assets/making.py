"""Transactions that issue, pay and burn assets: their coins, the coins for the fee, and what comes back.

Coins of an asset pay for that asset only, and fees are paid in DURE only (A154): two selections that never mix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from consensus.asset_text import format_units
from consensus.assets import Assets, asset_id, authority_id
from consensus.codec import encode
from consensus.errors import ConsensusError
from consensus.params import Params
from consensus.spend_policy import WitnessCost
from consensus.state import SpendContext
from consensus.types import (
    MAX_BURNS,
    Amount,
    AssetId,
    Attestation,
    Burn,
    Core,
    LockId,
    NewAsset,
    Output,
    Reissue,
    SupplyKind,
)
from wallet.addresses import AddressBook, Branch, KnownAddress
from wallet.assets.approvers import Approvers, Records
from wallet.assets.flows import approvals_of, records_of
from wallet.coin_selection import CHANGE_SIZE, WITNESS_SIZE, Need, Selection, select_coins
from wallet.coin_table import SpendableCoin
from wallet.cosigning import Cosigner, IncompleteError, finalise
from wallet.errors import InsufficientFundsError, PaymentError
from wallet.ledger import Ledger
from wallet.maker import Maker, check_note
from wallet.payments import check_fee
from wallet.ports import Entropy
from wallet.psdt import new_psdt, spent_coin
from wallet.results import Note, RelayTerms, Sent
from wallet.tx_builder import WITNESS_FRAME, Built
from wallet.waiting import WaitingTransfer

_UNKNOWN = AssetId(bytes(32))
"""In place of an id that follows from the inputs, while these are not chosen: as long as any."""


class AssetPayment(NamedTuple):
    """Somebody to be paid in an asset."""

    lock: LockId
    asset: AssetId
    amount: Amount
    """Smallest units."""


class AssetWish(NamedTuple):
    """What a transaction is to do. What it creates and does not pay out is the wallet's own."""

    payments: tuple[AssetPayment, ...] = ()
    issuances: tuple[NewAsset | Reissue | Attestation, ...] = ()
    burns: tuple[Burn, ...] = ()
    memo: bytes = b""


class _Plan(NamedTuple):
    """The half of a transaction that is about assets."""

    coins: tuple[SpendableCoin, ...]
    back: Mapping[AssetId, int]
    """What comes back of assets that exist, or is created of them."""


class AssetMaker:
    """Makes such transactions out of the ledger's coins."""

    def __init__(
        self,
        params: Params,
        ledger: Ledger,
        addresses: AddressBook,
        maker: Maker,
        cosigner: Cosigner,
        approvers: Approvers,
        entropy: Entropy,
    ) -> None:
        self._params = params
        self._ledger = ledger
        self._addresses = addresses
        self._maker = maker
        self._cosigner = cosigner
        self._approvers = approvers
        self._entropy = entropy

    def make(
        self,
        wish: AssetWish,
        records: Records,
        terms: RelayTerms,
        *,
        force: bool,
        request_id: str | None,
        note: Note,
        may_wait: bool,
    ) -> Sent | WaitingTransfer:
        """See `AssetDesk.make`; nothing is made that would wait, unless it may."""
        fingerprint = encode((b"assets", [tuple(each) for each in wish.payments], wish.issuances, wish.burns))
        asked = self._maker.request_txid(request_id, fingerprint)
        waits = None if asked is None else self._ledger.waiting.get(asked)
        done = waits or self._maker.find_request(request_id, fingerprint)
        if done is not None:
            return done
        self._maker.check_ready(terms, b"", force=force)
        check_note(note)
        if len(wish.burns) > MAX_BURNS:
            raise PaymentError(f"a transaction burns at most {MAX_BURNS} assets")
        paid = [payment.asset for payment in wish.payments]
        approvers = self._approvers.of(paid, wish.issuances, wish.burns, records)
        alone = all(approver in self._addresses for approver in approvers)
        if not (alone or may_wait):
            raise PaymentError("the asset's controller or auditor has to approve this, and is not this wallet alone")
        plan = self._plan(wish, records)
        selection, floor = self._select(wish, plan, self._approvers.cost(approvers), terms)
        if not force:
            check_fee(selection.fee, None)
        change = self._addresses.peek(Branch.CHANGE)
        built = self._build(wish, plan, selection, floor, change.lock)
        spent = [coin.output for coin in built.coins]
        known, request = records_of(built.core, spent, records), (request_id, fingerprint)
        self._ledger.frozen.check(built.core, spent)
        if alone:
            return self._maker.finish(built, change, request=request, note=note, assets=known)
        return self._begin(built, change, known, request, note)

    def _begin(
        self,
        built: Built,
        change: KnownAddress,
        known: Assets,
        request: tuple[str | None, bytes],
        note: Note,
    ) -> Sent | WaitingTransfer:
        """Sign all that this wallet can; let the rest wait for those who have to approve, if anything is missing."""
        self._ledger.waiting.check_room()
        height = self._maker.next_height
        try:
            approvals = approvals_of(built.core, [coin.output for coin in built.coins], known)
        except ConsensusError as error:
            raise PaymentError(f"the payment would not be valid: {error}") from None
        coins = tuple(map(spent_coin, built.coins))
        psdt = new_psdt(self._params, built.core, coins, approvals)
        psdt = self._cosigner.sign(psdt, {}, known, force=True).psdt
        try:
            # The median time of the parent is not known here: a policy that waits for a time lets the transfer wait.
            tx = finalise(self._params, psdt, SpendContext(height, 0), known)
        except IncompleteError:
            return self._maker.wait(psdt, change, request=request, note=note)
        return self._maker.record(tx, built, change, request=request, note=note)

    # Chosen

    def _plan(self, wish: AssetWish, records: Records) -> _Plan:
        gone: Counter[AssetId] = Counter()
        for payment in wish.payments:
            gone[payment.asset] += payment.amount
        for burn in wish.burns:
            gone[burn.id] += burn.amount
        created: Counter[AssetId] = Counter()
        held: Counter[AssetId] = Counter()
        for issuance in wish.issuances:
            if isinstance(issuance, Reissue):
                created[issuance.asset] += issuance.amount
                held[authority_id(issuance.asset)] = 1
            elif isinstance(issuance, NewAsset) and issuance.definition.collection is not None:
                held[authority_id(issuance.definition.collection)] = 1
        coins: list[SpendableCoin] = []
        back: dict[AssetId, int] = {}
        for asset in sorted(gone.keys() | created.keys() | held.keys()):
            chosen = self._pick(asset, max(gone[asset] - created[asset], held[asset]), records)
            left = sum(coin.value for coin in chosen) + created[asset] - gone[asset]
            coins += chosen
            if left:
                back[asset] = left
        return _Plan(tuple(coins), back)

    def _pick(self, asset: AssetId, amount: int, records: Records) -> list[SpendableCoin]:
        """Choose coins of an asset: those in a block first, the largest first, so that dust costs nothing."""
        ordered = sorted(self._ledger.coins.spendable_of(asset), key=_preference)
        chosen: list[SpendableCoin] = []
        found = 0
        for coin in ordered:
            if found >= amount:
                return chosen
            chosen.append(coin)
            found += coin.value
        if found >= amount:
            return chosen
        if asset not in records:
            raise InsufficientFundsError("the authority over the asset is not in this wallet, or not in a block yet")
        decimals = records[asset].definition.decimals
        raise InsufficientFundsError(
            f"{format_units(amount, decimals)} of asset {asset.hex()} are to be spent, and "
            f"{format_units(found, decimals)} can be"
        )

    def _select(
        self, wish: AssetWish, plan: _Plan, approvals: WitnessCost, terms: RelayTerms
    ) -> tuple[Selection, Amount]:
        """Choose coins in DURE for the fee; and return what must come back of them besides the change.

        A transaction has an input in any case, and an output.
        """
        outputs = _outputs(wish, plan, LockId(bytes(32)), [_UNKNOWN for _ in wish.issuances])
        floor = 0 if plan.coins and outputs else max(terms.dust_limit, 1)
        inputs = tuple(coin.outpoint for coin in plan.coins)
        core = Core(1, inputs, tuple(outputs), wish.issuances, wish.burns, wish.memo)
        locks = len({coin.lock for coin in plan.coins})
        size = len(encode(core)) + WITNESS_FRAME + locks * WITNESS_SIZE + (CHANGE_SIZE if floor else 0)
        chain = sum(coin.chain for coin in plan.coins)
        if chain >= terms.max_chain:
            raise PaymentError("too many payments in a row wait for a block: wait for the next one")
        need = Need(floor, size + approvals.size, locks + approvals.signatures)
        spendable = self._ledger.coins.spendable(self._maker.next_height)
        selection = select_coins(spendable, need, terms._replace(max_chain=terms.max_chain - chain), self._entropy)
        return selection, Amount(floor)

    # Built

    def _build(self, wish: AssetWish, plan: _Plan, selection: Selection, floor: Amount, own: LockId) -> Built:
        """Put a transaction together: inputs in random order, what comes back at random places."""
        unordered = (*plan.coins, *selection.coins)
        places = list(range(len(unordered)))
        self._entropy.shuffle(places)
        coins = tuple(unordered[place] for place in places)
        inputs = tuple(coin.outpoint for coin in coins)
        ids = [
            asset_id(inputs[0], place, issuance.definition) if isinstance(issuance, NewAsset) else _UNKNOWN
            for place, issuance in enumerate(wish.issuances)
        ]
        outputs = _outputs(wish, plan, own, ids)
        change = Amount(selection.change + floor)
        if change:
            outputs.append(Output(change, own, None))
        paid = len(wish.payments)
        for place in range(paid, len(outputs)):
            outputs.insert(self._entropy.randrange(place + 1), outputs.pop(place))
        core = Core(1, inputs, tuple(outputs), wish.issuances, wish.burns, wish.memo)
        return Built(core, coins, selection.fee, change)


def _preference(coin: SpendableCoin) -> tuple[int, int, bytes, int]:
    return coin.chain, -coin.value, coin.outpoint.txid, coin.outpoint.index


def _outputs(wish: AssetWish, plan: _Plan, own: LockId, ids: list[AssetId]) -> list[Output]:
    """Return the outputs in assets: to others, then to ourselves."""
    outputs = [Output(payment.amount, payment.lock, payment.asset) for payment in wish.payments]
    outputs += [Output(Amount(amount), own, asset) for asset, amount in plan.back.items()]
    for asset, issuance in zip(ids, wish.issuances, strict=True):
        if isinstance(issuance, NewAsset):
            definition = issuance.definition
            if definition.first_amount:
                outputs.append(Output(definition.first_amount, own, asset))
            if definition.supply_kind != SupplyKind.FIXED:
                right = _UNKNOWN if asset == _UNKNOWN else authority_id(asset)
                outputs.append(Output(Amount(1), own, right))
    return outputs
