"""`deposits`: what a payment costs a wallet with many coins, and what a storm of deposits costs it (A153, A162).

The wallet is a real one, without a node: it is handed blocks that nobody mined, and its database is in memory. So the
figures are of its own work: choosing, building, signing, judging, and following.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from consensus.params import REGTEST
from consensus.types import Amount, Block, Core, Header, LockId, OutPoint, Output, Transaction, TxId
from node.clock import SystemClock
from node.storage.files import MemoryFiles
from node.storage.memory_store import MemoryDatabase
from scripts.benchmarks.harness import Bound, Figure, Measure, Sample, silent_log
from scripts.benchmarks.programs import Program
from wallet.ports import Outside
from wallet.results import Payment, RelayTerms
from wallet.store import TABLES
from wallet.wallet import Wallet

COINS = 10_000
STORM = 100_000
OUTPUTS = 100
"""Of one transaction that pays the wallet."""
HIM = Payment(LockId(bytes(range(32))), Amount(3_000_000_000))
TERMS = RelayTerms(fee_rate=5_000)
PAYMENTS = 10


def _wallet() -> Wallet:
    world = Outside(MemoryFiles(), MemoryDatabase(TABLES), random.Random(1), SystemClock(), silent_log())
    return Wallet.create(REGTEST, world, allow_plain=True)


def _pay_to(wallet: Wallet, values: list[int], lock: LockId) -> None:
    """Hand the wallet one block that pays these values."""
    gifts = [
        Transaction(
            Core(
                1,
                (OutPoint(TxId((wallet.cursor.height * 10**6 + start + 1).to_bytes(32, "big")), 0),),
                tuple(Output(Amount(value), lock, None) for value in values[start : start + OUTPUTS]),
                (),
                (),
                b"",
            ),
            (),
        )
        for start in range(0, len(values), OUTPUTS)
    ]
    header = Header(1, wallet.cursor.hash, bytes(32), 1_767_225_601 + wallet.cursor.height, 0x207FFFFF, 0)
    nobody = Transaction(Core(1, (OutPoint(TxId(bytes(32)), wallet.cursor.height + 1),), (), (), (), b""), ())
    wallet.handle_updates([], [Block(header, (nobody, *gifts))])


def _payments(wallet: Wallet) -> Iterator[float]:
    for _ in range(PAYMENTS):
        started = time.perf_counter()
        wallet.send([HIM], TERMS)
        yield (time.perf_counter() - started) * 1_000


def take_deposits(_kind: type[Program]) -> Iterator[Sample]:
    """Pay out of 10,000 coins of all sizes, then in the middle of 100,000 tiny deposits."""
    chance = random.Random(2)
    rich = _wallet()
    for _ in range(10):
        lock = rich.parse_payment(rich.new_address(), 1).lock
        _pay_to(rich, [chance.randrange(10**6, 10**9) for _ in range(COINS // 10)], lock)
    yield Sample("payment, 10k coins", max(_payments(rich)))
    flooded = _wallet()
    lock = flooded.parse_payment(flooded.new_address(), 1).lock
    _pay_to(flooded, [10**9] * 50, lock)
    started = time.perf_counter()
    for _ in range(10):
        _pay_to(flooded, [chance.randrange(546, 2_000) for _ in range(STORM // 10)], lock)
    yield Sample("deposits followed", STORM / (time.perf_counter() - started))
    yield Sample("payment, 100k deposits", max(_payments(flooded)))
    started = time.perf_counter()
    flooded.balances()
    flooded.history(20)
    yield Sample("balance and history", (time.perf_counter() - started) * 1_000)


MEASURES = {
    "deposits": Measure(
        take_deposits,
        {
            "payment, 10k coins": Figure("ms", must=Bound(1_000), aim=Bound(100)),
            "deposits followed": Figure("per s", more_is_better=True),
            "payment, 100k deposits": Figure("ms", must=Bound(1_000), aim=Bound(300)),
            "balance and history": Figure("ms", aim=Bound(100)),
        },
        runs=3,
        compared=False,
    )
}
