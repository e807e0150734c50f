"""One value, one encoding: everything else is refused by name."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.codec import (
    MAX_BLOCK_SIZE,
    MIN_TRANSACTION_SIZE,
    READ_AT_ONCE,
    decode_asset,
    decode_block,
    decode_block_in_slices,
    decode_coin,
    decode_header,
    decode_policy,
    decode_transaction,
    decode_undo,
    display_hash,
    encode,
    parse_hash,
)
from consensus.errors import ConsensusError, Rule
from consensus.params import NETWORKS, REGTEST
from consensus.state import BlockUndo, genesis_state
from consensus.types import Block, Coin, Core, Header, Opaque, OutPoint, Output, Threshold, Transaction, Witness
from tests.support.rules import coin, coinbase, key, lock, mine, outpoint, pay, spend

TX = spend({outpoint(7): coin(1, 100)}, [pay(2, 60), pay(3, 40)], memo=b"two")
BLOCK = mine(REGTEST, genesis_state(REGTEST), [TX])

uint32 = st.integers(0, 2**32 - 1)
bytes32 = st.binary(min_size=32, max_size=32)
outpoints = st.builds(OutPoint, bytes32, uint32)
outputs = st.builds(Output, st.integers(1, 2**63 - 1), bytes32, st.none() | bytes32)
policies = st.recursive(
    st.builds(Opaque, bytes32) | st.sampled_from([key(n) for n in range(1, 9)]),
    lambda child: st.builds(Threshold, st.integers(0, 5), st.lists(child, max_size=4).map(tuple)),
    max_leaves=6,
)
witnesses = st.builds(Witness, policies, st.lists(st.binary(max_size=80), max_size=3).map(tuple))
cores = st.builds(
    Core,
    st.integers(0, 2**63 - 1),
    st.lists(outpoints, max_size=4).map(tuple),
    st.lists(outputs, max_size=4).map(tuple),
    st.just(()),
    st.just(()),
    st.binary(max_size=96),
)
transactions = st.builds(Transaction, cores, st.lists(witnesses, max_size=3).map(tuple))
headers = st.builds(Header, uint32, bytes32, bytes32, uint32, uint32, uint32)
coins = st.builds(Coin, outputs, st.integers(0, 2**63 - 1), st.booleans())


def refused(raw: bytes) -> Rule:
    with pytest.raises(ConsensusError) as error:
        decode_transaction(raw)
    return error.value.rule


@given(transactions)
def test_a_transaction_survives_its_encoding(tx: Transaction) -> None:
    again = decode_transaction(tx.encoded)
    assert (again, again.txid, again.wtxid) == (tx, tx.txid, tx.wtxid)


@given(headers, st.lists(transactions, max_size=3))
def test_a_block_survives_its_encoding(header: Header, txs: list[Transaction]) -> None:
    block = Block(header, tuple(txs))
    assert decode_block(block.encoded) == block
    assert decode_header(header.encoded) == header


@given(st.lists(st.tuples(outpoints, coins), max_size=4))
def test_stored_records_survive_their_encoding(spent: list[tuple[OutPoint, Coin]]) -> None:
    undo = BlockUndo(tuple(spent))
    assert decode_undo(encode(undo)) == undo
    assert all(decode_coin(encode(each)) == each for _, each in spent)


def test_the_encoding_is_what_the_specification_draws() -> None:
    tx = Transaction(
        Core(1, (OutPoint(outpoint(1).txid, 5),), (Output(pay(1, 300).value, lock(1), None),), (), (), b"m"), ()
    )
    core = b"\x96\x01\x91\x92\xc4\x20" + outpoint(1).txid + b"\x05\x91\x93\xcd\x01\x2c\xc4\x20" + lock(1)
    assert tx.encoded == b"\x92" + core + b"\xc0\x90\x90\xc4\x01m" + b"\x90"
    assert BLOCK.encoded[:4] == b"\x92\xc4\x50" + BLOCK.header.encoded[:1]


def test_integers_out_of_range_are_refused() -> None:
    """A002: a negative amount, and everything above 2^63 - 1, is refused where it is decoded."""
    good = TX.encoded
    sixty = b"\x93\x3c\xc4\x20"
    assert good.count(sixty) == 1
    for bad in (-1, -(2**63), 2**63, 2**64 - 1, 0):
        assert refused(good.replace(sixty, b"\x93" + msgpack.packb(bad) + b"\xc4\x20")) is Rule.MALFORMED
    largest = good.replace(sixty, b"\x93" + msgpack.packb(2**63 - 1) + b"\xc4\x20")
    assert decode_transaction(largest).core.outputs[0].value == 2**63 - 1


@pytest.mark.parametrize(
    "value", [1.0, math.nan, True, False, "1", b"\x01", None, msgpack.ExtType(1, b"1"), [1], {}], ids=repr
)
def test_an_amount_of_another_type_is_refused(value: object) -> None:
    """A005 A029: float, bool, text, bytes, nil, extension, array and map in an integer's place."""
    raw = TX.encoded.replace(b"\x93\x3c\xc4\x20", b"\x93" + msgpack.packb(value) + b"\xc4\x20")
    assert refused(raw) is Rule.MALFORMED


def test_longer_forms_of_a_value_are_refused() -> None:
    """A026: the same numbers and bytes in more bytes than needed are another object."""
    good = TX.encoded
    for short, long in (
        (b"\x92\x96\x01", b"\x92\x96\xcc\x01"),
        (b"\x92\x96\x01", b"\x92\x96\xd0\x01"),
        (b"\x92\x96\x01", b"\x92\x96\xcd\x00\x01"),
        (b"\x92\x96\x01", b"\x92\x96\xcf" + bytes(7) + b"\x01"),
        (b"\x92\x96\x01", b"\x92\x96\xcb\x3f\xf0" + bytes(6)),
        (b"\x92\x96", b"\xdc\x00\x02\x96"),
        (b"\x92\x96", b"\x92\xdd" + bytes(3) + b"\x06"),
        (b"\xc4\x03two", b"\xc5\x00\x03two"),
        (b"\xc4\x03two", b"\xc6\x00\x00\x00\x03two"),
        (b"\xc4\x03two", b"\xa3two"),
    ):
        assert good.count(short) == 1
        assert refused(good.replace(short, long)) is Rule.MALFORMED


def test_of_all_published_encodings_only_the_shortest_is_ours(vectors: Path) -> None:
    """A026 A028 A029: each value of the published suite, in a memo's and in an amount's place."""
    suite = json.loads((vectors / "msgpack" / "msgpack-test-suite.json").read_text())
    seen = 0
    for case in (case for cases in suite.values() for case in cases):
        forms = [bytes.fromhex(form.replace("-", "")) for form in case["msgpack"]]
        for place, form in enumerate(forms):
            seen += 1
            raw = TX.encoded.replace(b"\xc4\x03two", form)
            # A text of few bytes has a bin among its forms, which is then the memo's own.
            is_memo = form[0] == 0xC4 and "binary" in case and place == 0
            assert is_memo == _decodes(raw), (case, form)
            raw = TX.encoded.replace(b"\x93\x3c\xc4\x20", b"\x93" + form + b"\xc4\x20")
            number = int(case["bignum"]) if "bignum" in case else case.get("number")
            fits = isinstance(number, int) and 1 <= number < 2**63 and form == msgpack.packb(number)
            assert fits == _decodes(raw), (case, form)
    assert seen > 150


def _decodes(raw: bytes) -> bool:
    try:
        decode_transaction(raw)
    except ConsensusError as error:
        assert error.rule is Rule.MALFORMED
        return False
    return True


def test_bytes_after_the_value_are_refused() -> None:
    """A027: trailing bytes, and two objects where one belongs."""
    assert refused(TX.encoded + b"\x00") is Rule.MALFORMED
    assert refused(TX.encoded + TX.encoded) is Rule.MALFORMED


def test_arrays_of_another_length_and_maps_are_refused() -> None:
    """A028: one element short, one too many, a map, an empty map."""
    core, witnesses = TX.core, TX.witnesses
    fields = [core.version, core.inputs, core.outputs, (), (), core.memo]
    for wrong in (fields[:-1], [*fields, b""], {}, {0: 1}):
        assert refused(encode((wrong, witnesses))) is Rule.MALFORMED
    assert refused(encode((core,))) is Rule.MALFORMED
    assert refused(encode((core, witnesses, ()))) is Rule.MALFORMED
    assert refused(encode((core, {}))) is Rule.MALFORMED


@pytest.mark.parametrize("length", [2**17, 2**24, 2**32 - 1])
@pytest.mark.parametrize("header", [b"\xdd", b"\xdf", b"\xc6", b"\xdb"])
def test_a_huge_announced_length_costs_nothing(header: bytes, length: int) -> None:
    """A030: array32, map32, bin32 and str32 with five bytes behind them, in every place; no memory is set aside."""
    bomb = header + length.to_bytes(4, "big") + b"12345"
    places = (b"", b"\x92", b"\x92\x96\x01", b"\x92\x96\x01\x90", b"\x92\x96\x01\x90\x90\x90\x90")
    tracemalloc.start()
    try:
        for place in places:
            assert refused(place + bomb) is Rule.MALFORMED
        with pytest.raises(ConsensusError) as error:
            decode_block(b"\x92\xc4\x50" + bytes(80) + bomb)
        assert error.value.rule is Rule.MALFORMED
        assert tracemalloc.get_traced_memory()[1] < 2**19
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("levels", [10, 11, 50, 300, 3_000, 100_000])
def test_deep_nesting_is_refused_whatever_its_depth(levels: int) -> None:
    """A031 A064: thresholds in thresholds; a lone policy may have 11 (23 arrays), a transaction 10."""
    policy = b"\x93\x05\x01\x91" * levels + encode(Opaque(lock(1)))
    raw = TX.encoded.replace(encode(key(1)), policy)
    if levels <= 10:
        assert decode_transaction(raw).encoded == raw
    else:
        assert refused(raw) is Rule.MALFORMED
    assert refused(b"\x91" * levels) is Rule.MALFORMED
    assert refused(b"\x81\x01" * levels) is Rule.MALFORMED
    if levels <= 11:
        assert encode(decode_policy(policy)) == policy
    else:
        with pytest.raises(ConsensusError):
            decode_policy(policy)


def test_a_map_with_unhashable_keys_is_refused() -> None:
    """A032: a map whose key is a map or an array."""
    for raw in (b"\x81\x80\x01", b"\x81\x90\x01", b"\x92\x81\x90\x01\x90"):
        assert refused(raw) is Rule.MALFORMED


def test_hashes_are_32_bytes_of_bin() -> None:
    """A033: str for bin, 31 and 33 bytes."""
    txid = outpoint(7).txid
    good = b"\xc4\x20" + txid
    for bad in (b"\xd9\x20" + txid, b"\xc4\x1f" + txid[:31], b"\xc4\x21" + txid + b"\0"):
        assert refused(TX.encoded.replace(good, bad)) is Rule.MALFORMED


@given(st.binary(max_size=96))
def test_any_bytes_are_a_memo(memo: bytes) -> None:
    """A034: consensus takes any bytes for a memo; who shows them must escape them."""
    tx = spend({outpoint(7): coin(1, 100)}, [pay(2, 60)], memo=memo)
    assert decode_transaction(tx.encoded).core.memo == memo


def test_every_truncation_is_refused() -> None:
    """A035: a valid object cut at any byte."""
    for raw, decode in ((TX.encoded, decode_transaction), (BLOCK.encoded, decode_block)):
        for size in range(len(raw)):
            with pytest.raises(ConsensusError) as error:
                decode(raw[:size])
            assert error.value.rule is Rule.MALFORMED


def test_every_flipped_bit_is_refused_or_gives_another_id() -> None:
    """A035: no single flip goes unnoticed, and none raises anything without a name."""
    for place in range(len(TX.encoded) * 8):
        raw = bytearray(TX.encoded)
        raw[place // 8] ^= 1 << place % 8
        try:
            other = decode_transaction(bytes(raw))
        except ConsensusError as error:
            assert error.rule is Rule.MALFORMED
        else:
            assert other.wtxid != TX.wtxid


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_named_rule(raw: bytes) -> None:
    for decode in (decode_transaction, decode_block, decode_policy, decode_header, decode_coin, decode_undo):
        try:
            decode(raw)
        except ConsensusError as error:
            assert error.rule is Rule.MALFORMED


@given(transactions, st.data())
def test_an_independent_decoder_agrees_on_what_is_canonical(tx: Transaction, data: st.DataObject) -> None:
    """A043: one byte changed: whatever we take, another library reads alike and writes back alike."""
    raw = bytearray(tx.encoded)
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_transaction(bytes(raw))
    except ConsensusError:
        return
    plain: Any = msgpack.unpackb(bytes(raw), raw=False, strict_map_key=False)
    assert msgpack.packb(plain) == bytes(raw)
    assert plain[0][2] == [[output.value, output.lock, output.asset] for output in decoded.core.outputs]


def test_a_block_above_4_mib_is_refused_before_it_is_decoded() -> None:
    """A017: the bound is on the bytes received."""
    with pytest.raises(ConsensusError) as error:
        decode_block(b"\xc1" * (MAX_BLOCK_SIZE + 1))
    assert error.value.rule is Rule.BLOCK_SIZE
    with pytest.raises(ConsensusError) as error:
        decode_block(b"\xc1" * MAX_BLOCK_SIZE)
    assert error.value.rule is Rule.MALFORMED


@pytest.mark.parametrize("size", [0, 79, 81])
def test_a_header_has_80_bytes(size: int) -> None:
    """A051: 79 or 81 bytes are no header, alone or in a block."""
    with pytest.raises(ConsensusError) as error:
        decode_header(bytes(size))
    assert error.value.rule is Rule.MALFORMED
    with pytest.raises(ConsensusError):
        decode_block(encode((bytes(size), (coinbase(1),))))


LONG_ONE = b"\xcd\x00\x01"
"""1 as uint 16, which msgspec reads."""
DEEP = b"\x93\x05\x01\x91" * 12 + encode(Opaque(lock(1)))
SAID: dict[str, tuple[Callable[[bytes], object], bytes, str]] = {
    "a transaction": (decode_transaction, b"", "what=transaction, why=Input data was truncated"),
    "a transaction in another form": (
        decode_transaction,
        TX.encoded[:2] + LONG_ONE + TX.encoded[3:],
        "what=transaction, why=not in the shortest form",
    ),
    "a transaction too deep": (
        decode_transaction,
        TX.encoded.replace(encode(key(1)), DEEP),
        "what=transaction, why=arrays nested deeper than 24",
    ),
    "a block": (decode_block, b"", "what=block, why=Input data was truncated"),
    "a block in another form": (
        decode_block,
        b"\xdc\x00\x02" + BLOCK.encoded[1:],
        "what=block, why=not in the shortest form",
    ),
    "a block with what is no transaction": (
        decode_block,
        encode((bytes(80), (1,))),
        "what=block, why=Expected `array`, got `int` - at `$[0]`",
    ),
    "a block with a transaction in another form": (
        decode_block,
        BLOCK.encoded.replace(TX.encoded, TX.encoded[:2] + LONG_ONE + TX.encoded[3:]),
        "what=block, why=not in the shortest form",
    ),
    "a block too deep": (
        decode_block,
        BLOCK.encoded.replace(encode(key(1)), DEEP),
        "what=block, why=arrays nested deeper than 24",
    ),
    "a header": (decode_header, bytes(79), "what=header, size=79"),
    "a policy": (decode_policy, b"", "what=policy, why=Input data was truncated"),
    "a policy in another form": (
        decode_policy,
        b"\xdc\x00\x02\x02\x01",
        "what=policy, why=not in the shortest form",
    ),
    "a policy too deep": (decode_policy, DEEP, "what=policy, why=arrays nested deeper than 24"),
    "an asset": (decode_asset, b"", "what=asset, why=Input data was truncated"),
    "a coin": (decode_coin, b"", "what=coin, why=Input data was truncated"),
    "an undo record": (decode_undo, b"", "what=undo, why=Input data was truncated"),
}


@pytest.mark.parametrize("what", SAID)
def test_what_is_malformed_is_named(what: str) -> None:
    decode, raw, said = SAID[what]
    with pytest.raises(ConsensusError) as error:
        decode(raw)
    assert error.value.rule is Rule.MALFORMED
    assert str(error.value) == f"malformed: {said}"


@pytest.mark.parametrize(("outside", "levels"), [(0, 10), (2, 9)])
def test_depth_is_counted_from_the_outermost_array(outside: int, levels: int) -> None:
    """A031: a transaction in a block lies two arrays deep, so a policy there may be one threshold less deep."""
    for more in (0, 1):
        policy = b"\x93\x05\x01\x91" * (levels + more) + encode(Opaque(lock(1)))
        raw = (BLOCK if outside else TX).encoded.replace(encode(key(1)), policy)
        decode: Callable[[bytes], Block | Transaction] = decode_block if outside else decode_transaction
        if more:
            with pytest.raises(ConsensusError):
                decode(raw)
        else:
            assert decode(raw).encoded == raw


def test_a_long_text_is_told_by_its_start() -> None:
    with pytest.raises(ValueError, match=r"^not 64 hex digits: 'x{80}'$"):
        parse_hash("x" * 81)


def test_hashes_are_shown_reversed() -> None:
    shown = display_hash(REGTEST.genesis_hash)
    assert parse_hash(shown) == REGTEST.genesis_hash
    assert bytes.fromhex(shown)[::-1] == REGTEST.genesis_hash
    for bad in ("", "00", "g" * 64, " " * 64, "0" * 63, "0" * 65, "\u0660" * 64):
        with pytest.raises(ValueError, match="hex"):
            parse_hash(bad)


def test_genesis_blocks_are_pinned() -> None:
    """Their ids and supplies are what every network is; a change here is another network."""
    assert {name: (display_hash(p.genesis_hash), p.total_supply) for name, p in NETWORKS.items()} == {
        "main": ("42e113b40d98607c05ee36c32fd56f6b0c26a44eff1faaab200ac87f625cb52a", 2_099_999_472_700_000),
        "test": ("004400784b8c7c29ec29b6b6483f6e95fc9e00b33b29ff1eb523d7860ae284c4", 2_099_999_472_700_000),
        "local": ("e67b3684029d1d034a76781ac963c8ef853fe3d7d1bfdd4243307d3ca7181d6e", 2_099_994_997_690_000),
        "regtest": ("15f64db2b3422231cbed7424a646e9f776ba31557a6aa496c1432b44b98c462a", 1_494_999_998_350),
    }


def test_a_spoilt_block_is_refused_or_another_one() -> None:
    """See `tests/fuzzing` and `tests/node/test_slices.py` for many more."""
    for raw in (BLOCK.encoded, REGTEST.genesis.encoded):
        for place in range(len(raw)):
            for spoilt in (raw[:place], raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]):
                try:
                    assert decode_block(spoilt).encoded == spoilt
                except ConsensusError as error:
                    assert error.rule is Rule.MALFORMED


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_block_is_read_whole_however_many_slices_it_takes(more: int) -> None:
    block = Block(REGTEST.genesis.header, tuple([coinbase(height) for height in range(READ_AT_ONCE + more)]))
    assert decode_block(block.encoded) == block
    assert sum(1 for _ in decode_block_in_slices(block.encoded)) == (more > 0)


def test_no_list_is_made_of_more_elements_than_a_block_has_room_for_transactions() -> None:
    """A030: four million elements of a byte each would take eighty bytes each before the first is found to be none."""
    least = Transaction(Core(0, (), (), (), (), b""), ())
    assert len(least.encoded) == MIN_TRANSACTION_SIZE
    most = MAX_BLOCK_SIZE // MIN_TRANSACTION_SIZE
    for count, said in ((most, "Expected `array`, got `int`"), (most + 1, f"Expected `array` of length <= {most}")):
        with pytest.raises(ConsensusError, match=said) as error:
            decode_block(b"\x92\xc4\x50" + bytes(80) + b"\xdd" + count.to_bytes(4, "big") + bytes(count))
        assert error.value.rule is Rule.MALFORMED
