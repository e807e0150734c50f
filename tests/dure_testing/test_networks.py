"""The fixtures as somebody uses them who tests a program of his own; each story on both kinds of network."""

from __future__ import annotations

from decimal import Decimal

import pytest

from dure_testing import CallRefused, Network, NotConverged, TookTooLong
from dure_testing.plugin import MakeNetwork

KINDS = ["simulated", pytest.param("processes", marks=pytest.mark.e2e)]


@pytest.fixture(params=KINDS)
def network(request: pytest.FixtureRequest, dure_network: MakeNetwork) -> Network:
    return dure_network(n=3, kind=request.param)


def test_a_payment_is_mined_and_everybody_agrees(network: Network) -> None:
    before = network[2].balance()
    txid = network.send(0, 2, "12.5")
    network.wait_for_mempool(txid)
    tip = network.mine(1)
    assert network.wait_for_tip() == tip
    network.assert_converged()
    # Each block also ripens a reward of 50 of somebody's.
    assert (network[2].balance() - before) % 50 == Decimal("12.5")
    assert txid in network[0].call("getblock", tip)["tx"]
    with pytest.raises(CallRefused) as refused:
        network.send(0, 2, 10**6)
    assert refused.value.code == -6


def test_a_fork_is_made_and_resolved(network: Network) -> None:
    fork = network.wait_for_tip()
    network.partition([0], [1, 2])
    network.mine(0, 1)
    tip = network.mine(1, 2)
    network.wait_for_tip(tip, nodes=[1, 2])
    assert network[0].tip not in {tip, fork}
    with pytest.raises(NotConverged, match="several tips: node 0 at"):
        network.assert_converged()
    network.heal()
    assert network.wait_for_tip() == tip
    network.assert_converged()


def test_a_killed_node_comes_back_and_catches_up(network: Network) -> None:
    network.kill(2)
    assert [node.number for node in network.running] == [0, 1]
    tip = network.mine(0, 2)
    network.start(2)
    assert network.wait_for_tip(tip) == tip
    network.assert_converged()
    assert network[2].height == network[0].height
    assert network[2].balance() > 0


def test_what_does_not_come_in_time_is_said_in_words(dure_network: MakeNetwork) -> None:
    network = dure_network(n=2)
    network.partition([0], [1])
    network.mine(0)
    with pytest.raises(TookTooLong, match=r"not within 5 virtual seconds: all on one tip; node 0 at \d+"):
        network.wait_for_tip(within=5)


def test_calls_are_answered_as_json_would_carry_them(dure_network: MakeNetwork) -> None:
    network = dure_network(n=1)
    assert isinstance(network[0].call("getbalances")["mine"]["trusted"], Decimal)
    assert network[0].call("getblockchaininfo")["blocks"] == network[0].height
    with pytest.raises(CallRefused) as unknown:
        network[0].call("nosuchmethod")
    assert unknown.value.code == -32601
    with pytest.raises(CallRefused) as bad:
        network[0].call("getblockhash", "one")
    assert bad.value.code == -3


def test_a_seed_repeats_a_network_and_another_does_not(dure_network: MakeNetwork) -> None:
    def run(seed: int) -> str:
        network = dure_network(n=2, seed=seed)
        network.send(0, 1, 1)
        network.mine(1)
        return network.wait_for_tip()

    assert run(5) == run(5)
    assert run(5) != run(6)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 65}, {"kind": "cloud"}])
def test_what_is_no_network_is_refused(dure_network: MakeNetwork, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a network"):
        dure_network(**wrong)
