"""Transactions that issue, pay and burn assets: their coins, the coins for the fee, and what comes back.

Coins of an asset pay for that asset only, and fees are paid in DURE only (A154): two selections that never mix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from consensus.asset_text import format_units
from consensus.assets import asset_id, assets_of_coins, assets_of_transaction, authority_id
from consensus.codec import encode
from consensus.types import (
    MAX_BURNS,
    Amount,
    Asset,
    AssetId,
    Attestation,
    Burn,
    Coin,
    Core,
    Definition,
    LockId,
    NewAsset,
    Output,
    Reissue,
    SupplyKind,
    Transaction,
)
from wallet.addresses import AddressBook, Branch
from wallet.coin_selection import CHANGE_SIZE, WITNESS_SIZE, Need, Selection, select_coins
from wallet.coin_table import SpendableCoin
from wallet.errors import InsufficientFundsError, PaymentError
from wallet.ledger import Ledger
from wallet.maker import Maker, check_note
from wallet.payments import MAX_FEE, MAX_FEE_PERCENT, check_fee
from wallet.ports import Entropy
from wallet.results import Note, RelayTerms, Sent
from wallet.tx_builder import WITNESS_FRAME, Built

_UNKNOWN = AssetId(bytes(32))
"""In place of an id that follows from the inputs, while these are not chosen: as long as any."""

Records = Mapping[AssetId, Asset]
"""Of assets on the best chain, as the node has them."""


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


class _Plan(NamedTuple):
    """The half of a transaction that is about assets."""

    coins: tuple[SpendableCoin, ...]
    back: Mapping[AssetId, int]
    """What comes back of assets that exist, or is created of them."""


class AssetMaker:
    """Makes such transactions out of the ledger's coins."""

    def __init__(self, ledger: Ledger, addresses: AddressBook, maker: Maker, entropy: Entropy) -> None:
        self._ledger = ledger
        self._addresses = addresses
        self._maker = maker
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
    ) -> Sent:
        """See `AssetDesk.make`."""
        fingerprint = encode((b"assets", [tuple(each) for each in wish.payments], wish.issuances, wish.burns))
        done = self._maker.find_request(request_id, fingerprint)
        if done is not None:
            return done
        self._maker.check_ready(terms, b"", force=force)
        check_note(note)
        if len(wish.burns) > MAX_BURNS:
            raise PaymentError(f"a transaction burns at most {MAX_BURNS} assets")
        approvals = self._count_approvals(wish, records)
        plan = self._plan(wish, records)
        selection, floor = self._select(wish, plan, approvals, terms)
        if not force:
            # What an asset is worth in DURE nobody knows here: only the cap itself holds.
            check_fee(selection.fee, MAX_FEE * 100 // MAX_FEE_PERCENT)
        change = self._addresses.peek(Branch.CHANGE)
        built = self._build(wish, plan, selection, floor, change.lock)
        return self._maker.finish(
            built,
            change,
            request=(request_id, fingerprint),
            note=note,
            assets=_known(built, records),
        )

    # Checked

    def _count_approvals(self, wish: AssetWish, records: Records) -> int:
        """Return how many policies have to approve; all of them are keys of this wallet."""
        policies: dict[tuple[AssetId, bool], LockId | None] = {}
        for payment in wish.payments:
            policies[payment.asset, False] = _definition(payment.asset, records).controller
        for burn in wish.burns:
            if burn.id in records:
                policies[burn.id, False] = records[burn.id].definition.controller
        for place, issuance in enumerate(wish.issuances):
            match issuance:
                case NewAsset(definition):
                    policies[AssetId(place.to_bytes(32, "big")), False] = definition.controller
                case Reissue(asset=asset, amount=amount):
                    policies[asset, False] = _definition(asset, records).controller
                    _check_reserve(records[asset], amount)
                case Attestation(asset=asset):
                    definition = _definition(asset, records)
                    if definition.supply_kind != SupplyKind.RESERVED:
                        raise PaymentError("only of a reserved asset is the reserve attested")
                    policies[asset, True] = definition.auditor
        for (_, audits), policy in policies.items():
            if policy is not None and self._addresses.find(policy) is None:
                who = "auditor" if audits else "controller"
                raise PaymentError(f"the asset's {who} has to approve this, and its key is not in this wallet")
        return sum(policy is not None for policy in policies.values())

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

    def _select(self, wish: AssetWish, plan: _Plan, approvals: int, terms: RelayTerms) -> tuple[Selection, Amount]:
        """Choose coins in DURE for the fee; and return what must come back of them besides the change.

        A transaction has an input in any case, and an output.
        """
        outputs = _outputs(wish, plan, LockId(bytes(32)), [_UNKNOWN for _ in wish.issuances])
        floor = 0 if plan.coins and outputs else max(terms.dust_limit, 1)
        inputs = tuple(coin.outpoint for coin in plan.coins)
        core = Core(1, inputs, tuple(outputs), wish.issuances, wish.burns, b"")
        signatures = len({coin.lock for coin in plan.coins}) + approvals
        size = len(encode(core)) + WITNESS_FRAME + signatures * WITNESS_SIZE + (CHANGE_SIZE if floor else 0)
        chain = sum(coin.chain for coin in plan.coins)
        if chain >= terms.max_chain:
            raise PaymentError("too many payments in a row wait for a block: wait for the next one")
        need = Need(floor, size, signatures)
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
        core = Core(1, inputs, tuple(outputs), wish.issuances, wish.burns, b"")
        return Built(core, coins, selection.fee, change)


def _preference(coin: SpendableCoin) -> tuple[int, int, bytes, int]:
    return coin.chain, -coin.value, coin.outpoint.txid, coin.outpoint.index


def _definition(asset: AssetId, records: Records) -> Definition:
    if asset not in records:
        raise PaymentError(f"no block of the best chain has an asset {asset.hex()}")
    return records[asset].definition


def _check_reserve(record: Asset, amount: Amount) -> None:
    """Say in the asset's own units what the rule would say in the smallest.

    Raises:
        PaymentError: with the rule's name.
    """
    kind, decimals = record.definition.supply_kind, record.definition.decimals
    if kind == SupplyKind.RESERVED and record.supply + amount > record.total:
        more, left, attested, there = (
            format_units(each, decimals)
            for each in (amount, max(0, record.total - record.supply), record.total, record.supply)
        )
        raise PaymentError(
            f"above-reserve: {more} more are to be issued, and {left} can be: the auditor attests {attested}, and "
            f"{there} exist"
        )


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


def _known(built: Built, records: Records) -> dict[AssetId, Asset | None]:
    """Return what the rules ask for: a record, or None, of all that a transaction names or spends."""
    spent = [Coin(coin.output, 0, coin.coinbase) for coin in built.coins]
    names = [*assets_of_transaction(Transaction(built.core, ())), *assets_of_coins(spent)]
    return {name: records.get(name) for name in names}
