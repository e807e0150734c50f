"""Values of consensus: what is worked out of them once."""

from __future__ import annotations

from consensus.types import Transaction, _Once
from tests.support.rules import core, outpoint, pay


def test_what_is_worked_out_once_is_found_in_the_object() -> None:
    worked: list[object] = []

    class Thing:
        @_Once
        def nine(self) -> int:
            """Three threes."""
            worked.append(self)
            return 9

    thing, other = Thing(), Thing()
    assert (thing.nine, thing.nine, other.nine) == (9, 9, 9)
    assert worked == [thing, other]
    assert vars(thing) == {"nine": 9}
    assert vars(Thing)["nine"].__doc__ == "Three threes."


def test_the_ids_of_a_transaction_are_worked_out_once() -> None:
    tx = Transaction(core([outpoint(1)], [pay(1, 1)]), ())
    assert tx.txid is tx.txid
    assert tx.wtxid is tx.wtxid
    assert tx.encoded is tx.encoded
    assert Transaction(tx.core, ()) == tx
