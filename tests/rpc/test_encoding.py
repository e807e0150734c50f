"""Amounts in JSON: exact in both directions."""

from __future__ import annotations

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpc.encoding import Dure, decode, decode_any, encode
from rpc.errors import ErrorCode, RpcError
from rpc.schema import ChainTip, MempoolFees

SUPPLY = 2_099_999_472_700_000


@given(st.integers(-SUPPLY, SUPPLY))
def test_an_amount_comes_back_as_it_went(grain: int) -> None:
    text = encode(Dure(grain)).decode()
    assert decode(text.encode(), Dure) == Dure(grain)
    assert decode_any(text.encode()) == Decimal(grain).scaleb(-8)
    assert len(text.partition(".")[2]) == 8
    assert isinstance(json.loads(text), float)


@pytest.mark.parametrize(
    ("text", "grain"),
    [("0.1", 10_000_000), ("1e-8", 1), ("5", 500_000_000), ('"0.3"', 30_000_000), ("1.50000000000", 150_000_000)],
)
def test_a_number_or_a_text_is_an_amount(text: str, grain: int) -> None:
    assert decode(text.encode(), Dure) == Dure(grain)


@pytest.mark.parametrize("text", ["0.000000001", "true", "null", '"x"', "[]", "1e400", "1e11", '"1e3"', '"+1"', '" 1"'])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(text.encode(), Dure)


def test_a_result_comes_back_as_it_went() -> None:
    fees = MempoolFees(modified=Dure(1), base=Dure(1), ancestor=Dure(2), descendant=Dure(10**17))
    assert decode(encode(fees), MempoolFees) == fees
    tip = ChainTip(height=1, hash="00", branchlen=0, status="active")
    assert decode(encode([tip]), list[ChainTip]) == [tip]


def test_a_newer_nodes_further_fields_are_passed_over() -> None:
    raw = b'{"height":1,"hash":"00","branchlen":0,"status":"active","colour":"red"}'
    assert decode(raw, ChainTip).height == 1


def test_a_type_without_a_form_is_a_mistake() -> None:
    with pytest.raises(NotImplementedError):
        encode(object())


def test_an_error_shows_its_words_and_its_code() -> None:
    assert str(RpcError(-8, "Block height out of range")) == "Block height out of range (-8)"
    assert RpcError(-8, "x").code is ErrorCode.INVALID_PARAMETER
    assert RpcError(-9999, "x").code == -9999
