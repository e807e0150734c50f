from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p import limits
from p2p.connection import TRANSITIONS, Cause, PeerConnection, State
from p2p.errors import LocalProtocolError, Violation
from p2p.events import CloseReason, HandshakeCompleted, LatencyMeasured, MessageIgnored
from p2p.framing import ReceiveBudget, encode_frame
from p2p.messages import (
    Addr,
    BlockMessage,
    GetAddr,
    GetData,
    GetHeaders,
    Headers,
    Hello,
    Inv,
    Item,
    ItemKind,
    NotFound,
    PeerAddress,
    Ping,
    Pong,
    TxMessage,
)
from tests.support.peers import GENESIS, ConnectionPair, closing, connection, frame, hello, messages, ready_pair

H = bytes(32)
BLOCK = Item(ItemKind.BLOCK, H)
TX = Item(ItemKind.TX, H)
LARGE = bytes(limits.UNSOLICITED_BODY + 1)


def accepting(now: float = 0.0) -> PeerConnection:
    """An accepted connection that waits for a Hello."""
    side = connection(2)
    side.open(now)
    return side


def violation(side: PeerConnection) -> Violation:
    """What the peer did wrong, by the last event."""
    end = closing(side.events())
    assert end.reason is CloseReason.VIOLATION
    assert end.error is not None
    assert side.state is State.CLOSED
    return end.error.violation


def broken_by(data: bytes, side: PeerConnection | None = None) -> Violation:
    side = side or accepting()
    side.receive_data(data, 0.0)
    return violation(side)


# --- handshake --------------------------------------------------------------------------------------------------


def test_two_connections_shake_hands_and_measure_their_latency() -> None:
    pair = ConnectionPair()
    assert pair.acceptor.data_to_send() == b""  # the listening side says nothing first
    pair.exchange()
    for side, other_nonce in ((pair.dialler, 2), (pair.acceptor, 1)):
        assert pair.take(side) == [HandshakeCompleted(hello(other_nonce), 1), LatencyMeasured(0.0)]
        assert side.state is State.READY


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 50])
def test_the_conversation_is_the_same_in_pieces_of_any_size(piece: int) -> None:
    """A087: the whole conversation, cut into pieces."""
    pair = ConnectionPair()
    pair.exchange(piece)
    pair.dialler.send(Inv((TX,) * 40))
    pair.dialler.send(GetAddr())
    pair.acceptor.send(Headers(()))
    pair.exchange(piece)
    assert messages(pair.take(pair.acceptor)) == [Inv((TX,) * 40), GetAddr()]
    assert messages(pair.take(pair.dialler)) == [Headers(())]


@given(st.lists(st.integers(1, 400), max_size=30))
def test_a_conversation_split_anywhere_gives_the_same_events(cuts: list[int]) -> None:
    """A087: byte-stream split at random offsets."""
    stream = frame(hello(1)) + frame(Inv((TX,))) + frame(GetAddr()) + frame(Headers(()))
    whole = accepting()
    whole.receive_data(stream, 0.0)
    split = accepting()
    at = 0
    for cut in cuts:
        split.receive_data(stream[at : at + cut], 0.0)
        at += cut
    split.receive_data(stream[at:], 0.0)
    assert split.events() == whole.events()


def test_a_message_before_the_handshake_is_refused_on_its_header() -> None:
    """A080: message before the handshake."""
    assert broken_by(b"\x92\x10\xc4\x05") is Violation.NOT_YET
    assert broken_by(frame(Ping(bytes(8)))) is Violation.NOT_YET
    assert broken_by(encode_frame(99, b"")) is Violation.NOT_YET


def test_a_second_hello_is_refused() -> None:
    """A080: second handshake; A080: handshake after an hour."""
    pair = ready_pair()
    pair.wait(3600)
    pair.acceptor.receive_data(frame(hello(1)), pair.now)
    assert violation(pair.acceptor) is Violation.SECOND_HELLO


def test_a_hello_past_one_kibibyte_is_refused_on_its_header() -> None:
    assert broken_by(b"\x92\x01\xc5" + (limits.HANDSHAKE_BODY + 1).to_bytes(2, "big")) is Violation.TOO_LARGE
    side = accepting()
    side.receive_data(b"\x92\x01\xc5" + limits.HANDSHAKE_BODY.to_bytes(2, "big"), 0.0)
    assert side.events() == []


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n", b"\x00", b"\xff" * 10, b"\x16\x03\x01\x02\x00", b"{}"])
def test_garbage_before_the_handshake_is_dropped(garbage: bytes) -> None:
    """A077: garbage before the handshake."""
    assert broken_by(garbage) is Violation.BAD_FRAME


def test_another_network_is_refused_and_both_sides_learn_it() -> None:
    """A077: wrong genesis id."""
    stranger = PeerConnection(hello(3, genesis=bytes(32)), dialled=True, budget=ReceiveBudget(), random_bytes=bytes)
    pair = ConnectionPair(dialler=stranger)
    pair.exchange()
    for side in pair.events:
        error = closing(pair.take(side)).error
        assert error is not None
        assert error.violation is Violation.WRONG_NETWORK
        assert "genesis=" in str(error)


def test_an_old_version_is_refused_and_a_later_one_is_spoken_down_to() -> None:
    """A082: old and future protocol."""
    assert broken_by(frame(hello(1, version=0))) is Violation.OLD_VERSION
    side = accepting()
    side.receive_data(frame(hello(1, version=9)), 0.0)
    assert side.events() == [HandshakeCompleted(hello(1, version=9), 1)]  # the lower one: this side says 1


def test_a_node_that_meets_its_own_nonce_is_talking_to_itself() -> None:
    """A081: self-connection by nonce; both ends learn it, so the dialling one can forget the address."""
    pair = ConnectionPair(dialler=connection(7, dialled=True), acceptor=connection(7))
    pair.exchange()
    assert closing(pair.take(pair.acceptor)).reason is CloseReason.SELF
    assert closing(pair.take(pair.dialler)).reason is CloseReason.SELF


def test_a_handshake_never_begun_ends_at_its_deadline() -> None:
    """A078: a handshake never begun."""
    side = accepting(now=5.0)
    deadline = 5.0 + limits.HANDSHAKE_SECONDS
    assert side.next_timer() == deadline
    side.handle_timer(deadline - 0.001)
    assert side.events() == []
    side.handle_timer(deadline)
    assert violation(side) is Violation.HANDSHAKE_TIMEOUT
    assert side.next_timer() is None


def test_a_hello_dripping_in_does_not_move_the_deadline() -> None:
    """A078: one byte a second."""
    side = accepting()
    for second, byte in enumerate(frame(hello(1))):
        side.receive_data(bytes((byte,)), float(second))
        side.handle_timer(float(second))
        if side.is_closed:
            break
    assert violation(side) is Violation.HANDSHAKE_TIMEOUT


# --- messages ---------------------------------------------------------------------------------------------------


def test_a_message_that_is_not_its_fields_names_what_was_wrong() -> None:
    pair = ready_pair()
    pair.acceptor.receive_data(encode_frame(Inv.number, b"\x91\x91\x92\x05\xc4\x20" + H), 0.0)
    error = closing(pair.acceptor.events()).error
    assert error is not None
    assert error.violation is Violation.MALFORMED
    assert "Inv" in str(error)


def test_what_came_before_a_violation_still_counts() -> None:
    pair = ready_pair()
    pair.acceptor.receive_data(frame(Inv((TX,))) + b"\x00" + frame(Inv((BLOCK,))), 0.0)
    assert messages(events := pair.acceptor.events()) == [Inv((TX,))]
    assert closing(events).reason is CloseReason.VIOLATION


def test_an_unknown_message_is_skipped_up_to_a_bound() -> None:
    """A077: unknown message number; the 101st in an instant is a flood."""
    pair = ready_pair()
    for _ in range(int(limits.UNKNOWN_BURST)):
        pair.acceptor.receive_data(encode_frame(99, b"abc"), 0.0)
    assert pair.acceptor.events() == [MessageIgnored(99, 3)] * int(limits.UNKNOWN_BURST)
    assert broken_by(encode_frame(99, b""), pair.acceptor) is Violation.FLOOD


def test_an_unknown_message_past_its_size_is_refused() -> None:
    head = encode_frame(99, LARGE)[:7]
    assert broken_by(head, ready_pair().acceptor) is Violation.TOO_LARGE


@pytest.mark.parametrize("kind", [Hello, Ping, Pong])
def test_a_node_cannot_send_what_is_the_connections_own_business(kind: type) -> None:
    message = hello(1) if kind is Hello else kind(bytes(8))
    with pytest.raises(LocalProtocolError):
        ready_pair().dialler.send(message)


def test_a_node_cannot_send_before_the_handshake_nor_past_a_bound() -> None:
    with pytest.raises(LocalProtocolError):
        accepting().send(GetAddr())
    with pytest.raises(LocalProtocolError):
        ready_pair().dialler.send(TxMessage(bytes(limits.MAX_TRANSACTION_BODY + 1)))


def test_a_closed_connection_takes_everything_and_does_nothing() -> None:
    pair = ready_pair()
    pair.dialler.close(detail="enough")
    assert closing(pair.dialler.events()).detail == "enough"
    pair.dialler.send(GetAddr())
    pair.dialler.receive_data(b"\x00", 0.0)
    pair.dialler.handle_timer(1e9)
    pair.dialler.close()
    pair.dialler.link_lost()
    assert pair.dialler.events() == []
    assert pair.dialler.data_to_send() == b""


def test_a_lost_link_ends_the_connection_without_blame() -> None:
    """A085: reset in the middle of a frame; its part of the budget comes back."""
    budget = ReceiveBudget()
    side = connection(2, budget=budget)
    side.open(0.0)
    side.receive_data(frame(hello(1))[:20], 0.0)
    assert budget.used > 0
    side.link_lost("reset")
    assert closing(side.events()).reason is CloseReason.LOST
    assert budget.used == 0


def test_every_state_and_cause_is_in_the_table_or_a_mistake_of_ours() -> None:
    assert set(TRANSITIONS) == set(State)
    assert all(state is State.CLOSED or Cause.ENDED in table for state, table in TRANSITIONS.items())
    with pytest.raises(LocalProtocolError):
        accepting().open(0.0)


# --- bodies that must be asked for -------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [BlockMessage(LARGE), TxMessage(LARGE), Headers((bytes(80),) * 1000)])
def test_a_large_body_nobody_asked_for_is_refused_on_its_header(message: BlockMessage | TxMessage | Headers) -> None:
    assert broken_by(frame(message)[:7], ready_pair().acceptor) is Violation.UNSOLICITED


@pytest.mark.parametrize("size", [0, limits.UNSOLICITED_BODY])
def test_a_small_body_needs_no_asking(size: int) -> None:
    pair = ready_pair()
    pair.dialler.send(BlockMessage(bytes(size)))
    pair.exchange()
    assert messages(pair.take(pair.acceptor)) == [BlockMessage(bytes(size))]


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (GetData((BLOCK,)), BlockMessage(LARGE)),
        (GetData((TX,)), TxMessage(LARGE)),
        (GetData((Item(ItemKind.TX_BY_TXID, H),)), TxMessage(LARGE)),
        (GetHeaders((H,), H), Headers((bytes(80),) * 1000)),
    ],
)
def test_each_asking_allows_one_large_body(
    ask: GetData | GetHeaders, answer: BlockMessage | TxMessage | Headers
) -> None:
    pair = ready_pair()
    pair.acceptor.send(ask)
    pair.dialler.send(answer)
    pair.exchange(50_000)
    assert messages(pair.take(pair.acceptor)) == [answer]
    assert broken_by(frame(answer)[:7], pair.acceptor) is Violation.UNSOLICITED


def test_asking_for_a_transaction_allows_no_large_block() -> None:
    pair = ready_pair()
    pair.acceptor.send(GetData((TX,) * 3))
    assert broken_by(frame(BlockMessage(LARGE))[:7], pair.acceptor) is Violation.UNSOLICITED


def test_not_found_takes_the_allowance_back() -> None:
    pair = ready_pair()
    pair.acceptor.send(GetData((BLOCK,)))
    pair.dialler.send(NotFound((BLOCK, BLOCK)))
    pair.exchange()
    assert broken_by(frame(BlockMessage(LARGE))[:7], pair.acceptor) is Violation.UNSOLICITED


def test_a_block_past_the_limit_is_refused_even_if_asked_for() -> None:
    """A076: bin header of limit + 1."""
    pair = ready_pair()
    pair.acceptor.send(GetData((BLOCK,)))
    head = b"\x92\x1a\xc6" + (limits.MAX_BLOCK_BODY + 1).to_bytes(4, "big")
    assert broken_by(head, pair.acceptor) is Violation.TOO_LARGE


def test_a_taken_budget_ends_a_connection_without_blame() -> None:
    """A076: the budget is the node's; the peer that came last did nothing wrong."""
    budget = ReceiveBudget(total=2048, small_share=2048)
    first, second = connection(2, budget=budget), connection(3, budget=budget)
    for side in (first, second):
        side.open(0.0)
        side.receive_data(b"\x92\x01\xc5\x04\x00", 0.0)
    third = connection(4, budget=budget)
    third.open(0.0)
    third.receive_data(b"\x92\x01\xc5\x04\x00", 0.0)
    assert closing(third.events()).reason is CloseReason.OVERLOADED
    first.close()
    assert budget.used == 1024


# --- deadlines --------------------------------------------------------------------------------------------------


def test_a_frame_never_finished_ends_at_its_deadline() -> None:
    """A078: a frame never finished, one byte a second. Other messages do not help: there are none in a frame."""
    pair = ready_pair()
    begun = 1.0
    stream = frame(Inv((TX,) * 100))
    pair.acceptor.receive_data(stream[:1], begun)
    for second in range(1, 20):
        pair.acceptor.receive_data(stream[second : second + 1], begun + second)
    deadline = begun + limits.FRAME_SECONDS + (len(stream) - 5) / limits.FRAME_BYTES_PER_SECOND
    assert pair.acceptor.next_timer() == pytest.approx(deadline)
    pair.acceptor.handle_timer(deadline - 0.01)
    assert not pair.acceptor.is_closed
    pair.acceptor.handle_timer(deadline + 0.01)
    assert violation(pair.acceptor) is Violation.FRAME_TIMEOUT


def test_each_frame_has_its_own_deadline() -> None:
    pair = ready_pair()
    stream = frame(Inv((TX,)))
    pair.acceptor.receive_data(stream[:5], 0.0)
    pair.acceptor.receive_data(stream[5:] + stream[:5], 15.0)
    pair.acceptor.handle_timer(limits.FRAME_SECONDS + 1)
    assert not pair.acceptor.is_closed
    pair.acceptor.handle_timer(15.0 + limits.FRAME_SECONDS + 1)
    assert pair.acceptor.is_closed


def test_a_large_body_is_given_time_for_its_size() -> None:
    pair = ready_pair()
    pair.acceptor.send(GetData((BLOCK,)))
    pair.acceptor.receive_data(b"\x92\x1a\xc6" + limits.MAX_BLOCK_BODY.to_bytes(4, "big"), 0.0)
    pair.acceptor.handle_timer(limits.FRAME_SECONDS + 63.9)
    assert not pair.acceptor.is_closed
    pair.acceptor.handle_timer(limits.FRAME_SECONDS + 64)
    assert violation(pair.acceptor) is Violation.FRAME_TIMEOUT


def test_idle_peers_ping_each_other_and_stay() -> None:
    pair = ready_pair()
    pair.wait(3600)
    for side in pair.events:
        events = pair.take(side)
        assert events == [LatencyMeasured(0.0)] * int(3600 / limits.PING_SECONDS)


def test_a_peer_that_never_answers_a_ping_is_dropped_at_the_deadline() -> None:
    """A104: pong never; A085: half-open link."""
    side = accepting()
    side.receive_data(frame(hello(1)), 0.0)
    side.handle_timer(limits.PONG_SECONDS - 0.001)
    assert not side.is_closed
    side.receive_data(frame(Inv((TX,))), limits.PONG_SECONDS - 0.001)  # talking does not replace the answer
    side.handle_timer(limits.PONG_SECONDS)
    assert violation(side) is Violation.NO_PONG


def test_a_pong_may_queue_behind_bodies_that_were_asked_for() -> None:
    side = accepting()
    side.receive_data(frame(hello(1)), 0.0)
    side.send(GetData((BLOCK,)))
    side.receive_data(frame(BlockMessage(b"x")), 100.0)
    side.receive_data(frame(BlockMessage(b"x")), 110.0)  # nobody asked for this one
    side.handle_timer(100.0 + limits.PONG_SECONDS - 0.001)
    assert not side.is_closed
    side.handle_timer(100.0 + limits.PONG_SECONDS)
    assert side.is_closed


def test_a_pong_for_no_ping_is_refused() -> None:
    """A104: wrong pong; latency cannot be faked by answering before the question."""
    assert broken_by(frame(Pong(bytes(8))), ready_pair().acceptor) is Violation.BAD_PONG
    waiting = accepting()
    waiting.receive_data(frame(hello(1)) + frame(Pong(b"guessing")), 0.0)
    assert violation(waiting) is Violation.BAD_PONG
    assert waiting.latency is None


def test_latency_is_the_time_a_ping_took() -> None:
    pair = ConnectionPair()
    pair.dialler.handle_timer(0.0)
    pair.acceptor.receive_data(pair.dialler.data_to_send(), 1.0)
    pair.dialler.receive_data(pair.acceptor.data_to_send(), 2.0)
    pair.acceptor.receive_data(pair.dialler.data_to_send(), 3.5)
    assert pair.acceptor.latency == 2.5


def test_a_ping_flood_ends_the_connection_with_few_answers() -> None:
    """A104: ping flood."""
    pair = ready_pair()
    pair.acceptor.receive_data(frame(Ping(bytes(8))) * 1000, 0.0)
    assert violation(pair.acceptor) is Violation.FLOOD
    assert len(pair.acceptor.data_to_send()) <= limits.PING_BURST * len(frame(Pong(bytes(8))))


def test_asking_for_addresses_again_and_again_is_a_flood() -> None:
    pair = ready_pair()
    pair.acceptor.receive_data(frame(GetAddr()) * int(limits.GET_ADDR_BURST), 0.0)
    assert len(messages(pair.acceptor.events())) == int(limits.GET_ADDR_BURST)
    assert broken_by(frame(GetAddr()), pair.acceptor) is Violation.FLOOD


def test_addresses_past_the_allowance_are_cut_off_without_blame() -> None:
    """A107: a thousand addresses a thousand times; at most the burst and a tenth a second get through."""
    pair = ready_pair()
    thousand = Addr(tuple(PeerAddress(number.to_bytes(16, "big"), 7340, 1) for number in range(1000)))
    taken = 0
    for second in range(100):
        for _ in range(10):
            pair.acceptor.receive_data(frame(thousand), float(second))
        taken += sum(len(m.addresses) for m in messages(pair.acceptor.events()) if isinstance(m, Addr))
    assert taken == int(limits.ADDRESS_START + 99 * limits.ADDRESS_RATE)
    pair.acceptor.send(GetAddr())
    pair.acceptor.receive_data(frame(thousand), 100.0)
    assert messages(pair.acceptor.events()) == [thousand]
    assert not pair.acceptor.is_closed


def test_a_clock_that_jumps_refunds_nothing() -> None:
    """A192: no token-bucket refund, no negative ages."""
    pair = ready_pair()
    pair.acceptor.receive_data(encode_frame(99, b"") * 50, 1000.0)
    pair.acceptor.receive_data(encode_frame(99, b"") * 50, 0.0)
    assert broken_by(encode_frame(99, b""), pair.acceptor) is Violation.FLOOD


# --- the machine as a whole -------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 127), st.binary(max_size=60)), max_size=30), st.booleans())
def test_no_sequence_of_frames_raises(frames: list[tuple[int, bytes]], after_handshake: bool) -> None:
    """A035: no exception of an unnamed kind, whatever a peer says."""
    side = ready_pair().acceptor if after_handshake else accepting()
    for moment, (number, body) in enumerate(frames):
        side.receive_data(encode_frame(number, body), float(moment))
        side.handle_timer(float(moment))
    events = side.events()
    assert side.is_closed == any(type(event).__name__ == "ConnectionClosed" for event in events)


def test_ten_thousand_connections_leave_nothing_behind() -> None:
    """A085: reconnect storm. All they share is the budget, and it is whole afterwards."""
    budget = ReceiveBudget()
    for number in range(10_000):
        side = connection(2, budget=budget)
        side.open(float(number))
        side.receive_data(frame(hello(1))[: number % 80], float(number))
        side.link_lost()
    assert budget.used == 0


def test_our_own_hello_is_within_what_we_accept() -> None:
    assert len(hello(1, genesis=GENESIS, agent="x" * limits.MAX_AGENT).encode_body()) <= limits.HANDSHAKE_BODY
