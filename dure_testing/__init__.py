"""Networks of nodes as pytest fixtures: simulated in a fraction of a second, or of real processes (docs/testing.md).

def test_coins_arrive(dure_network):
    network = dure_network(n=3)
    network.send(0, 2, "12.5")
    network.mine(1)
    network.wait_for_tip()
    network.assert_converged()
    assert network[2].balance() >= Decimal("12.5")
"""

from dure_testing.network import CallRefused, Network, Node, NotConverged, TookTooLong

__all__ = ["CallRefused", "Network", "Node", "NotConverged", "TookTooLong"]
