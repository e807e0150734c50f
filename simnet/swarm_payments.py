"""The payments of a swarm: what payers were told is made, and whether the chain has it in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable
from typing import NamedTuple

from consensus.codec import display_hash
from consensus.errors import ConsensusError
from consensus.types import Attestation, Reissue, SupplyKind, Transaction
from node.relay_policy import PolicyError
from simnet.errors import InvariantBroken
from simnet.invariants import ModelState
from simnet.sim_node import SimNode
from simnet.simulation import Simulation
from wallet.assets.naming import carries_assets
from wallet.errors import WalletError
from wallet.results import Sent


class Acknowledged(NamedTuple):
    """A payment that its payer was told is made."""

    transaction: Transaction
    payer: str

    @property
    def kind(self) -> str:
        """What to call it where it is counted."""
        return "an asset payment" if carries_assets(self.transaction) else "a payment"


def excuse(tx: Transaction, state: ModelState) -> str | None:
    """Return why no block can have a transaction any more, or not now; None if nothing keeps it out.

    Its coins come first. Attestations and what rests on them depend on no coin, but on the asset's record as it is.
    """
    if any(outpoint not in state.coins for outpoint in tx.core.inputs):
        return "was lost with its coins"
    for issuance in tx.core.issuances:
        match issuance:
            case Attestation(asset=name, sequence=sequence):
                asset = state.assets.get(name)
                if asset is None:
                    return "was left without its asset"
                if sequence <= asset.sequence:
                    return "was overtaken by another attestation"
            case Reissue(asset=name, amount=amount):
                asset = state.assets.get(name)
                if asset is None:
                    return "was left without its asset"
                attested = (a.total for a in tx.core.issuances if isinstance(a, Attestation) and a.asset == name)
                total = next(attested, asset.total)
                if asset.definition.supply_kind == SupplyKind.RESERVED and asset.supply + amount > total:
                    return "was left above the reserve"
            case _:
                pass
    return None


class Payments:
    """All that were acknowledged in one swarm."""

    def __init__(self, sim: Simulation, sometimes: Counter[str]) -> None:
        """
        Args:
            sometimes: where is counted what became of them.
        """
        self._sim = sim
        self._sometimes = sometimes
        self._made: list[Acknowledged] = []

    async def take(self, payer: SimNode, making: Awaitable[Sent]) -> bool:
        """Have a payment made; tell whether it is. Then it must be in the chain in the end, or explained."""
        say = self._sim.events.say
        try:
            sent = await making
        except WalletError as error:
            say("swarm", "payment_refused", payer=payer.name, why=type(error).__name__)
        except (ConsensusError, PolicyError) as error:
            self._sometimes["a node refused its own wallet's payment"] += 1
            say("swarm", "payment_refused", payer=payer.name, why=str(error))
        else:
            self._made.append(Acknowledged(sent.transaction, payer.name))
            return True
        return False

    def missing(self) -> list[Acknowledged]:
        """Return those that the chain of the first node lacks, though nothing keeps them out."""
        state, confirmed = self._state()
        return [
            one
            for one in self._made
            if one.transaction.txid not in confirmed and excuse(one.transaction, state) is None
        ]

    def look(self) -> None:
        """Check that every one is in the chain, or that something keeps it out; count which.

        Raises:
            InvariantBroken: one is neither.
        """
        for payment in self.missing():
            raise InvariantBroken(
                f"{payment.kind}, {display_hash(payment.transaction.txid)} of {payment.payer}, was acknowledged,"
                " its coins are there, and no block has it"
            )
        state, confirmed = self._state()
        for one in self._made:
            what = "was confirmed" if one.transaction.txid in confirmed else excuse(one.transaction, state)
            self._sometimes[f"{one.kind} {what}"] += 1

    def _state(self) -> tuple[ModelState, set[bytes]]:
        model, tip = self._sim.model, self._sim.nodes[0].tip
        return model.states[tip], {txid for state in model.chain(tip) for txid in state.transactions}
