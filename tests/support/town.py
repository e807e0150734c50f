"""Random asset transactions, some of them wrong, beside a plain count of what there should be."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from consensus.apply import revert_block
from consensus.assets import asset_id, authority_id
from consensus.errors import ConsensusError
from consensus.params import REGTEST
from consensus.signatures import verify_all
from consensus.state import genesis_state
from consensus.types import (
    Amount,
    Asset,
    AssetId,
    Attestation,
    Coin,
    Core,
    Definition,
    NewAsset,
    OutPoint,
    Output,
    Reissue,
    SupplyKind,
)
from consensus.validation import check_block
from tests.support.assets import apply, asset_core, carry, define, new_id, settle
from tests.support.rules import build, coin, coinbase, lock, outpoint

PEOPLE = 8
"""Keys 1 to 8 hold coins; 5 controls some assets, 9 audits."""
COINS = 24
"""Of 10,000 grain each, to begin with."""


class Wish(NamedTuple):
    """What a transaction is to do, before its outputs are drawn."""

    inputs: list[OutPoint]
    issuances: list[NewAsset | Reissue | Attestation]
    amounts: Counter[AssetId | None]
    """Spent and created, of each asset and of DURE."""


class Town:
    """All coins and assets after blocks of one random transaction each."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.coins: dict[OutPoint, Coin] = {outpoint(1_000 + n): coin(n % PEOPLE + 1, 10_000) for n in range(COINS)}
        self.book: dict[AssetId, Asset] = {}
        self.issued: Counter[AssetId] = Counter()
        self.burned: Counter[AssetId] = Counter()
        self.fees = 0
        self.taken = self.refused = 0

    def step(self) -> None:
        """One transaction in a block; taken, undone, taken again and counted. If it is refused, nothing changes."""
        core = self._transaction()
        parent = genesis_state(REGTEST)
        tx = carry({name: self.coins[name] for name in core.inputs}, core, self.book)
        # No reward, since its coin would come again in the next block of the same parent.
        block = build(REGTEST, parent, [coinbase(1), tx])
        try:
            check_block(REGTEST, block)
            applied = apply(REGTEST, parent, block, self.coins, self.book)
        except ConsensusError:
            self.refused += 1
            return
        if verify_all(applied.checks) is not None:
            raise AssertionError("a signature of ours does not verify")
        before = dict(self.coins), dict(self.book)
        settle(applied.delta, self.coins, self.book)
        settle(revert_block(block, 1, applied.undo), self.coins, self.book)
        if (self.coins, self.book) != before:
            raise AssertionError("taking a block back leaves something")
        settle(applied.delta, self.coins, self.book)
        self.taken += 1
        self.fees += applied.fees
        self._count(core)
        self.check()

    def check(self) -> None:
        """A075: coins are what there was less fees, each asset is issued less burned, each authority one or none."""
        held: Counter[AssetId | None] = Counter()
        for each in self.coins.values():
            held[each.output.asset] += each.output.value
        _require(held.pop(None, 0) == COINS * 10_000 - self.fees, "DURE is not conserved")
        for name, record in self.book.items():
            right = authority_id(name)
            there = int(record.definition.supply_kind != SupplyKind.FIXED) - self.burned[right]
            _require(record.supply == held.pop(name, 0) == self.issued[name] - self.burned[name], "supply")
            _require(held.pop(right, 0) == there, "authority")
        _require(not held, "an asset without a record")

    def _transaction(self) -> Core:
        wish = self._wish()
        burns = {
            name: self._random.randint(1, amount)
            for name, amount in wish.amounts.items()
            if name is not None and amount and self._random.random() < 0.15
        }
        left = wish.amounts - Counter[AssetId | None](burns)
        left[None] -= self._random.randint(0, 2)
        return asset_core(wish.inputs, self._outputs(left), wish.issuances, burns)

    def _wish(self) -> Wish:
        inputs = self._pick(None)
        held = list(dict.fromkeys(each.output.asset for each in self.coins.values() if each.output.asset is not None))
        for carried in self._random.sample(held, min(len(held), self._random.randint(0, 3))):
            inputs += self._pick(carried)
        amounts: Counter[AssetId | None] = Counter()
        for name in inputs:
            amounts[self.coins[name].output.asset] += self.coins[name].output.value
        wish = Wish(inputs, [], amounts)
        for asset in [asset for asset in self.book if self._random.random() < 0.3][:2]:
            self._issue_more(wish, asset)
        if inputs and self._random.random() < 0.4:
            self._define(wish)
        return wish

    def _pick(self, carried: AssetId | None) -> list[OutPoint]:
        found = [name for name, each in self.coins.items() if each.output.asset == carried]
        return self._random.sample(found, min(len(found), self._random.randint(1, 2)))

    def _issue_more(self, wish: Wish, asset: AssetId) -> None:
        record = self.book[asset]
        if authority_id(asset) in wish.amounts and self._random.random() < 0.8:
            amount = Amount(self._random.randint(1, 50))
            wish.issuances.append(Reissue(asset, amount))
            wish.amounts[asset] += amount
        if record.definition.supply_kind == SupplyKind.RESERVED and self._random.random() < 0.6:
            sequence = record.sequence + self._random.choice([1, 1, 2, 0])
            wish.issuances.append(Attestation(asset, sequence, Amount(self._random.randint(0, 200))))

    def _define(self, wish: Wish) -> None:
        definition = self._definition()
        asset = new_id(wish.inputs, definition, len(wish.issuances))
        wish.issuances.append(NewAsset(definition))
        wish.amounts[asset] += definition.first_amount
        if definition.supply_kind != SupplyKind.FIXED:
            wish.amounts[authority_id(asset)] += 1

    def _definition(self) -> Definition:
        kind = self._random.choice(list(SupplyKind))
        first = 0 if kind is SupplyKind.RESERVED else self._random.randint(1, 100)
        return define(kind, first, controller=self._random.choice([None, lock(5)]))

    def _outputs(self, amounts: Mapping[AssetId | None, int]) -> list[Output]:
        """All of the amounts, in random parts to random people; now and then a unit too many or too few."""
        outputs: list[Output] = []
        for asset, amount in amounts.items():
            left = amount + (self._random.choice([-1, 1]) if self._random.random() < 0.04 else 0)
            while left > 0:
                part = self._random.choice([left, self._random.randint(1, left)])
                outputs.append(Output(Amount(part), lock(self._random.randint(1, PEOPLE)), asset))
                left -= part
        return outputs

    def _count(self, core: Core) -> None:
        for position, issuance in enumerate(core.issuances):
            if isinstance(issuance, NewAsset):
                name = asset_id(core.inputs[0], position, issuance.definition)
                self.issued[name] += issuance.definition.first_amount
            elif isinstance(issuance, Reissue):
                self.issued[issuance.asset] += issuance.amount
        for burned in core.burns:
            self.burned[burned.id] += burned.amount


def _require(truth: bool, otherwise: str) -> None:
    if not truth:
        raise AssertionError(otherwise)
