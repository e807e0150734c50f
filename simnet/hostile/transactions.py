"""Against the mempool: payments that are invalid, that never come, or that nobody can read."""

from __future__ import annotations

from consensus.types import Transaction, Witness
from p2p.messages import GetData, Inv, Item, ItemKind, Message, NotFound, TxMessage
from simnet.hostile.behaviour import Behaviour, hostile
from simnet.hostile.link import HostileLink


@hostile("bad-signature")
class BadSignature(Behaviour):
    """Sends payments with a wrong signature (A096): each costs the victim a verification."""

    def tick(self, link: HostileLink) -> None:
        """One a second, until it is dropped."""
        payment = self.adversary.own_payment()
        if payment is None:
            return
        witness = payment.witnesses[0]
        signature = bytearray(witness.satisfactions[0])
        signature[self.rng.randrange(1, 32)] ^= 1 << self.rng.randrange(8)
        forged = Witness(witness.policy, (bytes(signature), *witness.satisfactions[1:]))
        link.send(TxMessage(Transaction(payment.core, (forged, *payment.witnesses[1:])).encoded))


@hostile("unreadable-transaction")
class UnreadableTransaction(Behaviour):
    """Sends a payment with a byte too many (A027)."""

    def tick(self, link: HostileLink) -> None:
        """Not canonical, whatever else it is."""
        payment = self.adversary.own_payment()
        if payment is not None:
            link.send(TxMessage(payment.encoded + b"\x00"))


@hostile("withheld-transactions")
class WithheldTransactions(Behaviour):
    """Announces a payment before anybody, and never delivers it (A093): it jams that payment, if it can."""

    def tick(self, link: HostileLink) -> None:
        """One that is real, and that only others will deliver."""
        payment = self.adversary.own_payment()
        if payment is not None:
            link.send(Inv((Item(ItemKind.TX, payment.wtxid),)))

    def message(self, link: HostileLink, message: Message) -> None:
        """Asked for it, it lets the victim wait."""
        if isinstance(message, GetData):
            self.totals["asked"] += len(message.items)


@hostile("has-nothing")
class HasNothing(WithheldTransactions):
    """Announces payments, and blocks of others, and then has none of them."""

    def tick(self, link: HostileLink) -> None:
        """What is there to be had, but not here."""
        super().tick(link)
        link.send(Inv((Item(ItemKind.BLOCK, self.tip.hash),)))

    def message(self, link: HostileLink, message: Message) -> None:
        """Deny it."""
        if isinstance(message, GetData):
            self.totals["denied"] += len(message.items)
            link.send(NotFound(message.items))
