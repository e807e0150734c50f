"""`scripts/bench throughput` tells what was borne from what was not."""

from __future__ import annotations

import pytest

from scripts.benchmarks.measures.throughput import KINDS_OF_WORK, Payment, Stretch, late, measure, take
from scripts.benchmarks.observed import OTHER, kind_of
from scripts.benchmarks.programs import Dured


def test_a_payment_is_late_from_the_third_block_on_or_in_none() -> None:
    found = {"next": 8, "second": 9, "third": 10}
    assert late([Payment("next", 7), Payment("second", 7)], found) == 0
    assert late([Payment("third", 7)], found) == 1
    assert late([Payment("lost", 7)], found) == 1


@pytest.mark.parametrize(
    ("made", "late_ones", "refused", "borne"),
    [(99, 0, "", True), (98, 0, "", False), (100, 1, "", False), (100, 0, "no coins", False)],
)
def test_a_pace_is_borne_if_all_payments_are_made_and_none_is_late(
    made: int, late_ones: int, refused: str, borne: bool
) -> None:
    payments = [Payment(str(number), 1) for number in range(made)]
    stretch = Stretch(10.0, 100, payments, late_ones, 2, 10.0, refused, 0.7)
    assert stretch.borne is borne
    assert stretch.rate == made / 10
    assert ("not borne" in str(stretch)) is not borne


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["consensus/signatures.py", "wallet/signer.py", "wallet/maker.py", "node/api/jsonrpc.py"], "signing"),
        (["consensus/signatures.py", "wallet/maker.py", "node/wallet_service.py"], "wallet"),
        (["wallet/coin_selection.py", "wallet/payments.py"], "choosing coins"),
        (["consensus/signatures.py", "node/mempool.py", "node/relay.py"], "signatures"),
        (["node/admission.py", "node/mempool.py", "node/relay.py"], "mempool"),
        (["p2p/framing.py", "p2p/tcp.py"], "peers"),
        (["/usr/lib/site-packages/aiohttp/web_protocol.py"], "JSON-RPC"),
        (["/usr/lib/asyncio/runners.py"], OTHER),
    ],
)
def test_a_moment_is_told_by_what_is_on_the_stack(files: list[str], kind: str) -> None:
    assert kind_of(files) == kind


@pytest.mark.e2e
def test_five_wallets_pay_and_each_payment_is_accounted_for() -> None:
    taken = {sample.figure: sample.value for sample in take(Dured, hold=3.0, pace=6.0, spacing=1.0, coins=50, step=2)}
    assert set(taken) == set(measure().figures)
    assert 0 < taken["throughput"] <= 7
    parts = sum(taken[f"throughput_{kind}"] for kind in KINDS_OF_WORK.values())
    assert parts == pytest.approx(taken["throughput_observed"]) or parts == 0
