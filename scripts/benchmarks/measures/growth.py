"""`growth`: how cost grows with what there is, as series with a fitted exponent and the cost of each unit.

chain     a fresh node catches up with more and more empty blocks; what a node on such a chain holds in memory
coins     the same with signed payments, each of which adds a coin
mempool   what a node holds in memory for each payment that waits
lag       how late the event loop and calls are while a block of more and more payments connects (`lag.py`)
wallet    a payment and a balance of a wallet with more and more coins
nodes     processor time and messages of each node, in networks of more and more nodes (`crowds.py`)
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.benchmarks.chains import DEFAULT_FOLDER, ChainLibrary, Kept
from scripts.benchmarks.fits import Point, fit
from scripts.benchmarks.harness import Bound, Figure, Measure, Sample, tell
from scripts.benchmarks.measures import crowds
from scripts.benchmarks.measures.lag import WHILES, hold_ups
from scripts.benchmarks.measures.process import SETTLE
from scripts.benchmarks.measures.wallet import ask
from scripts.benchmarks.money import DurePurse
from scripts.benchmarks.programs import Dured, family_seconds, held, until

BLOCKS = (1_000, 3_000, 10_000, 30_000, 100_000)
PAYMENTS = (10_000, 30_000, 100_000, 300_000, 1_000_000)
WAITING = (10_000, 30_000, 100_000)
LAG_SIZES = (1_000, 4_000, 16_000)
WALLET_COINS = (1_000, 10_000, 100_000)
LINEAR = 1.1
"""The highest exponent that is taken for linear: a measured one is never 1 to the last digit."""


def take_chain(library: ChainLibrary, lengths: tuple[int, ...] = BLOCKS) -> Iterator[Sample]:
    """Seconds until a fresh node has so many empty blocks; MiB that a node which starts on them holds more than one
    that starts on none.
    """
    nothing = _held_on(None)
    for length in lengths:
        kept = library.empty(length)
        tell(f"growth: {length:,} blocks …")
        yield from _sync("growth_sync_blocks", kept, length)
        yield Sample("growth_memory_blocks", max(_held_on(kept) - nothing, 0.01), length)


def take_coins(library: ChainLibrary, numbers: tuple[int, ...] = PAYMENTS) -> Iterator[Sample]:
    """Seconds until a fresh node has so many signed payments."""
    for number in numbers:
        kept = library.paid(number)
        tell(f"growth: {number:,} payments …")
        yield from _sync("growth_sync_coins", kept, number)


def _sync(figure: str, kept: Kept, at: int) -> Iterator[Sample]:
    """Yield the seconds until a fresh node has a chain, and those for which it, its workers included, kept processors
    busy: of these two the one that tells of the program even where others are at work.
    """
    source = Dured()
    kept.copy_to(source.folder)
    with source, Dured() as sink:
        tip = source.tip()
        if source.height() != kept.blocks:
            raise SystemExit(f"{kept.folder} has {source.height()} blocks: delete it")
        time.sleep(0.5)
        began, spent = time.monotonic(), family_seconds(sink.pid)
        sink.connect(source)
        until("the source's tip", lambda: sink.tip() == tip, 0.02)
        yield Sample(figure, time.monotonic() - began, at)
        yield Sample(f"{figure}_cpu", family_seconds(sink.pid) - spent, at)


def _held_on(kept: Kept | None) -> float:
    node = Dured()
    if kept is not None:
        kept.copy_to(node.folder)
    with node:
        time.sleep(SETTLE)
        return held(node.pid)


def take_mempool(numbers: tuple[int, ...] = WAITING) -> Iterator[Sample]:
    """MiB that a node holds for so many payments that wait, each of two outputs."""
    purse = DurePurse()
    with Dured(None, "--mempool-mb", "1000") as node:
        coins = purse.fund(node, numbers[-1])
        # What mining those has left free in the process would take in the first ones.
        node.stop()
        node.spawn()
        node.wait_ready()
        time.sleep(SETTLE)
        nothing = held(node.pid)
        for number in numbers:
            tell(f"growth: {number:,} payments wait …")
            while (waiting := node.waiting()) < number:
                node.hand_in([purse.pay(coins.pop()) for _ in range(min(1_000, number - waiting))])
            time.sleep(SETTLE)
            yield Sample("growth_memory_mempool", max(held(node.pid) - nothing, 0.01), number)


def take_wallet(numbers: tuple[int, ...] = WALLET_COINS) -> Iterator[Sample]:
    """Milliseconds of a balance and of a payment of a wallet with so many coins."""
    for number in numbers:
        tell(f"growth: a wallet of {number:,} coins …")
        balances, payments = zip(*ask(number), strict=True)
        yield Sample("growth_wallet_balance", statistics.median(balances), number)
        yield Sample("growth_wallet_send", statistics.median(payments), number)


def take_lag(sizes: tuple[int, ...] = LAG_SIZES) -> Iterator[Sample]:
    """Milliseconds by which the event loop and the answer to a call are late, at the 99th percentile, by what is done
    meanwhile with a block of so many payments.
    """
    for size in sizes:
        tell(f"growth: a block of {size:,} payments …")
        for held_up in hold_ups(size):
            yield Sample(f"growth_lag_{held_up.name}", held_up.lag_p99, size)
            yield Sample(f"growth_call_{held_up.name}", held_up.call_p99, size)


def with_fits(samples: Iterator[Sample]) -> Iterator[Sample]:
    """Pass samples on; after them, what they say about growth, where it is declared (see `series`)."""
    points: dict[str, list[Point]] = {}
    for sample in samples:
        yield sample
        if sample.at is not None:
            tell(f"  {sample.figure}, {sample.at:,.0f}: {sample.value:.4g}\n")
            points.setdefault(sample.figure, []).append((sample.at, sample.value))
    for figure, found in points.items():
        fitted = fit(found)
        yield Sample(f"{figure}_exponent", fitted.exponent)
        yield Sample(f"{figure}_each", fitted.unit)


def series(figure: str, unit: str, across: str, most: float | None = LINEAR) -> dict[str, Figure]:
    """Return the figures of a series: its points, its exponent and what one unit more costs.

    Args:
        most: the highest exponent that it may have.
    """
    return {
        figure: Figure(unit, across=across),
        f"{figure}_exponent": Figure("", must=None if most is None else Bound(most)),
        f"{figure}_each": Figure(f"{unit} each"),
    }


def measures(folder: Path = DEFAULT_FOLDER) -> dict[str, Measure]:
    """Return the series, by the name that `--only` takes.

    Args:
        folder: where chains are kept.
    """
    library = ChainLibrary(folder)

    def measure(take: Callable[[], Iterator[Sample]], minutes: float, *figures: dict[str, Figure]) -> Measure:
        together = {name: figure for each in figures for name, figure in each.items()}
        return Measure(lambda _kind: with_fits(take()), together, runs=1, compared=False, minutes=minutes)

    return {
        "chain": measure(
            lambda: take_chain(library),
            1.5,
            series("growth_sync_blocks", "s", "blocks"),
            series("growth_sync_blocks_cpu", "s", "blocks"),
            series("growth_memory_blocks", "MiB", "blocks"),
        ),
        "coins": measure(
            lambda: take_coins(library),
            2.5,
            series("growth_sync_coins", "s", "payments"),
            series("growth_sync_coins_cpu", "s", "payments"),
        ),
        "mempool": measure(take_mempool, 1.5, series("growth_memory_mempool", "MiB", "payments")),
        "lag": measure(
            take_lag,
            3,
            *(series(f"growth_{what}_{name}", "ms", "payments", None) for what in ("lag", "call") for name in WHILES),
        ),
        "wallet": measure(
            take_wallet,
            1.5,
            series("growth_wallet_balance", "ms", "coins"),
            series("growth_wallet_send", "ms", "coins"),
        ),
        "nodes": measure(
            crowds.take, 3, *(series(figure, unit, "nodes", most) for figure, (unit, most) in crowds.SERIES.items())
        ),
    }


SERIES = tuple(measures())
"""The names that `--only` takes."""


def prepare(folder: Path) -> None:
    """Make all chains that the series need, so that measuring them is a matter of minutes."""
    library = ChainLibrary(folder)
    for length in BLOCKS:
        library.empty(length)
    for number in PAYMENTS:
        library.paid(number)
