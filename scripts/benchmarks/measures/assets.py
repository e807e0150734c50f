"""`assets`: blocks of asset transfers connected beside blocks of plain payments, in one run, as a ratio.

A transfer is what a wallet makes: a coin of the asset at one lock and one in DURE for the fee at another, so two
signatures where a payment has one; to the receiver, and the rest of both back. A controlled one has an approval more.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator, Sequence

from consensus.assets import Approval, Role
from consensus.codec import approval_digest, lock_digest, spend_message
from consensus.params import REGTEST
from consensus.signatures import public_key, sign
from consensus.spend_policy import policy_id
from consensus.types import (
    Amount,
    Asset,
    AssetId,
    Coin,
    Core,
    Definition,
    Key,
    LockId,
    OutPoint,
    Output,
    SupplyKind,
    Transaction,
    TxId,
    Witness,
)
from node.storage.chain_store import ChainStore, Step
from scripts.benchmarks.harness import Bound, Figure, Measure, Sample
from scripts.benchmarks.measures.connect import bench
from scripts.benchmarks.measures.pool import Payer
from scripts.benchmarks.programs import Program

PER_BLOCK = 1_000
BLOCKS = 7
"""Of each kind in a run."""
ASSETS = 100
UNITS = 1_000
_FEE = 1_000
_SECRETS = {
    policy_id(Key(public_key(secret))): secret for secret in (bytes([7]) * 32, bytes([8]) * 32, bytes([9]) * 32)
}
HOLDER, PAYER, CONTROLLER = _SECRETS


class Holder:
    """Makes transfers of a hundred assets, each out of coins of its own."""

    def __init__(self, store: ChainStore, controller: LockId | None) -> None:
        self._store = store
        self._controller = controller
        self._kind = 1 if controller is None else 2
        self._made = 0
        supply = Amount(UNITS * PER_BLOCK * (BLOCKS + 1) // ASSETS)
        definition = Definition(SupplyKind.FIXED, supply, 0, None, controller, None, None, b"")
        self._assets = [AssetId(bytes([self._kind, n]) * 16) for n in range(ASSETS)]
        step = Step()
        step.put_assets({name: Asset(definition, supply, 0, Amount(0)) for name in self._assets})
        store.write(step)

    def transfers(self, count: int) -> list[Transaction]:
        """Return so many; their coins are put into the store first."""
        coins: dict[OutPoint, Coin] = {}
        made: list[Transaction] = []
        for _ in range(count):
            self._made += 1
            asset = self._assets[self._made % ASSETS]
            txid = TxId(bytes([self._kind]) * 24 + self._made.to_bytes(8, "big"))
            spent = [Output(Amount(UNITS), HOLDER, asset), Output(Amount(10 * _FEE), PAYER, None)]
            coins |= {OutPoint(txid, place): Coin(output, 0, False) for place, output in enumerate(spent)}
            made.append(self._transfer(txid, asset, spent))
        step = Step()
        step.put_coins(coins)
        self._store.write(step)
        return made

    def _transfer(self, txid: TxId, asset: AssetId, spent: list[Output]) -> Transaction:
        outputs = (
            Output(Amount(UNITS // 3), PAYER, asset),
            Output(Amount(UNITS - UNITS // 3), HOLDER, asset),
            Output(Amount(9 * _FEE), PAYER, None),
        )
        core = Core(1, (OutPoint(txid, 0), OutPoint(txid, 1)), outputs, (), (), b"")
        message = spend_message(REGTEST.genesis_hash, core, spent)
        digests = {HOLDER: lock_digest(message, HOLDER), PAYER: lock_digest(message, PAYER)}
        if self._controller is not None:
            approval = Approval(asset, Role.CONTROLLER, self._controller)
            digests[self._controller] = approval_digest(message, approval.asset, approval.policy)
        return Transaction(core, tuple(_witness(lock, digest) for lock, digest in digests.items()))


def _witness(lock: LockId, digest: bytes) -> Witness:
    secret = _SECRETS[lock]
    return Witness(Key(public_key(secret)), (sign(secret, digest),))


def take_assets(_kind: type[Program]) -> Iterator[Sample]:
    """Transactions a second of three kinds of blocks in turns, new to the node; and what part of payments' that is."""
    rates = asyncio.run(_rates())
    for kind, values in rates.items():
        for value in values:
            yield Sample(f"assets_{kind}", value)
    yield Sample("assets_ratio", _ratio(rates["transfer"], rates["payment"]))
    yield Sample("assets_controlled_ratio", _ratio(rates["controlled"], rates["payment"]))


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over the turns: what else the machine does meanwhile slows down both blocks of one."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


async def _rates() -> dict[str, list[float]]:
    async with bench() as node:
        payer = Payer(node.store)
        free, controlled = Holder(node.store, None), Holder(node.store, CONTROLLER)
        makers: dict[str, Callable[[], list[Transaction]]] = {
            "payment": lambda: [payer.payment() for _ in range(PER_BLOCK)],
            "transfer": lambda: free.transfers(PER_BLOCK),
            "controlled": lambda: controlled.transfers(PER_BLOCK),
        }
        rates: dict[str, list[float]] = {kind: [] for kind in makers}
        for number in range(BLOCKS + 1):
            for kind, make in makers.items():
                rate = await node.connect(make())
                if number:  # the first starts the workers
                    rates[kind].append(rate)
    return rates


MEASURES = {
    "assets": Measure(
        take_assets,
        {
            "assets_payment": Figure("tx/s", True),
            "assets_transfer": Figure("tx/s", True),
            "assets_controlled": Figure("tx/s", True),
            "assets_ratio": Figure("of payments", True, must=Bound(0.5)),
            "assets_controlled_ratio": Figure("of payments", True),
        },
        runs=3,
        compared=False,
    )
}
