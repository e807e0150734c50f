"""Every chain that a test runs is held against the model of `simnet.invariants`, at every height.

Whoever makes a chain manager in a test has it watched. What a watched chain breaks is raised when the test ends, by a
fixture that all tests have; so no test escapes it, whatever else it is about.
"""

from __future__ import annotations

from consensus.params import Params
from node.chain import ChainManager
from node.chain_events import TipChanged
from node.storage.chain_store import ChainStore
from simnet.errors import InvariantBroken
from simnet.invariants import ChainModel

FEW_COINS = 300
"""Up to so many are all compared at every height; of more only those that changed, but for each fiftieth height."""

_broken: list[InvariantBroken] = []
_heights: list[int] = []


def watch(chain: ChainManager, store: ChainStore, params: Params, model: ChainModel | None = None) -> None:
    """Hold a chain against a model from now on: one of its own, unless somebody else needs it as well."""
    model = model or ChainModel(params)

    def tip_changed(change: TipChanged) -> None:
        try:
            model.learn(store, chain.index.get(change.old.hash))
            for block in change.connected:
                model.add(block)
            tip = change.new
            if len(model.states[tip.hash].coins) <= FEW_COINS or tip.height % 50 == 0:
                model.check("the chain", store, tip.hash)
            else:
                model.check_step("the chain", store, change.old.hash, tip.hash)
            _heights.append(tip.height)
        except InvariantBroken as error:
            # Raised here it would be the node's to handle: it is the test's.
            _broken.append(error)

    chain.tip_listeners.append(tip_changed)


def heights_checked() -> int:
    """How many changes of a tip were looked at since the test began."""
    return len(_heights)


def raise_broken() -> None:
    """Begin anew; raise what was broken until now.

    Raises:
        InvariantBroken: the first of it.
    """
    found = list(_broken)
    _broken.clear()
    _heights.clear()
    if found:
        raise found[0]
