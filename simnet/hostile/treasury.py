"""What the adversary owns: coins and assets under one key, confirmed and real, out of which its frauds are made.

It comes by them honestly, once for each branch: the spy's wallet pays it, and it issues one asset of each kind. What it
owns is read from the spy's coins at each new tip, so a reorg that undoes it is followed by another beginning.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from consensus.assets import Approval, Role, asset_id, authority_id
from consensus.codec import approval_digest, lock_digest, spend_message
from consensus.params import Params
from consensus.signatures import public_key, sign
from consensus.spend_policy import policy_id
from consensus.types import (
    Amount,
    Asset,
    AssetId,
    Attestation,
    Coin,
    Core,
    Definition,
    Key,
    LockId,
    NewAsset,
    OutPoint,
    Output,
    Reissue,
    SupplyKind,
    Transaction,
    Witness,
)

HONEST_FEE = 50_000
"""Grain that its valid transactions pay: more than any relay asks for."""
FRAUD_FEE = 1_000_000
"""Of the others: enough to take the place of one that waits, if only they were valid."""
SUPPLY = 1_000
"""Units of each asset that is no work."""
Issuances = Sequence[NewAsset | Reissue | Attestation]


class Holding(NamedTuple):
    """A coin of the adversary's."""

    outpoint: OutPoint
    output: Output


class Treasury:
    """One key, and what is at its lock on the best chain.

    Attributes:
        lock: where it is paid.
        dure: its largest coin in DURE that may be spent; None if there is none.
        assets: the records of the assets that it issued.
    """

    def __init__(self, params: Params, rng: random.Random) -> None:
        self._params = params
        self._secret = sha256(b"hostile" + rng.randbytes(32)).digest()
        self.policy = Key(public_key(self._secret))
        self.lock = policy_id(self.policy)
        self.dure: Holding | None = None
        self.assets: dict[AssetId, Asset] = {}
        self._held: dict[AssetId, Holding] = {}

    def look(
        self, height: int, coins: Iterable[tuple[OutPoint, Coin]], assets: Iterable[tuple[AssetId, Asset]]
    ) -> None:
        """Find out what is there after the block of `height`."""
        self.dure, self._held = None, {}
        for outpoint, coin in coins:
            if coin.output.lock != self.lock:
                continue
            if coin.output.asset is not None:
                self._held[coin.output.asset] = Holding(outpoint, coin.output)
            elif coin.coinbase and height + 1 < coin.height + self._params.coinbase_maturity:
                continue
            elif self.dure is None or self.dure.output.value < coin.output.value:
                self.dure = Holding(outpoint, coin.output)
        self.assets = {name: record for name, record in assets if record.definition.metadata == self.lock}

    # --- what it owns -----------------------------------------------------------------------------------------

    def own(self, kind: SupplyKind, *, controlled: bool = False, first: int | None = None) -> AssetId | None:
        """Return its asset of a kind, if it exists."""
        for name, record in self.assets.items():
            definition = record.definition
            if (
                definition.supply_kind == kind
                and (definition.controller is not None) == controlled
                and first in {None, definition.first_amount}
            ):
                return name
        return None

    def coin_of(self, carried: AssetId | None) -> Holding | None:
        """Return a coin of an asset or an authority."""
        return None if carried is None else self._held.get(carried)

    # --- what it makes ----------------------------------------------------------------------------------------

    def beginning(self) -> Transaction | None:
        """Return what it still has to do to own one of each kind: issue them, then issue some of the reserved one."""
        if self.dure is None:
            return None
        if not self.assets:
            return self._issue_all(self.dure)
        reserved = self.own(SupplyKind.RESERVED)
        if reserved is not None and self.assets[reserved].supply == 0:
            right = self.coin_of(authority_id(reserved))
            issuances = (Attestation(reserved, 1, Amount(SUPPLY)), Reissue(reserved, Amount(SUPPLY)))
            if right is not None:
                outputs = (right.output, self.pay(reserved, SUPPLY))
                return self.make([right], outputs, issuances, [Approval(reserved, Role.AUDITOR, self.lock)], HONEST_FEE)
        return None

    def _issue_all(self, dure: Holding) -> Transaction:
        definitions = (
            self.define(SupplyKind.FIXED, 1),
            self.define(SupplyKind.REISSUABLE, SUPPLY),
            self.define(SupplyKind.FIXED, SUPPLY, controller=self.lock),
            self.define(SupplyKind.RESERVED, 0, auditor=self.lock),
        )
        names = [asset_id(dure.outpoint, place, each) for place, each in enumerate(definitions)]
        work, token, share, stable = names
        outputs = (
            self.pay(work, 1),
            self.pay(token, SUPPLY),
            self.pay(share, SUPPLY),
            self.pay(authority_id(token), 1),
            self.pay(authority_id(stable), 1),
        )
        # The fee's coin is the only input, and so the first: the ids follow from it.
        return self.make(
            [],
            outputs,
            [NewAsset(each) for each in definitions],
            [Approval(share, Role.CONTROLLER, self.lock)],
            HONEST_FEE,
        )

    def define(
        self, kind: SupplyKind, first: int, *, auditor: LockId | None = None, controller: LockId | None = None
    ) -> Definition:
        """Return a definition that is known by its metadata as the adversary's."""
        return Definition(kind, Amount(first), 0, auditor, controller, None, None, self.lock)

    def pay(self, asset: AssetId, amount: int) -> Output:
        """Return an output to itself."""
        return Output(Amount(amount), self.lock, asset)

    def make(
        self,
        spent: Sequence[Holding],
        outputs: Sequence[Output],
        issuances: Issuances = (),
        approvals: Sequence[Approval] = (),
        fee: int = FRAUD_FEE,
    ) -> Transaction:
        """Return a transaction of its coins, signed and approved, that pays its fee: valid or not.

        Raises:
            LookupError: it has no DURE.
        """
        if self.dure is None:
            raise LookupError("nothing to pay the fee with")
        whole = [*spent, self.dure]
        change = Output(Amount(self.dure.output.value - fee), self.lock, None)
        core = Core(1, tuple(each.outpoint for each in whole), (*outputs, change), tuple(issuances), (), b"")
        return self.sign(core, [each.output for each in whole], approvals)

    def sign(self, core: Core, spent: Sequence[Output], approvals: Sequence[Approval] = ()) -> Transaction:
        """Return a core with its signature, and with approvals by the adversary's key, whoever should give them."""
        message = spend_message(self._params.genesis_hash, core, spent)
        digests = [lock_digest(message, self.lock)]
        digests += [approval_digest(message, each.asset, each.policy) for each in sorted(approvals)]
        return Transaction(core, tuple(Witness(self.policy, (sign(self._secret, digest),)) for digest in digests))
