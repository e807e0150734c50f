"""A peer that says what it is told to say: the other end of a link, for tests and for hostile peers.

It speaks the wire through a real `PeerConnection`, answers pings, and else only what `answers` say.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from consensus.params import Params
from consensus.types import Block
from p2p.connection import PeerConnection
from p2p.events import ConnectionClosed, Event, HandshakeCompleted, MessageReceived
from p2p.framing import ReceiveBudget
from p2p.messages import BlockMessage, GetData, GetHeaders, Headers, Hello, ItemKind, Message
from p2p.peer_link import PeerLink

_M = TypeVar("_M", bound=Message)


class ScriptedPeer:
    """One connection.

    Attributes:
        link: what the network is handed to connect.
        received: every message so far.
        ready, closed: whether the handshake is done; how it ended, if it has.
        answers: each is called with every message.
    """

    def __init__(
        self,
        params: Params,
        *,
        dialled: bool = True,
        port: int = 0,
        height: int = 0,
        nonce: int = 77,
        version: int = 1,
    ) -> None:
        """
        Args:
            dialled: whether it is we who dial.
            port, height: as its `Hello` claims.
            version: of the protocol that it speaks.
            nonce: of its `Hello`; two peers with one are one node.
        """
        hello = Hello(version, params.genesis_hash, nonce.to_bytes(8, "big"), "scripted", port, height)
        connection = PeerConnection(
            hello, dialled=dialled, budget=ReceiveBudget(), random_bytes=random.Random(nonce).randbytes
        )
        self.link = PeerLink(connection, self._on_event)
        self.received: list[Message] = []
        self.closed: ConnectionClosed | None = None
        self.ready = False
        self.answers: list[Callable[[Message], None]] = []

    def _on_event(self, _link: PeerLink, event: Event) -> None:
        match event:
            case HandshakeCompleted():
                self.ready = True
            case MessageReceived(message):
                self.received.append(message)
                for answer in self.answers:
                    answer(message)
            case ConnectionClosed():
                self.closed = event
            case _:
                pass

    def send(self, *messages: Message) -> None:
        """Say something; dropped after the end."""
        for message in messages:
            self.link.send(message)

    def got(self, kind: type[_M]) -> list[_M]:
        """Return the messages of one kind that came."""
        return [message for message in self.received if isinstance(message, kind)]

    def serve_headers(self, blocks: Sequence[Block]) -> None:
        """Answer each GetHeaders with those of these blocks that follow what it names."""

        def answer(message: Message) -> None:
            if isinstance(message, GetHeaders):
                hashes: list[bytes] = [block.hash for block in blocks]
                known = next((hashes.index(h) + 1 for h in message.locator if h in hashes), 0)
                self.send(Headers(tuple(block.header.encoded for block in blocks[known : known + 2000])))

        self.answers.append(answer)

    def serve_blocks(self, raws: Mapping[bytes, bytes]) -> None:
        """Answer each GetData for a block that is in `raws`; say nothing to others."""

        def answer(message: Message) -> None:
            if isinstance(message, GetData):
                for item in message.items:
                    if item.kind is ItemKind.BLOCK and item.hash in raws:
                        self.send(BlockMessage(raws[item.hash]))

        self.answers.append(answer)
