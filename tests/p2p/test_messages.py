from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p import limits
from p2p.errors import ProtocolError, Violation
from p2p.messages import (
    ALL_MESSAGES,
    BY_NUMBER,
    Addr,
    BlockMessage,
    BlockTransactions,
    GetAddr,
    GetBlockTransactions,
    GetData,
    GetHeaders,
    Headers,
    Hello,
    Inv,
    Item,
    ItemKind,
    Message,
    NotFound,
    Outline,
    PeerAddress,
    Ping,
    Pong,
    TxMessage,
    decode_body,
)
from tests.support.peers import GENESIS, hello

hashes = st.binary(min_size=32, max_size=32)
nonces = st.binary(min_size=8, max_size=8)
seconds = st.integers(0, 2**32 - 1)
ports = st.integers(0, 65535)
agents = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=limits.MAX_AGENT)
items = st.lists(st.builds(Item, st.sampled_from(ItemKind), hashes), min_size=1, max_size=20).map(tuple)
addresses = st.builds(PeerAddress, st.binary(min_size=16, max_size=16), ports, seconds)
any_message: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, seconds, hashes, nonces, agents, ports, seconds),
    st.builds(Ping, nonces),
    st.builds(Pong, nonces),
    st.just(GetAddr()),
    st.builds(Addr, st.lists(addresses, min_size=1, max_size=20).map(tuple)),
    st.builds(Inv, items),
    st.builds(GetData, items),
    st.builds(NotFound, items),
    st.builds(TxMessage, st.binary(max_size=300)),
    st.builds(GetHeaders, st.lists(hashes, min_size=1, max_size=limits.MAX_LOCATOR).map(tuple), hashes),
    st.builds(Headers, st.lists(st.binary(min_size=80, max_size=80), max_size=20).map(tuple)),
    st.builds(BlockMessage, st.binary(max_size=300)),
    st.builds(
        Outline,
        st.binary(min_size=80, max_size=80),
        st.binary(min_size=1, max_size=300),
        st.lists(hashes, max_size=20).map(tuple),
    ),
    st.builds(
        GetBlockTransactions,
        hashes,
        st.lists(st.integers(0, limits.MAX_OUTLINE - 1), min_size=1, max_size=20).map(tuple),
    ),
    st.builds(BlockTransactions, hashes, st.lists(st.binary(min_size=1, max_size=99), max_size=9).map(tuple)),
)
H = bytes(32)
HEADER = bytes(80)
HOST = bytes(16)
JSONLIKE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(max_size=40) | st.text(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)  # fmt: skip


def refusal(number: int, body: bytes) -> ProtocolError:
    with pytest.raises(ProtocolError) as refused:
        decode_body(number, body)
    return refused.value


@given(any_message)
def test_every_message_comes_back_from_its_bytes(message: Message) -> None:
    assert decode_body(message.number, message.encode_body()) == message


@given(st.sampled_from(sorted(BY_NUMBER)), st.binary(max_size=200) | JSONLIKE.map(msgspec.msgpack.encode))
def test_any_body_is_a_message_or_malformed(number: int, body: bytes) -> None:
    """A077, A031: garbage, wrong types and deep nesting end in one named refusal."""
    try:
        message = decode_body(number, body)
    except ProtocolError as error:
        assert error.violation is Violation.MALFORMED
    else:
        assert isinstance(message, Hello) or message.encode_body() == body


@given(any_message, st.integers(0, 1 << 16), st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_means_something_else(message: Message, place: int, bit: int) -> None:
    body = bytearray(message.encode_body())
    if not body:
        return
    body[place % len(body)] ^= 1 << bit
    try:
        changed = decode_body(message.number, bytes(body))
    except ProtocolError as error:
        assert error.violation is Violation.MALFORMED
    else:
        assert changed != message or isinstance(message, Hello)


@given(any_message)
def test_a_truncated_body_is_malformed(message: Message) -> None:
    if isinstance(message, TxMessage | BlockMessage):
        return  # their bytes are for the rules of consensus to judge
    body = message.encode_body()
    for size in {0, 1, len(body) // 2, len(body) - 1} - {len(body)}:
        refusal(message.number, body[:size])


def largest_parts() -> tuple[bytes, ...]:
    """As many transactions as may be asked for, and as much as a block can hold."""
    some = 10
    rest, more = divmod(limits.MAX_BLOCK_BODY - some * limits.MAX_TRANSACTION_BODY, limits.MAX_OUTLINE - some)
    small = [bytes(rest)] * (limits.MAX_OUTLINE - some - 1)
    return (*[bytes(limits.MAX_TRANSACTION_BODY)] * some, *small, bytes(rest + more))


def fullest(kind: type[Message]) -> Message:
    """The largest message of a kind that its fields allow."""
    item = Item(ItemKind.BLOCK, H)
    full: dict[type[Message], Message] = {
        Hello: Hello(2**32 - 1, H, bytes(8), "~" * limits.MAX_AGENT, 65535, 2**32 - 1),
        Ping: Ping(bytes(8)),
        Pong: Pong(bytes(8)),
        GetAddr: GetAddr(),
        Addr: Addr((PeerAddress(HOST, 65535, 2**32 - 1),) * limits.MAX_ADDRESSES),
        Inv: Inv((item,) * limits.MAX_INVENTORY),
        GetData: GetData((item,) * limits.MAX_INVENTORY),
        NotFound: NotFound((item,) * limits.MAX_INVENTORY),
        TxMessage: TxMessage(bytes(limits.MAX_TRANSACTION_BODY)),
        Outline: Outline(HEADER, bytes(limits.MAX_OUTLINE_COINBASE), (H,) * limits.MAX_OUTLINE),
        GetBlockTransactions: GetBlockTransactions(H, (limits.MAX_OUTLINE - 1,) * limits.MAX_OUTLINE),
        BlockTransactions: BlockTransactions(H, largest_parts()),
        GetHeaders: GetHeaders((H,) * limits.MAX_LOCATOR, H),
        Headers: Headers((HEADER,) * limits.MAX_HEADERS),
        BlockMessage: BlockMessage(bytes(limits.MAX_BLOCK_BODY)),
    }
    return full[kind]


@pytest.mark.parametrize("kind", ALL_MESSAGES)
def test_the_bound_of_a_body_is_what_its_fields_allow(kind: type[Message]) -> None:
    body = fullest(kind).encode_body()
    assert decode_body(kind.number, body) == fullest(kind)
    spare = kind.max_body - len(body)
    if kind is Hello:
        assert len(body) < 200  # the rest is for later versions
    elif kind is BlockTransactions:
        assert 0 <= spare < 5 * limits.MAX_OUTLINE  # small ones have shorter heads
    else:
        assert 0 <= spare <= 3


@pytest.mark.parametrize("kind", ALL_MESSAGES)
def test_only_what_must_be_asked_for_is_past_the_unsolicited_bound(kind: type[Message]) -> None:
    asked_for = {TxMessage, BlockMessage, BlockTransactions, Headers}
    assert (kind.max_body > limits.UNSOLICITED_BODY) == (kind in asked_for)


@pytest.mark.parametrize(
    ("number", "fields"),
    [
        (Inv.number, [[[1, H]] * (limits.MAX_INVENTORY + 1)]),
        (GetData.number, [[[1, H]] * (limits.MAX_INVENTORY + 1)]),
        (NotFound.number, [[[1, H]] * (limits.MAX_INVENTORY + 1)]),
        (Headers.number, [[HEADER] * (limits.MAX_HEADERS + 1)]),
        (GetHeaders.number, [[H] * (limits.MAX_LOCATOR + 1), H]),
        (Addr.number, [[[HOST, 1, 1]] * (limits.MAX_ADDRESSES + 1)]),
        (Outline.number, [HEADER, b"c", [H] * (limits.MAX_OUTLINE + 1)]),
        (Outline.number, [HEADER, bytes(limits.MAX_OUTLINE_COINBASE + 1), []]),
        (GetBlockTransactions.number, [H, [0] * (limits.MAX_OUTLINE + 1)]),
        (BlockTransactions.number, [H, [b"t"] * (limits.MAX_OUTLINE + 1)]),
    ],
)
def test_a_list_of_one_too_many_is_refused_whole(number: int, fields: list[object]) -> None:
    """A090, A092: inv, getdata, headers, locator with limit + 1 entries."""
    assert refusal(number, msgspec.msgpack.encode(fields)).violation is Violation.MALFORMED


@pytest.mark.parametrize(
    ("number", "fields"),
    [
        (Inv.number, [[]]), (GetData.number, [[]]), (NotFound.number, [[]]), (Addr.number, [[]]),
        (GetHeaders.number, [[], H]),
        (Inv.number, [[[0, H]]]), (Inv.number, [[[4, H]]]), (Inv.number, [[[True, H]]]), (Inv.number, [[[1.0, H]]]),
        (Inv.number, [[[1, H[1:]]]]), (Inv.number, [[[1, H + b"x"]]]), (Inv.number, [[[1, "x" * 32]]]),
        (Inv.number, [[[1]]]),
        (Inv.number, [[[1, H, 0]]]), (Inv.number, []), (Inv.number, [[[1, H]], 0]), (Inv.number, {}),
        (Inv.number, None),
        (Headers.number, [[HEADER[1:]]]), (Headers.number, [[HEADER + b"x"]]),
        (Ping.number, [bytes(7)]), (Ping.number, [bytes(9)]), (Ping.number, [0]), (GetAddr.number, [0]),
        (Addr.number, [[[HOST, 65536, 0]]]), (Addr.number, [[[HOST, -1, 0]]]), (Addr.number, [[[HOST, 1, 2**32]]]),
        (Addr.number, [[[bytes(4), 1, 0]]]),
    ],
)  # fmt: skip
def test_a_field_of_another_shape_is_malformed(number: int, fields: object) -> None:
    assert refusal(number, msgspec.msgpack.encode(fields)).violation is Violation.MALFORMED


@pytest.mark.parametrize(
    "agent",
    ["x" * (limits.MAX_AGENT + 1), "\x1b[31mred", "line\nbreak", "end\n", "nul\0", "ü", "\u202eright", 5, None, b"x"],
)
def test_an_agent_is_short_and_plain_or_refused(agent: object) -> None:
    """A082: a long agent, escape codes."""
    body = msgspec.msgpack.encode([1, GENESIS, bytes(8), agent, 1, 1])
    assert refusal(Hello.number, body).violation is Violation.MALFORMED


def test_a_hello_of_a_later_version_may_say_more() -> None:
    """A082: future protocol. Unknown fields are skipped, however deep."""
    ours = hello(version=7)
    fields = msgspec.msgpack.decode(ours.encode_body())
    assert decode_body(Hello.number, msgspec.msgpack.encode([*fields, "more", [1, {"a": 2.5}]])) == ours
    deep = b"\x97" + ours.encode_body()[1:] + b"\x91" * 800 + b"\xc0"
    assert decode_body(Hello.number, deep) == ours
    refusal(Hello.number, msgspec.msgpack.encode(fields[:-1]))


@pytest.mark.parametrize(
    "body",
    [
        b"\xdc\x00\x01\xc4\x08" + bytes(8),  # array16 for one field
        b"\x91\xc5\x00\x08" + bytes(8),  # bin16 for eight bytes
        b"\x91\xc4\x08" + bytes(8) + b"\xc0",  # trailing bytes
    ],
)
def test_a_body_has_one_form(body: bytes) -> None:
    assert decode_body(Ping.number, b"\x91\xc4\x08" + bytes(8)) == Ping(bytes(8))
    assert refusal(Ping.number, body).violation is Violation.MALFORMED


def test_numbers_are_one_byte_and_never_shared() -> None:
    assert len(BY_NUMBER) == len(ALL_MESSAGES)
    assert all(1 <= number <= limits.MAX_MESSAGE_NUMBER for number in BY_NUMBER)
    assert {kind.__name__: kind.number for kind in ALL_MESSAGES} == {
        "Hello": 1, "Ping": 2, "Pong": 3, "GetAddr": 8, "Addr": 9, "Inv": 16, "GetData": 17, "NotFound": 18,
        "TxMessage": 19, "Outline": 20, "GetBlockTransactions": 21, "BlockTransactions": 22, "GetHeaders": 24,
        "Headers": 25, "BlockMessage": 26,
    }  # fmt: skip
