"""The bench judges its own figures: against numbers, against a peer in the same run, and against an earlier run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from consensus.codec import decode_transaction
from consensus.params import REGTEST
from consensus.signatures import verify_all
from consensus.state import SpendContext
from consensus.types import Coin as ChainCoin
from consensus.types import Height, OutPoint, Output, TxId
from consensus.validation import check_spends, transaction_fee
from scripts.benchmarks.harness import Bound, Figure, Measure, Report, Sample, Taken, judge, read, run, show
from scripts.benchmarks.measures import MEASURES
from scripts.benchmarks.money import FEE, Coin, DurePurse
from scripts.benchmarks.peers import PEERS, Anvil, Bcoin, Litecoind
from scripts.benchmarks.programs import Dured, Program, children, processor_seconds, until


def taken(median: float, ratio: float | None = None, program: str = "dure") -> Taken:
    return Taken("speed", program, "s", 1, median, median, median, [median], {"litecoind": ratio} if ratio else {})


@pytest.mark.parametrize(
    ("figure", "value", "reached"),
    [
        (Figure("s", must=Bound(2.0)), taken(2.0), True),
        (Figure("s", must=Bound(2.0)), taken(2.1), False),
        (Figure("tx/s", True, must=Bound(2.0)), taken(2.0), True),
        (Figure("tx/s", True, must=Bound(2.0)), taken(1.9), False),
        (Figure("s", must=Bound(1.5, of_peer=True)), taken(9.0, ratio=1.5), True),
        (Figure("s", must=Bound(1.5, of_peer=True)), taken(0.1, ratio=1.6), False),
        (Figure("s", must=Bound(1.5, of_peer=True)), taken(0.1), None),
        (Figure("s"), taken(1.0), None),
    ],
)
def test_a_figure_is_judged_by_its_bound(figure: Figure, value: Taken, reached: bool | None) -> None:
    assert judge(value, figure, figure.must) is reached


def test_programs_are_measured_in_turn_and_compared_by_their_medians() -> None:
    asked: list[str] = []

    def take(kind: type[Program]) -> Iterator[Sample]:
        asked.append(kind.name)
        yield Sample("speed", len(asked) * (10.0 if kind is Litecoind else 1.0))

    figures = {"speed": Figure("s")}
    ours, theirs = run("it", Measure(take, figures, runs=3), [Dured, Litecoind], None)
    assert asked == ["dure", "litecoind"] * 3
    assert (ours.values, ours.median, ours.least, ours.most) == ([1.0, 3.0, 5.0], 3.0, 1.0, 5.0)
    assert (theirs.median, theirs.ratios) == (40.0, {})
    assert ours.ratios == {"litecoind": 3.0 / 40.0}
    asked.clear()
    (alone,) = run("it", Measure(take, figures, runs=3, compared=False), [Dured, Litecoind], 1)
    assert (asked, alone.ratios) == (["dure"], {})


def test_a_peer_is_asked_only_for_what_it_can_do_and_only_one_of_them_is_the_yardstick() -> None:
    asked: list[str] = []

    def take(kind: type[Program]) -> Iterator[Sample]:
        asked.append(kind.name)
        yield Sample("speed", {"dure": 6.0, "bcoin": 2.0, "anvil": 3.0}[kind.name])

    figures = {"speed": Figure("tx/s", True, must=Bound(2.0, of_peer=True))}
    ours, *_ = run("sync", Measure(take, figures, runs=1), [Dured, Bcoin, Anvil], None)
    assert (asked, ours.ratios) == (["dure", "bcoin"], {"bcoin": 3.0})
    assert judge(ours, figures["speed"], figures["speed"].must) is None
    asked.clear()
    ours, *_ = run("mempool", Measure(take, figures, runs=1), [Dured, Bcoin, Anvil], None)
    assert (asked, ours.ratios) == (["dure", "bcoin", "anvil"], {"bcoin": 3.0, "anvil": 2.0})


def test_each_peer_is_asked_for_measures_that_exist() -> None:
    assert all(peer.measures is None or peer.measures <= MEASURES.keys() for peer in PEERS)


def test_a_line_says_what_was_missed() -> None:
    figure = Figure("s", must=Bound(1.0), aim=Bound(0.5, of_peer=True))
    line = show(taken(1.2, ratio=0.4), figure, "dure", before=taken(2.4))
    assert "0.40 x litecoind; 0.50 x before; must 1 s: NO; aim 0.5 x: yes" in line
    assert "must" not in show(taken(1.2, program="litecoind"), figure, "dure")


def test_figures_are_read_back(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    file.write_bytes(msgspec.json.encode(Report("here", 0.5, [taken(1.0)])))
    assert read(file) == {("speed", "dure", None): taken(1.0)}


def test_every_measure_says_what_its_figures_are() -> None:
    assert all(measure.figures and measure.runs > 0 for measure in MEASURES.values())
    names = [name for measure in MEASURES.values() for name in measure.figures]
    assert len(set(names)) == len(names)


def test_the_transactions_that_are_measured_are_valid() -> None:
    purse = DurePurse()
    tx = decode_transaction(bytes.fromhex(purse.pay(Coin(b"\x07" * 32, 3, 50_000))))
    (outpoint,) = tx.core.inputs
    assert outpoint == OutPoint(TxId(b"\x07" * 32), 3)
    spent = Output(tx.core.outputs[0].value * 2 + FEE, tx.core.outputs[0].lock, None)  # type: ignore[arg-type]
    coins = {outpoint: ChainCoin(spent, Height(1), False)}
    assert transaction_fee(REGTEST, 10, tx, coins) == FEE
    assert verify_all(check_spends(REGTEST, SpendContext(10, 0), tx, coins)) is None


@pytest.mark.e2e
def test_a_bench_that_is_ended_leaves_no_node_behind() -> None:
    bench = subprocess.Popen(
        [sys.executable, "-m", "scripts.benchmarks", "memory", "--alone"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    nodes = until("a node", lambda: children(bench.pid))
    until("a node that is past its start", lambda: sum(map(processor_seconds, nodes)) > 0.2, 0.05)
    bench.send_signal(signal.SIGTERM)
    assert bench.wait(60) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(nodes[0], 0)
