"""Floods of each message that an honest peer may send, as fast as the victim reads."""

from __future__ import annotations

from consensus.types import Core, OutPoint, Transaction, TxId
from p2p import limits
from p2p.messages import (
    Addr,
    GetAddr,
    GetData,
    GetHeaders,
    Inv,
    Item,
    ItemKind,
    Message,
    NotFound,
    PeerAddress,
    TxMessage,
)
from simnet.hostile.behaviour import Behaviour, hostile
from simnet.hostile.link import HostileLink

ROOM = 256 * 1024
"""Bytes that the victim may leave unread before it is sent more."""


BURST_SECONDS, LULL_SECONDS = 6, 60
"""A flood is at its height for so long on each link, and then comes for a second now and then: an endless one would
only show, at great length, what the first seconds have shown."""


class _Flood(Behaviour):
    """Sends messages as fast as the victim reads, at most so many a second."""

    a_second = 5

    def tick(self, link: HostileLink) -> None:
        """Send a second's worth."""
        if link.age > BURST_SECONDS and link.age % LULL_SECONDS:
            return
        for _ in range(self.a_second):
            if link.backlog < ROOM and not link.gone:
                link.send(self.make())

    def make(self) -> Message:
        """Return the next one."""
        raise NotImplementedError


@hostile("inv-flood")
class InvFlood(_Flood):
    """Announces transactions that do not exist (A089, A093)."""

    def make(self) -> Message:
        """A thousand of them."""
        return Inv(tuple(Item(ItemKind.TX, self.random_hash()) for _ in range(limits.MAX_INVENTORY)))


@hostile("block-inv-flood")
class BlockInvFlood(_Flood):
    """Announces blocks that do not exist, each of which makes the victim ask for headers."""

    def make(self) -> Message:
        """A thousand of them."""
        return Inv(tuple(Item(ItemKind.BLOCK, self.random_hash()) for _ in range(limits.MAX_INVENTORY)))


@hostile("getdata-flood")
class GetDataFlood(_Flood):
    """Asks for what nobody has (A091)."""

    def make(self) -> Message:
        """A thousand items."""
        kinds = (ItemKind.TX, ItemKind.BLOCK, ItemKind.TX_BY_TXID)
        return GetData(tuple(Item(self.rng.choice(kinds), self.random_hash()) for _ in range(limits.MAX_INVENTORY)))


@hostile("getheaders-flood")
class GetHeadersFlood(_Flood):
    """Asks for all headers from genesis, again and again (A092)."""

    a_second = 100

    def make(self) -> Message:
        """With a long locator of nothing."""
        return GetHeaders(tuple(self.random_hash() for _ in range(limits.MAX_LOCATOR)), bytes(32))


@hostile("getaddr-flood")
class GetAddrFlood(_Flood):
    """Wants the address table, all the time (A105)."""

    def make(self) -> Message:
        """Costs the asker one byte."""
        return GetAddr()


@hostile("addr-flood")
class AddrFlood(_Flood):
    """Tells of a thousand nodes that are not there (A107, A108, A109)."""

    def make(self) -> Message:
        """All of one network group, seen just now."""
        now = self.adversary.now
        hosts = [bytes(10) + b"\xff\xff\x0a" + self.rng.randbytes(3) for _ in range(limits.MAX_ADDRESSES)]
        return Addr(tuple(PeerAddress(host, self.rng.randrange(1024, 65536), now) for host in hosts))


@hostile("notfound-flood")
class NotFoundFlood(_Flood):
    """Does not have what nobody asked it for."""

    def make(self) -> Message:
        """A thousand items."""
        return NotFound(tuple(Item(ItemKind.BLOCK, self.random_hash()) for _ in range(limits.MAX_INVENTORY)))


@hostile("orphan-flood")
class OrphanFlood(_Flood):
    """Sends payments whose parents do not exist (A095)."""

    a_second = 20

    def make(self) -> Message:
        """Well formed, and unlike any other."""
        payment = self.adversary.own_payment()
        if payment is None:
            return Inv((Item(ItemKind.TX, self.random_hash()),))
        core = payment.core
        parent = OutPoint(TxId(self.random_hash()), 0)
        orphan = Transaction(
            Core(core.version, (parent,), core.outputs, (), (), self.rng.randbytes(8)), payment.witnesses[:1]
        )
        return TxMessage(orphan.encoded)
