"""The messages between peers: each its number, its fields and their bounds, and its body as bytes.

A message travels as `[number, body]` (see `framing`). The body is the MessagePack array of the fields below, in
order, in canonical form; `BlockMessage` and `TxMessage` have the object itself as body, so that what is hashed is what
was received. Numbers leave gaps: 23 and 27..31 for packages.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from p2p import limits
from p2p.errors import ProtocolError, Violation

Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
Nonce = Annotated[bytes, Meta(min_length=8, max_length=8)]
RawHeader = Annotated[bytes, Meta(min_length=80, max_length=80)]
RawHost = Annotated[bytes, Meta(min_length=16, max_length=16)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Height = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Seconds = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Agent = Annotated[str, Meta(max_length=limits.MAX_AGENT, pattern=r"\A[ -~]*\Z")]


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Base of all messages. The number travels beside the fields, not in them."""

    number: ClassVar[int] = 0
    """1..127, never used twice."""
    max_body: ClassVar[int] = 0
    """Bytes; a larger body is refused on its header alone."""

    def encode_body(self) -> bytes:
        """Return the body. Bounds are not checked here: msgspec checks them where a body is decoded."""
        return _encoder.encode(self)


class Hello(Message, frozen=True, array_like=True, forbid_unknown_fields=False, gc=False):
    """Who I am: the first message of each side, and sent once.

    The dialling side sends it at once, the listening side as its answer to the other's. Fields past those known are
    ignored, so that a later version may add some.
    """

    number: ClassVar[int] = 1
    max_body: ClassVar[int] = limits.HANDSHAKE_BODY

    version: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    """The newest version of this protocol that the sender speaks."""
    genesis: Hash
    """Id of the sender's genesis block: it names the network."""
    nonce: Nonce
    """Random, one for all connections of a node's run: a node that meets its own is talking to itself."""
    agent: Agent
    """Program and version, printable ASCII; shown, never acted on."""
    port: Port
    """Where the sender listens for peers; 0 if it does not."""
    height: Height
    """Of the sender's best chain; a hint for display, never acted on."""


class Ping(Message, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Are you there? Answered with `Pong` and the same nonce."""

    number: ClassVar[int] = 2
    max_body: ClassVar[int] = 11

    nonce: Nonce


class Pong(Message, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The answer to `Ping`. One that answers no open ping ends the connection."""

    number: ClassVar[int] = 3
    max_body: ClassVar[int] = 11

    nonce: Nonce


class GetAddr(Message, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Ask for addresses of other nodes. Answered with at most one `Addr`."""

    number: ClassVar[int] = 8
    max_body: ClassVar[int] = 1


class PeerAddress(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Where a node listens, as told by a peer: never more than a hint."""

    host: RawHost
    """IPv6, or IPv4 as ::ffff:a.b.c.d."""
    port: Port
    seen: Seconds
    """UNIX time when somebody last saw the node."""


class Addr(Message, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Addresses of nodes. Past its allowance (`limits.ADDRESS_RATE`) a message is cut, the peer not blamed."""

    number: ClassVar[int] = 9
    max_body: ClassVar[int] = 4 + 27 * limits.MAX_ADDRESSES

    addresses: Annotated[tuple[PeerAddress, ...], Meta(min_length=1, max_length=limits.MAX_ADDRESSES)]


class ItemKind(IntEnum):
    """What a hash in an inventory names."""

    TX = 1
    """A transaction by its wtxid."""
    BLOCK = 2
    """A block by its id."""
    TX_BY_TXID = 3
    """A transaction by its txid: to ask for a missing parent, never to announce."""


class Item(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One thing that a peer has or wants."""

    kind: ItemKind
    hash: Hash


Items = Annotated[tuple[Item, ...], Meta(min_length=1, max_length=limits.MAX_INVENTORY)]
_ITEMS_BODY: Final = 4 + 36 * limits.MAX_INVENTORY


class Inv(Message, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """I have these; ask if you want them."""

    number: ClassVar[int] = 16
    max_body: ClassVar[int] = _ITEMS_BODY

    items: Items


class GetData(Message, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Send me these. Each is answered with `TxMessage` or `BlockMessage`, or is listed in a `NotFound`."""

    number: ClassVar[int] = 17
    max_body: ClassVar[int] = _ITEMS_BODY

    items: Items


class NotFound(Message, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """I do not have these that you asked for: ask somebody else now, instead of waiting."""

    number: ClassVar[int] = 18
    max_body: ClassVar[int] = _ITEMS_BODY

    items: Items


class TxMessage(Message, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A transaction. The body is its encoding, untouched and not yet looked at."""

    number: ClassVar[int] = 19
    max_body: ClassVar[int] = limits.MAX_TRANSACTION_BODY

    raw: bytes

    def encode_body(self) -> bytes:
        """Return the transaction's own bytes."""
        return self.raw


class Outline(Message, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A new block, told by what its Merkle root is made of: whoever has its transactions needs nothing more.

    It proves itself: the root over the coinbase's wtxid and `wtxids` is the header's. Its sender vouches for the work
    and for the list, and not for the block being valid.
    """

    number: ClassVar[int] = 20
    max_body: ClassVar[int] = 1 + 82 + 3 + limits.MAX_OUTLINE_COINBASE + 3 + 34 * limits.MAX_OUTLINE

    header: RawHeader
    coinbase: Annotated[bytes, Meta(min_length=1, max_length=limits.MAX_OUTLINE_COINBASE)]
    """The first transaction, encoded."""
    wtxids: Annotated[tuple[Hash, ...], Meta(max_length=limits.MAX_OUTLINE)]
    """Of all others, in their order."""


Place = Annotated[int, Meta(ge=0, lt=limits.MAX_OUTLINE)]


class GetBlockTransactions(Message, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Send me these transactions of a block whose outline you sent. Answered with `BlockTransactions`."""

    number: ClassVar[int] = 21
    max_body: ClassVar[int] = 1 + 34 + 3 + 3 * limits.MAX_OUTLINE

    block: Hash
    places: Annotated[tuple[Place, ...], Meta(min_length=1, max_length=limits.MAX_OUTLINE)]
    """In the outline's `wtxids`, ascending."""


class BlockTransactions(Message, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The transactions that were asked for, in the order of asking; none at all if the sender does not have them."""

    number: ClassVar[int] = 22
    max_body: ClassVar[int] = 1 + 34 + 3 + limits.MAX_BLOCK_BODY + 5 * limits.MAX_OUTLINE

    block: Hash
    transactions: Annotated[
        tuple[Annotated[bytes, Meta(min_length=1, max_length=limits.MAX_TRANSACTION_BODY)], ...],
        Meta(max_length=limits.MAX_OUTLINE),
    ]
    """Each encoded, and not yet looked at."""


class GetHeaders(Message, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Ask for the headers after the newest block of `locator` that is on the peer's best chain.

    Answered with `Headers`, empty if there are none. If no block of the locator is known, the answer starts after
    genesis.
    """

    number: ClassVar[int] = 24
    max_body: ClassVar[int] = 4 + 34 * (limits.MAX_LOCATOR + 1)

    locator: Annotated[tuple[Hash, ...], Meta(min_length=1, max_length=limits.MAX_LOCATOR)]
    """Newest first: ten in a row, then twice as far apart at each step, genesis last."""
    stop: Hash
    """The last block wanted, included; 32 zero bytes for as many as fit."""


class Headers(Message, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Headers in chain order, each the parent of the next; also how a new block is announced."""

    number: ClassVar[int] = 25
    max_body: ClassVar[int] = 4 + 82 * limits.MAX_HEADERS

    headers: Annotated[tuple[RawHeader, ...], Meta(max_length=limits.MAX_HEADERS)]


class BlockMessage(Message, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A block. The body is its encoding, untouched and not yet looked at."""

    number: ClassVar[int] = 26
    max_body: ClassVar[int] = limits.MAX_BLOCK_BODY

    raw: bytes

    def encode_body(self) -> bytes:
        """Return the block's own bytes."""
        return self.raw


ALL_MESSAGES: Final[tuple[type[Message], ...]] = (
    Hello, Ping, Pong, GetAddr, Addr, Inv, GetData, NotFound, TxMessage, Outline, GetBlockTransactions,
    BlockTransactions, GetHeaders, Headers, BlockMessage,
)  # fmt: skip
BY_NUMBER: Final[dict[int, type[Message]]] = {message.number: message for message in ALL_MESSAGES}

_encoder = msgspec.msgpack.Encoder()
_decoders: Final = {message.number: msgspec.msgpack.Decoder(message) for message in ALL_MESSAGES}


def decode_body(number: int, body: bytes) -> Message:
    """Decode the body of a known message and check its fields.

    Args:
        number: a key of `BY_NUMBER`.
        body: within the message's `max_body`, which framing has checked.

    Raises:
        ProtocolError: `MALFORMED`, with the message's name and what was wrong.
    """
    kind = BY_NUMBER[number]
    if kind is TxMessage or kind is BlockMessage:
        return TxMessage(body) if kind is TxMessage else BlockMessage(body)
    try:
        message = _decoders[number].decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # msgspec does not wrap what Python says of bad UTF-8, and skips Hello's unknown fields however deep they nest.
        raise ProtocolError(Violation.MALFORMED, message=kind.__name__, why=str(error)) from None
    # One value has one encoding. msgspec reads longer forms too; a later Hello may carry fields we drop.
    if kind is not Hello and _encoder.encode(message) != body:
        raise ProtocolError(Violation.MALFORMED, message=kind.__name__, why="not in canonical form")
    return message
