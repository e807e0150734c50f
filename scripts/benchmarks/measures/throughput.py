"""`throughput`: how many payments a second five nodes on this machine bear, made and signed by their own wallets.

Five processes, each with its wallet, each connected to the four others. Blocks come at the pace of a local network,
from each node in turn. Each wallet is asked for payments to somebody else at a steady pace, whether or not it keeps up.
The pace rises until not all payments are made any more, or one is not in the first or the second block after it was
asked for; what was borne before is then held for ten minutes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, Self

from consensus.address import decode_address
from consensus.params import REGTEST
from scripts.benchmarks.harness import Bound, Figure, Measure, Sample, tell
from scripts.benchmarks.measures.wallet import WithWallet
from scripts.benchmarks.money import DurePurse, rewards
from scripts.benchmarks.observed import KINDS, OTHER, Observed
from scripts.benchmarks.programs import Program, drain, family_seconds, until
from scripts.benchmarks.rpc import Connection, RpcFailed

NODES = 5
SPACING = 5.0
"""Seconds between blocks: those of a local network (`consensus.params.LOCAL`)."""
KINDS_OF_WORK = {kind: kind.replace(" ", "_").lower() for kind in (*(kind for kind, _ in KINDS), OTHER)}
BLOCKS_ALLOWED = 2
"""A payment must be in the first or the second block after the call that asked for it."""
KEPT_UP = 0.99
"""The share of the payments due that must have been made: whoever falls behind does not bear the pace."""
FIRST_PACE, PACE_STEP = 200, 50
"""Payments a second, from all wallets together."""
HOPELESS, HOPELESS_SECONDS = 0.9, 20.0
"""Where after so many seconds less than this share of the payments due is made, the rest is not waited for."""
STEP_BLOCKS = 4
"""How long each step of the rise takes."""
HOLD_SECONDS = 600.0
HELD_SHARE = 0.95
"""Of the pace that was borne for a step, what is held: a step is short, and the hold must not fail by chance."""
COINS = 1_000
"""Of each wallet: change comes back with a block or two, at 100 payments a second from each within ten seconds."""
AMOUNT = "0.0001"


class ObservedWallet(Observed, WithWallet):
    """Our node with its wallet and an observer."""


class Payment(NamedTuple):
    """One call for a payment, and its answer."""

    txid: str
    height: int
    """Of the newest block when it was asked for."""


class Stretch(NamedTuple):
    """What became of the payments at one pace."""

    pace: float
    """Payments a second that were asked for, all wallets together."""
    due: int
    payments: list[Payment]
    late: int
    """Payments that were not in the two blocks after them."""
    blocks: int
    seconds: float
    refused: str
    """What a wallet said that did not pay; empty if all did."""
    cpu: float
    """Milliseconds of processor time that a payment cost each node, on average."""

    @property
    def rate(self) -> float:
        """Payments a second that were made."""
        return len(self.payments) / self.seconds

    @property
    def borne(self) -> bool:
        """Whether the nodes bear this pace."""
        return self.late == 0 and not self.refused and len(self.payments) >= KEPT_UP * self.due

    def __str__(self) -> str:
        verdict = "borne" if self.borne else "not borne"
        said = f", refused: {self.refused}" if self.refused else ""
        return (
            f"{self.pace:.0f} payments/s for {self.seconds:.0f} s and {self.blocks} blocks: {len(self.payments):,} of "
            f"{self.due:,} made, {self.late:,} later than the second block; each took {self.cpu:.2f} ms of processor "
            f"time on each node{said}: {verdict}"
        )


class Clockwork:
    """Mines at a steady pace, each node in turn, and notes which payment is in which block."""

    def __init__(self, nodes: Sequence[Program], spacing: float) -> None:
        self._nodes = nodes
        self._spacing = spacing
        self._connections = [node.connection() for node in nodes]
        self.height = nodes[0].height()
        self.found: dict[str, int] = {}
        """Height by txid."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clockwork")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for connection in self._connections:
            connection.close()

    def _run(self) -> None:
        due = time.monotonic() + self._spacing
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            connection = self._connections[self.height % len(self._nodes)]
            (block,) = connection.call("generatetoaddress", 1, self._nodes[0].minable)
            self.height += 1
            self.found |= dict.fromkeys(connection.call("getblock", block, 1)["tx"], self.height)
            due += self._spacing

    def wait_for(self, height: int) -> None:
        """Wait until there is a block of this height, and what is in it is known."""

        def is_there() -> bool:
            if not self._thread.is_alive():
                raise SystemExit("no more blocks are found")
            return self.height >= height

        until(f"block {height}", is_there, 0.02)


class _Asker:
    """Asks one wallet for payments at a steady pace."""

    def __init__(self, connection: Connection, address: str, height: Callable[[], int]) -> None:
        self._connection = connection
        self._address = address
        self._height = height
        self.payments: list[Payment] = []
        self.due = 0
        """Payments that were to be asked for, up to the end."""
        self.refused = ""
        self.stop = threading.Event()

    def falls_behind(self, pace: float, began: float) -> bool:
        """Tell whether it is hopeless that it keeps up."""
        seconds = time.monotonic() - began
        return seconds > HOPELESS_SECONDS and len(self.payments) < HOPELESS * pace * seconds

    def run(self, pace: float, began: float, until_height: int) -> None:
        """Ask until there is a block of a height, then hang up."""
        try:
            self._ask(pace, began, until_height)
        finally:
            self._connection.close()

    def _ask(self, pace: float, began: float, until_height: int) -> None:
        """Ask, each call when it is due or as soon after it as the one before is answered."""
        for number in range(1, 1_000_000_000):
            time.sleep(max(0.0, began + number / pace - time.monotonic()))
            height = self._height()
            if height >= until_height or self.stop.is_set():
                self.due = max(number - 1, int((time.monotonic() - began) * pace) - 1)
                return
            try:
                txid = self._connection.call("sendtoaddress", self._address, AMOUNT)
            except RpcFailed as error:
                self.refused = str(error)
                return
            self.payments.append(Payment(txid, height))


def late(payments: Sequence[Payment], found: dict[str, int]) -> int:
    """Return how many payments were not in one of the blocks that they must be in."""
    return sum(found.get(txid, 1 << 62) > height + BLOCKS_ALLOWED for txid, height in payments)


def bear(nodes: Sequence[Program], clockwork: Clockwork, pace: float, blocks: int) -> Stretch:
    """Ask all wallets for payments at a pace, for so many blocks; wait until each of them had its two blocks."""
    clockwork.wait_for(clockwork.height + 1)
    first, began = clockwork.height, time.monotonic()
    askers = [_Asker(node.connection(), node.minable, lambda: clockwork.height) for node in nodes]
    threads = [threading.Thread(target=asker.run, args=(pace / len(nodes), began, first + blocks)) for asker in askers]
    spent = _spent(nodes)
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        threads[0].join(1.0)
        if any(asker.falls_behind(pace / len(nodes), began) or asker.refused for asker in askers):
            for asker in askers:
                asker.stop.set()
    seconds = time.monotonic() - began
    payments = [payment for asker in askers for payment in asker.payments]
    blocks = clockwork.height - first
    clockwork.wait_for(clockwork.height + BLOCKS_ALLOWED)
    cpu = 1_000 * (_spent(nodes) - spent) / len(nodes) / max(1, len(payments))
    refused = next((asker.refused for asker in askers if asker.refused), "")
    due, missed = sum(asker.due for asker in askers), late(payments, clockwork.found)
    return Stretch(pace, due, payments, missed, blocks, seconds, refused, cpu)


def _spent(nodes: Sequence[Program]) -> float:
    """Return the processor time of all nodes together, in seconds."""
    return family_seconds(*(node.pid for node in nodes))


@contextmanager
def five_wallets(count: int, coins: int) -> Iterator[tuple[list[Program], Observed]]:
    """Nodes with wallets of so many coins each, all connected to all; and the last one, with an observer inside."""
    with ExitStack() as stack:
        nodes: list[Program] = []

        def start(node: Program) -> None:
            tell(f"throughput: node {len(nodes) + 1} of {count} starts …")
            stack.enter_context(node)
            for other in nodes:
                node.connect(other)
            nodes.append(node)

        for _ in range(count - 1):
            start(WithWallet())
        observed = ObservedWallet()
        start(observed)
        until("all connected to all", lambda: all(node.peers() == count - 1 for node in nodes))
        tell("throughput: the wallets get their coins …")
        purse = DurePurse()
        for node, reward in zip(nodes, rewards(nodes[0], purse, count), strict=True):
            lock = decode_address(REGTEST, node.rpc.call("getnewaddress", "", "bech32"))
            made = purse.fan(reward, lock, coins)
            nodes[0].rpc.call("sendrawtransaction", made.encoded.hex())
        drain(nodes[0])
        until("one tip", lambda: len({node.tip() for node in nodes}) == 1)
        until("coins in all wallets", lambda: all(node.rpc.call("getbalance") > 0 for node in nodes))
        yield nodes, observed


def take(
    _kind: type[Program],
    hold: float = HOLD_SECONDS,
    pace: float | None = None,
    spacing: float = SPACING,
    coins: int = COINS,
    step: int = PACE_STEP,
) -> Iterator[Sample]:
    """Payments a second that were borne for the time of the hold, and what each of them cost.

    Args:
        pace: hold this one at first, instead of letting it rise.
    """
    with five_wallets(NODES, coins) as (nodes, observed), Clockwork(nodes, spacing) as clockwork:
        pace = _rise(nodes, clockwork, step) if pace is None else pace
        while pace > 0:
            tell(f"throughput: {pace:.0f} payments/s for {hold / 60:.1f} min …")
            before, ours = family_seconds(observed.pid), sum(os.times()[:2])
            observed.begin()
            stretch = bear(nodes, clockwork, pace, max(1, round(hold / spacing)))
            moments = observed.end().moments
            tell("")
            print(f"  {stretch}", flush=True)
            if stretch.borne:
                spent = 1_000 * (family_seconds(observed.pid) - before) / len(stretch.payments)
                yield Sample("throughput", stretch.rate)
                yield Sample("throughput_cpu", stretch.cpu)
                yield Sample("throughput_asking", 1_000 * (sum(os.times()[:2]) - ours) / len(stretch.payments))
                yield Sample("throughput_observed", spent)
                for kind, name in KINDS_OF_WORK.items():
                    share = moments.get(kind, 0) / max(1, sum(moments.values()))
                    yield Sample(f"throughput_{name}", share * spent)
                return
            pace -= step
        raise SystemExit("the nodes bear no pace at all")


def _rise(nodes: Sequence[Program], clockwork: Clockwork, step: int) -> float:
    """Return the pace that can be held: somewhat below the highest that is borne for a few blocks."""
    pace, borne = float(max(FIRST_PACE, step)), 0.0
    while pace >= 1:
        tell(f"throughput: {pace:.0f} payments/s …")
        stretch = bear(nodes, clockwork, pace, STEP_BLOCKS)
        tell("")
        print(f"  {stretch}", flush=True)
        if stretch.borne:
            borne = pace
            pace += step
        elif borne:
            break
        else:
            pace /= 2
    return HELD_SHARE * borne


def measure(hold: float = HOLD_SECONDS, pace: float | None = None) -> Measure:
    """Return the measure, with the pace held for so many seconds.

    Args:
        pace: see `take`.
    """
    figures = {
        "throughput": Figure("tx/s", True, must=Bound(400)),
        "throughput_cpu": Figure("ms a payment"),
        "throughput_asking": Figure("ms a payment"),
        "throughput_observed": Figure("ms a payment"),
        **{f"throughput_{name}": Figure("ms a payment") for name in KINDS_OF_WORK.values()},
    }

    def taken(kind: type[Program]) -> Iterator[Sample]:
        return take(kind, hold, pace)

    return Measure(taken, figures, runs=1, compared=False, minutes=1 + hold / 60 + (0 if pace else 5))


MEASURES = {"throughput": measure()}
