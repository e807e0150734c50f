"""What any bytes must come to, in the three places where strangers' bytes are read first.

Each target takes bytes, says in a word or two what they came to, and raises `Broken` if something does not hold.
`scripts/fuzz codec|framing|policy` calls it with what coverage leads it to; `test_corpora` with the inputs that are
kept in tests/corpora.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import msgspec

from consensus.codec import (
    MAX_BLOCK_SIZE,
    decode_asset,
    decode_block,
    decode_coin,
    decode_header,
    decode_policy,
    decode_transaction,
    decode_undo,
    encode,
)
from consensus.errors import BODY_RULES, ConsensusError, Rule
from consensus.params import REGTEST
from consensus.policy_text import MAX_TEXT, PolicyTextError, format_policy, parse_policy
from consensus.spend_policy import MAX_POLICY_NODES, check_policy, policy_id, walk
from consensus.types import Opaque
from consensus.validation import check_body, check_transaction
from p2p import limits
from p2p.errors import ProtocolError, Violation
from p2p.framing import BudgetExhausted, Frame, FrameReader, ReceiveBudget, encode_frame
from p2p.messages import BY_NUMBER, Hello, decode_body
from tests.reference import blocks, headers, policies, transactions
from tests.reference.encoding import Refused, decode
from tests.reference.records import Network


class Broken(Exception):
    """Something that always holds does not: what was found is worth a test of its own."""


def broken(what: str) -> NoReturn:
    """Say what does not hold."""
    raise Broken(what)


# Codec


def _transaction(raw: bytes) -> bytes:
    tx = decode_transaction(raw)
    check_transaction(REGTEST, tx)
    return encode(tx)


def _block(raw: bytes) -> bytes:
    block = decode_block(raw)
    check_body(block)
    return encode((block.header.encoded, block.transactions))


def _reference_transaction(raw: bytes) -> object:
    tx = transactions.decode_transaction(raw)
    transactions.check_alone(REFERENCE, tx)
    return tx


def _reference_policy(raw: bytes) -> object:
    policies.check_shape(decode(raw))
    return raw


REFERENCE = Network(
    name="regtest",
    spacing=REGTEST.spacing,
    half_life=None,
    start_bits=REGTEST.start_bits,
    limit_bits=REGTEST.limit_bits,
    first_subsidy=REGTEST.initial_subsidy,
    interval=REGTEST.subsidy_interval,
    total_supply=REGTEST.total_supply,
    maturity=REGTEST.coinbase_maturity,
)

READERS: tuple[tuple[Callable[[bytes], bytes], Callable[[bytes], object] | None], ...] = (
    (_transaction, _reference_transaction),
    (_block, blocks.read_block),
    (lambda raw: decode_header(raw).encoded, headers.read_header),
    (lambda raw: encode(decode_policy(raw)), _reference_policy),
    (lambda raw: encode(decode_asset(raw)), None),
    (lambda raw: encode(decode_coin(raw)), None),
    (lambda raw: encode(decode_undo(raw)), None),
)
"""Each reads a kind of value and returns its encoding; beside it the same of the second implementation. Records that a
node stores have no second one, nor one form only: they are never hashed."""


def again(read: Callable[[bytes], bytes], encoded: bytes) -> bytes | None:
    """Return the encoding of what an encoding is read as."""
    try:
        return read(encoded)
    except ConsensusError:
        return None


def codec(data: bytes) -> str:
    """The first byte chooses what the others are read as.

    Whatever is taken encodes to the very bytes that were read, and the second implementation takes it too; whatever is
    not is refused by a rule, and by the second implementation.
    """
    kind = data[0] % len(READERS) if data else 0
    read, second = READERS[kind]
    raw = data[1:]
    ours = None
    try:
        encoded = read(raw)
    except ConsensusError as error:
        ours = error.rule
        if len(raw) <= MAX_BLOCK_SIZE and ours is Rule.BLOCK_SIZE:
            broken("a small block is too large")
        if read is _block and ours not in BODY_RULES:
            broken(f"{ours} is no rule of a body")
    else:
        if second is not None and encoded != raw:
            broken("what was read has another encoding")
        if second is None and again(read, encoded) != encoded:
            broken("what was read does not survive its encoding")
    said = f"{kind} {ours or 'accept'}"
    if second is None:
        return said
    try:
        second(raw)
    except Refused as refusal:
        theirs: str | None = refusal.rule
    else:
        theirs = None
    if (ours is None) != (theirs is None):
        broken(f"consensus says {ours or 'accept'}, reference {theirs or 'accept'}")
    return said


# Framing

SMALL_BUDGET = 1 << 16
"""Bytes that all half-received values may claim, here: so small that some input exhausts it."""


def _frames(stream: bytes, piece: int) -> tuple[list[Frame], str]:
    """Return the frames of a stream that arrives in pieces, and how it ended."""
    budget = ReceiveBudget(SMALL_BUDGET, SMALL_BUDGET // 2)
    wanted: list[tuple[int, int]] = []

    def check_head(number: int, size: int) -> None:
        kind = BY_NUMBER.get(number)
        if size > (limits.UNKNOWN_BODY if kind is None else kind.max_body):
            raise ProtocolError(Violation.TOO_LARGE, number=number, size=size)
        wanted.append((number, size))

    reader = FrameReader(budget)
    frames: list[Frame] = []
    end = "open"
    try:
        for at in range(0, len(stream), piece):
            reader.feed(stream[at : at + piece])
            while (frame := reader.next_frame(check_head)) is not None:
                frames.append(frame)
                if budget.used:
                    broken("a value that is whole still claims room")
            if budget.used > (wanted[-1][1] if wanted else 0):
                broken("more room is claimed than the one value has")
    except ProtocolError as error:
        end = str(error.violation)
    except BudgetExhausted:
        end = "exhausted"
    if [(frame.number, len(frame.body)) for frame in frames] != wanted[: len(frames)]:
        broken("a frame came that nobody was asked about")
    reader.discard()
    if budget.used:
        broken("what was dropped still claims room")
    return frames, end


def framing(data: bytes) -> str:
    """The first byte is the size of the pieces in which the others arrive; 0 is all at once.

    However a stream is cut, it gives the same frames and ends the same way, but for a lack of room; the frames encode
    to the stream's beginning; and each body is its message's one encoding, or refused as malformed.
    """
    piece, stream = (data[0], data[1:]) if data else (0, b"")
    whole, end = _frames(stream, max(1, len(stream)))
    cut, cut_end = _frames(stream, piece or max(1, len(stream)))
    if cut_end != "exhausted" != end and (cut, cut_end) != (whole, end):
        broken(f"cut in pieces of {piece} it gives {len(cut)} frames and {cut_end}; whole {len(whole)} and {end}")
    if cut != whole[: len(cut)] and end != "exhausted":
        broken("cut in pieces it gives other frames")
    told = b"".join(encode_frame(*frame) for frame in whole)
    if not stream.startswith(told) or _frames(told, max(1, len(told)))[0] != whole:
        broken("the frames encode to something else")
    return " ".join([end, *[_message(frame) for frame in whole][:1]])


def _message(frame: Frame) -> str:
    if frame.number not in BY_NUMBER:
        return "unknown"
    try:
        message = decode_body(frame.number, frame.body)
    except ProtocolError as error:
        if error.violation is not Violation.MALFORMED:
            broken(f"a body is refused as {error.violation}")
        return f"{frame.number} malformed"
    again = message.encode_body()
    # A later Hello may carry fields that are dropped here.
    if again != frame.body and not isinstance(message, Hello):
        broken("a message has two encodings")
    if decode_body(frame.number, again) != message:
        broken("a message does not survive its encoding")
    return str(frame.number)


# Policies


def policy(data: bytes) -> str:
    """A text, in UTF-8 where it is that. What is read can be written, encoded and named, and stays the same."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        read = parse_policy(text)
    except PolicyTextError as error:
        if len(str(error)) > MAX_TEXT:
            broken("a mistake takes more room than a policy")
        return str(error).partition(" at character")[0][:40]
    if isinstance(read, Opaque):
        broken("nobody can spend what is opaque as a whole")
    if len(check_policy(read)) > MAX_POLICY_NODES or len(list(walk(read))) > MAX_POLICY_NODES:
        broken("more nodes than there may be")
    written = format_policy(read)
    if len(written) > MAX_TEXT or parse_policy(written) != read or format_policy(parse_policy(written)) != written:
        broken("a policy does not survive its text")
    if decode_policy(encode(read)) != read:
        broken("a policy does not survive its encoding")
    if policy_id(read) != policies.policy_id(msgspec.msgpack.decode(encode(read))):
        broken("a policy has two ids")
    return type(read).__name__


TARGETS: dict[str, Callable[[bytes], str]] = {"codec": codec, "framing": framing, "policy": policy}
