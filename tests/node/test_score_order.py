"""An order that is kept while scores change is the order that sorting gives."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest

from node import score_order
from node.score_order import Ranked, ScoreOrder


def item(rank: int, place: int) -> Ranked:
    return rank, place, cast(Any, None)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_comes_and_goes_the_order_is_that_of_a_sorted_list(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_order, "CHUNK", 6)
    chance = random.Random(seed)
    order, model = ScoreOrder(), list[Ranked]()
    for place in range(400):
        if model and chance.random() < 0.45:
            gone = model.pop(chance.randrange(len(model)))
            order.remove(gone)
        else:
            new = item(chance.randrange(20), place)
            order.add(new)
            model.append(new)
        if chance.random() < 0.02:
            leaving = {each[1] for each in model if chance.random() < 0.5}
            order.remove_all(leaving)
            model = [each for each in model if each[1] not in leaving]
        assert list(order) == sorted(model)
        assert order.first() == min(model, default=None)


def test_what_is_not_there_cannot_be_removed() -> None:
    order = ScoreOrder()
    with pytest.raises(KeyError):
        order.remove(item(1, 1))
    order.add(item(1, 1))
    for absent in (item(0, 1), item(1, 2), item(2, 1)):
        with pytest.raises(KeyError):
            order.remove(absent)
    order.remove(item(1, 1))
    assert list(order) == []
    assert order.first() is None
