"""`scripts/bench growth` keeps its chains, fits its series, and draws them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from consensus.params import REGTEST
from node.storage.chain_store import ChainStore
from node.storage.lmdb_store import LmdbDatabase
from node.storage.schema import STORAGE_VERSION, TABLES
from scripts.benchmarks import chains, plot
from scripts.benchmarks.__main__ import LONG, arguments_of, chosen
from scripts.benchmarks.chains import FUNDING, PER_BLOCK, ChainLibrary, Kept
from scripts.benchmarks.fits import fit
from scripts.benchmarks.harness import Figure, Left, Sample, Taken, show
from scripts.benchmarks.measures import growth
from scripts.benchmarks.measures.growth import with_fits


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_found(exponent: float) -> None:
    points = [(x, 7 * x**exponent) for x in (10, 30, 100)]
    assert fit(points).exponent == pytest.approx(exponent, abs=1e-9)


def test_the_exponent_is_that_of_the_last_decade() -> None:
    assert fit([(1, 100), (10, 10), (100, 100)]).exponent == pytest.approx(1.0)
    assert fit([(9.99, 100), (10, 10), (100, 100)]).exponent == pytest.approx(1.0, abs=1e-3)
    assert fit([(10, 100), (11, 10), (100, 100)]).exponent != pytest.approx(1.0, abs=0.1)


def test_a_straight_line_has_a_beginning_and_a_cost_of_each_unit() -> None:
    fitted = fit([(x, 50 + 0.25 * x) for x in (0, 10, 100)])
    assert fitted.base == pytest.approx(50)
    assert fitted.unit == pytest.approx(0.25)


def test_one_point_is_no_series() -> None:
    with pytest.raises(ValueError, match="two points"):
        fit([(10, 1)])


def test_what_a_series_says_comes_after_its_points() -> None:
    taken = list(with_fits(iter([Sample("speed", 10, 1), Sample("speed", 100, 10), Sample("other", 3)])))
    assert taken[:3] == [Sample("speed", 10, 1), Sample("speed", 100, 10), Sample("other", 3)]
    assert [sample.figure for sample in taken[3:]] == ["speed_exponent", "speed_each"]
    assert [sample.value for sample in taken[3:]] == [pytest.approx(1), pytest.approx(10)]


def test_every_series_declares_what_is_fitted() -> None:
    for measure in growth.measures().values():
        series = [name for name, figure in measure.figures.items() if figure.across]
        assert series
        assert {f"{name}_{what}" for name in series for what in ("exponent", "each")} <= set(measure.figures)


def test_a_line_says_where_in_a_series_it_is() -> None:
    taken = Taken("speed", "dure", "s", 1, 2.0, 2.0, 2.0, [2.0], at=100_000)
    assert "speed, 100,000 blocks" in show(taken, Figure("s", across="blocks"), "dure")


# The time that is left


def test_the_time_that_is_left_is_put_right_by_what_passed() -> None:
    left = Left([2, 1, 4])
    assert left.minutes == 7
    left.passed(3)
    assert left.minutes == pytest.approx(5 * 3 / 2)
    left.passed(0)
    assert left.minutes == pytest.approx(4)


# What is measured


def test_without_names_the_long_measures_are_left_out() -> None:
    measures = chosen(arguments_of([]))
    assert "throughput" not in measures
    assert "crowd" not in measures
    assert not any(name.startswith("growth") for name in measures)
    assert all(measure.minutes <= LONG for measure in measures.values())
    assert "sync" in measures


def test_growth_is_all_series_or_those_that_are_named() -> None:
    assert list(chosen(arguments_of(["growth"]))) == [f"growth {name}" for name in growth.SERIES]
    assert list(chosen(arguments_of(["growth", "start", "--only", "lag,chain"]))) == [
        "growth lag", "growth chain", "start",
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", [["growth", "--only", "trees"], ["speeed"]])
def test_what_does_not_exist_is_refused_by_its_name(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments_of(wrong)
    assert wrong[-1] in capsys.readouterr().err


# Pictures


def test_a_picture_shows_every_point_and_names_its_axes_and_lines() -> None:
    lines = {
        "<of> blocks": [(1_000.0, 0.2), (10_000.0, 2.1), (100_000.0, 30.0)],
        "others": [(1_000.0, 1.0), (9e4, 2.0)],
    }
    drawn = plot.picture("Sync", "blocks", "s", lines)
    tree = ET.fromstring(drawn)
    space = "{http://www.w3.org/2000/svg}"
    assert len(list(tree.iter(f"{space}circle"))) == 5
    words = [text.text for text in tree.iter(f"{space}text")]
    assert {"Sync", "<of> blocks", "others", "blocks", "s", "1,000", "100,000"} <= set(words)
    places = [(float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in tree.iter(f"{space}circle")][:3]
    assert places == sorted(places, key=lambda place: (place[0], -place[1]))
    assert all(plot.LEFT <= x <= plot.WIDTH - plot.RIGHT and 0 < y < plot.HEIGHT for x, y in places)


def test_a_flat_series_can_be_drawn_too() -> None:
    assert "nan" not in plot.picture("Flat", "nodes", "ms", {"flat": [(2, 1.0), (32, 1.0)]}).lower()


def test_series_of_one_kind_share_a_picture_if_they_share_its_axes(tmp_path: Path) -> None:
    def points(figure: str, unit: str) -> list[Taken]:
        return [Taken(figure, "dure", unit, 1, x, x, x, [x], at=x) for x in (10.0, 100.0)]

    taken = [
        *points("growth_block_link", "messages"),
        *points("growth_block_messages", "messages"),
        *points("growth_block_cpu", "ms"),
        Taken("growth_block_cpu_each", "dure", "ms each", 1, 1, 1, 1, []),
    ]
    drawn = plot.draw(
        taken, dict.fromkeys(("growth_block_link", "growth_block_messages", "growth_block_cpu"), "nodes"), tmp_path
    )
    assert [path.name for path in drawn] == ["growth-block-nodes-messages.svg", "growth-block-nodes-ms.svg"]
    assert drawn[0].read_text().count("<polyline") == 2


# Chains


def tip_of(kept: Kept) -> tuple[int, bytes, int]:
    """Return height, id and the number of payments of a kept chain."""
    database = LmdbDatabase(kept.folder / "chain", TABLES, version=STORAGE_VERSION, identity=REGTEST.genesis_hash)
    store = ChainStore(database, REGTEST)
    *_, (height, _, last) = store.bodies()
    payments = sum(len(block.transactions) - 1 for number, _, block in store.bodies() if number > FUNDING)
    store.close()
    return height, last.hash, payments


def test_a_chain_that_was_interrupted_goes_on_and_is_the_same_to_the_byte(tmp_path: Path) -> None:
    whole = ChainLibrary(tmp_path / "whole").empty(12)
    library = ChainLibrary(tmp_path / "parts")
    library.empty(3)
    begun = library.folder / "empty-12-growing"
    begun.mkdir()
    asyncio.run(chains.grow(begun, 7, paying=False))
    continued = library.empty(12)
    assert tip_of(whole) == tip_of(continued)
    assert tip_of(continued)[0] == 12
    assert library.empty(12) == continued


@pytest.mark.slow
def test_a_chain_of_payments_has_so_many_and_grows_out_of_a_shorter_one(tmp_path: Path) -> None:
    library = ChainLibrary(tmp_path)
    short, long = library.paid(PER_BLOCK), library.paid(2 * PER_BLOCK)
    assert (tip_of(short)[0], tip_of(short)[2]) == (FUNDING + 1, PER_BLOCK)
    assert (tip_of(long)[0], tip_of(long)[2]) == (FUNDING + 2, 2 * PER_BLOCK)
    long.copy_to(tmp_path / "node")
    assert (tmp_path / "node" / "chain" / "data.mdb").exists()
