"""Against the wire itself: bytes that are no messages, messages at the wrong time, and silence."""

from __future__ import annotations

from p2p import limits
from p2p.framing import encode_frame
from p2p.messages import BlockMessage, GetData, Hello, Item, ItemKind, Pong
from simnet.hostile.behaviour import Behaviour, hostile
from simnet.hostile.link import HostileLink


@hostile("garbage")
class Garbage(Behaviour):
    """Random bytes, before the handshake or after it (A077)."""

    def connected(self, link: HostileLink) -> None:
        """Half of the time it does not even say Hello."""
        self.links.append(link)
        if self.rng.random() < 0.5:
            link.send(self.hello())
        link.send_raw(self.rng.randbytes(1_000))


@hostile("silent")
class Silent(Behaviour):
    """Takes a slot and never says Hello (A078)."""

    def connected(self, link: HostileLink) -> None:
        """Say nothing."""
        self.links.append(link)


@hostile("slow-loris")
class SlowLoris(Behaviour):
    """Begins the largest message that nobody has asked for, and sends one byte of it a second (A078)."""

    def ready(self, link: HostileLink) -> None:
        """Promise much."""
        link.send_raw(b"\x92\x7f\xc5" + (limits.UNSOLICITED_BODY - 1).to_bytes(2, "big"))

    def tick(self, link: HostileLink) -> None:
        """Deliver little."""
        link.send_raw(b"\x00")


@hostile("oversized")
class Oversized(Behaviour):
    """Announces a body of 4 GiB (A076)."""

    def ready(self, link: HostileLink) -> None:
        """The header alone."""
        link.send_raw(b"\x92" + bytes((BlockMessage.number,)) + b"\xc6\xff\xff\xff\xff")


@hostile("malformed")
class Malformed(Behaviour):
    """Well-framed bodies that are no messages: cut, too long, of another type (A028, A076)."""

    def ready(self, link: HostileLink) -> None:
        """Another number and another fault each time."""
        number = self.rng.choice((1, 2, 3, 9, 16, 17, 18, 24, 25))
        body = self.rng.choice((b"", b"\x80", b"\x91\x91\x92\x01", b"\x93\x01\x02", b"\xdc\x00\x01\xc0"))
        link.send_raw(encode_frame(number, body))


@hostile("ping-flood")
class PingFlood(Behaviour):
    """A hundred pings a second (A104)."""

    def tick(self, link: HostileLink) -> None:
        """Each wants an answer."""
        link.send_raw(encode_frame(2, b"\x91\xc4\x08" + bytes(8)) * 100)


@hostile("wrong-pong")
class WrongPong(Behaviour):
    """Answers pings that nobody sent (A104)."""

    answers_pings = False

    def ready(self, link: HostileLink) -> None:
        """To look near, perhaps."""
        link.send(Pong(bytes(8)))


@hostile("no-pong")
class NoPong(Behaviour):
    """Answers no ping: half dead (A085, A104)."""

    answers_pings = False


@hostile("unknown-flood")
class UnknownFlood(Behaviour):
    """Messages of a number that nobody knows, by the thousand (A077)."""

    def tick(self, link: HostileLink) -> None:
        """Skipped, each of them, until it is enough."""
        link.send_raw(encode_frame(111, bytes(100)) * 300)


@hostile("second-hello")
class SecondHello(Behaviour):
    """Introduces itself again, as somebody else (A080)."""

    def ready(self, link: HostileLink) -> None:
        """With another nonce."""
        link.send(Hello(1, self.adversary.params.genesis_hash, self.rng.randbytes(8), "twin", 1, 2**32 - 1))


@hostile("wrong-network")
class WrongNetwork(Behaviour):
    """Has another genesis block (A077)."""

    def hello(self) -> Hello:
        """Of no network."""
        return Hello(1, self.random_hash(), self.rng.randbytes(8), "stranger", 0, 0)


@hostile("reconnect-storm")
class ReconnectStorm(Behaviour):
    """Connects, and cuts the link as soon as it stands (A085)."""

    def ready(self, link: HostileLink) -> None:
        """And comes again: see `coalition`."""
        link.abort()


@hostile("slow-reader")
class SlowReader(Behaviour):
    """Asks for many blocks and reads none of them (A083, A091)."""

    answers_pings = False

    def tick(self, link: HostileLink) -> None:
        """A thousand at a time, without reading."""
        chain = self.adversary.chain
        link.stop_reading()
        if chain is not None and link.backlog < limits.WRITE_HIGH_WATER:
            entry = chain.index.at(self.rng.randrange(chain.tip.height + 1))
            if entry is not None:
                link.send(GetData((Item(ItemKind.BLOCK, entry.hash),) * limits.MAX_INVENTORY))
