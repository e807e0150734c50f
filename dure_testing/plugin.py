"""The fixtures that `pip install dure[testing]` adds to pytest. What they need is imported when one is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dure_testing.network import Network

KINDS = ("simulated", "processes")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what decides how networks are made that do not say so themselves."""
    group = parser.getgroup("dure", "networks of Dure nodes")
    group.addoption(
        "--dure-network",
        choices=KINDS,
        default="simulated",
        help="how dure_network makes networks: simulated in this process, or of real processes",
    )
    group.addoption("--dure-seed", type=int, default=0, help="of simulated networks; the same again is the same run")


@pytest.fixture
def dure_network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeNetwork]:
    """Make networks of nodes: `dure_network(n=3)`; they end with the test. See docs/testing.md."""
    made: list[Network] = []

    def make(n: int = 3, *, kind: str | None = None, seed: int | None = None) -> Network:
        chosen = kind or request.config.getoption("--dure-network")
        if chosen not in KINDS:
            raise ValueError(f"a network is one of {', '.join(KINDS)}, not {chosen!r}")
        from devnet.topology import MAX_NODES

        if not 1 <= n <= MAX_NODES:
            raise ValueError(f"a network has 1 to {MAX_NODES} nodes, not {n}")
        network: Network
        if chosen == "simulated":
            from dure_testing.simulated import SimulatedNetwork

            network = SimulatedNetwork(n, request.config.getoption("--dure-seed") if seed is None else seed)
        else:
            from dure_testing.processes import ProcessNetwork

            network = ProcessNetwork(tmp_path_factory.mktemp("dure"), n)
        made.append(network)
        return network

    yield make
    errors: list[Exception] = []
    for network in reversed(made):
        try:
            network.close()
        except Exception as error:  # noqa: BLE001 - each of them has to end; then the first error is raised
            errors.append(error)
    if errors:
        raise errors[0]


MakeNetwork = Callable[..., "Network"]
"""`(n=3, *, kind=None, seed=None)`: `kind` is one of `KINDS`, by default what `--dure-network` says."""
